"""Kill -9 at any point, then resume: judged by the world's own file of effects, never by our journal."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sqlite3
from pathlib import Path

import pytest

from orchestrator.errors import Refused
from orchestrator.execution import runstore
from orchestrator.executor import execute
from orchestrator.model.run import RunState
from tests.integration.executors import (
    DIRECT_DAGS,
    assert_whole,
    chain,
    complaints,
    create,
    finish,
    kill_and_resume,
    sluggish,
    spawn,
    wait_until,
    world_of,
)
from tests.simestate import plan


def test_killed_anywhere_and_resumed_from_plan_and_journal(tmp_path: Path) -> None:
    kills = questions = 0
    for seed in range(DIRECT_DAGS):
        home = tmp_path / str(seed)
        home.mkdir()
        killed, asked = kill_and_resume(home, seed, dbos=False)
        kills, questions = kills + killed, questions + asked
        shutil.rmtree(home)
    assert kills > DIRECT_DAGS, f"only {kills} kills: this proves little"
    assert questions > 0, "no kill fell into an action that must not run twice: this proves little"


@pytest.mark.parametrize(("seeds", "lose_store"), [(range(1000, 1006), False), (range(2000, 2003), True)])
def test_killed_anywhere_and_resumed_with_the_store(tmp_path: Path, seeds: range, lose_store: bool) -> None:
    kills = 0
    for seed in seeds:
        home = tmp_path / str(seed)
        home.mkdir()
        kills += kill_and_resume(home, seed, dbos=True, lose_store=lose_store)[0]
    assert kills >= len(seeds), f"only {kills} kills: this proves little"


def test_two_resumes_at_once_and_one_wins(tmp_path: Path) -> None:
    run_id = create(tmp_path, plan(chain("one", "two", "three")))
    slow = {"actor": sluggish(tmp_path)}
    processes = [spawn(tmp_path, run_id, dbos=False, **slow) for _ in range(3)]
    for process in processes:
        process.join(30)
    assert sorted(p.exitcode for p in processes) == [0, 5, 5], complaints(tmp_path)
    world = world_of(tmp_path)
    assert [world.begun(s) for s in ("one", "two", "three")] == [1, 1, 1]


def test_a_frozen_owner_is_taken_over_and_does_nothing_when_it_wakes(tmp_path: Path) -> None:
    run_id = create(tmp_path, plan(chain("one", "two", "three")))
    world = world_of(tmp_path)
    frozen = spawn(tmp_path, run_id, dbos=False, actor=sluggish(tmp_path))
    wait_until(lambda: world.begun("two"))
    os.kill(frozen.pid, signal.SIGSTOP)
    try:
        run = runstore.open_run(tmp_path, run_id)
        with pytest.raises(Refused, match="another live process"):
            run.acquire()
        run.acquire(takeover=True)
        assert asyncio.run(execute(run.plan, run, world.ports(run))) is RunState.DONE
        run.release()
        effects = len(world.effects())
        records = len(run.records())
    finally:
        os.kill(frozen.pid, signal.SIGCONT)
    frozen.join(20)
    assert frozen.exitcode == 5, complaints(tmp_path)
    assert "Superseded" in complaints(tmp_path)
    late = world.effects()[effects:]
    assert [e["k"] for e in late if e["k"] == "begin"] == [], "the late one began something"
    assert len(run.records()) == records


def test_the_store_deleted_between_kill_and_resume(tmp_path: Path) -> None:
    made = plan(chain("one", "two", "three"))
    run_id = create(tmp_path, made)
    killed = spawn(tmp_path, run_id, dbos=True, crash_at="effect_done:two:after")
    killed.join(60)
    assert killed.exitcode == -signal.SIGKILL
    for path in tmp_path.glob("state.sqlite*"):
        path.unlink()
    assert finish(tmp_path, run_id, dbos=True) == 0, complaints(tmp_path)
    assert_whole(tmp_path, made)
    assert world_of(tmp_path).begun("one") == 1


def test_an_unreachable_store_stops_a_new_run_and_no_resumed_one(tmp_path: Path) -> None:
    gone = "postgresql://drctl@127.0.0.1:9/none"
    made = plan(chain("one", "two"))
    run_id = create(tmp_path, made)
    assert finish(tmp_path, run_id, dbos=True, state=gone) == 6, complaints(tmp_path)
    run = runstore.open_run(tmp_path, run_id)
    assert world_of(tmp_path).effects() == []
    assert run.history().state is RunState.ABORTED, "it stands in nobody's way"

    second = create(tmp_path, made)
    killed = spawn(tmp_path, second, dbos=True, crash_at="effect_done:one:after")
    killed.join(60)
    assert finish(tmp_path, second, dbos=True, state=gone) == 0, complaints(tmp_path)


def test_a_store_that_is_spoilt_does_not_keep_a_run_from_its_end(tmp_path: Path) -> None:
    run_id = create(tmp_path, plan(chain("one", "two")))
    killed = spawn(tmp_path, run_id, dbos=True, crash_at="effect_done:one:after")
    killed.join(60)
    for path in tmp_path.glob("state.sqlite*"):
        path.write_bytes(b"this is no database" * 100)
    assert finish(tmp_path, run_id, dbos=True) == 0, complaints(tmp_path)


def test_a_store_that_locks_up_in_the_middle_is_left_behind(tmp_path: Path) -> None:
    names = [f"n{i}" for i in range(6)]
    run_id = create(tmp_path, plan(chain(*names)))
    process = spawn(tmp_path, run_id, dbos=True, actor=sluggish(tmp_path))
    world = world_of(tmp_path)
    wait_until(lambda: world.begun("n1"))
    lock = sqlite3.connect(tmp_path / "state.sqlite", isolation_level=None)
    lock.execute("BEGIN EXCLUSIVE")
    wait_until(lambda: world.took_effect("n5"), 30)
    process.join(30)
    lock.close()
    assert process.exitcode == 0, complaints(tmp_path)
    assert [world.begun(n) for n in names] == [1] * 6


def test_a_store_that_a_frozen_executor_holds_is_not_waited_for(tmp_path: Path) -> None:
    run_id = create(tmp_path, plan(chain("one", "two")))
    killed = spawn(tmp_path, run_id, dbos=True, crash_at="effect_done:one:after")
    killed.join(60)
    with contextlib.closing(sqlite3.connect(tmp_path / "state.sqlite", isolation_level=None)) as lock:
        lock.execute("BEGIN IMMEDIATE")
        assert finish(tmp_path, run_id, dbos=True) == 0, complaints(tmp_path)
    told = (runstore.open_run(tmp_path, run_id).path / "store.log").read_text()
    assert told.count("Initializing DBOS system database") == 1, "DBOS was begun again, and waited for the lock"
