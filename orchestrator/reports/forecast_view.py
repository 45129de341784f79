"""A forecast for the terminal: when users are served again, what decides it, and what breaks an objective.

Rich is imported when something is drawn.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from orchestrator.reports.words import Words
from orchestrator.simulation.forecast import Forecast, Spread

if TYPE_CHECKING:
    from rich.console import RenderableType

SYSTEMS_MAX = 20
"""Systems that meet their target beyond so many are counted, not listed."""


def render(found: Forecast, say: Words) -> RenderableType:
    """The whole page."""
    from rich.console import Group
    from rich.text import Text as Styled

    lines = [
        say(
            f"{found.scenario}: {found.runs} imagined runs (seed {found.seed}); "
            f"{found.measured:.0%} of the steps rest on measured timings, the others on defaults",
            f"{found.scenario}：模拟 {found.runs} 次（种子 {found.seed}）；"
            f"{found.measured:.0%} 的步骤依据实测用时，其余为默认值",
        ),
        "",
        say(f"Users served again: {_spread(found.rto, say)}", f"恢复对用户服务：{_spread(found.rto, say)}"),
        say(f"Protection restored: {_spread(found.total, say)}", f"恢复保护：{_spread(found.total, say)}"),
    ]
    parts: list[RenderableType] = [Styled("\n".join(lines)), "", _systems(found, say), ""]
    parts += [Styled(line) for line in (*_path(found, say), *_breaks(found, say))]
    return Group(*parts)


def _systems(found: Forecast, say: Words) -> RenderableType:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for title in (say("system", "系统"), say("target", "目标"), "p50", "p95", "p99", say("missed", "超标"), ""):
        table.add_column(title, justify="left" if title in {say("system", "系统"), ""} else "right")
    shown = [s for n, s in enumerate(found.systems) if s.missed or n < SYSTEMS_MAX]
    for s in shown:
        times = (_time(t, say) for t in (s.rto.p50_s, s.rto.p95_s, s.rto.p99_s))
        table.add_row(s.system, _time(s.target_s, say), *times, f"{s.missed:.1%}", s.breaks)
    if len(found.systems) > len(shown):
        more = len(found.systems) - len(shown)
        table.add_row(say(f"… and {more} more, all within their targets", f"……另有 {more} 个系统，均达标"))
    return table


def _path(found: Forecast, say: Words) -> list[str]:
    lines = [say("Critical path (of the run in the middle):", "关键路径（中位的一次）：")]
    lines += [f"  {s.middle_s:8.2f} s  {s.share:4.0%}  {s.step}" for s in found.critical_path]
    if found.riskiest:
        lines.append(
            say(
                f"Riskiest step: {found.riskiest}, in the slowest 5 % of the runs {found.riskiest_adds_s:.2f} s longer",
                f"风险最大的步骤：{found.riskiest}，在最慢的 5% 中多用 {found.riskiest_adds_s:.2f} 秒",
            )
        )
    return lines


def _breaks(found: Forecast, say: Words) -> list[str]:
    lines = []
    late = [s for s in found.systems if s.missed > 0]
    if late:
        lines.append(say(f"Objectives that break: {len(late)}", f"未达目标的系统：{len(late)}"))
        lines += [f"  {s.system}: {s.missed:.0%}, {s.breaks}" for s in late[:SYSTEMS_MAX]]
    else:
        lines.append(say("Every system meets its RTO target in every run", "所有系统在每次模拟中均达到 RTO 目标"))
    if found.blocked:
        some = ", ".join(found.blocked[:5]) + (" …" if len(found.blocked) > 5 else "")
        lines.append(say(f"Cannot be done ({len(found.blocked)}): {some}", f"无法执行（{len(found.blocked)}）：{some}"))
    lines += [say(f"May lose more than its budget: {loss}", f"数据损失可能超出目标：{loss}") for loss in found.loses]
    return lines


def _spread(spread: Spread, say: Words) -> str:
    return f"p50 {_time(spread.p50_s, say)}, p95 {_time(spread.p95_s, say)}, p99 {_time(spread.p99_s, say)}"


def _time(seconds: float, say: Words) -> str:
    if math.isinf(seconds):
        return say("never", "无法恢复")
    return f"{seconds:.2f} s" if seconds < 120 else f"{seconds / 60:.1f} min"
