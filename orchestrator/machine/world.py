"""States: every instance of some systems, and the links between their centres, as far as safety depends on them. Pure.

Data is kept as three facts of an instance (`holds`, `forked`, `timeline`) that bound every number of writes from above:
`settle` assumes that whoever can acknowledge a write does so at once. Leaves out: time, load, the length of a lag.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from functools import cached_property

from msgspec.structs import replace

from orchestrator.model.topology import Frozen, Nature, Role, Service, Topology

HERE = ""
"""The place of whoever looks and acts: `cut` holds (HERE, c) where centre `c` is dark to us."""


class Power(StrEnum):
    """Whether an instance's processes run."""

    UP = "up"
    FROZEN = "frozen"
    """Stands still and may go on at any moment, as if nothing had happened."""
    DOWN = "down"


class Node(Frozen, kw_only=True):
    """One instance."""

    id: str
    service: str
    centre: str
    nature: Nature
    role: Role
    power: Power = Power.UP
    fenced: bool = False
    """Stopped, its clients refused, and nothing starts it but `unfence` and `rejoin`."""
    read_only: bool = False
    """A primary that was demoted: it takes no writes."""
    upstream: str = ""
    """Centre that it receives from (data) or calls (app); empty: nobody."""
    sync: tuple[str, ...] = ()
    """Centres any of which must acknowledge before this primary does; empty: it acknowledges alone."""
    epoch: int = 0
    """Highest epoch of a run that has changed it; it refuses an older one."""
    routes: tuple[str, ...] = ()
    """Centres that an entry sends users to, sorted."""
    timeline: int = 1
    holds: bool = True
    """Holds every write that was acknowledged to a user of its service and not given up by an accepted loss."""
    forked: bool = False
    """May hold what the present primary does not: it cannot follow before it is rewound."""


class World(Frozen, kw_only=True):
    """All nodes, in the order of their ground, and what is cut."""

    nodes: tuple[Node, ...]
    cut: frozenset[tuple[str, str]] = frozenset()
    """(from, to): nothing gets from one centre to the other; HERE is a place too."""
    lost: frozenset[str] = frozenset()
    """Services of which a promotion gave acknowledged writes up."""


class Ground:
    """What does not change: which nodes there are and how they belong together."""

    def __init__(self, topology: Topology, systems: Iterable[str], services: Iterable[Service] | None = None) -> None:
        self.topology = topology
        self.systems = tuple(systems)
        every = (v for s in self.systems for v in topology.system_by_id[s].services)
        self.services: tuple[Service, ...] = tuple(every if services is None else services)

    @cached_property
    def index(self) -> Mapping[str, int]:
        """Instance id → its place in `World.nodes`."""
        return {i.id: n for n, i in enumerate(i for v in self.services for i in v.instances)}

    @cached_property
    def family(self) -> Mapping[str, Mapping[str, int]]:
        """Service → centre → place of its instance there."""
        return {v.id: {i.centre: self.index[i.id] for i in v.instances} for v in self.services}

    @cached_property
    def behind(self) -> Mapping[str, str]:
        """Service → the service that it serves or leads to."""
        return {v.id: v.serves for v in self.services if v.serves in {w.id for w in self.services}}

    @cached_property
    def data(self) -> tuple[str, ...]:
        """Services that hold data."""
        return tuple(v.id for v in self.services if v.nature is Nature.REPLICATED)

    def declared(self) -> World:
        """The world as the topology declares it, everything well."""
        return settle(self, World(nodes=tuple(self._declared())))

    def _declared(self) -> Iterator[Node]:
        for service in self.services:
            copies = {r.target: r for r in service.replications}
            for i in service.instances:
                sync = tuple(r.target for r in service.replications if r.source == i.centre and r.mode == "sync")
                copy = copies.get(i.centre)
                yield Node(
                    id=i.id,
                    service=service.id,
                    centre=i.centre,
                    nature=service.nature,
                    role=i.role,
                    upstream=copy.source if copy else self._called(service, i.role),
                    sync=sync if i.role is Role.PRIMARY else (),
                    routes=self._routed(service),
                )

    def _called(self, service: Service, role: Role) -> str:
        if service.nature is not Nature.ACTIVE or role is not Role.PRIMARY or not service.serves:
            return ""
        primary = self.topology.service_by_id[service.serves].primary
        return primary.centre if primary else ""

    def _routed(self, service: Service) -> tuple[str, ...]:
        if service.nature is not Nature.ROUTE or not service.serves:
            return ()
        behind = self.topology.service_by_id[service.serves]
        return tuple(sorted(i.centre for i in behind.instances if i.role is Role.PRIMARY))


