"""The few SVG shapes that pictures are made of. Text is escaped; nothing is fetched, no font, script or style sheet.

Arrow heads are drawn as shapes and colours as attributes, so that several pictures can stand in one HTML page.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from typing import Final, NamedTuple
from xml.sax.saxutils import escape, quoteattr

FONT: Final = (
    "system-ui, 'Segoe UI', Roboto, 'Noto Sans', 'Noto Sans CJK SC', 'PingFang SC', 'Microsoft YaHei', sans-serif"
)
Point = tuple[float, float]


def text_width(text: str, size: float, *, bold: bool = False) -> float:
    """Estimated width of a text in px, for the widest of the usual sans-serif fonts (DejaVu Sans)."""
    narrow, wide = "iljtfI.,:;'|!()[] ·", "mwMW@%"
    ems = 0.0
    for char in text:
        if unicodedata.east_asian_width(char) in "WF":
            ems += 1.0
        else:
            ems += 0.36 if char in narrow else 0.92 if char in wide else 0.7 if char.isupper() else 0.6
    return ems * size * (1.1 if bold else 1.0)


def fitted(text: str, size: float, width: float, *, bold: bool = False) -> str:
    """The text, cut with an ellipsis where it is wider than `width` px."""
    if text_width(text, size, bold=bold) <= width:
        return text
    while text and text_width(text + "…", size, bold=bold) > width:
        text = text[:-1]
    return text.rstrip() + "…"


def shrunk(text: str, size: float, width: float, least: float) -> float:
    """The font size, not below `least`, at which a bold text is no wider than `width` px."""
    return max(least, min(size, size * width / (text_width(text, size, bold=True) or 1)))


def number(value: float) -> str:
    """A coordinate, short."""
    return f"{value:.1f}".rstrip("0").rstrip(".")


class Stroke(NamedTuple):
    """How a line is drawn."""

    colour: str
    width: float = 1.0
    dash: str = ""

    def attributes(self) -> str:
        """As SVG attributes."""
        dash = f' stroke-dasharray="{self.dash}"' if self.dash else ""
        return f'stroke="{self.colour}" stroke-width="{number(self.width)}"{dash} stroke-linecap="round"'


class Canvas:
    """Collects shapes in drawing order."""

    def __init__(self) -> None:
        self._parts: list[str] = []

    def raw(self, markup: str) -> None:
        """Markup that is known to be well-formed and escaped."""
        self._parts.append(markup)

    def include(self, other: Canvas) -> None:
        """The shapes of another canvas, on top of what is here."""
        self._parts.extend(other._parts)

    def rect(self, at: Point, size: Point, *, fill: str, stroke: Stroke | None = None, radius: float = 6) -> None:
        """A rectangle."""
        (x, y), (width, height) = at, size
        outline = f" {stroke.attributes()}" if stroke else ""
        self.raw(
            f'<rect x="{number(x)}" y="{number(y)}" width="{number(width)}" height="{number(height)}"'
            f' rx="{number(radius)}" fill="{fill}"{outline}/>'
        )

    def dot(self, at: Point, radius: float, fill: str) -> None:
        """A filled circle."""
        self.raw(f'<circle cx="{number(at[0])}" cy="{number(at[1])}" r="{number(radius)}" fill="{fill}"/>')

    def path(self, d: str, stroke: Stroke) -> None:
        """A path by its commands."""
        self.raw(f'<path d="{d}" fill="none" {stroke.attributes()} stroke-linejoin="round"/>')

    def text(
        self, at: Point, text: str, *, size: float = 12, fill: str = "#1b2733", anchor: str = "start", weight: int = 400
    ) -> None:
        """One line of text; `at` is on its base line."""
        bold = f' font-weight="{weight}"' if weight != 400 else ""
        where = "" if anchor == "start" else f' text-anchor="{anchor}"'
        self.raw(
            f'<text x="{number(at[0])}" y="{number(at[1])}" font-size="{number(size)}" fill="{fill}"{where}{bold}>'
            f"{escape(text)}</text>"
        )

    def group(self, title: str) -> None:
        """Open a group with a title, which readers and pointers show."""
        self.raw(f"<g><title>{escape(title)}</title>")

    def end(self) -> None:
        """Close a group."""
        self.raw("</g>")

    def line(self, points: Sequence[Point], stroke: Stroke, *, radius: float = 8) -> None:
        """A line along points with rounded corners, and an arrow head at its end."""
        self.path(_rounded(points, radius), stroke)
        self.head(points[-2], points[-1], stroke.colour)

    def curve(self, start: Point, pull: tuple[Point, Point], end: Point, stroke: Stroke) -> None:
        """A cubic curve with an arrow head."""
        dots = " ".join(f"{number(x)},{number(y)}" for x, y in (*pull, end))
        self.path(f"M{number(start[0])},{number(start[1])} C{dots}", stroke)
        self.head(pull[1], end, stroke.colour)

    def head(self, before: Point, tip: Point, fill: str, size: float = 7) -> None:
        """An arrow head at `tip`, pointing away from `before`."""
        angle = math.atan2(tip[1] - before[1], tip[0] - before[0])
        wings = [(angle + math.pi - 0.42), (angle + math.pi + 0.42)]
        corners = [tip, *((tip[0] + size * math.cos(w), tip[1] + size * math.sin(w)) for w in wings)]
        dots = " ".join(f"{number(x)},{number(y)}" for x, y in corners)
        self.raw(f'<polygon points="{dots}" fill="{fill}"/>')

    def document(self, size: Point, title: str, description: str) -> str:
        """The whole picture, with a title and description for those who do not see it."""
        width, height = (number(side) for side in size)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
            f' role="img" aria-label={quoteattr(title)} font-family="{FONT}">'
            f"<title>{escape(title)}</title><desc>{escape(description)}</desc>" + "".join(self._parts) + "</svg>\n"
        )


def _rounded(points: Sequence[Point], radius: float) -> str:
    """Commands of a line along points whose corners are rounded."""
    commands = [f"M{number(points[0][0])},{number(points[0][1])}"]
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        enter, leave = _towards(corner, before, radius), _towards(corner, after, radius)
        commands.append(f"L{number(enter[0])},{number(enter[1])}")
        commands.append(f"Q{number(corner[0])},{number(corner[1])} {number(leave[0])},{number(leave[1])}")
    commands.append(f"L{number(points[-1][0])},{number(points[-1][1])}")
    return " ".join(commands)


def _towards(start: Point, end: Point, distance: float) -> Point:
    length = math.dist(start, end) or 1.0
    part = min(distance, length / 2) / length
    return start[0] + (end[0] - start[0]) * part, start[1] + (end[1] - start[1]) * part
