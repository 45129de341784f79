"""What stands around the rows: schema, extensions, roles and settings of a replica against those of the primary.

Facts are read at the primary, at the replica once it has replayed that position, and at the primary again: only what
stood still there can be told, and what was changed meanwhile is looked at again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from orchestrator.model.proof import (
    ColumnDifference,
    DifferenceKind,
    DriftProof,
    Method,
    RowDifference,
    Sameness,
    TableProof,
)
from orchestrator.model.rows import Fact, RowsUnreadable
from orchestrator.model.topology import Text
from orchestrator.verification.options import Options
from orchestrator.verification.positions import Follower, beside
from orchestrator.verification.result import explain
from orchestrator.verification.source import RowSource

ROUNDS = 3
NAMED = 50
RESTLESS = Text(en="it was changed at every look", zh="每次读取时都在变化")

Facts = Mapping[tuple[str, str], str]


async def prove_drift(primary: RowSource, replica: RowSource, options: Options) -> DriftProof:
    """Compare the facts of every database, and those of the whole cluster; never raises for a copy it cannot read."""
    follower = beside(primary, replica, options)
    groups: list[TableProof] = []
    try:
        for database in ("", *await primary.databases()):
            groups += await _database(follower, database, options.show_values)
    except RowsUnreadable as error:
        return DriftProof(groups=tuple(groups), reason=explain(error))
    return DriftProof(groups=tuple(groups))


async def _database(follower: Follower, database: str, show: bool) -> list[TableProof]:
    for _ in range(ROUNDS):
        before = await follower.primary.facts(database)
        await follower.reach(await follower.mark())
        theirs = await follower.replica.facts(database)
        if set(before) == set(theirs):
            return judge(database, before, theirs, show)
        await follower.level()
        if set(await follower.primary.facts(database)) == set(before):
            return judge(database, before, theirs, show)
    return [TableProof(database=database, table="*", sameness=Sameness.UNKNOWN, reason=RESTLESS)]


def judge(database: str, ours: Iterable[Fact], theirs: Iterable[Fact], show: bool) -> list[TableProof]:
    """One result for each kind of fact."""
    left, right = list(ours), list(theirs)
    kinds = sorted({fact.kind for fact in (*left, *right)})
    return [_kind(database, kind, _of(left, kind), _of(right, kind), show) for kind in kinds]


def _of(facts: Iterable[Fact], kind: str) -> Facts:
    return {(f.kind, f.name): f.value for f in facts if f.kind == kind}


def _kind(database: str, kind: str, left: Facts, right: Facts, show: bool) -> TableProof:
    differing = sorted(key for key in left.keys() | right.keys() if left.get(key) != right.get(key))
    return TableProof(
        database=database,
        table=kind,
        sameness=Sameness.DIFFERENT if differing else Sameness.EQUAL,
        rows_left=len(left),
        rows_right=len(right),
        key=("name",),
        differences=tuple(_difference(key, left, right, show) for key in differing[:NAMED]),
        differing=len(differing),
        method=Method.RECHECK,
    )


def _difference(key: tuple[str, str], left: Facts, right: Facts, show: bool) -> RowDifference:
    if key not in right:
        return RowDifference(kind=DifferenceKind.MISSING, key=key[1])
    if key not in left:
        return RowDifference(kind=DifferenceKind.EXTRA, key=key[1])
    values = (left[key], right[key]) if show else (None, None)
    column = ColumnDifference(name="value", left=values[0], right=values[1])
    return RowDifference(kind=DifferenceKind.CHANGED, key=key[1], columns=(column,))
