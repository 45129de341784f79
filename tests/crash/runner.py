"""One case: begin in a kept state, kill the executor at its points, go on until it ends, judge."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from typing import NamedTuple

import psycopg

from tests.crash.commands import KILLED, Done, call, end_all
from tests.crash.estate import Estate
from tests.crash.judge import World, judge
from tests.crash.scenarios import BY_NAME, HALF_MOVED, Scenario
from tests.crash.specials import SPECIALS, frozen_at
from tests.integration.drills import Home
from tests.integration.sampler import Sampler


class Result(NamedTuple):
    """What a case came to."""

    problems: list[str]
    codes: list[int]
    seconds: float

    @property
    def struck(self) -> bool:
        """Whether the executor was killed at all: a point may lie behind the end of what it was to interrupt."""
        return KILLED in self.codes


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
    home = begin(estate, scenario, "case")
    try:
        return _run(home, scenario, text)
    finally:
        end_all(home)


def _run(home: Home, scenario: Scenario, text: str) -> Result:
    begun = time.monotonic()
    before = World(home)
    with Sampler(home.databases("legal-person"), home.path / "sampler.jsonl") as sampler:
        if text in SPECIALS or text.endswith("~stop"):
            codes, problems = [KILLED], _special(home, scenario, text)
        else:
            codes, last = carry(home, scenario, text.split(";") if text else [])
            well = codes[-1] in scenario.codes and set(codes[:-1]) <= {KILLED} and "Traceback" not in last.err
            problems = [] if well else [f"exit codes {codes}: {last.err.strip()[-400:]}"]
    problems += judge(home, scenario, before, sampler)
    return Result(problems, codes, time.monotonic() - begun)


def _special(home: Home, scenario: Scenario, name: str) -> list[str]:
    try:
        return list(SPECIALS[name].carry(home, scenario) if name in SPECIALS else frozen_at(home, scenario, name))
    except (AssertionError, psycopg.Error, OSError, subprocess.SubprocessError) as error:
        return [f"{type(error).__name__}: {str(error)[:400]}"]


def carry(home: Home, scenario: Scenario, points: Sequence[str]) -> tuple[list[int], Done]:
    """The commands of a case, one after the other; their exit codes and how the last ended."""
    words, codes = scenario.words, []
    for point in (*points, ""):
        done = call(home, words, point)
        codes.append(done.code)
        if done.code != KILLED:
            break
        words = scenario.recover
    return codes, done
