"""The picture of many systems: one tile per system and centre, in blocks by group, with the copies between counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Final, NamedTuple

from orchestrator.model.observation import Snapshot
from orchestrator.model.topology import Nature, Service, System, Text
from orchestrator.reports.drawing import Canvas, Point, Stroke, fitted, shrunk, text_width
from orchestrator.reports.topology_frame import (
    DEPENDS,
    DEPENDS_NAME,
    EDGE_OF_BOX,
    FLOW_WORDS,
    FLOWS,
    HAIR,
    INK,
    MARGIN,
    MARKED,
    MUTED,
    PAINTS,
    SITE_PAD,
    Column,
    Frame,
    Key,
    keys,
)
from orchestrator.reports.topology_look import NAMES, Flow, Look, arrows, face, span

CARD: Final = 232.0
GUTTER: Final = 34.0
COLUMN: Final = 320.0
GAP: Final = 84.0
LEFT: Final = MARGIN + GUTTER + CARD + 12 + SITE_PAD
TILE: Final = 20.0
STEP: Final = 24.0
PAD: Final = 14.0
SIZE: Final = 10.5
USUAL: Final = 0.8
"""Tiles are as wide as this part of the names needs; longer ones are cut, and stand in full in the tile's title."""


class Block(NamedTuple):
    """A group of systems and where it is drawn."""

    key: str
    name: Text
    systems: tuple[System, ...]
    top: float
    across: int
    """Tiles side by side."""
    lanes: int
    """Lines below the tiles, for copies that pass a centre by."""

    @property
    def tiles_height(self) -> float:
        return STEP * -(-len(self.systems) // self.across) - (STEP - TILE)

    @property
    def bottom(self) -> float:
        return (
            max(self.lane(self.lanes - 1) + 8 if self.lanes else 0.0, self.top + PAD + max(self.tiles_height, 76.0))
            + PAD
        )

    def lane(self, index: int) -> float:
        """Height of a line below the tiles; it keeps clear of two arrows between neighbours."""
        return self.top + PAD + max(self.tiles_height, 46.0) + 14 + 22 * index


class Tiles:
    """Draws blocks of tiles one below the other; notes what it drew, for the legend."""

    def __init__(self, canvas: Canvas, frame: Frame, snapshot: Snapshot | None, highlight: Collection[str]) -> None:
        self.canvas = canvas
        self.frame = frame
        self.snapshot = snapshot
        self.highlight = highlight
        self.looks: set[Look] = set()
        self.flows: set[Flow] = set()
        self.serving = self.linked = False
        self._positions = {c.centre.id: index for index, c in enumerate(frame.columns)}

    def draw(self, systems: Sequence[System]) -> float:
        """Draw all of them; returns the lower edge in px."""
        top = self.frame.body
        blocks: list[Block] = []
        for key, members in self._grouped(systems).items():
            block = self._block(key, members, top)
            if blocks:
                self.canvas.path(f"M{MARGIN + GUTTER} {top:.1f}H{self.frame.right}", Stroke(HAIR, dash="2 4"))
            self._draw_block(block)
            blocks.append(block)
            top = block.bottom
        self._dependencies(blocks)
        return top

    def legend(self) -> list[Key]:
        """What the drawn colours, dots and arrows mean."""
        dot = [Key(NAMES[Look.SERVING], INK)] if self.serving else []
        depends = [Key(DEPENDS_NAME, DEPENDS)] if self.linked else []
        return keys(self.looks, ()) + dot + keys((), self.flows) + depends

    def _grouped(self, systems: Sequence[System]) -> Mapping[str, list[System]]:
        """Systems by group; by tier in an estate without groups."""
        found: dict[str, list[System]] = {}
        for system in systems:
            key = system.group if self.frame.topology.groups else f"tier {system.tier}"
            found.setdefault(key, []).append(system)
        return dict(sorted(found.items(), key=lambda item: item[0] == ""))

    def _block(self, key: str, systems: Sequence[System], top: float) -> Block:
        names = {group.id: group.name for group in self.frame.topology.groups}
        other = Text(en="Other systems", zh="其他系统")
        by_tier = Text(en=key.capitalize(), zh=key.replace("tier", "级别"))
        name = names.get(key) or (by_tier if key.startswith("tier ") else other)
        widths = sorted(text_width(label, SIZE) for label in self._labels(systems).values())
        usual = widths[int(len(widths) * USUAL)]
        across = int((COLUMN - 20 + 4) // (min(max(usual, 14.0), 132.0) + 20 + 4))
        lanes = len([pair for pair in self._copies(systems) if not self._adjacent(pair[0], pair[1])])
        return Block(key, name, tuple(systems), top, max(1, min(across, 10, len(systems))), lanes)

    def _labels(self, systems: Sequence[System]) -> Mapping[str, str]:
        """Names by system, without what all names of the block begin or end with."""
        names = {system.id: system.name.of(self.frame.lang) for system in systems}
        if len(names) < 2:
            return names
        head = _shared(list(names.values()))
        tail = _shared([name[::-1] for name in names.values()])[::-1]
        return {key: name[len(head) : len(name) - len(tail)].strip() or name for key, name in names.items()}

    def _draw_block(self, block: Block) -> None:
        self._card(block)
        for column in self.frame.columns:
            self._draw_tiles(block, column)
        self._draw_copies(block)

    def _card(self, block: Block) -> None:
        zh = self.frame.lang.startswith("zh")
        x, y = MARGIN + GUTTER, block.top + PAD
        self.canvas.rect((x, y), (CARD - 8, 76), fill="#ffffff", stroke=EDGE_OF_BOX, radius=8)
        title = block.name.of(self.frame.lang)
        size_px = shrunk(title, 13, CARD - 30, 11)
        name = fitted(title, size_px, CARD - 30, bold=True)
        self.canvas.text((x + 12, y + 20), name, size=size_px, weight=600)
        tiers = sorted({system.tier for system in block.systems})
        tier = f"{tiers[0]}" if len(tiers) == 1 else f"{tiers[0]}–{tiers[-1]}"
        many = f"{len(block.systems)} 个系统 · 级别 {tier}" if zh else _count(len(block.systems), tier)
        self.canvas.text((x + 12, y + 37), many, size=11, fill=MUTED)
        names = ("中心失效", "城市失效") if zh else ("centre loss", "city loss")
        for row, (what, key) in enumerate(zip(names, ("centre_loss", "site_loss"), strict=True)):
            targets = [getattr(system, key) for system in block.systems]
            rto = _range([target.rto_s for target in targets])
            rpo = _range([target.rpo_s for target in targets])
            line = fitted(f"{what}: RTO {rto} · RPO {rpo}", 10.5, CARD - 28)
            self.canvas.text((x + 12, y + 54 + 15 * row), line, size=10.5, fill=INK)

    def _draw_tiles(self, block: Block, column: Column) -> None:
        labels = self._labels(block.systems)
        width = (COLUMN - 20 - 4 * (block.across - 1)) / block.across
        for index, system in enumerate(block.systems):
            row, place = divmod(index, block.across)
            at = (column.left + 10 + place * (width + 4), block.top + PAD + row * STEP)
            self._tile(system, column.centre.id, labels[system.id], at, width)

    def _tile(self, system: System, centre: str, label: str, at: Point, width: float) -> None:
        service = _main(system)
        instance = service.at(centre) if service is not None else None
        if service is None or instance is None:
            return
        look = face(service, instance, self.snapshot)
        self.looks.add(look.look)
        paint, lang = PAINTS[look.look], self.frame.lang
        self.canvas.group(f"{system.name.of(lang)} · {instance.id} · {look.caption.of(lang)}")
        marked = system.id in self.highlight or instance.id in self.highlight
        self.canvas.rect(at, (width, TILE), fill=paint.fill, stroke=MARKED if marked else paint.stroke, radius=5)
        serving = self._serves(system, centre)
        text = fitted(label, SIZE, width - (20 if serving else 10))
        self.canvas.text((at[0] + 6, at[1] + 14), text, size=SIZE, fill=paint.ink)
        if serving:
            self.serving = True
            self.canvas.dot((at[0] + width - 8, at[1] + TILE / 2), 2.6, paint.ink)
        self.canvas.end()

    def _serves(self, system: System, centre: str) -> bool:
        """Whether an app of the system serves users in this centre."""
        apps = [v for v in system.services if v.nature is Nature.ACTIVE]
        here = [(app, i) for app in apps if (i := app.at(centre)) is not None]
        return any(face(app, instance, self.snapshot).look is Look.SERVING for app, instance in here)

    def _copies(self, systems: Sequence[System]) -> Counter[tuple[str, str, Flow]]:
        """How many copies go from one centre to another, by flow."""
        found: Counter[tuple[str, str, Flow]] = Counter()
        for service in (v for system in systems for v in system.services if v.nature is Nature.REPLICATED):
            for arrow in arrows(self.frame.topology, service, self.snapshot):
                ends = [i.partition("@")[2] for i in (arrow.source, arrow.target)]
                if all(end in self._positions for end in ends):
                    found[ends[0], ends[1], arrow.flow] += 1
        return found

    def _adjacent(self, source: str, target: str) -> bool:
        return abs(self._positions[source] - self._positions[target]) == 1

    def _draw_copies(self, block: Block) -> None:
        found = sorted(self._copies(block.systems).items(), key=lambda item: self._order(item[0]))
        stacked: Counter[tuple[int, ...]] = Counter()
        lane = 0
        for (source, target, flow), number in found:
            self.flows.add(flow)
            ends = self.frame.column(source), self.frame.column(target)
            assert ends[0] is not None and ends[1] is not None
            if self._adjacent(source, target):
                pair = tuple(sorted((self._positions[source], self._positions[target])))
                self._short(block, (ends[0], ends[1]), flow, number, stacked[pair])
                stacked[pair] += 1
            else:
                self._long(block, (ends[0], ends[1]), flow, number, lane)
                lane += 1

    def _order(self, key: tuple[str, str, Flow]) -> tuple[int, int, int]:
        return self._positions[key[0]], self._positions[key[1]], list(Flow).index(key[2])

    def _short(self, block: Block, ends: tuple[Column, Column], flow: Flow, number: int, rank: int) -> None:
        """Between neighbours: an arrow in the gap, its number above it."""
        forward = ends[0].left < ends[1].left
        y = block.top + PAD + 19 + 30 * rank
        x1, x2 = (ends[0].right + 5, ends[1].left - 6) if forward else (ends[0].left - 5, ends[1].right + 6)
        self.canvas.line([(x1, y), (x2, y)], FLOWS[flow])
        self._number(((x1 + x2) / 2, y - 6), flow, number)

    def _long(self, block: Block, ends: tuple[Column, Column], flow: Flow, number: int, lane: int) -> None:
        """Past a centre: a line below the tiles."""
        y, below = block.lane(lane), block.top + PAD + block.tiles_height
        forward = 1 if ends[0].left < ends[1].left else -1
        x1, x2 = ends[0].middle, ends[1].middle
        points = [(x1, below + 3), (x1, y), (x2, y), (x2, below + 4)]
        self.canvas.line(points, FLOWS[flow])
        gap_at = ends[1].left - GAP / 2 if forward > 0 else ends[1].right + GAP / 2
        self._number((gap_at, y - 6), flow, number)

    def _number(self, at: Point, flow: Flow, number: int) -> None:
        label = f"{FLOW_WORDS[flow].of(self.frame.lang)} {number}"
        self.canvas.text(at, label, size=10.5, fill=FLOWS[flow].colour, anchor="middle", weight=600)

    def _dependencies(self, blocks: Sequence[Block]) -> None:
        """An arrow left of the cards from each block to those that it depends on."""
        block_of = {system.id: block for block in blocks for system in block.systems}
        pairs: dict[tuple[str, str], tuple[Block, Block]] = {}
        for block in blocks:
            for name in (name for system in block.systems for name in system.depends_on):
                other = block_of.get(name)
                if other is not None and other.key != block.key:
                    pairs[block.key, other.key] = (block, other)
        arriving: Counter[str] = Counter()
        leaving: Counter[str] = Counter()
        for rank, (block, other) in enumerate(pairs.values()):
            y1 = block.top + PAD + 26 + 7 * leaving[block.key]
            y2 = other.top + PAD + 58 - 7 * arriving[other.key]
            leaving[block.key] += 1
            arriving[other.key] += 1
            left, bend = MARGIN + GUTTER, MARGIN + GUTTER - 10 - 5 * (rank % 8)
            points = [(left - 1, y1), (bend, y1), (bend, y2), (left - 3, y2)]
            self.canvas.line(points, DEPENDS, radius=6)
        self.linked = bool(pairs)


def _main(system: System) -> Service | None:
    """The service that a system's tile shows: its first data, else its first app."""
    inside = [v for v in system.services if v.nature is not Nature.ROUTE]
    return next((v for v in inside if v.nature is Nature.REPLICATED), inside[0] if inside else None)


def _shared(names: Sequence[str]) -> str:
    """What all names begin with, cut where a word of letters or digits would be torn."""
    first, last = min(names), max(names)
    length = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    while length and first[length - 1].isascii() and first[length - 1].isalnum():
        length -= 1
    return first[:length]


def _count(number: int, tier: str) -> str:
    return f"{number} system{'' if number == 1 else 's'} · tier {tier}"


def _range(values: Sequence[float]) -> str:
    low, high = min(values), max(values)
    return span(low) if low == high else f"{span(low)}–{span(high)}"
