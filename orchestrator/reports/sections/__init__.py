"""The sections of a report, and their order in each language.

English follows the usual order of a recovery exercise report; Chinese the order of a drill summary by the annex of
GB/T 38645-2020. Register a section here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from orchestrator.reports.markup import Markup, el, join
from orchestrator.reports.sections import closing, consent, course, grounds, integrity, results, scope
from orchestrator.reports.sections.base import View


class Section(NamedTuple):
    """One numbered part of a report."""

    anchor: str
    title: str
    make: Callable[[View], Markup]


def _scope_and_overview(view: View) -> Markup:
    return join((consent.overview(view), scope.scope(view)))


def _integrity_and_business(view: View) -> Markup:
    heading = el("h3", view.words("Business verification", "业务验证"))
    return join((integrity.data(view), heading, integrity.business(view)))


def _findings_and_scores(view: View) -> Markup:
    return join((course.actions(view), el("h3", view.words("Assessment", "评估打分")), closing.scores(view)))


ENGLISH: Sequence[Section] = (
    Section("approval", "Approval", consent.approval),
    Section("scope", "Scope and scenario", _scope_and_overview),
    Section("objectives", "Objectives and their basis", scope.objectives),
    Section("roles", "Roles", consent.organisation),
    Section("prechecks", "Pre-checks, risks and rollback", grounds.prechecks),
    Section("timeline", "Timeline", course.record),
    Section("results", "RTO and RPO achieved", results.results),
    Section("integrity", "Data integrity", _integrity_and_business),
    Section("failback", "Protection and failback", integrity.protection),
    Section("deviations", "Deviations", course.deviations),
    Section("findings", "Findings and corrective actions", _findings_and_scores),
    Section("controls", "Control and evidence matrix", closing.controls),
    Section("limitations", "Limitations", closing.limits),
    Section("conclusion", "Conclusion", closing.conclusion),
    Section("evidence", "Evidence index and how to verify", closing.exhibits),
)
CHINESE: Sequence[Section] = (
    Section("approval", "审批", consent.approval),
    Section("revisions", "修订记录", consent.revisions),
    Section("overview", "概述：依据、目的与类型", consent.overview),
    Section("roles", "组织与人员", consent.organisation),
    Section("scope", "范围与拓扑", scope.scope),
    Section("objectives", "目标及来源", scope.objectives),
    Section("prechecks", "前置检查、风险与回退方案", grounds.prechecks),
    Section("timeline", "过程记录", course.record),
    Section("results", "指标达成", results.results),
    Section("integrity", "数据一致性验证", integrity.data),
    Section("business", "业务验证", integrity.business),
    Section("failback", "恢复保护与回切", integrity.protection),
    Section("deviations", "偏差与意外", course.deviations),
    Section("scores", "评估打分", closing.scores),
    Section("findings", "问题整改台账", course.actions),
    Section("controls", "标准条款与证据对照", closing.controls),
    Section("limitations", "局限", closing.limits),
    Section("conclusion", "结论", closing.conclusion),
    Section("evidence", "附录：证据清单、哈希与验签方法", closing.exhibits),
)


def sections(view: View) -> Sequence[Section]:
    """The sections in the order of the view's language."""
    return CHINESE if view.words.chinese else ENGLISH
