"""Findings for the terminal: a matrix of services and checks, then every failure and unknown with what to do.

Rich is imported when something is drawn; `CheckReport` (what `--output json` prints) needs it not.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from orchestrator.checks import CHECKS
from orchestrator.checks.base import Check
from orchestrator.model.observation import Finding, Reach, Snapshot, Verdict
from orchestrator.model.topology import Frozen, Service, System, Text, Topology
from orchestrator.model.view import CentreState, Sight, View

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text as Styled

ROWS_MAX = 40
"""Above so many services an estate is large: its matrix has a row for each system."""
ENTRIES_MAX = 40
"""So many different findings are told in full."""

INDENT = 4
SUBJECTS_MAX = 6
"""So many subjects are named of findings that say the same."""

MARK = {Verdict.PASS: "✓", Verdict.FAIL: "✗", Verdict.UNKNOWN: "?"}
STYLE = {Verdict.PASS: "green", Verdict.FAIL: "bold red", Verdict.UNKNOWN: "yellow"}
WORST = (Verdict.FAIL, Verdict.UNKNOWN, Verdict.PASS)


CENTRE_ZH = {CentreState.REACHABLE: "可达", CentreState.LOST: "失联", CentreState.UNKNOWN: "无法判断"}
Cells = dict[tuple[str, str], Verdict]
"""(service, check) → verdict."""
Shown = list[tuple[System, list[Service]]]


class CentreSight(Frozen, kw_only=True):
    """One centre as all observers see it."""

    centre: str
    state: CentreState
    votes: Mapping[str, Sight]
    """Observer -> what it sees; its own observer has no vote."""
    views: tuple[View, ...] = ()

    def line(self, lang: str) -> str:
        """One line for people."""
        told = ", ".join(f"{name} {sight.value}" for name, sight in self.votes.items())
        words = Text(en=f"centre {self.centre}: {self.state.value}", zh=f"中心 {self.centre}：{CENTRE_ZH[self.state]}")
        return f"  {words.of(lang)} ({told})"


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
    centres: tuple[CentreSight, ...] = ()
    """What the team's observers see of each centre; empty where there are none."""

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


def render(topology: Topology, result: CheckReport, lang: str, *, summary_first: bool = False) -> RenderableType:
    """The whole page: heading, matrix, findings, and the summary last; first where the page may be cut off below."""
    from rich.console import Group
    from rich.text import Text as Styled

    head = Styled(f"{topology.name.of(lang)} · {result.taken_at}", style="bold")
    told = Styled(summary(result, lang), style=STYLE[result.verdict])
    parts: list[RenderableType] = [head, *([told] if summary_first else []), ""]
    parts += matrix(topology, result.findings, lang)
    if result.failed or result.unknown:
        parts += ["", *details(topology, result.findings, lang)]
    if not summary_first:
        parts += ["", told]
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
    """Rows are services, grouped by system; columns are checks; a cell is the worst of its findings.

    A large estate has one row for each system that does not pass, and counts the others.
    """
    from rich.text import Text as Styled

    cells = _cells(topology, findings)
    shown = _judged(topology, {service for service, _ in cells})
    used = tuple(c for c in CHECKS if any(check == c.id for _, check in cells))
    large = sum(len(services) for _, services in shown) > ROWS_MAX
    labels = [len(s.id) for s, _ in shown] if large else [2 + len(v.name) for _, services in shown for v in services]
    columns = Columns(checks=used, label=max(labels, default=0), lang=lang)
    lines = [columns.line(Styled(), [Styled(c.short.of(lang), style="dim") for c in used])]
    body = _large if large else _small
    return lines + body(columns, shown, cells)


def _small(columns: Columns, shown: Shown, cells: Cells) -> list[Styled]:
    from rich.text import Text as Styled

    lines = []
    for system, services in shown:
        verdict = worst(v for c in columns.checks if (v := _of_system(cells, services, c)))
        lines.append(_system(system, verdict, columns.lang))
        for service in services:
            marks = [_mark(cells.get((service.id, c.id))) for c in columns.checks]
            lines.append(columns.line(Styled(f"  {service.name}"), marks))
    return lines


def _large(columns: Columns, shown: Shown, cells: Cells) -> list[Styled]:
    from rich.text import Text as Styled

    lines, hidden = [], 0
    for system, services in shown:
        verdicts = [_of_system(cells, services, c) for c in columns.checks]
        if worst(v for v in verdicts if v) is Verdict.PASS:
            hidden += 1
            continue
        lines.append(columns.line(Styled(system.id), [_mark(v) for v in verdicts]))
    told = Text(en=f"… and {hidden} systems that pass every check", zh=f"……另有 {hidden} 个系统全部通过")
    return [*lines, Styled(told.of(columns.lang), style=STYLE[Verdict.PASS])] if hidden else lines


def _of_system(cells: Cells, services: Sequence[Service], check: Check) -> Verdict | None:
    """The worst of a check over a system's services; None where it judged none of them."""
    seen = [cells[v.id, check.id] for v in services if (v.id, check.id) in cells]
    return worst(seen) if seen else None


