"""Everything that a run left, read from its folder: what every report is made from.

Parts that a run did not come to write (an interrupted one, a tabletop) are empty or None; a part that is there and
cannot be read is an error, never taken as absent.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import msgspec

from orchestrator.errors import BadFile, Tampered
from orchestrator.evidence.bundle import list_files
from orchestrator.evidence.journal import read_journal
from orchestrator.evidence.verifier import UNREADABLE
from orchestrator.execution.history import History
from orchestrator.model.canary import Header, Ledger, Operation
from orchestrator.model.certificate import Certificate
from orchestrator.model.evidence import SealedFile, Versions
from orchestrator.model.observation import Snapshot
from orchestrator.model.plan import Approval, Mode, Plan, ScenarioKind
from orchestrator.model.proof import ServiceProof
from orchestrator.model.run import Measurements, Record
from orchestrator.model.topology import Topology
from orchestrator.reports.timeline import Timeline

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Dossier:
    """One run, as it lies on disk."""

    folder: Path
    plan: Plan
    topology: Topology
    approvals: tuple[Approval, ...]
    before: Snapshot | None
    after: Snapshot | None
    records: tuple[Record, ...]
    ledgers: tuple[Ledger, ...]
    measurements: Measurements | None
    proofs: tuple[ServiceProof, ...]
    versions: Versions | None
    files: tuple[SealedFile, ...]
    """Everything in the folder that is evidence, with hashes."""

    @property
    def run(self) -> str:
        """Id of the run."""
        return self.records[0].run if self.records else self.folder.name

    @cached_property
    def certificate(self) -> Certificate | None:
        """What the prover said of the plan before it ran; None for a run of an older program."""
        return _read(self.folder, "proof.json", Certificate)

    @cached_property
    def history(self) -> History:
        """Where every step and the run itself stand."""
        return History(self.plan, self.records)

    @cached_property
    def timeline(self) -> Timeline:
        """When everything happened, in seconds after the fault."""
        return Timeline(self.plan, self.records)

    @property
    def is_drill(self) -> bool:
        """An exercise, and not an operation in earnest."""
        return self.plan.mode is not Mode.LIVE or self.plan.lab or bool(self.plan.fault)

    @property
    def changed_anything(self) -> bool:
        """Whether production was touched."""
        return self.plan.mode is Mode.LIVE and self.plan.kind is not ScenarioKind.EXERCISE


def read_dossier(folder: Path) -> Dossier:
    """Read a run's folder (or a bundle, which holds the same files).

    Raises:
        BadFile: it is no run's folder, or a file of it cannot be read.
        Tampered: the journal's chain is broken.
    """
    plan, topology = _read(folder, "plan.json", Plan), _read(folder, "topology.json", Topology)
    if plan is None or topology is None:
        raise BadFile(f"{folder} is no folder of a run: plan.json or topology.json missing", hint="`drctl runs list`")
    journal = folder / "journal.jsonl"
    return Dossier(
        folder=folder,
        plan=plan,
        topology=topology,
        approvals=_read(folder, "approvals.json", tuple[Approval, ...]) or (),
        before=_read(folder, "before.json", Snapshot),
        after=_read(folder, "after.json", Snapshot),
        records=_journal(journal) if journal.exists() else (),
        ledgers=tuple(_ledger(path) for path in sorted((folder / "canary").glob("*.jsonl"))),
        measurements=_read(folder, "measurements.json", Measurements),
        proofs=_read(folder, "proofs.json", tuple[ServiceProof, ...]) or (),
        versions=_read(folder, "versions.json", Versions),
        files=list_files(folder),
    )


def _read(folder: Path, name: str, kind: type[T]) -> T | None:
    path = folder / name
    if not path.exists():
        return None
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, *UNREADABLE) as error:
        raise BadFile(f"{path}: {error}") from error


def _journal(path: Path) -> tuple[Record, ...]:
    try:
        return read_journal(path)
    except UnicodeError as error:
        raise Tampered(f"{path}: {error}", hint="compare with the sealed bundle or another copy") from error


def _ledger(path: Path) -> Ledger:
    """A ledger; half a line at its end (the canary was killed while it wrote) is no operation."""
    head, *lines = path.read_bytes().split(b"\n")
    decoder = msgspec.json.Decoder(Operation)
    operations: list[Operation] = []
    try:
        header = msgspec.json.decode(head, type=Header)
        operations.extend(decoder.decode(line) for line in lines[:-1])
    except UNREADABLE as error:
        raise BadFile(f"{path}: {error}", hint="compare with the sealed bundle or another copy") from error
    return Ledger(header=header, operations=tuple(operations))
