"""The first page: what it was, what came of it, the figures that are asked for first."""

from __future__ import annotations

from orchestrator.model.run import EntryOutage, Measurement, RunState
from orchestrator.reports.judgement import Light, rto
from orchestrator.reports.markup import Child, Markup, el, join, table
from orchestrator.reports.sections.base import View, code, verdict


def masthead(view: View) -> Markup:
    """Title, scenario, identity of the run, and the verdict."""
    dossier, words = view.dossier, view.words
    judgement, history = view.judgement, dossier.history
    begun = words.moment(history.opened_at or dossier.plan.created_at)
    identity = (
        (words("Run", "运行编号"), code(dossier.run)),
        (words("Begun", "开始时间"), begun),
        (words("Kind", "类型"), f"{words.name(dossier.plan.kind)} · {words.name(dossier.plan.mode)}"),
        (words("Systems", "业务系统"), words.count(len(dossier.plan.systems))),
        (words("Fault", "注入故障"), code(dossier.plan.fault) if dossier.plan.fault else words("none", "无")),
    )
    return el(
        "header",
        el("div", words.of(dossier.topology.name), class_="estate"),
        el("h1", view.title),
        el("p", view.scenario, class_="scenario"),
        el("div", *(el("div", el("span", k), v) for k, v in identity), class_="identity"),
        el("div", *_sentence(view), class_=f"result {judgement.light.value}"),
        class_="masthead",
    )


def _sentence(view: View) -> tuple[Child, ...]:
    """The whole result in one or two sentences."""
    words, judgement = view.words, view.judgement
    met, of = judgement.objectives_met, judgement.objectives
    if judgement.state not in {RunState.DONE, RunState.DEGRADED}:
        met, of = 0, 0
    if not of:
        big = words.name(judgement.state)
    elif met == of:
        big = words("Objectives met", "目标达成")
    else:
        big = words("Objectives missed", "目标未达成")
    count = words(f"{met} of {of} objectives met", f"{of} 项目标中 {met} 项达成") if of else ""
    parts = [count, _outage_words(view), _protection_words(view)]
    return el("strong", big), el("span", words("; ", "；").join(p for p in parts if p) + words(".", "。"))


def _outage_words(view: View) -> str:
    words, worst = view.words, view.judgement.worst_outage
    if worst is None:
        return words("Nothing was measured at the entries", "未在入口测量用户影响")
    lost = view.judgement.writes_lost or 0
    outage = words.seconds(worst.outage_ms / 1000)
    return words(
        f"users were without acknowledged writes for {outage} at most and lost {words.count(lost)} acknowledged writes",
        f"用户写入中断最长 {outage}，丢失已确认写入 {words.count(lost)} 笔",
    )


def _protection_words(view: View) -> str:
    words, state = view.words, view.judgement.state
    if state is RunState.DONE and view.judgement.protected:
        return words("protection is restored, every copy follows", "保护已恢复，全部副本同步跟进")
    missing = "; ".join(view.dossier.history.missing)
    said = words.name(state)
    return f"{said}{words(': ', '：')}{missing}" if missing else said


def tiles(view: View) -> Markup:
    """Headline figures."""
    made = _measured_tiles(view) if view.judgement.worst_outage else _planned_tiles(view)
    return el("section", *made, class_="tiles")


def _tile(name: str, value: str, below: Child, light: Light | None) -> Markup:
    return el(
        "div",
        el("div", name, class_="name"),
        el("div", value, class_="value"),
        el("div", below, class_="below"),
        class_=f"tile {light.value if light else ''}".strip(),
    )


def _measured_tiles(view: View) -> tuple[Markup, ...]:
    words, judgement = view.words, view.judgement
    worst = judgement.worst_outage
    assert worst is not None
    lost = judgement.writes_lost or 0
    doubt = words(f"{judgement.writes_in_doubt:,} in doubt", f"存疑 {judgement.writes_in_doubt:,} 笔")
    acked = words(f"of {judgement.writes_acked:,} acknowledged", f"共确认 {judgement.writes_acked:,} 笔")
    return (
        _tile(
            words("Longest outage seen by users", "用户所见最长中断"),
            words.seconds(worst.outage_ms / 1000),
            view.system(worst.system),
            None,
        ),
        _tile(
            words("Acknowledged writes lost", "丢失的已确认写入"),
            words.count(lost),
            f"{acked} · {doubt}",
            Light.WARN if lost else Light.GOOD,
        ),
        _objective_tile(view, "RTO", judgement.worst_rto),
        _objective_tile(view, "RPO", judgement.worst_rpo),
        _protection_tile(view),
    )


