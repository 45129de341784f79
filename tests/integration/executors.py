"""Executors as processes of their own, forked and killed for real; and what the world says afterwards."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import random
import signal
import sqlite3
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator import durable
from orchestrator.crashpoint import CRASH_AT
from orchestrator.errors import DrctlError
from orchestrator.execution import runstore
from orchestrator.executor import execute
from orchestrator.model.observation import Snapshot
from orchestrator.model.plan import Condition, Fact, Plan, Step, Verb
from orchestrator.model.run import RunState
from tests.simestate import plan, step, topology
from tests.simworld import SimWorld

FORK = multiprocessing.get_context("fork")
SYSTEMS = ("s0", "s1", "s2")
IDEMPOTENT = (Verb.START, Verb.REPOINT, Verb.DEMOTE, Verb.STOP)
DIRECT_DAGS = int(os.environ.get("DRCTL_TEST_DAGS", "50"))
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


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for the store however busy the machine is: for tests of what the store holds afterwards."""
    monkeypatch.setattr(durable, "PATIENCE_S", 60.0)
    monkeypatch.setattr(durable, "FAREWELL_S", 60.0)


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
            _kill_after(process, runstore.open_run(home, run_id).path / "journal.jsonl", dice.randint(1, 12))
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


def _kill_after(process: Any, journal: Path, records: int) -> None:
    """Kill it, wherever it is, once it has written so many records more; by its own progress, so at any speed."""
    wanted = _length(journal) + records
    wait_until(lambda: _length(journal) >= wanted or not process.is_alive())
    process.kill()
    process.join(10)


def _length(journal: Path) -> int:
    return journal.read_bytes().count(b"\n") if journal.exists() else 0


def _boundary(dice: random.Random, made: Plan) -> str:
    boundary = dice.choice(BOUNDARIES)
    if dice.random() < 0.7 and "run_" not in boundary:
        return boundary.replace("*", dice.choice(made.steps).id)
    return boundary


def chain(*names: str, **more: Any) -> list[Step]:
    return [step(n, Verb.START, "s0/db@a", needs=names[i - 1 : i], **more) for i, n in enumerate(names)]


def sluggish(home: Path) -> Any:
    world = world_of(home)
    world.act_s = (0.4, 0.4)
    return world.ports().actor


def stored_steps(home: Path, run_id: str) -> list[tuple[int, str, str]]:
    with sqlite3.connect(home / "state.sqlite") as store:
        query = "SELECT function_id, function_name, output FROM operation_outputs WHERE workflow_uuid=? ORDER BY 1"
        return [(int(i), str(n), str(o)) for i, n, o in store.execute(query, (run_id,))]
