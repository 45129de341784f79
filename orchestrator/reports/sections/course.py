"""What happened, step by step, and where it differed from the plan."""

from __future__ import annotations

from orchestrator.model.observation import Verdict
from orchestrator.model.plan import Phase
from orchestrator.model.run import Event, RunState
from orchestrator.reports.gantt import chosen, protect_gantt, recovery_gantt
from orchestrator.reports.markup import Child, Markup, el, join, table
from orchestrator.reports.sections.base import View, bullets, outcome_pill, para, people, phase_dot
from orchestrator.reports.timeline import StepTime
from orchestrator.reports.words import Outcome

STEPS_MAX = 160
_UNUSUAL = {
    Event.RUN_RESUMED: ("the run was resumed", "运行被恢复继续"),
    Event.RUN_INTERRUPTED: ("the run was interrupted by the operator", "运行被操作员中断"),
    Event.ABORT_ASKED: ("an abort was asked for", "操作员要求中止"),
    Event.RUN_TAKEN_OVER: ("another controller took the run over", "任务由另一控制端接管"),
    Event.STORE_AWAY: ("the state store did not confirm", "状态库未确认"),
    Event.STORE_BACK: ("the state store was back", "状态库恢复"),
    Event.STORE_ALONE: ("the state store had no synchronous copy", "状态库无同步副本"),
    Event.JOURNAL_CUT: ("half a line of the journal was cut off after a crash", "崩溃后截去日志末尾半行"),
}


def record(view: View) -> Markup:
    """Gantt pictures and the table of steps."""
    words, timeline = view.words, view.dossier.timeline
    protects = [t for t in timeline.steps if t.step.phase is Phase.PROTECT]
    recovers = [t for t in timeline.steps if t.step.phase is not Phase.PROTECT]
    if not timeline.steps:
        return para(words("The plan has no steps.", "方案没有步骤。"))
    figures = []
    if recovers:
        name = words("Until users were served again", "恢复服务之前")
        figures.append(_figure(view, name, recovery_gantt(timeline, words), recovers))
    if protects:
        name = words("Afterwards: protection restored", "之后：恢复保护")
        figures.append(_figure(view, name, protect_gantt(timeline, words), protects))
    return join((_legend(view), *figures, el("h3", words("Steps", "步骤明细")), _steps(view)))


def _figure(view: View, name: str, drawn: Markup, times: list[StepTime]) -> Markup:
    words, rest = view.words, len(times) - len(chosen(times))
    more = words(f" · {rest} of {len(times)} steps not drawn", f" · 共 {len(times)} 步，未绘出 {rest} 步")
    return el("figure", el("figcaption", el("b", name), more if rest > 0 else None), drawn)


def _legend(view: View) -> Markup:
    words = view.words
    used = [p for p in Phase if any(t.step.phase is p for t in view.dossier.timeline.steps)]
    marks = (
        el("span", el("i", class_="key k-plan"), words("planned", "计划"), class_="phase"),
        el(
            "span", el("i", class_="key k-broken"), words("failed or outcome unknown", "失败或结果未知"), class_="phase"
        ),
        el("span", el("i", class_="key k-critical"), words("critical path", "关键路径"), class_="phase"),
    )
    return el("div", *(phase_dot(p, words) for p in used), *marks, class_="legend")


def _steps(view: View) -> Markup:
    words, steps = view.words, view.dossier.timeline.steps
    heads = (
        words("Wave", "波次"),
        words("Step", "步骤"),
        words("Phase", "阶段"),
        words("Planned", "计划开始"),
        words("Actual", "实际开始"),
        words("Forecast", "预计用时"),
        words("Took", "实际用时"),
        words("Operator", "操作人"),
        words("Result", "结果"),
    )
    shown = {t.step.id for t in sorted(steps, key=lambda t: (not t.step.critical, _ordinary(t)))[:STEPS_MAX]}
    rows = [_step_row(view, t) for t in steps if t.step.id in shown]
    unit = words(
        "Times count from the fault, or where none was injected from the declaration.",
        "时间自故障注入起算；未注入故障的，自确认失效（宣告）起算。",
    )
    rest = len(steps) - len(rows)
    more = para(words(f"{rest} more steps in journal.jsonl.", f"其余 {rest} 步见 journal.jsonl。")) if rest else None
    reviewer = people(words, "who reviewed each step.", "各步骤的复核人。")
    return join(
        (para(unit, class_="quiet"), table(heads, rows, numeric=(0, 3, 4, 5, 6), class_="steps"), more, reviewer)
    )


def _ordinary(time: StepTime) -> bool:
    return not time.slow and time.outcome in {Outcome.DONE, Outcome.WOULD}


