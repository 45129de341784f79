"""How each instance and each flow of a topology looks: as declared, or as a snapshot saw it. Pure; draws nothing.

Shared by the SVG and the Mermaid picture, so that both tell the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Final, NamedTuple

from orchestrator.model.observation import Reach, Reading, Snapshot
from orchestrator.model.topology import CopyMode, Instance, Nature, Replication, Role, Service, Text, Topology


class Look(StrEnum):
    """The state in which an instance is drawn."""

    PRIMARY = "primary"
    SYNC = "sync"
    ASYNC = "async"
    SERVING = "serving"
    IDLE = "idle"
    ROUTE = "route"
    DETACHED = "detached"
    UNREACHABLE = "unreachable"
    UNKNOWN = "unknown"


NAMES: Final[dict[Look, Text]] = {
    Look.PRIMARY: Text(en="primary", zh="主"),
    Look.SYNC: Text(en="sync standby", zh="同步备"),
    Look.ASYNC: Text(en="async standby", zh="异步备"),
    Look.SERVING: Text(en="serves users", zh="对外服务"),
    Look.IDLE: Text(en="waits", zh="待命"),
    Look.ROUTE: Text(en="users come in", zh="用户入口"),
    Look.DETACHED: Text(en="detached", zh="已脱离"),
    Look.UNREACHABLE: Text(en="unreachable", zh="不可达"),
    Look.UNKNOWN: Text(en="unknown", zh="未知"),
}
_REACH: Final[dict[Reach, Text]] = {
    Reach.REFUSED: Text(en="refused: nobody listens", zh="拒绝：无进程监听"),
    Reach.DENIED: Text(en="denied access", zh="拒绝访问"),
    Reach.SILENT: Text(en="silent", zh="无应答"),
}


class Face(NamedTuple):
    """How one instance looks, and the words below its name."""

    look: Look
    caption: Text


class Flow(StrEnum):
    """What an arrow means."""

    SYNC = "sync"
    ASYNC = "async"
    BROKEN = "broken"
    CALL = "call"
    ROUTE = "route"


class Arrow(NamedTuple):
    """One arrow between two instances."""

    flow: Flow
    source: str
    target: str
    label: Text


def span(seconds: float) -> str:
    """Seconds for people: `30 s`, `5 min`, `2 h`; one unit, no false precision."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g} {unit}"
    return f"{seconds * 1000:.0f} ms" if 0 < seconds < 1 else f"{seconds:.3g} s"


def face(service: Service, instance: Instance, snapshot: Snapshot | None) -> Face:
    """How an instance looks: by its declaration, or by its reading where there is a snapshot."""
    if snapshot is None:
        look = _declared(service, instance)
        return Face(look, NAMES[look])
    reading = snapshot.of(instance.id)
    if reading.reach is Reach.UNKNOWN:
        return Face(Look.UNKNOWN, NAMES[Look.UNKNOWN])
    if reading.reach is not Reach.ANSWERED:
        return Face(Look.UNREACHABLE, _REACH[reading.reach])
    return _seen(service, instance, reading, snapshot)


def _declared(service: Service, instance: Instance) -> Look:
    if service.nature is Nature.ROUTE:
        return Look.ROUTE
    if service.nature is Nature.ACTIVE:
        return Look.SERVING if instance.role is Role.PRIMARY else Look.IDLE
    if instance.role is Role.PRIMARY:
        return Look.PRIMARY
    feed = next((r for r in service.replications if r.target == instance.centre), None)
    return Look.SYNC if feed is not None and feed.mode is CopyMode.SYNC else Look.ASYNC


def _seen(service: Service, instance: Instance, reading: Reading, snapshot: Snapshot) -> Face:
    if service.nature is Nature.ROUTE:
        look = Look.ROUTE if reading.answers is not False else Look.UNREACHABLE
    elif service.nature is Nature.ACTIVE:
        serves = reading.writable if reading.writable is not None else reading.answers
        look = Look.SERVING if serves else Look.IDLE if serves is False else Look.UNKNOWN
    elif reading.role is Role.STANDBY and reading.receiving:
        look = Look.SYNC if _waited_for(service, instance.centre, reading, snapshot) else Look.ASYNC
    else:
        by_role = {Role.PRIMARY: Look.PRIMARY, Role.STANDBY: Look.DETACHED, Role.DETACHED: Look.DETACHED}
        look = by_role[reading.role] if reading.role is not None else Look.UNKNOWN
    return Face(look, _caption(look, _declared(service, instance), reading))


