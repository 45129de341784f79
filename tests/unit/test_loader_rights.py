"""A topology file that may not be read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestrator.errors import BadFile
from orchestrator.loader import load_topology
from tests.unit.estates import KINDS, SMALL


@contextmanager
def without_rights() -> Iterator[None]:
    """As somebody else where the tests run as root, who may read everything."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@pytest.mark.parametrize("closed", ["topology.yaml", "."])
def test_what_may_not_be_read(tmp_path: Path, closed: str) -> None:
    folder = tmp_path / "estate"
    folder.mkdir()
    tmp_path.chmod(0o755)
    (folder / "topology.yaml").write_text(SMALL)
    (folder / closed).chmod(0)
    with without_rights(), pytest.raises(BadFile, match="Permission denied"):
        load_topology(folder, KINDS)
    folder.chmod(0o755)
