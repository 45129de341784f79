"""Other programs that compare tables, on the same rows.

They keep temporary tables or know no standby, so the replica is promoted for them: nothing else changes, and the
differences stay.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest

from tests.benchmarks.measure import Row, timed
from tests.benchmarks.peers import comparator, program
from tests.benchmarks.rows_world import DIFFERENCES, World, rows_world
from tests.integration import verify_pair

WITHIN_S = 300.0
COLUMNS = ("office", "name", "amount", "seen")


@dataclass(frozen=True)
class Peer:
    """A program, how it is called for two ports, and how many differing rows its output tells."""

    name: str
    words: Callable[[int, int], Sequence[str]]
    told: Callable[[str], int]
    target: float


def _comparator(a: int, b: int) -> Sequence[str]:
    table = f"app/entry?id:{','.join(COLUMNS)}"
    sides = [f"pgsql://postgres@127.0.0.1:{port}/{table}" for port in (a, b)]
    return ("--checksum-function=ck", "--aggregate=sum", *sides)


def _reladiff(a: int, b: int) -> Sequence[str]:
    sides = [word for port in (a, b) for word in (f"postgresql://postgres@127.0.0.1:{port}/app", "entry")]
    return (*sides, "-k", "id", *(word for name in COLUMNS for word in ("-c", name)))


def _lines(text: str, *begin: str) -> int:
    return sum(line.startswith(begin) for line in text.splitlines())


RELADIFF = Peer("reladiff", _reladiff, lambda out: _lines(out, "- "), 6.0)
COMPARATOR = Peer("pg_comparator", _comparator, lambda out: _lines(out, "UPDATE", "INSERT", "DELETE"), 2.4)


def reladiff_rows(world: World, ours: Callable[[], float], rounds: int) -> list[Row]:
    """reladiff on the pair; ours is measured before the promotion."""
    ours_s = statistics.median(ours() for _ in range(rounds))
    world.promote()
    return [_row(world.rows, RELADIFF, ours_s, RELADIFF.words(*world.ports), program("reladiff"))]


def comparator_rows(rows: int, ours: Callable[[World], float], rounds: int) -> list[Row]:
    """pg_comparator on a pair of the PostgreSQL that its own hash functions are built for, and ours there too."""
    if (programs := comparator()) is None:
        return [_row(rows, COMPARATOR, 0.0, (), None)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verify_pair, "OTHER", str(programs))
        with rows_world(rows) as world:
            ours_s = statistics.median(ours(world) for _ in range(rounds))
            world.promote()
            for node in world.pair.nodes:
                node.sql("CREATE EXTENSION pgcmp")
            return [_row(rows, COMPARATOR, ours_s, COMPARATOR.words(*world.ports), shutil.which(COMPARATOR.name))]


def _row(rows: int, peer: Peer, ours_s: float, words: Sequence[str], program: str | None) -> Row:
    target = f"≥ {peer.target:g} × faster"
    what = f"against {peer.name}, {rows:,} rows"
    if program is None:
        return Row(what=what, ours=f"{ours_s:.2f} s", against="not installed here", ratio="", target=target, met=False)
    outputs: list[str] = []

    def run() -> None:
        done = subprocess.run(
            [program, *words],
            capture_output=True,
            text=True,
            check=False,
            timeout=WITHIN_S,
        )
        outputs.append(done.stdout + done.stderr)

    theirs_s = timed(run)
    found = peer.told(outputs[0])
    if found != DIFFERENCES:
        said = outputs[0].strip().partition("\n")[0][:80]
        against = f"it told {found} of {DIFFERENCES}: {said}"
        return Row(what=what, ours=f"{ours_s:.2f} s", against=against, ratio="", target=target, met=False)
    return Row(
        what=what,
        ours=f"{ours_s:.2f} s",
        against=f"{theirs_s:.2f} s, {found} found",
        ratio=f"{theirs_s / ours_s:.1f}",
        target=target,
        met=theirs_s >= peer.target * ours_s,
    )
