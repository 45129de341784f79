"""What stands around an execution: a run that ended and was not sealed, a late executor, a disk that is full."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
from collections.abc import Collection
from pathlib import Path
from typing import Any

import psutil
import pytest
from msgspec.structs import replace

from orchestrator import canary
from orchestrator.carry import LAST_LOOK_S, Manner, carry_out, unsealed
from orchestrator.durable import give_up, run_durably
from orchestrator.errors import DrctlError, Findings, PartialState, Refused
from orchestrator.evidence.bundle import bundles
from orchestrator.evidence.journal import Superseded
from orchestrator.execution import naming, runstore
from orchestrator.execution.runstore import Run
from orchestrator.executor import execute
from orchestrator.model.observation import Snapshot
from orchestrator.model.plan import Mode, Verb
from orchestrator.model.run import RunState
from orchestrator.verification.readers import Readers
from tests.simestate import step
from tests.simworld import SimActor
from tests.stage import A, B, Stage


class SimMeans:
    """Means over a stage's world; `full` makes an action meet a full disk of our own."""

    state, lang, injector = "", "en", None
    readers = Readers(rows={}, objects={}, names={})
    canary_rows = staticmethod(lambda *_: pytest.fail("an isolated exercise reads no rows"))

    def __init__(self, stage: Stage, *, full: str = "") -> None:
        self.home, self._stage, self._full = stage.home, stage, full

    async def observe(self, instances: Collection[str] | None = None, within_s: float = 1.0) -> Snapshot:
        self.within_s = within_s
        names = instances or [i.id for i in self._stage.world.topology.instances()]
        return await self._stage.world.observe(names, within_s)

    @property
    def actors(self) -> Any:
        return {kind: self._actor(kind) for kind in ("simdb", "simapp", "simentry")}

    recorders = actors

    def _actor(self, kind: str) -> SimActor:
        actor = self._stage.world.ports().actor(kind)
        inner = actor.act

        async def act(verb: Verb, order: Any) -> Any:
            if order.step == self._full:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "artifacts")
            return await inner(verb, order)

        actor.act = act  # type: ignore[method-assign]
        return actor  # type: ignore[return-value]


QUIET = Manner(rate=0.0, quiet=True)


async def staged(home: Path) -> tuple[Stage, Run]:
    steps = [step("one", Verb.START, A), step("two", Verb.START, B, needs=["one"])]
    stage = Stage(home, steps, mode=Mode.ISOLATED)
    return stage, await stage.start()


async def carry(stage: Stage, run: Run, **how: str) -> Any:
    if not run.epoch:
        run.acquire()
    return await carry_out(SimMeans(stage, **how), run, QUIET)


async def test_a_run_that_ended_and_was_not_sealed_is_concluded_by_a_resume(tmp_path: Path) -> None:
    stage, run = await staged(tmp_path)
    assert await stage.go() is RunState.DONE  # and then the executor died
    assert unsealed(run)
    effects = len(stage.world.effects())
    outcome = await carry(stage, run)
    assert (outcome.state, outcome.exit_code) == (RunState.DONE, 0)
    assert len(bundles(run.path)) == 1
    assert len(stage.world.effects()) == effects
    assert not unsealed(run)
    with pytest.raises(Refused, match="has ended"):
        await carry(stage, run)
    assert not run.epoch


async def test_the_last_look_of_a_run_waits_for_what_answers_slowly(tmp_path: Path) -> None:
    stage, run = await staged(tmp_path)
    means = SimMeans(stage)
    await carry_out(means, run, QUIET)
    assert means.within_s == LAST_LOOK_S


async def test_a_run_that_began_nothing_is_over_when_it_is_closed(tmp_path: Path) -> None:
    _, run = await staged(tmp_path)

    give_up(run, "the canary does not get going")
    assert not unsealed(run)


async def test_a_late_executor_leaves_the_canary_to_the_one_that_took_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage, run = await staged(tmp_path)
    stopped: list[Path] = []
    monkeypatch.setattr(canary, "stop", stopped.append)
    late = runstore.open_run(tmp_path, run.id)
    late.acquire(takeover=True)
    with pytest.raises(Superseded):
        await carry(stage, run)
    assert stopped == []
    assert stage.world.effects() == []
    late.release()


async def test_a_late_executor_seals_nothing(tmp_path: Path) -> None:
    stage, run = await staged(tmp_path)
    await stage.go()
    run.acquire()
    late = runstore.open_run(tmp_path, run.id)
    late.acquire(takeover=True)
    with pytest.raises(Superseded):
        await carry(stage, run)
    assert bundles(run.path) == ()
    late.release()