def connected(world: World, source: str, target: str) -> bool:
    """Whether both directions between two places are open; one that is cut one way carries no conversation."""
    return source == target or not ({(source, target), (target, source)} & world.cut)


def at(ground: Ground, world: World, service: str, centre: str) -> Node | None:
    """The node of a service in a centre."""
    place = ground.family.get(service, {}).get(centre)
    return None if place is None else world.nodes[place]


def family(ground: Ground, world: World, service: str) -> tuple[Node, ...]:
    """Every node of a service."""
    return tuple(world.nodes[n] for n in ground.family[service].values())


def streams(ground: Ground, world: World, node: Node) -> bool:
    """Whether a standby receives from its upstream now."""
    if node.nature is not Nature.REPLICATED or node.role is Role.PRIMARY or not node.upstream:
        return False
    source = at(ground, world, node.service, node.upstream)
    if source is None or node.forked or node.timeline > source.timeline:
        return False
    both_run = node.power is Power.UP and source.power is Power.UP
    return both_run and connected(world, node.centre, source.centre)


def would_take(node: Node) -> bool:
    """Whether it takes a client's write as soon as it runs: a frozen one may run at any moment."""
    open_for_writes = node.role is Role.PRIMARY and not node.read_only and not node.fenced
    return node.nature is Nature.REPLICATED and open_for_writes and node.power is not Power.DOWN


def can_acknowledge(ground: Ground, world: World, node: Node) -> bool:
    """Whether a client could be told that its write is kept; a frozen primary counts as if it ran."""
    if not would_take(node):
        return False
    return not node.sync or any(_acknowledges(ground, world, node, centre) for centre in node.sync)


def _acknowledges(ground: Ground, world: World, primary: Node, centre: str) -> bool:
    standby = at(ground, world, primary.service, centre)
    if standby is None or standby.upstream != primary.centre or standby.role is Role.PRIMARY or standby.forked:
        return False
    awake = standby.power is not Power.DOWN  # two that are frozen may both wake up
    return awake and standby.timeline <= primary.timeline and connected(world, standby.centre, primary.centre)


def settle(ground: Ground, world: World) -> World:
    """What happens by itself at once: standbys follow, and writes are acknowledged wherever they can be."""
    nodes = list(world.nodes)
    for service in ground.data:
        _settle_service(ground, world, service, nodes)
    return world if tuple(nodes) == world.nodes else replace(world, nodes=tuple(nodes))


def _settle_service(ground: Ground, world: World, service: str, nodes: list[Node]) -> None:
    places = tuple(ground.family[service].values())
    writers = [n for n in places if can_acknowledge(ground, world, nodes[n])]
    kept = {c for n in writers for c in nodes[n].sync} if len(writers) == 1 else set()
    only = len(kept) == 1  # of several, any may have acknowledged: none is known to hold all
    for _ in places:  # a cascade settles in as many rounds as it is long
        now = replace(world, nodes=tuple(nodes))
        for n in places:
            node = nodes[n]
            if node.role is Role.PRIMARY:
                continue
            if streams(ground, now, node):
                source = nodes[ground.family[service][node.upstream]]
                safe = not writers or (only and node.centre in kept and n not in writers)
                nodes[n] = replace(node, timeline=source.timeline, holds=source.holds and safe)
            elif writers and node.holds and not (only and node.centre in kept):
                nodes[n] = replace(node, holds=False)
