"""The parts of a long verification that need no server: brake, ledger, batches, increments, storage's judgement."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import click
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.cli.verify import seconds
from orchestrator.model.observation import Verdict
from orchestrator.model.proof import (
    DriftProof,
    Effect,
    Method,
    Part,
    ReplicaProof,
    Sameness,
    ServiceProof,
    StorageProof,
)
from orchestrator.model.rows import Digest, Fact, Form, RowsUnreadable, Span, Standing, Storage, Table, Trouble
from orchestrator.model.topology import Text
from orchestrator.reports.verify_view import drift_lines, effect_line, storage_lines, summary
from orchestrator.verification import pacing
from orchestrator.verification.drift import judge
from orchestrator.verification.ground import Ground
from orchestrator.verification.increment import Increment
from orchestrator.verification.ledger import Ledger, Proven, copies_of, ledger_of, oldest_first
from orchestrator.verification.options import Pace
from orchestrator.verification.pacing import Brake
from orchestrator.verification.positions import Follower
from orchestrator.verification.result import table_proof
from orchestrator.verification.source import RowSource, RowView
from orchestrator.verification.spans import Job, Sweep, batches_of, sweep
from orchestrator.verification.storage import prove_storage

NOTHING = Text(en="", zh="")


def table(name: str = "t", mark: str = "m", pages: int = 100) -> Table:
    return Table(
        database="app", schema="public", name=name, mark=mark, columns=(), key=("id",), pages=pages, rows_estimate=0
    )


@settings(deadline=None)
@given(st.integers(0, 5000), st.sampled_from([16, 128, 1024]), st.integers(0, 40))
def test_batches_cover_a_table_from_a_page_on_without_gap(pages: int, at_once: int, begun: int) -> None:
    first = begun * at_once
    spans = [span for batch in batches_of(table(pages=pages), at_once, first) for span in batch]
    assert spans[0].first == first
    assert spans[-1].last is None
    assert all(left.last == right.first for left, right in pairwise(spans))


@given(st.sets(st.integers(0, 500)), st.integers(0, 500))
def test_batches_of_some_pages_are_those_pages(pages: set[int], first: int) -> None:
    spans = [s for batch in batches_of(table(), 128, first, sorted(pages)) for s in batch]
    assert spans == [Span(first=p, last=p + 1) for p in sorted(pages) if p >= first]


class Pulses:
    """A primary whose commits take what the test says."""

    instance = "a"

    def __init__(self, times: list[float]) -> None:
        self._times = times

    async def pulse(self) -> float:
        if self._times:
            return self._times.pop(0)
        raise RowsUnreadable(Trouble.LOST, "a", "gone")


def braked(monkeypatch: pytest.MonkeyPatch, share: float, alone: float, during: float) -> tuple[Brake, list[float]]:
    slept: list[float] = []

    async def sleep(delay_s: float) -> None:
        slept.append(delay_s)

    monkeypatch.setattr(f"{pacing.__name__}.asyncio.sleep", sleep)
    brake = Brake(share)

    async def run() -> None:
        await brake.alone(cast(RowSource, Pulses([alone] * pacing.ALONE)))
        await brake.watch(cast(RowSource, Pulses([during] * 40)))
        slept.clear()
        for _ in range(8):
            await brake.rest(0.01)

    asyncio.run(run())
    return brake, slept


def test_a_brake_rests_by_its_share_and_more_while_the_primary_suffers(monkeypatch: pytest.MonkeyPatch) -> None:
    assert braked(monkeypatch, 1.0, 0.001, 0.5)[1] == []
    assert braked(monkeypatch, 0.25, 0.001, 0.0015)[1] == pytest.approx([0.03] * 8)
    suffering = braked(monkeypatch, 0.25, 0.001, 0.003)[1]
    assert suffering == pytest.approx([0.06, 0.12, 0.24, 0.48, 0.48, 0.48, 0.48, 0.48])


def test_a_commit_after_a_rest_is_slow_and_no_sign_of_suffering(monkeypatch: pytest.MonkeyPatch) -> None:
    class Sleepy(Pulses):
        async def pulse(self) -> float:
            normal = await super().pulse()
            return normal if rests and rests[-1] < pacing.EVERY_S else 3 * normal

    rests: list[float] = []

    async def sleep(delay_s: float) -> None:
        rests.append(delay_s)

    monkeypatch.setattr(f"{pacing.__name__}.asyncio.sleep", sleep)
    brake = Brake(0.25)

    async def run() -> None:
        await brake.alone(cast(RowSource, Sleepy([0.001] * pacing.ALONE)))
        await brake.watch(cast(RowSource, Sleepy([0.001] * 20)))
        await brake.rest(0.01)
        await brake.alone(cast(RowSource, Sleepy([0.001] * pacing.ALONE)))

    asyncio.run(run())
    assert brake.effect is not None
    assert (brake.effect.commits, brake.effect.during_p50_s, brake.effect.during_p95_s) == (10, 0.001, 0.001)
    assert pytest.approx(0.03) in rests


def test_the_effect_needs_commits_before_during_and_after(monkeypatch: pytest.MonkeyPatch) -> None:
    brake, _ = braked(monkeypatch, 0.5, 0.001, 0.002)
    before = brake.effect
    assert before is None
    asyncio.run(brake.alone(cast(RowSource, Pulses([0.001] * pacing.ALONE))))
    assert brake.effect == Effect(
        share=0.5, alone_p50_s=0.001, alone_p95_s=0.001, during_p50_s=0.002, during_p95_s=0.002, commits=20
    )
    assert "1.0 / 1.0 ms (p50 / p95) without us, 2.0 / 2.0 ms during it" in effect_line("a", brake.effect, "en")
    assert "50 %" in effect_line("a", brake.effect, "zh")


def proven(name: str = "t", mark: str = "m", copies: str = "c", at: str = "2026-01-01T00:00:00+00:00") -> Proven:
    return Proven(
        instance="b", database="app", table=f"public.{name}", mark=mark, copies=copies, position=7, at=at, on_cut=True,
        rows=3,
    )  # fmt: skip


def test_a_proof_counts_only_for_the_same_table_and_the_same_copies(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "l.json")
    ledger.note_proven(proven())
    ledger.save()
    again = Ledger(tmp_path / "l.json")
    assert again.proven("b", table(), "c") == proven()
    for instance, other, copies in (("c", table(), "c"), ("b", table(mark="x"), "c"), ("b", table(), "x")):
        assert again.proven(instance, other, copies) is None
    assert again.proven("b", table(), "") is None
    assert again.last("b", table(mark="x")) == proven().at
    again.forget("b", "app", table().full_name)
    assert again.proven("b", table(), "c") is None


def test_copies_of_unknown_birth_are_never_the_same() -> None:
    def standing(birth: str, timeline: int = 1) -> Standing:
        return Standing(
            instance="x", primary=True, writable=True, version=18, lineage="7", timeline=timeline, position=0,
            replayed=0, birth=birth,
        )  # fmt: skip

    assert copies_of(standing("p"), standing("")) == copies_of(standing(""), standing("r")) == ""
    assert copies_of(standing("p"), standing("r")) != copies_of(standing("p"), standing("r2"))
    assert copies_of(standing("p"), standing("r")) != copies_of(standing("p", 2), standing("r"))


def test_half_a_table_is_gone_on_with_only_if_asked_and_only_if_it_is_the_same(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "l.json"
    ledger = Ledger(path)
    ledger.begin(go_on=False)
    swept = Sweep(left=Digest(rows=5, total=1 << 70), next_page=128, differing=[Span(first=3, last=4)], since=9)
    ledger.note_half("b", table(), "c", swept)
    ledger.save()
    again = Ledger(path)
    assert again.interrupted != ""
    again.begin(go_on=True)
    found = again.half("b", table(), "c")
    assert found is not None
    assert (found.next_page, found.left, found.differing, found.resumed) == (128, swept.left, swept.differing, 1)
    assert again.half("b", table(mark="other"), "c") is None
    again.end(whole=True)
    assert not Ledger(path).interrupted
    Ledger(path).begin(go_on=False)
    assert Ledger(path).half("b", table(), "c") is None


def test_a_damaged_or_unwritable_ledger_costs_nothing_but_its_memory(tmp_path: Path) -> None:
    path = tmp_path / "l.json"
    path.write_text("{ this is none")
    assert Ledger(path).oldest() == ""
    blocked = Ledger(path / "under" / "a-file.json")
    blocked.begin(go_on=False)
    assert not blocked.kept


def test_a_rolling_run_takes_what_was_never_proven_first_then_the_oldest(tmp_path: Path) -> None:
    ledgers = {name: ledger_of(tmp_path, f"system/{name}") for name in ("new", "old", "never")}
    ledgers["new"].note_proven(proven(at="2026-02-02"))
    ledgers["old"].note_proven(proven(at="2026-01-01"))
    assert oldest_first(ledgers) == ["never", "old", "new"]


def test_an_increment_says_what_it_rests_on() -> None:
    extent = Increment({"public.t": (3, 9)}, {"public.t": 40}, {"public.u": Text(en="why", zh="因")})
    equal = extent.note(table(), table_proof(table(), Sameness.EQUAL))
    assert (extent.pages(table()), equal.since) == ((3, 9), 40)
    assert "2 of 100 pages" in equal.reason.en
    assert extent.pages(table("u")) is None
    assert extent.note(table("u"), table_proof(table("u"), Sameness.EQUAL)).read_whole.en == "why"
    assert extent.note(table(), table_proof(table(), Sameness.DIFFERENT)).since == 0
    assert Increment(since={"public.t": 1}).pages(table()) == ()


class Stored:
    """A replica whose server says of each database what the test says."""

    instance = "b"

    def __init__(self, *found: Storage) -> None:
        self._found = {f"db{number}": one for number, one in enumerate(found)}

    async def databases(self) -> tuple[str, ...]:
        return tuple(self._found)

    async def tables(self, database: str) -> tuple[Table, ...]:
        return (table(),)

    async def storage(self, database: str, tables: tuple[Table, ...], within_s: float) -> Storage:
        return self._found[database]


GOOD = Storage(checksums=True, failures=0, checker=True, tables=1, indexes=2)


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        ((GOOD,), Verdict.PASS),
        ((), Verdict.UNKNOWN),
        ((msgspec.structs.replace(GOOD, checker=False, tables=0),), Verdict.UNKNOWN),
        ((GOOD, msgspec.structs.replace(GOOD, failures=1)), Verdict.FAIL),
        ((GOOD, msgspec.structs.replace(GOOD, broken=("page 3",))), Verdict.FAIL),
        ((GOOD, msgspec.structs.replace(GOOD, checker=False, tables=0)), Verdict.UNKNOWN),
    ],
)
def test_storage_passes_only_where_all_was_checked(found: tuple[Storage, ...], verdict: Verdict) -> None:
    from orchestrator.verification.options import Options

    proof = asyncio.run(prove_storage(cast(RowSource, Stored(*found)), Options()))
    assert proof.verdict is verdict


def test_drift_is_told_by_kind_and_hides_values() -> None:
    ours = [Fact(kind="settings", name="fsync", value="on"), Fact(kind="roles", name="clerk", value="f")]
    theirs = [Fact(kind="settings", name="fsync", value="off"), Fact(kind="roles", name="spy", value="f")]
    groups = judge("", ours, theirs, show=False)
    told = {(g.table, d.kind.value, d.key) for g in groups for d in g.differences}
    assert told == {("settings", "changed", "fsync"), ("roles", "missing", "clerk"), ("roles", "extra", "spy")}
    proof = DriftProof(groups=tuple(groups))
    assert proof.verdict is Verdict.FAIL
    lines = "\n".join(drift_lines("b", proof, "en"))
    assert "changed: settings = fsync" in lines and "off" not in lines
    [shown] = [g for g in judge("", ours, theirs, show=True) if g.table == "settings"]
    assert shown.differences[0].columns[0].right == "off"
    assert DriftProof().verdict is Verdict.UNKNOWN
    assert DriftProof(groups=tuple(judge("", ours, ours, show=False))).verdict is Verdict.PASS


def test_storage_is_told_in_words() -> None:
    proof = StorageProof(verdict=Verdict.FAIL, failures=2, broken=("public.t, page 3: broken",))
    assert list(storage_lines("b", proof, "en")) == [
        "b: 2 pages with a wrong checksum were met",
        "b: public.t, page 3: broken",
    ]


def test_a_part_that_is_not_meant_for_a_replica_does_not_spoil_it_and_none_is_no_proof() -> None:
    good = StorageProof(verdict=Verdict.PASS)
    asked = (Part.STORAGE, Part.CANARY)
    replica = ReplicaProof(instance="b", storage=good, not_meant=(Part.CANARY,))
    only = ServiceProof(service="s", primary="a", asked=asked, replicas=(replica,))
    assert only.ok
    assert "1 of 1 replicas proven" in summary([only], "en")
    assert not msgspec.structs.replace(only, asked=(Part.CANARY,)).ok
    nothing = msgspec.structs.replace(only, replicas=(ReplicaProof(instance="b", storage=good),))
    assert not nothing.ok
    assert "0 of 1 replicas proven" in summary([nothing], "en")


def test_a_budget_has_a_unit() -> None:
    context, option = click.Context(click.Command("x")), click.Option(["--budget"])
    assert [seconds(context, option, text) for text in ("90s", "30m", "2h")] == [90, 1800, 7200]
    assert seconds(context, option, None) is None
    for wrong in ("2", "h", "-1h", "two hours"):
        with pytest.raises(click.BadParameter):
            seconds(context, option, wrong)


class Pages:
    """A view of a table whose page n holds n + 1 rows."""

    def __init__(self) -> None:
        self.read: list[int] = []

    async def digests(self, table: Table, form: Form, spans: tuple[Span, ...]) -> tuple[Digest, ...]:
        self.read += [span.first for span in spans]
        return tuple(
            Digest(rows=sum(n + 1 for n in range(s.first, min(s.last or 1000, table.pages))), total=0) for s in spans
        )


def test_two_replicas_that_had_come_to_different_pages_are_each_compared_once() -> None:
    views = {"b": Pages(), "c": Pages()}
    followers = {name: cast(Follower, SimpleNamespace(lag_s=0.0)) for name in views}
    ground = Ground(Method.CUT, cast(RowView, Pages()), followers, cast(dict[str, RowView], views))
    job = Job(ground=ground, table=table(pages=300), form=Form.RECORD, pace=Pace("", None), brake=Brake(0.999))
    first = Digest(rows=sum(range(1, 129)), total=0)
    begun = {"b": Sweep(), "c": Sweep(left=first, right=first, next_page=128)}
    swept = asyncio.run(sweep(job, batches_of(job.table, job.at_once), ("b", "c"), begun))
    whole = sum(range(1, 301))
    assert {name: (s.left.rows, s.right.rows) for name, s in swept.items()} == dict.fromkeys("bc", (whole, whole))
    assert min(views["c"].read) == 128 and min(views["b"].read) == 0
