"""The traps of the durable-execution library (FACTS T1 to T4), signals, full disks, half-made runs."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from orchestrator.errors import Usage
from orchestrator.evidence.journal import read_journal
from orchestrator.execution import runstore
from orchestrator.execution.conversation import Control
from orchestrator.model.plan import Condition, Fact, ScenarioKind, Verb
from orchestrator.model.run import Event, RunState
from tests.integration.executors import (
    FORK,
    carry_on,
    chain,
    complaints,
    create,
    finish,
    patient,
    sluggish,
    spawn,
    stored_steps,
    wait_until,
    world_of,
)
from tests.simestate import plan, step

__all__ = ["patient"]


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("seed", range(2))
def test_t1_each_step_keeps_its_own_result(tmp_path: Path, seed: int) -> None:
    """Steps begin in another order each time; ids are drawn in the plan's order, and results fit the journal."""
    steps = [step(f"n{i}", Verb.START, "s0/db@a") for i in range(12)] + [
        step("last", Verb.START, "s0/db@b", needs=[f"n{i}" for i in range(12)])
    ]
    made = plan(steps)
    run_id = create(tmp_path, made)
    killed = spawn(tmp_path, run_id, dbos=True, crash_at=f"step_done:n{seed + 4}:after")
    killed.join(60)
    assert killed.exitcode == -signal.SIGKILL
    assert finish(tmp_path, run_id, dbos=True) == 0, complaints(tmp_path)
    done = {r.step: r.hash for r in runstore.open_run(tmp_path, run_id).records() if r.event is Event.STEP_DONE}
    stored = stored_steps(tmp_path, run_id)
    assert [name for _, name, _ in stored] == [s.id for s in steps]
    assert len({number for number, _, _ in stored}) == len(steps)
    for _, name, output in stored:
        assert output.strip('"') == f"done {done[name]}"


def test_t2_a_second_launch_leaves_a_live_run_alone(tmp_path: Path) -> None:
    first = create(tmp_path, plan(chain("one", "two", "three")))
    slow = spawn(tmp_path, first, dbos=True, actor=sluggish(tmp_path))
    world = world_of(tmp_path)
    wait_until(lambda: world.begun("one"))
    other = plan([step("other", Verb.START, "s1/db@a")])
    second = create(tmp_path, other)
    assert finish(tmp_path, second, dbos=True) == 0, complaints(tmp_path)
    slow.join(60)
    assert slow.exitcode == 0, complaints(tmp_path)
    assert [world.begun(s) for s in ("one", "two", "three", "other")] == [1, 1, 1, 1]


@pytest.mark.usefixtures("patient")
def test_t3_a_pause_drops_no_result(tmp_path: Path) -> None:
    run_id = create(tmp_path, plan(chain("one", "two", "three")))
    process = spawn(tmp_path, run_id, dbos=True, actor=sluggish(tmp_path))
    world = world_of(tmp_path)
    wait_until(lambda: world.begun("two"))
    runstore.open_run(tmp_path, run_id).ask_control(Control.PAUSE)
    process.join(30)
    assert process.exitcode == 130, complaints(tmp_path)
    assert world.took_effect("two") == 1 and world.begun("three") == 0
    assert [n for _, n, _ in stored_steps(tmp_path, run_id)] == ["one", "two"]
    assert finish(tmp_path, run_id, dbos=True) == 0, complaints(tmp_path)
    assert [world.begun(s) for s in ("one", "two", "three")] == [1, 1, 1]


@pytest.mark.usefixtures("patient")
def test_t4_looking_again_is_no_second_step(tmp_path: Path) -> None:
    gate = [Condition(fact=Fact.ANSWERS, instance="s0/db@b")]
    run_id = create(tmp_path, plan([step("one", Verb.START, "s0/db@a", gates=gate)]))
    blinded = world_of(tmp_path)
    blinded.blind.add("s0/db@b")
    assert finish(tmp_path, run_id, dbos=True, observe=blinded.observe) == 0, complaints(tmp_path)
    assert [n for _, n, _ in stored_steps(tmp_path, run_id)] == ["one"]
    started = [r for r in runstore.open_run(tmp_path, run_id).records() if r.event is Event.STEP_STARTED]
    assert len(started) == 1


