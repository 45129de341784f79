"""Tools of the benches: rows of the table, medians, timed commands."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from orchestrator.model.topology import Frozen

ROOT = Path(__file__).resolve().parents[2]


class Row(Frozen, kw_only=True):
    """One line of the table: what we took, what the floor or bound is, and whether the target holds."""

    what: str
    ours: str
    against: str
    ratio: str
    target: str
    met: bool


def timed(call: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def medians(rounds: int, *calls: Callable[[], object]) -> list[float]:
    """Median seconds of each call, the calls taken in turn so that noise falls on all of them alike."""
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(rounds):
        for index, call in enumerate(calls):
            times[index].append(timed(call))
    return [statistics.median(t) for t in times]


def drctl(*words: str, home: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a drctl command with a home of its own."""
    return subprocess.run(
        [sys.executable, "-m", "orchestrator.cli.main", "--home", str(home), *words],
        cwd=ROOT,
        check=check,
        capture_output=True,
        text=True,
    )


HEAD = "| what | ours | against | ratio | target | met |\n|---|---|---|---|---|---|"


def line(row: Row) -> str:
    """The row in Markdown, below HEAD."""
    return f"| {row.what} | {row.ours} | {row.against} | {row.ratio} | {row.target} | {'yes' if row.met else 'NO'} |"


def table(rows: Sequence[Row]) -> str:
    """The table in Markdown."""
    return "\n".join([HEAD, *map(line, rows)])
