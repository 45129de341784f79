"""Kill -9 at any point, then resume: judged by the world's own file of effects, never by our journal.

Every executor is a process of its own (forked), killed for real.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import random
import shutil
import signal
import sqlite3
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator import durable, runstore
from orchestrator.conversation import Control
from orchestrator.errors import DrctlError, Refused, Usage
from orchestrator.evidence.journal import read_journal
from orchestrator.executor import execute
from orchestrator.model.observation import Snapshot
from orchestrator.model.plan import Condition, Fact, Plan, ScenarioKind, Step, Verb
from orchestrator.model.run import Event, RunState
from orchestrator.runlog import CRASH_AT
from tests.simworld import SimWorld, plan, step, topology

FORK = multiprocessing.get_context("fork")
SYSTEMS = ("s0", "s1", "s2")
IDEMPOTENT = (Verb.START, Verb.REPOINT, Verb.DEMOTE, Verb.STOP)
DIRECT_DAGS = int(os.environ.get("DRCTL_TEST_DAGS", "50"))
DBOS_DAGS = 6
EXIT_BUG = 70
durable.preload()  # once, before every fork


def random_steps(dice: random.Random) -> list[Step]:
    """A random graph of steps of every kind, on three systems."""
    steps: list[Step] = []
    for number in range(dice.randint(6, 18)):
        system = dice.choice(SYSTEMS)
        needs = [s.id for s in dice.sample(steps, min(len(steps), dice.randint(0, 3)))]
        instance = f"{system}/db@{dice.choice('abc')}"
        kind = dice.random()
        if kind < 0.25:
            params = {"playbook": "x.yml"} | ({"idempotent": "true"} if dice.random() < 0.3 else {})
            steps.append(step(f"n{number}", Verb.RUN_PLAYBOOK, instance, needs=needs, params=params, timeout_s=30))
        elif kind < 0.32:
            steps.append(step(f"n{number}:ask", Verb.ASK, system=system, needs=needs))
        elif kind < 0.4:
            proof = [Condition(fact=Fact.ANSWERS, instance=f"{system}/entry@edge")]
            steps.append(step(f"n{number}", Verb.CONFIRM, instance, needs=needs, verify=proof))
        else:
            verb = dice.choice(IDEMPOTENT)
            towards = [f"{system}/db@a"] if verb is Verb.REPOINT else []
            steps.append(step(f"n{number}", verb, instance, towards=towards, needs=needs))
    return steps


def world_of(home: Path) -> SimWorld:
    return SimWorld(topology(SYSTEMS), home / "effects")


def create(home: Path, made: Plan) -> str:
    """A run that nobody owns."""
    world = world_of(home)
    before: Snapshot = asyncio.run(world.observe([i.id for i in world.topology.instances()], 1.0))
    run = runstore.create_run(home, made, world.topology, (), before)
    run.release()
    return run.id


def carry_on(home: Path, run_id: str, *, dbos: bool, crash_at: str = "", state: str = "", **changes: Any) -> None:
    """Body of an executor process: own the run, go on with it, leave with an exit code that tells how it went."""
    os.environ.pop(CRASH_AT, None)
    if crash_at:
        os.environ[CRASH_AT] = crash_at
    random.seed(os.getpid())
    code = 0
    try:
        run = runstore.open_run(home, run_id)
        run.acquire()
        ports = world_of(home).ports(run, **changes)
        work = durable.run_durably(run.plan, run, ports, state) if dbos else execute(run.plan, run, ports)
        done = asyncio.run(work)
        code = 0 if done is RunState.DONE else 60
    except DrctlError as error:
        (home / f"error.{os.getpid()}").write_text(f"{type(error).__name__}: {error.message}")
        code = error.exit_code
    except BaseException:
        (home / f"bug.{os.getpid()}").write_text(traceback.format_exc())
        code = EXIT_BUG
    os._exit(code)


def spawn(home: Path, run_id: str, **how: Any) -> Any:
    process = FORK.Process(target=carry_on, args=(home, run_id), kwargs=how)
    process.start()
    return process


def finish(home: Path, run_id: str, **how: Any) -> int:
    """Exit code of an executor that is let run to its end."""
    process = spawn(home, run_id, **how)
    process.join(60)
    assert process.exitcode is not None, "an executor hangs"
    return int(process.exitcode)


def wait_until(what: Callable[[], object], within_s: float = 20.0) -> None:
    deadline = time.monotonic() + within_s
    while not what():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.005)


def complaints(home: Path) -> str:
    return "\n".join(p.read_text() for p in sorted(home.glob("bug.*")) + sorted(home.glob("error.*")))


def assert_whole(home: Path, made: Plan) -> int:
    """Nothing is missing, nothing that must not happen twice did, and every order was kept; the number of questions."""
    effects = world_of(home).effects()
    ended: set[str] = set()
    questions = 0
    for effect in effects:
        found = made.step_by_id[effect["step"]]
        if effect["k"] == "begin":
            missing = [
                n for n in found.needs if n not in ended and made.step_by_id[n].verb not in {Verb.ASK, Verb.CONFIRM}
            ]
            assert not missing, f"{found.id} began before {missing}"
        if effect["k"] == "end":
            ended.add(found.id)
    for found in made.steps:
        begun = sum(e["k"] == "begin" and e["step"] == found.id for e in effects)
        took = sum(e["k"] == "end" and e["step"] == found.id for e in effects)
        asked = [e.get("answer") for e in effects if e["k"] == "asked" and e["step"] == found.id]
        if found.verb is Verb.RUN_PLAYBOOK and not found.param("idempotent"):
            questions += len(asked)
            assert begun <= 1 + asked.count("again"), f"{found.id} was started {begun} times, asked {asked}"
            assert took == 1, f"{found.id} took effect {took} times"
        elif found.verb not in {Verb.ASK, Verb.CONFIRM}:
            assert took >= 1, f"{found.id} never took effect"
    return questions


BOUNDARIES = [
    f"{event}:*:{when}"
    for event in (
        "step_started",
        "effect_started",
        "effect_done",
        "step_done",
        "answered",
        "gate_judged",
        "run_resumed",
    )
    for when in ("before", "after")
]


def kill_and_resume(home: Path, seed: int, *, dbos: bool, lose_store: bool = False) -> tuple[int, int]:
    """One random graph, killed a few times; how often it was killed and how often a person was asked."""
    dice = random.Random(seed)
    made = plan(random_steps(dice))
    run_id = create(home, made)
    kills = 0
    for _ in range(dice.randint(1, 4)):
        if dice.random() < 0.5:
            process = spawn(home, run_id, dbos=dbos, crash_at=_boundary(dice, made))
            process.join(60)
        else:
            process = spawn(home, run_id, dbos=dbos)
            time.sleep(dice.uniform(0.0, 0.08) + (0.35 if dbos else 0.0))
            process.kill()
            process.join(10)
        kills += process.exitcode == -signal.SIGKILL
        assert process.exitcode in {-signal.SIGKILL, 0, 5}, complaints(home)
        if lose_store and dice.random() < 0.5:
            for path in home.glob("state.sqlite*"):
                path.unlink()
    run = runstore.open_run(home, run_id)
    if run.history().state is RunState.RUNNING:
        assert finish(home, run_id, dbos=dbos) == 0, complaints(home)
    assert run.history().state is RunState.DONE
    return kills, assert_whole(home, made)


def _boundary(dice: random.Random, made: Plan) -> str:
    boundary = dice.choice(BOUNDARIES)
    if dice.random() < 0.7 and "run_" not in boundary:
        return boundary.replace("*", dice.choice(made.steps).id)
    return boundary


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


@pytest.mark.parametrize("seed", range(DBOS_DAGS))
def test_killed_anywhere_and_resumed_with_the_store(tmp_path: Path, seed: int) -> None:
    kill_and_resume(tmp_path, 1000 + seed, dbos=True)


@pytest.mark.parametrize("seed", range(3))
def test_killed_and_the_store_deleted(tmp_path: Path, seed: int) -> None:
    kill_and_resume(tmp_path, 2000 + seed, dbos=True, lose_store=True)


def chain(*names: str, **more: Any) -> list[Step]:
    return [step(n, Verb.START, "s0/db@a", needs=names[i - 1 : i], **more) for i, n in enumerate(names)]


def test_two_resumes_at_once_and_one_wins(tmp_path: Path) -> None:
    run_id = create(tmp_path, plan(chain("one", "two", "three")))
    slow = {"actor": sluggish(tmp_path)}
    processes = [spawn(tmp_path, run_id, dbos=False, **slow) for _ in range(3)]
    for process in processes:
        process.join(30)
    assert sorted(p.exitcode for p in processes) == [0, 5, 5], complaints(tmp_path)
    world = world_of(tmp_path)
    assert [world.begun(s) for s in ("one", "two", "three")] == [1, 1, 1]


def sluggish(home: Path) -> Any:
    world = world_of(home)
    world.act_s = (0.4, 0.4)
    return world.ports().actor


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


def stored_steps(home: Path, run_id: str) -> list[tuple[int, str, str]]:
    with sqlite3.connect(home / "state.sqlite") as store:
        query = "SELECT function_id, function_name, output FROM operation_outputs WHERE workflow_uuid=? ORDER BY 1"
        return [(int(i), str(n), str(o)) for i, n, o in store.execute(query, (run_id,))]


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
