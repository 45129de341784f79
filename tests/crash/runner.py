"""One case, or a chain of them: begin in a kept state, kill the executor at its points, go on to the end, judge."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import psycopg

from tests.crash.commands import KILLED, call, end_all
from tests.crash.estate import Estate
from tests.crash.frozen import STOP, Frozen
from tests.crash.judge import World, judge
from tests.crash.lives import Lives, Wanted
from tests.crash.scenarios import BY_NAME, HALF_MOVED, Scenario
from tests.crash.specials import SPECIALS
from tests.integration.drills import Home
from tests.integration.sampler import Sampler


class Result(NamedTuple):
    """What a case or a chain came to."""

    problems: list[str]
    seconds: float
    codes: Sequence[int] = ()
    points: Sequence[str] = ()
    """Where it was struck, in order."""
    cases: Sequence[str] = ()
    """What was struck by that."""
    ended: bool = True
    """Nothing more was to be struck on its way."""
    missed: str = ""

    @property
    def struck(self) -> bool:
        """Whether anything was: a point may lie behind the end of what it was to interrupt."""
        return bool(self.cases)


def begin(estate: Estate, scenario: Scenario, name: str) -> Home:
    """A home for a case, in the state in which its scenario begins."""
    if not estate.has(scenario.start):
        _make_start(estate, scenario.start)
    home = estate.home(name)
    estate.restore(scenario.start, home)
    return home


def _make_start(estate: Estate, name: str) -> None:
    """Reach a state by the shipped commands, once, and keep it."""
    home = estate.home("case")
    estate.restore("fresh")
    if name == "moved":
        done = call(home, BY_NAME["switchover"].words)
        assert done.code == 0, f"the switchover before a failback ended with {done.code} {done.err}"
        estate.keep(name)
    else:
        at, words = HALF_MOVED
        done = call(home, words, at)
        assert done.code == KILLED, f"the switchover was not killed: {done.code} {done.err}"
        estate.keep(name, home)


def run_case(estate: Estate, scenario: Scenario, text: str) -> Result:
    """Kill the command at the first point, each resume at the next; then resume once more, and judge."""
    return _judged(estate, scenario, lambda home: _alone(home, scenario, text))


def run_sweep(estate: Estate, scenario: Scenario, wanted: Wanted, kills: int) -> Result:
    """Kill life after life where nothing was killed yet; then resume to the end, and judge."""

    def doing(home: Home) -> Result:
        lives = Lives(home, scenario)
        lives.sweep(wanted, kills)
        return _of(lives)

    return _judged(estate, scenario, doing)


def run_frozen(estate: Estate, scenario: Scenario, wanted: Wanted, most: int) -> Result:
    """Freeze executor after executor; let one end the run, wake all, and judge."""

    def doing(home: Home) -> Result:
        frozen = Frozen(home, scenario)
        problems = _tried(lambda: frozen.at_any(wanted, most))
        return Result(problems, 0.0, points=frozen.points, cases=frozen.points, ended=frozen.ended)

    return _judged(estate, scenario, doing)


def _judged(estate: Estate, scenario: Scenario, doing: Callable[[Home], Result]) -> Result:
    home = begin(estate, scenario, "case")
    begun = time.monotonic()
    try:
        before = World(home)
        with Sampler(home.databases("legal-person"), home.path / "sampler.jsonl") as sampler:
            done = doing(home)
        problems = [*done.problems, *judge(home, scenario, before, sampler)]
        return done._replace(problems=problems, seconds=time.monotonic() - begun)
    finally:
        end_all(home)


def _alone(home: Home, scenario: Scenario, text: str) -> Result:
    if text in SPECIALS:
        return Result(_tried(lambda: SPECIALS[text].carry(home, scenario)), 0.0, points=[text], cases=[text])
    points = text.split(";") if text else []
    if text.endswith(STOP):
        frozen = Frozen(home, scenario)
        problems = _tried(lambda: frozen.at(points))
        return Result(problems, 0.0, points=frozen.points, cases=[text] if frozen.points == points else [])
    lives = Lives(home, scenario)
    lives.carry(points)
    return _of(lives)


def _of(lives: Lives) -> Result:
    return Result(lives.problems, 0.0, lives.codes, lives.points, lives.cases, lives.ended_early, lives.missed)


def _tried(what: Callable[[], Iterable[str]]) -> list[str]:
    try:
        return list(what())
    except (AssertionError, psycopg.Error, OSError, subprocess.SubprocessError) as error:
        return [f"{type(error).__name__}: {str(error)[:400]}"]
