"""Compares buckets of two zones of a real Ceph, beside the bare listing: a store's own cost is in both.

    python -m tests.benchmarks.objects_ceph [--objects 100000] [--rounds 3]

The zones do not replicate meanwhile: each side is filled by itself, so that they differ as planted. That takes minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

from orchestrator.lab import state
from orchestrator.lab.ceph import missing_programs
from orchestrator.lab.realm import SYSTEM
from orchestrator.providers.s3_wire import Wire
from tests.benchmarks.measure import Row, table
from tests.benchmarks.objects import ACCESS, ROUNDS, SECRET, Sides, instance, measured, names, planted
from tests.benchmarks.rows_world import MEMORY
from tests.ceph.world import World
from tests.integration.drills import home_with_lab

WRITERS = 24
KINDS = ("even", "skewed")
KEYS = {ACCESS: SYSTEM[0], SECRET: SYSTEM[1]}
"""The system's user: it may write to zones that take no writes from others."""


async def fill(address: str, count: int, kind: str, altered: bool) -> None:
    """The objects of a bucket."""
    wire, keys = Wire(instance(address)), names(count, kind)
    gone, other = planted(keys) if altered else (set(), set())
    waiting = iter([k for k in keys if k not in gone])

    async def writer() -> None:
        for key in waiting:
            reply = await wire.ask("PUT", key, body=key + (b"!" if key in other else b""))
            assert reply.status == 200, reply

    await asyncio.gather(*(writer() for _ in range(WRITERS)))
    wire.close()


async def fill_both(sides: Sides) -> None:
    """Both at once: each zone has a store of its own."""
    await asyncio.gather(*(fill(p, sides.count, sides.kind, n > 0) for n, p in enumerate(sides.places)))


def ceph_rows(count: int, program: str | None, rounds: int = ROUNDS) -> list[Row]:
    """Even and skewed keys, `program` is the peer's; no rows where Ceph is not installed."""
    if missing := missing_programs():
        print(f"no Ceph here ({', '.join(missing)}): its rows are left out", file=sys.stderr)
        return []
    found = []
    with tempfile.TemporaryDirectory(prefix="drctl-bench-") as home, pytest.MonkeyPatch.context() as patch:
        for name, value in {"DRCTL_LAB_DATA": MEMORY, **KEYS}.items():
            patch.setenv(name, value)
        with home_with_lab(Path(home), "--buckets", estate="lab-buckets"):
            world = World(state.require(Path(home) / "lab"), Path(home))
            for kind in KINDS:
                world.make(kind, versioned=False)
            world.part()
            for kind in KINDS:
                places = tuple(f"{world.realm.zones[c].address}/{kind}" for c in "ab")
                sides = Sides(places=places, count=count, kind=kind, keys=KEYS)
                asyncio.run(fill_both(sides))
                found += measured(sides, ", real Ceph", program, rounds)
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    asked = parser.parse_args()
    print(table(ceph_rows(asked.objects, os.environ.get("RCLONE") or shutil.which("rclone"), asked.rounds)))


if __name__ == "__main__":
    main()
