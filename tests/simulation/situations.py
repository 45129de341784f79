"""Where runs begin: an estate, what has happened to it, and the plan that the shipped planner makes for it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import msgspec

from orchestrator.checks.conditions import remember
from orchestrator.errors import Refused
from orchestrator.machine import looks
from orchestrator.machine.faults import parse, strike
from orchestrator.machine.table import ACTIONS, act_of, apply
from orchestrator.machine.world import Ground, World
from orchestrator.model.observation import Reach, Snapshot
from orchestrator.model.plan import Mode, Plan
from orchestrator.model.request import Request, Timings
from orchestrator.model.topology import Nature
from orchestrator.planner import plan
from orchestrator.runbooks import load_runbooks
from orchestrator.simulation.clock import BEGAN_S, stamp
from orchestrator.simulation.data import BYTES, START
from orchestrator.simulation.estates import ESTATES
from orchestrator.simulation.states import State, States

AT = stamp(BEGAN_S)
RUNBOOKS = {r.id: r for r in load_runbooks(Path(__file__).resolve().parents[2] / "runbooks")}


class Words(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator asks for, and in which world."""

    estate: str
    scenario: str
    mode: Mode = Mode.LIVE
    lost: tuple[str, ...] = ()
    target: str = ""
    systems: tuple[str, ...] = ()
    fault: str = ""
    """Injected by the drill."""
    accept_loss: bool = False
    befallen: str = ""
    """Faults that have happened before the plan is made, as `machine.faults` spells them."""
    moved: str = ""
    """The estate was switched over to this centre before."""

    @property
    def name(self) -> str:
        """For tables."""
        return f"{self.scenario}{'' if self.mode is Mode.LIVE else ' ' + self.mode.value}"


class Situation:
    """A plan in a world."""

    def __init__(self, words: Words, states: States, begin: State, made: Plan, before: Snapshot) -> None:
        self.words, self.states, self.begin, self.plan, self.before = words, states, begin, made, before


def every_words() -> Iterator[Words]:
    """All that is run; those that the planner refuses are sorted out by `situations`."""
    for estate in ESTATES:
        homes = "b" if estate == "mirrored" else "a"
        for lost in "abc":
            for accept in (False, True):
                for fault in (f"kill-centre {lost}", f"freeze-centre {lost}"):
                    yield Words(estate=estate, scenario="centre-lost", lost=(lost,), fault=fault, accept_loss=accept)
                for befallen in ("kill-centre", "freeze-centre", "blackout"):
                    happened = f"{befallen} {lost}"
                    yield Words(
                        estate=estate, scenario="centre-lost", lost=(lost,), befallen=happened, accept_loss=accept
                    )
        yield Words(estate=estate, scenario="centre-lost", lost=(homes,), mode=Mode.REHEARSAL, accept_loss=True)
        city = "kill-centre a; kill-centre b"
        yield Words(estate=estate, scenario="site-lost", lost=("a", "b"), fault=city, accept_loss=True)
        yield Words(estate=estate, scenario="site-lost", lost=("a", "b"), befallen=city, accept_loss=True)
        yield Words(estate=estate, scenario="isolated", mode=Mode.ISOLATED)
        for target in "abc":
            yield Words(estate=estate, scenario="switchover", target=target)
            yield Words(estate=estate, scenario="system-switchover", target=target, systems=("one",))
            yield Words(estate=estate, scenario="failback", moved=target)
        for one in ("one/db@b", "one/db@c"):
            yield Words(estate=estate, scenario="restore", befallen=f"stop-service {one}")


@cache
def ground_states(estate: str) -> States:
    """The states of an estate, shared by all that happens in it."""
    topology = ESTATES[estate]
    return States(Ground(topology, [s.id for s in topology.systems]))


def see(states: States, world: World) -> Snapshot:
    """A look at everything, at the time at which the log positions are the first ones."""
    topology, level = states.ground.topology, START * BYTES
    found = looks.look(states.ground, world, AT)
    readings = []
    for r in found.readings:
        nature = topology.service_by_id[topology.instance_by_id[r.instance].service].nature
        if nature is Nature.REPLICATED and r.reach is Reach.ANSWERED:
            down = tuple(msgspec.structs.replace(d, position=level) for d in r.downstreams)
            readings.append(msgspec.structs.replace(r, position=level, replayed=level, downstreams=down))
        else:
            readings.append(r)
    return msgspec.structs.replace(found, readings=tuple(readings))


def situation(words: Words) -> Situation:
    """Plan as the command does: look, remember what answered before, judge, plan.

    Raises:
        Refused: by the planner.
    """
    states = ground_states(words.estate)
    ground = states.ground
    world = ground.declared()
    if words.moved:
        world = _moved(states, world, words.moved)
    healthy = see(states, world)
    if words.befallen:
        world = strike(ground, world, *parse(words.befallen))
    now = see(states, world)
    before = remember(healthy, now)
    request = Request(
        mode=words.mode,
        lost=words.lost,
        target=words.target,
        systems=words.systems,
        fault=words.fault,
        accept_loss=words.accept_loss,
        created_at=AT,
        topology_sha256="0" * 64,
    )
    made = plan(ground.topology, now, RUNBOOKS[words.scenario], request, Timings(), before=before)
    return Situation(words, states, states.of(world), made, before)


def _moved(states: States, world: World, target: str) -> World:
    """After a switchover that went well."""
    ground = states.ground
    request = Request(mode=Mode.LIVE, target=target, created_at=AT, topology_sha256="0" * 64)
    made = plan(ground.topology, see(states, world), RUNBOOKS["switchover"], request, Timings())
    for step in made.steps:
        if step.verb in ACTIONS:
            world = apply(ground, world, act_of(ground, step, 1))
    return world


@cache
def situations() -> tuple[Situation, ...]:
    """All situations in which a plan can be made."""
    found = []
    for words in every_words():
        try:
            found.append(situation(words))
        except Refused:
            continue
    return tuple(found)
