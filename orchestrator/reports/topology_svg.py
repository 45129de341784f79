"""The topology as a picture (SVG), as declared or as a snapshot saw it: for a page, a report or a file of its own."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from orchestrator.model.observation import Snapshot
from orchestrator.model.topology import System, Topology
from orchestrator.reports import topology_rows, topology_tiles
from orchestrator.reports.drawing import Canvas
from orchestrator.reports.topology_frame import MARGIN, draw_frame, draw_legend, draw_title, lay_out
from orchestrator.reports.topology_look import face

ROWS_MAX: Final = 12
"""Up to this many systems are drawn with every service; more as tiles."""


def topology_svg(
    topology: Topology,
    *,
    lang: str,
    snapshot: Snapshot | None = None,
    systems: Collection[str] | None = None,
    highlight: Collection[str] = (),
    caption: str = "",
) -> str:
    """The picture of an estate, as one SVG element.

    Args:
        topology: what is drawn.
        lang: "zh" or "en".
        snapshot: colours and arrows show what was seen; without it, what is declared.
        systems: ids of the systems to draw; None for all.
        highlight: ids of instances, systems and centres (lost ones, say) that get an orange outline.
        caption: the line below the title; by default it counts what is shown.

    Up to ROWS_MAX systems are drawn in full; above, each is one tile per centre, grouped.
    """
    chosen = [s for s in topology.systems if systems is None or s.id in systems]
    canvas, body = Canvas(), Canvas()
    painter: topology_rows.Rows | topology_tiles.Tiles
    if len(chosen) <= ROWS_MAX:
        frame = lay_out(topology, lang, topology_rows.LEFT, width=topology_rows.COLUMN, gap=topology_rows.GAP)
        painter = topology_rows.Rows(body, frame, snapshot, highlight)
    else:
        frame = lay_out(topology, lang, topology_tiles.LEFT, width=topology_tiles.COLUMN, gap=topology_tiles.GAP)
        painter = topology_tiles.Tiles(body, frame, snapshot, highlight)
    bottom = painter.draw(chosen) + 12
    subtitle = caption or _count(topology, chosen, snapshot, lang)
    draw_frame(canvas, frame, bottom, frozenset(highlight))
    draw_title(canvas, frame, subtitle)
    canvas.include(body)
    height = draw_legend(canvas, frame, bottom + 18, painter.legend()) + MARGIN
    description = _describe(chosen, snapshot, lang)
    return canvas.document((frame.right + MARGIN, height), f"{topology.name.of(lang)}: {subtitle}", description)


def _count(topology: Topology, chosen: Sequence[System], snapshot: Snapshot | None, lang: str) -> str:
    cities, centres = len(topology.sites), len(topology.centres)
    zh = lang.startswith("zh")
    seen = (f"观测于 {snapshot.taken_at}" if zh else f"seen at {snapshot.taken_at}") if snapshot else ""
    state = seen or ("按声明" if zh else "as declared")
    if zh:
        return f"{cities} 地 {centres} 中心 · {len(chosen)} 个业务系统 · {state}"
    places = f"{_plural(cities, 'city', 'cities')}, {_plural(centres, 'centre')}"
    return f"{places} · {_plural(len(chosen), 'system')} · {state}"


def _plural(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"


def _describe(chosen: Sequence[System], snapshot: Snapshot | None, lang: str) -> str:
    """The picture in words, for those who do not see it."""
    lines = []
    for system in chosen:
        parts = []
        for service in system.services:
            seen = ", ".join(f"{i.centre}: {face(service, i, snapshot).caption.of(lang)}" for i in service.instances)
            parts.append(f"{service.name} ({seen})")
        lines.append(f"{system.name.of(lang)}: {'; '.join(parts)}")
    return ". ".join(lines)
