"""Cuts a plan into what can be proven apart: groups of systems, parts of these, their data and all of them. Pure.

Why this is sound. Systems that share no service meet only in what a plan does to the whole estate; to drop what one
waits for in another only adds ways. In a group, the invariants of data (1, 2, 3, 6) read nothing but data and what is
cut; so in the view of data, a step on an app or an entry is let end well or not at any time, which again only adds
ways. Those that no step on data waits for, and whose failure nothing asks about, are left out there. Where users are
led (5) is looked at in the view of all. There a fault of the world comes alone: together with a crash or a late answer
it is looked at in the view of data.

A group falls into parts, such as a database with what stands on it, and a bucket beside it: no condition is about both,
no step on one is proven by the other, and each invariant reads one part. In the views of a part the steps on the other
may end well or not at any time, likewise; a promotion among them is told in two, for once begun, its system is not
undone any more; a gate that asks of the other part may be found open or shut. Whether a plan comes to its end is looked
for with everything in one view (`whole`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from orchestrator.execution.history import UNTOUCHING, History
from orchestrator.machine.faults import Fault
from orchestrator.machine.world import HERE, Ground
from orchestrator.model.plan import Condition, Mode, Plan, Step, Verb
from orchestrator.model.topology import EDGE, Nature, Service, Topology
from orchestrator.proving.moves import ANSWER, CRASH, FAULT

ESTATE_WIDE = frozenset({Verb.INJECT, Verb.HEAL})

TOGETHER = tuple(range((FAULT | CRASH | ANSWER) + 1))
APART = (0, FAULT, CRASH, ANSWER, CRASH | ANSWER)


class Group(NamedTuple):
    """Systems that share a service."""

    systems: tuple[str, ...]
    ground: Ground
    plan: Plan
    """With the steps of these systems, and those of the whole estate."""


class View(NamedTuple):
    """What is looked at in one search."""

    ground: Ground
    plan: Plan
    free: frozenset[str] = frozenset()
    """Ids of steps that may end well or not."""
    concerned: frozenset[str] = frozenset()
    """Instances that some step or condition speaks of, or that serve users now."""
    troubles: tuple[int, ...] = APART
    """Which of FAULT, CRASH and ANSWER may come together."""
    aborts: bool = False
    """Whether the operator may abort: that gives no order but those that lead back."""
    unsure: frozenset[str] = frozenset()
    """Ids of steps whose gates may be shut by what is not looked at."""


def groups(plan: Plan, topology: Topology) -> Iterable[Group]:
    """The groups of a plan, in its order."""
    head: dict[str, str] = {}

    def find(system: str) -> str:
        while head.setdefault(system, system) != system:
            system = head[system]
        return system

    for system in plan.systems:
        for service in topology.system_by_id[system].services:
            other = topology.service_by_id.get(service.serves)
            if other is not None and other.system != system:
                head[find(other.system)] = find(system)
    members: dict[str, list[str]] = {}
    for system in plan.systems:
        members.setdefault(find(system), []).append(system)
    steps: dict[str, list[Step]] = {}
    for step in plan.steps:
        steps.setdefault(find(step.system) if step.system else "", []).append(step)
    wide = steps.get("", [])
    where = {s.id: n for n, s in enumerate(plan.steps)} if wide else {}
    for key, systems in members.items():
        own = steps.get(key, [])
        # Wave by wave, what is done for the whole estate first: the same order for groups that are alike.
        own = sorted([*wide, *own], key=lambda s: (s.wave, bool(s.system), where[s.id])) if wide else own
        services = _closure(topology, [v for s in systems for v in topology.system_by_id[s].services])
        yield Group(tuple(systems), Ground(topology, (), services), _part(plan, systems, own))


def _part(plan: Plan, systems: Sequence[str], steps: Sequence[Step]) -> Plan:
    """As if it were live, whatever its mode: what a rehearsal shows is what a live run would do."""
    return replace(plan, mode=Mode.LIVE, systems=tuple(systems), steps=_cut_needs(steps))


def _cut_needs(steps: Sequence[Step]) -> tuple[Step, ...]:
    ids = {s.id for s in steps}
    return tuple(
        s if all(n in ids for n in s.needs) else replace(s, needs=tuple(n for n in s.needs if n in ids)) for s in steps
    )


def _closure(topology: Topology, services: Sequence[Service]) -> tuple[Service, ...]:
    found = {s.id: s for s in services}
    for service in services:
        below = topology.service_by_id.get(service.serves)
        while below is not None and below.id not in found:
            found[below.id] = below
            below = topology.service_by_id.get(below.serves)
    return tuple(found.values())


def views(group: Group) -> tuple[View, ...]:
    """The views of each part of a group: of its data, where it has any, and of all of it, where that is more."""
    found = parts(group)
    if len(found) == 1:
        return (_data(group, found[0]), whole(group)) if group.ground.data else (whole(group),)
    data = [_data(group, part) for part in found if _stored(part)]
    return (*data, *(_part_of(group, part) for part in found if _stored(part) != part))


def whole(group: Group) -> View:
    """Everything in one view."""
    return View(group.ground, group.plan, concerned=_concerned(group.ground, group.plan))


def parts(group: Group) -> list[tuple[Service, ...]]:
    """Services that serve one another, that one condition is about, or of which a step on one asks for its proof."""
    service_of = {i.id: s.id for s in group.ground.services for i in s.instances}
    links = [{s.id, s.serves} for s in group.ground.services]
    for step in group.plan.steps:
        asked = [{service_of.get(i, "") for i in (c.instance, *c.others)} for c in (*step.gates, *step.verify)]
        proven = asked[len(step.gates) :] if step.verb not in UNTOUCHING else []
        links += [*asked, {service_of.get(step.instance, "")}.union(*proven)]
    part = {s.id: {s.id} for s in group.ground.services}
    for link in links:
        joined = set().union(*(part[name] for name in link & part.keys()))
        part.update(dict.fromkeys(joined, joined))
    return [tuple(s for s in group.ground.services if s.id in p) for p in dict.fromkeys(map(frozenset, part.values()))]


def _stored(services: Sequence[Service]) -> tuple[Service, ...]:
    return tuple(s for s in services if s.nature is Nature.REPLICATED)


def _data(group: Group, part: Sequence[Service]) -> View:
    view = _part_of(group, _stored(part))
    data = frozenset(i.id for s in view.ground.services for i in s.instances)
    return view._replace(concerned=data, troubles=TOGETHER, aborts=True)


def _part_of(group: Group, services: tuple[Service, ...]) -> View:
    """Some services alone: what other steps do may end well or not at any time."""
    ground = Ground(group.ground.topology, (), services)
    inside = frozenset(i.id for s in services for i in s.instances)
    history = History(group.plan)
    kept: list[Step] = []
    free: set[str] = set()
    unsure: set[str] = set()
    needed: set[str] = set()
    for step in reversed(group.plan.steps):
        acts = step.instance in inside or step.verb in ESTATE_WIDE
        asks = step.verb is Verb.CONFIRM and bool(_about(inside, step.verify))
        matters = acts or step.id in needed or not history.tolerated(step)
        if not matters and not asks:
            continue
        if matters:
            needed |= set(step.needs)
        kept.append(_asking(step, inside, unsure) if acts else _blurred(step, inside, free))
    plan = replace(group.plan, steps=_cut_needs(_led_up(kept[::-1], free)))
    return View(ground, plan, frozenset(free), _concerned(ground, plan), unsure=frozenset(unsure))


def _asking(step: Step, inside: Collection[str], unsure: set[str]) -> Step:
    """A step with the gates that ask of what is looked at; the others may be shut at any time."""
    gates = _about(inside, step.gates)
    if gates == step.gates:
        return step
    unsure.add(step.id)
    return replace(step, gates=gates)


def _led_up(steps: Sequence[Step], free: Collection[str]) -> list[Step]:
    """Without the free steps that only lead up to a free promotion: whatever fails there, it may fail before it begins.

    It may begin as soon as the first of them could, and who waited for them waits no longer: that only adds ways.
    """
    of = {s.id: s for s in steps}
    above: dict[str, set[str]] = {}
    for step in steps:
        above[step.id] = {n for need in step.needs if need in of for n in (need, *above[need])}
    gone: set[str] = set()
    begins: dict[str, list[str]] = {}
    for step in steps:
        wide = {n for n in above[step.id] if of[n].verb in ESTATE_WIDE}
        up = above[step.id] - wide
        if step.verb is Verb.PROMOTE and step.id in free and all(n in free and of[n].system == step.system for n in up):
            gone |= up
            begins[step.id] = sorted(wide.intersection(*(above[n] for n in up)))
    kept = (s for s in steps if s.id not in gone)
    return [replace(s, needs=tuple(begins.get(s.id, [n for n in s.needs if n not in gone]))) for s in kept]


def _blurred(step: Step, inside: Collection[str], free: set[str]) -> Step:
    """A step with only what it asks of these instances; free, if it asks or does anything else."""
    gates, verify = _about(inside, step.gates), _about(inside, step.verify)
    if step.verb is Verb.CONFIRM and (gates, verify) == (step.gates, step.verify):
        return step
    free.add(step.id)
    return replace(step, gates=(), verify=verify if step.verb is Verb.CONFIRM else ())


def _about(inside: Collection[str], conditions: Sequence[Condition]) -> tuple[Condition, ...]:
    return tuple(c for c in conditions if c.instance in inside and all(o in inside for o in c.others))


def _concerned(ground: Ground, plan: Plan) -> frozenset[str]:
    named = {i for s in plan.steps for i in (s.instance, *s.towards, *(s.undo.towards if s.undo else ()))}
    asked = {i for s in plan.steps for c in (*s.gates, *s.verify) for i in (c.instance, *c.others)}
    serving = {n.id for n in ground.declared().nodes if n.upstream or n.routes}
    return frozenset(named | asked | serving)


def faults(view: View, lost: Collection[str], real: bool) -> tuple[tuple[Fault, ...], ...]:
    """One more fault of the world: every centre, every link, every instance that the view is about.

    A link that is cut one way is the same world as one that is cut both ways (`machine.world.connected`).
    """
    there = [i for s in view.ground.services for i in s.instances if i.id in view.concerned]
    centres = sorted({i.centre for i in there} - {EDGE, HERE})
    names = ("kill-centre", "freeze-centre", "darken")
    found = [Fault(name=name, place=centre) for name in names for centre in centres]
    found += [Fault(name="cut-link", place=f"{a}-{b}") for a in centres for b in centres if a < b]
    found += [Fault(name="stop-service", place=i.id) for i in there]
    if not real:
        found += [Fault(name="restart-centre", place=c) for c in sorted(lost)]
    return tuple((f,) for f in found)
