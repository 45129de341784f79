"""`endpoints.json`: addresses and parameters of the running lab, laid over the static topology by the loader."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

from orchestrator.lab import binaries, buckets, layout, postgres, services, state
from orchestrator.lab.ceph import Cluster
from orchestrator.lab.layout import Place
from orchestrator.lab.state import LabState, Net
from orchestrator.model.topology import EDGE, Frozen


class Endpoint(Frozen):
    """Where one instance is, and what its provider needs to know."""

    address: str
    seen_from: Mapping[str, str] = msgspec.field(default_factory=dict)
    params: Mapping[str, str] = msgspec.field(default_factory=dict)


class Endpoints(Frozen):
    """The file's content."""

    instances: Mapping[str, Endpoint]


def of(lab_dir: Path, lab: LabState) -> Endpoints:
    """Every instance's endpoint."""
    found = {p.id: _endpoint(lab_dir, lab, p) for p in layout.places()}
    stored = {f"{layout.FILES}@{c}": _bucket(lab, zone) for c, zone in buckets.zones(lab).items()}
    return Endpoints(instances={**found, **stored})


def write(lab_dir: Path, lab: LabState) -> None:
    """Write the file in one move."""
    content = msgspec.json.format(msgspec.json.encode(of(lab_dir, lab)), indent=2)
    state.write_file(lab_dir / state.ENDPOINTS, content)


def _endpoint(lab_dir: Path, lab: LabState, place: Place) -> Endpoint:
    found = _of_kind(lab_dir, lab, place)
    return msgspec.structs.replace(found, params={**found.params, **_shell(lab, place.centre)})


def _shell(lab: LabState, centre: str) -> dict[str, str]:
    """Where centres have networks of their own, Ansible works in them by a shell."""
    if lab.net is not Net.NAMESPACES or centre == EDGE:
        return {}
    return {"shell": str(services.shell(lab, centre))}


def _of_kind(lab_dir: Path, lab: LabState, place: Place) -> Endpoint:
    address = lab.address(place.id)
    start = services.command_line(lab_dir, "start", place)
    if place.service == "db":
        viewers = {c: lab.address(layout.route(c, place.id)) for c in layout.CENTRES if c != place.centre}
        return Endpoint(address=address, seen_from=viewers, params=_database(lab_dir, lab, place))
    if place.service == "app":
        stop = services.command_line(lab_dir, "stop", place)
        params = {"workdir": str(lab.folder(place)), "start_command": start, "stop_command": stop}
        return Endpoint(address=address, params=params)
    return Endpoint(
        address=address, params={"admin_socket": str(services.admin_socket(lab, place)), "start_command": start}
    )


def _bucket(lab: LabState, zone: Cluster) -> Endpoint:
    params = {**buckets.params(zone), **_shell(lab, zone.name)}
    return Endpoint(address=f"{zone.address}/{layout.BUCKET}", params=params)


def _database(lab_dir: Path, lab: LabState, place: Place) -> dict[str, str]:
    bubble = [sys.executable, "-m", "orchestrator.lab.bubble", place.system, place.centre]
    relay = [sys.executable, "-m", "orchestrator.lab.relayctl", str(lab_dir.resolve())]
    return {
        "pgdata": str(postgres.pgdata(lab, place)),
        "bindir": lab.bindir,
        "host_address": lab.host(place.centre),
        "port": str(lab.ports[place.id]),
        "user": layout.SUPERUSER,
        "database": layout.DATABASE,
        "conf": str(postgres.conf(lab, place)),
        "os_user_prefix": binaries.os_user_prefix(postgres.account_of(lab)),
        "fence_route_command": shlex.join([*relay, "isolate", place.id]),
        "unfence_route_command": shlex.join([*relay, "restore", place.id]),
        "bubble_app_command": shlex.join(bubble),
    }
