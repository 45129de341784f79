"""What was looked at before anything was touched, and the way back that was ready."""

from __future__ import annotations

from orchestrator.model.observation import Reach, Verdict
from orchestrator.reports.judgement import Light
from orchestrator.reports.markup import Child, Markup, el, join, table
from orchestrator.reports.sections.base import View, code, para, pill

GATES_MAX = 150
LIGHTS = {Verdict.PASS: Light.GOOD, Verdict.FAIL: Light.BAD, Verdict.UNKNOWN: Light.WARN}


def prechecks(view: View) -> Markup:
    """State before, gates, expected loss, rollback."""
    return join((_before(view), _gates(view), _losses(view), _rollback(view)))


def _before(view: View) -> Markup:
    words, before = view.words, view.dossier.before
    if before is None or not before.readings:
        return para(words("The estate was not looked at beforehand.", "事前未进行观测。"))
    answered = sum(r.reach is Reach.ANSWERED for r in before.readings)
    total, took, at = len(before.readings), words.seconds(before.took_s), words.moment(before.taken_at)
    return para(
        words(
            f"Observed at {at}: {answered} of {total} instances answered, all at once in {took}.",
            f"{at} 对全部实例同时探测，{total} 个实例中 {answered} 个正常应答，用时 {took}。",
        )
    )


def _gates(view: View) -> Markup:
    words, steps = view.words, view.dossier.timeline.steps
    judged = [(t, g) for t in steps for g in t.gates]
    if not judged:
        return para(words("No step judged a gate.", "没有步骤判定准入条件。"), class_="quiet")
    judged.sort(key=lambda pair: pair[1].verdict is Verdict.PASS)
    heads = (
        words("Before the step", "步骤"),
        words("Condition", "准入条件"),
        words("Instance", "实例"),
        words("Judged", "判定"),
        words("Reason", "依据"),
    )
    rows: list[tuple[Child, ...]] = [
        (
            words.of(t.step.text),
            words.fact(g.fact),
            code(g.instance),
            pill(LIGHTS[g.verdict], words.name(g.verdict)),
            words.of(g.reason),
        )
        for t, g in judged[:GATES_MAX]
    ]
    lead = words(
        "Each gate was judged by a fresh probe just before its step took effect; only a pass opens it.",
        "每项准入条件均在该步骤生效前由实时探测判定，仅“通过”可放行。",
    )
    rest = len(judged) - GATES_MAX
    more = para(words(f"{rest} more in journal.jsonl.", f"其余 {rest} 项见 journal.jsonl。")) if rest > 0 else None
    return join((para(lead), table(heads, rows), more))


def _losses(view: View) -> Markup:
    words, plan = view.words, view.dossier.plan
    if not plan.losses:
        return para(
            words("No promotion was planned, so nothing could be lost.", "方案不含提升操作，不存在数据丢失风险。")
        )
    heads = (
        words("Promotion of", "提升对象"),
        words("Expected loss, at most", "预计最大丢失"),
        words("Declared limit", "声明上限"),
        words("Reason", "依据"),
    )
    rows = [
        (
            code(loss.service),
            words("none, proven", "无（已证明）") if loss.proven_zero else words.seconds(loss.seconds),
            words.target(loss.budget_s),
            words.of(loss.reason),
        )
        for loss in plan.losses
    ]
    return join((el("h3", words("Expected loss", "预计数据丢失")), table(heads, rows, numeric=(1, 2))))


def _rollback(view: View) -> Markup:
    words, steps = view.words, view.dossier.plan.steps
    undoable = [s for s in steps if s.undo]
    text = words(
        f"{len(undoable)} of {len(steps)} steps carry their own undo, run in reverse order when a step fails "
        "before the point of no return (the first promotion).",
        f"{len(steps)} 个步骤中有 {len(undoable)} 个带有回退动作；不可回退点（首次提升）之前若有步骤失败，按逆序回退。",
    )
    return join((el("h3", words("Rollback", "风险与回退方案")), para(text)))
