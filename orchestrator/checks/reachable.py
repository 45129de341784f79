"""Every instance answers its probe."""

from __future__ import annotations

from orchestrator.checks.base import Case, Check, Ruling, each_instance, met, no, span_words, unsure, yes
from orchestrator.model.observation import Reach, Reading
from orchestrator.model.topology import Instance, Nature, Text

ADVICE = {
    Reach.REFUSED: Text(
        en="its process has ended: look at its log, start it; a former primary comes back by `drctl failback`",
        zh="进程已退出：查看日志后启动；原主实例须通过 `drctl failback` 回归",
    ),
    Reach.DENIED: Text(
        en="it may be fenced or starting: if no run fenced it, look at its access rules and our credentials",
        zh="可能已被隔离或正在启动：若没有任务隔离它，请检查访问规则和探测账号",
    ),
    Reach.SILENT: Text(
        en="ask from a second place before calling it down; `drctl plan` shows what a take-over would need",
        zh="判定停机前请从另一处复核；`drctl plan` 可列出接管所需条件",
    ),
    Reach.UNKNOWN: Text(
        en="give the instance an address in the topology, or bring the lab up with `drctl lab up`",
        zh="请在拓扑中为该实例填写地址，或用 `drctl lab up` 启动实验环境",
    ),
}


def rule(case: Case, instance: Instance, reading: Reading) -> Ruling:
    """Silent, refused and denied are failures of this check; a probe that could not be made is unknown."""
    if reading.reach is Reach.ANSWERED:
        return yes(f"answered in {span_words(reading.took_s)}", f"{span_words(reading.took_s)} 内应答")
    why = met(reading)
    judge = unsure if reading.reach is Reach.UNKNOWN else no
    return judge(why.en, why.zh, ADVICE[reading.reach])


CHECK = Check(
    id="reachable",
    title=Text(en="answers its probe", zh="实例可达"),
    short=Text(en="reach", zh="可达"),
    natures=frozenset(Nature),
    judge=each_instance("reachable", rule),
)
