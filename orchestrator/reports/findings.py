"""Findings for the terminal: a matrix of services and checks, then every failure and unknown with what to do.

Rich is imported when something is drawn; `CheckReport` (what `--output json` prints) needs it not.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from orchestrator.checks import CHECKS
from orchestrator.checks.base import Check
from orchestrator.model.observation import Finding, Reach, Snapshot, Verdict
from orchestrator.model.topology import Frozen, Service, System, Text, Topology

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text as Styled

ROWS_MAX = 40
"""Above so many services, the systems that pass in full are counted instead of shown."""

MARK = {Verdict.PASS: "✓", Verdict.FAIL: "✗", Verdict.UNKNOWN: "?"}
STYLE = {Verdict.PASS: "green", Verdict.FAIL: "bold red", Verdict.UNKNOWN: "yellow"}
WORST = (Verdict.FAIL, Verdict.UNKNOWN, Verdict.PASS)


class CheckReport(Frozen, kw_only=True):
    """One look and its judgement, as `drctl check --output json` prints it."""

    estate: str
    taken_at: str
    """UTC, RFC 3339."""
    took_s: float
    """Of the look and the judgement together, in seconds."""
    instances: int
    answered: int
    passed: int
    failed: int
    unknown: int
    findings: tuple[Finding, ...]

    @property
    def verdict(self) -> Verdict:
        """The worst of all findings; unknown where there is none."""
        return worst(f.verdict for f in self.findings)


def report(snapshot: Snapshot, findings: Sequence[Finding], took_s: float) -> CheckReport:
    """Count the findings of a look."""
    count = {v: sum(f.verdict is v for f in findings) for v in Verdict}
    return CheckReport(
        estate=snapshot.estate,
        taken_at=snapshot.taken_at,
        took_s=round(took_s, 4),
        instances=len(snapshot.readings),
        answered=sum(r.reach is Reach.ANSWERED for r in snapshot.readings),
        passed=count[Verdict.PASS],
        failed=count[Verdict.FAIL],
        unknown=count[Verdict.UNKNOWN],
        findings=tuple(findings),
    )


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Fail before unknown before pass; unknown for none at all."""
    seen = set(verdicts)
    return next((v for v in WORST if v in seen), Verdict.UNKNOWN)


def summary(result: CheckReport, lang: str) -> str:
    """One line: how many of each, of how many instances, and how long it took."""
    text = Text(
        en=f"{result.passed} pass, {result.failed} fail, {result.unknown} unknown · "
        f"{result.answered} of {result.instances} instances answered · took {result.took_s:.2f} s",
        zh=f"通过 {result.passed}，失败 {result.failed}，未知 {result.unknown} · "
        f"{result.instances} 个实例中 {result.answered} 个应答 · 用时 {result.took_s:.2f} 秒",
    )
    return text.of(lang)


def console() -> Console:
    """Standard output with colour on a terminal only, and never where NO_COLOR is set (no-color.org)."""
    from rich.console import Console

    plain = Console(highlight=False, soft_wrap=False)
    return plain if plain.is_terminal else Console(highlight=False, width=max(plain.width, 140))


def render(topology: Topology, result: CheckReport, lang: str) -> RenderableType:
    """The whole page: heading, matrix, findings, summary."""
    from rich.console import Group
    from rich.text import Text as Styled

    head = Styled(f"{topology.name.of(lang)} · {result.taken_at}", style="bold")
    parts: list[RenderableType] = [head, "", *matrix(topology, result.findings, lang)]
    if result.failed or result.unknown:
        parts += ["", *_details(result.findings, lang)]
    parts += ["", Styled(summary(result, lang), style=STYLE[result.verdict])]
    return Group(*parts)


