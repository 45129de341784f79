"""What `drctl verify` remembers: a lost connection and a killed run are gone on with, a rolling run covers all in
turns, and an increment reads what was written and nothing else.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.model.observation import Verdict
from orchestrator.model.proof import ContentProof, Method, Part, Sameness
from orchestrator.providers.postgresql_rows import PostgresRows
from orchestrator.verification.spans import FROZEN_PAGES, LIVE_PAGES
from tests.integration.verify_pair import Pair, pair, wait_for
from tests.integration.verify_tools import Heap, of, prove, settle_to_disk

ROWS = 600_000
DROP = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'drctl-verify'"
QUIET = "WITH (autovacuum_enabled = false)"


class Killed(BaseException):
    """As if the process had died."""


@pytest.fixture(scope="module")
def big() -> Iterator[Pair]:
    with pair() as made:
        made.a.sql(f"CREATE TABLE person (id bigint PRIMARY KEY, name text, visits int) {QUIET}")
        made.a.sql(f"INSERT INTO person SELECT g, 'row-' || g || '-here', 0 FROM generate_series(1, {ROWS}) g")
        made.a.sql(f"CREATE TABLE small (id int PRIMARY KEY) {QUIET}")
        made.a.sql("INSERT INTO small SELECT generate_series(1, 100)")
        made.a.sql("CREATE EXTENSION pg_walinspect")
        made.a.sql("VACUUM ANALYZE")
        settle_to_disk(made, made.b)
        yield made


def pages(big: Pair) -> int:
    [[found]] = big.a.sql("SELECT pg_relation_size('person') / 8192")
    return int(found)


class Counted:
    """Counts reads of the primary, and does something at one of them."""

    def __init__(self, at: int = 0, then: object = None) -> None:
        self.reads, self._at, self._then = 0, at, then

    def __call__(self, number: int) -> None:
        self.reads = number
        if number == self._at and callable(self._then):
            self._then()


def found(big: Pair, meddle: Counted, **options: object) -> ContentProof:
    proof = prove(big, Part.CONTENT, meddle=meddle, **options).replicas[0].content  # type: ignore[arg-type]
    assert proof is not None
    return proof


async def test_commits_are_timed_on_after_one_that_nobody_waited_for_any_more(big: Pair) -> None:
    """As when a comparison ends while one is under way: without the last ones its effect could not be told."""
    service = big.service()
    source = PostgresRows(service, service.instances[0])
    for steps in range(12):
        assert await source.pulse() > 0
        dropped = asyncio.create_task(source.pulse())
        for _ in range(steps):
            await asyncio.sleep(0)
        dropped.cancel()
        await asyncio.wait({dropped})
    assert await source.pulse() > 0
    await source.close()


@pytest.mark.parametrize("locks", [True, False])
@pytest.mark.parametrize("node", ["a", "b"])
def test_a_connection_lost_in_the_middle_is_gone_on_with(big: Pair, node: str, locks: bool) -> None:
    lost = next(n for n in big.nodes if n.name == node)
    batch = FROZEN_PAGES if locks else LIVE_PAGES
    middle = pages(big) // batch // 2 + 1
    meddle = Counted(middle, lambda: lost.sql(DROP))
    proof = found(big, meddle, locks=locks, tables=("person",))
    table = of(proof, "public.person")
    assert (table.sameness, table.rows_left, table.rows_right) == (Sameness.EQUAL, ROWS, ROWS), table
    assert table.resumed == 1
    assert proof.verdict is Verdict.PASS
    if not locks:
        assert meddle.reads < 1.2 * pages(big) / batch + 4


def test_a_replica_that_restarts_in_the_middle_is_gone_on_with(big: Pair) -> None:
    def restart() -> None:
        big.b.stop()
        big.b.start()

    table = of(found(big, Counted(3, restart), tables=("person",), within_s=20), "public.person")
    assert (table.sameness, table.rows_right, table.resumed) == (Sameness.EQUAL, ROWS, 1)


def test_a_snapshot_that_grows_old_is_given_up_and_the_comparison_goes_on(big: Pair) -> None:
    proof = found(big, Counted(), tables=("person",), snapshot_s=0.0000001)
    table = of(proof, "public.person")
    assert (table.sameness, table.method, table.rows_left) == (Sameness.EQUAL, Method.CUT, ROWS)
    assert table.resumed >= 1


def test_a_killed_run_is_gone_on_with_by_the_next(big: Pair, tmp_path: Path) -> None:
    def kill() -> None:
        raise Killed

    with pytest.raises(BaseException):  # noqa: B017, PT011 (asyncio groups it)
        found(big, Counted(8, kill), locks=False, memory=tmp_path)
    again = Counted()
    table = of(found(big, again, locks=False, memory=tmp_path, resume=True), "public.person")
    assert (table.sameness, table.rows_left, table.rows_right) == (Sameness.EQUAL, ROWS, ROWS)
    assert table.resumed == 1
    whole = Counted()
    assert found(big, whole, locks=False, memory=tmp_path).verdict is Verdict.PASS
    # Of the seven batches that were read, two wait for the replica at the most, and one is being compared.
    assert again.reads <= whole.reads - 4


def test_what_was_proven_before_the_interruption_is_not_read_again(big: Pair, tmp_path: Path) -> None:
    def kill() -> None:
        raise Killed

    big.a.sql("CREATE TABLE zlast AS SELECT generate_series(1, 1000) AS id")
    last = Counted()
    assert found(big, last, memory=tmp_path / "other").verdict is Verdict.PASS
    with pytest.raises(BaseException):  # noqa: B017, PT011 (asyncio groups it)
        found(big, Counted(last.reads, kill), memory=tmp_path)
    again = Counted()
    proof = found(big, again, memory=tmp_path, resume=True)
    big.a.sql("DROP TABLE zlast")
    assert proof.verdict is Verdict.PASS
    assert again.reads == 1
    assert "before the interruption" in of(proof, "public.person").reason.en
    assert of(proof, "public.person").proven_at and not of(proof, "public.zlast").proven_at


def test_a_table_that_was_rewritten_since_is_compared_from_its_start(big: Pair, tmp_path: Path) -> None:
    def kill() -> None:
        raise Killed

    with pytest.raises(BaseException):  # noqa: B017, PT011 (asyncio groups it)
        found(big, Counted(8, kill), locks=False, memory=tmp_path)
    big.a.sql("VACUUM FULL person")
    big.catch_up()
    table = of(found(big, Counted(), memory=tmp_path, resume=True), "public.person")
    assert (table.sameness, table.resumed, table.rows_left) == (Sameness.EQUAL, 0, ROWS)


def test_an_increment_reads_what_was_written_and_nothing_else(big: Pair, tmp_path: Path) -> None:
    first = found(big, Counted(), memory=tmp_path, incremental=True)
    assert "no earlier proof" in of(first, "public.person").read_whole.en
    big.a.sql("UPDATE person SET visits = 1 WHERE id IN (5, 150000)")
    big.a.sql("DELETE FROM person WHERE id = 77")
    second = of(found(big, Counted(), memory=tmp_path, incremental=True), "public.person")
    assert (second.sameness, second.method) == (Sameness.EQUAL, Method.CUT)
    assert 0 < second.rows_left < ROWS / 20
    assert second.since == of(first, "public.person").position < second.position
    nothing = of(found(big, Counted(), memory=tmp_path, incremental=True), "public.person")
    assert nothing.sameness is Sameness.EQUAL
    # not always none: our own first look at a changed page may leave hints, or prune it, and that stands in the log
    assert nothing.rows_left <= second.rows_left


def test_an_increment_sees_a_change_that_the_replica_did_not_get_right(big: Pair, tmp_path: Path) -> None:
    """Last but two: it edits the standby's storage. A page that was written since the proof is read; others are not."""
    assert found(big, Counted(), memory=tmp_path).verdict is Verdict.PASS
    big.a.sql("UPDATE person SET visits = 9 WHERE id = 250000")
    settle_to_disk(big, big.b)
    heap = Heap(big.b, "person")
    big.b.stop()
    heap.flip_all(b"row-250000-here", b"row-250000-gone")
    heap.flip_all(b"row-100000-here", b"row-100000-gone")
    big.b.start()
    table = of(found(big, Counted(), memory=tmp_path, incremental=True), "public.person")
    assert (table.sameness, [d.key for d in table.differences]) == (Sameness.DIFFERENT, ["250000"])
    whole = of(found(big, Counted(), memory=tmp_path, incremental=True), "public.person")
    assert [d.key for d in whole.differences] == ["100000", "250000"]


