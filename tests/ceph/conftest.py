"""One realm of three zones for all tests of this folder, and the estate that describes it."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from orchestrator.lab.ceph import missing_programs
from orchestrator.lab.realm import SYSTEM, USER, ZONES, Realm
from tests.ceph.world import World


@pytest.fixture(scope="session")
def realm() -> Iterator[Realm]:
    if missing := missing_programs():
        pytest.skip(f"no Ceph here ({', '.join(missing)}): `make integration-ceph` installs it where it can")
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="drctl-ceph-", dir=memory if memory.is_dir() else None))
    realm = Realm({name: folder / name for name in ZONES}, guarded)
    try:
        realm.up()
        yield realm
    finally:
        realm.down()
        shutil.rmtree(folder)


def guarded(command: Sequence[str], folder: Path, log: Path) -> int:
    """Start a daemon that is killed when the thread ends that started it: nothing is left behind a killed test run."""
    with log.open("ab") as file:
        started = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *command],
            stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True, cwd=folder,
        )  # fmt: skip
    STARTED.append(started)
    return started.pid


STARTED: list[subprocess.Popen[bytes]] = []
"""Kept, so that none is taken for forgotten; whoever ends one waits for its command line to go."""


@pytest.fixture
def world(realm: Realm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """The estate, with the application's keys where boto3 looks for them."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", USER[0])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", USER[1])
    return World(realm, tmp_path)


@pytest.fixture
def parted(world: World, realm: Realm, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """No zone receives anything until `join`; every object may be read, whoever wrote it."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", SYSTEM[0])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SYSTEM[1])
    yield world
    realm.join()
