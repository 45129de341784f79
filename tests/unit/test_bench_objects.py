"""The bench of buckets compares with a peer only where the peer compared."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks.objects import Sides, rclone
from tests.benchmarks.spent import spent

SIDES = Sides(places=("127.0.0.1:1/b", "127.0.0.1:2/b"), count=1, kind="even")


def program(folder: Path, *lines: str) -> str:
    script = folder / "rclone"
    script.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    script.chmod(0o755)
    return str(script)


def test_a_peer_that_fails_is_no_peer(tmp_path: Path) -> None:
    failing = program(tmp_path, "echo 'Failed to create file system: LoadCustomCABundleError' >&2", "exit 1")
    with pytest.raises(RuntimeError, match=r"compared nothing \(exit code 1\): .*LoadCustomCABundleError"):
        rclone(failing, SIDES)


def test_a_peer_hears_nothing_of_our_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", "/some/file")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ours")
    told = tmp_path / "env"
    peer = program(tmp_path, f"env > {told}", "echo 'NOTICE: S3 bucket b: 10 differences found' >&2", "exit 1")
    assert rclone(peer, SIDES)[3] == 10
    assert "AWS_" not in told.read_text()


def test_what_a_command_takes_is_its_own(tmp_path: Path) -> None:
    ballast = b"b" * (200 << 20)  # who begins a process hands it this as its memory at its highest
    code = "print('out'); held = b'h' * (60 << 20); exit(3)"
    with (tmp_path / "out").open("w+b") as out:
        took = spent([sys.executable, "-c", code], out=out, err=subprocess.DEVNULL, env={"PATH": "/bin"})
        out.seek(0)
        assert out.read() == b"out\n"
    assert len(ballast) == 200 << 20
    assert took.code == 3
    assert 60 << 10 < took.rss_kb < 120 << 10
    assert took.cpu_s > 0
    assert took.wall_s > 0


def test_a_command_that_is_killed_is_told_by_its_signal() -> None:
    words = [sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]
    assert spent(words, out=subprocess.DEVNULL, err=subprocess.DEVNULL).code == -9
