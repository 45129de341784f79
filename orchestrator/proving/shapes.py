"""When two groups of systems are alike: equal up to the names of systems, services, instances and centres. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orchestrator.machine.faults import parse
from orchestrator.machine.world import Node, World
from orchestrator.model.plan import Condition, Plan, Step, Undo
from orchestrator.model.topology import EDGE, Instance
from orchestrator.proving.views import Group

MODELLED = frozenset({"mode", "loss", "fault"})
"""Parameters of a step that change what it does in the model."""


def shape(group: Group, starts: Mapping[str, World], before: World, plan: Plan, alone: bool) -> object:
    """A key that two groups share only where the prover would do the same with both.

    Args:
        group: the systems, their services and their steps.
        starts: the first worlds, by name.
        before: the world at the look before.
        plan: names the centres taken as lost, and those attested to be off.
        alone: whether the plan holds no other group.
    """
    names = _Names(group)
    services = group.ground.services
    order = {s.id: n for n, s in enumerate(services)}
    return (
        tuple((s.nature, order.get(s.serves, -1), tuple(names.places(s.instances))) for s in services),
        tuple(names.step(s) for s in group.plan.steps),
        tuple((name, names.world(w)) for name, w in starts.items()),
        names.world(before),
        tuple(sorted((names.centre(c), c in plan.attested) for c in plan.lost)),
        group.plan.kind,
        alone,
    )


class _Names:
    """Numbers in place of names, in the order of the topology."""

    def __init__(self, group: Group) -> None:
        instances = [i for s in group.ground.services for i in s.instances]
        self._instance = {i.id: n for n, i in enumerate(instances)}
        self._centre = {EDGE: -1, "": -2}
        for instance in instances:
            self._centre.setdefault(instance.centre, len(self._centre))
        self._step = {s.id: n for n, s in enumerate(group.plan.steps)}
        self._system = {s: n for n, s in enumerate(group.systems)}
        self._fault = group.plan.fault

    def centre(self, name: str) -> int:
        return self._centre.setdefault(name, len(self._centre))

    def places(self, instances: Sequence[Instance]) -> list[int]:
        return [self.centre(i.centre) for i in instances]

    def world(self, world: World) -> object:
        cut = tuple(sorted((self.centre(a), self.centre(b)) for a, b in world.cut))
        return (tuple(self._node(n) for n in world.nodes), cut, len(world.lost))

    def _node(self, n: Node) -> object:
        flags = (n.fenced, n.read_only, n.holds, n.forked, n.timeline, n.epoch)
        sync, routes = (tuple(self.centre(c) for c in cs) for cs in (n.sync, n.routes))
        return (n.role, n.power, self.centre(n.upstream), sync, routes, flags)

    def step(self, s: Step) -> object:
        return (
            s.verb,
            self._system.get(s.system, -1),
            self._instance.get(s.instance, -1),
            s.phase,
            tuple(sorted(self._step[n] for n in s.needs)),
            tuple(self._instance.get(t, -1) for t in s.towards),
            self._params(s),
            tuple(self._condition(c) for c in s.gates),
            tuple(self._condition(c) for c in s.verify),
            self._undo(s.undo),
        )

    def _params(self, s: Step | Undo) -> object:
        return tuple(
            (p.name, self._faults(p.value or self._fault) if p.name == "fault" else p.value)
            for p in s.params
            if p.name in MODELLED
        )

    def _faults(self, text: str) -> object:
        return tuple((f.name, self._place(f.place)) for f in parse(text))

    def _place(self, place: str) -> object:
        if place in self._instance:
            return ("instance", self._instance[place])
        for mark in (">", "-"):
            source, found, target = place.partition(mark)
            if found and source in self._centre and target in self._centre:
                return (mark, self.centre(source), self.centre(target))
        return ("centre", self._centre[place]) if place in self._centre else ("else", place)

    def _condition(self, c: Condition) -> object:
        return (c.fact, self._instance.get(c.instance, -1), tuple(self._instance.get(o, -1) for o in c.others))

    def _undo(self, undo: Undo | None) -> object:
        if undo is None:
            return None
        towards = tuple(self._instance.get(t, -1) for t in undo.towards)
        return (undo.verb, self._instance.get(undo.instance, -1), towards, self._params(undo))
