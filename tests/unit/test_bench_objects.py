"""The bench of buckets compares with a peer only where the peer compared."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks.objects import Sides, rclone

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
