"""Scales and marks that the report's charts share. Colours stand in report.css, by class."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from orchestrator.reports.drawing import text_width
from orchestrator.reports.markup import Markup, el, join, number
from orchestrator.reports.words import Words

WIDTH = 1040.0
"""Units of a picture across the page; one is a pixel where the page is wide enough."""
TEXT = 12.0
"""Size of text in pictures."""
BOLD = 1.09
"""Bold text is so much wider."""
SAFE = 1.2
"""Readers' fonts may be so much wider than the estimate."""


@dataclass(frozen=True)
class Scale:
    """Seconds to the right: `begin` … `end` on `left` … `right`."""

    begin: float
    end: float
    left: float
    right: float

    def x(self, second: float) -> float:
        """Where a second lies; not clipped."""
        return self.left + (second - self.begin) / max(self.end - self.begin, 1e-9) * (self.right - self.left)

    def clipped(self, second: float) -> float:
        """Where a second lies, at the edge where it is outside."""
        return min(max(self.x(second), self.left), self.right)

    def holds(self, second: float | None) -> bool:
        """Whether a second is inside."""
        return second is not None and self.begin <= second <= self.end

    def ticks(self) -> Iterator[float]:
        """Round seconds, about eight of them, zero among them where it is inside."""
        step = nice((self.end - self.begin) / 8)
        first = math.ceil(self.begin / step - 1e-9)
        last = math.floor(self.end / step + 1e-9)
        return (round(n * step, 9) for n in range(first, last + 1))


def nice(span: float) -> float:
    """The next larger of 1, 2, 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(max(span, 1e-6)))
    return next(f * power for f in (1.0, 2.0, 5.0, 10.0) if f * power >= span * 0.999)


def time_axis(scale: Scale, top: float, bottom: float, words: Words) -> Markup:
    """Grid lines from `top` to `bottom`, and their seconds below."""
    ticks = list(scale.ticks())
    grid = "".join(f"M{number(scale.x(t))} {number(top)}V{number(bottom)}" for t in ticks)
    unit = words("s", "秒")
    labels = join(label(scale.x(t), bottom + 15, f"{t:g} {unit}", class_="ax", anchor="middle") for t in ticks)
    return join((el("path", d=grid, class_="gl"), labels))


def label(x: float, y: float, text: str, *, class_: str = "tx", anchor: str | None = None) -> Markup:
    """One line of text, on its base line."""
    return el("text", text, x=float(x), y=float(y), class_=class_, text_anchor=anchor)


def markers(
    scale: Scale, top: float, bottom: float, marks: Iterable[tuple[float | None, str, str]], gap: float = 10.0
) -> Markup:
    """Upright lines with their names above them, side by side where they would touch: (second, class, name)."""
    parts, taken = [], scale.left - 1000.0
    for second, class_, name in sorted((m for m in marks if scale.holds(m[0])), key=lambda m: m[0] or 0.0):
        x = scale.x(second or 0.0)
        parts.append(el("path", d=f"M{number(x)} {number(top)}V{number(bottom)}", class_=f"mk {class_}"))
        width = text_width(name, TEXT) * BOLD
        start = max(x - 2, taken + gap)
        fits = start + width * SAFE <= WIDTH
        parts.append(
            label(start if fits else WIDTH, top - 5, name, class_=f"tm {class_}", anchor=None if fits else "end")
        )
        taken = start + width
    return join(parts)


def picture(height: float, title: str, *shapes: Markup) -> Markup:
    """A whole picture, with its title for those who do not see it."""
    return el(
        "svg",
        el("title", title),
        *shapes,
        viewBox=f"0 0 {number(WIDTH)} {number(height)}",
        role="img",
        aria_label=title,
        class_="pic",
    )
