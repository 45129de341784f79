"""How far behind a standby is whose primary is idle: it may have received the beginning of a record only."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from orchestrator.model.observation import Reading
from orchestrator.model.topology import Role
from orchestrator.providers import postgresql_reading
from tests.integration.verify_pair import Pair, pair, wait_for

SLOWLY = ("wal_writer_delay=2s", "autovacuum=off", "bgwriter_delay=10s")
"""What no commit waits for is written out to the end of the last whole page, and two seconds later to its end."""
RECEIVED = "SELECT pg_last_wal_receive_lsn() - '0/0'"
STUCK = """
SELECT pg_last_wal_replay_lsn(), pg_last_wal_receive_lsn() FROM pg_stat_activity
 WHERE backend_type = 'startup' AND wait_event = 'RecoveryWalStream'
   AND pg_last_wal_receive_lsn() > pg_last_wal_replay_lsn()
"""
WITHIN_S = 3.0


@pytest.fixture
def idle() -> Iterator[Pair]:
    """A table that nobody has read, and a standby that has replayed no transaction since its start."""
    with pair(settings=SLOWLY) as made:
        made.a.sql("CREATE TABLE papers AS SELECT g id, repeat('x', 200) words FROM generate_series(1, 3000) g")
        made.catch_up()
        made.a.sql("CHECKPOINT")
        made.catch_up()
        made.b.stop()
        made.b.start()
        wait_for(lambda: made.b.sql("SELECT status FROM pg_stat_wal_receiver") == [("streaming",)], 20, "a stream")
        yield made


async def read(made: Pair) -> Reading:
    return await postgresql_reading.read(made.service(), made.b.instance(Role.STANDBY), WITHIN_S)


async def begun(made: Pair) -> Reading:
    """A look at the standby all through which it has received what it cannot replay."""
    made.a.sql("SELECT count(*) FROM papers WHERE id < 35")  # marks rows as committed: whole pages go to the log
    while True:
        before = made.b.sql(STUCK)
        found = await read(made)
        if before and made.b.sql(STUCK) == before:
            return found


@pytest.mark.timeout(60)
async def test_the_beginning_of_a_record_is_no_lag(idle: Pair) -> None:
    found = await begun(idle)
    assert found.receiving
    assert found.lag_s is not None
    assert found.lag_s < WITHIN_S
    [[transactions]] = idle.b.sql("SELECT count(pg_last_xact_replay_timestamp())")
    assert transactions == 0, "then its age would have told a lag, and this proved nothing"


@pytest.mark.timeout(60)
async def test_a_replay_that_stands_still_is_not_taken_for_it(idle: Pair) -> None:
    [[startup]] = idle.b.sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'startup'")
    os.kill(startup, signal.SIGSTOP)
    try:
        idle.a.sql("UPDATE papers SET words = words || 'y'")
        [[written]] = idle.a.sql("SELECT pg_current_wal_flush_lsn() - '0/0'")
        wait_for(lambda: idle.b.sql(RECEIVED) >= [(written,)], 10, "the standby to have received it")
        found = await read(idle)
        assert (found.receiving, found.lag_s) == (True, None)
    finally:
        os.kill(startup, signal.SIGCONT)
    idle.catch_up()
    assert (await read(idle)).lag_s is not None
