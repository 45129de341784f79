"""There is room on the disk that holds the data."""

from __future__ import annotations

from orchestrator.checks.base import BUCKETS, Case, Check, Ruling, each_instance, no, size_words, unread, untold, yes
from orchestrator.model.observation import Reading
from orchestrator.model.topology import Instance, Nature, Text

FREE_MIN_BYTES = 1 << 30
FREE_MIN_SHARE = 0.10

FULL = Text(
    en="free space or grow the volume: a full disk stops a primary, and a stopped replica keeps log back at its source",
    zh="清理空间或扩容：磁盘写满会使主实例停机，备实例停止则使来源端日志堆积",
)


def rule(case: Case, instance: Instance, reading: Reading) -> Ruling | None:
    """Below 1 GiB or below a tenth is a failure; a service without data of its own is skipped where it says nothing."""
    tells = reading.disk_free_bytes is not None
    if case.service.nature is not Nature.REPLICATED and not tells:
        return None
    if (not_read := unread(reading)) is not None:
        return not_read
    free, total = reading.disk_free_bytes, reading.disk_total_bytes
    if free is None or not total:
        return untold("its disk room", "磁盘空间")
    share = free / total
    told_en = f"{size_words(free)} free of {size_words(total)} ({share:.0%})"
    told_zh = f"空闲 {size_words(free)}，共 {size_words(total)}（{share:.0%}）"
    low = free < FREE_MIN_BYTES or share < FREE_MIN_SHARE
    return no(told_en, told_zh, FULL) if low else yes(told_en, told_zh)


CHECK = Check(
    id="disk",
    title=Text(en="room on the disk", zh="磁盘空间充足"),
    short=Text(en="disk", zh="磁盘"),
    natures=frozenset({Nature.REPLICATED, Nature.ACTIVE}),
    judge=each_instance("disk", rule),
    not_of=BUCKETS,
)
