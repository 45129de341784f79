"""The outage as the users of an entry saw it, and where the time until they were served again went."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Sequence

from orchestrator.model.canary import Ledger, Operation, Result
from orchestrator.model.plan import Phase
from orchestrator.model.run import EntryOutage
from orchestrator.model.topology import Frozen
from orchestrator.reports.axis import WIDTH, Scale, label, markers, nice, picture, time_axis
from orchestrator.reports.drawing import text_width
from orchestrator.reports.markup import Markup, el, join, number
from orchestrator.reports.timeline import Timeline
from orchestrator.reports.words import Words

LEFT, RIGHT = 62.0, WIDTH - 10.0
LATENCY_TOP, LATENCY_BOTTOM = 26.0, 138.0
RATE_TOP, RATE_BOTTOM = 164.0, 198.0
STRIP_TOP, STRIP_BOTTOM = 230.0, 252.0
HEIGHT = 271.0
BUCKET_S = 0.1
BARS_MAX = 240
SILENCE_S, SILENCE_INTERVALS = 1.0, 50.0
"""A canary that sent nothing for so long (and for so many of its intervals) was not at work."""
LATENCY_MIN_MS, LATENCY_MAX_MS = 1.0, 2000.0


class _Plot:
    """One entry's ledger on the run's clock."""

    def __init__(self, ledger: Ledger, seen: EntryOutage | None, timeline: Timeline) -> None:
        head = ledger.header
        self.shift = timeline.of_ledger(head.boot, head.t0_mono, head.t0_utc)
        self.operations = ledger.operations
        self.begin = seen.outage_begin_s if seen else None
        self.end = None if seen is None or self.begin is None else self.begin + seen.outage_ms / 1000
        self.first = min((o.s for o in self.operations), default=head.t0_mono) + self.shift
        self.last = max((o.e for o in self.operations), default=head.t0_mono + 1) + self.shift
        self.window = self._window(timeline)
        self.silences = silences(ledger, self.shift)

    def _window(self, timeline: Timeline) -> tuple[float, float]:
        """The time around the outage; where there was none, around the zero."""
        begin, end = (0.0, 0.0) if self.begin is None or self.end is None else (self.begin, self.end)
        pad = max(0.6, 0.4 * (end - begin))
        marks = [s for s in (timeline.fault_s, timeline.declared_s) if s is not None and abs(s - begin) < 3 * pad]
        low, high = min([begin, *marks]) - pad, max([end, *marks]) + pad
        return max(low, self.first), max(min(high, self.last), max(low, self.first) + 0.5)


def silences(ledger: Ledger, shift: float = 0.0) -> tuple[tuple[float, float], ...]:
    """Times in which the canary itself sent nothing (it was killed, or its host stood still): nobody was asked then."""
    longest = max(SILENCE_S, SILENCE_INTERVALS / ledger.header.rate)
    sent = sorted(o.s for o in ledger.operations)
    return tuple((a + shift, b + shift) for a, b in itertools.pairwise(sent) if b - a > longest)


def outage_chart(ledger: Ledger, seen: EntryOutage | None, timeline: Timeline, words: Words) -> Markup:
    """Every operation around the outage by its latency, acknowledged writes per bucket, and the whole run below."""
    plot = _Plot(ledger, seen, timeline)
    scale = Scale(*plot.window, LEFT, RIGHT)
    title = words(f"What users of {ledger.header.entry} saw", f"{ledger.header.entry} 的用户所见")
    marks = (
        (timeline.fault_s, "flt", words("fault", "故障")),
        (timeline.declared_s, "dcl", words("declared", "确认失效")),
        (plot.end, "srv", words("acknowledged again", "恢复写入")),
    )
    return picture(
        HEIGHT,
        title,
        _shade(scale, plot, LATENCY_TOP, RATE_BOTTOM, words),
        time_axis(scale, LATENCY_TOP, RATE_BOTTOM, words),
        _silent(scale, plot, words),
        _latency_axis(words),
        _dots(plot, scale),
        _bars(plot, scale, RATE_TOP, RATE_BOTTOM, words),
        markers(scale, LATENCY_TOP - 4, RATE_BOTTOM, marks),
        _strip(plot, scale, words),
    )


def _shade(scale: Scale, plot: _Plot, top: float, bottom: float, words: Words) -> Markup:
    if plot.begin is None or plot.end is None:
        return Markup("")
    x, end = scale.clipped(plot.begin), scale.clipped(plot.end)
    length = words.seconds(plot.end - plot.begin)
    text = label((x + end) / 2, RATE_BOTTOM - 16, length, class_="tout", anchor="middle")
    wide = text_width(length, 15) + 8 < end - x
    return join((el("rect", x=x, y=top, width=end - x, height=bottom - top, class_="out"), text if wide else None))


def _silent(scale: Scale, plot: _Plot, words: Words) -> Markup:
    """Where nobody was asked, so that an empty stretch is not taken for a measured one."""
    parts, name = [], words("canary not at work", "拨测未运行")
    for begin, end in plot.silences:
        x, right = scale.clipped(begin), scale.clipped(end)
        if right > x:
            parts.append(
                el("rect", x=x, y=LATENCY_TOP, width=right - x, height=RATE_BOTTOM - LATENCY_TOP, class_="hush")
            )
        if text_width(name, 12) + 8 < right - x:
            parts.append(label((x + right) / 2, LATENCY_TOP + 18, name, class_="ax", anchor="middle"))
    return join(parts)


def _latency_y(milliseconds: float) -> float:
    low, high = math.log10(LATENCY_MIN_MS), math.log10(LATENCY_MAX_MS)
    value = math.log10(min(max(milliseconds, LATENCY_MIN_MS), LATENCY_MAX_MS))
    return LATENCY_BOTTOM - (value - low) / (high - low) * (LATENCY_BOTTOM - LATENCY_TOP)


def _latency_axis(words: Words) -> Markup:
    ticks = ((1, "1 ms"), (10, "10 ms"), (100, "100 ms"), (1000, words("1 s", "1 秒")))
    grid = "".join(f"M{number(LEFT)} {number(_latency_y(t))}H{number(RIGHT)}" for t, _ in ticks)
    texts = (label(LEFT - 8, _latency_y(t) + 4, text, class_="ax", anchor="end") for t, text in ticks)
    return join((el("path", d=grid, class_="gl"), *texts))


def _dots(plot: _Plot, scale: Scale) -> Markup:
    """One dot for each operation in the window; those that fall on one pixel are drawn once."""
    groups: dict[str, set[tuple[int, int]]] = {"ok": set(), "bad": set(), "dbt": set()}
    for operation in plot.operations:
        sent = operation.s + plot.shift
        if scale.holds(sent):
            place = (round(scale.x(sent)), round(_latency_y((operation.e - operation.s) * 1000)))
            groups[_group(operation)].add(place)
    return join(el("path", d=_points(places), class_=name) for name, places in groups.items() if places)


def _group(operation: Operation) -> str:
    return {Result.OK: "ok", Result.DOUBT: "dbt"}.get(operation.o, "bad")


def _points(places: Iterable[tuple[int, int]]) -> str:
    return "".join(f"M{x} {y}h0" for x, y in sorted(places))


def _acked(plot: _Plot, begin: float, end: float, bucket_s: float) -> Counter[int]:
    """Acknowledged writes in each bucket since `begin`."""
    seconds = (o.e + plot.shift for o in plot.operations if o.k == "w" and o.o is Result.OK)
    return Counter(int((s - begin) / bucket_s) for s in seconds if begin <= s < end)


def _bars(plot: _Plot, scale: Scale, top: float, bottom: float, words: Words) -> Markup:
    """Acknowledged writes per 100 ms; wider buckets where there would be too many."""
    bucket_s = max(BUCKET_S, nice((scale.end - scale.begin) / BARS_MAX))
    begin = math.ceil(scale.begin / bucket_s) * bucket_s
    end = math.floor(scale.end / bucket_s) * bucket_s
    counts = _acked(plot, begin, end, bucket_s)
    most = max(counts.values(), default=1)
    width = max(scale.x(bucket_s) - scale.x(0.0) - 1, 0.5)
    bars = []
    for bucket, count in sorted(counts.items()):
        x, height = scale.x(begin + bucket * bucket_s), count / most * (bottom - top)
        bars.append(f"M{number(x)} {number(bottom)}v-{number(height)}h{number(width)}v{number(height)}z")
    span = f"{bucket_s * 1000:g} ms" if bucket_s < 1 else f"{bucket_s:g} {words('s', '秒')}"
    texts = (
        label(LEFT - 8, top + 9, str(most), class_="ax", anchor="end"),
        label(LEFT - 8, bottom, "0", class_="ax", anchor="end"),
        label(LEFT + 2, top - 6, words(f"acknowledged writes per {span}", f"每 {span} 确认写入数"), class_="note"),
    )
    return join((el("path", d="".join(bars), class_="bar"), *texts))


def _strip(plot: _Plot, zoom: Scale, words: Words) -> Markup:
    """The whole run in one line, with the part that is shown above."""
    scale = Scale(plot.first, plot.last, LEFT, RIGHT)
    bucket_s = max(BUCKET_S, nice((scale.end - scale.begin) / 400))
    counts = _acked(plot, scale.begin, scale.end, bucket_s)
    most = max(counts.values(), default=1)
    width = max((RIGHT - LEFT) * bucket_s / max(scale.end - scale.begin, 1e-9) - 0.3, 0.4)
    bars = []
    for bucket, count in sorted(counts.items()):
        x, height = scale.x(scale.begin + bucket * bucket_s), count / most * (STRIP_BOTTOM - STRIP_TOP)
        bars.append(f"M{number(x)} {number(STRIP_BOTTOM)}v-{number(height)}h{number(width)}v{number(height)}z")
    x, end = scale.clipped(zoom.begin), scale.clipped(zoom.end)
    frame = el("rect", x=x, y=STRIP_TOP - 3, width=end - x, height=STRIP_BOTTOM - STRIP_TOP + 6, class_="zoom")
    ends = (
        label(LEFT, STRIP_BOTTOM + 15, words.seconds(plot.first), class_="ax"),
        label(RIGHT, STRIP_BOTTOM + 15, words.seconds(plot.last), class_="ax", anchor="end"),
        label(LEFT - 8, STRIP_BOTTOM - 8, words("all", "全程"), class_="ax", anchor="end"),
    )
    return join((el("path", d="".join(bars), class_="dim"), frame, *ends))


class Segment(Frozen, kw_only=True):
    """A stretch of time on the way to service, and the phase that it went to; no phase: between two steps."""

    phase: Phase | None
    begin_s: float
    end_s: float

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.end_s - self.begin_s


def segments(timeline: Timeline) -> tuple[Segment, ...]:
    """Every instant until service, given to the latest phase of a critical step that was at work then."""
    order = list(Phase)
    start, end = timeline.begin_s, timeline.service_end_s
    steps = [
        (t.begin_s, t.end_s, t.step.phase)
        for t in timeline.steps
        if t.begin_s is not None and t.end_s is not None and t.step.critical and t.step.phase is not Phase.PROTECT
    ]
    edges = sorted({start, end, *(min(max(e, start), end) for b, f, _ in steps for e in (b, f))})
    found: list[Segment] = []
    for begin, finish in itertools.pairwise(edges):
        at_work = [p for b, f, p in steps if b <= begin and f >= finish]
        phase = max(at_work, key=order.index, default=None)
        joins = bool(found) and found[-1].phase is phase
        found.append(Segment(phase=phase, begin_s=found.pop().begin_s if joins else begin, end_s=finish))
    return tuple(found)


def rto_bar(timeline: Timeline, served_s: float | None, words: Words) -> Markup:
    """One bar from the fault to service, a colour for each phase; the figures stand beside it as a list."""
    parts = segments(timeline)
    end = max(timeline.service_end_s, served_s or 0.0, timeline.begin_s + 1e-3)
    begin = timeline.begin_s
    scale = Scale(begin, begin + (end - begin) * 1.04, 10.0, RIGHT)
    marks = (
        (timeline.fault_s, "flt", words("fault", "故障")),
        (timeline.declared_s, "dcl", words("declared", "确认失效")),
        (served_s, "srv", words("users served again", "用户恢复服务")),
    )
    title = words("Where the time went, from the fault to service", "从故障到恢复服务的耗时分解")
    bars = join(_segment(scale, part, words) for part in parts)
    return picture(84.0, title, time_axis(scale, 26, 64, words), bars, markers(scale, 22, 64, marks))


def _segment(scale: Scale, part: Segment, words: Words) -> Markup:
    x, width = scale.x(part.begin_s), scale.x(part.end_s) - scale.x(part.begin_s)
    name = words.name(part.phase) if part.phase else words("between steps", "步骤间隙")
    class_ = f"p-{part.phase.value}" if part.phase else "p-gap"
    text = f"{name} {words.seconds(part.seconds)}"
    if text_width(text, 12) + 10 > width:
        text = name if text_width(name, 12) + 10 <= width else ""
    inside = label(x + width / 2, 51, text, class_=f"on {class_}", anchor="middle") if text else None
    return join((el("rect", el("title", name), x=x, y=32.0, width=width, height=30.0, class_=class_), inside))


def phase_seconds(parts: Sequence[Segment]) -> tuple[tuple[Phase | None, float], ...]:
    """How long each phase had the critical path, in the order of the phases, time between steps last."""
    totals: dict[Phase | None, float] = {}
    for part in parts:
        totals[part.phase] = totals.get(part.phase, 0.0) + part.seconds
    order: list[Phase | None] = [*Phase, None]
    return tuple((phase, totals[phase]) for phase in order if phase in totals)
