"""Small estates in the shapes that matter, for runs by the thousand; every one lies over three centres."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orchestrator.model.topology import (
    EDGE,
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
    Site,
    System,
    Text,
    Topology,
)

KINDS: Mapping[str, Kind] = {
    k.name: k
    for k in (
        Kind(name="sim-data", nature=Nature.REPLICATED),
        Kind(name="sim-app", nature=Nature.ACTIVE),
        Kind(name="sim-entry", nature=Nature.ROUTE),
    )
}
SYNC, ASYNC = CopyMode.SYNC, CopyMode.ASYNC
Copies = Sequence[tuple[str, str, CopyMode]]
CHAIN: Copies = (("a", "b", SYNC), ("b", "c", ASYNC))
STAR: Copies = (("a", "b", SYNC), ("a", "c", ASYNC))
MIRRORED: Copies = (("b", "a", SYNC), ("a", "c", ASYNC))
LOOSE: Copies = (("a", "b", ASYNC), ("a", "c", ASYNC))
PAIR: Copies = (("a", "b", SYNC),)


def _text(words: str) -> Text:
    return Text(en=words, zh=words)


def _service(system: str, name: str, roles: Mapping[str, Role], kind: str, serves: str = "") -> Service:
    key = f"{system}/{name}"
    places = tuple(Instance(id=f"{key}@{c}", service=key, centre=c, role=r, address="") for c, r in roles.items())
    nature = KINDS[kind].nature
    return Service(id=key, system=system, name=name, kind=kind, nature=nature, instances=places, serves=serves)


def _data(system: str, copies: Copies) -> Service:
    primary = copies[0][0]
    roles = {primary: Role.PRIMARY, **{target: Role.STANDBY for _, target, _ in copies}}
    links = tuple(Replication(source=s, target=t, mode=m, lag_max_s=0.0 if m is SYNC else 30.0) for s, t, m in copies)
    bare = _service(system, "db", roles, "sim-data")
    return Service(
        id=bare.id, system=system, name="db", kind=bare.kind, nature=bare.nature, instances=bare.instances,
        replications=links,
    )  # fmt: skip


def _system(name: str, copies: Copies, apps: str = "ab", waiting: str = "c", after: Sequence[str] = ()) -> System:
    services = [_data(name, copies)]
    if apps:
        roles = {**dict.fromkeys(apps, Role.PRIMARY), **dict.fromkeys(waiting, Role.STANDBY)}
        services.append(_service(name, "app", roles, "sim-app", f"{name}/db"))
        services.append(_service(name, "entry", {EDGE: Role.PRIMARY}, "sim-entry", f"{name}/app"))
    return System(
        id=name,
        name=_text(name),
        tier=1,
        owner=_text("owner"),
        filing="PLACEHOLDER-1",
        centre_loss=Objective(rto_s=60, rpo_s=0),
        site_loss=Objective(rto_s=300, rpo_s=60),
        depends_on=tuple(after),
        services=tuple(services),
    )


def _estate(name: str, *systems: System) -> Topology:
    roles = {"a": CentreRole.PRODUCTION, "b": CentreRole.METRO, "c": CentreRole.REMOTE}
    sites = {"a": "near", "b": "near", "c": "far"}
    return Topology(
        id=name,
        name=_text(name),
        sites=(Site(id="near", name=_text("near")), Site(id="far", name=_text("far"))),
        centres=tuple(Centre(id=c, site=sites[c], role=r, name=_text(c)) for c, r in roles.items()),
        links=(),
        systems=systems,
        lab=True,
    )


ESTATES: Mapping[str, Topology] = {
    t.id: t
    for t in (
        _estate("chain", _system("one", CHAIN)),
        _estate("star", _system("one", STAR)),
        _estate("mirrored", _system("one", MIRRORED)),
        _estate("loose", _system("one", LOOSE)),
        _estate("bare", _system("one", CHAIN, apps="")),
        _estate("bare-star", _system("one", STAR, apps="")),
        _estate("pair", _system("one", PAIR, apps="ab", waiting="")),
        _estate("single-app", _system("one", CHAIN, apps="a", waiting="b")),
        _estate("two", _system("one", CHAIN), _system("two", MIRRORED, after=["one"])),
    )
}
"""By name: primary in a with a sync copy in b and a later one in c behind b (chain) or a (star); primary in b
(mirrored); later copies only (loose); no app (bare); two copies (pair); an app in one centre; two that depend."""
