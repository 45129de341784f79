"""What a controller does while its team's store is there, stalls or is gone: a real store, a simulated estate."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from msgspec.structs import replace

from orchestrator.app import open_context
from orchestrator.context import Context
from orchestrator.errors import Refused
from orchestrator.evidence.journal import Superseded
from orchestrator.execution import runstore
from orchestrator.execution.runstore import Run
from orchestrator.executor import execute
from orchestrator.lab import control, layout, processes, services
from orchestrator.lab.state import LabState, require
from orchestrator.model.observation import Snapshot
from orchestrator.model.plan import Plan, Verb
from orchestrator.model.run import Event, RunState
from orchestrator.providers.base import Actor, Order, Outcome
from orchestrator.settings import Settings
from orchestrator.team import store
from orchestrator.team.lease import LEASE_S, MARGIN_S
from orchestrator.team.session import connect_primary
from tests.simestate import plan, step, topology
from tests.simworld import SimWorld

pytestmark = [pytest.mark.lab, pytest.mark.timeout(240)]
INSTANCE = "s0/db@a"


class Stage:
    """A lab's state store, and runs of a simulated estate that belong to its team."""

    def __init__(self, lab_dir: Path) -> None:
        self.lab_dir, self.lab = lab_dir, require(lab_dir)
        self.begun: dict[str, float] = {}
        self.at: dict[str, Callable[[], None]] = {}

    @property
    def url(self) -> str:
        found = control.status(self.lab_dir)
        assert found is not None
        return found.state_url

    def context(self, home: Path) -> Context:
        settings = Settings(
            estate="lab", home=home, lab_dir=self.lab_dir, state=self.url, lang="en", centre="b", witness=()
        )
        return open_context(settings)

    def create(self, home: Path, made: Plan) -> tuple[SimWorld, Run]:
        """A run of the team, owned."""
        self.begun, self.at = {}, {}
        world = SimWorld(topology(("s0",)), home / "effects")
        world.act_s = (0.3, 0.3)
        before: Snapshot = asyncio.run(world.observe([i.id for i in world.topology.instances()], 1.0))
        team = self.context(home).member(plan=made)
        return world, runstore.create_run(home, made, world.topology, (), before, team=team)

    def go(self, world: SimWorld, run: Run) -> RunState:
        """Carry it out, and give it up."""
        real = world.ports(run).actor
        try:
            ports = world.ports(run, actor=lambda kind: Watched(real(kind), self))
            return asyncio.run(execute(run.plan, run, ports))
        finally:
            run.release()

    def server(self, centre: str) -> Callable[[], tuple[processes.Process, ...]]:
        """The processes of one of the store's servers."""
        place = layout.Place(system="state", service="db", centre=centre)
        return lambda: services.of_place(services.scan(self.lab_dir), self.lab, place)

    def lines(self, centre: str, run: str) -> list[str]:
        """The journal that one of the store's servers holds."""
        with psycopg.connect(self.dsn(centre)) as connection:
            rows = connection.execute("select line from drctl.journal where run = %s order by seq", (run,))
            return [line for (line,) in rows]

    def forget(self, run: Run) -> None:
        """Take a run out of the store, so that it is in nobody's way."""
        with psycopg.connect(self.dsn("a")) as connection:
            for table in ("journal", "leases", "takeovers", "runs"):
                connection.execute(f"delete from drctl.{table} where run = %s".encode(), (run.id,))

    def dsn(self, centre: str) -> str:
        """One server of the store."""
        return f"postgresql://postgres@{self.lab.address(f'state/db@{centre}')}/app"


class Watched:
    """An actor that notes when it is told to act, and lets a test do something then."""

    def __init__(self, actor: Actor, stage: Stage) -> None:
        self._actor, self._stage, self.kind = actor, stage, actor.kind

    async def act(self, verb: Verb, order: Order) -> Outcome:
        """Note it, and act."""
        self._stage.begun[order.step] = time.monotonic()
        self._stage.at.get(order.step, lambda: None)()
        return await self._actor.act(verb, order)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    lab_dir = tmp_path_factory.mktemp("store") / "lab"
    control.up(lab_dir)
    try:
        assert control.up(lab_dir, state_store=True).state_store, "a lab that is up is given one"
        yield Stage(lab_dir)
    finally:
        control.down(lab_dir)
    assert not lab_dir.exists()


def chain(length: int, **more: Any) -> Plan:
    names = [f"n{i}" for i in range(length)]
    return plan([step(n, Verb.START, INSTANCE, needs=names[i - 1 : i]) for i, n in enumerate(names)], **more)


def local(run: Run) -> list[str]:
    return (run.path / "journal.jsonl").read_text().splitlines()


def events(run: Run) -> list[Event]:
    return [r.event for r in run.records()]


