"""The worlds in which a plan may begin: as seen, as remembered, as declared; and how a lost centre may stand. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from orchestrator.machine.faults import Fault, strike
from orchestrator.machine.looks import read
from orchestrator.machine.world import Ground, Node, Power, World, settle
from orchestrator.model.observation import Reach, Reading, Snapshot
from orchestrator.model.plan import Plan, ScenarioKind, Verb
from orchestrator.model.topology import Nature, Role

LOSSES = ("blackout", "kill-centre", "freeze-centre", "darken")
"""How a centre may be lost: without power, its processes gone, standing still, or only dark to us."""


def is_real_loss(plan: Plan) -> bool:
    """Whether the centre is lost by itself: no step of the plan injects the fault."""
    return plan.kind is ScenarioKind.FAILOVER and not any(s.verb is Verb.INJECT for s in plan.steps)


def world_before(ground: Ground, now: Snapshot | None, before: Snapshot | None, lost: tuple[str, ...]) -> World:
    """The world at the time when the plan is made, but before anything was lost.

    Args:
        ground: the services.
        now: the look that the plan rests on; None: nobody looked, all is as declared.
        before: the memory of each instance's last answer.
        lost: centres whose instances are told by the memory where they do not answer.
    """
    declared = ground.declared()
    if now is None:
        return declared
    seen = {r.instance: r for r in now.readings}
    known = {r.instance: r for r in before.readings} if before else {}
    nodes = tuple(_node(n, seen.get(n.id), known.get(n.id), n.centre in lost) for n in declared.nodes)
    # Whoever is behind is found to be so at once: the present primary writes, and it is not the declared one, perhaps.
    level = tuple(replace(n, holds=True) for n in nodes)
    return settle(ground, World(nodes=_timelines(level, {**known, **_answered(seen)})))


def moved_worlds(ground: Ground, world: World, plan: Plan) -> Mapping[str, World]:
    """Worlds that are not what a plan with a promotion rests on any more, and that the last look before shows.

    Between plan and run somebody may have changed what the primary waits for, or the candidate may have fallen back:
    that is what the gates are asked again for, inside the step.
    """
    promotions = [s for s in plan.steps if s.verb is Verb.PROMOTE]
    kept = {s.instance for s in promotions if s.param("loss") != "accepted"}
    alone = tuple(replace(n, sync=()) for n in world.nodes) if promotions else world.nodes
    behind = tuple(replace(n, upstream="", holds=False) if n.id in kept else n for n in world.nodes)
    found = {
        "alone": settle(ground, replace(world, nodes=alone)),
        "behind": settle(ground, replace(world, nodes=behind)),
    }
    return {name: moved for name, moved in found.items() if moved != world}


def lost_worlds(ground: Ground, world: World, plan: Plan, now: Snapshot | None) -> Mapping[str, World]:
    """How the world may stand once the plan's centres are lost; only what fits the look, where it tells anything.

    One that two people attest to be off is off: that is the word that the plan rests on.
    """
    found, lost = {}, plan.lost
    for name in LOSSES[:1] if plan.attested else LOSSES:
        found[name] = strike(
            ground, world, *(Fault(name="blackout" if c in plan.attested else name, place=c) for c in lost)
        )
    fitting = {name: w for name, w in found.items() if now is None or _fits(ground, w, lost, now)}
    return fitting or found


def _fits(ground: Ground, world: World, lost: tuple[str, ...], now: Snapshot) -> bool:
    """Whether a look at this world could have shown what was seen of the lost centres.

    A look at a centre that answers tells nothing of how it will be lost: the plan is made beforehand.
    """
    there = [n for n in world.nodes if n.centre in lost]
    seen = [now.of(n.id).reach for n in there]
    if Reach.ANSWERED in seen:
        return True
    mute = {Reach.SILENT, Reach.UNKNOWN}
    return all((reach in mute) == (read(ground, world, n).reach in mute) for n, reach in zip(there, seen, strict=True))


def _answered(readings: Mapping[str, Reading]) -> dict[str, Reading]:
    return {name: r for name, r in readings.items() if r.reach is Reach.ANSWERED}


def _node(node: Node, seen: Reading | None, known: Reading | None, lost: bool) -> Node:
    if seen is not None and seen.reach is Reach.ANSWERED:
        return _as_read(node, seen)
    told = _as_read(node, known) if known is not None and known.reach is Reach.ANSWERED else node
    if lost or seen is None:
        return told
    return replace(told, power=Power.FROZEN if seen.reach in {Reach.SILENT, Reach.UNKNOWN} else Power.DOWN)


def _as_read(node: Node, reading: Reading) -> Node:
    if node.nature is Nature.ROUTE:
        return replace(node, routes=tuple(sorted(reading.routes_to)) if reading.routes_to is not None else node.routes)
    upstream = node.upstream if reading.upstream is None else reading.upstream
    if node.nature is Nature.ACTIVE:
        return replace(node, upstream=upstream)
    if reading.role is Role.PRIMARY:
        sync = node.sync if reading.sync_required is None else reading.sync_required
        return replace(node, role=Role.PRIMARY, upstream="", sync=sync, read_only=reading.writable is False)
    parted = bool(upstream) and reading.receiving is False
    return replace(node, role=Role.STANDBY, upstream=upstream, sync=(), forked=parted)


def _timelines(nodes: tuple[Node, ...], readings: Mapping[str, Reading]) -> tuple[Node, ...]:
    """Timelines as they were read, counted anew from 1 within each service."""
    told = {n.id: r.timeline or 1 for n in nodes if (r := readings.get(n.id))}
    least: dict[str, int] = {}
    for node in nodes:
        if node.id in told:
            least[node.service] = min(least.get(node.service, told[node.id]), told[node.id])
    return tuple(replace(n, timeline=told[n.id] - least[n.service] + 1) if n.id in told else n for n in nodes)
