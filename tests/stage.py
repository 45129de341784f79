"""A home, a small world and a run in it: what the tests of the executor share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from msgspec.structs import replace

from orchestrator.execution import runstore
from orchestrator.execution.runstore import Run
from orchestrator.executor import execute
from orchestrator.model.observation import Snapshot
from orchestrator.model.plan import Condition, Fact, Phase, Plan, ScenarioKind, Step, Verb
from orchestrator.model.run import Event, RunState
from tests.simestate import plan, step, topology
from tests.simworld import SimWorld

A, B, C = "people/db@a", "people/db@b", "people/db@c"
APP, ENTRY = "people/app@b", "people/entry@edge"


def cond(fact: Fact, instance: str, *others: str) -> Condition:
    """A condition."""
    return Condition(fact=fact, instance=instance, others=others)


def failover(system: str = "people", *, inject: bool = True) -> list[Step]:
    """Centre a lost → b, as the contract states it."""
    a, b = (f"{system}/db@{x}" for x in "ab")
    app, entry = f"{system}/app@b", f"{system}/entry@edge"
    first = ("inject",) if inject else ()
    steps = [step("inject", Verb.INJECT, params={"fault": "kill-centre a"})] if inject else []
    detach = f"{b}:detach"
    return [
        *steps,
        step(
            f"{a}:detect",
            Verb.CONFIRM,
            a,
            needs=first,
            verify=[cond(Fact.NOT_SERVING, a)],
            phase=Phase.DETECT,
        ),
        step(
            detach,
            Verb.REPOINT,
            b,
            needs=[f"{a}:detect"],
            verify=[cond(Fact.DETACHED, b)],
            undo=Verb.REPOINT,
            undo_towards=[a],
            phase=Phase.FENCE,
        ),
        step(
            f"{b}:promote",
            Verb.PROMOTE,
            b,
            needs=[detach],
            gates=[cond(Fact.CANNOT_ACK, a, b), cond(Fact.HOLDS_ALL, b, a)],
            verify=[cond(Fact.WRITABLE_PRIMARY, b)],
            phase=Phase.PROMOTE,
        ),
        step(
            f"{app}:repoint",
            Verb.REPOINT,
            app,
            towards=[b],
            needs=[f"{b}:promote"],
            verify=[cond(Fact.CALLS, app, b)],
            phase=Phase.REDIRECT,
        ),
        step(
            f"{entry}:redirect",
            Verb.REDIRECT,
            entry,
            towards=[app],
            needs=[f"{app}:repoint"],
            gates=[cond(Fact.WRITABLE_PRIMARY, b)],
            verify=[cond(Fact.ROUTED_TO, entry, app), cond(Fact.SERVES_USERS, entry)],
            phase=Phase.REDIRECT,
        ),
        *protection(system),
    ]


def protection(system: str) -> list[Step]:
    """What comes after users are served."""
    a, b, c = (f"{system}/db@{x}" for x in "abc")
    app_a, entry = f"{system}/app@a", f"{system}/entry@edge"
    return [
        step(f"{a}:fence", Verb.FENCE, a, needs=[f"{a}:detect"], verify=[cond(Fact.FENCED, a)], phase=Phase.FENCE),
        step(
            f"{a}:rejoin",
            Verb.REJOIN,
            a,
            towards=[b],
            needs=[f"{a}:fence", f"{entry}:redirect"],
            params={"mode": "sync"},
            verify=[cond(Fact.SYNC_STANDBY_OF, a, b)],
            phase=Phase.PROTECT,
        ),
        step(
            f"{app_a}:repoint",
            Verb.REPOINT,
            app_a,
            towards=[b],
            needs=[f"{a}:rejoin"],
            phase=Phase.PROTECT,
        ),
        step(
            f"{c}:confirm",
            Verb.CONFIRM,
            c,
            needs=[f"{b}:promote"],
            verify=[cond(Fact.STANDBY_OF, c, b)],
            phase=Phase.PROTECT,
        ),
    ]


def needing(found: Step, needs: list[str] | None) -> Step:
    """The step with other needs."""
    return found if needs is None else replace(found, needs=tuple(needs))


class Stage:
    """A home, a world and a run of one plan."""

    def __init__(self, home: Path, steps: list[Step], systems: tuple[str, ...] = ("people",), **more: Any) -> None:
        self.home = home
        self.world = SimWorld(topology(systems), home / "effects")
        self.plan: Plan = plan(steps, **({"kind": ScenarioKind.FAILOVER} | more))
        self.run: Run | None = None

    async def start(self) -> Run:
        """Create the run, owned."""
        instances = [i.id for i in self.world.topology.instances()]
        before: Snapshot = await self.world.observe(instances, 1.0)
        self.run = runstore.create_run(self.home, self.plan, self.world.topology, (), before)
        return self.run

    async def go(self, **changes: Any) -> RunState:
        """Carry it out, or go on with it; `changes` replace ports."""
        run = self.run or await self.start()
        if not run.epoch:
            run.acquire()
        try:
            return await execute(self.plan, run, self.world.ports(run, **changes))
        finally:
            run.release()

    @property
    def known(self) -> Run:
        """The run."""
        assert self.run
        return self.run

    def events(self, event: Event) -> list[str]:
        """Steps of the records of one kind, in order."""
        return [r.step for r in self.known.records() if r.event is event]