def test_every_effect_begins_after_its_start_is_committed_in_the_store(stage: Stage, tmp_path: Path) -> None:
    made = chain(4)
    world, run = stage.create(tmp_path, made)
    seen: dict[str, bool] = {}

    def held(name: str) -> None:
        want = f'"event":"effect_started","step":"{name}"'
        seen[name] = any(want in line for line in stage.lines("a", run.id))

    stage.at = {s.id: lambda name=s.id: held(name) for s in made.steps}  # type: ignore[misc]
    assert stage.go(world, run) is RunState.DONE
    assert seen == {s.id: True for s in made.steps}
    assert stage.lines("a", run.id) == local(run)
    assert run.records()[-1].epoch % 1000 == 0


def test_a_store_that_stalls_for_a_moment_holds_nothing_up(stage: Stage, tmp_path: Path) -> None:
    world, run = stage.create(tmp_path, chain(9))
    stalled = stalls(stage, run, at="n2", for_s=2.5)
    assert stage.go(world, run) is RunState.DONE
    stalled.join()
    assert Event.STORE_AWAY in events(run) and Event.STORE_BACK in events(run)
    begin, end = stalled.times
    assert [n for n, at in stage.begun.items() if begin + 0.5 < at < end], "it waited for the store"
    assert stage.lines("a", run.id) == local(run)


def test_without_its_lease_it_begins_nothing_and_nothing_twice_without_the_store(stage: Stage, tmp_path: Path) -> None:
    steps = list(chain(30).steps)
    once = step("once", Verb.RUN_PLAYBOOK, INSTANCE, needs=["n3"], params={"playbook": "x.yml"}, timeout_s=60)
    world, run = stage.create(tmp_path, plan([*steps, once]))
    stalled = stalls(stage, run, at="n2", for_s=LEASE_S + 4)
    assert stage.go(world, run) is RunState.DONE
    stalled.join()
    begin, end = stalled.times
    during = {n: at - begin for n, at in stage.begun.items() if begin < at < end}
    assert during, "it went on while its lease held"
    assert "once" not in during and world.begun("once") == 1
    assert max(during.values()) <= LEASE_S - MARGIN_S + 0.5, during
    assert stage.lines("a", run.id) == local(run)


class Stalled(threading.Thread):
    """Freezes the store's primary for some seconds."""

    def __init__(self, stage: Stage, for_s: float) -> None:
        super().__init__(daemon=True)
        self._stage, self._for_s, self.times = stage, for_s, (0.0, 0.0)

    def run(self) -> None:
        processes.freeze(self._stage.server("a"))
        begin = time.monotonic()
        time.sleep(self._for_s)
        self.times = (begin, time.monotonic())
        processes.thaw(self._stage.server("a"))


def stalls(stage: Stage, run: Run, at: str, for_s: float) -> Stalled:
    """The store's primary stands still from the moment at which a step acts."""
    assert run.epoch
    stalled = Stalled(stage, for_s)
    stage.at[at] = stalled.start
    return stalled


def test_a_controller_that_was_replaced_begins_nothing_more(stage: Stage, tmp_path: Path) -> None:
    world, run = stage.create(tmp_path, chain(8))

    def replaced() -> None:
        line, _ = connect_primary(stage.context(tmp_path).member(run)._address, "test")  # type: ignore[union-attr]
        lease = store.lease_of(line, run.id)
        store.take(line, run.id, store.Controller(owner="another"), instead_of=lease)
        line.close()

    stage.at["n3"] = replaced
    with pytest.raises(Superseded):
        stage.go(world, run)
    assert set(stage.begun) == {"n0", "n1", "n2", "n3"}
    shipped = stage.lines("a", run.id)
    assert local(run)[: len(shipped)] == shipped
    with pytest.raises(Refused, match="belongs to the controller another"):
        run.acquire(team=stage.context(tmp_path).member(run))
    with pytest.raises(Refused, match="of the team is not finished"):
        stage.create(tmp_path / "another-home", chain(2))
    assert runstore.run_ids(tmp_path / "another-home") == (), "nothing of it stays in the way"
    context = stage.context(tmp_path)
    with pytest.raises(Refused, match="--state names none"):
        dataclasses.replace(context, state="").member(run)
    assert dataclasses.replace(context, state="sqlite").member(run) is None, "at the operator's own word"
    stage.forget(run)


def test_a_run_that_takes_the_stores_centre_as_lost_brings_the_store_back(stage: Stage, tmp_path: Path) -> None:
    """Last: the store's server in A is dead afterwards."""
    made = replace(chain(12), lost=("a",))
    world, run = stage.create(tmp_path, made)
    time.sleep(1)  # so that it looks at the store's servers once, as it does with its first renewal
    stage.at["n2"] = lambda: (processes.kill(stage.server("a")), None)[1]
    assert stage.go(world, run) is RunState.DONE
    assert Event.STORE_BACK in events(run)
    with psycopg.connect(stage.dsn("b")) as connection:
        assert connection.execute("select pg_is_in_recovery()").fetchone() == (False,)
        assert connection.execute("show synchronous_standby_names").fetchone() == ("ANY 1 (c)",)
    assert stage.lines("b", run.id) == local(run)
    assert stage.lines("c", run.id) == local(run)
    assert isinstance(stage.lab, LabState)
