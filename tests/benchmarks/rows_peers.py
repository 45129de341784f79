"""Other programs that compare tables, on the same rows, where they are installed (on the PATH).

They keep temporary tables or know no standby, so the replica is promoted for them: nothing else changes, and the
differences stay.
"""

from __future__ import annotations

import contextlib
import shutil
import statistics
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import psycopg

from tests.benchmarks.measure import Row, timed
from tests.benchmarks.rows_world import DIFFERENCES, World

WITHIN_S = 300.0
COLUMNS = ("office", "name", "amount", "seen")


@dataclass(frozen=True)
class Peer:
    """A program, how it is called for two ports, and how many differing rows its output tells."""

    name: str
    program: str
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


PEERS = (
    Peer("pg_comparator", "pg_comparator", _comparator, lambda out: _lines(out, "UPDATE", "INSERT", "DELETE"), 2.4),
    Peer("reladiff", "reladiff", _reladiff, lambda out: _lines(out, "- "), 6.0),
)


def peer_rows(world: World, ours: Callable[[], float], rounds: int) -> list[Row]:
    """A row for each peer; one that is not installed is said to be missing. Ours is measured before the promotion."""
    ours_s = statistics.median(ours() for _ in range(rounds))
    world.promote()
    for node in world.pair.nodes:
        with contextlib.suppress(psycopg.Error):
            node.sql("CREATE EXTENSION pgcmp")  # pg_comparator's own hashes, where they are installed
    return [_row(world, peer, ours_s) for peer in PEERS]


def _row(world: World, peer: Peer, ours_s: float) -> Row:
    target = f"≥ {peer.target:g} × faster"
    what = f"against {peer.name}, {world.rows:,} rows"
    program = shutil.which(peer.program)
    if program is None:
        return Row(what=what, ours=f"{ours_s:.2f} s", against="not installed here", ratio="", target=target, met=False)
    outputs: list[str] = []

    def run() -> None:
        done = subprocess.run(
            [program, *peer.words(world.pair.a.port, world.pair.b.port)],
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
