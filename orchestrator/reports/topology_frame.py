"""The frame that both pictures of a topology share: city and centre boxes, colours, title and legend."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final, NamedTuple

from orchestrator.model.topology import Centre, CentreRole, Text, Topology
from orchestrator.reports.drawing import Canvas, Stroke, fitted, shrunk, text_width
from orchestrator.reports.topology_look import NAMES, Flow, Look

INK: Final = "#1b2733"
MUTED: Final = "#5b6b7b"
HAIR: Final = "#d5dee8"
ACCENT: Final = "#e8590c"
MARGIN: Final = 24.0
SITE_PAD: Final = 16.0
HEADER: Final = 92.0
"""Height of the city's and the centre's name above the rows."""


class Paint(NamedTuple):
    """Colours of one look; the contrast of ink on fill is above 4.5:1 (WCAG 2.2, 1.4.3)."""

    fill: str
    stroke: Stroke
    ink: str


PAINTS: Final[Mapping[Look, Paint]] = {
    Look.PRIMARY: Paint("#1c5bb8", Stroke("#174a96"), "#ffffff"),
    Look.SYNC: Paint("#d3eee6", Stroke("#1f8a70"), "#0b4f40"),
    Look.ASYNC: Paint("#eef2f7", Stroke("#7f93a8", dash="4 3"), "#33475b"),
    Look.SERVING: Paint("#e3edfd", Stroke("#3b7ddd"), "#173f7d"),
    Look.IDLE: Paint("#ffffff", Stroke("#aebccb", dash="4 3"), "#52657a"),
    Look.ROUTE: Paint("#f0ebfb", Stroke("#7c5cc4"), "#46307f"),
    Look.DETACHED: Paint("#fff0cf", Stroke("#c98a12"), "#6b4700"),
    Look.UNREACHABLE: Paint("#fde0df", Stroke("#c92a2a"), "#8a1616"),
    Look.UNKNOWN: Paint("#f1f3f5", Stroke("#868e96", dash="2 3"), "#495057"),
}
FLOWS: Final[Mapping[Flow, Stroke]] = {
    Flow.SYNC: Stroke("#1f8a70", 2.4),
    Flow.ASYNC: Stroke("#4d6b8a", 1.8, "6 4"),
    Flow.BROKEN: Stroke("#c92a2a", 1.6, "2 4"),
    Flow.CALL: Stroke("#9aa9b8", 1.3),
    Flow.ROUTE: Stroke("#7c5cc4", 1.8),
}
DEPENDS: Final = Stroke("#8a6d3b", 1.4)
EDGE_OF_BOX: Final = Stroke(HAIR)
MARKED: Final = Stroke(ACCENT, 2.5)
FLOW_NAMES: Final[Mapping[Flow, Text]] = {
    Flow.SYNC: Text(en="synchronous copy", zh="同步复制"),
    Flow.ASYNC: Text(en="asynchronous copy", zh="异步复制"),
    Flow.BROKEN: Text(en="copy interrupted", zh="复制中断"),
    Flow.CALL: Text(en="calls", zh="调用"),
    Flow.ROUTE: Text(en="users", zh="用户流量"),
}
FLOW_WORDS: Final[Mapping[Flow, Text]] = {
    Flow.SYNC: Text(en="sync", zh="同步"),
    Flow.ASYNC: Text(en="async", zh="异步"),
    Flow.BROKEN: Text(en="down", zh="中断"),
}
"""Short, for numbers of copies."""
_ROLES: Final[Mapping[CentreRole, Text]] = {
    CentreRole.PRODUCTION: Text(en="production", zh="生产"),
    CentreRole.METRO: Text(en="same city", zh="同城"),
    CentreRole.REMOTE: Text(en="remote", zh="异地"),
}


DEPENDS_NAME: Final = Text(en="depends on", zh="依赖")


class Column(NamedTuple):
    """Where a centre is drawn, in px."""

    centre: Centre
    left: float
    width: float

    @property
    def middle(self) -> float:
        return self.left + self.width / 2

    @property
    def right(self) -> float:
        return self.left + self.width


class Frame(NamedTuple):
    """The columns of a picture."""

    topology: Topology
    lang: str
    columns: tuple[Column, ...]
    top: float
    """Upper edge of the city boxes."""

    @property
    def right(self) -> float:
        """Right edge of the picture's content."""
        return self.columns[-1].right + SITE_PAD

    @property
    def body(self) -> float:
        """Upper edge of the rows."""
        return self.top + HEADER

    def column(self, centre: str) -> Column | None:
        """The column of a centre; None for the edge."""
        return next((c for c in self.columns if c.centre.id == centre), None)


