"""The table at the end: per scenario and kind how many cases were struck and ended right, and what did not."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from tests.crash.cases import Case
from tests.crash.chains import Line

KINDS = ("before", "after", "inside", "resume", "frozen", "closing", "special", "more")
"""`more`: points that the run without a kill did not come by, and a killed one did."""
HEADS = ("scenario", "killed", "cases", "right", "not struck", "wrong")
NAMED = 40


def table(cases: Sequence[Case], lines: Collection[Line], tried: Collection[str] = ()) -> str:
    """Text for a terminal.

    Args:
        cases: all that there are.
        lines: what was run.
        tried: scenarios that are through: what was not struck there will not be.
    """
    right = {(line.scenario, text) for line in lines for text in line.cases if not line.problems}
    wrong = {(line.scenario, text) for line in lines for text in line.cases if line.problems} - right
    known = {(c.scenario, c.text): c.kind for c in cases}
    known |= {key: "more" for key in (*right, *wrong) if key not in known}
    rows = list(_rows(known, right, wrong))
    total = ("all", "", *(sum(int(str(row[i])) for row in rows) for i in range(2, 6)))
    runs = f"{len(lines)} runs, {sum(len(line.points) for line in lines)} kills"
    missing = [f"{s} {text}" for (s, text) in known if (s, text) not in right | wrong and s in tried]
    told = [_line(HEADS), *(_line(row) for row in rows), _line(total), runs]
    told += [f"not struck: {name}" for name in missing[:NAMED]]
    return "\n".join([*told, *(text for line in lines if line.problems for text in _wrong(line))])


def _rows(
    known: dict[tuple[str, str], str], right: Collection[tuple[str, str]], wrong: Collection[tuple[str, str]]
) -> Iterator[tuple[object, ...]]:
    for scenario in dict.fromkeys(s for s, _ in known):
        for kind in KINDS:
            mine = [key for key, its in known.items() if its == kind and key[0] == scenario]
            if mine:
                good, bad = (sum(key in found for key in mine) for found in (right, wrong))
                yield scenario, kind, len(mine), good, len(mine) - good - bad, bad


def _line(cells: tuple[object, ...]) -> str:
    return f"{cells[0]:<16}{cells[1]:<10}" + "".join(f"{cell!s:>12}" for cell in cells[2:])


def _wrong(line: Line) -> list[str]:
    return [f"WRONG {line.command}", *(f"      {problem}" for problem in line.problems)]
