"""The cases of a scenario, from a run that was not killed: each record is two boundaries, each effect has an inside.

A case is struck by a run of its own, or as one of the many kills of a chain (chains).

The plan says which steps there are, but only a real journal says which records they leave, and only a trace of what
the actors send says how often an action turns to the outside.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import msgspec

from orchestrator.crashpoint import is_told_apart
from orchestrator.model.topology import Frozen
from tests.crash.commands import call
from tests.crash.estate import Estate
from tests.crash.judge import World, judge, records
from tests.crash.runner import begin
from tests.crash.scenarios import Scenario
from tests.crash.specials import SPECIALS
from tests.integration.drills import Home

LASTING_S = 0.25
"""An action that takes longer is also killed at parts of its time: a playbook works on while nobody turns outward. A
shorter one that never turns outward too; what else is short has its turns, and a moment in it cannot be met."""
PARTS = (0.15, 0.4, 0.65, 0.9)
AFTER_END_MS = (100, 400, 900, 1600, 2500)
"""After the run is closed it is looked at, proven, measured and sealed: moments in there."""


class Case(Frozen, kw_only=True):
    """One kill, or one kill and another in the resume."""

    scenario: str
    kind: str
    """`before` and `after` a record, `inside` an effect, `resume` (a second kill), `frozen` and taken over, `closing`,
    `special`."""
    text: str
    """Crash points joined by `;`, or the name of a special."""

    @property
    def id(self) -> str:
        """What a results file knows it by."""
        return f"{self.scenario} {self.text}"

    @property
    def command(self) -> str:
        """Runs this case alone."""
        return f"python -m tests.crash --case '{self.id}'"


class Reference(Frozen, kw_only=True):
    """What a run that was not killed left."""

    records: tuple[tuple[str, str, float], ...]
    """Event, step (`*` for none), seconds of the monotonic clock."""
    turns: dict[str, int]
    """Step → how often its action turned to the outside."""

    def spans(self) -> dict[str, float]:
        """Seconds that each effect took."""
        begun = {step: at for event, step, at in self.records if event in {"effect_started", "undo_started"}}
        ended = {step: at for event, step, at in self.records if event in {"effect_done", "undo_done"}}
        return {step: ended[step] - at for step, at in begun.items() if step in ended}


def reference(estate: Estate, scenario: Scenario, folder: Path) -> Reference:
    """The scenario's reference; made once, by running it without a kill and judging it as strictly as any case."""
    kept = folder / f"reference-{scenario.name}.json"
    if kept.exists():
        return msgspec.json.decode(kept.read_bytes(), type=Reference)
    trace = folder / f"trace-{scenario.name}"
    trace.unlink(missing_ok=True)
    home = begin(estate, scenario, "reference")
    known = len(records(home)) if scenario.start == "half-moved" else 0
    before = World(home)
    done = call(home, scenario.words, f"trace:{trace}")
    problems = judge(home, scenario, before, None)
    assert done.code in scenario.codes and not problems, f"{scenario.name} without a kill: {done} {problems}"
    found = _reference(home, known, trace)
    kept.write_bytes(msgspec.json.encode(found))
    return found


def _reference(home: Home, known: int, trace: Path) -> Reference:
    turns: dict[str, int] = {}
    for line in trace.read_text().splitlines():
        step, _, number = line.rpartition(" ")
        turns[step] = max(turns.get(step, 0), int(number))
    told = tuple((r["event"], r["step"] or "*", float(r["mono_s"])) for r in records(home)[known:])
    return Reference(records=told, turns=turns)


def cases(scenario: Scenario, found: Reference) -> tuple[Case, ...]:
    """Every case of a scenario; the kinds take turns, so that whoever stops early has seen all of them."""
    kinds: dict[str, list[str]] = {
        "before": [f"{p}:before" for p in _boundaries(found)],
        "after": [f"{p}:after" for p in _boundaries(found)],
        "inside": list(_inside(found)),
        "resume": list(_twice(found)),
        "frozen": [f"inside:{step}:{turn}~stop" for step, turns in found.turns.items() for turn in _ends(turns)],
        "closing": [f"run_closed:*:after+{ms}" for ms in AFTER_END_MS],
        "special": [name for name, known in SPECIALS.items() if scenario.name in known.scenarios and known.possible()],
    }
    listed = [[Case(scenario=scenario.name, kind=k, text=t) for t in texts] for k, texts in kinds.items()]
    turns = itertools.zip_longest(*listed)
    return tuple(case for turn in turns for case in turn if case is not None)


def _boundaries(found: Reference) -> list[str]:
    return list(dict.fromkeys(f"{event}:{step}" for event, step, _ in found.records if event != "journal_cut"))


def _inside(found: Reference) -> Iterator[str]:
    for step, span_s in found.spans().items():
        turns = found.turns.get(step, 0)
        yield from (f"inside:{step}:{turn}" for turn in range(turns + 1) if is_told_apart(turn))
        if span_s > LASTING_S or not turns:
            yield from (f"inside:{step}:0+{max(1, round(1000 * span_s * part))}" for part in PARTS)


def _ends(turns: int) -> list[int]:
    """The first turn and the last; none where the action only waits for something of this machine."""
    return sorted({1, turns}) if turns else []


def _twice(found: Reference) -> Iterator[str]:
    """Killed inside an effect, then in the resumes: as one begins, and as one opens.

    Inside the same effect again is what a chain does by itself: turn after turn, and moment after moment.
    """
    for step, span_s in found.spans().items():
        lasting = span_s > LASTING_S
        half = f"inside:{step}:0+{round(500 * span_s)}" if lasting else f"inside:{step}:{min(1, found.turns[step])}"
        yield f"{half};run_resumed:*:before;run_resumed:*:after"