@pytest.mark.parametrize(("where", "kind"), [("one", PartialState), ("two", PartialState)])
async def test_a_full_disk_in_an_action_stops_the_run_and_fails_no_step(
    tmp_path: Path, where: str, kind: type[DrctlError]
) -> None:
    stage, run = await staged(tmp_path)
    with pytest.raises(kind, match=r"stopped.*No space left") as caught:
        await carry(stage, run, full=where)
    assert caught.value.exit_code == 8
    history = run.history()
    assert not history.failed and history.state is RunState.RUNNING
    assert (await carry(stage, run)).state is RunState.DONE


async def test_a_full_disk_after_the_end_does_not_mean_that_nothing_was_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from orchestrator import carry as module

    stage, run = await staged(tmp_path)

    def full(*_: object) -> None:
        raise Refused("cannot write after.json: No space left on device")

    await stage.go()
    with monkeypatch.context() as patched:
        patched.setattr(module, "write", full)
        with pytest.raises(Findings, match="ended as done") as caught:
            await carry(stage, run)
    assert caught.value.exit_code == 3
    assert (await carry(stage, run)).exit_code == 0


def test_a_canary_is_known_by_its_start_and_not_by_the_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that is set back moves the time of day at which a process is said to have begun."""
    me = psutil.Process()
    canary.note_process(tmp_path, me.pid)
    begun = psutil.Process.create_time
    monkeypatch.setattr(psutil.Process, "create_time", lambda self: begun(self) - 3600)
    assert canary.alive(tmp_path) is not None
    monkeypatch.setattr(canary, "started_ticks", lambda pid: 1)
    assert canary.alive(tmp_path) is None


async def test_the_newest_run_is_the_last_also_after_the_clock_was_set_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage, first = await staged(tmp_path)
    await stage.go()
    now = naming.stamp_now()
    monkeypatch.setattr(naming, "stamp_now", lambda: f"2020{now[4:]}")
    stage.run = None
    second = await stage.start()
    assert runstore.run_ids(tmp_path) == (first.id, second.id)
    assert runstore.open_run(tmp_path, "last").id == second.id
    second.release()
    await asyncio.sleep(0)


def test_two_runs_of_one_second_stand_in_their_order(tmp_path: Path) -> None:
    taken = tmp_path / "runs"
    taken.mkdir()
    made: list[str] = []
    plan = replace(Stage(tmp_path, [step("one", Verb.START, A)]).plan)
    for _ in range(12):
        made.append(naming.free_name(taken, plan))
        (taken / made[-1]).mkdir()
    assert made == sorted(made)


@pytest.mark.parametrize("dbos", [True, False])
async def test_a_run_that_is_stopped_at_once_fails_no_step_and_leaves_nothing_at_work(
    tmp_path: Path, dbos: bool
) -> None:
    """The second Ctrl-C comes in the middle of a playbook, whose end takes a while and goes wrong."""
    stage, run = await staged(tmp_path)
    cleared: list[str] = []

    class Playbook(SimActor):
        async def act(self, verb: Verb, order: Any) -> Any:
            try:
                await asyncio.sleep(3600)
            finally:
                await asyncio.sleep(0.3)
                await asyncio.to_thread(cleared.append, order.step)
                raise RuntimeError("broken off")

    ports = stage.world.ports(run, actor=lambda kind: Playbook(stage.world, kind))
    work = run_durably(run.plan, run, ports) if dbos else execute(run.plan, run, ports)
    going = asyncio.ensure_future(work)
    while '"effect_started"' not in (run.path / "journal.jsonl").read_text():
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)
    going.cancel()
    with pytest.raises(asyncio.CancelledError):
        await going
    assert cleared == ["one"]
    run.release()
    history = run.history()
    assert not history.failed and history.state is RunState.RUNNING
    assert await stage.go() is RunState.DONE


def test_a_canary_that_nobody_buries_is_stopped(tmp_path: Path) -> None:
    """Its parent, a frozen executor, does not wait for it: a zombie stays."""
    child = subprocess.Popen(["sleep", "60"])
    canary.note_process(tmp_path, child.pid)
    canary.stop(tmp_path, within_s=5.0)
    assert canary.alive(tmp_path) is None
    assert psutil.Process(child.pid).status() == psutil.STATUS_ZOMBIE
    child.wait()