def _caption(look: Look, declared: Look, reading: Reading) -> Text:
    name = NAMES[look]
    if look is Look.PRIMARY and reading.writable is False:
        return Text(en=f"{name.en}, read-only", zh=f"{name.zh}（只读）")
    if look in {declared, Look.UNKNOWN}:
        return name
    return Text(en=f"now {name.en}", zh=f"现为{name.zh}")


def _waited_for(service: Service, centre: str, reading: Reading, snapshot: Snapshot) -> bool:
    """Whether the instance's source waits for its acknowledgement now."""
    source = service.at(reading.upstream or "")
    if source is None:
        return False
    return any(d.centre == centre and d.sync for d in snapshot.of(source.id).downstreams)


def arrows(topology: Topology, service: Service, snapshot: Snapshot | None) -> Iterator[Arrow]:
    """Every flow out of or within a service: replication, calls of an app, users led by an entry."""
    if service.nature is Nature.REPLICATED:
        yield from _copies(service, snapshot)
    behind = topology.service_by_id.get(service.serves)
    if behind is None:
        return
    flow = Flow.ROUTE if service.nature is Nature.ROUTE else Flow.CALL
    for instance in service.instances:
        for centre in _calls(service, instance, behind, snapshot):
            target = behind.at(centre)
            if target is not None:
                yield Arrow(flow, instance.id, target.id, Text(en="", zh=""))


def _calls(service: Service, instance: Instance, behind: Service, snapshot: Snapshot | None) -> tuple[str, ...]:
    """Centres of the service behind that an instance sends users or queries to."""
    if snapshot is None:
        active = service.nature is Nature.ROUTE or instance.role is Role.PRIMARY
        return tuple(i.centre for i in behind.instances if i.role is Role.PRIMARY) if active else ()
    reading = snapshot.of(instance.id)
    if service.nature is Nature.ROUTE:
        return reading.routes_to or ()
    return (reading.upstream,) if reading.upstream else ()


def _copies(service: Service, snapshot: Snapshot | None) -> Iterator[Arrow]:
    if snapshot is None:
        for copy in service.replications:
            ends = (f"{service.id}@{copy.source}", f"{service.id}@{copy.target}")
            yield Arrow(Flow(copy.mode.value), *ends, _declared_label(copy))
        return
    live: list[tuple[str, str]] = []
    for target in service.instances:
        reading = snapshot.of(target.id)
        source = service.at(reading.upstream or "")
        if source is not None and reading.receiving:
            live.append((source.centre, target.centre))
            flow = Flow.SYNC if _waited_for(service, target.centre, reading, snapshot) else Flow.ASYNC
            yield Arrow(flow, source.id, target.id, _seen_label(flow, reading))
    yield from _missing(service, live, snapshot)


def _missing(service: Service, live: list[tuple[str, str]], snapshot: Snapshot) -> Iterator[Arrow]:
    """Declared copies that do not run, in either direction; not those whose target receives from elsewhere by now."""
    fed = {target for _, target in live}
    for copy in service.replications:
        source, target = copy.source, copy.target
        if snapshot.of(f"{service.id}@{target}").role is Role.PRIMARY:
            source, target = target, source
        if target not in fed and (target, source) not in live:
            ends = (f"{service.id}@{source}", f"{service.id}@{target}")
            yield Arrow(Flow.BROKEN, *ends, Text(en="no stream", zh="中断"))


def _declared_label(copy: Replication) -> Text:
    if copy.mode is CopyMode.SYNC:
        return Text(en="sync", zh="同步")
    return Text(en=f"async ≤ {span(copy.lag_max_s)}", zh=f"异步 ≤ {span(copy.lag_max_s)}")


def _seen_label(flow: Flow, reading: Reading) -> Text:
    lag = "" if reading.lag_s is None else f" {span(round(reading.lag_s, 3))}"
    return Text(en=f"sync{lag}", zh=f"同步{lag}") if flow is Flow.SYNC else Text(en=f"async{lag}", zh=f"异步{lag}")
