"""What the lab is now: read from its processes, databases, apps, entries and relays, not from its records."""

from __future__ import annotations

import contextlib
import http.client
import socket
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from pathlib import Path

import msgspec

from orchestrator.errors import Unreadable
from orchestrator.lab import buckets, layout, postgres, services, statestore
from orchestrator.lab.ceph import GATEWAYS, Cluster
from orchestrator.lab.faults import FaultKind
from orchestrator.lab.layout import Place
from orchestrator.lab.processes import Process
from orchestrator.lab.realm import FENCED
from orchestrator.lab.relayctl import Do, RelayOrder, RelayStatus, WayStatus, ask
from orchestrator.lab.state import LabState, Phase
from orchestrator.model.topology import EDGE, Frozen

_ASK_S = 1.0
_ROLE_SQL = """
SELECT pg_is_in_recovery(),
       current_setting('transaction_read_only') = 'on',
       CASE WHEN pg_is_in_recovery() THEN pg_is_wal_replay_paused() ELSE false END,
       coalesce(current_setting('drctl.epoch', true), ''),
       (SELECT string_agg(application_name || CASE sync_state WHEN 'async' THEN '' ELSE ' (sync)' END, ', '
                          ORDER BY application_name)
          FROM pg_stat_replication WHERE state = 'streaming'),
       (SELECT slot_name FROM pg_stat_wal_receiver WHERE status = 'streaming'),
       (SELECT timeline_id FROM pg_control_checkpoint())"""


class Condition(StrEnum):
    """How an instance's processes are."""

    RUNNING = "running"
    FROZEN = "frozen"
    STOPPED = "stopped"
    FENCED = "fenced"
    SILENT = "silent"
    """Its processes run, and it does not answer within 1 s."""


class InstanceStatus(Frozen):
    """One instance as it is now."""

    instance: str
    centre: str
    address: str
    condition: Condition
    role: str = ""
    """As the instance itself says."""
    detail: str = ""
    pids: tuple[int, ...] = ()


class LabStatus(Frozen):
    """The lab as it is now."""

    id: str
    lab_dir: str
    root: str
    phase: Phase
    started_at: str
    instances: tuple[InstanceStatus, ...] = ()
    ways: tuple[WayStatus, ...] = ()
    isolated: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
    """Faults in force, in the words that inject them."""
    processes: tuple[Process, ...] = ()
    state_url: str = ""
    """For `--state`; empty where the lab has no state store."""


def look(lab_dir: Path, lab: LabState) -> LabStatus:
    """Ask everything at once, with a bound of 1 s each."""
    found = services.scan(lab_dir)
    with ThreadPoolExecutor(max_workers=8) as pool:
        network = pool.submit(_network, lab)
        instances = tuple(pool.map(lambda p: _instance(lab, p, services.of_place(found, lab, p)), lab.places))
    instances += tuple(_bucket(zone, found) for zone in buckets.zones(lab).values())
    relays = network.result()
    return LabStatus(
        id=lab.id, lab_dir=str(lab_dir), root=lab.root, phase=lab.phase, started_at=lab.started_at,
        instances=instances, ways=relays.ways, isolated=relays.isolated, processes=found,
        faults=in_force(instances, relays.ways), state_url=statestore.url(lab) if lab.state_store else "",
    )  # fmt: skip


def _network(lab: LabState) -> RelayStatus:
    with contextlib.suppress(Unreadable):
        return ask(lab.socket, RelayOrder(do=Do.STATUS))
    return RelayStatus(error="the relays do not answer")


def _instance(lab: LabState, place: Place, found: tuple[Process, ...]) -> InstanceStatus:
    seen = InstanceStatus(
        instance=place.id, centre=place.centre, address=lab.address(place.id), condition=_condition(lab, place, found),
        pids=tuple(p.pid for p in found),
    )  # fmt: skip
    if seen.condition is not Condition.RUNNING:
        return seen
    asker = {"db": _database, "app": _app, "entry": _entry}[place.service]
    try:
        role, detail = asker(lab, place)
    except _silences() as e:
        return msgspec.structs.replace(seen, condition=Condition.SILENT, detail=str(e).strip().split("\n")[0])
    return msgspec.structs.replace(seen, role=role, detail=detail)


def _bucket(zone: Cluster, found: tuple[Process, ...]) -> InstanceStatus:
    """A zone's bucket by its processes; who leads is told by `drctl check`, in the store's own words."""
    here = {p.pid: p for p in found}
    pids = tuple(pid for d in GATEWAYS if (pid := zone.pid(d)) in here)
    runs = zone.pid("rgw") in here
    frozen = any(here[pid].frozen for pid in pids)
    fenced = (zone.folder / FENCED).exists()
    stopped = Condition.FENCED if fenced else Condition.STOPPED
    return InstanceStatus(
        instance=f"{layout.FILES}@{zone.name}", centre=zone.name, address=zone.address, pids=pids,
        role="bucket" if runs else "",
        condition=Condition.FROZEN if frozen else Condition.RUNNING if runs else stopped,
        detail="" if not runs else "fetches from other zones" if zone.pid("sync") in here else "fetches from nobody",
    )  # fmt: skip


