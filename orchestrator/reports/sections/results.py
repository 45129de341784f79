"""Objectives reached: what users saw, where the time went, how it was counted."""

from __future__ import annotations

from orchestrator.model.canary import Ledger
from orchestrator.model.run import EntryOutage, RunState
from orchestrator.reports.charts import outage_chart, phase_seconds, rto_bar, segments
from orchestrator.reports.judgement import rto
from orchestrator.reports.markup import Markup, el, join, table
from orchestrator.reports.sections.base import View, bullets, para
from orchestrator.reports.sections.headline import verdicts

CHARTS_MAX = 6
"""Entries that are drawn, the worst first; the figures of the others stand in the table."""


def results(view: View) -> Markup:
    """RTO and RPO against targets, decomposed, and the outage as users saw it."""
    words = view.words
    return join(
        (
            verdicts(view),
            decomposed(view),
            el("h3", words("The outage as users saw it", "用户所见的中断过程")),
            _charts(view),
            _entries(view),
            el("h3", words("How it was counted", "计时与计数口径")),
            _basis(view),
        )
    )


def decomposed(view: View) -> Markup | None:
    """The time until service as one bar, by phase."""
    words, timeline = view.words, view.dossier.timeline
    parts = segments(timeline)
    ended = view.judgement.state in {RunState.DONE, RunState.DEGRADED}
    if not view.dossier.changed_anything or not ended or not parts:
        return None
    slowest = max((s for m in (view.judgement.worst_rto,) if m and (s := rto(m)) is not None), default=None)
    measured = view.dossier.measurements
    ends = [
        o.outage_begin_s + o.outage_ms / 1000
        for o in (measured.outages if measured else ())
        if o.outage_begin_s is not None and o.system in view.dossier.plan.systems
    ]
    served = max(ends, default=slowest)
    items = []
    for phase, seconds in phase_seconds(parts):
        key = f"k-{phase.value}" if phase else "k-gap"
        name = words.name(phase) if phase else words("between steps", "步骤间隙")
        items.append(
            el("span", el("i", class_=f"key {key}"), f"{name} ", el("b", words.seconds(seconds)), class_="phase")
        )
    title = el("h3", words("RTO decomposed (critical path)", "RTO 分解（关键路径）"))
    return join((title, el("figure", rto_bar(timeline, served, words)), el("div", *items, class_="legend")))


def _worst_first(view: View) -> list[tuple[Ledger, EntryOutage | None]]:
    """Ledgers with what was measured of them."""
    dossier = view.dossier
    if dossier.timeline.zero is None:
        return []
    seen = {o.entry: o for o in (dossier.measurements.outages if dossier.measurements else ())}
    pairs = [(ledger, seen.get(ledger.header.entry)) for ledger in dossier.ledgers]
    return sorted(pairs, key=lambda pair: -pair[1].outage_ms if pair[1] else 0.0)


def worst_entry(view: View) -> Markup | None:
    """The picture of the entry that was out longest."""
    pairs = [pair for pair in _worst_first(view) if pair[1] and pair[1].outage_begin_s is not None]
    if not pairs:
        return None
    title = view.words("The longest outage, as users saw it", "用户所见的最长中断")
    return join((el("h3", title), _legend(view), _chart(view, *pairs[0])))


def _charts(view: View) -> Markup:
    pairs = _worst_first(view)
    if not pairs:
        text = view.words("No canary used the entries in this run.", "本次运行未在入口进行拨测。")
        return para(text, class_="quiet")
    return join((_legend(view), *(_chart(view, *pair) for pair in pairs[:CHARTS_MAX])))


def _legend(view: View) -> Markup:
    words = view.words
    keys = (
        ("ok", words("answered", "成功")),
        ("bad", words("refused or failed", "被拒绝或失败")),
        ("dbt", words("in doubt", "存疑（已发出、无明确结果）")),
        ("bar", words("acknowledged writes", "确认写入")),
    )
    items = (el("span", el("i", class_=f"key c-{k}"), text, class_="phase") for k, text in keys)
    return el("div", *items, class_="legend")


