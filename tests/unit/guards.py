"""Every guard of the shipped runbooks, as a way to drop it; and the plans on which that is tried.

A guard is what a step waits for (`after`), what opens it (`gates`) and what proves it (`verify`); they are read from
the runbooks, so that a new one is found by whoever adds it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import NamedTuple

from msgspec.structs import replace

from orchestrator.machine import looks
from orchestrator.machine.faults import Fault, strike
from orchestrator.machine.table import ACTIONS, act_of, apply
from orchestrator.machine.world import Ground, World
from orchestrator.model.observation import Snapshot
from orchestrator.model.plan import Fact, Mode, Plan, Step
from orchestrator.model.request import Request, Timings
from orchestrator.planner import plan
from orchestrator.proving.worlds import AT
from orchestrator.runbooks import load_runbook
from tests.unit.test_prover import RUNBOOKS, TOPOLOGY, made, one_system

SYSTEM = "first"
GROUND = Ground(TOPOLOGY, [s.id for s in TOPOLOGY.systems])


class Guard(NamedTuple):
    """One thing that a step waits for."""

    runbook: str
    step: str
    """Its id in the runbook; `protected` for what the runbook asks for at its end."""
    kind: str
    """`after`, `gate` or `verify`."""
    what: str
    """A step, or a fact."""

    def __str__(self) -> str:
        return f"{self.runbook} {self.step} {self.kind} {self.what}"


class Tried(NamedTuple):
    """A plan, and the look that it rests on (None: as declared)."""

    plan: Plan
    look: Snapshot | None


def guards_of(name: str) -> Iterator[Guard]:
    """The guards that stand in a runbook, those of the one that it extends included."""
    runbook = load_runbook(RUNBOOKS / f"{name}.yaml")
    for step in runbook.steps:
        yield from (Guard(name, step.id, "after", other) for other in step.after)
        yield from (Guard(name, step.id, "gate", c.fact.value) for c in step.gates)
        yield from (Guard(name, step.id, "verify", c.fact.value) for c in step.verify)
    yield from (Guard(name, "protected", "verify", c.fact.value) for c in runbook.verify)


def without(whole: Plan, *guards: Guard) -> Plan:
    """The plan with the guards dropped."""
    for guard in guards:
        whole = replace(whole, steps=tuple(_dropped(s, guard) for s in whole.steps))
    return whole


def _dropped(step: Step, guard: Guard) -> Step:
    if step.id.rpartition(":")[2] != guard.step:
        return step
    if guard.kind == "after":
        ending = f":{guard.what.rpartition('.')[2]}"
        return replace(step, needs=tuple(n for n in step.needs if not n.endswith(ending)))
    fact = Fact(guard.what)
    if guard.kind == "gate":
        return replace(step, gates=tuple(c for c in step.gates if c.fact is not fact))
    return replace(step, verify=tuple(c for c in step.verify if c.fact is not fact))


def _first(scenario: str, **words: object) -> Tried:
    return Tried(one_system(TOPOLOGY, made(TOPOLOGY, RUNBOOKS / f"{scenario}.yaml", **words), SYSTEM), None)  # type: ignore[arg-type]


def _from(scenario: str, world: World) -> Tried:
    """A plan made in a world that is not the declared one."""
    look = looks.look(GROUND, world, AT)
    request = Request(mode=Mode.LIVE, created_at=AT, topology_sha256="0" * 64)
    found = plan(TOPOLOGY, look, load_runbook(RUNBOOKS / f"{scenario}.yaml"), request, Timings(), before=look)
    return Tried(one_system(TOPOLOGY, found, SYSTEM), look)


def _moved() -> World:
    """The primary is in c, by a switchover."""
    world = GROUND.declared()
    for step in made(TOPOLOGY, RUNBOOKS / "switchover.yaml", target="c", systems=(SYSTEM,)).steps:
        if step.verb in ACTIONS:
            world = apply(GROUND, world, act_of(GROUND, step))
    return world


def _stopped() -> World:
    """A copy stopped by itself, and nobody is waited for any more."""
    return strike(GROUND, GROUND.declared(), Fault(name="stop-service", place=f"{SYSTEM}/db@b"))


@cache
def tried(runbook: str) -> Mapping[str, Tried]:
    """Plans of a runbook, by what is special about them."""
    match runbook:
        case "centre-lost":
            return {
                "zero": _first(runbook, lost=("a",), fault="kill-centre a"),
                "real": _first(runbook, mode=Mode.REHEARSAL, lost=("a",)),
                "standby": _first(runbook, lost=("b",), fault="kill-centre b"),
                "far": _first(runbook, lost=("c",), fault="kill-centre c"),
                "loss": _first(runbook, lost=("a",), target="c", accept_loss=True, fault="freeze-centre a"),
            }
        case "site-lost":
            both = "freeze-centre a; freeze-centre b"
            return {
                "loss": _first(runbook, lost=("a", "b"), accept_loss=True, fault=both),
                "real": _first(runbook, mode=Mode.REHEARSAL, lost=("a", "b"), accept_loss=True),
            }
        case "switchover" | "system-switchover":
            return {
                "near": _first(runbook, target="b", systems=(SYSTEM,)),
                "afar": _first(runbook, target="c", systems=(SYSTEM,)),
            }
        case "failback":
            return {"home": _from(runbook, _moved())}
        case "restore":
            return {"copy": _from(runbook, _stopped())}
    return {"exercise": _first(runbook, mode=Mode.ISOLATED)}
