"""The scripts of an isolated exercise, run as a host runs them: what they leave there, however the clone ended."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from orchestrator.app import ROOT
from tests.integration.drills import shared_memory
from tests.integration.verify_pair import NOBODY, Node, drop_root, install, pair, wait_for

SCRIPTS = ROOT / "playbooks" / "postgresql"


def run(script: str, node: Node) -> str:
    """What one of the scripts said."""
    words = "".join((SCRIPTS / name).read_text() for name in ("bubble.sh", script))
    prefix = f"setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups" if os.geteuid() == 0 else ""
    told = {
        "DRCTL_PGDATA": str(node.data), "DRCTL_BINDIR": str(install()), "DRCTL_OS_USER_PREFIX": prefix,
        "DRCTL_HOST_ADDRESS": "127.0.0.1", "DRCTL_PORT": str(node.port), "DRCTL_USER": "postgres",
        "DRCTL_DATABASE": "app", "DRCTL_INSTANCE": "x/db@b",
    }  # fmt: skip
    done = subprocess.run(
        ["bash", "-s"], input=words, env={**os.environ, **told}, capture_output=True, text=True, check=False, timeout=90
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("end", [None, signal.SIGKILL, signal.SIGSTOP])
def test_a_discarded_clone_leaves_no_memory_on_the_host_however_it_ended(end: signal.Signals | None) -> None:
    with pair() as made:
        before, bubble = shared_memory(), Path(f"{made.b.data}.bubble")
        assert "drctl-fact: bubble_port=" in run("bubble_clone.sh", made.b)
        assert shared_memory() != before
        if end is not None:
            postmaster = int((bubble / "data" / "postmaster.pid").read_text().split()[0])
            os.kill(postmaster, end)
            told = Path(f"/proc/{postmaster}/stat")
            wait_for(lambda: not told.exists() or told.read_text().rpartition(")")[2].split()[0] in "TZ", 10, "its end")
        assert f"drctl-changed: discarded {bubble}" in run("bubble_discard.sh", made.b)
        assert not bubble.exists()
        assert shared_memory() == before
        assert run("bubble_discard.sh", made.b) == ""


def test_a_process_that_has_the_number_of_a_killed_clone_lives_on() -> None:
    with pair() as made:
        before, pidfile = shared_memory(), Path(f"{made.b.data}.bubble/data/postmaster.pid")
        run("bubble_clone.sh", made.b)
        clone, *rest = pidfile.read_text().splitlines()
        os.kill(int(clone), signal.SIGKILL)
        with subprocess.Popen(["sleep", "60"], cwd="/", **drop_root()) as other:
            pidfile.write_text("\n".join([str(other.pid), *rest, ""]))
            run("bubble_discard.sh", made.b)
            lives = other.poll() is None
            other.kill()
        assert lives
        assert shared_memory() == before
