"""The table at the end: per scenario and kind how many kills ended right, and how to see each that did not."""

from __future__ import annotations

from collections import Counter
from typing import Any

KINDS = ("before", "after", "inside", "resume", "frozen", "closing", "special", "asked")
HEADS = ("scenario", "killed", "cases", "right", "not struck", "wrong")


def table(results: list[dict[str, Any]], wanted: int) -> str:
    """Text for a terminal."""
    count: Counter[tuple[str, str]] = Counter()
    right: Counter[tuple[str, str]] = Counter()
    missed: Counter[tuple[str, str]] = Counter()
    for result in results:
        key = (result["scenario"], result["kind"])
        count[key] += 1
        right[key] += not result["problems"]
        missed[key] += not result["struck"]
    order = sorted(count, key=lambda key: (key[0], KINDS.index(key[1])))
    rows = [(*key, count[key], right[key], missed[key], count[key] - right[key]) for key in order]
    total = ("all", "", *(sum(int(row[i]) for row in rows) for i in range(2, 6)))
    lines = [_line(HEADS), *(_line(row) for row in rows), _line(total), f"{len(results)} of {wanted} cases were run"]
    lines += [line for r in results if r["problems"] for line in _wrong(r)]
    return "\n".join(lines)


def _line(cells: tuple[object, ...]) -> str:
    return f"{cells[0]:<16}{cells[1]:<10}" + "".join(f"{cell!s:>12}" for cell in cells[2:])


def _wrong(result: dict[str, Any]) -> list[str]:
    return [f"WRONG {result['command']}", *(f"      {problem}" for problem in result["problems"])]
