"""As many protected copies as declared: the writable primary, and what streams from it without a gap (invariant 6)."""

from __future__ import annotations

from orchestrator.checks.base import Case, Check, Ruling, names, no, unsure, whole_service, yes
from orchestrator.checks.one_primary import streams_somewhere
from orchestrator.model.observation import Reach, Verdict
from orchestrator.model.topology import Nature, Text

RESTORE = Text(
    en="protection is degraded: one more loss may cost data; rejoin what is missing (`drctl failback`)",
    zh="保护已降级：再失一处可能丢数据；请恢复缺失副本（`drctl failback`）",
)


def rule(case: Case) -> Ruling:
    """Each instance is a copy, is known not to be one, or could not be told."""
    declared = len(case.service.instances)
    primary = case.primary()
    if primary is None:
        return unsure("no single writable primary to count copies of", "没有唯一的可写主实例，无法计数")
    links = {i.centre: _link(case, i.centre, primary.centre) for i in case.service.instances}
    missing = [c for c, verdict in links.items() if verdict is Verdict.FAIL]
    untold = [c for c, verdict in links.items() if verdict is Verdict.UNKNOWN]
    good = declared - len(missing) - len(untold)
    if missing:
        return no(
            f"{good} of {declared} copies; missing: {names(missing)}",
            f"{declared} 份副本中有效 {good} 份；缺失：{names(missing)}",
            RESTORE,
        )
    if untold:
        return unsure(
            f"{good} of {declared} copies seen; could not tell of {names(untold)}",
            f"{declared} 份副本中确认 {good} 份；无法判断：{names(untold)}",
        )
    return yes(f"{good} of {declared} copies", f"{declared} 份副本全部有效")


def _link(case: Case, centre: str, primary: str, seen: frozenset[str] = frozenset()) -> Verdict:
    """Whether the instance in `centre` streams, through any chain, from the primary."""
    if centre == primary:
        return Verdict.PASS
    reading = case.at(centre)
    if reading is None or centre in seen or reading.reach is Reach.REFUSED:
        return Verdict.FAIL
    if reading.reach is not Reach.ANSWERED:
        return Verdict.PASS if _fed_by(case, centre, primary, seen) else Verdict.UNKNOWN
    if reading.receiving is False or reading.upstream == "":
        return Verdict.FAIL
    if reading.receiving is None or reading.upstream is None:
        return Verdict.UNKNOWN
    return _link(case, reading.upstream, primary, seen | {centre})


def _fed_by(case: Case, centre: str, primary: str, seen: frozenset[str]) -> bool:
    """Whether a source that answers, and is itself linked, reports the unseen instance as streaming."""
    if not streams_somewhere(case, centre):
        return False
    sources = [i.centre for i in case.service.instances if i.centre != centre and i.centre not in seen]
    feeding = [
        s for s in sources if (r := case.at(s)) and any(d.centre == centre and d.streaming for d in r.downstreams)
    ]
    return any(_link(case, s, primary, seen | {centre}) is Verdict.PASS for s in feeding)


CHECK = Check(
    id="copies",
    title=Text(en="protected copies as declared", zh="受保护副本数符合声明"),
    short=Text(en="copies", zh="副本"),
    natures=frozenset({Nature.REPLICATED}),
    judge=whole_service("copies", rule),
)
