"""Proves services of every kind: rows, objects, and the names that tie a database and a bucket together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.model.objects import named_by
from orchestrator.model.proof import Part, Progress, ServiceProof
from orchestrator.model.topology import Instance, Service, Topology
from orchestrator.verification import objects, service
from orchestrator.verification.names import Naming
from orchestrator.verification.names_source import NameSource
from orchestrator.verification.objects_source import ObjectSource
from orchestrator.verification.options import Options
from orchestrator.verification.source import RowSource


@dataclass(frozen=True)
class Readers:
    """Who reads one copy of a service, by the service's kind. A kind holds either rows or objects."""

    rows: Mapping[str, Callable[[Instance], RowSource]]
    objects: Mapping[str, Callable[[Instance], ObjectSource]]
    names: Mapping[str, Callable[[Instance], NameSource]]


async def verify(
    services: Sequence[Service],
    topology: Topology,
    readers: Readers,
    options: Options,
    *,
    progress: Progress | None = None,
    memory: Path | None = None,
) -> tuple[ServiceProof, ...]:
    """Prove services, in the order given; one that holds nothing to prove of these parts or centres is left out.

    `memory` is the folder in which is remembered what was proven of rows.
    """
    tables = [s for s in services if s.kind in readers.rows and set(service.PARTS) & set(options.parts)]
    found = [*await service.verify_services(tables, readers.rows, options, progress, memory)]
    for bucket in (s for s in services if s.kind in readers.objects):
        naming = _naming(bucket, topology, readers) if Part.NAMES in options.parts else None
        if naming is not None or set(objects.PARTS) & set(options.parts):
            sources = {i.id: readers.objects[bucket.kind](i) for i in bucket.instances}
            found.append(await objects.verify_bucket(bucket, sources, options, progress, naming))
    order = [s.id for s in services]
    told = (p for p in found if p.replicas or p.names or not (options.centres and p.primary))
    return tuple(sorted(told, key=lambda proof: order.index(proof.service)))


def _naming(bucket: Service, topology: Topology, readers: Readers) -> Naming | None:
    """Who names the objects of a bucket; None where nobody is said to, or its kind cannot be read."""
    if (said := named_by(bucket)) is None:
        return None
    database = topology.service_by_id[said[0]]
    read = readers.names.get(database.kind)
    return Naming(said[1], {i.centre: read(i) for i in database.instances} if read else {})