def _objective_tile(view: View, which: str, measured: Measurement | None) -> Markup:
    words = view.words
    name = words(f"{which}, nearest to its target", f"{which}（最接近目标者）")
    if measured is None:
        return _tile(name, "–", words("not measured", "未测得"), Light.WARN)
    is_rto = which == "RTO"
    value = rto(measured) if is_rto else measured.rpo_s
    target = measured.rto_target_s if is_rto else measured.rpo_target_s
    met = measured.rto_met if is_rto else measured.rpo_met
    below = join((words("target ≤ ", "目标 ≤ "), words.target(target), " ", verdict(met, words)))
    return _tile(name, words.seconds(value), below, Light.WARN if met is None else Light.GOOD if met else Light.BAD)


def _protection_tile(view: View) -> Markup:
    words, copies = view.words, view.judgement.copies
    whole = sum(c.present == c.declared for c in copies)
    protected = view.judgement.protected
    light = Light.WARN if protected is None else Light.GOOD if protected else Light.BAD
    below = {
        None: words("nobody looked afterwards", "切换后未观测"),
        True: words("every copy follows again", "全部副本已恢复"),
        False: words("copies are missing", "仍有副本缺失"),
    }[protected]
    value = words(f"{whole} of {len(copies)}", f"{whole} / {len(copies)}")
    return _tile(words("Services with all copies", "副本齐全的组件"), value, below, light)


def _planned_tiles(view: View) -> tuple[Markup, ...]:
    """A run at which no user was asked: what can be said of it."""
    words, plan, timeline = view.words, view.dossier.plan, view.dossier.timeline
    gates = [g for t in timeline.steps for g in t.gates]
    passed = sum(g.verdict == "pass" for g in gates)
    ended = sum(t.end_s is not None for t in timeline.steps)
    return (
        _tile(
            words("Forecast RTO", "预计 RTO"), words.seconds(plan.forecast_rto_s), words("planned", "方案预测"), None
        ),
        _tile(words("Steps gone through", "已走完步骤"), f"{ended} / {len(plan.steps)}", words.name(plan.mode), None),
        _tile(
            words("Gates that passed", "准入条件通过"),
            f"{passed} / {len(gates)}" if gates else "–",
            words("judged by probes", "依据实时探测")
            if gates
            else words("no contact, none judged", "不接触系统，未判定"),
            Light.WARN if passed < len(gates) else None,
        ),
        _tile(words("Outage and loss", "中断与丢失"), "–", words("not measured", "未测得"), None),
    )


def verdicts(view: View) -> Markup:
    """Every system against its targets."""
    words, measured = view.words, view.dossier.measurements
    if measured is None or not measured.systems:
        return el("p", words("No objective was measured in this run.", "本次运行未测量任何目标。"), class_="quiet")
    seen = {o.system: o for o in measured.outages}
    heads = (
        words("System", "业务系统"),
        words("Outage", "写入中断"),
        words("RTO from fault", "RTO（自故障起）"),
        words("from declaration", "RTO（自确认失效起）"),
        words("target", "目标"),
        "",
        "RPO",
        words("target", "目标"),
        "",
        words("Lost", "丢失"),
        words("In doubt", "存疑"),
    )
    order = sorted(measured.systems, key=lambda m: m.rto_met is not False and m.rpo_met is not False)
    rows = (_verdict_row(view, m, seen.get(m.system)) for m in order)
    return table(heads, rows, numeric=(1, 2, 3, 4, 6, 7, 9, 10), class_="verdicts")


def _verdict_row(view: View, measured: Measurement, seen: EntryOutage | None) -> tuple[Child, ...]:
    words = view.words
    return (
        join((el("b", view.system(measured.system)), " ", el("small", measured.system))),
        words.seconds(seen.outage_ms / 1000) if seen else "–",
        words.seconds(measured.rto_from_fault_s) if measured.rto_from_fault_s is not None else "–",
        words.seconds(measured.rto_from_declaration_s),
        words.target(measured.rto_target_s),
        verdict(measured.rto_met, words),
        words.seconds(measured.rpo_s),
        words.target(measured.rpo_target_s),
        verdict(measured.rpo_met, words),
        words.count(measured.lost_writes),
        words.count(seen.writes_in_doubt) if seen else "–",
    )
