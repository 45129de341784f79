"""Compares a table of two copies that do not follow each other: one snapshot at each side, no common position.

Rows lie anywhere here, so each side is read in its own order and its sums are kept per bucket (by the hash of the
key); buckets whose sums differ are listed in a second pass and their rows matched by key, or as a multiset of hashes
where the table has no key. Memory does not grow with the table.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from orchestrator.model.proof import Method, Sameness, TableProof
from orchestrator.model.rows import Address, Digest, Form, RowPrint, Table
from orchestrator.model.topology import Text
from orchestrator.verification.options import Pace
from orchestrator.verification.pacing import Brake
from orchestrator.verification.result import Pair, difference, pair_rows, table_proof
from orchestrator.verification.rows import BATCH, MOST, Found
from orchestrator.verification.source import RowView
from orchestrator.verification.spans import spans_of

ROWS_PER_BUCKET = 4096
MOST_BUCKETS = 16384
BUCKETS_AT_ONCE = 16
NONE = Digest(rows=0, total=0)


@dataclass(frozen=True)
class Side:
    """One copy's table, as its own catalogue describes it, and a frozen view of it."""

    table: Table
    view: RowView


@dataclass(frozen=True)
class ApartJob:
    """Two sides of one table."""

    left: Side
    right: Side
    form: Form
    pace: Pace
    show: bool = False
    brake: Brake = field(default_factory=Brake)

    @property
    def of(self) -> int:
        """Number of buckets: a power of two."""
        rows = max(self.left.table.rows_estimate, self.right.table.rows_estimate, self.left.table.pages * 32)
        return int(min(MOST_BUCKETS, 1 << max(0, rows // ROWS_PER_BUCKET).bit_length()))


@dataclass(frozen=True)
class Swept:
    """What two snapshots of a table showed."""

    found: Found
    rows_left: int
    rows_right: int
    differs: bool


def side_by_side(left: Table, right: Table) -> tuple[Table, Table]:
    """Two tables with the same columns as the first one lists them, each hashed as both copies would, else by its text.

    Another copy may hold its columns in another order, and what it calls equal may depend on what else is there (a
    collation for which 'a' is 'A').
    """
    theirs = {column.name: column.hash for column in right.columns}
    columns = tuple(c if c.hash == theirs[c.name] else msgspec.structs.replace(c, hash="") for c in left.columns)
    return msgspec.structs.replace(left, columns=columns), msgspec.structs.replace(right, columns=columns, key=left.key)


async def compare_apart(job: ApartJob, named: int) -> TableProof:
    """Compare one table.

    Raises:
        RowsUnreadable: one of the sides could not be read.
    """
    swept = await sweep_apart(job, named)
    return apart_proof(job.left.table, Sameness.DIFFERENT if swept.differs else Sameness.EQUAL, swept, swept.found)


async def sweep_apart(job: ApartJob, keep: int) -> Swept:
    """Compare one table, and keep so many rows that differ.

    Raises:
        RowsUnreadable: one of the sides could not be read.
    """
    left, right = await asyncio.gather(_sums(job, job.left), _sums(job, job.right))
    found = Found(keep=keep)
    buckets = sorted(b for b in left.keys() | right.keys() if not left.get(b, NONE).same(right.get(b, NONE)))
    for start in range(0, len(buckets), BUCKETS_AT_ONCE):
        if found.more:
            break
        await _list(job, tuple(buckets[start : start + BUCKETS_AT_ONCE]), found)
    rows_left, rows_right = (sum(d.rows for d in side.values()) for side in (left, right))
    return Swept(found, rows_left, rows_right, bool(buckets))


def apart_proof(table: Table, sameness: Sameness, swept: Swept, found: Found, reason: Text | None = None) -> TableProof:
    """The result of one table: its rows, and what was found of them."""
    return msgspec.structs.replace(
        table_proof(table, sameness, reason, Method.APART),
        rows_left=swept.rows_left,
        rows_right=swept.rows_right,
        differences=tuple(difference(pair) for pair in found.pairs),
        differing=found.differing,
        more=found.more,
        rounds=found.rounds,
    )


async def _sums(job: ApartJob, side: Side) -> Mapping[int, Digest]:
    sums: dict[int, Digest] = {}
    for span in spans_of(side.table):
        begun = time.monotonic()
        read = await side.view.buckets(side.table, job.form, span, job.of)
        await job.brake.rest(time.monotonic() - begun)
        for found in read:
            sums[found.bucket] = sums.get(found.bucket, NONE).plus(found.digest)
            job.pace.add(found.digest.rows if side is job.left else 0, side.table.full_name)
    return sums


async def _list(job: ApartJob, buckets: tuple[int, ...], found: Found) -> None:
    ours, theirs = await asyncio.gather(_prints(job, job.left, buckets), _prints(job, job.right, buckets))
    if not job.left.table.key:
        left, right = _multiset(ours, theirs), _multiset(theirs, ours)
    else:
        prints_left, prints_right = {(p.key, p.print) for p in ours}, {(p.key, p.print) for p in theirs}
        left = [p.place for p in ours if (p.key, p.print) not in prints_right]
        right = [p.place for p in theirs if (p.key, p.print) not in prints_left]
    found.add(pair_rows_apart(job, await _rows(job, job.left, left), await _rows(job, job.right, right)))


def pair_rows_apart(job: ApartJob, left: Sequence[Pair], right: Sequence[Pair]) -> tuple[Pair, ...]:
    """Pair by key; without a key nothing pairs, places of two copies mean nothing to each other."""
    if not job.left.table.key:
        return (*left, *right)
    return pair_rows((p.left for p in left if p.left), (p.right for p in right if p.right))


def _multiset(mine: Sequence[RowPrint], others: Sequence[RowPrint]) -> list[str]:
    """Places of rows that the other side does not hold, or not as often."""
    held = Counter(row.print for row in others)
    places: list[str] = []
    for row in mine:
        if held[row.print] > 0:
            held[row.print] -= 1
        else:
            places.append(row.place)
    return places


async def _prints(job: ApartJob, side: Side, buckets: tuple[int, ...]) -> list[RowPrint]:
    found: list[RowPrint] = []
    for span in spans_of(side.table):
        found += await side.view.prints(side.table, job.form, (span,), buckets, job.of)
    return found


async def _rows(job: ApartJob, side: Side, places: list[str]) -> list[Pair]:
    found: list[Pair] = []
    for start in range(0, min(len(places), MOST), BATCH):
        batch = tuple(places[start : start + BATCH])
        for row in await side.view.rows(side.table, job.form, Address.PLACE, batch, job.show):
            found.append(Pair(left=row, right=None) if side is job.left else Pair(left=None, right=row))
    return found
