"""Comparing rows: a primary and its standby with planted differences, against the floor of the servers themselves.

    python -m tests.benchmarks.rows [--rows 5000000] [--rounds 3] [--part still|cut|no-locks|paced|peers]

The floor is one `hash_record_extended` sum per side, both servers at work at once. Ours is the whole command, start of
the interpreter and all, on the same pair in the same run; its memory is what the kernel accounted to it, its bytes are
counted by a relay between it and the servers, in a run of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from tests.benchmarks.measure import ROOT, Row, medians, table
from tests.benchmarks.relay import Relay
from tests.benchmarks.rows_peers import comparator_rows, reladiff_rows
from tests.benchmarks.rows_world import DIFFERENCES, FLOOR, Load, World, rows_world
from tests.benchmarks.spent import spent

RATIO = 1.4
MOVED_PER_ROW = 0.2
"""Bytes: 1 MB for five million rows."""
RSS_KB = 64 * 1024
P99 = 1.2
PER_ROW = 1.15
SPINNERS = 2
"""As many as there are servers that we read."""


class Took:
    """One run of the command: what it found, its seconds and its memory."""

    def __init__(self, words: Sequence[str]) -> None:
        with tempfile.TemporaryFile() as out:
            took = spent(
                [sys.executable, "-m", "orchestrator.cli.main", *words],
                out=out, err=subprocess.DEVNULL, cwd=str(ROOT), env=dict(os.environ, PYTHONPATH=str(ROOT)),
            )  # fmt: skip
            out.seek(0)
            self.found = json.loads(out.read() or b"[]")
        self.wall_s, self.code, self.rss_kb, self.cpu_s = took.wall_s, took.code, took.rss_kb, took.cpu_s

    @property
    def content(self) -> dict[str, object]:
        """The content proof of the only replica."""
        found: dict[str, object] = self.found[0]["replicas"][0]["content"]
        return found

    @property
    def differing(self) -> int:
        """Rows that were found to differ."""
        tables = self.content["tables"]
        assert isinstance(tables, list)
        return sum(int(t["differing"]) for t in tables)


def verify(world: World, home: Path, *more: str, ports: tuple[int, int] | None = None) -> Took:
    """The shipped command on the pair, or on other ports that lead to it."""
    estate = world.estate(home, ports)
    return Took(
        ("--estate", str(estate), "--home", str(home), "verify", "--only", "content", "--output", "json", *more)
    )


def finding(world: World, home: Path) -> float:
    """Seconds of a run that finds what was planted and no more."""
    took = verify(world, home)
    assert took.differing == DIFFERENCES, took.content
    return took.wall_s


def floor(world: World) -> None:
    """The sum of all record hashes at both servers, at once."""
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda node: node.sql(FLOOR), world.pair.nodes))


def still_rows(world: World, home: Path, rounds: int) -> list[Row]:
    """Nobody writes: wall time against the floor, bytes, memory, and what was found."""
    took: list[Took] = []
    spent: dict[str, list[float]] = {"ours": [], "floor": []}

    def counted(name: str, call: Callable[[], object]) -> None:
        before = world.cpu_s()
        call()
        spent[name].append(world.cpu_s() - before)

    ours, least = medians(
        rounds,
        lambda: counted("ours", lambda: took.append(verify(world, home))),
        lambda: counted("floor", lambda: floor(world)),
    )
    cpu, least_cpu = statistics.median(spent["ours"]) + min(t.cpu_s for t in took), statistics.median(spent["floor"])
    assert all(t.differing == DIFFERENCES for t in took), [t.content for t in took if t.differing != DIFFERENCES]
    with Relay(world.pair.a.port) as left, Relay(world.pair.b.port) as right:
        verify(world, home, ports=(left.port, right.port))
        moved = left.bytes + right.bytes
    rss_kb = max(t.rss_kb for t in took)
    return [
        Row(
            what=f"{world.rows:,} rows a side, {DIFFERENCES} differences, all found",
            ours=f"{ours:.2f} s",
            against=f"record hash at both servers {least:.2f} s",
            ratio=f"{ours / least:.2f}",
            target=f"≤ {RATIO}",
            met=ours <= RATIO * least,
        ),
        Row(
            what="… processor, servers and ours (tells more than wall time on a machine that is shared)",
            ours=f"{cpu:.2f} s",
            against=f"{least_cpu:.2f} s",
            ratio=f"{cpu / least_cpu:.2f}",
            target=f"≤ {RATIO}",
            met=cpu <= RATIO * least_cpu,
        ),
        Row(
            what="… bytes moved",
            ours=f"{moved / 1e6:.2f} MB",
            against="",
            ratio="",
            target=f"≤ {MOVED_PER_ROW * world.rows / 1e6:.0f} MB",
            met=moved <= MOVED_PER_ROW * world.rows,
        ),
        Row(
            what="… memory (RSS)",
            ours=f"{rss_kb / 1024:.0f} MB",
            against="",
            ratio="",
            target="≤ 64 MB",
            met=rss_kb <= RSS_KB,
        ),
    ]


def live_rows(world: World, home: Path, rounds: int, words: tuple[str, ...] = ()) -> list[Row]:
    """The primary is written to all the time; b was repaired before, so that any difference is a false one."""
    world.repair()
    still_s = statistics.median(verify(world, home).wall_s for _ in range(rounds))
    took: list[Took] = []
    alone, spun, beside, busy, window_s = [], [], [], [], max(2.0, still_s)
    with Load(world) as load:
        load.settle()
        for _ in range(rounds):
            before = _busy_s(world)
            alone.append(load.p99(lambda: time.sleep(window_s)))
            busy.append((_busy_s(world) - before) / window_s)
            with spinning():
                spun.append(load.p99(lambda: time.sleep(window_s)))
            beside.append(load.p99(lambda: took.append(verify(world, home, *words))))
        rate = load.rate
    world.plant()
    assert all(t.differing == 0 and t.code == 0 for t in took), [t.found for t in took if t.code]
    ours = statistics.median(t.wall_s for t in took)
    mine, theirs, floor_s = map(statistics.median, (beside, alone, spun))
    cores, taken = os.cpu_count() or 1, statistics.median(busy)
    name = " ".join(words) or "on a cut"
    paced = "--max-load" in words
    return [
        Row(
            what=f"{world.rows:,} rows under {rate:,.0f} updates/s, {name}: no false difference",
            ours=f"{ours:.2f} s",
            against=f"nobody writes {still_s:.2f} s",
            ratio=f"{ours / still_s:.2f}",
            target="slower, by wish" if paced else f"≤ {PER_ROW}",
            met=paced or ours <= PER_ROW * still_s,
        ),
        Row(
            what=f"… of the processor that the writers and their servers leave: they take {taken:.2f} of {cores} cores",
            ours=f"{ours * (1 - taken / cores):.2f} s",
            against=f"nobody writes {still_s:.2f} s",
            ratio=f"{ours * (1 - taken / cores) / still_s:.2f}",
            target="beside the target",
            met=True,
        ),
        Row(
            what="… the primary's own p99",
            ours=f"{mine * 1000:.1f} ms",
            against=f"without us {theirs * 1000:.1f} ms",
            ratio=f"{mine / theirs:.2f}",
            target=f"≤ {P99}",
            met=mine <= P99 * theirs,
        ),
        Row(
            what=f"… held against {SPINNERS} processes of the lowest priority that count, and touch no database",
            ours=f"{mine * 1000:.1f} ms",
            against=f"beside them {floor_s * 1000:.1f} ms",
            ratio=f"{mine / floor_s:.2f}",
            target="beside the target",
            met=True,
        ),
    ]


def _busy_s(world: World) -> float:
    """Processor seconds of the servers and of the writers, who live in this process."""
    return world.cpu_s() + time.process_time()


@contextlib.contextmanager
def spinning() -> Iterator[None]:
    """Processes that take what is left of the processor, at the lowest priority there is, and touch no database."""
    started = [
        subprocess.Popen(["nice", "-n", "19", sys.executable, "-c", "while True: pass"], start_new_session=True)
        for _ in range(SPINNERS)
    ]
    try:
        for process in started:
            # Each session is a group of its own to the scheduler (sched(7), autogroup): within it nice means nothing.
            with contextlib.suppress(OSError):
                Path(f"/proc/{process.pid}/autogroup").write_text("19")
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


PARTS: dict[str, Callable[[World, Path, int], list[Row]]] = {
    "still": still_rows,
    "cut": live_rows,
    "no-locks": partial(live_rows, words=("--no-locks",)),
    "paced": partial(live_rows, words=("--max-load", "20")),
    "peers": lambda world, home, rounds: reladiff_rows(world, lambda: finding(world, home), rounds),
}
"""In this order: `peers` promotes the replica."""


def rows_rows(rows: int = 5_000_000, rounds: int = 3, parts: Sequence[str] = tuple(PARTS)) -> list[Row]:
    """The rows of the table; servers in memory where there is room, so that disks do not blur both sides."""
    found: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="drctl-bench-") as home:
        with rows_world(rows) as world:
            for part in (p for p in PARTS if p in parts):
                found += PARTS[part](world, Path(home), rounds)
        if "peers" in parts:
            found += comparator_rows(rows, lambda other: finding(other, Path(home)), rounds)
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--part", action="append", choices=tuple(PARTS))
    asked = parser.parse_args()
    print(table(rows_rows(asked.rows, asked.rounds, asked.part or tuple(PARTS))))


if __name__ == "__main__":
    main()
