"""What users saw, and how it compares with the targets. Pure: ledgers, records and surviving rows in, figures out.

Sources: RTO counted from the incident and from its declaration (DORA art. 12 and GB/T 38645-2020 count differently);
an outage is the longest time between two acknowledged writes, so a stall counts as much as an error does.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Collection, Mapping, Sequence

from orchestrator.model.canary import Ledger, Operation, Result, value_of
from orchestrator.model.plan import Phase, Plan, ScenarioKind, Verb
from orchestrator.model.run import EntryOutage, Event, Measurement, Measurements, PhaseTime, Record
from orchestrator.model.topology import Objective, Topology

QUIET_INTERVALS = 10.0
"""A pause of fewer than this many write intervals, in which nothing failed, is no outage."""


def reconcile(ledger: Ledger, surviving: Mapping[str, str], fault_s: float) -> EntryOutage:
    """Hold an entry's ledger against the rows that the surviving database has.

    Args:
        ledger: what the canary was told.
        surviving: id → value of every canary row of this ledger in the surviving primary.
        fault_s: monotonic time of the fault (or of the run's start).
    """
    acked = ledger.acknowledged()
    lost = [o for o in acked if surviving.get(o.i) != value_of(o.i)]
    doubt = [o for o in ledger.operations if o.k == "w" and o.o is Result.DOUBT]
    reads = [o for o in ledger.operations if o.k == "r"]
    begin, end = outage(ledger, acked, fault_s)
    return EntryOutage(
        system=ledger.header.system,
        entry=ledger.header.entry,
        writes_acked=len(acked),
        writes_lost=tuple(o.i for o in lost),
        writes_failed=sum(o.k == "w" and o.o is Result.REFUSED for o in ledger.operations),
        writes_in_doubt=len(doubt),
        writes_in_doubt_kept=sum(o.i in surviving for o in doubt),
        reads_ok=sum(o.o is Result.OK for o in reads),
        reads_failed=sum(o.o in {Result.REFUSED, Result.DOUBT} for o in reads),
        reads_wrong=tuple(o.i for o in reads if o.o is Result.WRONG),
        outage_ms=round((end - begin) * 1000, 1),
        outage_begin_s=round(begin - fault_s, 4) if end > begin else None,
        rpo_s=round(max(0.0, max(o.e for o in lost) - min(o.s for o in lost)), 4) if lost else 0.0,
    )


def outage(ledger: Ledger, acked: Sequence[Operation], fault_s: float) -> tuple[float, float]:
    """Begin and end (monotonic) of the longest pause between acknowledged writes that ends after the fault.

    Both are equal where there was none. A service that never came back is out until the ledger's end.
    """
    times = [o.e for o in acked] or [ledger.header.t0_mono]
    times.append(max([times[-1], *(o.e for o in ledger.operations)]))
    failed = sorted(o.s for o in ledger.operations if o.k == "w" and o.o is not Result.OK)
    quiet_s = QUIET_INTERVALS * 2.0 / ledger.header.rate
    pauses = [
        (a, b) for a, b in itertools.pairwise(times) if b >= fault_s and (b - a > quiet_s or _any_within(failed, a, b))
    ]
    return max(pauses, key=lambda pause: pause[1] - pause[0], default=(fault_s, fault_s))


def _any_within(ordered: Sequence[float], begin: float, end: float) -> bool:
    at = bisect.bisect_right(ordered, begin)
    return at < len(ordered) and ordered[at] <= end


def phase_times(plan: Plan, records: Sequence[Record], zero_s: float) -> tuple[PhaseTime, ...]:
    """When each phase of the recovery began and how long it took, over its steps on the way to service."""
    spans: dict[Phase, list[float]] = {}
    for record in records:
        step = plan.step_by_id.get(record.step)
        if step and step.verb is not Verb.INJECT and record.event in {Event.STEP_STARTED, Event.STEP_DONE}:
            spans.setdefault(step.phase, []).append(record.mono_s)
    return tuple(
        PhaseTime(phase=phase, begin_s=round(min(span) - zero_s, 4), seconds=round(max(span) - min(span), 4))
        for phase in Phase
        if (span := spans.get(phase))
    )


def measure(
    topology: Topology,
    plan: Plan,
    records: Sequence[Record],
    ledgers: Sequence[Ledger],
    surviving: Mapping[str, Mapping[str, str]],
) -> Measurements:
    """All figures of one run.

    Args:
        topology: for the systems' targets.
        plan: what was carried out.
        records: the run's journal.
        ledgers: one for each entry that the canary used.
        surviving: system → canary rows (id → value) of its surviving primary.
    """
    fault, declared = fault_record(records), declaration(plan, records)
    zero = (fault or declared).mono_s
    ledgers = [ledger for ledger in ledgers if covers(ledger, records)]
    outages = tuple(reconcile(ledger, surviving.get(ledger.header.system, {}), zero) for ledger in ledgers)
    return Measurements(
        run=records[0].run,
        fault_at=fault.at if fault else "",
        declared_at=declared.at,
        phases=phase_times(plan, records, zero),
        outages=outages,
        systems=tuple(_system(topology, plan, system, outages, (fault, declared)) for system in plan.systems),
        overhead_ms_per_step=median([float(r.value("own_s", "0")) * 1000 for r in records if r.value("own_s")]),
    )


def covers(ledger: Ledger, records: Sequence[Record]) -> bool:
    """Whether a ledger tells of the run from its first step: one that a later executor began on another machine (the
    first one's died with its centre) has not seen the outage, and a figure made of it would be too good."""
    first = next((r for r in records if r.event is Event.STEP_STARTED), records[0])
    return ledger.header.boot == first.boot and ledger.header.t0_mono <= max(first.mono_s, records[0].mono_s)


def fault_record(records: Sequence[Record]) -> Record | None:
    """The record at which the fault was in force; None where the run injected none."""
    return next((r for r in records if r.event is Event.FAULT_INJECTED), None)


def declaration(plan: Plan, records: Sequence[Record]) -> Record:
    """The record at which the loss was declared: detection was done, or else the run was opened."""
    detect = {s.id for s in plan.steps if s.phase is Phase.DETECT}
    done = [r for r in records if r.event is Event.STEP_DONE and r.step in detect]
    return done[0] if done else records[0]


def objective_for(topology: Topology, plan: Plan, system: str) -> Objective:
    """The target that counts: a city's where every centre of some city is taken as lost, else a centre's."""
    lost = set(plan.lost)
    cities = ({c.id for c in topology.centres if c.site == site.id} for site in topology.sites)
    found = topology.system_by_id[system]
    return found.site_loss if any(city and city <= lost for city in cities) else found.centre_loss


def _system(
    topology: Topology,
    plan: Plan,
    system: str,
    outages: Sequence[EntryOutage],
    zeros: tuple[Record | None, Record],
) -> Measurement:
    """One system's figures; those that nobody saw stay None, and are never taken as met."""
    (fault, declared), target = zeros, objective_for(topology, plan, system)
    seen = next((o for o in outages if o.system == system), None)
    if seen is None:
        return Measurement(system=system, rto_target_s=target.rto_s, rpo_target_s=target.rpo_s)
    outage_s = seen.outage_ms / 1000
    since_fault = 0.0 if seen.outage_begin_s is None else max(0.0, seen.outage_begin_s + outage_s)
    since_declared = max(0.0, since_fault - (declared.mono_s - (fault or declared).mono_s))
    if fault is None and plan.kind is not ScenarioKind.FAILOVER:
        since_fault = since_declared = outage_s  # planned: users were served until the move itself began
    return Measurement(
        system=system,
        rto_from_fault_s=round(since_fault, 3) if fault else None,
        rto_from_declaration_s=round(since_declared, 3),
        rpo_s=seen.rpo_s,
        lost_writes=len(seen.writes_lost),
        rto_target_s=target.rto_s,
        rpo_target_s=target.rpo_s,
        rto_met=since_fault <= target.rto_s,
        rpo_met=seen.rpo_s <= target.rpo_s and (target.rpo_s > 0 or not seen.writes_lost),
    )


def median(values: Collection[float]) -> float:
    """Median; 0 for none."""
    ordered = sorted(values)
    return round(ordered[len(ordered) // 2], 3) if ordered else 0.0
