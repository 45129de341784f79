"""One system as a scenario sees it: its data, its apps, its entries, and where each is to be. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from orchestrator.model.observation import Reach, Snapshot
from orchestrator.model.topology import Frozen, Instance, Nature, Role, Service, System, Topology
from orchestrator.planning.situation import DataMove


class AppMove(Frozen, kw_only=True):
    """One app: where it serves users now, as soon as the primary is there, and at the end (centres)."""

    service: Service
    data: DataMove | None
    """The data that it calls, perhaps another system's; None for an app without any."""
    now: tuple[str, ...]
    serving: tuple[str, ...]
    final: tuple[str, ...]
    upstream: tuple[str, ...]
    """Centre that each instance calls now, in the order of `service.instances`; empty for none."""

    def at(self, centres: Collection[str]) -> tuple[Instance, ...]:
        """The instances in some centres, in the order of their ids."""
        return tuple(sorted((i for i in self.service.instances if i.centre in centres), key=lambda i: i.id))


class EntryMove(Frozen, kw_only=True):
    """One entry and the app that it leads to."""

    service: Service
    app: AppMove | None
    routes: tuple[tuple[str, ...], ...]
    """Centres that each instance sends users to now, in the order of `service.instances`."""


class SystemView(Frozen, kw_only=True):
    """All that the selectors need of one system."""

    system: System
    lost: tuple[str, ...]
    target: str
    fault: bool
    attested: tuple[str, ...]
    data: tuple[DataMove, ...]
    apps: tuple[AppMove, ...]
    entries: tuple[EntryMove, ...]


class Movement(Frozen, kw_only=True):
    """What is lost, who takes over, and how each replicated service moves."""

    topology: Topology
    snapshot: Snapshot | None
    lost: tuple[str, ...]
    target: str
    fault: bool
    attested: tuple[str, ...] = ()
    """Lost centres that two people attest to be off."""


def view_of(system: System, movement: Movement, moves: Mapping[str, DataMove]) -> SystemView:
    """The view of one system; `moves` holds every replicated service that it, or an app of it, stands on."""
    services = sorted(system.services, key=lambda s: s.id)
    apps = {s.id: app_move(s, movement, moves) for s in services if s.nature is Nature.ACTIVE}
    return SystemView(
        system=system,
        lost=movement.lost,
        target=movement.target,
        fault=movement.fault,
        attested=movement.attested,
        data=tuple(moves[s.id] for s in services if s.nature is Nature.REPLICATED),
        apps=tuple(apps.values()),
        entries=tuple(entry_move(s, movement, moves, apps) for s in services if s.nature is Nature.ROUTE),
    )


def data_behind(topology: Topology, service: Service) -> str:
    """Id of the replicated service at the end of the chain of `serves`; empty for none."""
    for _ in range(8):
        if service.nature is Nature.REPLICATED or not service.serves:
            break
        service = topology.service_by_id[service.serves]
    return service.id if service.nature is Nature.REPLICATED else ""


def app_move(service: Service, movement: Movement, moves: Mapping[str, DataMove]) -> AppMove:
    """Where an app serves: beside the primary, and in every centre of that city where it is declared to serve."""
    data = moves.get(data_behind(movement.topology, service))
    now = places(service, data.standing.primary if data else "", (), movement)
    final = places(service, data.new_primary if data else "", (), movement)
    serving = tuple(c for c in final if c not in movement.lost)
    if not serving:
        serving = final = places(service, data.new_primary if data else "", movement.lost, movement)
    upstream = tuple(_calls(i, data, movement.snapshot) for i in service.instances)
    return AppMove(service=service, data=data, now=now, serving=serving, final=final, upstream=upstream)


def places(service: Service, primary: str, without: Collection[str], movement: Movement) -> tuple[str, ...]:
    """Centres in which an app serves users while its primary stands in `primary` (empty: it has none).

    Args:
        service: the app.
        primary: centre of the primary.
        without: centres that are not there.
        movement: for the cities, and the target that breaks a tie.
    """
    there = sorted(i.centre for i in service.instances if i.centre not in without)
    declared = [i.centre for i in service.instances if i.role is Role.PRIMARY and i.centre in there]
    if primary:
        near = [c for c in declared if _same_site(movement.topology, c, primary)]
        if primary in near or (near and primary not in there):
            return tuple(sorted(near))
        return (primary,) if primary in there else tuple(sorted(declared) or there[:1])
    preferred = [movement.target] if movement.target in there else there[:1]
    return tuple(sorted(declared) or preferred)


def entry_move(
    service: Service, movement: Movement, moves: Mapping[str, DataMove], apps: Mapping[str, AppMove]
) -> EntryMove:
    """An entry: where it leads, and where each of its instances sends users now."""
    behind = movement.topology.service_by_id.get(service.serves)
    app = apps.get(service.serves)
    if app is None and behind is not None and behind.nature is Nature.ACTIVE:
        app = app_move(behind, movement, moves)
    routes = tuple(_routes(i, app, movement.snapshot) for i in service.instances)
    return EntryMove(service=service, app=app, routes=routes)


def _same_site(topology: Topology, a: str, b: str) -> bool:
    return a in topology.centre_by_id and b in topology.centre_by_id and topology.same_site(a, b)


def _calls(instance: Instance, data: DataMove | None, snapshot: Snapshot | None) -> str:
    reading = snapshot.of(instance.id) if snapshot else None
    if reading and reading.reach is Reach.ANSWERED and reading.upstream is not None:
        return reading.upstream
    return data.standing.primary if data and instance.role is Role.PRIMARY else ""


def _routes(instance: Instance, app: AppMove | None, snapshot: Snapshot | None) -> tuple[str, ...]:
    reading = snapshot.of(instance.id) if snapshot else None
    if reading and reading.reach is Reach.ANSWERED and reading.routes_to is not None:
        return tuple(sorted(reading.routes_to))
    return app.now if app else ()
