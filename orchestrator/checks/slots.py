"""No slot is lost, and the log kept back for the slowest replica leaves room."""

from __future__ import annotations

from orchestrator.checks.base import (
    BUCKETS,
    Case,
    Check,
    Ruling,
    each_instance,
    names,
    no,
    size_words,
    unread,
    untold,
    yes,
)
from orchestrator.model.observation import Reading
from orchestrator.model.topology import Instance, Nature, Text

SHARE_MAX = 0.5
"""Part of the limit (or of the free disk, where there is no limit) above which a person should look."""

LOST = Text(
    en="that replica cannot catch up from the log any more: make it anew from a base backup (rejoin)",
    zh="该副本已无法靠日志追平：须用基础备份重建（rejoin）",
)
HELD = Text(
    en="find the replica that does not receive and bring it back, or drop its slot if it is gone for good",
    zh="找出未接收的副本并恢复；若已永久下线则删除其复制槽",
)


def rule(case: Case, instance: Instance, reading: Reading) -> Ruling | None:
    """Lost slots first, then the largest retention against its limit; skipped where nobody is fed."""
    if (not_read := unread(reading)) is not None:
        return not_read
    if reading.slots_lost:
        lost = names(reading.slots_lost)
        return no(f"slots lost: {lost}", f"复制槽已失效：{lost}", LOST)
    if reading.wal_retained_bytes is None:
        return untold("how much log it keeps back", "保留的日志量") if _feeds(case, instance, reading) else None
    return _retention(reading, reading.wal_retained_bytes)


def _feeds(case: Case, instance: Instance, reading: Reading) -> bool:
    return bool(reading.downstreams) or any(r.source == instance.centre for r in case.service.replications)


def _retention(reading: Reading, kept: int) -> Ruling:
    limit = reading.wal_limit_bytes
    room = limit if limit is not None else reading.disk_free_bytes
    what = (
        Text(en="limit", zh="上限")
        if limit is not None
        else Text(en="free disk (no limit is set)", zh="空闲磁盘（未设上限）")
    )
    if room is None:
        return yes(f"no slot lost; {size_words(kept)} of log kept back", f"无失效复制槽；保留日志 {size_words(kept)}")
    share = kept / room if room > 0 else 1.0
    told_en = f"{size_words(kept)} of log kept back, {share:.0%} of the {what.en} of {size_words(room)}"
    told_zh = f"保留日志 {size_words(kept)}，占{what.zh} {size_words(room)} 的 {share:.0%}"
    return no(told_en, told_zh, HELD) if share > SHARE_MAX else yes(told_en, told_zh)


CHECK = Check(
    id="slots",
    title=Text(en="no slot lost, log retention has room", zh="复制槽有效，日志保留有余量"),
    short=Text(en="slots", zh="槽位"),
    natures=frozenset({Nature.REPLICATED}),
    judge=each_instance("slots", rule),
    not_of=BUCKETS,
)
