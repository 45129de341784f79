"""`make drill`: what a newcomer watches. Every line is the drctl command that a user would type."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

HOME = Path(".drctl")
LAB = HOME / "showcase-lab"
"""A lab of its own, so that one which the user has up is left alone."""
FINDINGS = 3

STEPS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Three centres, real databases", ("lab", "up")),
    ("Is everything healthy?", ("check",)),
    ("Do the replicas hold the same data?", ("verify",)),
    (
        "Centre A loses power; B takes over",
        ("drill", "run", "centre-lost", "--lost", "a", "--mode", "live", "--fault", "kill-centre a"),
    ),
    ("Can the evidence be trusted?", ("evidence", "verify", "last")),
)


def drctl(*words: str) -> int:
    """Run one drctl command on the showcase's lab; its exit code."""
    return subprocess.run(
        [sys.executable, "-m", "orchestrator.cli.main", "--home", str(HOME), "--lab", str(LAB), *words], check=False
    ).returncode


def main() -> int:
    """Run the steps until one fails; the lab is taken down whatever happens."""
    begun, code = time.monotonic(), 0
    try:
        for title, words in STEPS:
            print(f"\n\033[1m# {title}\033[0m\n$ drctl {' '.join(words)}", flush=True)  # noqa: T201
            code = drctl(*words)
            if code:
                break
        if code in {0, FINDINGS}:
            code = drctl("report", "last") or code
    except KeyboardInterrupt:
        code = 130
    finally:
        down = drctl("lab", "down")
    print(f"\nThe whole drill took {time.monotonic() - begun:.0f} s.", flush=True)  # noqa: T201
    return code or down


if __name__ == "__main__":
    sys.exit(main())