def _silences() -> tuple[type[Exception], ...]:
    import psycopg

    return (psycopg.Error, OSError, http.client.HTTPException, msgspec.MsgspecError)


def _condition(lab: LabState, place: Place, found: tuple[Process, ...]) -> Condition:
    if found:
        return Condition.FROZEN if any(p.frozen for p in found) else Condition.RUNNING
    fenced = place.service == "db" and (postgres.pgdata(lab, place) / postgres.FENCED).exists()
    return Condition.FENCED if fenced else Condition.STOPPED


def _database(lab: LabState, place: Place) -> tuple[str, str]:
    with postgres.session(lab, place, _ASK_S) as session:
        row = session.execute(_ROLE_SQL).fetchone()
    assert row is not None
    recovery, read_only, paused, epoch, standbys, receiving, timeline = row
    notes = [f"timeline {timeline}"]
    if receiving:
        notes.append("streams from its source")
    elif recovery:
        notes.append("receives from nobody")
    if standbys:
        notes.append(f"sends to {standbys}")
    if read_only and not recovery:
        notes.append("read-only")
    if paused:
        notes.append("replay paused")
    if epoch:
        notes.append(f"epoch {epoch}")
    return "standby" if recovery else "primary", "; ".join(notes)


def _app(lab: LabState, place: Place) -> tuple[str, str]:
    from orchestrator.lab.answers import Health

    call = http.client.HTTPConnection(lab.address(place.id), timeout=_ASK_S)
    try:
        call.request("GET", "/health")
        told = msgspec.json.decode(call.getresponse().read(), type=Health)
    finally:
        call.close()
    if not told.serving:
        return "waiting", "calls nobody"
    return "serving", f"calls {told.upstream}; {'takes writes' if told.writable else 'takes no writes'}"


def _entry(lab: LabState, place: Place) -> tuple[str, str]:
    with socket.socket(socket.AF_UNIX) as call:
        call.settimeout(_ASK_S)
        call.connect(str(services.admin_socket(lab, place)))
        call.sendall(b"show stat app\n")
        with call.makefile("r") as answer:
            lines = [line.split(",") for line in answer.read().splitlines()]
    column = lines[0].index("status")
    servers = {row[1]: row[column] for row in lines[1:] if row[1:2] and row[1] in layout.CENTRES}
    routed = ", ".join(c for c, status in servers.items() if not status.startswith("MAINT"))
    return f"routes to {routed or 'nobody'}", "; ".join(f"{c} {status}" for c, status in servers.items())


def in_force(instances: tuple[InstanceStatus, ...], ways: tuple[WayStatus, ...]) -> tuple[str, ...]:
    """The faults that explain what is seen, in the words that inject them."""
    words: list[str] = []
    for centre in (*layout.CENTRES, EDGE):
        here = [i for i in instances if i.centre == centre]
        known = [i for i in here if not i.instance.startswith(f"{layout.FILES}@")]  # no fault stops a bucket alone
        stopped = [i for i in known if i.condition is Condition.STOPPED]
        if here and all(i.condition in (Condition.STOPPED, Condition.FENCED) for i in here) and centre != EDGE:
            words.append(f"{FaultKind.KILL_CENTRE} {centre}")
        else:
            words += [f"{FaultKind.STOP_SERVICE} {i.instance}" for i in stopped]
        if any(i.condition is Condition.FROZEN for i in here):
            words.append(f"{FaultKind.FREEZE_CENTRE} {centre}")
        if any("replay paused" in i.detail for i in here):
            words.append(f"{FaultKind.LAG} {centre}")
    return (*words, *_links_in_force(ways))


def _links_in_force(ways: tuple[WayStatus, ...]) -> list[str]:
    cut = {(w.source, w.target) for w in ways if w.cut}
    both = {way for way in cut if way[::-1] in cut}
    words = [f"{FaultKind.CUT_LINK} {a}-{b}" for a, b in sorted(both) if a < b]
    words += [f"{FaultKind.CUT_LINK} {a}>{b}" for a, b in sorted(cut - both)]
    slow = {(*sorted((w.source, w.target)), w.delay_ms) for w in ways if w.slowed}
    words += [f"{FaultKind.SLOW_LINK} {a}-{b} {delay:g}ms" for a, b, delay in sorted(slow)]
    narrow = {(*sorted((w.source, w.target)), w.kbit_s) for w in ways if w.kbit_s}
    return words + [f"{FaultKind.NARROW_LINK} {a}-{b} {rate:g}kbit" for a, b, rate in sorted(narrow)]
