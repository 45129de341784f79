"""After the last step: look again, prove the copies, hold the canary's ledger against the survivors, measure."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from orchestrator import canary
from orchestrator.diskfile import write
from orchestrator.errors import Unreadable
from orchestrator.execution.runstore import Run
from orchestrator.measure import measure
from orchestrator.model.canary import Ledger
from orchestrator.model.observation import Snapshot
from orchestrator.model.run import Measurements
from orchestrator.model.topology import Instance, Nature, Service, Topology

CanaryRows = Callable[[Service, Instance, str], Awaitable[Mapping[str, str]]]
"""Service, instance, prefix → id and value of the canary's rows that it holds."""


def survivor(topology: Topology, after: Snapshot, system: str) -> tuple[Service, Instance] | None:
    """The one writable primary of what the system's apps stand on; None where there is not exactly one."""
    services = topology.system_by_id[system].services
    data = [s for s in services if s.nature is Nature.REPLICATED]
    served = {s.serves for s in services if s.nature is Nature.ACTIVE}
    service = next((s for s in data if s.id in served), next(iter(data), None))
    if service is None:
        return None
    writable = [i for i in service.instances if after.of(i.id).writable]
    return (service, writable[0]) if len(writable) == 1 else None


async def surviving_rows(
    topology: Topology, after: Snapshot, ledger: Ledger, rows: CanaryRows
) -> Mapping[str, str] | None:
    """The canary's rows of one ledger at the surviving primary; None where it cannot be read."""
    found = survivor(topology, after, ledger.header.system)
    if found is None:
        return None
    try:
        return await rows(*found, ledger.header.prefix)
    except Unreadable:
        return None


async def conclude(run: Run, after: Snapshot, rows: CanaryRows) -> Measurements:
    """Measure a run from its journal, the canary's ledgers and the databases; kept in `measurements.json`.

    A ledger whose survivor cannot be read gives no figure of loss: it is left out, not taken as whole.
    """
    ledgers = [canary.read_ledger(path) for path in ledger_files(run.path)]
    surviving = {ledger.header.system: await surviving_rows(run.topology, after, ledger, rows) for ledger in ledgers}
    known = {system: held for system, held in surviving.items() if held is not None}
    readable = [ledger for ledger in ledgers if ledger.header.system in known]
    measured = measure(run.topology, run.plan, run.records(), readable, known)
    write(run.path / "measurements.json", measured)
    return measured


def ledger_files(folder: Path) -> list[Path]:
    """The ledgers of a run, by system."""
    return sorted((folder / "canary").glob("*.jsonl"))
