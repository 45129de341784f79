"""The control plane as states: what follows from a state is worked out once, by `machine`, and kept.

Most runs of a shape go through the same states, so a million of them cost little more than their executors do.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from msgspec.structs import replace

from orchestrator.machine import faults, invariants, looks
from orchestrator.machine.faults import Fault
from orchestrator.machine.table import Act, apply, failure, refusal
from orchestrator.machine.world import (
    HERE,
    Ground,
    Node,
    Power,
    World,
    connected,
    family,
    settle,
    streams,
    would_take,
)
from orchestrator.model.observation import Reading
from orchestrator.model.topology import Role
from orchestrator.simulation.data import Flow

KEPT = 20_000
"""States that are kept; when there are more, all are forgotten between two runs."""


class State:
    """One state and what is known of it."""

    __slots__ = ("_acts", "_changes", "_flows", "_judged", "_readings", "_states", "_vain", "world", "wrong")

    def __init__(self, states: States, world: World) -> None:
        self._states, self.world = states, world
        self._acts: dict[Act, tuple[str, State]] = {}
        self._changes: dict[object, State] = {}
        self._judged: dict[tuple[Act, bool], tuple[tuple[str, str], ...]] = {}
        self._readings: dict[int, Reading] = {}
        self._flows: dict[str, Flow] = {}
        self._vain: dict[Act, str] = {}
        ground = states.ground
        self.wrong = tuple((k, text) for k, rule in invariants.ALWAYS.items() if (text := rule(ground, world)))
        """Invariants that do not hold here, with the reason."""

    def after(self, act: Act) -> tuple[str, State]:
        """Why an action is refused (empty: it is not), and the state after it."""
        found = self._acts.get(act)
        if found is None:
            ground = self._states.ground
            why = refusal(ground, self.world, act)
            found = self._acts[act] = (why, self if why else self._states.of(apply(ground, self.world, act)))
        return found

    def in_vain(self, act: Act) -> str:
        """Why an action that takes effect is told to have failed; empty where it is not."""
        found = self._vain.get(act)
        if found is None:
            found = self._vain[act] = failure(self._states.ground, self.world, act)
        return found

    def struck(self, fault: Fault) -> State:
        """The state after a fault."""
        return self._changed(fault, lambda: faults.strike(self._states.ground, self.world, fault))

    def lifted(self, fault: Fault) -> State:
        """The state after a fault is gone."""
        return self._changed(("lift", fault), lambda: settle(self._states.ground, lift(self.world, fault)))

    def tampered(self, old: str, candidate: str) -> State:
        """The state after a fenced primary was started by hand, and a detached copy attached to it."""
        ground = self._states.ground
        return self._changed(
            ("hand", old, candidate), lambda: settle(ground, by_hand(ground, self.world, old, candidate))
        )

    def healed(self) -> State:
        """The state after everything is well again that is not fenced."""
        return self._changed("heal", lambda: faults.heal(self._states.ground, self.world))

    def _changed(self, key: object, make: Callable[[], World]) -> State:
        found = self._changes.get(key)
        if found is None:
            found = self._changes[key] = self._states.of(make())
        return found

    def judged(self, act: Act, accepted: bool) -> tuple[tuple[str, str], ...]:
        """Invariants that an action would break here, with the reason."""
        found = self._judged.get((act, accepted))
        if found is None:
            ground, world = self._states.ground, self.world
            rules = invariants.ON_ACTION.items()
            found = tuple((k, text) for k, rule in rules if (text := rule(ground, world, act, accepted)))
            self._judged[act, accepted] = found
        return found

    def reading(self, place: int) -> Reading:
        """What a probe sees of a node, but for positions and times."""
        found = self._readings.get(place)
        if found is None:
            world = self.world
            found = self._readings[place] = looks.read(self._states.ground, world, world.nodes[place])
        return found

    def flow(self, service: str) -> Flow:
        """Who writes and who receives."""
        found = self._flows.get(service)
        if found is None:
            found = self._flows[service] = _flow(self._states.ground, self.world, service)
        return found

    def three_copies(self, systems: Collection[str]) -> str:
        """What is missing for three protected copies of some systems; empty where nothing is."""
        ground = self._states.ground
        part = Ground(ground.topology, ground.systems)
        part.data = tuple(s for s in ground.data if ground.topology.service_by_id[s].system in systems)
        return invariants.three_copies(part, self.world)


class States:
    """All states of one ground that were met."""

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self._known: dict[World, State] = {}

    def of(self, world: World) -> State:
        """The state of a world; always the same object while it is kept."""
        found = self._known.get(world)
        if found is None:
            found = self._known[world] = State(self, world)
        return found

    def tidy(self) -> None:
        """Forget, where there are too many."""
        if len(self._known) > KEPT:
            self._known.clear()


def lift(world: World, fault: Fault) -> World:
    """A world without one fault; an instance that ran before starts as what it was, unless it is fenced."""
    name, place = fault.name, fault.place
    if name in {"darken", "blackout"}:
        world = replace(world, cut=world.cut - {(HERE, place)})
    if name == "cut-link":
        source, one_way, target = place.partition(">") if ">" in place else place.partition("-")
        gone = {(source, target)} if one_way == ">" else {(source, target), (target, source)}
        world = replace(world, cut=world.cut - gone)
    if name in {"kill-centre", "blackout", "freeze-centre", "stop-service"}:
        world = replace(world, nodes=tuple(_started(n, place) for n in world.nodes))
    return world


def by_hand(ground: Ground, world: World, old: str, candidate: str) -> World:
    """A world in which somebody undid a fence and a detachment (no `candidate`: stopped the app `old`)."""
    nodes = list(world.nodes)
    first = ground.index[old]
    if not candidate:
        nodes[first] = replace(nodes[first], upstream="")
        return replace(world, nodes=tuple(nodes))
    second = ground.index[candidate]
    if nodes[first].role is not Role.PRIMARY or nodes[second].role is Role.PRIMARY:
        return world
    nodes[first] = replace(nodes[first], fenced=False, read_only=False, power=Power.UP)
    nodes[second] = replace(nodes[second], upstream=nodes[first].centre)
    return replace(world, nodes=tuple(nodes))


def _started(node: Node, place: str) -> Node:
    hit = place in {node.centre, node.id} and not node.fenced
    return replace(node, power=Power.UP) if hit else node


def _flow(ground: Ground, world: World, service: str) -> Flow:
    members = family(ground, world, service)
    fed = {n.centre: n.upstream for n in members if streams(ground, world, n)}
    writers = [n for n in members if would_take(n) and n.power is Power.UP]
    up = {n.centre for n in members if n.power is Power.UP}
    heard = [
        (n.centre, c)
        for n in writers
        for c in n.sync
        if c in up and fed.get(c) != n.centre and connected(world, n.centre, c)
    ]
    return Flow(
        [(n.centre, bool(n.sync), tuple(c for c in n.sync if fed.get(c) == n.centre)) for n in writers],
        [(c, fed[c]) for c in sorted(fed, key=lambda c: _depth(c, fed))],
        heard,
    )


def _depth(centre: str, fed: dict[str, str]) -> int:
    depth = 0
    while centre in fed and depth < len(fed):
        centre, depth = fed[centre], depth + 1
    return depth
