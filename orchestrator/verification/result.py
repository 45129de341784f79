"""From what was read to what is proven: words for troubles, and rows paired into differences. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable

import msgspec

from orchestrator.model.proof import ColumnDifference, DifferenceKind, Method, RowDifference, Sameness, TableProof
from orchestrator.model.rows import Row, RowsUnreadable, Table, Trouble
from orchestrator.model.topology import Frozen, Text

TROUBLES = {
    Trouble.LOST: Text(en="the connection was lost", zh="连接中断"),
    Trouble.DENIED: Text(en="access was denied", zh="无访问权限"),
    Trouble.LATE: Text(en="no answer within the bound", zh="未在时限内应答"),
    Trouble.LOCKED: Text(en="a lock was not granted in time", zh="未能及时取得锁"),
    Trouble.CONFLICT: Text(en="the replica cancelled the read in favour of replay", zh="备库为回放而取消了读取"),
    Trouble.DAMAGED: Text(en="the stored data is damaged", zh="存储的数据已损坏"),
    Trouble.AGED: Text(en="the snapshot was given up for its age", zh="快照因过旧而放弃"),
    Trouble.GONE: Text(en="the table changed its shape during the run", zh="运行期间表结构发生变化"),
    Trouble.OTHER: Text(en="it could not be read", zh="无法读取"),
}
OVERDUE = Text(en="not done within the time-out", zh="未在时限内完成")
VALUE_CHARS = 200
"""Values that an operator asked to see are cut after so many characters."""


def explain(error: RowsUnreadable) -> Text:
    """The trouble in words, with what the server said."""
    trouble = TROUBLES[error.trouble]
    return Text(en=f"{trouble.en} ({error.message})", zh=f"{trouble.zh}（{error.message}）")


class Pair(Frozen):
    """A row as both copies show it; None where a copy has none."""

    left: Row | None
    right: Row | None


def pair_rows(lefts: Iterable[Row], rights: Iterable[Row]) -> tuple[Pair, ...]:
    """Rows of both copies paired by key (by place where there is none), those left out that are the same.

    A key that a copy holds twice is paired one to one, and what remains is missing or extra.
    """
    left, right = _by_name(lefts), _by_name(rights)
    pairs: list[Pair] = []
    for name in sorted(left.keys() | right.keys()):
        ours, theirs = _without_equals(left.get(name, []), right.get(name, []))
        for number in range(max(len(ours), len(theirs))):
            pairs.append(
                Pair(
                    left=ours[number] if number < len(ours) else None,
                    right=theirs[number] if number < len(theirs) else None,
                )
            )
    return tuple(pairs)


def _by_name(rows: Iterable[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.key or row.place, []).append(row)
    return found


def _without_equals(ours: list[Row], theirs: list[Row]) -> tuple[list[Row], list[Row]]:
    remaining = list(theirs)
    kept: list[Row] = []
    for row in ours:
        twin = next((other for other in remaining if other.print == row.print), None)
        if twin is None:
            kept.append(row)
        else:
            remaining.remove(twin)
    return kept, remaining


def difference(pair: Pair) -> RowDifference:
    """One pair in words; values are there only if they were read."""
    row = pair.left or pair.right
    assert row is not None
    key = _key_text(row.key) or f"place {row.place}"
    if pair.left is None or pair.right is None:
        kind = DifferenceKind.EXTRA if pair.left is None else DifferenceKind.MISSING
        return RowDifference(kind=kind, key=key)
    columns = tuple(
        ColumnDifference(name=mine.name, left=_shown(mine.text), right=_shown(its.text))
        for mine, its in zip(pair.left.cells, pair.right.cells, strict=True)
        if mine.print != its.print
    )
    return RowDifference(kind=DifferenceKind.CHANGED, key=key, columns=columns)


def _shown(text: str | None) -> str | None:
    return text if text is None or len(text) <= VALUE_CHARS else text[:VALUE_CHARS] + "…"


def _key_text(key: str) -> str:
    if not key:
        return ""
    parts = json.loads(key)
    return str(parts[0]) if len(parts) == 1 else f"({', '.join(map(str, parts))})"


def table_proof(
    table: Table, sameness: Sameness, reason: Text | None = None, method: Method = Method.CUT
) -> TableProof:
    """The result of one table before rows are counted."""
    proof = TableProof(database=table.database, table=table.full_name, key=table.key, sameness=sameness, method=method)
    return msgspec.structs.replace(proof, reason=reason) if reason else proof


def unknown(table: Table, error: RowsUnreadable, method: Method) -> TableProof:
    """A table of which nothing can be told, and why."""
    proof = table_proof(table, Sameness.UNKNOWN, explain(error), method)
    return msgspec.structs.replace(proof, trouble=error.trouble.value)