class Columns(Frozen, kw_only=True):
    """The matrix' layout: a column for each check that judged something, as wide as its head."""

    checks: tuple[Check, ...]
    label: int
    """Width of the first column, in cells."""
    lang: str

    def line(self, label: Styled, cells: Iterable[Styled]) -> Styled:
        """One row: the label, then each cell in the middle of its column."""
        row = label.copy()
        row.pad_right(max(0, self.label - label.cell_len))
        for check, cell in zip(self.checks, cells, strict=True):
            room = self.width(check) - cell.cell_len
            row.append(" " * (1 + room // 2)).append_text(cell).append(" " * (room - room // 2))
        row.rstrip()
        return row

    def width(self, check: Check) -> int:
        """Width of a check's column, in cells (a Chinese character takes two)."""
        from rich.cells import cell_len

        return cell_len(check.short.of(self.lang))


def matrix(topology: Topology, findings: Sequence[Finding], lang: str) -> list[Styled]:
    """Rows are services, grouped by system; columns are checks; a cell is the worst of its findings."""
    from rich.text import Text as Styled

    cells = _cells(topology, findings)
    shown = _judged(topology, {service for service, _ in cells})
    used = tuple(c for c in CHECKS if any(check == c.id for _, check in cells))
    label = 2 + max((len(v.name) for _, services in shown for v in services), default=0)
    columns = Columns(checks=used, label=label, lang=lang)
    lines = [columns.line(Styled(), [Styled(c.short.of(lang), style="dim") for c in used])]
    large, hidden = sum(len(services) for _, services in shown) > ROWS_MAX, 0
    for system, services in shown:
        verdict = worst(cells[v.id, c.id] for v in services for c in used if (v.id, c.id) in cells)
        if large and verdict is Verdict.PASS:
            hidden += 1
            continue
        lines.append(_system(system, verdict, lang))
        lines += [columns.line(Styled(f"  {v.name}"), [_mark(cells.get((v.id, c.id))) for c in used]) for v in services]
    if hidden:
        told = Text(en=f"… and {hidden} systems that pass every check", zh=f"……另有 {hidden} 个系统全部通过")
        lines.append(Styled(told.of(lang), style=STYLE[Verdict.PASS]))
    return lines


def _judged(topology: Topology, judged: Collection[str]) -> list[tuple[System, list[Service]]]:
    """Every system of which something was judged, with those of its services."""
    systems = [(s, [v for v in s.services if v.id in judged]) for s in topology.systems]
    return [(s, services) for s, services in systems if services]


def _cells(topology: Topology, findings: Sequence[Finding]) -> dict[tuple[str, str], Verdict]:
    """(service, check) → the worst verdict."""
    cells: dict[tuple[str, str], Verdict] = {}
    for finding in findings:
        key = service_of(topology, finding.subject), finding.check
        cells[key] = worst([finding.verdict, cells.get(key, finding.verdict)])
    return cells


def service_of(topology: Topology, subject: str) -> str:
    """The service that a subject is, or belongs to."""
    instance = topology.instance_by_id.get(subject)
    return instance.service if instance else subject


def _system(system: System, verdict: Verdict, lang: str) -> Styled:
    from rich.text import Text as Styled

    name = system.name.of(lang)
    line = Styled(system.id, style="bold" if verdict is Verdict.PASS else STYLE[verdict])
    return line if name == system.id else line.append(f"  {name}", style="dim")


def _mark(verdict: Verdict | None) -> Styled:
    from rich.text import Text as Styled

    return Styled("·", style="dim") if verdict is None else Styled(MARK[verdict], style=STYLE[verdict])


def _details(findings: Sequence[Finding], lang: str) -> Iterator[RenderableType]:
    """Failures in full, then unknowns; what is unknown only since an instance did not answer takes one line."""
    unreachable = {f.subject for f in findings if f.check == "reachable" and f.verdict is not Verdict.PASS}
    for verdict in (Verdict.FAIL, Verdict.UNKNOWN):
        for finding in findings:
            follows = finding.subject in unreachable and finding.check != "reachable"
            if finding.verdict is verdict and not (verdict is Verdict.UNKNOWN and follows):
                yield _finding(finding, lang)
    for subject in dict.fromkeys(f.subject for f in findings if f.subject in unreachable):
        unread = [f.check for f in findings if f.subject == subject and f.verdict is Verdict.UNKNOWN]
        checks = [c for c in unread if c != "reachable"]
        if checks:
            yield _unread(subject, checks, lang)


def _finding(finding: Finding, lang: str) -> Styled:
    from rich.text import Text as Styled

    line = Styled()
    line.append(f"{MARK[finding.verdict]} ", style=STYLE[finding.verdict])
    line.append(finding.subject, style="bold")
    line.append(f"  {finding.check}  ", style="cyan")
    line.append(finding.reason.of(lang))
    if finding.advice.of(lang):
        line.append(f"\n    → {finding.advice.of(lang)}", style="dim")
    return line


def _unread(subject: str, checks: Sequence[str], lang: str) -> Styled:
    from rich.text import Text as Styled

    listed = ", ".join(checks)
    told = Text(en=f"unknown as it does not answer: {listed}", zh=f"因无应答而未知：{listed}")
    line = Styled(f"{MARK[Verdict.UNKNOWN]} ", style=STYLE[Verdict.UNKNOWN])
    line.append(subject, style="bold")
    line.append(f"  {told.of(lang)}", style="default")
    return line


def plain_line(result: CheckReport, lang: str) -> str:
    """One look on one line, for `--watch` without a terminal: time, summary, and what does not pass."""
    bad = [f"{MARK[f.verdict]} {f.subject} {f.check}" for f in result.findings if f.verdict is Verdict.FAIL]
    more = f" · {'; '.join(bad)}" if bad else ""
    return f"{result.taken_at} {summary(result, lang)}{more}"
