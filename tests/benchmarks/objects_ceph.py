"""Compares buckets of two zones of a real Ceph, beside the bare listing: a store's own cost is in both.

    python -m tests.benchmarks.objects_ceph [--objects 100000] [--rounds 3]

A listing reads nothing but a bucket's index, so that alone is laid (see `ceph_index`), as a replication of so many
objects would have left it in both zones: users see the same bytes there, but for what is planted.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from orchestrator.lab import state
from orchestrator.lab.ceph import Cluster
from orchestrator.lab.realm import USER
from tests.benchmarks import peers
from tests.benchmarks.measure import ROOT, Row, table
from tests.benchmarks.objects import ACCESS, ROUNDS, SECRET, Sides, measured, names, planted
from tests.benchmarks.rows_world import MEMORY
from tests.ceph.__main__ import hindrance
from tests.ceph.world import World
from tests.integration.drills import home_with_lab

KINDS = ("even", "skewed")
KEYS = {ACCESS: USER[0], SECRET: USER[1]}
DEBIAN_PYTHON = "/usr/bin/python3"


def lay(world: World, bucket: str, count: int, kind: str) -> None:
    """A bucket with so many entries in zones a and b, which differ as planted."""
    world.join()
    world.make(bucket, versioned=False)
    keys = names(count, kind)
    for size in {len(key) for key in keys}:
        world.client("a").put_object(Bucket=bucket, Key="~" * size, Body=b"a pattern")
    world.settles(bucket, "b")
    world.part()
    gone, other = planted(keys)
    index(world.realm.zones["a"], bucket, keys, set())
    index(world.realm.zones["b"], bucket, [key for key in keys if key not in gone], other)


def md5(content: bytes) -> bytes:
    """As an ETag has it."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest().encode()


def index(zone: Cluster, bucket: str, keys: Sequence[bytes], other: set[bytes]) -> None:
    """The entries of a bucket in one zone; the content of some is another there."""
    lines = b"".join(b"%b\t%b\n" % (key, md5(key + (b"!" if key in other else b""))) for key in keys)
    number = zone.admin("bucket", "stats", f"--bucket={bucket}")["id"]
    words = [DEBIAN_PYTHON, "tests/benchmarks/ceph_index.py", str(zone.conf), f"{zone.name}.rgw.buckets.index", number]
    subprocess.run(words, input=lines, check=True, cwd=ROOT)


def ceph_rows(counts: Sequence[int], program: str | None, rounds: int = ROUNDS) -> list[Row]:
    """Even and skewed keys, `program` is the peer's; no rows where Ceph is neither here nor can be installed."""
    if why := hindrance():
        print(f"no Ceph here ({why}): its rows are left out", file=sys.stderr)
        return []
    found = []
    with tempfile.TemporaryDirectory(prefix="drctl-bench-") as home, pytest.MonkeyPatch.context() as patch:
        patch.setenv("DRCTL_LAB_DATA", MEMORY)
        with home_with_lab(Path(home), "--buckets", estate="lab-buckets"):
            world = World(state.require(Path(home) / "lab"), Path(home))
            for kind, count in ((kind, count) for count in counts for kind in KINDS):
                lay(world, f"{kind}-{count}", count, kind)
                places = tuple(f"{world.realm.zones[c].address}/{kind}-{count}" for c in "ab")
                sides = Sides(places=places, count=count, kind=kind, keys=KEYS)
                found += measured(sides, ", real Ceph", program, rounds)
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    asked = parser.parse_args()
    print(table(ceph_rows([asked.objects], peers.program("rclone"), asked.rounds)))


if __name__ == "__main__":
    main()
