"""How a service stands now and where it is to stand: who is primary, who feeds whom. Pure.

Takes what was seen before what is declared; unknown is never read as down. Leaves out: what is to be done about it
(selectors, planner) and whether it may be done (plan_gates).
"""

from __future__ import annotations

from collections.abc import Collection
from functools import cached_property

from orchestrator.errors import Refused
from orchestrator.model.observation import Reach, Reading, Snapshot
from orchestrator.model.plan import Loss
from orchestrator.model.topology import CopyMode, Frozen, Instance, Role, Service, Topology


class Feed(Frozen, kw_only=True):
    """From which centre the copy in `target` receives; an empty source: from nobody."""

    target: str
    source: str
    sync: bool


class Standing(Frozen, kw_only=True, dict=True):
    """How one replicated service stands now."""

    service: Service
    primary: str
    """Centre of the primary."""
    feeds: tuple[Feed, ...]
    """One for each copy that is not the primary."""

    @cached_property
    def source_of(self) -> dict[str, str]:
        """Centre that the copy in a centre receives from."""
        return {f.target: f.source for f in self.feeds}

    @property
    def sync(self) -> tuple[str, ...]:
        """Centres whose acknowledgement the primary waits for."""
        return tuple(f.target for f in self.feeds if f.sync)


class DataMove(Frozen, kw_only=True, dict=True):
    """One replicated service: how it stands, and how it shall stand when the plan is done."""

    standing: Standing
    new_primary: str
    lost: tuple[str, ...]
    home: tuple[Feed, ...]
    """Who feeds whom at the end."""
    interim: tuple[Feed, ...]
    """Who feeds whom once every copy is back; differs from `home` where a copy must first be rewound at the primary."""
    missing: tuple[str, ...] = ()
    """Centres whose copy does not stream now."""
    loss: Loss | None = None
    """What the promotion may lose; None where the primary stays."""

    @property
    def service(self) -> Service:
        return self.standing.service

    @property
    def moves(self) -> bool:
        """Whether another copy becomes primary."""
        return self.new_primary != self.standing.primary

    def at(self, centres: Collection[str]) -> tuple[Instance, ...]:
        """The instances in some centres, in the order of their ids."""
        return tuple(sorted((i for i in self.service.instances if i.centre in centres), key=lambda i: i.id))


def stand(service: Service, snapshot: Snapshot | None) -> Standing:
    """How a service stands: as seen, and as declared where it was not looked at.

    Raises:
        Refused: two writable primaries, or it cannot be told who is primary.
    """
    primary = declared_primary(service) if snapshot is None else who_leads(service, snapshot)
    reading = snapshot.of(f"{service.id}@{primary}") if snapshot else None
    required = reading.sync_required if reading else None
    feeds = []
    for instance in sorted(service.instances, key=lambda i: i.id):
        if instance.centre == primary:
            continue
        sync = instance.centre in required if required is not None else declared_sync(service, instance.centre, primary)
        feeds.append(Feed(target=instance.centre, source=_source(service, instance, primary, snapshot), sync=sync))
    return Standing(service=service, primary=primary, feeds=tuple(feeds))


def who_leads(service: Service, snapshot: Snapshot) -> str:
    """The centre of the primary.

    One that answers as primary is it. Where none does, it is the silent copy from which the others are set to receive,
    the only silent one, or the declared one, in this order.

    Raises:
        Refused: two writable primaries, or none of the above.
    """
    readings = {i.centre: snapshot.of(i.id) for i in service.instances}
    primaries = sorted(c for c, r in readings.items() if r.reach is Reach.ANSWERED and r.role is Role.PRIMARY)
    writable = [c for c in primaries if readings[c].writable is not False]
    if len(writable) > 1:
        raise Refused(f"{service.id} has two writable primaries: {' and '.join(writable)}")
    if writable or len(primaries) == 1:
        return (writable or primaries)[0]
    silent = {c for c, r in readings.items() if not _is_copy(r)}
    wanted = {r.upstream for r in readings.values() if _is_copy(r) and r.upstream} & silent
    declared = declared_primary(service)
    for found in (wanted, silent, silent & {declared}):
        if len(found) == 1:
            return next(iter(found))
    raise Refused(f"{service.id} has no primary that can be told: {_roles(readings)}")


