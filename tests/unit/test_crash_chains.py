"""What the crash matrix runs next, when it is through, and what its table says: no point is lost or counted twice."""

from __future__ import annotations

from pathlib import Path

from tests.crash.cases import Case, Reference, cases
from tests.crash.chains import Chain, Line, Log, following
from tests.crash.scenarios import BY_NAME
from tests.crash.table import table

NAME = "switchover"
PAIR = "inside:one:1;run_resumed:*:before"
ALL = tuple(
    Case(scenario=NAME, kind=kind, text=text)
    for kind, text in (
        ("before", "step_done:one:before"),
        ("inside", "inside:one:0+40"),
        ("resume", PAIR),
        ("frozen", "inside:one:1~stop"),
        ("closing", "run_closed:*:after+100"),
        ("special", "two-resumes"),
    )
)


def line(kind: str = "sweep", *, struck: tuple[str, ...] = (), ended: bool = False, missed: str = "") -> Line:
    points = tuple(point for case in struck for point in case.split(";"))
    return Line(scenario=NAME, kind=kind, points=points, cases=struck, ended=ended, missed=missed)


def after(*lines: Line) -> Chain:
    found = following(NAME, ALL, lines)
    assert found is not None
    return found


def test_a_sweep_first_and_again_until_one_ends_with_nothing_left() -> None:
    first = after()
    assert first.kind == "sweep" and first.wanted is not None
    assert first.wanted.everything and first.wanted.closing == "run_closed:*:after+100"
    assert list(first.wanted.cases) == ["inside:one:0+40", PAIR]
    some = line(struck=("step_done:one:before", PAIR))
    second = after(some)
    assert second.kind == "sweep" and second.wanted is not None
    assert list(second.wanted.cases) == ["inside:one:0+40"] and set(second.wanted.known) == set(some.cases)
    assert after(some, line(struck=("inside:one:0+40",))).kind == "frozen"
    assert after(some, line(ended=True)).kind == "frozen", "a run that came by nothing: the rest cannot be struck"
    assert after(some, line(struck=("step_done:more:before",), ended=True)).kind == "sweep"


def test_the_second_kill_of_a_pair_is_given_up_when_it_was_missed_twice() -> None:
    missed = line(struck=("step_done:one:before",), missed=PAIR)
    again, given_up = after(missed), after(missed, line(struck=("inside:one:0+40",), missed=PAIR))
    assert again.wanted is not None and PAIR in again.wanted.cases
    assert given_up.kind == "frozen"


def test_then_frozen_then_what_needs_a_run_of_its_own_once_each() -> None:
    swept = line(struck=("step_done:one:before", "inside:one:0+40", PAIR))
    frozen = line("frozen", struck=("inside:one:1~stop",))
    closing = after(swept, frozen)
    assert (closing.kind, closing.text, closing.wanted) == ("closing", "run_closed:*:after+100", None)
    not_met = line("closing", missed="run_closed:*:after+100")
    assert after(swept, frozen, not_met).text == "two-resumes"
    assert following(NAME, ALL, [swept, frozen, not_met, line("special", struck=("two-resumes",))]) is None


def test_what_went_wrong_is_run_again_only_when_asked(tmp_path: Path) -> None:
    log = Log(tmp_path / "lines")
    log.add(line(struck=("step_done:one:before",)))
    log.add(Line(scenario=NAME, kind="sweep", points=("a", "b"), cases=(PAIR,), problems=("two primaries",)))
    known = Log(tmp_path / "lines")
    assert known.lines == log.lines
    assert known.lines[1].command == "python -m tests.crash --case 'switchover a;b'"
    known.forget_wrong()
    assert Log(tmp_path / "lines").lines == log.lines[:1]


def test_the_table_counts_each_case_once_and_says_what_was_never_struck() -> None:
    wrong = Line(scenario=NAME, kind="sweep", points=("x", "y"), cases=(PAIR, "more:x:after"), problems=("lost",))
    told = table(ALL, [line(struck=("step_done:one:before",)), wrong], tried=[NAME])
    rows = {words[1]: words[2:] for text in told.splitlines() if (words := text.split())[:1] == [NAME]}
    assert rows["before"] == ["1", "1", "0", "0"]
    assert rows["inside"] == ["1", "0", "1", "0"]
    assert rows["resume"] == ["1", "0", "0", "1"]
    assert rows["more"] == ["1", "0", "0", "1"]
    assert "not struck: switchover inside:one:0+40" in told
    assert "WRONG python -m tests.crash --case 'switchover x;y'" in told
    assert "7 " in next(text for text in told.splitlines() if text.startswith("all"))


def test_every_record_is_two_boundaries_and_every_effect_has_an_inside() -> None:
    told = (
        ("run_opened", "*", 0.0),
        ("effect_started", "short", 1.0),
        ("effect_done", "short", 1.1),
        ("effect_started", "long", 2.0),
        ("effect_done", "long", 4.0),
        ("run_closed", "*", 5.0),
    )
    found = cases(BY_NAME["undone"], Reference(records=told, turns={"short": 2, "long": 9}))
    texts = {(c.kind, c.text) for c in found}
    for event, step, _ in told:
        assert ("before", f"{event}:{step}:before") in texts
        assert ("after", f"{event}:{step}:after") in texts
    assert {t for k, t in texts if k == "inside" and "short" in t} == {f"inside:short:{n}" for n in (0, 1, 2)}
    assert ("inside", "inside:long:8") in texts and ("inside", "inside:long:6") not in texts
    assert ("inside", "inside:long:0+800") in texts
    assert ("resume", "inside:long:0+1000;run_resumed:*:before;run_resumed:*:after") in texts
    assert ("frozen", "inside:long:9~stop") in texts and ("frozen", "inside:short:1~stop") in texts
