"""`make integration-ceph`: installs Debian's Ceph, runs the tests of this folder on it, and leaves nothing running.

Prints `skipped: why` and ends with 0 where there is no root, no apt or not enough memory.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from orchestrator.lab.ceph import PACKAGES, missing_programs
from tests.debian import install

MEMORY_KIB = 3 << 20
"""Available memory that twelve daemons of Ceph's and the lab beside them take, with some to spare."""


def hindrance() -> str:
    """Why Ceph cannot be run here; empty where it can (it is installed where it is missing)."""
    if os.geteuid() != 0:
        return "not root: Ceph's packages cannot be installed"
    if 0 < available_kib() < MEMORY_KIB:
        return f"{MEMORY_KIB >> 20} GiB of memory are needed, {available_kib() >> 10} MiB are available"
    return install(PACKAGES, missing_programs)


def available_kib() -> int:
    """Memory that can be had without swapping; 0 where the kernel does not tell."""
    told = Path("/proc/meminfo")
    lines = told.read_text().splitlines() if told.exists() else []
    return next((int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")), 0)


def main() -> int:
    """Run the tests; pytest's exit code."""
    why = hindrance()
    if why:
        print(f"skipped: {why}")
        return 0
    return subprocess.run(
        [sys.executable, "-m", "pytest", "tests/ceph", "--timeout=600", *sys.argv[1:]], check=False
    ).returncode


if __name__ == "__main__":
    sys.exit(main())