def declared_primary(service: Service) -> str:
    """The centre of the declared primary.

    Raises:
        Refused: none is declared.
    """
    if service.primary is None:
        raise Refused(f"{service.id} declares no primary")
    return service.primary.centre


def declared_source(service: Service, centre: str, primary: str) -> str:
    """From whom the copy in `centre` receives by declaration, the primary standing in `primary`."""
    source = next((r.source for r in service.replications if r.target == centre), primary)
    return primary if source == centre else source


def declared_sync(service: Service, centre: str, primary: str) -> bool:
    """Whether a declared sync replication joins two centres, in either direction."""
    ends = {centre, primary}
    return any(r.mode is CopyMode.SYNC and {r.source, r.target} == ends for r in service.replications)


def streams(reading: Reading) -> bool | None:
    """Whether a copy receives; None where it cannot be told."""
    if reading.reach is not Reach.ANSWERED or reading.role is None:
        return None
    return reading.role is Role.STANDBY and reading.receiving is True


def home_feeds(topology: Topology, standing: Standing, primary: str, lost: Collection[str]) -> tuple[Feed, ...]:
    """Who shall feed whom with the primary in `primary`: as declared where it is at home.

    Elsewhere the copy in the primary's city is its sync standby (sync across cities is never switched on), and a copy
    in another city stays with what it receives from, or comes to the primary where that is lost or replaced.
    """
    service = standing.service
    at_home = declared_primary(service) == primary
    homes = []
    for centre in sorted(i.centre for i in service.instances if i.centre != primary):
        if at_home:
            source = declared_source(service, centre, primary)
            sync = source == primary and declared_sync(service, centre, primary)
        elif topology.same_site(centre, primary):
            source, sync = primary, any(r.mode is CopyMode.SYNC for r in service.replications)
        else:
            now = standing.source_of.get(centre, "")
            source, sync = primary if now in {*lost, standing.primary, ""} else now, False
        homes.append(Feed(target=centre, source=source, sync=sync))
    return tuple(homes)


def interim_feeds(standing: Standing, primary: str, lost: Collection[str], home: tuple[Feed, ...]) -> tuple[Feed, ...]:
    """Who feeds whom once every copy is back.

    A lost copy whose primary stays comes straight back to its place. Where the primary moves, a copy that fed on the
    lost or replaced one may hold what the new primary never had, so it is first rewound at the new primary itself.
    """
    feeds = []
    for feed in home:
        now = standing.source_of.get(feed.target, "")
        if primary != standing.primary:
            source = primary if feed.target in lost or displaced(standing, primary, lost, feed) else now
        elif feed.target in lost:
            source = feed.source
        else:
            source = primary if now in lost else now
        feeds.append(Feed(target=feed.target, source=source, sync=feed.sync and source == primary))
    return tuple(feeds)


def displaced(standing: Standing, primary: str, lost: Collection[str], feed: Feed) -> bool:
    """Whether a surviving copy cannot simply go on when the primary moves to `primary`."""
    now = standing.source_of.get(feed.target, "")
    detached = feed.target in standing.sync and feed.target != primary
    return now in {*lost, standing.primary, ""} or detached or (feed.sync and feed.source == primary)


def _source(service: Service, instance: Instance, primary: str, snapshot: Snapshot | None) -> str:
    reading = snapshot.of(instance.id) if snapshot else None
    if reading and reading.reach is Reach.ANSWERED and reading.upstream is not None:
        return reading.upstream
    return declared_source(service, instance.centre, primary)


def _is_copy(reading: Reading) -> bool:
    return reading.reach is Reach.ANSWERED and reading.role in {Role.STANDBY, Role.DETACHED}


def _roles(readings: dict[str, Reading]) -> str:
    return ", ".join(f"{c} {r.role.value if r.role else r.reach.value}" for c, r in sorted(readings.items()))
