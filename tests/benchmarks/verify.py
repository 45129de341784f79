"""`make bench-verify`: replication verification and looks at the limit of the hardware; both sides in the same run.

    python -m tests.benchmarks.verify [--part endpoints|objects|ceph|rows] [--rows 5000000] [--objects 1000000]

Peers (pg_comparator, reladiff, rclone) and Ceph are installed where they are not here yet; the table says where they
could not be had (`tests.benchmarks.peers`).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from tests.benchmarks import peers
from tests.benchmarks.endpoints import endpoint_rows
from tests.benchmarks.measure import HEAD, Row, line
from tests.benchmarks.objects import object_rows
from tests.benchmarks.objects_ceph import ceph_rows
from tests.benchmarks.rows import rows_rows

SHIPPED = 100_000
"""Objects that are always compared, beside the number that is asked for."""


def main() -> None:
    """Run every bench, or one, and print the table as it comes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--objects", type=int, default=1_000_000)
    program = peers.program("rclone")
    parts: dict[str, Callable[[argparse.Namespace], list[Row]]] = {
        "endpoints": lambda _: endpoint_rows(),
        "objects": lambda asked: object_rows(sorted({SHIPPED, asked.objects}), program),
        "ceph": lambda asked: ceph_rows(sorted({SHIPPED, asked.objects}), program),
        "rows": lambda asked: rows_rows(asked.rows),
    }
    parser.add_argument("--part", action="append", choices=tuple(parts))
    asked = parser.parse_args()
    print(HEAD, flush=True)
    for part in asked.part or parts:
        print(f"{part} …", file=sys.stderr)  # the whole takes a quarter of an hour
        for row in parts[part](asked):
            print(line(row), flush=True)


if __name__ == "__main__":
    main()
