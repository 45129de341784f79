"""`drctl verify` on a real streaming pair that is written to: no false difference, and nothing untold called equal."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import psycopg
import pytest

from orchestrator.model.observation import Verdict
from orchestrator.model.proof import ContentProof, Method, Part, Sameness, TableProof, proof_ok
from orchestrator.model.rows import RowsUnreadable
from orchestrator.model.topology import Role, Setting
from orchestrator.providers.postgresql_rows import PostgresRows
from orchestrator.verification.ground import LOCK_WAIT_S
from orchestrator.verification.options import DEFAULT_PARTS, Options
from orchestrator.verification.service import verify_service
from tests.integration.verify_pair import Pair, Writer, pair, wait_for
from tests.integration.verify_tools import content, of, prove

ROWS = 60_000
AT_ONCE = 5
"""Rows that one statement of the writer updates."""
UPDATES_PER_S = 500
PROVEN = tuple(part for part in DEFAULT_PARTS if part is not Part.NAMES)


@pytest.fixture(scope="module")
def live() -> Iterator[Pair]:
    with pair(("b", "c")) as made:
        populate(made)
        yield made


def populate(made: Pair) -> None:
    """What `write` changes."""
    made.a.sql("CREATE TABLE person (id bigint PRIMARY KEY, name text NOT NULL, visits int, seen timestamptz)")
    made.a.sql(f"INSERT INTO person SELECT g, md5(g::text), 0, now() FROM generate_series(1, {ROWS}) g")
    made.a.sql("CREATE TABLE counter (id int PRIMARY KEY, n bigint); INSERT INTO counter VALUES (1, 0)")
    made.a.sql("CREATE TABLE event (at timestamptz, what text)")
    made.a.sql("CREATE SEQUENCE ticket")


def write(connection: psycopg.Connection[Any], number: int) -> None:
    """Updates all over a table, a new row without a key, now and then a deleted and a moved one."""
    row = number * 7919 % ROWS + 1
    rows = [(row + n * 104_729) % ROWS + 1 for n in range(AT_ONCE)]
    connection.execute("UPDATE person SET visits = visits + 1, seen = now() WHERE id = ANY(%s)", (rows,))
    if number % 5 == 0:
        connection.execute("INSERT INTO event VALUES (now(), %s)", (str(number) * 20,))
        connection.execute("SELECT nextval('ticket')")
    if number % 20 == 0:
        connection.execute("DELETE FROM person WHERE id = %s", (row,))
        connection.execute("INSERT INTO person VALUES (%s, 'again', 0, now())", (row,))
        connection.execute("UPDATE counter SET n = n + 1")


def test_a_database_that_is_written_to_is_proven_on_a_consistent_cut(live: Pair) -> None:
    with Writer(live.a, write) as writer:
        for _ in range(3):
            proof = prove(live)
            assert proof.ok, msgspec.json.encode(proof).decode()
            assert proof.primary == "legal-person/db@a"
            for replica in proof.replicas:
                assert replica.content is not None
                assert replica.content.method is Method.CUT
                assert replica.content.position is not None
                assert 0 < replica.content.held_s < LOCK_WAIT_S
                assert of(replica.content, "public.person").rows_left == of(replica.content, "public.person").rows_right
        assert writer.rate * AT_ONCE >= UPDATES_PER_S


def test_a_database_that_is_written_to_is_proven_without_locks(live: Pair) -> None:
    with Writer(live.a, write) as writer:
        for _ in range(3):
            proof = prove(live, Part.CONTENT, locks=False)
            assert proof.ok, msgspec.json.encode(proof).decode()
            for replica in proof.replicas:
                assert replica.content is not None
                assert (replica.content.method, replica.content.held_s) == (Method.RECHECK, 0)
        assert writer.rate * AT_ONCE >= UPDATES_PER_S


def test_positions_and_canary_rows_are_measured(live: Pair) -> None:
    proof = prove(live, Part.POSITIONS, Part.CANARY, samples=30)
    assert proof.ok
    for replica in proof.replicas:
        position, canary = replica.position, replica.canary
        assert position is not None
        assert canary is not None
        assert position.received is not None and position.received >= position.target > 0
        assert position.replayed_s is not None and position.received_s is not None
        assert 0 <= position.received_s <= position.replayed_s
        assert (canary.samples, canary.unseen, len(canary.lags_s)) == (30, 0, 30)
        assert canary.lag_p50_s is not None and canary.lag_p95_s is not None and canary.lag_max_s is not None
        assert canary.commit_p50_s is not None and canary.resolution_s is not None
        assert 0 < canary.lag_p50_s <= canary.lag_p95_s <= canary.lag_max_s == max(canary.lags_s)
    assert live.a.sql("SELECT count(*) FROM drctl_probe") == [(0,)]


def test_a_replica_that_does_not_replay_is_never_ok(live: Pair) -> None:
    live.b.sql("SELECT pg_wal_replay_pause()")
    try:
        wait_for(lambda: live.b.sql("SELECT pg_get_wal_replay_pause_state()") == [("paused",)], 10, "the pause")
        live.a.sql("UPDATE counter SET n = n + 1")
        proof = prove(live, samples=3, within_s=0.4)
    finally:
        live.b.sql("SELECT pg_wal_replay_resume()")
    b, c = proof.replicas
    assert not proof.ok
    assert b.position is not None and b.position.verdict is Verdict.FAIL
    assert b.position.received_s is not None and b.position.replayed_s is None
    assert b.canary is not None and (b.canary.verdict, b.canary.unseen) == (Verdict.FAIL, 3)
    assert b.content is not None and b.content.verdict is Verdict.UNKNOWN
    assert not b.content.count(Sameness.EQUAL)
    assert [c.verdict(part) for part in PROVEN] == [Verdict.PASS] * 4


class Liar(PostgresRows):
    """A replica that reports positions which it does not hold, as a broken or a hostile one would."""

    async def reached(self) -> tuple[int, int]:
        return 1 << 62, 1 << 62


@pytest.mark.parametrize("locks", [True, False])
def test_a_replica_that_lies_about_its_position_is_found_out_by_canary_and_content(live: Pair, locks: bool) -> None:
    service = live.service()
    sources = {i.id: (Liar if i.centre == "b" else PostgresRows)(service, i) for i in service.instances}
    live.b.sql("SELECT pg_wal_replay_pause()")
    try:
        wait_for(lambda: live.b.sql("SELECT pg_get_wal_replay_pause_state()") == [("paused",)], 10, "the pause")
        live.a.sql("UPDATE counter SET n = n + 1")
        options = Options(samples=3, within_s=0.4, locks=locks)
        proof = asyncio.run(verify_service(service, sources, options))
    finally:
        live.b.sql("SELECT pg_wal_replay_resume()")
    b, c = proof.replicas
    assert b.verdict(Part.POSITIONS) is Verdict.PASS
    assert b.verdict(Part.CANARY) is Verdict.FAIL
    assert b.content is not None
    assert of(b.content, "public.counter").sameness is not Sameness.EQUAL
    assert b.verdict(Part.CONTENT) is not Verdict.PASS
    assert not proof.proven(b) and proof.proven(c)


def test_a_replica_that_lags_is_compared_without_locks_by_itself(live: Pair) -> None:
    live.b.sql("ALTER SYSTEM SET recovery_min_apply_delay = '900ms'")
    live.b.sql("SELECT pg_reload_conf()")
    try:
        with Writer(live.a, write):
            wait_for(lambda: _lag_s(live) > 0.6, 10, "the delay to be in force")
            found = content(live, "b")
    finally:
        live.b.sql("ALTER SYSTEM RESET recovery_min_apply_delay")
        live.b.sql("SELECT pg_reload_conf()")
        live.catch_up(live.b)
    assert found.method is Method.RECHECK
    assert "lag" in found.why.en
    assert found.verdict is Verdict.PASS, msgspec.json.encode(found).decode()


def _lag_s(live: Pair) -> float:
    live.a.sql("UPDATE counter SET n = n + 1")
    [[lag]] = live.b.sql("SELECT extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())::float")
    return float(lag)


def test_writers_that_cannot_be_held_are_not_waited_for(live: Pair) -> None:
    """A transaction that stays open makes the cut impossible; nobody else may be made to wait for it."""
    with live.a.connect() as busy:
        busy.execute("BEGIN; UPDATE person SET visits = -1 WHERE id = 1")
        slowest_s, found = _slowest_write(live, lambda: content(live, "b"))
        assert found.method is Method.RECHECK
        assert "could not be held" in found.why.en
        assert found.verdict is Verdict.PASS, msgspec.json.encode(found).decode()
        assert slowest_s < LOCK_WAIT_S + 0.5
        busy.execute("ROLLBACK")


def _slowest_write(live: Pair, during: Any) -> tuple[float, Any]:
    times: list[float] = []

    def timed(connection: psycopg.Connection[Any], number: int) -> None:
        begun = time.monotonic()
        connection.execute("UPDATE person SET visits = visits WHERE id = %s", (number % 1000 + 2,))
        times.append(time.monotonic() - begun)

    with Writer(live.a, timed, clients=1):
        result = during()
    return max(times), result


def test_the_server_itself_lets_writers_go(live: Pair) -> None:
    """As if drctl had been frozen while it held them."""
    service = live.service()

    async def hold() -> float:
        source = PostgresRows(service, live.a.instance(Role.PRIMARY))
        tables = [t for t in await source.tables("app") if t.name == "counter"]
        held = await source.hold("app", tuple(tables), LOCK_WAIT_S, 0.3)
        begun = time.monotonic()
        await asyncio.to_thread(live.a.sql, "UPDATE counter SET n = n + 1")
        blocked_s = time.monotonic() - begun
        with pytest.raises(RowsUnreadable):
            await held.release()
        await source.close()
        return blocked_s

    assert 0.1 < asyncio.run(hold()) < 1.5


@pytest.mark.parametrize("locks", [True, False])
def test_a_connection_that_is_always_lost_tells_nothing(live: Pair, locks: bool) -> None:
    def cut_off(number: int) -> None:
        live.b.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'drctl-verify'")

    proof = prove(live, Part.CONTENT, meddle=cut_off, locks=locks)
    b, c = (r.content for r in proof.replicas)
    assert b is not None and c is not None
    assert b.verdict is Verdict.UNKNOWN
    assert any("lost" in t.reason.en for t in b.tables if t.sameness is Sameness.UNKNOWN)
    assert c.verdict is Verdict.PASS
    assert not proof_ok([proof])


def test_a_primary_that_is_always_lost_tells_nothing(live: Pair) -> None:
    def cut_off(number: int) -> None:
        live.a.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'drctl-verify'")

    proof = prove(live, Part.CONTENT, meddle=cut_off)
    assert [r.verdict(Part.CONTENT) for r in proof.replicas] == [Verdict.UNKNOWN] * 2


@pytest.mark.parametrize("locks", [True, False])
@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE changing ADD COLUMN extra int DEFAULT 5",
        "TRUNCATE changing",
        "DROP TABLE changing",
        "VACUUM FULL changing",
    ],
)
def test_a_table_that_is_altered_meanwhile_tells_nothing(live: Pair, change: str, locks: bool) -> None:
    live.a.sql("DROP TABLE IF EXISTS changing")
    live.a.sql("CREATE TABLE changing AS SELECT g AS id, md5(g::text) AS name FROM generate_series(1, 5000) g")
    done: list[int] = []

    def alter(number: int) -> None:
        if not done:
            done.append(number)
            live.a.sql(change)
            live.catch_up(live.b)

    found = prove(live, Part.CONTENT, meddle=alter, locks=locks, tables=("changing",)).replicas[0].content
    live.a.sql("DROP TABLE IF EXISTS changing")
    assert found is not None
    assert of(found, "public.changing").sameness is Sameness.UNKNOWN
    assert found.verdict is Verdict.UNKNOWN


def test_a_server_that_freezes_in_the_middle_ends_within_the_bound(live: Pair) -> None:
    import os
    import signal

    stopped: list[int] = []

    def freeze(number: int) -> None:
        if not stopped:
            rows = live.b.sql("SELECT pid FROM pg_stat_activity WHERE application_name = 'drctl-verify'")
            stopped.extend(pid for (pid,) in rows)
            for pid in stopped:
                os.kill(pid, signal.SIGSTOP)

    begun = time.monotonic()
    try:
        proof = prove(live, Part.CONTENT, meddle=freeze, timeout_s=3.0)
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
    assert stopped
    assert proof.replicas[0].verdict(Part.CONTENT) is Verdict.UNKNOWN
    assert time.monotonic() - begun < 20


def test_no_table_is_no_proof(live: Pair) -> None:
    found = content(live, tables=("nothing_like_this",))
    assert (found.tables, found.verdict) == ((), Verdict.UNKNOWN)
    assert "no table" in found.reason.en


def test_a_table_that_may_not_be_read_tells_nothing(live: Pair) -> None:
    live.a.sql("DROP ROLE IF EXISTS reader; CREATE ROLE reader LOGIN; GRANT pg_monitor TO reader")
    live.a.sql("GRANT SELECT ON counter TO reader; GRANT USAGE ON SEQUENCE ticket TO reader")
    live.catch_up(live.b)
    service = live.service()
    as_reader = {
        i.id: PostgresRows(
            service, msgspec.structs.replace(i, params=(Setting(name="user", value="reader"), i.params[1]))
        )
        for i in service.instances
    }
    proof = asyncio.run(verify_service(service, as_reader, Options(parts=(Part.CONTENT,))))
    found = proof.replicas[0].content
    assert found is not None
    assert of(found, "public.counter").sameness is Sameness.EQUAL
    assert of(found, "public.person").sameness is Sameness.UNKNOWN
    assert "denied" in of(found, "public.person").reason.en
    assert found.verdict is Verdict.UNKNOWN


def test_a_replica_that_does_not_answer_is_unknown_and_two_primaries_are_refused(live: Pair) -> None:
    service = live.service()
    nobody = msgspec.structs.replace(service.instances[2], address="127.0.0.1:1")

    def sources(*instances: Any) -> dict[str, Any]:
        return {i.id: PostgresRows(service, i) for i in instances}

    dark = asyncio.run(verify_service(service, sources(*service.instances[:2], nobody), Options(samples=2)))
    assert dark.replicas[0].verdict(Part.POSITIONS) is Verdict.PASS
    assert [dark.replicas[1].verdict(part) for part in PROVEN] == [Verdict.UNKNOWN] * 4
    twice = msgspec.structs.replace(service.instances[1], address=service.instances[0].address)
    both = asyncio.run(verify_service(service, sources(service.instances[0], twice), Options()))
    assert not both.ok
    assert "more than one primary" in both.reason.en
    none = asyncio.run(verify_service(service, sources(nobody), Options()))
    assert (none.readable, none.ok) == (False, False)


def test_a_commit_that_waits_for_a_replica_is_not_a_difference(live: Pair) -> None:
    """It is durable and replayed, so replicas show it; the primary does not until the wait ends."""
    live.a.sql("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
    live.a.sql("SELECT pg_reload_conf()")
    waiting = live.a.connect()
    try:
        wait_for(lambda: live.a.sql("SHOW synchronous_standby_names") == [("nobody",)], 10, "the setting")
        with ThreadPoolExecutor(1) as pool:
            hanging = pool.submit(waiting.execute, "UPDATE person SET name = 'not acknowledged' WHERE id = 5")
            shown = "SELECT name FROM person WHERE id = 5"
            wait_for(lambda: live.b.sql(shown) == [("not acknowledged",)], 10, "the replica to show it")
            assert live.a.sql(shown) != live.b.sql(shown)
            for locks in (True, False):
                found = content(live, locks=locks, tables=("person",))
                assert of(found, "public.person").sameness is Sameness.UNKNOWN, of(found, "public.person")
            live.a.sql("ALTER SYSTEM RESET synchronous_standby_names")
            live.a.sql("SELECT pg_reload_conf()")
            hanging.result(20)
        assert content(live, locks=False, tables=("person",)).verdict is Verdict.PASS
    finally:
        live.a.sql("ALTER SYSTEM RESET synchronous_standby_names")
        live.a.sql("SELECT pg_reload_conf()")
        waiting.close()


def test_synchronous_replication_under_writes_shows_no_false_difference(live: Pair) -> None:
    def commit_together(connection: psycopg.Connection[Any], number: int) -> None:
        connection.execute("SET synchronous_commit = on")
        write(connection, number)

    live.a.sql("ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (b)'")
    live.a.sql("SELECT pg_reload_conf()")
    try:
        with Writer(live.a, commit_together, clients=4):
            for _ in range(3):
                proof = prove(live, Part.CONTENT, locks=False)
                assert all(t.sameness is not Sameness.DIFFERENT for r in proof.replicas for t in _tables(r.content))
                assert proof.ok, msgspec.json.encode(proof).decode()
    finally:
        live.a.sql("ALTER SYSTEM RESET synchronous_standby_names")
        live.a.sql("SELECT pg_reload_conf()")


def _tables(found: ContentProof | None) -> tuple[TableProof, ...]:
    return found.tables if found else ()
