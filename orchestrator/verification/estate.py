"""Proves services of every kind: rows, objects, and the names that tie a database and a bucket together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from orchestrator.model.objects import named_by
from orchestrator.model.proof import Part, Progress, Sameness, ServiceProof
from orchestrator.model.topology import Service, Topology
from orchestrator.verification import objects
from orchestrator.verification import service as rows
from orchestrator.verification.copies import unfitted
from orchestrator.verification.ledger import Ledger, Proven, ledger_of, now, oldest_first
from orchestrator.verification.names import Naming
from orchestrator.verification.options import Options
from orchestrator.verification.readers import Readers

AT_ONCE = 2
"""Services that are verified at the same time; more would only load the servers."""


async def verify(
    services: Sequence[Service],
    topology: Topology,
    readers: Readers,
    options: Options,
    *,
    progress: Progress | None = None,
    memory: Path | None = None,
) -> tuple[ServiceProof, ...]:
    """Prove services, AT_ONCE at a time, in the order given; with a budget the one with the oldest proof first.

    One that holds nothing to prove of these parts or centres is left out. `memory` is the folder in which is remembered
    what was proven, and how far an interrupted comparison of rows had come.
    """
    work = _Work(topology, readers, options, progress, time.monotonic())
    chosen = {s.id: s for s in services if work.proves(s)}
    ledgers = {name: ledger_of(memory, name) for name in chosen}
    free = asyncio.Semaphore(AT_ONCE)

    async def prove(name: str) -> ServiceProof:
        async with free:
            return await work.prove(chosen[name], ledgers[name])

    order = oldest_first(ledgers) if options.budget_s is not None else list(chosen)
    proofs = dict(zip(order, await asyncio.gather(*map(prove, order)), strict=True))
    told = (proofs[name] for name in chosen)
    return tuple(p for p in told if p.replicas or p.names or not (options.centres and p.primary))


@dataclass(frozen=True)
class _Work:
    """One verification of many services."""

    topology: Topology
    readers: Readers
    options: Options
    progress: Progress | None
    begun: float
    """By time.monotonic()."""

    def proves(self, service: Service) -> bool:
        """Whether any part that is asked for can be proven of it."""
        asked = set(self.options.parts)
        if service.kind in self.readers.rows:
            return bool(asked & set(rows.PARTS))
        if service.kind in self.readers.objects:
            return bool(asked & set(objects.PARTS)) or self._naming(service) is not None
        return False

    async def prove(self, service: Service, ledger: Ledger) -> ServiceProof:
        """One service, in what is left of the budget."""
        options = self._left()
        if (read := self.readers.rows.get(service.kind)) is not None:
            sources = {i.id: read(i) for i in service.instances}
            return await rows.verify_service(service, sources, options, self.progress, ledger)
        if options.budget_s == 0:
            return ServiceProof(service=service.id, primary="", asked=options.parts, reason=unfitted(ledger.oldest()))
        copies = {i.id: self.readers.objects[service.kind](i) for i in service.instances}
        proof = await objects.verify_bucket(service, copies, options, self.progress, self._naming(service))
        remember(ledger, proof)
        return proof

    def _left(self) -> Options:
        if self.options.budget_s is None:
            return self.options
        left_s = max(0.0, self.begun + self.options.budget_s - time.monotonic())
        return replace(self.options, timeout_s=left_s, budget_s=left_s)

    def _naming(self, bucket: Service) -> Naming | None:
        """Who names the objects of a bucket; None where that is not asked for, or nobody is said to."""
        if Part.NAMES not in self.options.parts or (said := named_by(bucket)) is None:
            return None
        database = self.topology.service_by_id[said[0]]
        read, copies = self.readers.names.get(database.kind), database.instances
        lags_s = {i.centre: max(objects.lag_s(database, other.id, i.id) for other in copies) for i in copies}
        return Naming(said[1], {i.centre: read(i) for i in copies} if read else {}, lags_s)


def remember(ledger: Ledger, proof: ServiceProof) -> None:
    """Note when the copies of a bucket were last proven; one that differs stands on no proof any more."""
    for replica in proof.replicas:
        for table in replica.content.tables if replica.content else ():
            if table.sameness is Sameness.EQUAL:
                ledger.note_proven(
                    Proven(
                        instance=replica.instance, database=table.database, table=table.table, mark="", copies="",
                        position=0, at=now(), on_cut=False, rows=table.rows_left,
                    )
                )  # fmt: skip
            elif table.sameness is Sameness.DIFFERENT:
                ledger.forget(replica.instance, table.database, table.table)
    ledger.save()
