"""What a run came to, on one terminal screen: at most 80 columns and 23 lines, so that the prompt fits below."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

from orchestrator.evidence.bundle import bundles
from orchestrator.model.plan import Phase
from orchestrator.model.run import Measurement, RunState
from orchestrator.reports.charts import phase_seconds, segments
from orchestrator.reports.dossier import read_dossier
from orchestrator.reports.judgement import Light, rto
from orchestrator.reports.publish import report_file
from orchestrator.reports.sections.base import View
from orchestrator.reports.sections.course import deviation_texts
from orchestrator.reports.words import Outcome, Words

COLUMNS, LINES = 80, 23
SYSTEMS_MAX = 6
DEVIATIONS_MAX = 3
BAR = 60
LETTERS = {
    Phase.DETECT: "·",
    Phase.DECIDE: "?",
    Phase.FENCE: "#",
    Phase.PROMOTE: "█",
    Phase.REDIRECT: "=",
    Phase.VERIFY: "+",
}
COLOURS = {Light.GOOD: "1;32", Light.BAD: "1;31", Light.WARN: "1;33"}
_ESCAPE = re.compile(r"\x1b\[[0-9;]*m")


def render(run_dir: Path, lang: str) -> str:
    """The result of a run for a terminal.

    Args:
        run_dir: the run's folder.
        lang: "zh" or "en".

    Raises:
        BadFile: it is no run's folder, or a file of it cannot be read.
        Tampered: the journal's chain is broken.
    """
    view = View(read_dossier(run_dir), Words(lang))
    lines = [*_head(view), *_systems(view), *_users(view), *_time(view), *_steps(view), *_where(view, run_dir)]
    return "\n".join(_fit(line, COLUMNS) for line in lines[:LINES])


def width(text: str) -> int:
    """Columns that a text takes in a terminal."""
    plain = _ESCAPE.sub("", text)
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in plain)


def _fit(text: str, columns: int) -> str:
    """A line of at most so many columns; control characters of a name do nothing here."""
    safe = "".join(c for c in text if c.isprintable() or c == "\x1b")
    if width(safe) <= columns:
        return safe
    plain = _ESCAPE.sub("", safe)
    while plain and width(plain) > columns - 1:
        plain = plain[:-1]
    return f"{plain}…"


def _pad(text: str, columns: int, *, right: bool = False) -> str:
    fitted = _fit(text, columns)
    space = " " * (columns - width(fitted))
    return space + fitted if right else fitted + space


def _paint(light: Light, text: str) -> str:
    return text if os.environ.get("NO_COLOR") else f"\x1b[{COLOURS[light]}m{text}\x1b[0m"


def _head(view: View) -> Iterable[str]:
    words, judgement, plan = view.words, view.judgement, view.dossier.plan
    what = words("Drill", "演练") if view.dossier.is_drill else words.name(plan.kind)
    yield f"{what}{words(': ', '：')}{view.scenario}"
    fault = f" · {plan.fault}" if plan.fault else ""
    yield f"{view.dossier.run} · {words.name(plan.mode)}{fault}"
    met, of = judgement.objectives_met, judgement.objectives
    ended = judgement.state in {RunState.DONE, RunState.DEGRADED}
    big = words("objectives met", "目标达成") if met == of else words("OBJECTIVES MISSED", "目标未达成")
    said = f"{big} ({met}/{of}) · " if of and ended else ""
    yield ""
    yield _paint(judgement.light, f"  {said}{words.name(judgement.state)}")
    yield ""


def _systems(view: View) -> Iterable[str]:
    words, measured = view.words, view.dossier.measurements
    systems = measured.systems if measured else ()
    if not systems:
        yield words("  Nothing was measured: no canary used the entries.", "  未测量：没有拨测使用入口。")
        return
    heads = ("", "RTO", words("target", "目标"), "", "RPO", words("target", "目标"), "", words("lost", "丢失"))
    yield _row(heads)
    order = sorted(systems, key=lambda m: m.rto_met is not False and m.rpo_met is not False)
    for system in order[:SYSTEMS_MAX]:
        yield _system(view, system)
    if len(order) > SYSTEMS_MAX:
        rest = len(order) - SYSTEMS_MAX
        yield words(f"  and {rest} more in the report", f"  其余 {rest} 个见报告")
    yield ""


def _row(cells: Sequence[str]) -> str:
    """Name, RTO, target, verdict, RPO, target, verdict, lost: 80 columns with the indent."""
    columns = (20, 12, 8, 7, 10, 8, 7, 4)
    flush_right = (False, True, True, False, True, True, False, True)
    parts = [_pad(c, w, right=r) for c, w, r in zip(cells, columns, flush_right, strict=True)]
    return f"  {''.join(parts[:3])} {''.join(parts[3:6])} {''.join(parts[6:])}".rstrip()


def _system(view: View, system: Measurement) -> str:
    words = view.words
    return _row(
        (
            view.system(system.system),
            words.seconds(rto(system)),
            f"≤{words.target(system.rto_target_s)}",
            _met(system.rto_met, words),
            words.seconds(system.rpo_s),
            f"≤{words.target(system.rpo_target_s)}",
            _met(system.rpo_met, words),
            str(system.lost_writes) if system.lost_writes is not None else "–",
        )
    )


def _met(met: bool | None, words: Words) -> str:
    light = Light.WARN if met is None else Light.GOOD if met else Light.BAD
    return _paint(light, "–" if met is None else words.met(met))


def _users(view: View) -> Iterable[str]:
    words, judgement = view.words, view.judgement
    worst = judgement.worst_outage
    if worst is None:
        return
    outage = words.seconds(worst.outage_ms / 1000)
    yield _named(words("Longest outage", "最长中断"), f"{outage} · {worst.entry}")
    lost, doubt = judgement.writes_lost or 0, judgement.writes_in_doubt
    acked = judgement.writes_acked
    yield _named(
        words("Users' writes", "用户写入"),
        words(
            f"{acked:,} acknowledged, {lost:,} of them lost; {doubt:,} in doubt",
            f"确认 {acked:,} 笔，其中丢失 {lost:,} 笔；存疑 {doubt:,} 笔",
        ),
    )


def _named(name: str, text: str) -> str:
    return f"  {_pad(name, 16)}{text}"


def _time(view: View) -> Iterable[str]:
    """The bar of the RTO, a letter for each phase."""
    words, timeline = view.words, view.dossier.timeline
    parts = [p for p in segments(timeline) if p.seconds > 0]
    total = sum(p.seconds for p in parts)
    if not view.dossier.changed_anything or view.judgement.state not in {RunState.DONE, RunState.DEGRADED} or not total:
        return
    bar, at = "", 0.0
    for part in parts:
        at += part.seconds
        letter = LETTERS.get(part.phase, " ") if part.phase else " "
        bar += letter * (round(at / total * BAR) - len(bar))
    yield _named(words("Where time went", "耗时分解"), f"│{bar}│")
    shares = (
        f"{LETTERS[phase]}{words.name(phase)} {seconds:.2f}"
        for phase, seconds in phase_seconds(parts)
        if phase in LETTERS
    )
    yield _named("", " ".join(shares))


def _steps(view: View) -> Iterable[str]:
    words, steps = view.words, view.dossier.timeline.steps
    done = sum(t.outcome in {Outcome.DONE, Outcome.WOULD} for t in steps)
    number = len(deviation_texts(view))
    deviations = words(_many(number), f"偏差 {number} 项") if number else words("no deviation", "无偏差")
    said = words(f"{done} of {len(steps)} done, {deviations}", f"{done} / {len(steps)} 完成，{deviations}")
    yield _named(words("Steps", "步骤"), said)
    for what, detail in deviation_texts(view, slow=False)[:DEVIATIONS_MAX]:
        yield _named("", f"- {what}" + (f" ({detail})" if detail else ""))
    copies = view.judgement.copies
    if copies:
        whole = sum(c.present == c.declared for c in copies)
        text = words(f"{whole} of {len(copies)} services have all copies", f"{whole} / {len(copies)} 个组件副本齐全")
        yield _named(words("Protection", "数据保护"), text)


def _many(number: int) -> str:
    return f"{number} deviation{'s' if number > 1 else ''}"


def _where(view: View, run_dir: Path) -> Iterable[str]:
    words, sealed = view.words, bundles(run_dir)
    report = report_file(run_dir, words.lang)
    if sealed:
        yield _named(words("Evidence", "证据"), _short(sealed[-1]))
    if report.exists():
        yield _named(words("Report", "报告"), _short(report))


def _short(path: Path) -> str:
    """A path as short as it can be typed here; a long one keeps its end."""
    try:
        text = str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        text = str(path)
    limit = COLUMNS - 18
    return text if width(text) <= limit else f"…{text[-(limit - 1) :]}"
