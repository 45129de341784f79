"""Which tables are compared, whether both copies have the same ones, and the sequences beside them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

import msgspec

from orchestrator.model.proof import NOTHING, Method, Sameness, TableProof
from orchestrator.model.rows import RowsUnreadable, Table
from orchestrator.model.rows import Sequence as Counter
from orchestrator.model.topology import Text
from orchestrator.verification.positions import Follower
from orchestrator.verification.result import table_proof, unknown

PREFETCH = 32
"""PostgreSQL logs a sequence so many values ahead (SEQ_LOG_VALS), so a replica may show up to that many more."""
ROUNDS = 3
ALTERED = Text(en="the table was altered, rewritten or emptied during the run", zh="运行期间该表被修改结构、重写或清空")
AHEAD = Text(en="equal within the values that are logged ahead", zh="在预写范围内一致")
OVERDUE = Text(en="the bound of the whole comparison had passed", zh="整体比对已超时")
NO_KEY = Text(en="no key: rows are named by their place", zh="无主键：以物理位置标识行")


def chosen(tables: Iterable[Table], patterns: Sequence[str]) -> tuple[Table, ...]:
    """Those tables that a pattern names (`table`, `schema.table` or `database.schema.table`); all without patterns."""
    return tuple(t for t in tables if not patterns or any(_named(t, pattern) for pattern in patterns))


def _named(table: Table, pattern: str) -> bool:
    names = (table.name, table.full_name, f"{table.database}.{table.full_name}")
    return any(fnmatchcase(name, pattern) for name in names)


def skipped(table: Table, method: Method) -> TableProof:
    """A table whose content is not meant to be the same."""
    return table_proof(table, Sameness.SKIPPED, table.skip or NOTHING, method)


async def shape_differs(follower: Follower, table: Table) -> TableProof | None:
    """A table whose marks differ between the catalogues, looked at until it is certain; None if they agree after all.

    Raises:
        RowsUnreadable: one of the copies could not be read.
    """
    for _ in range(ROUNDS):
        before = await follower.primary.mark_of(table)
        await follower.reach(await follower.mark())
        theirs = await follower.replica.mark_of(table)
        if theirs == before:
            return None
        await follower.level()
        if await follower.primary.mark_of(table) == before:
            return table_proof(table, Sameness.DIFFERENT, _mismatch(before, theirs))
    return table_proof(table, Sameness.UNKNOWN, ALTERED)


def _mismatch(ours: str, theirs: str) -> Text:
    if not theirs:
        return Text(en="the replica does not have this table", zh="备库没有该表")
    if not ours:
        return Text(en="only the replica has this table", zh="仅备库有该表")
    return Text(en="the replica's table has another shape or storage", zh="备库的表结构或存储不同")


def mismatched(ours: Iterable[Table], theirs: Iterable[Table]) -> tuple[Table, ...]:
    """Tables that only one catalogue has, or that differ in shape."""
    left = {(t.schema, t.name): t for t in ours}
    right = {(t.schema, t.name): t for t in theirs}
    names = sorted(n for n in left.keys() | right.keys() if _mark(left, n) != _mark(right, n))
    return tuple(left.get(name) or right[name] for name in names)


def _mark(tables: Mapping[tuple[str, str], Table], name: tuple[str, str]) -> str:
    return tables[name].mark if name in tables else ""


async def unaltered(follower: Follower, table: Table, proof: TableProof) -> TableProof:
    """The proof as it is, if the table is still the one that was to be compared; else could not tell.

    A snapshot does not protect against this: a rewritten or emptied table reads as empty in snapshots taken before.
    """
    if proof.sameness is Sameness.SKIPPED:
        return proof
    try:
        mark = await follower.primary.mark_of(table)
    except RowsUnreadable as error:
        return unknown(table, error, proof.method)
    if mark == table.mark:
        return proof
    return altered(table, proof.method)


def altered(table: Table, method: Method) -> TableProof:
    """A table that became another one while it was compared."""
    return table_proof(table, Sameness.UNKNOWN, ALTERED, method)


async def compare_sequences(follower: Follower, database: str, patterns: Sequence[str]) -> tuple[TableProof, ...]:
    """Every sequence of a database: the replica's last value lies between the primary's before and its after (which may
    be logged ahead). A replica that is behind would hand out values twice after a promotion.

    Raises:
        RowsUnreadable: one of the copies could not be read.
    """
    before = await follower.primary.sequences(database)
    await follower.reach(await follower.mark())
    theirs = {(s.schema, s.name): s for s in await follower.replica.sequences(database)}
    await follower.level()
    after = {(s.schema, s.name): s for s in await follower.primary.sequences(database)}
    proofs = (
        judge_sequence(database, s, theirs.get((s.schema, s.name)), after.get((s.schema, s.name)))
        for s in before
        if not patterns or any(fnmatchcase(f"{s.schema}.{s.name}", p) or fnmatchcase(s.name, p) for p in patterns)
    )
    return tuple(proofs)


def judge_sequence(database: str, before: Counter, theirs: Counter | None, after: Counter | None) -> TableProof:
    """One sequence: the primary's before and after, and between them the replica's (None: it is not there)."""
    proof = TableProof(
        database=database,
        table=f"{before.schema}.{before.name} (sequence)",
        sameness=Sameness.UNKNOWN,
        method=Method.RECHECK,
        reason=ALTERED,
    )
    if after is None or (after.increment, after.cache) != (before.increment, before.cache):
        return proof
    if theirs is None:
        reason = Text(en="the replica does not have this sequence", zh="备库没有该序列")
        return msgspec.structs.replace(proof, sameness=Sameness.DIFFERENT, reason=reason)
    return msgspec.structs.replace(proof, **_between(before, theirs, after))


def _between(before: Counter, theirs: Counter, after: Counter) -> dict[str, Sameness | Text]:
    if before.last_value == theirs.last_value == after.last_value:
        return {"sameness": Sameness.EQUAL, "reason": NOTHING}
    step = -1 if before.increment < 0 else 1
    ahead = (PREFETCH + before.cache) * before.increment
    low, seen, high = before.last_value, theirs.last_value, after.last_value
    values = Text(
        en=f"the primary went from {low} to {high}, the replica shows {seen}",
        zh=f"主库由 {low} 变为 {high}，备库为 {seen}",
    )
    if low is not None and high is not None and step * high < step * low:
        return {"sameness": Sameness.UNKNOWN, "reason": values}
    if seen is None:
        return {"sameness": Sameness.EQUAL if low is None else Sameness.DIFFERENT, "reason": values}
    if high is None:
        return {"sameness": Sameness.DIFFERENT if low is None else Sameness.UNKNOWN, "reason": values}
    if (low is None or step * seen >= step * low) and step * seen <= step * (high + ahead):
        return {"sameness": Sameness.EQUAL, "reason": NOTHING if seen == high else AHEAD}
    return {"sameness": Sameness.DIFFERENT, "reason": values}
