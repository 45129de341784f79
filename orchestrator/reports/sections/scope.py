"""What was in scope, how it stood before and after, and the objectives that it is held against."""

from __future__ import annotations

from orchestrator.model.observation import Snapshot
from orchestrator.model.topology import System
from orchestrator.reports.markup import Markup, el, join, table, visible
from orchestrator.reports.sections.base import View, para, people
from orchestrator.reports.topology_svg import topology_svg

SYSTEMS_MAX = 200
PICTURE_MAX = 240_000
"""A topology picture of more characters is left out, so that the report stays small enough to send."""


def scope(view: View) -> Markup:
    """Centres, systems and the estate before and after as pictures."""
    words, dossier = view.words, view.dossier
    plan = dossier.plan
    lost = view.centres(plan.lost) or words("none", "无")
    text = words(
        f"{view.scenario}. Taken as lost: {lost}.",
        f"{view.scenario}。视为失效：{lost}。",
    )
    before = _picture(view, dossier.before, words("Before", "切换前"))
    after = _picture(view, dossier.after, words("After", "切换后"))
    return join((para(text), _systems(view), el("div", before, after, class_="maps")))


def _picture(view: View, snapshot: Snapshot | None, name: str) -> Markup:
    words, dossier = view.words, view.dossier
    if snapshot is None or not snapshot.readings:
        text = words("nobody looked", "未观测")
        return el("figure", el("figcaption", el("b", name), f" · {text}"), class_="map")
    drawn = topology_svg(
        dossier.topology,
        lang=words.lang,
        snapshot=snapshot,
        systems=dossier.plan.systems,
        highlight=dossier.plan.lost,
        caption=words.moment(snapshot.taken_at),
    )
    seen = el("figcaption", el("b", name), f" · {words.moment(snapshot.taken_at)}")
    if len(drawn) > PICTURE_MAX:
        return el("figure", seen, para(words("too large to show here", "过大，未在此展示")), class_="map")
    return el("figure", seen, Markup(visible(drawn)), class_="map")


def _systems(view: View) -> Markup:
    words, known = view.words, view.dossier.topology.system_by_id
    systems = [known[s] for s in view.dossier.plan.systems if s in known]
    heads = (
        words("System", "业务系统"),
        words("Owner", "责任单位"),
        words("Filing number", "备案号"),
        words("Tier", "等级"),
        words("Depends on", "依赖"),
        words("Parts", "组件"),
    )
    rows = [_system_row(view, s) for s in systems[:SYSTEMS_MAX]]
    return join((table(heads, rows, numeric=(3,)), _more(view, len(systems))))


def _system_row(view: View, system: System) -> tuple[str | Markup, ...]:
    words = view.words
    filing = system.filing
    return (
        join((el("b", words.of(system.name)), " ", el("small", system.id))),
        words.of(system.owner),
        words("not yet assigned", "尚未赋号") if filing.startswith("PLACEHOLDER") else filing,
        str(system.tier),
        words(", ", "、").join(view.system(s) for s in system.depends_on) or "–",
        words(", ", "、").join(f"{s.name} ({s.kind})" for s in system.services),
    )


def _more(view: View, total: int) -> Markup | None:
    if total <= SYSTEMS_MAX:
        return None
    rest = total - SYSTEMS_MAX
    return para(view.words(f"{rest} more in topology.json.", f"其余 {rest} 个见 topology.json。"), class_="quiet")


def objectives(view: View) -> Markup:
    """Targets that count, and where they come from."""
    words, known = view.words, view.dossier.topology.system_by_id
    extent = (
        words("the loss of a whole city", "整个城市失效")
        if view.by_city
        else words("the loss of one centre", "单中心失效")
    )
    lead = words(
        f"Targets for {extent} count here. They are the systems' own approved targets, as declared in the topology "
        "whose hash the plan carries; RTO and RPO are never held against the ranges of a standard.",
        f"本次适用“{extent}”的目标值，取自各业务系统在拓扑文件中声明的经批准目标（拓扑哈希载于方案），不以标准中的区间值代替。",
    )
    heads = (words("System", "业务系统"), words("Tier", "等级"), "RTO ≤", "RPO ≤", words("Forecast RTO", "预计 RTO"))
    rows = []
    for system in view.dossier.plan.systems[:SYSTEMS_MAX]:
        target = view.objective(system)
        rto, rpo = (words.target(target.rto_s), words.target(target.rpo_s)) if target else ("–", "–")
        tier = str(known[system].tier) if system in known else "–"
        rows.append((view.system(system), tier, rto, rpo, words.seconds(view.dossier.plan.forecast_rto_s)))
    note = people(
        words, "the business impact analysis that each target comes from.", "各目标值所依据的业务影响分析文件。"
    )
    return join(
        (para(lead), table(heads, rows, numeric=(1, 2, 3, 4)), _more(view, len(view.dossier.plan.systems)), note)
    )