@pytest.mark.parametrize("name", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_stops_after_the_running_steps(tmp_path: Path, name: signal.Signals) -> None:
    run_id = create(tmp_path, plan(chain("one", "two", "three")))
    process = spawn(tmp_path, run_id, dbos=True, actor=sluggish(tmp_path))
    world = world_of(tmp_path)
    wait_until(lambda: world.begun("one"))
    os.kill(process.pid, name)
    process.join(30)
    assert process.exitcode == 130, complaints(tmp_path)
    assert world.took_effect("one") == 1 and world.begun("two") == 0
    run = runstore.open_run(tmp_path, run_id)
    assert run.records()[-1].event is Event.RUN_INTERRUPTED
    assert finish(tmp_path, run_id, dbos=True) == 0, complaints(tmp_path)
    assert [world.begun(s) for s in ("one", "two", "three")] == [1, 1, 1]


def test_the_second_signal_stops_at_once_and_a_hang_up_not_at_all(tmp_path: Path) -> None:
    run_id = create(tmp_path, plan(chain("one", "two")))
    hanging = world_of(tmp_path)
    hanging.hang.add("one")
    process = spawn(tmp_path, run_id, dbos=True, actor=hanging.ports().actor)
    wait_until(lambda: hanging.begun("one"))
    os.kill(process.pid, signal.SIGHUP)
    os.kill(process.pid, signal.SIGINT)
    time.sleep(0.3)
    assert process.is_alive()
    os.kill(process.pid, signal.SIGINT)
    process.join(10)
    assert process.exitcode == 130, complaints(tmp_path)
    assert finish(tmp_path, run_id, dbos=True) == 0, complaints(tmp_path)


def test_a_kill_in_the_middle_of_an_undo(tmp_path: Path) -> None:
    steps = [
        step("one", Verb.START, "s0/db@a", undo=Verb.STOP),
        step("two", Verb.START, "s0/db@a", needs=["one"], undo=Verb.STOP),
        step("three", Verb.PROMOTE, "s0/db@b", needs=["two"]),
    ]
    for dbos in (False, True):
        for crash_at in (
            "undo_started:two:after",
            "undo_done:two:after",
            "undo_done:one:before",
            "step_failed:*:after",
        ):
            home = tmp_path / f"{dbos}-{crash_at.replace(':', '-').replace('*', 'x')}"
            home.mkdir()
            run_id = create(home, plan(steps, kind=ScenarioKind.SWITCHOVER))
            killed = spawn(home, run_id, dbos=dbos, crash_at=crash_at)
            killed.join(60)
            assert killed.exitcode == -signal.SIGKILL
            assert finish(home, run_id, dbos=dbos) == 60, complaints(home)
            run = runstore.open_run(home, run_id)
            assert run.history().state is RunState.UNDONE
            undone = [e["step"] for e in world_of(home).effects() if e["k"] == "end" and e["undo"]]
            assert list(dict.fromkeys(undone)) == ["two", "one"], crash_at


def test_a_closed_run_that_is_resumed_gets_a_workflow_of_its_own(tmp_path: Path) -> None:
    from orchestrator.model.plan import Phase

    steps = [*chain("one"), step("late", Verb.START, "s0/db@b", needs=["one"], phase=Phase.PROTECT)]
    run_id = create(tmp_path, plan(steps, kind=ScenarioKind.FAILOVER))
    broken = world_of(tmp_path)
    broken.fail["late"] = "not yet"
    assert finish(tmp_path, run_id, dbos=True, actor=broken.ports().actor) == 60
    run = runstore.open_run(tmp_path, run_id)
    assert run.history().state is RunState.DEGRADED
    assert finish(tmp_path, run_id, dbos=True) == 0, complaints(tmp_path)
    assert run.history().state is RunState.DONE
    assert world_of(tmp_path).begun("one") == 1


def test_the_store_says_nothing_on_the_screen(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run_id = create(tmp_path, plan(chain("one")))
    assert finish(tmp_path, run_id, dbos=True) == 0, complaints(tmp_path)
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")
    assert "DBOS" in (tmp_path / "runs" / run_id / "store.log").read_text()


def test_a_state_url_that_cannot_be_used(tmp_path: Path) -> None:
    run_id = create(tmp_path, plan(chain("one")))
    assert finish(tmp_path, run_id, dbos=True, state="mysql://u:secret@h/db") == Usage.exit_code
    assert "secret" not in complaints(tmp_path)


def test_a_full_disk_begins_no_effect(tmp_path: Path) -> None:
    """A real limit on the size of the journal's file: the step whose start does not fit is not begun."""
    names = [f"n{i}" for i in range(40)]
    run_id = create(tmp_path, plan(chain(*names)))
    process = FORK.Process(target=_limited, args=(tmp_path, run_id))
    process.start()
    process.join(60)
    assert process.exitcode == 8, complaints(tmp_path)
    assert "cannot be written" in complaints(tmp_path)
    world = world_of(tmp_path)
    run = runstore.open_run(tmp_path, run_id)
    started = {r.step for r in read_journal(run.path / "journal.jsonl") if r.event is Event.EFFECT_STARTED}
    begun = {e["step"] for e in world.effects() if e["k"] == "begin"}
    assert begun and begun <= started
    assert finish(tmp_path, run_id, dbos=False) == 0, complaints(tmp_path)
    assert [world.begun(n) for n in names if n not in begun] == [1] * (40 - len(begun))


def _limited(home: Path, run_id: str) -> None:
    import resource

    size = 9000
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    world = world_of(home)
    world.path = home / "effects"
    carry_on(home, run_id, dbos=False)


def test_a_kill_while_a_run_is_created_leaves_no_run(tmp_path: Path) -> None:
    made = plan(chain("one"))
    for delay in range(12):
        process = FORK.Process(target=create, args=(tmp_path, made))
        process.start()
        time.sleep(delay * 0.003)
        process.kill()
        process.join(10)
        for run in runstore.list_runs(tmp_path):
            assert run.state is RunState.RUNNING
            finish(tmp_path, run.run, dbos=False)
            assert runstore.open_run(tmp_path, run.run).history().state is RunState.DONE
            shutil.rmtree(tmp_path / "runs" / run.run)
        assert runstore.broken_runs(tmp_path) == ()
    create(tmp_path, made)
    assert not list((tmp_path / "runs").glob(".new-*")), "what a crash left is swept away"
