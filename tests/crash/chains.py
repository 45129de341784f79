"""The whole matrix in chains: one run of a scenario is killed some forty times, each time where it never was before.

A case alone takes twenty seconds, of which the kill is two. In a chain the lives before a kill were killed too, which
is harder, and each chain begins anew, so that its first kill is one of an undisturbed run. What is chained:

    sweep     boundaries, turns, moments inside lasting effects, kills of the resume; in its last life but one a moment
              after the run's end
    frozen    each executor that takes over is frozen too
    closing   moments after the run's end that no sweep came by: one a run
    special   one a run

A scenario is swept when a chain came to its end with nothing left to strike on its way.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from orchestrator.model.topology import Frozen
from tests.crash.cases import Case
from tests.crash.estate import Estate
from tests.crash.lives import Wanted
from tests.crash.runner import Result, run_case, run_frozen, run_sweep
from tests.crash.scenarios import BY_NAME

SWEPT = frozenset({"before", "after", "inside", "resume"})
ALONE = ("closing", "special")
MISSES = 2
"""A second kill that the resume does not come by is given up after so many tries."""
FROZEN_AT_ONCE = 12
"""Each frozen executor holds its memory and its connections."""


class Line(Frozen, kw_only=True):
    """A line of the results file: a chain or a case that was run and judged."""

    scenario: str
    kind: str
    points: tuple[str, ...] = ()
    cases: tuple[str, ...] = ()
    ended: bool = True
    missed: str = ""
    problems: tuple[str, ...] = ()
    codes: tuple[int, ...] = ()
    seconds: float = 0.0
    shorter: str = ""
    """Where a chain went wrong: its last kill, if that alone goes wrong too."""

    @property
    def command(self) -> str:
        """Runs the same again."""
        text = self.shorter or ";".join(self.points) or self.missed
        return f"python -m tests.crash --case '{self.scenario} {text}'"


class Chain(NamedTuple):
    """What is run next of a scenario."""

    scenario: str
    kind: str
    wanted: Wanted | None = None
    text: str = ""
    """The case, where it is one alone."""

    def run(self, estate: Estate, kills: int) -> Line:
        """Run and judge it."""
        scenario = BY_NAME[self.scenario]
        if self.wanted is None:
            done = run_case(estate, scenario, self.text)
        elif self.kind == "frozen":
            done = run_frozen(estate, scenario, self.wanted, min(kills, FROZEN_AT_ONCE))
        else:
            done = run_sweep(estate, scenario, self.wanted, kills)
        return self._line(done)

    def shortened(self, estate: Estate, line: Line) -> Line:
        """The same line, with its last kill alone where that goes wrong too."""
        if self.kind != "sweep" or len(line.points) < 2:
            return line
        alone = run_case(estate, BY_NAME[self.scenario], line.points[-1])
        return replace(line, shorter=line.points[-1] if alone.problems else "")

    def _line(self, done: Result) -> Line:
        return Line(
            scenario=self.scenario,
            kind=self.kind,
            points=tuple(done.points),
            cases=tuple(done.cases),
            ended=done.ended,
            missed=done.missed or ("" if done.struck else self.text),
            problems=tuple(done.problems),
            codes=tuple(done.codes),
            seconds=round(done.seconds, 1),
        )


class Log:
    """The results file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        kept = path.read_bytes().splitlines() if path.exists() else []
        self.lines = [msgspec.json.decode(line, type=Line) for line in kept]

    def add(self, line: Line) -> None:
        """Keep one more."""
        self.lines.append(line)
        with self._path.open("ab") as file:
            file.write(msgspec.json.encode(line) + b"\n")

    def forget_wrong(self) -> None:
        """What went wrong is to be run again."""
        self.lines = [line for line in self.lines if not line.problems]
        self._path.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in self.lines))


def following(scenario: str, cases: Sequence[Case], lines: Collection[Line]) -> Chain | None:
    """The next chain of a scenario, given what was run of it; None: nothing is left."""
    mine = [line for line in lines if line.scenario == scenario]
    left = Left(cases, mine)
    for kind in ("sweep", "frozen"):
        told = [line for line in mine if line.kind == kind]
        if left.of_chain(kind) and not any(_is_through(line, left) for line in told):
            return Chain(scenario, kind, left.wanted(kind))
    alone = next((c for c in left.cases if c.kind in ALONE), None)
    return Chain(scenario, alone.kind, text=alone.text) if alone else None


def _is_through(line: Line, left: Left) -> bool:
    return not line.points or (line.ended and not left.of_chain(line.kind))


class Left:
    """What is left of a scenario's cases."""

    def __init__(self, cases: Sequence[Case], lines: Sequence[Line]) -> None:
        missed = [line.missed for line in lines for _ in range(MISSES if line.kind in ALONE else 1)]
        self._known = {text for line in lines for text in line.cases}
        self._known |= {text for text in missed if text and missed.count(text) >= MISSES}
        self.cases = [c for c in cases if c.text not in self._known]

    def of_chain(self, kind: str) -> list[str]:
        """Cases that this kind of chain is to strike."""
        return [c.text for c in self.cases if (c.kind in SWEPT if kind == "sweep" else c.kind == kind)]

    def wanted(self, kind: str) -> Wanted:
        """For the next chain of this kind."""
        closing = next(iter(self.of_chain("closing")), "") if kind == "sweep" else ""
        return Wanted(kind == "sweep", list(self._not_plain(self.of_chain(kind))), sorted(self._known), closing)

    @staticmethod
    def _not_plain(texts: Collection[str]) -> Iterator[str]:
        """Those that are more than a boundary or a turn, which the test hook finds by itself."""
        return (text for text in texts if any(sign in text for sign in ";+~"))
