"""The steps of a run on a time axis: planned and actual, phases by colour, the critical path marked."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.model.plan import Phase
from orchestrator.reports.axis import BOLD, SAFE, WIDTH, Scale, label, markers, picture, time_axis
from orchestrator.reports.drawing import fitted, text_width
from orchestrator.reports.markup import Markup, el, join, number
from orchestrator.reports.timeline import StepTime, Timeline
from orchestrator.reports.words import Outcome, Words

ROWS_MAX = 60
LEFT, RIGHT = 372.0, WIDTH - 74.0
ROW = 21.0
TOP = 26.0
SIZE = 12.0
_BROKEN = frozenset({Outcome.FAILED, Outcome.UNDO_FAILED, Outcome.OPEN})


def chosen(times: Sequence[StepTime]) -> tuple[StepTime, ...]:
    """What is drawn, by waves: all, or of very many the critical path, what deviates, then the first ones."""
    weight = sorted(times, key=lambda t: (not t.step.critical, not (t.slow or t.outcome is not Outcome.DONE)))
    kept = {t.step.id for t in weight[:ROWS_MAX]}
    return tuple(
        sorted(
            (t for t in times if t.step.id in kept), key=lambda t: (t.step.wave, t.begin_s is None, t.begin_s or 0.0)
        )
    )


def recovery_gantt(timeline: Timeline, words: Words) -> Markup:
    """Steps until users are served again, on the scale of that time; what ends later is cut and says when."""
    times = [t for t in timeline.steps if t.step.phase is not Phase.PROTECT]
    end = max(timeline.service_end_s, max((t.planned_end_s for t in times if t.step.critical), default=0.0), 0.1)
    begin = min([timeline.begin_s, *(t.begin_s for t in times if t.begin_s is not None)])
    title = words("Steps until users are served", "恢复服务前的步骤")
    return _gantt(chosen(times), Scale(begin, begin + (end - begin) * 1.06, LEFT, RIGHT), timeline, title, words)


def protect_gantt(timeline: Timeline, words: Words) -> Markup:
    """Steps that restore protection afterwards, on the scale of the whole run."""
    times = [t for t in timeline.steps if t.step.phase is Phase.PROTECT]
    ends = [e for t in times for e in (t.end_s, t.planned_end_s) if e is not None]
    title = words("Steps that restore protection", "恢复保护的步骤")
    begin = timeline.begin_s
    end = begin + (max([*ends, begin + 1.0]) - begin) * 1.04
    return _gantt(chosen(times), Scale(begin, end, LEFT, RIGHT), timeline, title, words)


def _gantt(times: Sequence[StepTime], scale: Scale, timeline: Timeline, title: str, words: Words) -> Markup:
    bottom = TOP + ROW * len(times)
    marks = (
        (timeline.fault_s, "flt", words("fault", "故障")),
        (
            timeline.declared_s if scale.end < 60 * (timeline.declared_s or 0) else None,
            "dcl",
            words("declared", "确认失效"),
        ),
        (timeline.service_end_s, "srv", words("users served", "恢复服务")),
    )
    rows = [_row(time, TOP + ROW * number_, scale, words) for number_, time in enumerate(times)]
    return picture(
        bottom + 22,
        title,
        _waves(times, words),
        time_axis(scale, TOP, bottom, words),
        markers(scale, TOP, bottom, marks),
        join(rows),
    )


def _waves(times: Sequence[StepTime], words: Words) -> Markup:
    """A number for each wave, and a line between two."""
    parts, before = [], -1
    for number_, time in enumerate(times):
        y = TOP + ROW * number_
        if time.step.wave != before:
            parts.append(label(2, y + 15, str(time.step.wave), class_="ax"))
            parts.append(el("path", d=f"M0 {number(y)}H{number(WIDTH)}", class_="wl"))
            before = time.step.wave
    head = label(2, TOP - 8, words("wave", "波次"), class_="ax")
    return join((head, *parts))


def _row(time: StepTime, y: float, scale: Scale, words: Words) -> Markup:
    step = time.step
    text = fitted(words.of(step.text), SIZE * (BOLD if step.critical else 1.0), LEFT - 56)
    tip = f"{step.id} · {words.of(step.text)} · {words.name(step.phase)} · {words.name(time.outcome)}"
    diamond = el("path", d=f"M{31} {number(y + 6)}l4 4.5l-4 4.5l-4 -4.5z", class_="cp") if step.critical else None
    name = label(42, y + 15, text, class_="tb" if step.critical else "tx")
    return el("g", el("title", tip), diamond, name, _planned(time, y, scale), _actual(time, y, scale, words))


def _planned(time: StepTime, y: float, scale: Scale) -> Markup:
    x, end = scale.clipped(time.planned_begin_s), scale.clipped(time.planned_end_s)
    return el("rect", x=x, y=y + 16, width=max(end - x, 1.5), height=3.0, class_="pl")


def _actual(time: StepTime, y: float, scale: Scale, words: Words) -> Markup:
    if time.begin_s is None:
        return label(scale.left + 4, y + 13, words.name(time.outcome), class_="note")
    ends = time.end_s if time.end_s is not None else scale.end
    x, end = scale.clipped(time.begin_s), scale.clipped(ends)
    broken = time.outcome in _BROKEN or time.outcome is Outcome.UNDONE
    class_ = "p-broken" if time.outcome in _BROKEN else f"p-{time.step.phase.value}"
    bar = el("rect", x=x, y=y + 3.5, width=max(end - x, 2.0), height=11.0, class_=class_)
    cut = el("path", d=f"M{number(end)} {number(y + 3)}l7 6l-7 6z", class_=class_) if ends > scale.end else None
    took = words.seconds(time.took_s) if time.took_s is not None else ""
    said = f"{took} {words.name(time.outcome)}".strip() if broken else took
    class_ = "tbad" if broken else "tslow" if time.slow else "ax"
    return join((bar, cut, _said(said, (x - 5, end + (11 if cut else 5)), y + 13, class_)))


def _said(text: str, ends: tuple[float, float], y: float, class_: str) -> Markup:
    """What is said of a bar: behind it, or before it where there is no room behind."""
    if ends[1] + text_width(text, SIZE) * SAFE <= WIDTH:
        return label(ends[1], y, text, class_=class_)
    return label(ends[0], y, text, class_=class_, anchor="end")
