"""What a probe sees of a state: the reading that the shipped checks judge. Pure.

Where a real look could show a better or a worse picture, this shows the better one: a gate that is fooled must be
found.
A streaming copy is seen level with its source, though the source may acknowledge one more write right after.
"""

from __future__ import annotations

from orchestrator.machine.world import HERE, Ground, Node, Power, World, at, connected, family, streams
from orchestrator.model.observation import Downstream, Reach, Reading, Snapshot
from orchestrator.model.topology import Nature, Role

LEVEL, BEHIND = 1000, 900
"""Positions: all that counts is whether one is below another."""


def look(ground: Ground, world: World, taken_at: str, blind: frozenset[str] = frozenset()) -> Snapshot:
    """Every node at once; `blind` ones give no answer though they are well."""
    readings = tuple(silent(n.id) if n.id in blind else read(ground, world, n) for n in world.nodes)
    return Snapshot(estate=ground.topology.id, taken_at=taken_at, took_s=0.0, readings=readings)


def silent(instance: str) -> Reading:
    """No answer within the bound."""
    return Reading(instance=instance, reach=Reach.SILENT, took_s=0.0, error="no answer")


def read(ground: Ground, world: World, node: Node) -> Reading:
    """One node, as a probe from our place meets it."""
    if not connected(world, HERE, node.centre) or node.power is Power.FROZEN:
        return silent(node.id)
    if node.power is Power.DOWN:
        return Reading(instance=node.id, reach=Reach.REFUSED, took_s=0.0, error="connection refused")
    if node.nature is Nature.REPLICATED:
        return _data(ground, world, node)
    return _app(ground, world, node) if node.nature is Nature.ACTIVE else _entry(ground, world, node)


def _data(ground: Ground, world: World, node: Node) -> Reading:
    primary, following = node.role is Role.PRIMARY, streams(ground, world, node)
    position = _position(ground, world, node)
    return Reading(
        instance=node.id,
        reach=Reach.ANSWERED,
        took_s=0.0,
        role=Role.PRIMARY if primary else Role.STANDBY,
        writable=primary and not node.read_only,
        epoch=node.epoch,
        timeline=node.timeline,
        position=position,
        replayed=position,
        lag_s=0.0 if following else None,
        upstream="" if primary else node.upstream,
        receiving=None if primary else following,
        downstreams=tuple(_copies(ground, world, node)),
        sync_required=node.sync if primary else None,
    )


def _position(ground: Ground, world: World, node: Node) -> int:
    """A copy that streams is level with its source, and that may be behind itself."""
    seen: set[str] = set()
    while node.id not in seen and not node.holds and node.role is not Role.PRIMARY and streams(ground, world, node):
        seen.add(node.id)
        source = at(ground, world, node.service, node.upstream)
        assert source is not None
        node = source
    return LEVEL if node.role is Role.PRIMARY or node.holds else BEHIND


def _copies(ground: Ground, world: World, node: Node) -> list[Downstream]:
    fed = (n for n in family(ground, world, node.service) if n.upstream == node.centre and streams(ground, world, n))
    return [Downstream(centre=n.centre, sync=n.centre in node.sync, streaming=True, position=LEVEL) for n in fed]


def serves(ground: Ground, world: World, app: Node) -> bool:
    """Whether an app says that it gives its users right answers: its database is open for writes.

    It does not try one, so it says so too where the write would wait for a standby that is absent.
    """
    if app.power is not Power.UP:
        return False
    database = ground.behind.get(app.service, "")
    if not database:
        return True
    called = at(ground, world, database, app.upstream)
    if called is None or called.role is not Role.PRIMARY or called.power is not Power.UP or called.read_only:
        return False
    return connected(world, app.centre, called.centre)


def _app(ground: Ground, world: World, node: Node) -> Reading:
    works = serves(ground, world, node)
    return Reading(
        instance=node.id,
        reach=Reach.ANSWERED,
        took_s=0.0,
        role=Role.PRIMARY if node.upstream else Role.STANDBY,
        upstream=node.upstream,
        answers=works,
        writable=works,
        epoch=node.epoch,
    )


def _entry(ground: Ground, world: World, node: Node) -> Reading:
    behind = ground.behind.get(node.service, "")
    apps = [at(ground, world, behind, c) for c in node.routes]
    works = any(app is not None and (app.nature is not Nature.ACTIVE or serves(ground, world, app)) for app in apps)
    return Reading(
        instance=node.id,
        reach=Reach.ANSWERED,
        took_s=0.0,
        routes_to=node.routes,
        answers=works,
        writable=works,
        epoch=node.epoch,
    )
