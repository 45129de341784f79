"""One realm of three zones for all tests of this folder, and the estate that describes it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ceph.__main__ import PROGRAMS
from tests.ceph.realm import SYSTEM, USER, Realm
from tests.ceph.world import World


@pytest.fixture(scope="session")
def realm() -> Iterator[Realm]:
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        pytest.skip(f"no Ceph here ({', '.join(missing)}): `make integration-ceph` installs it where it can")
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="drctl-ceph-", dir=memory if memory.is_dir() else None))
    realm = Realm(folder)
    try:
        realm.up()
        yield realm
    finally:
        realm.down()


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
