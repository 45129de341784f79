"""The judgements of verification that need no server: rules, spans, pairs, sequences, results and their page."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from orchestrator.model.observation import Verdict
from orchestrator.model.proof import (
    NOTHING,
    CanaryProof,
    ContentProof,
    DifferenceKind,
    Method,
    Part,
    PositionProof,
    ProofProgress,
    ReplicaProof,
    Sameness,
    ServiceProof,
    TableProof,
    proof_ok,
)
from orchestrator.model.rows import Cell, Digest, Row, RowsUnreadable, Sequence, Span, Table, Trouble
from orchestrator.model.topology import Text
from orchestrator.reports.verify_view import render, render_comparison
from orchestrator.verification import catalogue
from orchestrator.verification.canary_row import rank
from orchestrator.verification.options import Pace
from orchestrator.verification.result import VALUE_CHARS, difference, explain, pair_rows
from orchestrator.verification.settle import Look, Memory, Ruling, content, remarks, rule
from orchestrator.verification.spans import LEAF_PAGES, is_leaf, spans_of, split

V1: Look = frozenset({("v1", 10)})
V2: Look = frozenset({("v2", 20)})
V3: Look = frozenset({("v3", 30)})
V4: Look = frozenset({("v4", 40)})
GONE: Look = frozenset()


def table(name: str = "t", mark: str = "m", pages: int = 100, key: tuple[str, ...] = ("id",)) -> Table:
    return Table(
        database="app", schema="public", name=name, mark=mark, columns=(), key=key, pages=pages, rows_estimate=0
    )


Round = tuple[list[Look], list[Look]]


def rulings(*rounds: Round) -> list[Ruling]:
    """What each of several rounds makes of a row."""
    memory: Memory = Counter()
    found = []
    for primary, replica in rounds:
        found.append(rule(primary, replica, memory)[0])
        memory.update(remarks(primary, replica))
    return found


@pytest.mark.parametrize(
    ("primary", "replica", "expected"),
    [
        ([V1, V1], [V1], Ruling.AGREED),
        ([V1, V2], [V2], Ruling.AGREED),
        ([V1, V2, V3], [V3, V2], Ruling.AGREED),
        ([GONE, GONE], [GONE], Ruling.AGREED_GONE),
        ([GONE, V1], [GONE], Ruling.AGREED_GONE),
        ([V1, V2], [frozenset({("v1", 99)})], Ruling.DIFFERENT),
        ([V1, V1], [V2], Ruling.OPEN),
        ([V1, V2], [V3], Ruling.OPEN),
    ],
)
def test_what_one_round_tells(primary: list[Look], replica: list[Look], expected: Ruling) -> None:
    assert rulings((primary, replica)) == [expected]


@pytest.mark.parametrize(
    ("rounds", "expected"),
    [
        ([([V1, V1], [GONE])] * 3, Ruling.DIFFERENT),
        ([([GONE, GONE], [V1])] * 3, Ruling.DIFFERENT),
        ([([V1, V1], [V2])] * 3, Ruling.DIFFERENT),
        ([([V1, V1], [V2])] * 2, Ruling.OPEN),
        ([([V2, V3], [V1]), ([V3, V3], [V1]), ([V4, V4], [V1])], Ruling.DIFFERENT),
        ([([V1, V1], [GONE]), ([V2, V2], [GONE]), ([V3, V3], [GONE])], Ruling.OPEN),
        ([([V1, V1], [V2]), ([V2, V2], [V3]), ([V3, V3], [V4])], Ruling.OPEN),
    ],
)
def test_a_difference_must_stay(rounds: list[Round], expected: Ruling) -> None:
    assert rulings(*rounds)[-1] is expected
    assert Ruling.DIFFERENT not in rulings(*rounds)[:-1]


THERE1: Look = frozenset({("w1", 10)})
THERE2: Look = frozenset({("w2", 20)})
THERE5: Look = frozenset({("w5", 50)})


@pytest.mark.parametrize(
    ("rounds", "expected"),
    [
        ([([V1, V1], [THERE1])], Ruling.AGREED),
        ([([V1, V2], [THERE2])], Ruling.AGREED),
        ([([GONE, GONE], [GONE])], Ruling.AGREED_GONE),
        ([([V1, V1], [frozenset({("v1", 99)})])], Ruling.OPEN),
        ([([V1, V1], [THERE5])] * 3, Ruling.DIFFERENT),
        ([([V1, V1], [GONE])] * 3, Ruling.DIFFERENT),
        ([([GONE, GONE], [THERE1])] * 3, Ruling.DIFFERENT),
        ([([V1, V2], [THERE5]), ([V2, V3], [THERE5]), ([V3, V4], [THERE5])], Ruling.DIFFERENT),
        ([([V1, V2], [THERE5]), ([V2, V3], [THERE1]), ([V3, V4], [THERE2])], Ruling.OPEN),
        ([([V1, V2], [GONE]), ([V2, V3], [GONE]), ([V3, V4], [GONE])], Ruling.OPEN),
    ],
)
def test_a_replica_with_versions_of_its_own_agrees_by_content(rounds: list[Round], expected: Ruling) -> None:
    memory: Memory = Counter()
    found = []
    for primary, replica in rounds:
        found.append(rule(primary, replica, memory, content)[0])
        memory.update(remarks(primary, replica, content))
    assert found[-1] is expected
    assert Ruling.DIFFERENT not in found[:-1]


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 3), min_size=3, max_size=12),
    st.lists(st.integers(0, 11), min_size=16, max_size=16),
    st.booleans(),
)
def test_a_faithful_replica_is_never_called_different(history: list[int], moments: list[int], ahead: bool) -> None:
    """Any history of versions (0: deleted), any moments of the reads that keep their order: no round says DIFFERENT.

    `ahead`: the replica shows commits that the primary shows only later, as with synchronous replication.
    """
    shown: list[Look] = []
    for number, value in enumerate(history):
        kept = number > 0 and history[number - 1] == value
        shown.append(shown[-1] if kept else frozenset({(f"{number}", value)}) if value else GONE)
    times = iter(sorted(moment % len(shown) for moment in moments))
    rounds: list[Round] = []
    for before, middle, third, fourth in zip(times, times, times, times, strict=True):
        replica, after = (fourth, third) if ahead else (third, fourth)
        rounds.append(([shown[before], shown[middle], shown[after]], [shown[replica]]))
    assert Ruling.DIFFERENT not in rulings(*rounds)


@settings(deadline=None)
@given(st.integers(0, 100_000))
def test_spans_cover_a_table_without_gap_or_overlap(pages: int) -> None:
    spans = spans_of(table(pages=pages))
    assert spans[0].first == 0
    assert spans[-1].last is None
    assert all(left.last == right.first for left, right in pairwise(spans))


@settings(deadline=None)
@given(st.integers(0, 5000), st.integers(1, 3000))
def test_cutting_a_span_finer_ends_at_leaves_that_cover_it(first: int, length: int) -> None:
    todo, leaves = [Span(first=first, last=first + length)], list[Span]()
    while todo:
        span = todo.pop()
        if is_leaf(span, 0):
            leaves.append(span)
        else:
            parts = split(span, 0)
            assert len(parts) > 1
            todo += parts
    leaves.sort(key=lambda s: s.first)
    assert (leaves[0].first, leaves[-1].last) == (first, first + length)
    assert all(left.last == right.first for left, right in pairwise(leaves))
    assert all(s.last is not None and s.last - s.first <= LEAF_PAGES for s in leaves)


@settings(deadline=None)
@given(st.integers(0, 5000), st.integers(0, 9000))
def test_an_open_span_is_cut_into_closed_ones_and_an_open_leaf(first: int, pages: int) -> None:
    span = Span(first=first)
    if is_leaf(span, pages):
        assert first > pages
        return
    parts = split(span, pages)
    assert parts[0].first == first
    assert all(left.last == right.first for left, right in pairwise(parts))
    assert parts[-1].last is None
    assert is_leaf(parts[-1], pages)


def row(key: str, print_: int, place: str = "(0,1)", **cells: str | None) -> Row:
    shown = tuple(Cell(name=n, print=None if v is None else hash(v) % 999, text=v) for n, v in cells.items())
    return Row(asked=place, place=place, key=key, version=place, print=print_, cells=shown)


def test_rows_pair_by_key_and_equal_ones_are_left_out() -> None:
    lefts = [row('["1"]', 1, name="a"), row('["2"]', 2, name="b"), row('["3"]', 3, name="c")]
    rights = [row('["1"]', 1, "(9,9)", name="a"), row('["2"]', 5, name="x"), row('["4"]', 4, name="d")]
    found = [difference(pair) for pair in pair_rows(lefts, rights)]
    assert [(d.kind, d.key) for d in found] == [
        (DifferenceKind.CHANGED, "2"),
        (DifferenceKind.MISSING, "3"),
        (DifferenceKind.EXTRA, "4"),
    ]
    assert [c.name for c in found[0].columns] == ["name"]


def test_a_key_held_twice_leaves_one_extra() -> None:
    [pair] = pair_rows([row('["1"]', 1)], [row('["1"]', 1), row('["1"]', 1, "(0,2)")])
    assert difference(pair).kind is DifferenceKind.EXTRA


def test_keys_are_written_for_people_and_long_values_are_cut() -> None:
    [pair] = pair_rows([row('["1", "ü"]', 1, v="x" * 999)], [row('["1", "ü"]', 2, v=None)])
    found = difference(pair)
    assert found.key == "(1, ü)"
    assert found.columns[0].left == "x" * VALUE_CHARS + "…"
    assert found.columns[0].right is None
    [keyless] = pair_rows([row("", 1, "(3,7)")], [])
    assert difference(keyless).key == "place (3,7)"


def seq(last: int | None, increment: int = 1, cache: int = 1) -> Sequence:
    return Sequence(schema="s", name="q", last_value=last, increment=increment, cache=cache, cycles=False)


@pytest.mark.parametrize(
    ("before", "replica", "after", "expected"),
    [
        (5, 5, 5, Sameness.EQUAL),
        (None, None, None, Sameness.EQUAL),
        (5, 38, 5, Sameness.EQUAL),
        (5, 39, 5, Sameness.DIFFERENT),
        (5, 4, 5, Sameness.DIFFERENT),
        (5, 6, 9, Sameness.EQUAL),
        (None, 33, 1, Sameness.EQUAL),
        (None, None, 1, Sameness.EQUAL),
        (7, None, 7, Sameness.DIFFERENT),
        (None, 3, None, Sameness.DIFFERENT),
        (9, 9, 2, Sameness.UNKNOWN),
    ],
)
def test_sequences_may_be_logged_ahead_and_never_behind(
    before: int | None, replica: int | None, after: int | None, expected: Sameness
) -> None:
    assert catalogue.judge_sequence("app", seq(before), seq(replica), seq(after)).sameness is expected


def test_a_descending_sequence_and_one_that_is_gone() -> None:
    assert catalogue.judge_sequence("app", seq(-5, -1), seq(-37, -1), seq(-5, -1)).sameness is Sameness.EQUAL
    assert catalogue.judge_sequence("app", seq(-5, -1), seq(-4, -1), seq(-5, -1)).sameness is Sameness.DIFFERENT
    assert catalogue.judge_sequence("app", seq(1), None, seq(1)).sameness is Sameness.DIFFERENT
    assert catalogue.judge_sequence("app", seq(1), seq(1), None).sameness is Sameness.UNKNOWN
    assert catalogue.judge_sequence("app", seq(1), seq(1), seq(1, increment=2)).sameness is Sameness.UNKNOWN


def test_tables_are_chosen_by_pattern_and_compared_by_mark() -> None:
    tables = [table("person"), table("Person archive"), table("x")]
    assert [t.name for t in catalogue.chosen(tables, ("public.per*",))] == ["person"]
    assert [t.name for t in catalogue.chosen(tables, ("app.*.x", "Person*"))] == ["Person archive", "x"]
    assert catalogue.chosen(tables, ()) == tuple(tables)
    other = [table("person", mark="other"), table("x"), table("new")]
    assert [t.name for t in catalogue.mismatched(tables, other)] == ["Person archive", "new", "person"]


def proof(*tables: TableProof, reason: Text = NOTHING) -> ContentProof:
    return ContentProof(method=Method.CUT, why=NOTHING, position=1, tables=tables, reason=reason)


def told(sameness: Sameness) -> TableProof:
    return TableProof(database="app", table=f"public.{sameness.name}", sameness=sameness)


def test_content_passes_only_where_something_was_compared_and_nothing_stayed_open() -> None:
    equal, skipped = told(Sameness.EQUAL), told(Sameness.SKIPPED)
    assert proof(equal, skipped).verdict is Verdict.PASS
    assert proof().verdict is Verdict.UNKNOWN
    assert proof(skipped).verdict is Verdict.UNKNOWN
    assert proof(equal, told(Sameness.UNKNOWN)).verdict is Verdict.UNKNOWN
    assert proof(equal, reason=Text(en="x", zh="x")).verdict is Verdict.UNKNOWN
    assert proof(equal, told(Sameness.DIFFERENT), told(Sameness.UNKNOWN)).verdict is Verdict.FAIL


def service(
    *replicas: ReplicaProof, asked: tuple[Part, ...] = (Part.CONTENT,), primary: str = "s/db@a"
) -> ServiceProof:
    return ServiceProof(service="s/db", primary=primary, asked=asked, replicas=replicas)


def test_empty_is_never_ok() -> None:
    good = ReplicaProof(instance="s/db@b", content=proof(told(Sameness.EQUAL)))
    assert proof_ok([service(good)])
    assert not proof_ok([])
    assert not proof_ok([service()])
    assert not proof_ok([service(good, asked=())])
    assert not proof_ok([service(good, primary="")])
    assert not proof_ok([service(good), service(ReplicaProof(instance="s/db@c", content=proof()))])
    assert not proof_ok([service(good, asked=(Part.CONTENT, Part.CANARY))])
    assert not proof_ok([msgspec.structs.replace(service(good), reason=Text(en="x", zh="x"))])


@settings(deadline=None)
@given(st.lists(st.floats(0, 10), min_size=1))
def test_percentiles_are_values_that_were_measured(values: list[float]) -> None:
    middle, high = rank(values, 50), rank(values, 95)
    assert middle in values
    assert high in values
    assert sum(v <= high for v in values) >= 0.95 * len(values)
    assert rank(values, 100) == max(values)


def test_no_value_has_no_percentile() -> None:
    assert rank([], 50) is None


def test_progress_tells_speed_and_what_is_left() -> None:
    now, notes = [0.0], list[ProofProgress]()
    pace = Pace("s/db", notes.append, clock=lambda: now[0])
    pace.rows_total = 400
    for _ in range(10):
        now[0] += 0.1
        pace.add(10, "public.t")
    assert len(notes) == 3
    assert notes[-1].rows_per_s == pytest.approx(100)
    assert notes[-1].eta_s == pytest.approx((400 - notes[-1].rows) / 100)


def test_digests_add_up_and_count_duplicates() -> None:
    one, two = Digest(rows=1, total=7), Digest(rows=2, total=14)
    assert one.plus(one).same(two)
    assert not one.same(two)
    assert one.same(Digest(rows=1, total=7, position=99))


def test_a_trouble_is_told_in_both_languages() -> None:
    text = explain(RowsUnreadable(Trouble.LOST, "s/db@b", "server closed the connection"))
    assert text.en == "the connection was lost (s/db@b: server closed the connection)"
    assert text.zh.startswith("连接中断")


def page(what: object) -> str:
    console = Console(width=200, highlight=False)
    with console.capture() as capture:
        console.print(what)
    return capture.get()


def test_the_page_names_tables_keys_and_columns_in_both_languages() -> None:
    [pair] = pair_rows([row('["7"]', 1, "(0,1)", name="[red]x")], [row('["7"]', 2, "(0,1)", name="y")])
    bad = TableProof(
        database="app",
        table="public.person",
        sameness=Sameness.DIFFERENT,
        key=("id",),
        differences=(difference(pair),),
        differing=3,
        more=True,
    )
    lag = CanaryProof(verdict=Verdict.FAIL, samples=2, unseen=2, reason=Text(en="2 of 2 rows not seen", zh="未可见"))
    position = PositionProof(verdict=Verdict.PASS, target=1, replayed_s=0.002)
    replica = ReplicaProof(instance="s/db@b", position=position, canary=lag, content=proof(bad))
    english, chinese = (page(render([service(replica, asked=tuple(Part))], lang)) for lang in ("en", "zh"))
    for words in (
        "s/db@a → b",
        "✓ 2.0 ms",
        "✗ not reached",
        "s/db@b app.public.person: different, at least 3 rows",
        "changed: id = 7 (name: '[red]x' ≠ 'y')",
        "2 of 2 rows not seen",
        "0 of 1 replicas proven",
    ):
        assert words in english
    for words in ("不一致", "内容不同: id = 7", "1 个副本中 0 个得到证明"):
        assert words in chinese
    assert "without a common position" in page(
        render_comparison("s/db@a", "s/db@c", msgspec.structs.replace(proof(bad), method=Method.APART), "en")
    )
