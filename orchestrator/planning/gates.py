"""What must hold of the estate before anything is touched: every gate of a runbook, judged at once. Pure.

A gate gives reasons against; none means that it is open. Unknown is never open. What a look is needed for is not
judged in a tabletop, which has none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from orchestrator.checks.centre import most_reach
from orchestrator.model.observation import Reach, Reading, Snapshot
from orchestrator.model.plan import Mode, ScenarioKind
from orchestrator.model.request import Request
from orchestrator.model.runbook import GateName, Runbook
from orchestrator.model.topology import Frozen, Instance, Role, Service, Topology
from orchestrator.planning.situation import DataMove, streams
from orchestrator.planning.system_view import SystemView


class Case(Frozen, kw_only=True):
    """All that the gates judge."""

    topology: Topology
    snapshot: Snapshot | None
    runbook: Runbook
    request: Request
    moves: tuple[DataMove, ...]
    """Every replicated service of the systems in the plan."""
    views: tuple[SystemView, ...]


def against(case: Case) -> tuple[str, ...]:
    """Every reason against the plan, each with the name of its gate; empty where all are open."""
    reasons = (f"{name.value}: {reason}" for name in case.runbook.gates for reason in GATES[name](case))
    return tuple(dict.fromkeys(reasons))


def _candidate_ready(case: Case) -> Iterator[str]:
    for app in (a for v in case.views for a in v.apps):
        if not app.serving:
            yield f"{app.service.id} has no instance in a surviving centre"
    allowed = {Role.STANDBY, Role.DETACHED} if case.runbook.kind is ScenarioKind.FAILOVER else {Role.STANDBY}
    for data in case.moves:
        if not data.moves:
            continue
        candidate = data.service.at(data.new_primary)
        if candidate is None:
            yield f"{data.service.id} has no copy in {data.new_primary or 'a surviving centre'}"
        elif case.snapshot is not None:
            reading = case.snapshot.of(candidate.id)
            if reading.reach is not Reach.ANSWERED:
                yield f"{candidate.id} does not answer ({_why(reading)})"
            elif reading.role not in allowed:
                yield f"{candidate.id} is no standby but {reading.role.value if reading.role else 'of unknown role'}"


def _lost_is_gone(case: Case) -> Iterator[str]:
    if case.snapshot is None or case.request.mode is not Mode.LIVE or case.request.fault:
        return
    for data, instance in _lost_copies(case):
        reading = case.snapshot.of(instance.id)
        if reading.reach is not Reach.ANSWERED:
            reached = most_reach(instance.id, instance.centre, case.request.views, case.request.observers)
            if reached:
                why = f"{instance.id} does not answer here and answers {', '.join(reached)}"
                yield f"{why}: it is our own way to {instance.centre} that fails"
            continue
        if reading.role is Role.PRIMARY and reading.writable is not False:
            yield f"{instance.id} answers as a writable primary: {instance.centre} is not lost"
        elif instance.centre != data.standing.primary and streams(reading):
            yield f"{instance.id} answers and streams: {instance.centre} is not lost"


def _attested_is_silent(case: Case) -> Iterator[str]:
    if case.snapshot is None or case.request.fault:
        return
    for reading in case.snapshot.readings:
        instance = case.topology.instance_by_id.get(reading.instance)
        if instance and instance.centre in case.request.attested and reading.reach is Reach.ANSWERED:
            yield f"{instance.id} answers: {instance.centre} is not off"


def _fault_fits(case: Case) -> Iterator[str]:
    if not case.request.fault:
        return
    if case.request.mode is not Mode.LIVE or not case.topology.lab:
        yield f"the fault {case.request.fault!r} needs a live drill in the lab"
    parts = [part.split() for part in case.request.fault.split(";")]
    hit = {p[1] for p in parts if len(p) == 2 and p[0] in {"kill-centre", "freeze-centre", "stop-service"}}
    cut = {end for p in parts if len(p) == 2 and p[0] == "cut-link" for end in _ends(p[1])}
    for data, instance in _lost_copies(case):
        if {instance.centre, instance.id} & hit:
            continue
        source = data.standing.source_of.get(instance.centre, "")
        if instance.centre == data.standing.primary:
            yield f"{instance.id} would still answer its clients under {case.request.fault!r}"
        elif not {(source, instance.centre)} & cut:
            yield f"{instance.id} would still stream under {case.request.fault!r}"


def _ends(link: str) -> set[tuple[str, str]]:
    """Directions that a cut of `a-b` (both) or `a>b` (one) closes; a stream needs both to live."""
    a, _, b = link.replace(">", "-").partition("-")
    return {(a, b), (b, a)}


def _loss_accepted(case: Case) -> Iterator[str]:
    for data in case.moves:
        loss = data.loss
        if loss is None or loss.proven_zero or case.request.accept_loss:
            continue
        told = "unknown" if loss.seconds is None else f"{loss.seconds:.1f} s"
        over = loss.seconds is None or loss.seconds > loss.budget_s
        yield (
            f"{data.service.id}: {loss.reason.en} (loss {told}, "
            f"{'above' if over else 'within'} the declared RPO of {loss.budget_s:g} s)"
        )


def _replication_healthy(case: Case) -> Iterator[str]:
    yield from _three_copies(case)
    if case.snapshot is None:
        return
    for data in case.moves:
        primary = case.snapshot.of(f"{data.service.id}@{data.standing.primary}")
        for feed in data.standing.feeds:
            reading = case.snapshot.of(f"{data.service.id}@{feed.target}")
            if feed.sync and not any(d.centre == feed.target and d.sync for d in primary.downstreams):
                yield f"{reading.instance} is to be sync and is not"
            limit = _lag_limit(data.service, feed.target)
            if reading.lag_s is None or reading.lag_s > limit:
                shown = "an unknown time" if reading.lag_s is None else f"{reading.lag_s:.1f} s"
                yield f"{reading.instance} is behind by {shown} (declared: at most {limit:g} s)"


LAG_FLOOR_S = 5.0
"""A sync copy is declared to lag 0 s; what reads see there is behind by the time of a replay all the same."""


def _lag_limit(service: Service, centre: str) -> float:
    return max([LAG_FLOOR_S, *(r.lag_max_s for r in service.replications if r.target == centre)])


def _three_copies(case: Case) -> Iterator[str]:
    if case.snapshot is None:
        return
    for data in case.moves:
        for instance in data.service.instances:
            if instance.centre == data.standing.primary:
                continue
            reading = case.snapshot.of(instance.id)
            if streams(reading) is not True:
                yield f"{instance.id} does not stream ({_why(reading)})"


def _primary_answers(case: Case) -> Iterator[str]:
    if case.snapshot is None:
        return
    for data in case.moves:
        reading = case.snapshot.of(f"{data.service.id}@{data.standing.primary}")
        if reading.reach is not Reach.ANSWERED or not reading.writable:
            yield f"{reading.instance} is no writable primary ({_why(reading)})"


def _lost_copies(case: Case) -> Iterator[tuple[DataMove, Instance]]:
    return ((data, i) for data in case.moves for i in data.at(case.request.lost))


def _why(reading: Reading) -> str:
    if reading.reach is not Reach.ANSWERED:
        return reading.reach.value + (f", {reading.error}" if reading.error else "")
    role = reading.role.value if reading.role else "unknown role"
    return f"{role}, {'receiving' if reading.receiving else 'receiving nothing'}" if role == "standby" else role


GATES: Mapping[GateName, Callable[[Case], Iterator[str]]] = {
    GateName.CANDIDATE_READY: _candidate_ready,
    GateName.LOST_IS_GONE: _lost_is_gone,
    GateName.FAULT_FITS: _fault_fits,
    GateName.ATTESTED_IS_SILENT: _attested_is_silent,
    GateName.LOSS_ACCEPTED: _loss_accepted,
    GateName.REPLICATION_HEALTHY: _replication_healthy,
    GateName.THREE_COPIES: _three_copies,
    GateName.PRIMARY_ANSWERS: _primary_answers,
}
HINTS: Mapping[GateName, str] = {
    GateName.CANDIDATE_READY: "name another centre with --to, or fewer systems with --system",
    GateName.LOST_IS_GONE: "use `switchover` for a healthy centre; to drill the loss add --fault, or --mode rehearsal",
    GateName.FAULT_FITS: "give --mode live and a fault that takes all of them away (such as kill-centre), or --system",
    GateName.ATTESTED_IS_SILENT: "look again who told you that it is off; without --attest-off it must be fenced",
    GateName.LOSS_ACCEPTED: "add --accept-loss; two people must then approve the plan by name",
    GateName.REPLICATION_HEALTHY: "`drctl check` names what is wrong; a lost centre needs `failover`",
    GateName.THREE_COPIES: "bring the copies back first: `drctl plan restore`",
    GateName.PRIMARY_ANSWERS: "`drctl check` names what is wrong; a lost centre needs `failover`",
}
"""What to do where a gate is shut; the first that is decides the hint."""
