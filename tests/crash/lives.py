"""The lives of a case or a chain: a command that is killed, resumes that are killed, one that goes on to the end."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import NamedTuple

from orchestrator.crashpoint import EVERYTHING
from tests.crash.commands import KILLED, Done, call, call_forked
from tests.crash.judge import codes
from tests.crash.scenarios import Scenario
from tests.integration.drills import Home


class Wanted(NamedTuple):
    """What a sweep is to strike."""

    everything: bool
    """Every boundary, and each turn that is told apart."""
    cases: Sequence[str]
    """Moments, and cases of several kills."""
    known: Collection[str]
    """What was struck before, or given up."""
    closing: str = ""
    """A moment after the run's end, for the last life but one."""

    def write(self, path: Path) -> None:
        """As the test hook reads it."""
        lines = [EVERYTHING] * self.everything + [f"+{c}" for c in self.cases] + [f"-{k}" for k in self.known]
        path.write_text("".join(f"{line}\n" for line in lines))


class Lives:
    """One life after the other, and what came of them."""

    def __init__(self, home: Home, scenario: Scenario) -> None:
        self._home, self._scenario = home, scenario
        self.codes: list[int] = []
        self.points: list[str] = []
        """Where each was struck, in order: the same points again are the same chain again."""
        self.cases: list[str] = []
        """The cases that were struck by these."""
        self.missed = ""
        """A case that was begun, and the resume did not come by its next point."""
        self.last = Done(0, "")

        self.ended_early = False
        """A life that was to be killed ended by itself: nothing more was to be struck on its way."""

    @property
    def ended(self) -> bool:
        """Whether the last life ended by itself."""
        return bool(self.codes) and self.codes[-1] != KILLED

    @property
    def problems(self) -> list[str]:
        """What the exit code and the messages of the last life say; only kills of ours may come before it."""
        well = self.codes[-1] in codes(self._home, self._scenario) and "Traceback" not in self.last.err
        said = f"exit code {self.codes[-1]} after {len(self.points)} kills: {self.last.err.strip()[-400:]}"
        return [] if well else [said]

    def carry(self, points: Sequence[str]) -> None:
        """Kill the command at the first point, each resume at the next; then resume once more, to the end."""
        if all(self._killed(point, call) for point in points):
            self.cases.append(";".join(points))
            self._killed("", call)

    def sweep(self, wanted: Wanted, kills: int) -> None:
        """Kill each life at the first point that was not struck yet; after so many kills go on to the end."""
        file = self._home.path / "unstruck"
        wanted.write(file)
        while len(self.points) < kills and self._killed(f"unstruck:{file}", call_forked):
            case = file.read_text().splitlines()[-1][1:]
            self.points[-1], *rest = case.split(";")
            if not all(self._killed(point, call_forked) for point in rest):
                self.missed = case
                return
            self.cases.append(case)
        if not self.ended and wanted.closing and self._killed(wanted.closing, call_forked):
            self.cases.append(wanted.closing)
        if not self.ended:
            self._killed("", call)

    def _killed(self, at: str, how: Callable[[Home, Sequence[str], str], Done]) -> bool:
        """Begin a life that is to be killed there; False where it ended by itself."""
        self.last = how(self._home, self._scenario.recover if self.codes else self._scenario.words, at)
        self.codes.append(self.last.code)
        if not self.ended:
            self.points.append(at)
        self.ended_early = self.ended and at.startswith("unstruck:")
        return not self.ended