def _chart(view: View, ledger: Ledger, seen: EntryOutage | None) -> Markup:
    words = view.words
    name = el("b", view.system(ledger.header.system))
    if seen is None:
        said = words("not reconciled: the surviving database could not be read", "未核对：无法读取存活数据库")
    elif seen.outage_begin_s is None:
        said = words("no outage", "无中断")
    else:
        said = words(
            f"no acknowledged write for {words.seconds(seen.outage_ms / 1000)}",
            f"{words.seconds(seen.outage_ms / 1000)}内没有被确认的写入",
        )
    rate = words(f"{ledger.header.rate:g} operations a second", f"每秒 {ledger.header.rate:g} 次操作")
    caption = el("figcaption", name, f" · {ledger.header.entry} · {said} · {rate}")
    return el("figure", caption, outage_chart(ledger, seen, view.dossier.timeline, words))


def _entries(view: View) -> Markup | None:
    words, measured = view.words, view.dossier.measurements
    if measured is None or not measured.outages:
        return None
    heads = (
        words("Entry", "入口"),
        words("Writes acknowledged", "确认写入"),
        words("refused", "被拒绝"),
        words("in doubt", "存疑"),
        words("of them kept", "其中已落库"),
        words("lost", "丢失"),
        words("Reads answered", "成功读取"),
        words("failed", "失败"),
        words("wrong", "错误"),
        words("Outage", "中断"),
    )
    rows = [
        (
            o.entry,
            words.count(o.writes_acked),
            words.count(o.writes_failed),
            words.count(o.writes_in_doubt),
            words.count(o.writes_in_doubt_kept),
            words.count(len(o.writes_lost)),
            words.count(o.reads_ok),
            words.count(o.reads_failed),
            words.count(len(o.reads_wrong)),
            words.seconds(o.outage_ms / 1000),
        )
        for o in measured.outages
    ]
    return table(heads, rows, numeric=range(1, 10))


def _basis(view: View) -> Markup:
    words, measured = view.words, view.dossier.measurements
    fault = f" ({words.moment(measured.fault_at, fraction=True)})" if measured and measured.fault_at else ""
    declared = f" ({words.moment(measured.declared_at, fraction=True)})" if measured and measured.declared_at else ""
    overhead = f"{measured.overhead_ms_per_step:g} ms" if measured else words("not measured", "未测得")
    return bullets(
        [
            words(
                f"From the fault: from its injection{fault} to the first write acknowledged again through the "
                "system's entry.",
                f"自故障起：从故障注入{fault} 至经该系统入口再次成功写入。",
            ),
            words(
                f"From the declaration: from the end of detection{declared} to the same end. The longer of both is "
                "held against the target.",
                f"自确认失效起：从发现环节结束{declared} 至同一终点；以两者中较长者对照目标。",
            ),
            words(
                "Outage: the longest time between two acknowledged writes; a stall counts as much as an error. "
                "Writes start at their time whether or not earlier ones have ended.",
                "中断：两次被确认写入之间的最长间隔，停顿与报错同等计入；每次写入按既定时刻发起，不受先前写入是否返回影响。",
            ),
            words(
                "RPO: from the sending of the oldest lost write to the acknowledgement of the newest; lost means "
                "acknowledged and absent (or changed) in the surviving database. In doubt (sent, neither acknowledged "
                "nor refused) is apart.",
                "RPO：最早丢失写入的发起时刻至最晚丢失写入的确认时刻；丢失指已确认但存活数据库中不存在或内容不符；"
                "存疑（已发出但既未确认也未拒绝）单独统计。",
            ),
            words(
                f"All durations come from one monotonic clock. The program's own time per step, median: {overhead}.",
                f"所有时长取自同一单调时钟。程序自身每步耗时中位数：{overhead}。",
            ),
        ]
    )
