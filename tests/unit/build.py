"""Builds topologies and looks in code, for tests: the three systems of the lab, and any number of others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from orchestrator.model.observation import Downstream, Reach, Reading, Snapshot
from orchestrator.model.plan import Mode
from orchestrator.model.request import Request
from orchestrator.model.runbook import Runbook
from orchestrator.model.topology import (
    EDGE,
    Centre,
    CentreRole,
    CopyMode,
    Instance,
    Nature,
    Objective,
    Replication,
    Role,
    Service,
    Site,
    System,
    Text,
    Topology,
)
from orchestrator.runbooks import load_runbook

AT = "2026-01-05T08:00:00Z"
RUNBOOKS = Path(__file__).resolve().parents[2] / "runbooks"
CHAIN: tuple[tuple[str, str, CopyMode], ...] = (("a", "b", CopyMode.SYNC), ("b", "c", CopyMode.ASYNC))
"""source, target, mode: primary a, sync standby b, c cascading from b."""
MIRRORED: tuple[tuple[str, str, CopyMode], ...] = (("b", "a", CopyMode.SYNC), ("a", "c", CopyMode.ASYNC))


def name(text: str) -> Text:
    return Text(en=text, zh=text)


def instance(service: str, centre: str, role: Role) -> Instance:
    return Instance(id=f"{service}@{centre}", service=service, centre=centre, role=role, address="127.0.0.1:1")


def database(
    system: str, copies: Sequence[tuple[str, str, CopyMode]] = CHAIN, *, called: str = "db", lag_s: float = 5.0
) -> Service:
    """A replicated service; its primary is the source of the first copy."""
    key, primary = f"{system}/{called}", copies[0][0]
    centres = [primary, *(target for _, target, _ in copies)]
    return Service(
        id=key,
        system=system,
        name=called,
        kind="postgresql",
        nature=Nature.REPLICATED,
        instances=tuple(instance(key, c, Role.PRIMARY if c == primary else Role.STANDBY) for c in centres),
        replications=tuple(
            Replication(source=s, target=t, mode=m, lag_max_s=0.0 if m is CopyMode.SYNC else lag_s)
            for s, t, m in copies
        ),
    )


def app(system: str, serving: Iterable[str] = "ab", waiting: Iterable[str] = "c", serves: str = "") -> Service:
    key = f"{system}/app"
    roles = {**dict.fromkeys(serving, Role.PRIMARY), **dict.fromkeys(waiting, Role.STANDBY)}
    return Service(
        id=key,
        system=system,
        name="app",
        kind="http-app",
        nature=Nature.ACTIVE,
        instances=tuple(instance(key, c, r) for c, r in roles.items()),
        serves=serves,
    )


def entry(system: str) -> Service:
    key = f"{system}/entry"
    return Service(
        id=key,
        system=system,
        name="entry",
        kind="haproxy",
        nature=Nature.ROUTE,
        instances=(instance(key, EDGE, Role.PRIMARY),),
        serves=f"{system}/app",
    )


def system(key: str, services: Sequence[Service], depends_on: Sequence[str] = ()) -> System:
    return System(
        id=key,
        name=name(key),
        tier=1,
        owner=name("owner"),
        filing="PLACEHOLDER-1",
        centre_loss=Objective(rto_s=60, rpo_s=0),
        site_loss=Objective(rto_s=300, rpo_s=30),
        depends_on=tuple(depends_on),
        services=tuple(services),
    )


def full_system(
    key: str, copies: Sequence[tuple[str, str, CopyMode]] = CHAIN, depends_on: Sequence[str] = ()
) -> System:
    """A database, an app that serves in a and b, and an entry."""
    return system(key, [database(key, copies), app(key, serves=f"{key}/db"), entry(key)], depends_on)


def estate(systems: Sequence[System], *, lab: bool = True) -> Topology:
    """Two cities, three centres."""
    roles = {"a": CentreRole.PRODUCTION, "b": CentreRole.METRO, "c": CentreRole.REMOTE}
    sites = {"a": "chongqing", "b": "chongqing", "c": "remote"}
    return Topology(
        id="lab",
        name=name("lab"),
        sites=(Site(id="chongqing", name=name("Chongqing")), Site(id="remote", name=name("Remote"))),
        centres=tuple(Centre(id=c, site=sites[c], role=r, name=name(f"Centre {c.upper()}")) for c, r in roles.items()),
        links=(),
        systems=tuple(systems),
        lab=lab,
    )


def lab() -> Topology:
    """The lab: legal-person and sharing at home in a, open-data at home in b; sharing depends on legal-person."""
    return estate(
        [
            full_system("legal-person"),
            full_system("sharing", depends_on=["legal-person"]),
            full_system("open-data", MIRRORED),
        ]
    )


def healthy(topology: Topology, primaries: Mapping[str, str] | None = None, at: str = AT) -> Snapshot:
    """A look at an estate in which everything is as declared.

    Args:
        topology: the estate.
        primaries: service → centre where its primary stands instead; the copy in the same city is then its sync
            standby, and the others receive from the primary.
        at: when.
    """
    readings = [r for s in topology.services() for r in _readings(topology, s, primaries or {})]
    return Snapshot(estate=topology.id, taken_at=at, took_s=0.1, readings=tuple(readings))


def _readings(topology: Topology, service: Service, primaries: Mapping[str, str]) -> list[Reading]:
    if service.nature is Nature.REPLICATED:
        return _copies(topology, service, primaries)
    behind = topology.service_by_id.get(service.serves)
    if service.nature is Nature.ACTIVE:
        primary = primary_of(behind, primaries) if behind else ""
        return [
            seen(i, role=i.role, answers=True, upstream=primary if i.role is Role.PRIMARY else "")
            for i in service.instances
        ]
    serving = tuple(sorted(i.centre for i in behind.instances if i.role is Role.PRIMARY)) if behind else ()
    return [seen(i, role=Role.PRIMARY, answers=True, routes_to=serving) for i in service.instances]


def primary_of(service: Service, primaries: Mapping[str, str]) -> str:
    assert service.primary is not None
    return primaries.get(service.id, service.primary.centre)


def _copies(topology: Topology, service: Service, primaries: Mapping[str, str]) -> list[Reading]:
    primary = primary_of(service, primaries)
    moved = service.primary is not None and primary != service.primary.centre
    sources: dict[str, tuple[str, bool]] = {}
    for one in service.instances:
        if one.centre == primary:
            continue
        declared = next((r for r in service.replications if r.target == one.centre), None)
        if moved or declared is None:
            sources[one.centre] = (primary, topology.same_site(one.centre, primary))
        else:
            sources[one.centre] = (declared.source, declared.mode is CopyMode.SYNC)
    return [_copy(i, primary, sources) for i in service.instances]


def _copy(one: Instance, primary: str, sources: Mapping[str, tuple[str, bool]]) -> Reading:
    down = tuple(
        Downstream(centre=c, sync=sync, streaming=True, position=1000, flush_lag_s=0.002)
        for c, (source, sync) in sorted(sources.items())
        if source == one.centre
    )
    if one.centre == primary:
        required = tuple(d.centre for d in down if d.sync)
        return seen(one, role=Role.PRIMARY, writable=True, downstreams=down, sync_required=required)
    return seen(
        one,
        role=Role.STANDBY,
        writable=False,
        upstream=sources[one.centre][0],
        receiving=True,
        lag_s=0.0,
        last_heard_s=0.1,
        replayed=1000,
        downstreams=down,
    )


def seen(one: Instance, **fields: Any) -> Reading:
    base = Reading(instance=one.id, reach=Reach.ANSWERED, took_s=0.01, position=1000, epoch=0, timeline=1)
    return msgspec.structs.replace(base, **fields)


def change(snapshot: Snapshot, key: str, **fields: Any) -> Snapshot:
    """A look in which one reading is different."""
    readings = tuple(msgspec.structs.replace(r, **fields) if r.instance == key else r for r in snapshot.readings)
    return msgspec.structs.replace(snapshot, readings=readings)


def dark(snapshot: Snapshot, *centres: str, heard_s: float = 2.0) -> Snapshot:
    """A look in which centres are silent, and what received from them has heard nothing for `heard_s` seconds."""
    readings = []
    for r in snapshot.readings:
        if r.instance.rpartition("@")[2] in centres:
            readings.append(Reading(instance=r.instance, reach=Reach.SILENT, took_s=1.0))
        elif r.role is Role.STANDBY and r.upstream in centres and r.receiving:
            readings.append(msgspec.structs.replace(r, receiving=False, last_heard_s=heard_s))
        else:
            readings.append(r)
    return msgspec.structs.replace(snapshot, readings=tuple(readings))


def request(mode: Mode = Mode.REHEARSAL, **fields: Any) -> Request:
    base = Request(mode=mode, created_at=AT, topology_sha256="0" * 64, version="1")
    return msgspec.structs.replace(base, **fields)


@cache
def runbook(key: str) -> Runbook:
    """One of the program's own runbooks."""
    return load_runbook(RUNBOOKS / f"{key}.yaml")


def apps(addresses: list[str]) -> Topology:
    """An estate with an HTTP app at each address."""
    return estate([system(f"s{n}", [_app(f"s{n}", address)]) for n, address in enumerate(addresses)])


def _app(name: str, address: str) -> Service:
    key = f"{name}/app"
    one = Instance(id=f"{key}@a", service=key, centre="a", role=Role.PRIMARY, address=address)
    return Service(id=key, system=name, name="app", kind="http-app", nature=Nature.ACTIVE, instances=(one,))
