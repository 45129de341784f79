"""What a world falls into: pieces whose nodes actions change together, coupled by cuts and looks alone. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple

from msgspec.structs import replace

from orchestrator.machine.table import Act
from orchestrator.machine.world import HERE, Ground, Power, World, connected
from orchestrator.model.topology import Nature


class Piece(NamedTuple):
    """Nodes that actions change together."""

    ground: Ground
    nodes: tuple[str, ...]


def pieces(ground: Ground, concerned: Collection[str]) -> Iterable[Piece]:
    """Each replicated service, and each app and entry that is concerned."""
    for service in ground.services:
        if service.nature is Nature.REPLICATED:
            yield Piece(Ground(ground.topology, (), (service,)), tuple(i.id for i in service.instances))
            continue
        for instance in service.instances:
            if instance.id in concerned:
                alone = replace(service, instances=(instance,), replications=())
                yield Piece(Ground(ground.topology, (), (alone,)), (instance.id,))


def hangs(ground: Ground, world: World, act: Act) -> bool:
    """Whether a refused order was not answered at all, because its host or its source stands still or is dark."""
    node = world.nodes[ground.index[act.instance]]
    ends = [node, *(n for n in world.nodes if n.service == node.service and n.centre in act.towards)]
    return any(n.power is Power.FROZEN or not connected(world, HERE, n.centre) for n in ends)
