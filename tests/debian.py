"""Debian's packages that tests run on, installed where there is root and apt: `python -m tests.debian` for CI.

Tests of what is missing say `skipped` and why; nothing here fails for want of a package.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

INSTALL_S = 600
CLUSTERS = Path("/etc/postgresql-common/createcluster.d/drctl-tests.conf")
Missing = Callable[[], Sequence[str]]
"""Names the programs that are not here."""
PROGRAMS = {
    "openssh-server": "usr/sbin/sshd",
    "openssh-client": "usr/bin/ssh-keygen",
    "etcd-server": "usr/bin/etcd",
    "postgresql": "usr/lib/postgresql/*/bin/initdb",
}
"""What `make test` can use beside what it brings itself, by a program of each: sshd, a witness, ICU collations."""


def missing() -> Sequence[str]:
    """Those of PROGRAMS that are not here."""
    return [program for program in PROGRAMS.values() if not any(Path("/").glob(program))]


def install(packages: Sequence[str], missing: Missing) -> str:
    """Install packages, by newer lists where those at hand do not lead to them; why that failed, or nothing."""
    if not missing():
        return ""
    if os.geteuid() != 0:
        return "not root: Debian's packages cannot be installed"
    if shutil.which("apt-get") is None:
        return "no apt-get here"
    wanted = ["install", "--no-install-recommends", *packages]
    said = ""
    for words in (wanted, ["update"], wanted):
        if missing():
            said = apt(words)
    lacking = missing()
    return f"apt-get: {said} (missing: {', '.join(lacking)})" if lacking else ""


def apt(words: Sequence[str]) -> str:
    """The last words of apt-get's."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(
            ["apt-get", "-y", "-q", *words], env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=INSTALL_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"not done within {INSTALL_S} s"
    return done.stderr.strip()[-300:]


def without_a_cluster() -> None:
    """Debian's PostgreSQL makes a database of its own and starts it, unless it was told not to."""
    if os.geteuid() == 0 and not CLUSTERS.exists():
        CLUSTERS.parent.mkdir(parents=True, exist_ok=True)
        CLUSTERS.write_text("create_main_cluster = false\n")


def main() -> int:
    """Install what is missing, and say what could not be; 0 in any case."""
    if missing():
        without_a_cluster()
    why = install(tuple(PROGRAMS), missing)
    print(f"some tests will be skipped: {why}" if why else "Debian's packages for the tests are here")
    return 0


if __name__ == "__main__":
    sys.exit(main())
