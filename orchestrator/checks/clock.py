"""Clocks agree: evidence of several centres is put into one order by them, and leases and certificates rely on them."""

from __future__ import annotations

from orchestrator.checks.base import Case, Check, Ruling, each_instance, no, unread, untold, yes
from orchestrator.model.observation import Reading
from orchestrator.model.topology import Instance, Nature, Text

OFFSET_MAX_S = 0.5

ADVICE = Text(
    en="set the host's clock by NTP from the estate's own source, by slewing and not by a step while a database runs",
    zh="用本域 NTP 校时；数据库运行期间应渐进调整，不要跳变",
)


def rule(case: Case, instance: Instance, reading: Reading) -> Ruling | None:
    """More than half a second either way is a failure; a service without a clock of its own is skipped."""
    if case.service.nature is not Nature.REPLICATED and reading.clock_offset_s is None:
        return None
    if (not_read := unread(reading)) is not None:
        return not_read
    offset = reading.clock_offset_s
    if offset is None:
        return untold("its clock", "时钟")
    told_en, told_zh = f"{offset:+.3f} s against ours", f"与本机相差 {offset:+.3f} 秒"
    return no(told_en, told_zh, ADVICE) if abs(offset) > OFFSET_MAX_S else yes(told_en, told_zh)


CHECK = Check(
    id="clock",
    title=Text(en="clock offset", zh="时钟偏差"),
    short=Text(en="clock", zh="时钟"),
    natures=frozenset({Nature.REPLICATED, Nature.ACTIVE}),
    judge=each_instance("clock", rule),
)