def lay_out(topology: Topology, lang: str, left: float, *, width: float, gap: float) -> Frame:
    """Columns of `width` px from `left`, cities side by side, `gap` px between centres of one city."""
    columns: list[Column] = []
    x = left
    by_site = [c for site in topology.sites for c in topology.centres if c.site == site.id]
    for before, centre in zip([None, *by_site], by_site, strict=False):
        if before is not None:
            x += gap if before.site == centre.site else gap + SITE_PAD
        columns.append(Column(centre, x, width))
        x += width
    return Frame(topology, lang, tuple(columns), 76.0)


def draw_frame(canvas: Canvas, frame: Frame, bottom: float, lost: frozenset[str]) -> None:
    """City boxes with centre boxes in them, down to `bottom`; centres in `lost` are marked."""
    for site in frame.topology.sites:
        columns = [c for c in frame.columns if c.centre.site == site.id]
        if not columns:
            continue
        left, right = columns[0].left - SITE_PAD, columns[-1].right + SITE_PAD
        canvas.rect(
            (left, frame.top), (right - left, bottom - frame.top), fill="#f3f6fa", stroke=EDGE_OF_BOX, radius=14
        )
        canvas.text((left + 16, frame.top + 25), site.name.of(frame.lang), size=15, weight=600)
        for column in columns:
            _draw_centre(canvas, frame, column, bottom, column.centre.id in lost)


def _draw_centre(canvas: Canvas, frame: Frame, column: Column, bottom: float, marked: bool) -> None:
    top = frame.top + 38
    size = (column.width, bottom - top - 12)
    canvas.rect((column.left, top), size, fill="#ffffff", stroke=MARKED if marked else EDGE_OF_BOX, radius=10)
    size_px = shrunk(column.centre.name.of(frame.lang), 13, column.width - 16, 10.5)
    name = fitted(column.centre.name.of(frame.lang), size_px, column.width - 16, bold=True)
    canvas.text((column.middle, top + 21), name, size=size_px, weight=600, anchor="middle")
    role = f"{column.centre.id} · {_ROLES[column.centre.role].of(frame.lang)}"
    canvas.text((column.middle, top + 37), role, size=11, fill=MUTED, anchor="middle")


def draw_title(canvas: Canvas, frame: Frame, subtitle: str) -> None:
    """The estate's name and one line about what is shown."""
    canvas.text((MARGIN, 34), frame.topology.name.of(frame.lang), size=20, weight=700)
    canvas.text((MARGIN, 56), subtitle, size=12.5, fill=MUTED)


class Key(NamedTuple):
    """One entry of the legend: a swatch, a line, or a dot."""

    name: Text
    sign: Paint | Stroke | str


def keys(looks: Collection[Look], flows: Collection[Flow]) -> list[Key]:
    """Entries for what a picture shows, in the order of importance."""
    swatches = [Key(NAMES[look], PAINTS[look]) for look in Look if look in looks]
    return swatches + [Key(FLOW_NAMES[flow], FLOWS[flow]) for flow in FLOWS if flow in flows]


def draw_legend(canvas: Canvas, frame: Frame, top: float, entries: Sequence[Key]) -> float:
    """What colours and arrows mean, wrapped to the picture's width; returns the lower edge in px."""
    x, y = MARGIN, top
    for entry in entries:
        name = entry.name.of(frame.lang)
        width = 33 + text_width(name, 11.5)
        if x + width > frame.right:
            x, y = MARGIN, y + 24
        if isinstance(entry.sign, Paint):
            canvas.rect((x, y), (24, 14), fill=entry.sign.fill, stroke=entry.sign.stroke, radius=4)
        elif isinstance(entry.sign, Stroke):
            canvas.line([(x, y + 7), (x + 26, y + 7)], entry.sign)
        else:
            canvas.dot((x + 18, y + 7), 3, entry.sign)
        canvas.text((x + 32, y + 11.5), name, size=11.5, fill=MUTED)
        x += width + 24
    return y + 14
