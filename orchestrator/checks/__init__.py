"""Health checks: pure judgements of a Snapshot. A new check is one file here and one line in `CHECKS`."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from orchestrator.checks import (
    app,
    capacity,
    cascade,
    clock,
    copies,
    disk,
    entry,
    lag,
    one_primary,
    reachable,
    roles,
    slots,
    sync,
    timeline,
)
from orchestrator.checks.base import Case, Check
from orchestrator.model.observation import Finding, Snapshot, Verdict
from orchestrator.model.topology import Service, System, Topology

CHECKS: tuple[Check, ...] = (
    reachable.CHECK,
    roles.CHECK,
    one_primary.CHECK,
    sync.CHECK,
    lag.CHECK,
    slots.CHECK,
    timeline.CHECK,
    cascade.CHECK,
    copies.CHECK,
    capacity.CHECK,
    disk.CHECK,
    clock.CHECK,
    app.CHECK,
    entry.CHECK,
)


def judge_all(
    topology: Topology,
    snapshot: Snapshot,
    *,
    systems: Collection[str] | None = None,
    centres: Collection[str] | None = None,
    kinds: Collection[str] | None = None,
    checks: Collection[str] | None = None,
) -> tuple[Finding, ...]:
    """Every finding of the chosen checks, in file order. None chooses all; an empty result is no pass (see `passes`).

    `centres` keeps findings about instances in them, and about whole services that have an instance in them.
    """
    chosen = [c for c in CHECKS if checks is None or c.id in checks]
    cases = [
        Case(topology=topology, snapshot=snapshot, system=system, service=service)
        for system, service in choose(topology, systems, kinds)
    ]
    return tuple(
        finding
        for case in cases
        for check in chosen
        if case.service.nature in check.natures and case.service.kind not in check.not_of
        for finding in check.judge(case)
        if centres is None or _stands_in(case.service, finding.subject, centres)
    )


def choose(
    topology: Topology, systems: Collection[str] | None, kinds: Collection[str] | None
) -> Iterable[tuple[System, Service]]:
    """The services of the chosen systems and kinds."""
    for system in topology.systems:
        for service in system.services:
            if (systems is None or system.id in systems) and (kinds is None or service.kind in kinds):
                yield system, service


def _stands_in(service: Service, subject: str, centres: Collection[str]) -> bool:
    return any(i.centre in centres for i in service.instances if subject in {i.id, service.id})


def passes(findings: Collection[Finding]) -> bool:
    """Whether there are findings and all of them pass: nothing judged is nothing proven."""
    return bool(findings) and all(f.verdict is Verdict.PASS for f in findings)
