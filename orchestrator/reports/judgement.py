"""What a run came to, in the few figures that stand first in every report. Pure."""

from __future__ import annotations

from enum import StrEnum

from orchestrator.model.observation import Snapshot
from orchestrator.model.plan import Mode
from orchestrator.model.run import EntryOutage, Measurement, RunState
from orchestrator.model.topology import Frozen, Nature, Role, Service
from orchestrator.reports.dossier import Dossier


class Light(StrEnum):
    """How a figure is to be read at a glance; the word beside it says the same."""

    GOOD = "good"
    BAD = "bad"
    WARN = "warn"
    """Not measured, or not as it should be and no objective missed."""


class Copies(Frozen, kw_only=True):
    """Protection of one replicated service after the run."""

    service: str
    declared: int
    present: int | None
    """Copies that were seen to be kept; None: nobody looked."""
    missing: tuple[str, ...] = ()
    """Instances that do not follow."""


class Judgement(Frozen, kw_only=True):
    """The headline of a run."""

    state: RunState
    worst_outage: EntryOutage | None
    writes_acked: int
    writes_lost: int | None
    writes_in_doubt: int
    worst_rto: Measurement | None
    worst_rpo: Measurement | None
    objectives_met: int
    objectives: int
    """RTO and RPO of every system that was measured."""
    copies: tuple[Copies, ...]

    @property
    def light(self) -> Light:
        """The run as a whole."""
        if self.objectives_met < self.objectives or self.state in {RunState.PARTIAL, RunState.UNDONE}:
            return Light.BAD
        return Light.GOOD if self.state is RunState.DONE and self.objectives else Light.WARN

    @property
    def protected(self) -> bool | None:
        """Every replicated service has all its copies; None where nobody looked."""
        if not self.copies or any(c.present is None for c in self.copies):
            return None
        return all(c.present == c.declared for c in self.copies)


def judge(dossier: Dossier) -> Judgement:
    """Draw the headline from what a run left."""
    measured = dossier.measurements
    systems = measured.systems if measured else ()
    outages = measured.outages if measured else ()
    verdicts = [v for m in systems for v in (m.rto_met, m.rpo_met) if v is not None]
    return Judgement(
        state=dossier.history.state,
        worst_outage=max(outages, key=lambda o: o.outage_ms, default=None),
        writes_acked=sum(o.writes_acked for o in outages),
        writes_lost=sum(len(o.writes_lost) for o in outages) if outages else None,
        writes_in_doubt=sum(o.writes_in_doubt for o in outages),
        worst_rto=max((m for m in systems if rto(m) is not None), key=_rto_share, default=None),
        worst_rpo=max((m for m in systems if m.rpo_s is not None), key=_rpo_share, default=None),
        objectives_met=sum(verdicts),
        objectives=len(verdicts),
        copies=_copies(dossier),
    )


def rto(measurement: Measurement) -> float | None:
    """The longer of both counts, which is the one that the target is held against."""
    counts = [s for s in (measurement.rto_from_fault_s, measurement.rto_from_declaration_s) if s is not None]
    return max(counts, default=None)


def _rto_share(measurement: Measurement) -> float:
    """How much of the target was used: the worst system is the one nearest to missing, not the slowest."""
    return (rto(measurement) or 0.0) / max(measurement.rto_target_s, 1e-9)


def _rpo_share(measurement: Measurement) -> float:
    return ((measurement.rpo_s or 0.0) + (measurement.lost_writes or 0) * 1e-6) / max(measurement.rpo_target_s, 1e-9)


def _copies(dossier: Dossier) -> tuple[Copies, ...]:
    if dossier.plan.mode is not Mode.LIVE:
        return ()
    concerned = (dossier.topology.system_by_id.get(s) for s in dossier.plan.systems)
    services = [v for s in concerned if s for v in s.services if v.nature is Nature.REPLICATED]
    return tuple(_copies_of(service, dossier.after) for service in services)


def _copies_of(service: Service, after: Snapshot | None) -> Copies:
    declared = len(service.instances)
    if after is None:
        return Copies(service=service.id, declared=declared, present=None)
    kept = {i.id for i in service.instances if _is_copy(i.id, after)}
    missing = tuple(i.id for i in service.instances if i.id not in kept)
    return Copies(service=service.id, declared=declared, present=len(kept), missing=missing)


def _is_copy(instance: str, after: Snapshot) -> bool:
    """A writable primary, or a standby with a live stream."""
    reading = after.of(instance)
    if reading.role is Role.PRIMARY:
        return reading.writable is True
    return reading.role is Role.STANDBY and reading.receiving is True
