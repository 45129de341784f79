"""`make integration-ceph`: installs Debian's Ceph, runs the tests of this folder on it, and leaves nothing running.

Prints `skipped: why` and ends with 0 where there is no root or no apt.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from orchestrator.lab.ceph import PACKAGES, missing_programs

INSTALL_S = 600


def hindrance() -> str:
    """Why Ceph cannot be run here; empty where it can (it is installed where it is missing)."""
    if os.geteuid() != 0:
        return "not root: Ceph's packages cannot be installed"
    if not missing_programs():
        return ""
    if shutil.which("apt-get") is None:
        return "no apt-get here, and no Ceph"
    return install()


def install() -> str:
    """Install the packages; why that failed, or nothing."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    words = ["apt-get", "-y", "-q", "install", "--no-install-recommends", *PACKAGES]
    try:
        done = subprocess.run(
            words,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=INSTALL_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"apt-get was not done within {INSTALL_S} s"
    missing = missing_programs()
    return f"apt-get: {done.stderr.strip()[-300:]} (missing: {', '.join(missing)})" if missing else ""


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
