"""Merges what a lab says of its instances (endpoints.json) into a topology."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from orchestrator.errors import BadFile
from orchestrator.loader.files import EndpointFile, OverlayFile
from orchestrator.loader.instances import parameter
from orchestrator.model.topology import Instance, Kind, Service, Setting, System, Topology, Viewpoint
from orchestrator.yamlfile import did_you_mean, read_text


def merge_overlay(topology: Topology, path: Path, kinds: Mapping[str, Kind]) -> Topology:
    """The topology with addresses and parameters replaced by those of a lab.

    Raises:
        BadFile: the file cannot be read, or names an instance, centre or parameter that does not exist.
    """
    try:
        overlay = msgspec.json.decode(read_text(path), type=OverlayFile)
    except msgspec.MsgspecError as error:
        raise BadFile(f"{path}: {error}", hint="`drctl lab up` writes this file") from error
    for name, endpoint in overlay.instances.items():
        _judge(topology, path, kinds, (name, endpoint))
    systems = tuple(_system(system, overlay.instances) for system in topology.systems)
    return msgspec.structs.replace(topology, systems=systems)


def _judge(topology: Topology, path: Path, kinds: Mapping[str, Kind], entry: tuple[str, EndpointFile]) -> None:
    name, endpoint = entry
    instance = topology.instance_by_id.get(name)
    if instance is None:
        hint = did_you_mean(name, topology.instance_by_id)
        raise BadFile(f"{path}: unknown instance `{name}`", hint=hint or "the lab belongs to another estate")
    for centre in endpoint.seen_from:
        if centre not in topology.centre_by_id:
            hint = did_you_mean(centre, topology.centre_by_id)
            raise BadFile(f"{path}: `{name}` is seen from an unknown centre `{centre}`", hint=hint)
    kind = kinds[topology.service_by_id[instance.service].kind]
    for param in endpoint.params:
        if param not in kind.params:
            hint = did_you_mean(param, kind.params)
            raise BadFile(f"{path}: unknown param `{param}` of `{name}` ({kind.name})", hint=hint)


def _system(system: System, endpoints: Mapping[str, EndpointFile]) -> System:
    return msgspec.structs.replace(system, services=tuple(_service(s, endpoints) for s in system.services))


def _service(service: Service, endpoints: Mapping[str, EndpointFile]) -> Service:
    instances = tuple(_instance(i, endpoints[i.id]) if i.id in endpoints else i for i in service.instances)
    return msgspec.structs.replace(service, instances=instances)


def _instance(instance: Instance, endpoint: EndpointFile) -> Instance:
    params = {s.name: s.value for s in instance.params} | {k: parameter(v, {}) for k, v in endpoint.params.items()}
    seen = {v.centre: v.address for v in instance.seen_from} | dict(endpoint.seen_from)
    return msgspec.structs.replace(
        instance,
        address=endpoint.address,
        seen_from=tuple(Viewpoint(centre=centre, address=address) for centre, address in seen.items()),
        params=tuple(Setting(name=name, value=value) for name, value in params.items()),
    )
