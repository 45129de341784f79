"""Dead-site lint: what a recovery rests on that stands in the centre which is dark (invariant 8 of the design). Pure.

Judged from the topology and a plan alone, so that it is known long before the day: nothing is contacted. Four checks:
`platform` (drctl's own parts), `steps` (acts and proofs that need the dark centre while users wait), `entries` (the
users' way in), `names` (addresses that a name server must resolve). What the topology does not say is unknown, never a
pass.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from orchestrator.checks.base import Ruling, names, no, unsure, yes
from orchestrator.execution.history import History
from orchestrator.model.observation import Finding
from orchestrator.model.plan import Fact, Plan, Step, Verb
from orchestrator.model.topology import Nature, Part, PlatformPart, Quorum, Text, Topology

SILENCE_PASSES = frozenset({Fact.NOT_SERVING, Fact.CANNOT_ACK, Fact.HOLDS_ALL})
"""Facts of a dark instance that can be proven without its answer (see checks.promotion)."""
AT_CONTROLLER = frozenset({Verb.CONFIRM, Verb.ASK, Verb.INJECT, Verb.HEAL})
SURVIVE = Text(en="let it stand in a second centre as well", zh="在另一中心也部署一份")


def lint(topology: Topology, dark: frozenset[str], plan: Plan | None) -> tuple[Finding, ...]:
    """Every finding, the platform's first.

    Args:
        topology: the estate.
        dark: centres that are dark.
        plan: what would be done in that case; None: only what needs no plan is judged.
    """
    found = [*_platform(topology, dark), *_names(topology, dark)]
    if plan is not None:
        found += [*_steps(topology, dark, plan), *_entries(topology, dark, plan)]
    return tuple(found)


def _platform(topology: Topology, dark: frozenset[str]) -> Iterator[Finding]:
    stands = {p.part: p for p in topology.platform}
    for part in Part:
        if part is not Part.NAMES:
            yield _part(stands.get(part), dark).about("platform", part.value)


def _part(part: PlatformPart | None, dark: frozenset[str]) -> Ruling:
    if part is None:
        advice = Text(en="say so in the topology, under `platform`", zh="在拓扑文件的 platform 中声明")
        return unsure("the topology does not say where it stands", "拓扑未声明其所在位置", advice)
    left = [c for c in part.centres if c not in dark]
    needed = {Quorum.ANY: 1, Quorum.MAJORITY: len(part.centres) // 2 + 1, Quorum.ALL: len(part.centres)}[part.quorum]
    where, total = names(left) or "nowhere", len(part.centres)
    if len(left) >= needed:
        return yes(f"{len(left)} of {total} places live ({where})", f"{total} 处中 {len(left)} 处存活（{where}）")
    return no(
        f"{len(left)} of {total} places live ({where}), and {needed} must",
        f"{total} 处中 {len(left)} 处存活（{where}），至少需要 {needed} 处",
        SURVIVE,
    )


def _names(topology: Topology, dark: frozenset[str]) -> Iterator[Finding]:
    """Name servers are needed only where the address of a surviving instance is a name."""
    alive = [i for i in topology.instances() if i.centre not in dark and i.address]
    named = [i for i in alive if not _is_number(i.address)]
    if not named:
        yield yes("no address needs a name server", "没有地址依赖域名解析").about("names", topology.id)
        return
    servers = next((p for p in topology.platform if p.part is Part.NAMES), None)
    ruling = _part(servers, dark)
    text = Text(
        en=f"{len(named)} addresses are names, such as {named[0].address}; name servers: {ruling.reason.en}",
        zh=f"{len(named)} 个地址为域名，例如 {named[0].address}；域名服务器：{ruling.reason.zh}",
    )
    yield Ruling(verdict=ruling.verdict, reason=text, advice=ruling.advice).about("names", topology.id)


def _is_number(address: str) -> bool:
    host = address.partition("/")[0].rpartition(":")[0].strip("[]") or address
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _steps(topology: Topology, dark: frozenset[str], plan: Plan) -> Iterator[Finding]:
    """Steps that users wait for; what only protects may wait for the centre to come back."""
    history = History(plan)
    awaited = [s for s in plan.steps if not history.tolerated(s) and s.verb not in {Verb.INJECT, Verb.HEAL}]
    wrong = [(s, tuple(_needs(topology, dark, s, frozenset(plan.attested)))) for s in awaited]
    wrong = [(s, reasons) for s, reasons in wrong if reasons]
    for step, reasons in wrong:
        advice = Text(
            en="act from outside that centre, or attest that it is off (--attest-off); nobody is served before",
            zh="改由中心外执行，或由两人确认其已停机（--attest-off）；在此之前无法恢复服务",
        )
        en, zh = "; ".join(r.en for r in reasons), "；".join(r.zh for r in reasons)
        yield no(en, zh, advice).about("steps", step.id)
    if not wrong:
        count, gone = len(awaited), names(sorted(dark))
        word = _on_word(plan, awaited)
        yield yes(
            f"none of {count} steps that users wait for needs {gone}{word.en}",
            f"用户所等待的 {count} 个步骤均不依赖 {gone}{word.zh}",
        ).about("steps", plan.scenario)


def _on_word(plan: Plan, awaited: list[Step]) -> Text:
    """What a promotion rests on where nobody can see a fence hold."""
    off = names(list(plan.attested))
    if not off or not any(c.fact is Fact.FENCED for s in awaited for c in s.gates):
        return Text(en="", zh="")
    return Text(
        en=f", on two people's word that {off} is off (--attest-off)",
        zh=f"，前提是两人确认 {off} 已停机（--attest-off）",
    )


def _needs(topology: Topology, dark: frozenset[str], step: Step, attested: frozenset[str]) -> Iterator[Text]:
    def stands(instance: str, where: frozenset[str] = dark) -> bool:
        found = topology.instance_by_id.get(instance)
        return found is not None and found.centre in where

    released = step.verb is Verb.DEMOTE and bool(step.towards)  # acts at the source that waits, not at the standby
    if step.verb not in AT_CONTROLLER and not released and stands(step.instance):
        yield Text(en=f"{step.verb.value} acts at {step.instance}", zh=f"{step.verb.value} 作用于 {step.instance}")
    for towards in filter(stands, step.towards):
        yield Text(en=f"{step.verb.value} goes towards {towards}", zh=f"{step.verb.value} 指向 {towards}")
    for condition in (*step.gates, *step.verify):
        spoken_for = condition.fact is Fact.FENCED and stands(condition.instance, attested)
        if stands(condition.instance) and condition.fact not in SILENCE_PASSES and not spoken_for:
            word = f"{condition.fact.value} of {condition.instance}"
            yield Text(en=f"{word} needs an answer from there", zh=f"{word} 需要该处应答")


def _entries(topology: Topology, dark: frozenset[str], plan: Plan) -> Iterator[Finding]:
    """Users of every system in the plan must have a way in."""
    ways = [v for s in plan.systems for v in topology.system_by_id[s].services if v.nature is Nature.ROUTE]
    shut = [v for v in ways if all(i.centre in dark for i in v.instances)]
    for way in shut:
        yield no("its users' only way in stands there", "其用户的唯一入口位于该处", SURVIVE).about("entries", way.id)
    if not ways:
        yield unsure("no system in the plan declares an entry", "计划中的系统均未声明入口").about(
            "entries", plan.scenario
        )
    elif not shut:
        text = f"each of {len(ways)} ways in stands elsewhere", f"{len(ways)} 个入口均位于别处"
        yield yes(*text).about("entries", plan.scenario)
