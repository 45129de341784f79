"""Faults: what the world may do by itself, or a drill may do to it. One table; pure.

Words as in the lab (`drctl lab fault`): `kill-centre a`, `freeze-centre a`, `thaw-centre a`, `cut-link a-b`,
`cut-link a>b`, `stop-service legal-person/db@a`; several are joined by `;`. The model adds `darken a` (dark to us,
not to its users), `blackout a` (its power is gone: its instances are down, and its hosts do not answer either) and
`restart-centre a` (it comes back by itself, as what it was), `lighten a` (its hosts answer again, what was off stays
off).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec.structs import replace

from orchestrator.machine.world import HERE, Ground, Node, Power, World, settle
from orchestrator.model.topology import Frozen


class Fault(Frozen, kw_only=True):
    """One fault."""

    name: str
    place: str
    """A centre, a link (`a-b`, one way `a>b`) or an instance."""

    def __str__(self) -> str:
        return f"{self.name} {self.place}"


Strike = Callable[[World, str], World]


def _each(world: World, change: Callable[[Node], Node]) -> World:
    return replace(world, nodes=tuple(change(n) for n in world.nodes))


def _kill(world: World, centre: str) -> World:
    return _each(world, lambda n: replace(n, power=Power.DOWN) if n.centre == centre else n)


def _freeze(world: World, centre: str) -> World:
    def freeze(node: Node) -> Node:
        hit = node.centre == centre and node.power is Power.UP
        return replace(node, power=Power.FROZEN) if hit else node

    return _each(world, freeze)


def _thaw(world: World, centre: str) -> World:
    def thaw(node: Node) -> Node:
        hit = node.centre == centre and node.power is Power.FROZEN
        return replace(node, power=Power.UP) if hit else node

    return _each(world, thaw)


def _cut(world: World, link: str) -> World:
    source, one_way, target = link.partition(">")
    if one_way:
        return replace(world, cut=world.cut | {(source, target)})
    source, _, target = link.partition("-")
    return replace(world, cut=world.cut | {(source, target), (target, source)})


def _darken(world: World, centre: str) -> World:
    return replace(world, cut=world.cut | {(HERE, centre)})


def _blackout(world: World, centre: str) -> World:
    return _darken(_kill(world, centre), centre)


def _stop(world: World, instance: str) -> World:
    return _each(world, lambda n: replace(n, power=Power.DOWN) if n.id == instance else n)


def _restart(world: World, centre: str) -> World:
    """Power and network of a centre are back: what was there starts again as what it was, unless it is fenced."""

    def start(node: Node) -> Node:
        return replace(node, power=Power.UP) if node.centre == centre and not node.fenced else node

    return replace(_each(world, start), cut=frozenset(pair for pair in world.cut if centre not in pair))


def _lighten(world: World, centre: str) -> World:
    """The hosts of a centre answer again; what was off there stays off."""
    return replace(world, cut=frozenset(pair for pair in world.cut if centre not in pair))


def _leave(world: World, _: str) -> World:
    """Slow and narrow links, and lag: time is not in this model."""
    return world


FAULTS: Mapping[str, Strike] = {
    "kill-centre": _kill,
    "blackout": _blackout,
    "freeze-centre": _freeze,
    "thaw-centre": _thaw,
    "restart-centre": _restart,
    "lighten": _lighten,
    "darken": _darken,
    "cut-link": _cut,
    "stop-service": _stop,
    "slow-link": _leave,
    "narrow-link": _leave,
    "fill-lag": _leave,
}


def parse(text: str) -> tuple[Fault, ...]:
    """The faults of a drill's words.

    Raises:
        KeyError: a fault that the table does not hold.
    """
    words = (part.split() for part in text.split(";") if part.strip())
    found = tuple(Fault(name=w[0], place=w[1] if len(w) > 1 else "") for w in words)
    for fault in found:
        FAULTS[fault.name]
    return found


def strike(ground: Ground, world: World, *faults: Fault) -> World:
    """The world after some faults."""
    for fault in faults:
        world = FAULTS[fault.name](world, fault.place)
    return settle(ground, world)


def heal(ground: Ground, world: World) -> World:
    """Every fault is gone: links carry, what was killed starts again as what it was, unless it is fenced."""
    healed = _each(world, lambda n: n if n.fenced else replace(n, power=Power.UP))
    return settle(ground, replace(healed, cut=frozenset()))
