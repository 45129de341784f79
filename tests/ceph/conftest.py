"""One lab with buckets for all tests of this folder: its realm of three zones, and the estate that describes it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.lab import buckets, state
from orchestrator.lab.ceph import missing_programs
from orchestrator.lab.realm import SYSTEM, USER
from tests.ceph.world import World
from tests.integration.conftest import MEMORY, ROOMY_BYTES
from tests.integration.drills import Home, home_with_lab


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """The lab; nothing of it is left afterwards."""
    if missing := missing_programs():
        pytest.skip(f"no Ceph here ({', '.join(missing)}): `make integration-ceph` installs it where it can")
    path = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        if os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ROOMY_BYTES:
            patch.setenv("DRCTL_LAB_DATA", MEMORY)
        with home_with_lab(path, "--buckets", estate="lab-buckets") as made:
            patch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(path / "lab" / buckets.CREDENTIALS))
            root = Path(json.loads((path / "lab" / "lab.json").read_text())["root"])
            yield made
    assert not root.exists()
    assert not [p for p in Path("/proc").glob("[0-9]*/cmdline") if str(root).encode() in words_of(p)]


def words_of(path: Path) -> bytes:
    with contextlib.suppress(OSError):
        return path.read_bytes()
    return b""


@pytest.fixture
def world(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """The estate, with the application's keys where boto3 looks for them."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", USER[0])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", USER[1])
    return World(state.require(home.path / "lab"), tmp_path)


@pytest.fixture
def joined(world: World) -> Iterator[World]:
    """Whatever was cut off receives again afterwards, so that one failure is not the failure of all that follow."""
    yield world
    world.join()


@pytest.fixture
def parted(joined: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """No zone receives anything until `join`; every object may be read, whoever wrote it."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", SYSTEM[0])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SYSTEM[1])
    return joined
