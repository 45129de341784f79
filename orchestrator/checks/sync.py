"""A replication declared synchronous is synchronous: the source asks for the acknowledgement, and gets it."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.checks.base import Case, Check, Ruling, names, no, unread, unsure, untold, yes
from orchestrator.model.observation import Finding, Reading
from orchestrator.model.topology import CopyMode, Nature, Replication, Text

DEGRADED = Text(
    en="a failover now may lose acknowledged writes: make the standby required again (`drctl failback` or rejoin it)",
    zh="此时切换可能丢失已确认的写入：请恢复同步确认要求（`drctl failback` 或重新加入备实例）",
)
WAITING = Text(
    en="writes wait for it: bring the standby or the link back, or take it out of the acknowledgement for the while",
    zh="写入正在等待它：恢复备实例或链路，或暂时取消其同步确认",
)


def judge(case: Case) -> Iterator[Finding]:
    """One finding per replication that is declared synchronous, about the instance that should acknowledge."""
    for replication in case.service.replications:
        if replication.mode is CopyMode.SYNC:
            target = case.service.at(_ends(case, replication)[1])
            subject = target.id if target else case.service.id
            yield rule(case, replication).about("sync", subject)


def _ends(case: Case, replication: Replication) -> tuple[str, str]:
    """Source and target as they are now: turned round where the declared target has become the primary."""
    primary = case.primary()
    turned = primary is not None and primary.centre == replication.target
    return (replication.target, replication.source) if turned else (replication.source, replication.target)


def rule(case: Case, replication: Replication) -> Ruling:
    """Required, streaming and sync, as the source tells it."""
    source, target = _ends(case, replication)
    primary = case.primary()
    if primary is not None and primary.centre not in {source, target}:
        return no(
            f"no synchronous copy: the primary is in {primary.centre}, declared is {source} → {target}",
            f"没有同步副本：主实例在 {primary.centre}，而声明为 {source} → {target}",
            DEGRADED,
        )
    reading = case.at(source)
    if reading is None:
        return untold("of a source", "来源")
    if (not_read := unread(reading)) is not None:
        return unsure(f"its source {source} was {not_read.reason.en}", f"其来源 {source} {not_read.reason.zh}")
    return _at_source(reading, source, target)


def _at_source(reading: Reading, source: str, target: str) -> Ruling:
    if reading.sync_required is None:
        return untold("whose acknowledgement it asks for", "需要谁的同步确认")
    if target not in reading.sync_required:
        asked = names(reading.sync_required) or "nobody"
        asked_zh = names(reading.sync_required) or "任何实例"
        return no(
            f"silently degraded: {source} acknowledges without {target} (it asks {asked})",
            f"同步已悄然降级：{source} 不等 {target} 即确认写入（现等待 {asked_zh}）",
            DEGRADED,
        )
    copy = next((d for d in reading.downstreams if d.centre == target), None)
    if copy is None or not copy.streaming:
        return no(
            f"{source} asks {target} to acknowledge and it is not streaming: writes wait",
            f"{source} 要求 {target} 确认，但其未在复制：写入被挂起",
            WAITING,
        )
    if not copy.sync:
        return unsure(
            f"{target} is required and streams, and {source} does not count it as synchronous (catching up?)",
            f"{target} 已被要求且在复制，但 {source} 尚未将其计为同步（可能在追赶）",
        )
    return yes(f"{source} acknowledges only what {target} has flushed", f"{source} 只确认 {target} 已落盘的写入")


CHECK = Check(
    id="sync",
    title=Text(en="sync replication is really sync", zh="同步复制确为同步"),
    short=Text(en="sync", zh="同步"),
    natures=frozenset({Nature.REPLICATED}),
    judge=judge,
)