def _judged(topology: Topology, judged: Collection[str]) -> Shown:
    """Every system of which something was judged, with those of its services."""
    systems = [(s, [v for v in s.services if v.id in judged]) for s in topology.systems]
    return [(s, services) for s, services in systems if services]


def _cells(topology: Topology, findings: Sequence[Finding]) -> Cells:
    """The worst verdict of each service and check."""
    cells: Cells = {}
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


def details(topology: Topology, findings: Sequence[Finding], lang: str) -> Iterator[RenderableType]:
    """Dark centres first, then failures, then unknowns; findings that say the same of several subjects are told once.

    What is unknown only since an instance does not answer is folded into one entry.
    """
    yield from _dark_centres(topology, findings, lang)
    unreachable = {f.subject for f in findings if f.check == "reachable" and f.verdict is not Verdict.PASS}
    follows = [f for f in findings if f.verdict is Verdict.UNKNOWN and f.subject in unreachable]
    told = [f for f in findings if f.verdict is not Verdict.PASS and (f.check == "reachable" or f not in follows)]
    entries = [a for v in (Verdict.FAIL, Verdict.UNKNOWN) for a in _alike([f for f in told if f.verdict is v])]
    for alike in entries[:ENTRIES_MAX]:
        yield from _entry(alike[0], [f.subject for f in alike], lang)
    if len(entries) > ENTRIES_MAX:
        more = len(entries) - ENTRIES_MAX
        yield Text(en=f"… and {more} more: --output json has all", zh=f"……另有 {more} 项：见 --output json").of(lang)
    yield from _unread([f for f in follows if f.check != "reachable"], lang)


def _alike(findings: Sequence[Finding]) -> list[list[Finding]]:
    """Findings of one check with the same words, together, in the order of the first of each."""
    groups: dict[tuple[str, Text, Text], list[Finding]] = {}
    for finding in findings:
        groups.setdefault((finding.check, finding.reason, finding.advice), []).append(finding)
    return list(groups.values())


def _dark_centres(topology: Topology, findings: Sequence[Finding], lang: str) -> Iterator[RenderableType]:
    """A centre of which nothing answers is what a person must see first."""
    from rich.text import Text as Styled

    seen: dict[str, list[Verdict]] = {}
    for finding in findings:
        instance = topology.instance_by_id.get(finding.subject)
        if instance and finding.check == "reachable":
            seen.setdefault(instance.centre, []).append(finding.verdict)
    for centre, verdicts in seen.items():
        if centre in topology.centre_by_id and set(verdicts) == {Verdict.FAIL} and len(verdicts) > 1:
            name = topology.centre_by_id[centre].name.of(lang)
            told = Text(
                en=f"centre {centre} ({name}): none of its {len(verdicts)} instances answers",
                zh=f"{centre} 中心（{name}）：{len(verdicts)} 个实例全部无应答",
            )
            yield Styled(f"{MARK[Verdict.FAIL]} {told.of(lang)}", style=STYLE[Verdict.FAIL])


def _entry(finding: Finding, subjects: Sequence[str], lang: str) -> Iterator[RenderableType]:
    """Whom it is about, the reason, and what to do."""
    from rich.padding import Padding
    from rich.text import Text as Styled

    head = Styled(f"{MARK[finding.verdict]} ", style=STYLE[finding.verdict])
    head.append(finding.check, style="cyan").append("  ").append(_several(subjects, lang), style="bold default")
    yield head
    yield Padding(Styled(finding.reason.of(lang)), (0, 0, 0, INDENT), expand=False)
    if finding.advice.of(lang):
        yield Padding(Styled(f"→ {finding.advice.of(lang)}", style="dim"), (0, 0, 0, INDENT), expand=False)


def _several(subjects: Sequence[str], lang: str) -> str:
    """The first few by name (`--output json` has them all)."""
    more = len(subjects) - SUBJECTS_MAX
    told = Text(en=f" and {more} more", zh=f" 等 {len(subjects)} 个")
    return ", ".join(subjects[:SUBJECTS_MAX]) + (told.of(lang) if more > 0 else "")


def _unread(findings: Sequence[Finding], lang: str) -> Iterator[RenderableType]:
    """Instances that do not answer, and what is therefore not known of them."""
    from rich.padding import Padding
    from rich.text import Text as Styled

    if not findings:
        return
    subjects, checks = dict.fromkeys(f.subject for f in findings), dict.fromkeys(f.check for f in findings)
    head = Styled(f"{MARK[Verdict.UNKNOWN]} ", style=STYLE[Verdict.UNKNOWN]).append(_several([*subjects], lang), "bold")
    told = Text(en="no answer, and so not known: ", zh="无应答，因此未知：")
    yield head
    yield Padding(Styled(told.of(lang) + ", ".join(checks)), (0, 0, 0, INDENT), expand=False)


def plain_line(result: CheckReport, lang: str) -> str:
    """One look on one line, for `--watch` without a terminal: time, summary, and what does not pass."""
    bad = [f"{MARK[f.verdict]} {f.subject} {f.check}" for f in result.findings if f.verdict is Verdict.FAIL]
    more = f" · {'; '.join(bad)}" if bad else ""
    return f"{result.taken_at} {summary(result, lang)}{more}"
