"""Approval, organisation, purpose: who wanted this, on what grounds, and who agreed."""

from __future__ import annotations

from orchestrator.model.run import Event
from orchestrator.reports.markup import Child, Markup, join, table
from orchestrator.reports.plan_view import proven
from orchestrator.reports.sections.base import View, code, facts, para, people


def approval(view: View) -> Markup:
    """Consents bound to the plan's hash, and room for those on paper."""
    words, dossier = view.words, view.dossier
    given = dossier.approvals
    bound, attested = dossier.plan.sha256, dossier.plan.attested
    lead = words("Plan that was carried out (SHA-256): ", "所执行方案（SHA-256）：")
    heads = (
        words("Name", "姓名"),
        words("Time", "时间"),
        words("Approved", "批准对象"),
        words("Accepts loss", "是否接受数据丢失"),
        *((words("Attests that these are off: ", "确认已停机：") + ", ".join(attested),) if attested else ()),
    )
    rows = [
        (
            a.name,
            words.moment(a.at),
            words("this plan", "本方案") if a.plan_sha256 == bound else words("another plan", "另一方案"),
            words("yes", "是") if a.accepts_loss else words("no", "否"),
            *((words("yes", "是") if a.attests else words("no", "否"),) if attested else ()),
        )
        for a in given
    ]
    none = words(
        "No approval is on file; a lab drill without loss needs none.",
        "无批准记录；实验环境中无数据丢失的演练不需要批准。",
    )
    return join(
        (
            para(lead, code(bound)),
            para(f"{proven(dossier.certificate, words)} (proof.json)") if dossier.certificate else None,
            table(heads, rows) if rows else para(none, class_="quiet"),
            people(
                words, "issuing body, number of the document, signatures and seals.", "发文单位、文号、签字与盖章。"
            ),
        )
    )


def revisions(view: View) -> Markup:
    """The report is made from evidence; it has no versions of its own."""
    words = view.words
    text = words(
        "Made by drctl from the sealed evidence; making it again from the same evidence gives the same text.",
        "本报告由 drctl 依据封存的证据自动生成；对同一份证据重新生成，内容不变。",
    )
    return join((para(text), people(words, "changes made by hand, if any.", "如有人工修改，在此登记。")))


def overview(view: View) -> Markup:
    """Grounds, purpose and type."""
    words, plan, history = view.words, view.dossier.plan, view.dossier.history
    rows: list[tuple[str, Child]] = [
        (words("Scenario", "场景"), join((code(plan.scenario), " · ", view.scenario))),
        (words("Type", "类型"), f"{words.name(plan.kind)} · {words.name(plan.mode)}"),
        (words("Fault injected", "注入故障"), code(plan.fault) if plan.fault else words("none", "无")),
        (words("Plan made", "方案生成时间"), words.moment(plan.created_at)),
        (words("Begun", "开始时间"), words.moment(history.opened_at)),
        (words("Closed", "结束时间"), words.moment(history.closed_at)),
        (words("Result", "结果"), words.name(history.state)),
        (words("Basis: topology (SHA-256)", "依据：拓扑（SHA-256）"), code(plan.topology_sha256)),
    ]
    note = people(
        words,
        "the exercise programme, laws and rules that this run is based on, and its purpose.",
        "本次运行所依据的演练计划、法规制度及目的。",
    )
    return join((facts(rows), note))


def organisation(view: View) -> Markup:
    """Who took part, as far as the machine knows."""
    words, dossier = view.words, view.dossier
    answered = [r for r in dossier.records if r.event is Event.ANSWERED]
    host = words(f" on host {dossier.versions.host}", f"（主机 {dossier.versions.host}）") if dossier.versions else ""
    names = words(", ", "、").join(dict.fromkeys(a.name for a in dossier.approvals))
    rows: list[tuple[str, Child]] = [
        (words("Approvers", "批准人"), names or "–"),
        (words("Carried out by", "执行者"), f"drctl{host}"),
        (words("Systems' owners", "系统责任单位"), words(", ", "、").join(_owners(view)) or "–"),
    ]
    heads = (words("Question", "问题"), words("Answered by", "回答人"), words("Answer", "回答"), words("Time", "时间"))
    steps = dossier.plan.step_by_id
    asked = [
        (
            words.of(steps[r.step].text) if r.step in steps else r.step,
            r.value("name"),
            r.value("answer"),
            words.moment(r.at),
        )
        for r in answered
    ]
    return join(
        (
            facts(rows),
            table(heads, asked) if asked else None,
            people(words, "command, execution, observers and reviewers.", "指挥、执行、观察与复核人员分工。"),
        )
    )


def _owners(view: View) -> list[str]:
    known = view.dossier.topology.system_by_id
    owners = (view.words.of(known[s].owner) for s in view.dossier.plan.systems if s in known)
    return list(dict.fromkeys(owners))
