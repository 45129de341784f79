"""A small healthy estate, and a way to change one thing of it: two systems over three centres, as the lab has."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from orchestrator.checks import CHECKS, judge_all
from orchestrator.model.observation import Downstream, Finding, Reach, Reading, Snapshot, Verdict
from orchestrator.model.topology import (
    Centre,
    CentreRole,
    CopyMode,
    Instance,
    Kind,
    Nature,
    Objective,
    Replication,
    Role,
    Service,
    Setting,
    Site,
    System,
    Text,
    Topology,
)

A, B, C = "people/db@a", "people/db@b", "people/db@c"
APP_A, APP_B, APP_C = "people/app@a", "people/app@b", "people/app@c"
ENTRY = "people/entry@edge"
GIB = 1 << 30
NOW = "2026-11-23T00:10:00Z"
BEFORE = "2026-11-23T00:09:00Z"


def name(text: str) -> Text:
    """The same word in both languages."""
    return Text(en=text, zh=text)


def _instances(service: str, roles: dict[str, Role]) -> tuple[Instance, ...]:
    return tuple(
        Instance(id=f"{service}@{c}", service=service, centre=c, role=r, address="127.0.0.1:1")
        for c, r in roles.items()
    )


def _service(
    service: str, kind: Kind, roles: dict[str, Role], serves: str = "", copies: tuple[Replication, ...] = ()
) -> Service:
    system, _, short = service.partition("/")
    return Service(
        id=service,
        system=system,
        name=short,
        kind=kind.name,
        nature=kind.nature,
        instances=_instances(service, roles),
        replications=copies,
        serves=serves,
    )


DB = Kind(name="db-kind", nature=Nature.REPLICATED)
APP = Kind(name="app-kind", nature=Nature.ACTIVE)
GATE = Kind(name="entry-kind", nature=Nature.ROUTE)
PRIMARY, STANDBY = Role.PRIMARY, Role.STANDBY

COPIES = (
    Replication(source="a", target="b", mode=CopyMode.SYNC, lag_max_s=0),
    Replication(source="b", target="c", mode=CopyMode.ASYNC, lag_max_s=5),
)

PEOPLE = System(
    id="people",
    name=Text(en="People", zh="人口库"),
    tier=1,
    owner=name("owner"),
    filing="PLACEHOLDER-1",
    centre_loss=Objective(rto_s=30, rpo_s=0),
    site_loss=Objective(rto_s=300, rpo_s=60),
    depends_on=(),
    services=(
        _service("people/db", DB, {"a": PRIMARY, "b": STANDBY, "c": STANDBY}, copies=COPIES),
        _service("people/app", APP, {"a": PRIMARY, "b": PRIMARY, "c": STANDBY}, serves="people/db"),
        _service("people/entry", GATE, {"edge": PRIMARY}, serves="people/app"),
    ),
)
LINE = System(
    id="line",
    name=name("line"),
    tier=2,
    owner=name("owner"),
    filing="PLACEHOLDER-2",
    centre_loss=Objective(rto_s=30, rpo_s=0),
    site_loss=Objective(rto_s=300, rpo_s=60),
    depends_on=(),
    services=(_service("line/link", GATE, {"edge": PRIMARY}),),
)

TOPOLOGY = Topology(
    id="small",
    name=name("small"),
    sites=(Site(id="here", name=name("here")), Site(id="there", name=name("there"))),
    centres=(
        Centre(id="a", site="here", role=CentreRole.PRODUCTION, name=name("a")),
        Centre(id="b", site="here", role=CentreRole.METRO, name=name("b")),
        Centre(id="c", site="there", role=CentreRole.REMOTE, name=name("c")),
    ),
    links=(),
    systems=(PEOPLE, LINE),
)

SETTINGS = (
    Setting(name="version", value="18.1"),
    Setting(name="max_connections", value="100"),
    Setting(name="wal_level", value="replica"),
)


def _copy(centre: str, sync: bool, position: int) -> Downstream:
    return Downstream(centre=centre, sync=sync, streaming=True, position=position, flush_lag_s=0.001)


def _answered(instance: str, **fields: Any) -> Reading:
    return Reading(instance=instance, reach=Reach.ANSWERED, took_s=0.01, epoch=0, **fields)


def _db(instance: str, **fields: Any) -> Reading:
    return _answered(
        instance,
        timeline=1,
        clock_offset_s=0.01,
        disk_free_bytes=50 * GIB,
        disk_total_bytes=100 * GIB,
        settings=SETTINGS,
        **fields,
    )


HEALTHY = Snapshot(
    estate="small",
    taken_at=NOW,
    took_s=0.05,
    readings=(
        _db(
            A,
            role=PRIMARY,
            writable=True,
            position=1000,
            downstreams=(_copy("b", True, 1000),),
            sync_required=("b",),
            wal_retained_bytes=GIB,
            wal_limit_bytes=10 * GIB,
        ),
        _db(
            B,
            role=STANDBY,
            writable=False,
            position=1000,
            replayed=1000,
            lag_s=0.0,
            upstream="a",
            receiving=True,
            last_heard_s=0.1,
            downstreams=(_copy("c", False, 990),),
            sync_required=(),
            wal_retained_bytes=GIB,
            wal_limit_bytes=10 * GIB,
        ),
        _db(
            C,
            role=STANDBY,
            writable=False,
            position=990,
            replayed=990,
            lag_s=0.02,
            upstream="b",
            receiving=True,
            last_heard_s=0.1,
            sync_required=(),
        ),
        _answered(APP_A, role=PRIMARY, writable=True, upstream="a", answers=True),
        _answered(APP_B, role=PRIMARY, writable=True, upstream="a", answers=True),
        _answered(APP_C, role=STANDBY, writable=False, upstream="", answers=False),
        _answered(ENTRY, routes_to=("a", "b"), answers=True),
        _answered("line/link@edge"),
    ),
)


def change(snapshot: Snapshot, instance: str, **fields: Any) -> Snapshot:
    """The snapshot with some fields of one reading changed."""
    readings = tuple(replace(r, **fields) if r.instance == instance else r for r in snapshot.readings)
    assert readings != snapshot.readings or any(r.instance == instance for r in readings)
    return replace(snapshot, readings=readings)


def gone(snapshot: Snapshot, instance: str, reach: Reach = Reach.SILENT, **fields: Any) -> Snapshot:
    """The snapshot with one instance that does not answer: nothing is known of it."""
    lost = Reading(instance=instance, reach=reach, took_s=2.0, **fields)
    readings = tuple(lost if r.instance == instance else r for r in snapshot.readings)
    return replace(snapshot, readings=readings)


def moved(snapshot: Snapshot = HEALTHY) -> Snapshot:
    """After a failover to b: b is primary with epoch 1, a and c stream from it."""
    world = change(
        snapshot,
        B,
        role=PRIMARY,
        writable=True,
        upstream="",
        receiving=None,
        lag_s=None,
        timeline=2,
        epoch=1,
        downstreams=(_copy("a", True, 1000), _copy("c", False, 990)),
        sync_required=("a",),
    )
    world = change(
        world,
        A,
        role=STANDBY,
        writable=False,
        upstream="b",
        receiving=True,
        lag_s=0.0,
        timeline=2,
        epoch=1,
        downstreams=(),
        sync_required=(),
    )
    world = change(world, C, timeline=2)
    for app in (APP_A, APP_B):
        world = change(world, app, upstream="b")
    return world


def findings(check: str, snapshot: Snapshot, topology: Topology = TOPOLOGY) -> dict[str, Finding]:
    """Subject → finding of one check."""
    assert check in {c.id for c in CHECKS}
    return {f.subject: f for f in judge_all(topology, snapshot, checks=[check])}


def verdicts(check: str, snapshot: Snapshot, topology: Topology = TOPOLOGY) -> dict[str, Verdict]:
    """Subject → verdict of one check."""
    return {subject: f.verdict for subject, f in findings(check, snapshot, topology).items()}
