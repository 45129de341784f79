"""Exactly one instance of a replicated service takes writes (invariant 1)."""

from __future__ import annotations

from orchestrator.checks.base import Case, Check, Ruling, no, unsure, whole_service, yes
from orchestrator.model.observation import Reach, Reading
from orchestrator.model.topology import Instance, Nature, Role, Text

FENCE = Text(
    en="split brain: fence the one with the lower epoch now, then bring it back by `drctl failback`",
    zh="双主：立即停止纪元较低一方的写入（隔离），再用 `drctl failback` 使其回归",
)
TAKE_OVER = Text(
    en="users cannot write: see `drctl plan` for a failover; `drctl runs list` shows a demotion left behind",
    zh="用户无法写入：用 `drctl plan` 查看切换方案，或撤销遗留的降级操作（`drctl runs list`）",
)
ASK_AGAIN = Text(
    en="an instance that is not seen may still take writes: reach it, or fence it",
    zh="未读到的实例仍可能接受写入：请恢复其可达，或将其隔离",
)


def rule(case: Case) -> Ruling:
    """Two are a failure; one is a pass where no unseen instance could be a second."""
    writable = [_named(i, case.reading(i)) for i in case.writable()]
    unseen = [i.centre for i in case.service.instances if not _certain(case, i)]
    if len(writable) > 1:
        both = " and ".join(writable), "、".join(writable)
        return no(f"{len(writable)} take writes: {both[0]}", f"{len(writable)} 个实例接受写入：{both[1]}", FENCE)
    if unseen:
        here = writable[0] if writable else ""
        seen = Text(en=f"{here} takes writes", zh=f"{here} 接受写入") if here else _nobody(case)
        hidden = ", ".join(unseen)
        return unsure(
            f"{seen.en}; whether {hidden} does could not be told",
            f"{seen.zh}；无法判断 {hidden} 是否接受写入",
            ASK_AGAIN,
        )
    if not writable:
        nobody = _nobody(case)
        return no(nobody.en, nobody.zh, TAKE_OVER)
    return yes(f"{writable[0]} alone takes writes", f"只有 {writable[0]} 接受写入")


def _named(instance: Instance, reading: Reading) -> str:
    return instance.centre if reading.epoch is None else f"{instance.centre} (epoch {reading.epoch})"


def _nobody(case: Case) -> Text:
    read_only = [i.centre for i in case.service.instances if case.reading(i).role is Role.PRIMARY]
    if read_only:
        where = ", ".join(read_only)
        return Text(
            en=f"nobody takes writes; {where} is primary and read-only", zh=f"无实例接受写入；{where} 为主但只读"
        )
    return Text(en="nobody takes writes", zh="无实例接受写入")


def _certain(case: Case, instance: Instance) -> bool:
    """Whether it is known if this instance takes writes: it said so, nobody listens there, or it is seen streaming."""
    reading = case.reading(instance)
    if reading.reach is Reach.REFUSED:
        return True
    if reading.reach is Reach.ANSWERED:
        return reading.writable is not None
    return streams_somewhere(case, instance.centre)


def streams_somewhere(case: Case, centre: str) -> bool:
    """Whether an instance that answers reports the one in `centre` as its streaming standby (which takes no writes)."""
    sources = (case.reading(i) for i in case.service.instances if i.centre != centre)
    return any(d.centre == centre and d.streaming for r in sources if r.reach is Reach.ANSWERED for d in r.downstreams)


CHECK = Check(
    id="one_primary",
    title=Text(en="exactly one writable primary", zh="有且只有一个可写主实例"),
    short=Text(en="prim", zh="单主"),
    natures=frozenset({Nature.REPLICATED}),
    judge=whole_service("one_primary", rule),
)