@pytest.fixture(scope="module")
def little() -> Iterator[Pair]:
    with pair() as made:
        for name in ("one", "three", "two"):
            made.a.sql(f"CREATE TABLE {name} (id int PRIMARY KEY); INSERT INTO {name} SELECT generate_series(1, 100)")
        yield made


def test_without_the_log_an_increment_reads_all_and_says_why(little: Pair, tmp_path: Path) -> None:
    for _ in range(2):
        table = of(found(little, Counted(), memory=tmp_path, incremental=True), "public.one")
    assert (table.sameness, table.rows_left) == (Sameness.EQUAL, 100)
    assert "pg_walinspect is not installed" in table.read_whole.en


def test_a_rolling_run_takes_the_oldest_proof_first_and_names_what_did_not_fit(little: Pair, tmp_path: Path) -> None:
    def slowly() -> None:
        time.sleep(3.2)

    first = found(little, Counted(2, slowly), memory=tmp_path, budget_s=3.0, timeout_s=3.0)
    told = {t.table: t for t in first.tables}
    [proven] = [name for name, t in told.items() if t.sameness is Sameness.EQUAL]
    missed = [t for name, t in told.items() if name != proven]
    assert all(t.sameness is Sameness.UNKNOWN and "never proven" in t.reason.en for t in missed)
    assert first.verdict is Verdict.UNKNOWN
    second = found(little, Counted(3, slowly), memory=tmp_path, budget_s=3.0, timeout_s=3.0)
    told = {t.table: t for t in second.tables}
    assert {n for n, t in told.items() if t.sameness is Sameness.EQUAL} == set(told) - {proven}
    assert told[proven].sameness is Sameness.SKIPPED
    assert "last proven at" in told[proven].reason.en
    assert second.verdict is Verdict.PASS


def test_a_rebuilt_replica_is_read_as_a_whole(little: Pair, tmp_path: Path) -> None:
    """Last in this file: it makes the standby anew."""
    little.a.sql("CREATE EXTENSION pg_walinspect")
    assert found(little, Counted(), memory=tmp_path).verdict is Verdict.PASS
    assert of(found(little, Counted(), memory=tmp_path, incremental=True), "public.one").rows_left == 0
    little.b.stop()
    wait_for(lambda: little.a.sql("SELECT active FROM pg_replication_slots") == [(False,)], 10, "the slot to be free")
    little.a.sql("SELECT pg_drop_replication_slot('b')")
    shutil.rmtree(little.b.data)
    little.standbys["b"] = little.clone("b")
    again = of(found(little, Counted(), memory=tmp_path, incremental=True), "public.one")
    assert (again.rows_left, "no earlier proof" in again.read_whole.en) == (100, True)
