"""The use cases, readable from top to bottom: observe, plan, drill (failover, switchover, failback), resume."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

from msgspec.structs import replace

from orchestrator.approvals import read_approvals, read_plan
from orchestrator.carry import Manner, Outcome, carry_out
from orchestrator.certify import PROOF, certify, with_story
from orchestrator.context import Context
from orchestrator.diskfile import read, write
from orchestrator.durable import preload
from orchestrator.errors import Refused, Unreadable
from orchestrator.execution import runstore
from orchestrator.model.observation import Reach, Snapshot
from orchestrator.model.plan import APPROVERS, Approval, Mode, Plan, Step, Verb
from orchestrator.model.request import Request
from orchestrator.model.topology import Frozen


class Wanted(Frozen, kw_only=True):
    """What the operator asks for."""

    runbook: Path | None
    plan_file: Path | None = None
    """Carry out exactly this plan instead of making one."""
    mode: Mode
    lost: tuple[str, ...] = ()
    target: str = ""
    systems: tuple[str, ...] = ()
    fault: str = ""
    accept_loss: bool = False
    attested: tuple[str, ...] = ()
    approved_by: tuple[str, ...] = ()


async def drill(context: Context, wanted: Wanted, manner: Manner) -> Outcome:
    """Load, observe, plan (or refuse, nothing touched), approve, carry out, verify, measure, seal, report.

    Raises:
        Refused: a gate forbids it or approvals are missing; nothing was touched.
    """
    warm = asyncio.create_task(asyncio.to_thread(preload))
    plan, before, look = await chosen_plan(context, wanted)
    approvals = consents(plan, wanted)
    proof = certify(context.home, plan, context.topology, look, before, lang=context.lang)
    await warm
    team = context.member(plan=plan)
    run = runstore.create_run(context.home, plan, context.topology, approvals, before, team=team)
    write(run.path / PROOF, proof)
    return await carry_out(context, run, manner)


async def resume(context: Context, run_id: str, *, quiet: bool = False) -> Outcome:
    """Go on with an interrupted run, from its own plan and journal; conclude one that ended and was not sealed.

    Raises:
        Refused: another live executor owns it, or it has ended and is sealed.
    """
    run = runstore.open_run(context.home, run_id)
    if run.plan.estate != context.topology.id:
        raise Refused(f"run {run.id} is of estate {run.plan.estate}", hint=f"drctl --estate {run.plan.estate} …")
    run.acquire(team=context.member(run))
    told = run.path / "manner.json"
    manner = read(told, Manner) if told.exists() else Manner()
    return await carry_out(context, run, replace(manner, quiet=quiet))


async def chosen_plan(context: Context, wanted: Wanted) -> tuple[Plan, Snapshot, Snapshot | None]:
    """The plan to carry out, what was seen before, and the look that it rests on (None: a tabletop has none).

    Raises:
        Refused: a gate fails, or the plan file does not fit the world of now.
    """
    if wanted.plan_file is None:
        return await look_and_plan(context, wanted)
    filed = filed_plan(context, wanted.plan_file)
    again = Wanted(
        runbook=context.runbooks / f"{filed.scenario}.yaml",
        mode=filed.mode,
        lost=filed.lost,
        target=filed.target,
        systems=filed.systems,
        fault=filed.fault,
        accept_loss=filed.loses_data,
        attested=filed.attested,
    )
    fresh, before, look = await look_and_plan(context, again)
    if what_is_done(fresh) != what_is_done(filed):
        raise Refused("the world has changed since the plan was made", hint="plan again: `drctl plan`")
    return filed, before, look


def filed_plan(context: Context, path: Path) -> Plan:
    """A plan out of its file.

    Raises:
        Refused: it was made for another topology, or for another state of this one.
    """
    filed = read_plan(path)
    if filed.topology_sha256 != context.topology_sha256:
        raise Refused("the topology is not the one that the plan was made for", hint="plan again: `drctl plan`")
    return filed


def what_is_done(plan: Plan) -> tuple[Step, ...]:
    """The steps without their forecasts: a run in the meantime changes what is expected, and not what is done."""
    return tuple(replace(s, forecast_s=0.0, critical=False) for s in plan.steps)


async def make_plan(context: Context, wanted: Wanted) -> tuple[Plan, Snapshot]:
    """Observe (unless it is a tabletop) and plan; the plan, and what was seen before."""
    made, before, _ = await look_and_plan(context, wanted)
    return made, before


async def look_and_plan(
    context: Context, wanted: Wanted, *, tell: bool = True
) -> tuple[Plan, Snapshot, Snapshot | None]:
    """The plan, what was seen before, and the look that it rests on.

    Raises:
        Refused: a gate is shut; or the runbook is unsafe, and (with `tell`) the harm that it would do told as a story.
    """
    from orchestrator.planner import UnsafeRunbook, plan
    from orchestrator.runbooks import load_runbook

    assert wanted.runbook is not None
    runbook = load_runbook(wanted.runbook)
    now = datetime.now(UTC).isoformat(timespec="microseconds")
    if wanted.mode is Mode.TABLETOP:
        look, before = None, Snapshot(estate=context.topology.id, taken_at=now, took_s=0.0, readings=())
    else:
        look = await context.observe()
        readable(look)
        before = context.remembered() or look
    watch = context.watch() if wanted.mode is Mode.LIVE and wanted.lost and not wanted.fault else None
    request = Request(
        views=await watch.views() if watch else (),
        observers=watch.observers if watch else (),
        mode=wanted.mode,
        lost=wanted.lost,
        target=wanted.target,
        systems=wanted.systems,
        fault=wanted.fault,
        accept_loss=wanted.accept_loss,
        attested=wanted.attested,
        created_at=now,
        topology_sha256=context.topology_sha256,
    )
    try:
        made = plan(context.topology, look, runbook, request, context.timings(), before=before)
    except UnsafeRunbook as unsafe:
        if not tell:
            raise
        raise with_story(unsafe, unsafe.plan, context.topology, look, before, lang=context.lang) from unsafe
    refuse_missing_playbooks(made, context.playbooks)
    return made, before, look


def refuse_missing_playbooks(plan: Plan, folder: Path) -> None:
    """Refuse a plan that could not be carried out for want of a playbook: found now, not in the middle of a run.

    Raises:
        Refused: a step names a playbook that is not there.
    """
    named = [(s.id, s.param("playbook")) for s in plan.steps if s.verb is Verb.RUN_PLAYBOOK]
    missing = [f"{name} ({step})" for step, name in named if not (folder / name).is_file()]
    if missing:
        raise Refused(
            f"{plan.scenario} needs playbooks that are not there: {', '.join(missing[:3])}",
            hint=f"write them in {folder}, or choose systems without them: --system",
        )


def readable(snapshot: Snapshot) -> None:
    """Refuse to go on where not one instance could be read: that is our own blindness, not a dead estate.

    Raises:
        Unreadable: no instance answered.
    """
    if not any(r.reach is Reach.ANSWERED for r in snapshot.readings):
        raise Unreadable("not one instance could be read", hint="is the lab up (`drctl lab up`)? is the network?")


def consents(plan: Plan, wanted: Wanted) -> tuple[Approval, ...]:
    """The approvals that the plan needs: two names for a live mode outside the lab and for accepting loss anywhere.

    Raises:
        Refused: fewer than two different people consent to this very plan.
    """
    given = list(read_approvals(wanted.plan_file, plan)) if wanted.plan_file else []
    if wanted.approved_by and not plan.lab:
        raise Refused("--approved-by is for the lab", hint="approvers consent with `drctl approve PLAN.json --name …`")
    now = datetime.now(UTC).isoformat(timespec="seconds")
    given += [
        Approval(
            plan_sha256=plan.sha256,
            name=name,
            at=now,
            accepts_loss=wanted.accept_loss,
            attests=bool(wanted.attested),
        )
        for name in wanted.approved_by
    ]
    counted = [a for a in given if (a.accepts_loss or not plan.loses_data) and (a.attests or not plan.attested)]
    names = {a.name.strip().casefold() for a in counted}
    if plan.needs_two and len(names) < APPROVERS:
        what = "accepts loss" if plan.loses_data else "changes an estate that is no lab"
        what = f"rests on the word that {', '.join(plan.attested)} is off" if plan.attested else what
        raise Refused(
            f"the plan {what}: {APPROVERS} approvals by different people are needed, there are {len(names)}",
            hint="`drctl plan … -o plan.json`, then `drctl approve plan.json --name …` by each",
        )
    return tuple(given)
