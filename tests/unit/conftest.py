"""Sealed bundles and finished runs that tests of evidence and reports start from."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from orchestrator.evidence.bundle import seal
from tests.unit.sample_run import write_run
from tests.unit.sample_script import centre_lost, city_lost, undone

CREATED = "2026-11-23T03:00:00+00:00"


def page(folder: Path, lang: str) -> str:
    return f"<html lang={lang}>{len(list(folder.iterdir()))}</html>"


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("sealed")
    return seal(write_run(home, centre_lost()), key_file=home / "key.pem", render=page, created=CREATED)


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return write_run(tmp_path, undone())


@pytest.fixture
def copy(sealed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sealed, tmp_path / "copy"))


@pytest.fixture(scope="module")
def lost(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("lost"), centre_lost())


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("city"), city_lost())


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("failed"), undone())
