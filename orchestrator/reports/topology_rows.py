"""The picture of few systems: one row each, with every service, replication, call and way of the users."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

from orchestrator.model.observation import Snapshot
from orchestrator.model.topology import EDGE, Instance, Nature, Service, System
from orchestrator.reports.drawing import Canvas, Point, Stroke, fitted, shrunk, text_width
from orchestrator.reports.topology_frame import (
    DEPENDS,
    DEPENDS_NAME,
    EDGE_OF_BOX,
    FLOWS,
    HAIR,
    INK,
    MARGIN,
    MARKED,
    MUTED,
    PAINTS,
    SITE_PAD,
    Frame,
    Key,
    keys,
)
from orchestrator.reports.topology_look import Arrow, Flow, Look, arrows, face, span

CARD: Final = 260.0
EDGE_WIDTH: Final = 172.0
CARD_HEIGHT: Final = 88.0
GLYPH: Final = (160.0, 42.0)
COLUMN: Final = 188.0
GAP: Final = 92.0
ROW: Final = 78.0
PAD: Final = 34.0
GUTTER: Final = 34.0
"""Room left of the cards for the arrows of dependencies."""
LEFT: Final = MARGIN + GUTTER + CARD + 18 + EDGE_WIDTH + 56 + SITE_PAD
"""Left edge of the first centre."""


class Box(NamedTuple):
    """Where an instance is drawn, in px."""

    left: float
    top: float
    width: float
    height: float

    @property
    def middle(self) -> Point:
        return self.left + self.width / 2, self.top + self.height / 2

    @property
    def right(self) -> float:
        return self.left + self.width

    @property
    def bottom(self) -> float:
        return self.top + self.height


def row_height(system: System) -> float:
    """Height of a system's row in px."""
    lanes = PAD + ROW * max(1, len(_lanes(system))) - (ROW - GLYPH[1]) + 30
    return max(lanes, PAD - 8 + CARD_HEIGHT + 16)


def _lanes(system: System) -> list[Service]:
    """Services that stand in centres, from the users' side to the data."""
    order = {Nature.ROUTE: 0, Nature.ACTIVE: 1, Nature.REPLICATED: 2}
    inside = [v for v in system.services if any(i.centre != EDGE for i in v.instances)]
    return sorted(inside, key=lambda v: order[v.nature])


