"""HTML and SVG in which nothing is markup unless it was made here: every other text is escaped."""

from __future__ import annotations

import html
from collections.abc import Iterable

VOID = frozenset({"meta", "br", "hr", "col", "link"})
EMPTY_SVG = frozenset({"rect", "line", "path", "circle"})


class Markup(str):
    """Text that is markup already."""

    __slots__ = ()


Child = str | int | Iterable["Child"] | None
"""Plain text is escaped; None is nothing; a sequence stands for its members."""


def el(tag: str, *children: Child, **attributes: str | float | bool | None) -> Markup:
    """An element. `class_` loses its underscore, other `_` become `-`; None and False leave an attribute out."""
    inside = "".join(_text(c) for c in children)
    head = f"<{tag}{''.join(_attribute(k, v) for k, v in attributes.items())}"
    if tag in VOID:
        return Markup(f"{head}>")
    if tag in EMPTY_SVG and not inside:
        return Markup(f"{head}/>")
    return Markup(f"{head}>{inside}</{tag}>")


def join(parts: Iterable[Child]) -> Markup:
    """Several children as one."""
    return Markup("".join(_text(p) for p in parts))


def _text(child: Child) -> str:
    if child is None:
        return ""
    if isinstance(child, Markup):
        return child
    if isinstance(child, str):
        return html.escape(visible(child), quote=True)
    if isinstance(child, int):
        return str(child)
    return "".join(_text(c) for c in child)


def _attribute(name: str, value: str | float | bool | None) -> str:
    if value is None or value is False:
        return ""
    key = name.rstrip("_").replace("_", "-")
    if value is True:
        return f" {key}"
    text = number(value) if isinstance(value, float) else str(value)
    return f' {key}="{html.escape(visible(text), quote=True)}"'


def number(value: float) -> str:
    """A coordinate, short: two decimals at most."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if value % 1 else f"{value:.0f}"


def visible(text: str) -> str:
    """The text without control characters and direction overrides, which could make a name look like another one."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text)


def table(
    heads: Iterable[Child], rows: Iterable[Iterable[Child]], *, numeric: Iterable[int] = (), class_: str | None = None
) -> Markup:
    """A table; columns whose numbers are in `numeric` are set flush right."""
    right = frozenset(numeric)

    def cells(tag: str, row: Iterable[Child]) -> Markup:
        return join(el(tag, c, class_="n" if i in right else None) for i, c in enumerate(row))

    body = join(el("tr", cells("td", row)) for row in rows)
    head = el("thead", el("tr", cells("th", heads)))
    return el("div", el("table", head, el("tbody", body), class_=class_), class_="wide")
