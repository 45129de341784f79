"""Any single change of a sealed bundle is found."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.evidence.bundle import seal
from orchestrator.evidence.verifier import verify_bundle
from tests.unit.bundle_changes import CHANGES
from tests.unit.conftest import CREATED, page
from tests.unit.sample_run import write_run
from tests.unit.sample_script import undone

SMALL = st.integers(min_value=0, max_value=10**9)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("small")
    run_dir = write_run(home, undone())
    for path in (run_dir / "canary").iterdir():
        path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:20]))
    return seal(run_dir, key_file=home / "key.pem", render=page, created=CREATED)


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(change=st.sampled_from(CHANGES), which=SMALL, at=SMALL)
def test_any_single_change_is_found(
    small: Path,
    tmp_path_factory: pytest.TempPathFactory,
    change: Callable[[Path, Path, int], None],
    which: int,
    at: int,
) -> None:
    folder = tmp_path_factory.mktemp("changed")
    bundle = Path(shutil.copytree(small, folder / "bundle"))
    files = sorted(p for p in bundle.rglob("*") if p.is_file())
    change(bundle, files[which % len(files)], at)
    found = verify_bundle(bundle)
    shutil.rmtree(folder)
    assert not found.holds and found.problems
