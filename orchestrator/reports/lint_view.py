"""Findings of the dead-site lint for the terminal: one line each, what is wrong first in each check."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from orchestrator.model.observation import Finding, Verdict
from orchestrator.model.topology import Text
from orchestrator.reports.findings import MARK, STYLE

if TYPE_CHECKING:
    from rich.console import RenderableType

ROWS_MAX = 12
"""So many findings of one check are told in full."""
CHECKS = {
    "platform": Text(en="drctl's own parts", zh="drctl 自身依赖"),
    "names": Text(en="names", zh="域名解析"),
    "steps": Text(en="steps", zh="步骤"),
    "entries": Text(en="ways in", zh="用户入口"),
}


def render(found: Sequence[Finding], lang: str) -> RenderableType:
    """A table, and how many of each verdict."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text as Styled

    table = Table(box=None, pad_edge=False, show_header=False)
    for _ in range(3):
        table.add_column(overflow="fold")
    for check, title in CHECKS.items():
        of_check = [f for f in found if f.check == check]
        for number, finding in enumerate(of_check[:ROWS_MAX]):
            mark = Styled(f"{MARK[finding.verdict]} {finding.subject}", style=STYLE[finding.verdict])
            table.add_row(title.of(lang) if not number else "", mark, _words(finding, lang))
        if len(of_check) > ROWS_MAX:
            more = Text(en=f"and {len(of_check) - ROWS_MAX} more", zh=f"另有 {len(of_check) - ROWS_MAX} 项")
            table.add_row("", "…", f"{more.of(lang)} (--output json)")
    count = {v: sum(f.verdict is v for f in found) for v in Verdict}
    total = Text(
        en=f"{count[Verdict.PASS]} pass, {count[Verdict.FAIL]} fail, {count[Verdict.UNKNOWN]} unknown",
        zh=f"通过 {count[Verdict.PASS]}，失败 {count[Verdict.FAIL]}，未知 {count[Verdict.UNKNOWN]}",
    )
    return Group(table, "", total.of(lang))


def _words(finding: Finding, lang: str) -> str:
    advice = finding.advice.of(lang)
    return finding.reason.of(lang) + (f" → {advice}" if advice and finding.verdict is not Verdict.PASS else "")