def _step_row(view: View, time: StepTime) -> tuple[Child, ...]:
    words, step = view.words, time.step
    name = el("b", words.of(step.text)) if step.critical else words.of(step.text)
    return (
        str(step.wave),
        join((name, " ", el("small", step.id))),
        phase_dot(step.phase, words),
        words.seconds(time.planned_begin_s),
        "–" if time.begin_s is None else words.seconds(time.begin_s),
        words.seconds(step.forecast_s),
        "–" if time.took_s is None else words.seconds(time.took_s),
        time.answered_by or "drctl",
        outcome_pill(time.outcome, words),
    )


def deviation_texts(view: View, *, slow: bool = True) -> list[tuple[str, str]]:
    """Every deviation, the gravest first: (what, detail).

    Args:
        view: the run.
        slow: name each step that took clearly longer than forecast; else count them in one.
    """
    words, dossier = view.words, view.dossier
    unusual = [(words(*_UNUSUAL[r.event]), words.moment(r.at)) for r in dossier.records if r.event in _UNUSUAL]
    degraded = dossier.history.state is RunState.DEGRADED
    why = words("Protection is not restored", "保护尚未恢复") if degraded else words("Why it ended so", "结束原因")
    missing = [(why, m) for m in dossier.history.missing]
    late = _slow(view)
    if not slow and len(late) > 1:
        late = [(words(f"{len(late)} steps took much longer than forecast", f"{len(late)} 个步骤用时明显超出预计"), "")]
    return [*_missed(view), *_failed(view), *missing, *unusual, *late]


def _failed(view: View) -> list[tuple[str, str]]:
    """Steps that did not end as planned, and gates that did not pass."""
    words, colon, found = view.words, view.words(": ", "："), []
    for time in view.dossier.timeline.deviating:
        if time.outcome not in {Outcome.DONE, Outcome.WOULD}:
            said = time.detail_zh if words.chinese else time.detail
            said = "" if said == time.outcome.value else said
            found.append((f"{words.of(time.step.text)}{colon}{words.name(time.outcome)}", said))
        for gate in time.gates:
            if gate.verdict is not Verdict.PASS:
                name = words(f"gate “{words.fact(gate.fact)}”", f"准入条件“{words.fact(gate.fact)}”")
                found.append((f"{name} {gate.instance}{colon}{words.name(gate.verdict)}", words.of(gate.reason)))
    return found


def _slow(view: View) -> list[tuple[str, str]]:
    words, colon = view.words, view.words(": ", "：")
    what = words("took much longer than forecast", "用时明显超出预计")
    late = [t for t in view.dossier.timeline.steps if t.slow and t.outcome in {Outcome.DONE, Outcome.WOULD}]
    return [(f"{words.of(t.step.text)}{colon}{what}", _instead(view, t)) for t in late]


def _instead(view: View, time: StepTime) -> str:
    took, forecast = view.words.seconds(time.took_s), view.words.seconds(time.step.forecast_s)
    return view.words(f"{took} instead of {forecast}", f"实际 {took}，预计 {forecast}")


def _missed(view: View) -> list[tuple[str, str]]:
    words, measured = view.words, view.dossier.measurements
    found = []
    for system in measured.systems if measured else ():
        name = view.system(system.system)
        if system.rto_met is False:
            longest = max(system.rto_from_fault_s or 0.0, system.rto_from_declaration_s or 0.0)
            detail = f"{words.seconds(longest)} > {words.target(system.rto_target_s)}"
            found.append((words(f"{name}: RTO missed", f"{name}：RTO 未达成"), detail))
        if system.rpo_met is False:
            lost = words(f"{system.lost_writes} writes", f"{system.lost_writes} 笔写入")
            detail = f"{words.seconds(system.rpo_s)} > {words.target(system.rpo_target_s)} · {lost}"
            found.append((words(f"{name}: RPO missed", f"{name}：RPO 未达成"), detail))
    return found


def deviations(view: View) -> Markup:
    """Where the run differed from its plan."""
    words = view.words
    found = deviation_texts(view)
    if not found:
        text = words(
            "None: every step was done, none took clearly longer than forecast (twice and at least 0.25 s more), "
            "every gate passed.",
            "无：全部步骤完成，没有步骤用时明显超出预计（两倍且多 0.25 秒以上），全部准入条件通过。",
        )
        return para(text)
    items: list[Child] = [
        join((el("b", what), f" — {detail}" if detail else None)) for what, detail in found[:STEPS_MAX]
    ]
    return bullets(items)


def actions(view: View) -> Markup:
    """The ledger of corrective actions, its first column filled."""
    words = view.words
    heads = (
        words("Finding", "问题"),
        words("Action", "整改措施"),
        words("Owner", "责任人"),
        words("Due", "期限"),
        words("Closed", "闭环"),
    )
    found = deviation_texts(view, slow=False)[:STEPS_MAX]
    rows = [(f"{what} — {detail}" if detail else what, "", "", "", "") for what, detail in found] or [
        ("–", "", "", "", "")
    ]
    note = people(words, "actions, owners, due dates and closing.", "整改措施、责任人、期限与闭环情况。")
    return join((table(heads, rows, class_="ledger"), note))
