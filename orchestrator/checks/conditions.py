"""Judges the conditions of a plan's steps: its gates before an effect, its verification after it.

Pure. Only `pass` opens: `fail` and `unknown` both keep a gate shut, and nothing judged keeps it shut too.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

from orchestrator.checks import facts, promotion
from orchestrator.checks.base import Ruling, unsure
from orchestrator.checks.evidence import BEFORE_AGE_MAX_S, Evidence, remember
from orchestrator.model.observation import Finding, Verdict
from orchestrator.model.plan import Condition, Fact

__all__ = ["BEFORE_AGE_MAX_S", "JUDGES", "Evidence", "judge", "judge_all_conditions", "opens", "remember"]

JUDGES: Mapping[Fact, Callable[[Condition, Evidence], Ruling]] = {
    Fact.NOT_SERVING: facts.not_serving,
    Fact.ANSWERS: facts.answers,
    Fact.WRITABLE_PRIMARY: facts.writable_primary,
    Fact.NOT_WRITABLE: facts.not_writable,
    Fact.STANDBY_OF: facts.standby_of,
    Fact.SYNC_STANDBY_OF: facts.sync_standby_of,
    Fact.DETACHED: facts.detached,
    Fact.CANNOT_ACK: promotion.cannot_ack,
    Fact.HOLDS_ALL: promotion.holds_all,
    Fact.FENCED: facts.fenced,
    Fact.NO_SYNC_WAIT: facts.no_sync_wait,
    Fact.CALLS: facts.calls,
    Fact.ROUTED_TO: facts.routed_to,
    Fact.SERVES_USERS: facts.serves_users,
}


def judge(condition: Condition, evidence: Evidence) -> Finding:
    """The finding of one condition; its `check` is the fact's name. Never raises for what the evidence lacks."""
    stray = [i for i in (condition.instance, *condition.others) if i not in evidence.topology.instance_by_id]
    if stray:
        ruling = unsure(f"the topology holds no {', '.join(stray)}", f"拓扑中没有 {', '.join(stray)}")
    else:
        ruling = JUDGES[condition.fact](condition, evidence)
    return ruling.about(condition.fact.value, condition.instance)


def judge_all_conditions(conditions: Iterable[Condition], evidence: Evidence) -> tuple[Finding, ...]:
    """One finding per condition, in order."""
    return tuple(judge(c, evidence) for c in conditions)


def opens(findings: Collection[Finding]) -> bool:
    """Whether a gate opens: there is at least one finding, and every one is `pass`.

    Empty is False on purpose (nothing judged proves nothing). A step that declares no gates has no gate to open: its
    caller must not ask.
    """
    return bool(findings) and all(f.verdict is Verdict.PASS for f in findings)
