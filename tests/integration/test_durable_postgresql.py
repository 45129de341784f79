"""The state store of a team: a real PostgreSQL, killed executors, a store that hangs in the middle."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from orchestrator.execution import runstore
from orchestrator.model.plan import Verb
from orchestrator.model.run import RunState
from tests.integration.executors import (
    assert_whole,
    complaints,
    create,
    finish,
    patient,
    sluggish,
    spawn,
    wait_until,
    world_of,
)
from tests.integration.labs import Lab
from tests.simestate import plan, step

__all__ = ["patient"]

pytestmark = pytest.mark.lab

HOST = "open-data/db@b"
NAMES = ("one", "two", "three", "four")
MADE = plan([step(n, Verb.START, "s0/db@a", needs=NAMES[i - 1 : i]) for i, n in enumerate(NAMES)])


@pytest.fixture
def url(lab: Lab) -> Iterator[str]:
    """A database of its own on one of the lab's servers, dropped afterwards."""
    name = f"drctl_state_{os.getpid()}"
    server = f"postgresql://postgres@{lab.address(HOST)}"
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    try:
        yield f"{server}/{name}"
    finally:
        with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.usefixtures("patient")
def test_killed_and_resumed_by_the_store(tmp_path: Path, url: str) -> None:
    run_id = create(tmp_path, MADE)
    killed = spawn(tmp_path, run_id, dbos=True, state=url, crash_at="step_done:two:after")
    killed.join(60)
    assert killed.exitcode == -signal.SIGKILL, complaints(tmp_path)
    assert finish(tmp_path, run_id, dbos=True, state=url) == 0, complaints(tmp_path)
    assert_whole(tmp_path, MADE)
    assert [world_of(tmp_path).begun(n) for n in NAMES] == [1, 1, 1, 1]
    with psycopg.connect(url) as store:
        status = store.execute("SELECT status FROM dbos.workflow_status WHERE workflow_uuid = %s", [run_id]).fetchone()
        steps = store.execute("SELECT function_name FROM dbos.operation_outputs ORDER BY function_id").fetchall()
    assert status == ("SUCCESS",)
    assert [name for (name,) in steps] == list(NAMES)
    assert not list(tmp_path.glob("state.sqlite*")), "the team's store is the only one"


def test_a_store_that_hangs_in_the_middle_is_left_behind(tmp_path: Path, url: str) -> None:
    run_id = create(tmp_path, MADE)
    process = spawn(tmp_path, run_id, dbos=True, state=url, actor=sluggish(tmp_path))
    world = world_of(tmp_path)
    wait_until(lambda: world.begun("two"))
    with psycopg.connect(url) as hanging:
        hanging.execute("LOCK TABLE dbos.operation_outputs IN ACCESS EXCLUSIVE MODE")
        process.join(45)
        assert process.exitcode == 0, complaints(tmp_path)
    assert [world.begun(n) for n in NAMES] == [1, 1, 1, 1]
    run = runstore.open_run(tmp_path, run_id)
    assert run.history().state is RunState.DONE
    assert "going on by plan and journal" in (run.path / "store.log").read_text()
