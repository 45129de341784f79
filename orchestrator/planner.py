"""Makes a plan: a topology, a look at the world and a runbook in, steps in waves out, or Refused. Pure.

No I/O and no clock: what was seen, and when, comes from the caller, so the same input gives the same plan and hash.
Reads from top to bottom: who is affected, how each service moves, may it be done, which steps, in which order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from orchestrator.errors import Refused
from orchestrator.model.observation import Snapshot
from orchestrator.model.plan import Loss, Plan, ScenarioKind
from orchestrator.model.request import Request, Timing, Timings
from orchestrator.model.runbook import Runbook
from orchestrator.model.topology import Topology
from orchestrator.planning.gates import HINTS, Case, against
from orchestrator.planning.graph import order
from orchestrator.planning.losses import loss_of, planned_loss
from orchestrator.planning.rules import broken
from orchestrator.planning.scope import Decision, decide
from orchestrator.planning.situation import DataMove
from orchestrator.planning.steps import fit
from orchestrator.planning.system_view import view_of

__all__ = ["Request", "Timing", "Timings", "UnsafeRunbook", "plan"]

Looks = tuple[Snapshot | None, Snapshot | None]


class UnsafeRunbook(Refused):
    """The runbook lacks what no plan may lack; `plan` is what it would come to, for the prover to tell the harm."""

    def __init__(self, reasons: Sequence[str], plan: Plan) -> None:
        what = f"the runbook {plan.scenario} is unsafe"
        super().__init__(_listed(what, reasons), hint="put back what its steps lack")
        self.plan = plan


def plan(
    topology: Topology,
    snapshot: Snapshot | None,
    runbook: Runbook,
    request: Request,
    timings: Timings,
    *,
    before: Snapshot | None = None,
) -> Plan:
    """The plan for a scenario.

    Args:
        topology: the estate.
        snapshot: how it stands; None: as declared (tabletop).
        runbook: the scenario.
        request: the operator's words.
        timings: forecasts.
        before: an earlier look, in which an old primary that is silent now may still have answered; it proves the sync
            chain for EVIDENCE_MAX_AGE_S.

    Raises:
        Refused: the words name what is not there, nothing is affected, a gate is shut, or the runbook would do harm;
            the message lists every reason.
    """
    decision = decide(topology, snapshot, runbook, request)
    moves = _with_losses(decision, runbook, request, (snapshot, before))
    in_plan = tuple(m for m in moves.values() if m.service.system in decision.systems)
    views = {s: view_of(topology.system_by_id[s], decision.movement, moves) for s in decision.systems}
    case = Case(
        topology=topology,
        snapshot=snapshot,
        runbook=runbook,
        request=request,
        moves=in_plan,
        views=tuple(views.values()),
    )
    _open_gates(case)
    placed = order(fit(runbook, topology, views, request, timings))
    if not placed.steps:
        raise Refused(f"{runbook.id}: there is nothing to do")
    made = Plan(
        scenario=runbook.id,
        kind=runbook.kind,
        mode=request.mode,
        estate=topology.id,
        lab=topology.lab,
        topology_sha256=request.topology_sha256,
        created_at=request.created_at,
        lost=decision.movement.lost,
        attested=decision.movement.attested,
        target=decision.movement.target,
        systems=decision.systems,
        steps=placed.steps,
        losses=tuple(m.loss for m in in_plan if m.loss),
        forecast_rto_s=0.0 if runbook.kind is ScenarioKind.EXERCISE else placed.rto_s,
        forecast_total_s=placed.total_s,
        fault=request.fault,
        version=request.version,
    )
    if reasons := broken(placed.steps, in_plan, decision.movement.attested):
        raise UnsafeRunbook(reasons, made)
    return made


def _with_losses(decision: Decision, runbook: Runbook, request: Request, looks: Looks) -> Mapping[str, DataMove]:
    topology = decision.movement.topology
    return {
        service: msgspec.structs.replace(move, loss=_loss(topology, move, runbook, request, looks))
        if move.moves
        else move
        for service, move in sorted(decision.moves.items())
    }


def _loss(topology: Topology, move: DataMove, runbook: Runbook, request: Request, looks: Looks) -> Loss:
    system = topology.system_by_id[move.service.system]
    if runbook.kind is not ScenarioKind.FAILOVER:
        return planned_loss(system, move)
    return loss_of(system, move, topology, looks, request.created_at)


def _open_gates(case: Case) -> None:
    reasons = against(case)
    if not reasons:
        return
    hint = next((HINTS[g] for g in case.runbook.gates if any(r.startswith(f"{g.value}: ") for r in reasons)), "")
    raise Refused(_listed(f"{case.runbook.id} is refused", reasons), hint=hint)


def _listed(what: str, reasons: Sequence[str]) -> str:
    return "\n".join([f"{what} ({len(reasons)} reason{'s' if len(reasons) > 1 else ''})", *(f"  {r}" for r in reasons)])
