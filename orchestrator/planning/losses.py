"""What a promotion may lose, judged before it. Pure.

Zero is proven where the old primary waited for the candidate's acknowledgement alone when it was last seen; a candidate
of which that is not known is behind by what its own stream tells, and somebody must accept it. Leaves out: the proof
by position inside the promoting step (checks), and what was really lost (measure).
"""

from __future__ import annotations

from datetime import UTC, datetime

from orchestrator.model.observation import Reach, Reading, Snapshot
from orchestrator.model.plan import Loss
from orchestrator.model.topology import Objective, Role, Service, System, Text, Topology
from orchestrator.planning.situation import DataMove, declared_sync

EVIDENCE_MAX_AGE_S = 3600.0
"""A look at the old primary proves its sync chain for this long; as checks.evidence.BEFORE_AGE_MAX_S."""


def loss_of(
    system: System, data: DataMove, topology: Topology, looks: tuple[Snapshot | None, Snapshot | None], at: str
) -> Loss:
    """What promoting `data.new_primary` may lose where the old primary is lost.

    Args:
        system: for its declared RPO.
        data: the service and its candidate.
        topology: for the extent of the loss.
        looks: the look that the plan is made from, and an earlier one in which the old primary may still answer; both
            None: by declaration alone.
        at: when the plan is made, UTC, RFC 3339.
    """
    now, before = looks
    budget = objective(system, topology, data.lost).rpo_s
    if now is None:
        return _declared(data.service, data, budget)
    for look in (now, before):
        if look is not None and _waited_for(data, look, at):
            reason = Text(
                en=f"the primary acknowledged nothing without {data.new_primary}",
                zh=f"未经 {data.new_primary} 确认，主库不会确认任何写入",
            )
            return Loss(service=data.service.id, proven_zero=True, seconds=0.0, reason=reason, budget_s=budget)
    return _behind(data, now, budget)


def planned_loss(system: System, data: DataMove) -> Loss:
    """What a planned move may lose: nothing, for its promotion waits until the candidate holds all."""
    reason = Text(
        en="the old primary refuses writes first, and the candidate must hold everything before it is promoted",
        zh="原主库先拒绝写入，候选库确认持有全部数据后才提升",
    )
    budget = system.centre_loss.rpo_s
    return Loss(service=data.service.id, proven_zero=True, seconds=0.0, reason=reason, budget_s=budget)


def objective(system: System, topology: Topology, lost: tuple[str, ...]) -> Objective:
    """A city's target where every centre of some city is lost, else a centre's."""
    cities = ({c.id for c in topology.centres if c.site == site.id} for site in topology.sites)
    return system.site_loss if any(city and city <= set(lost) for city in cities) else system.centre_loss


def recent(then: str, now: str) -> bool:
    """Whether what was seen at `then` still proves something at `now` (UTC, RFC 3339); not where either is no time."""
    try:
        age = _time(now) - _time(then)
    except ValueError:
        return False
    return abs(age.total_seconds()) <= EVIDENCE_MAX_AGE_S


def _time(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _waited_for(data: DataMove, look: Snapshot, at: str) -> bool:
    primary = look.of(f"{data.service.id}@{data.standing.primary}")
    if primary.reach is not Reach.ANSWERED or primary.role is not Role.PRIMARY:
        return False
    if not recent(primary.at or look.taken_at, at):
        return False
    chained = [d for d in primary.downstreams if d.centre == data.new_primary and d.sync and d.streaming]
    return primary.sync_required == (data.new_primary,) and bool(chained)


def _declared(service: Service, data: DataMove, budget: float) -> Loss:
    if declared_sync(service, data.new_primary, data.standing.primary):
        reason = Text(en="declared as a sync copy (not looked at)", zh="按声明为同步副本（未实际观测）")
        return Loss(service=service.id, proven_zero=True, seconds=0.0, reason=reason, budget_s=budget)
    seconds, centre = 0.0, data.new_primary
    for _ in service.instances:
        step = next((r for r in service.replications if r.target == centre), None)
        if step is None or centre == data.standing.primary:
            break
        seconds, centre = seconds + step.lag_max_s, step.source
    reason = Text(
        en=f"an async copy, declared to lag at most {seconds:g} s", zh=f"异步副本，声明的最大延迟为 {seconds:g} 秒"
    )
    return Loss(service=service.id, proven_zero=False, seconds=seconds, reason=reason, budget_s=budget)


def _behind(data: DataMove, now: Snapshot, budget: float) -> Loss:
    seconds: float | None = 0.0
    centre = data.new_primary
    for _ in data.service.instances:
        source = data.standing.source_of.get(centre, "")
        if centre == data.standing.primary or seconds is None:
            break
        behind = _hop(now.of(f"{data.service.id}@{centre}"), now.of(f"{data.service.id}@{source}"), centre)
        seconds = None if behind is None else seconds + behind
        centre = source
    if centre != data.standing.primary:
        seconds = None  # a chain that ends elsewhere (a copy that receives from nobody) tells no time
    told = "an unknown time" if seconds is None else f"{seconds:.3g} s"
    said = "未知时长" if seconds is None else f" {seconds:.3g} 秒"
    reason = Text(
        en=f"{data.new_primary} is not proven to hold everything acknowledged; when seen it was behind by {told}",
        zh=f"无法证明 {data.new_primary} 持有全部已确认数据；观测时落后{said}",
    )
    rounded = None if seconds is None else round(seconds, 3)
    return Loss(service=data.service.id, proven_zero=False, seconds=rounded, reason=reason, budget_s=budget)


def _hop(copy: Reading, source: Reading, centre: str) -> float | None:
    """Seconds that one copy is behind its source; 0 for one that does not answer, whose delay its own copies carry."""
    if copy.reach is not Reach.ANSWERED:
        return 0.0
    if not copy.receiving:
        return copy.last_heard_s if copy.last_heard_s is not None else copy.lag_s
    flush = next((d.flush_lag_s for d in source.downstreams if d.centre == centre), None)
    known = [s for s in (copy.lag_s, flush) if s is not None]
    return max(known) if known else None