class Rows:
    """Draws systems one below the other; notes what it drew, for the legend."""

    def __init__(self, canvas: Canvas, frame: Frame, snapshot: Snapshot | None, highlight: Collection[str]) -> None:
        self.canvas = canvas
        self.frame = frame
        self.snapshot = snapshot
        self.highlight = highlight
        self.looks: set[Look] = set()
        self.flows: set[Flow] = set()
        self.linked = False
        self.cards: dict[str, Box] = {}

    def draw(self, systems: Sequence[System]) -> float:
        """Draw all of them; returns the lower edge in px."""
        top = self.frame.body
        for index, system in enumerate(systems):
            if index:
                self._rule(top)
            self._system(system, top)
            top += row_height(system)
        self._dependencies(systems)
        return top

    def legend(self) -> list[Key]:
        """What the drawn colours and arrows mean."""
        depends = [Key(DEPENDS_NAME, DEPENDS)] if self.linked else []
        return keys(self.looks, self.flows) + depends

    def _rule(self, y: float) -> None:
        d = f"M{MARGIN + GUTTER} {y:.1f}H{self.frame.right}"
        self.canvas.path(d, Stroke(HAIR, dash="2 4"))

    def _system(self, system: System, top: float) -> None:
        boxes = self._boxes(system, top)
        self._card(system, top)
        flows = [a for service in system.services for a in arrows(self.frame.topology, service, self.snapshot)]
        lanes: dict[tuple[float, str], int] = {}
        for arrow in sorted(flows, key=lambda a: list(Flow).index(a.flow), reverse=True):
            if arrow.source in boxes and arrow.target in boxes:
                self._arrow(arrow, boxes[arrow.source], boxes[arrow.target], lanes)
        for service in system.services:
            for instance in service.instances:
                if instance.id in boxes:
                    self._glyph(service, instance, boxes[instance.id])

    def _boxes(self, system: System, top: float) -> dict[str, Box]:
        found: dict[str, Box] = {}
        lanes = {service.id: index for index, service in enumerate(_lanes(system))}
        outside = [v for v in system.services if any(i.centre == EDGE for i in v.instances)]
        for service in system.services:
            for instance in service.instances:
                column = self.frame.column(instance.centre)
                lane = lanes.get(service.id, 0)
                if column is not None:
                    left = column.middle - GLYPH[0] / 2
                    found[instance.id] = Box(left, top + PAD + lane * ROW, *GLYPH)
                elif instance.centre == EDGE:
                    left = MARGIN + GUTTER + CARD + 18
                    y = top + PAD + outside.index(service) * ROW
                    found[instance.id] = Box(left, y, EDGE_WIDTH, GLYPH[1])
        return found

    def _card(self, system: System, top: float) -> None:
        left, lang = MARGIN + GUTTER, self.frame.lang
        self.cards[system.id] = Box(left, top + PAD - 8, CARD, 76)
        marked = system.id in self.highlight
        at, size = (left, top + PAD - 8), (CARD - 8, CARD_HEIGHT)
        self.canvas.rect(at, size, fill="#ffffff", stroke=MARKED if marked else EDGE_OF_BOX, radius=8)
        size_px = shrunk(system.name.of(lang), 14, CARD - 30, 12)
        name = fitted(system.name.of(lang), size_px, CARD - 30, bold=True)
        x, y = left + 12, top + PAD + 12
        self.canvas.text((x, y), name, size=size_px, weight=600)
        tier = f"{system.id} · {'级别' if lang.startswith('zh') else 'tier'} {system.tier}"
        self.canvas.text((x, y + 18), fitted(tier, 11, CARD - 28), size=11, fill=MUTED)
        names = ("中心失效", "城市失效") if lang.startswith("zh") else ("centre loss", "city loss")
        for row, (what, target) in enumerate(zip(names, (system.centre_loss, system.site_loss), strict=True)):
            line = f"{what}: RTO {span(target.rto_s)} · RPO {span(target.rpo_s)}"
            self.canvas.text((x, y + 38 + row * 17), line, size=11, fill=INK)

    def _glyph(self, service: Service, instance: Instance, box: Box) -> None:
        look = face(service, instance, self.snapshot)
        self.looks.add(look.look)
        caption, paint = look.caption.of(self.frame.lang), PAINTS[look.look]
        canvas = self.canvas
        canvas.group(
            f"{instance.id} · {service.kind} · {caption}" + (f" · {instance.address}" if instance.address else "")
        )
        if instance.id in self.highlight:
            halo = (box.left - 4, box.top - 4), (box.width + 8, box.height + 8)
            canvas.rect(*halo, fill="none", stroke=MARKED, radius=11)
        radius = {Nature.ROUTE: box.height / 2, Nature.ACTIVE: 7.0, Nature.REPLICATED: 7.0}[service.nature]
        size = (box.width, box.height)
        canvas.rect((box.left, box.top), size, fill=paint.fill, stroke=paint.stroke, radius=radius)
        self._icon(service.nature, (box.left + 21, box.middle[1]), paint.ink)
        room = box.width - 46
        both = f"{service.name} · {service.kind}"
        name = both if text_width(both, 12, bold=True) <= room else service.name  # the kind stands in the title too
        canvas.text(
            (box.left + 40, box.top + 18), fitted(name, 12, room, bold=True), size=12, fill=paint.ink, weight=600
        )
        canvas.text((box.left + 40, box.top + 33), fitted(caption, 11, room), size=11, fill=paint.ink)
        canvas.end()

    def _icon(self, nature: Nature, at: Point, ink: str) -> None:
        x, y = at
        commands = {
            Nature.REPLICATED: f"M{x - 8} {y - 7}a8 3 0 0 1 16 0v14a8 3 0 0 1 -16 0z"
            f"M{x - 8} {y - 7}a8 3 0 0 0 16 0M{x - 8} {y}a8 3 0 0 0 16 0",
            Nature.ACTIVE: f"M{x - 9} {y - 8}h18v16h-18zM{x - 9} {y - 3}h18M{x - 6} {y - 5.5}h.1M{x - 3} {y - 5.5}h.1",
            Nature.ROUTE: f"M{x - 8} {y}h6l5 -6h6M{x - 2} {y}l5 6h6M{x + 6} {y - 9}l3 3l-3 3M{x + 6} {y + 3}l3 3l-3 3",
        }
        self.canvas.path(commands[nature], Stroke(ink, 1.5))

    def _arrow(self, arrow: Arrow, source: Box, target: Box, lanes: dict[tuple[float, str], int]) -> None:
        self.flows.add(arrow.flow)
        style = FLOWS[arrow.flow]
        level = abs(source.middle[1] - target.middle[1]) < 1
        label_at: Point | None
        if not level:
            self._slant(source, target, style)
            return
        if self._adjacent(source, target):
            forward = source.left < target.left
            y = source.middle[1]
            x1, x2 = (source.right + 3, target.left - 4) if forward else (source.left - 3, target.right + 4)
            self.canvas.line([(x1, y), (x2, y)], style)
            label_at = ((x1 + x2) / 2, y - 8)
        else:
            label_at = self._around(arrow.flow, source, target, style, lanes)
        self._label(arrow.label.of(self.frame.lang), label_at, style.colour)

    def _adjacent(self, source: Box, target: Box) -> bool:
        low, high = sorted((source, target))
        between = [c for c in self.frame.columns if low.right < c.middle < high.left]
        return not between

    def _slant(self, source: Box, target: Box, style: Stroke) -> None:
        """From one lane to another: straight down, or a curve to another centre."""
        down = source.top < target.top
        y1, y2 = (source.bottom + 1, target.top - 2) if down else (source.top - 1, target.bottom + 2)
        shift = 40 if target.middle[0] > source.middle[0] + 1 else -40 if target.middle[0] < source.middle[0] - 1 else 0
        x1, x2 = source.middle[0] + shift, target.middle[0] - shift
        if shift == 0:
            self.canvas.line([(x1, y1), (x2, y2)], style)
            return
        bend = (y2 - y1) * 0.75
        self.canvas.curve((x1, y1), ((x1, y1 + bend), (x2, y2 - bend)), (x2, y2), style)

    def _around(
        self, flow: Flow, source: Box, target: Box, style: Stroke, lanes: dict[tuple[float, str], int]
    ) -> Point:
        """Over (users) or under (copies) what stands between; each further line of a lane keeps its distance."""
        over = flow in {Flow.ROUTE, Flow.CALL}
        key = (source.top, "over" if over else "under")
        taken = lanes.setdefault(key, 0)
        lanes[key] += 1
        shift = 7.0 * taken
        y = source.top - 16 - shift if over else source.bottom + 16 + shift
        forward = 1 if target.left > source.left else -1
        x2 = target.middle[0] - forward * (52 - shift)
        end = (x2, target.top - 3 if over else target.bottom + 3)
        if over:
            x1 = source.right - 24 if forward > 0 else source.left + 24
            start = (x1, source.top - 1)
        else:
            x1 = source.middle[0] + forward * 52
            start = (x1, source.bottom + 1)
        self.canvas.line([start, (x1, y), (x2, y), end], style)
        return (x1 + x2) / 2, y + 4

    def _label(self, label: str, at: Point, colour: str) -> None:
        if not label:
            return
        width = text_width(label, 11, bold=True) + 4
        self.canvas.rect((at[0] - width / 2, at[1] - 11), (width, 15), fill="#ffffff", radius=4)
        self.canvas.text(at, label, size=11, fill=colour, anchor="middle", weight=600)

    def _dependencies(self, systems: Sequence[System]) -> None:
        """An arrow left of the cards from each system to what it depends on."""
        for system in systems:
            for rank, other in enumerate(o for o in system.depends_on if o in self.cards):
                self.linked = True
                start, end = self.cards[system.id], self.cards[other]
                bend = MARGIN - 4 + 5 * (rank % 4)
                y1, y2 = start.middle[1] - 8 - 5 * rank, end.middle[1] + 8
                self.canvas.line([(start.left - 1, y1), (bend, y1), (bend, y2), (end.left - 3, y2)], DEPENDS)
