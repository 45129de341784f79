"""One statement over a database and a bucket: which objects its rows name and the bucket lacks, and the reverse.

It is made in each centre that holds a copy of both, of the copies there: what users would find if this centre served
them now. What is missing is looked at again until the declared lag of both is over, for an object that is on its way is
not missing, nor one whose row is about to go; and what a row has named or forgotten meanwhile is no difference.
"""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_right
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.model.objects import NameColumn
from orchestrator.model.proof import NOTHING, NamesProof
from orchestrator.model.rows import RowsUnreadable, Trouble
from orchestrator.model.topology import Text
from orchestrator.verification.names_source import NameSource
from orchestrator.verification.objects_settle import shown
from orchestrator.verification.objects_source import ObjectSource
from orchestrator.verification.options import Options
from orchestrator.verification.result import OVERDUE, explain

OWN = b".drctl/"
"""Objects of drctl itself, which no row names."""
SUSPECTS = 10_000
"""Names of each sort that are kept and looked at again; the others are only counted."""
AT_ONCE = 16
PAUSE_S = (0.05, 1.0)
NOBODY = Text(en="no row names an object", zh="没有任何行引用对象")
NO_COLUMN = Text(en="the database has no such column", zh="数据库中没有该列")


@dataclass(frozen=True)
class Naming:
    """The column that names a bucket's objects, and who reads it, by centre."""

    column: NameColumn
    sources: Mapping[str, NameSource]
    lags_s: Mapping[str, float] = field(default_factory=dict)
    """Seconds by which each copy of the database may be behind: it may still name what is gone for good."""


async def prove_names(
    naming: Naming, copies: Mapping[str, ObjectSource], lags_s: Mapping[str, float], options: Options
) -> tuple[NamesProof, ...]:
    """A statement for each centre with a copy of both; never raises for copies that cannot be read. Closes nothing.

    Args:
        naming: who names the objects.
        copies: the bucket's copies, by centre.
        lags_s: seconds by which they, or the database beside them, may be behind, by centre.
    """
    pairs = [(source, copies[c], lags_s[c]) for c, source in naming.sources.items() if c in copies]
    return tuple(await asyncio.gather(*(_prove(naming.column, *pair, options) for pair in pairs)))


async def _prove(
    column: NameColumn, source: NameSource, bucket: ObjectSource, lag_s: float, options: Options
) -> NamesProof:
    found = Found()
    try:
        async with asyncio.timeout(options.timeout_s):
            await merge(source.names(column), stored(bucket), found)
            await _settle(column, source, bucket, lag_s, found)
        reason = _open(found)
    except RowsUnreadable as error:
        reason = NO_COLUMN if error.trouble is Trouble.GONE else explain(error)
        found.forget()
    except TimeoutError:
        reason = OVERDUE
        found.forget()
    return NamesProof(
        bucket=bucket.instance,
        database=source.instance,
        column=column.full_name,
        named=found.named,
        stored=found.stored,
        missing=tuple(map(shown, found.missing.names[: options.named])),
        missing_count=len(found.missing.names),
        unnamed=tuple(map(shown, found.unnamed.names[: options.named])),
        unnamed_count=len(found.unnamed.names) + found.unnamed.more,
        reason=reason,
    )


def _open(found: Found) -> Text:
    """What stands against a statement though both sides were read to their ends."""
    if not found.named:
        return NOBODY
    more = found.missing.more
    return (
        Text(
            en=f"{more} more were missing at first and were not looked at again",
            zh=f"另有 {more} 个对象初次比对缺失，未复核",
        )
        if more
        else NOTHING
    )


@dataclass
class Suspects:
    """Names that stand on one side only."""

    names: list[bytes] = field(default_factory=list)
    more: int = 0

    def note(self, names: Collection[bytes]) -> None:
        """More of them."""
        kept = sorted(names)[: SUSPECTS - len(self.names)]
        self.names += kept
        self.more += len(names) - len(kept)


@dataclass
class Found:
    """What one pass over both sides found."""

    named: int = 0
    stored: int = 0
    missing: Suspects = field(default_factory=Suspects)
    """Named, and not stored."""
    unnamed: Suspects = field(default_factory=Suspects)
    """Stored, and not named."""

    def forget(self) -> None:
        """What was not looked at again is no finding."""
        self.missing, self.unnamed = Suspects(), Suspects()


async def stored(bucket: ObjectSource) -> AsyncIterator[Sequence[bytes]]:
    """The keys of a bucket, in the order of their bytes, a page at a time; our own left out."""
    after, more = b"", True
    while more:
        page = await bucket.page(after, "", False)
        keys = [page.key(number) for number in range(page.count)]
        after, more = (keys[-1], page.more) if keys else (after, False)
        yield [key for key in keys if not key.startswith(OWN)]


async def merge(names: AsyncIterator[Sequence[bytes]], keys: AsyncIterator[Sequence[bytes]], found: Found) -> None:
    """Hold two sorted sides against each other, reading each once."""
    left, right = _Side(names), _Side(keys)
    while await left.filled() | await right.filled():
        end = min(side.last for side in (left, right) if side.last is not None)
        mine, theirs = left.take(end), right.take(end)
        found.named, found.stored = found.named + len(mine), found.stored + len(theirs)
        if mine != theirs:
            found.missing.note(set(mine).difference(theirs))
            found.unnamed.note(set(theirs).difference(mine))


class _Side:
    """One sorted side, of which some is at hand."""

    def __init__(self, batches: AsyncIterator[Sequence[bytes]]) -> None:
        self._batches = batches
        self._held: list[bytes] = []
        self._over = False

    @property
    def last(self) -> bytes | None:
        """Up to here everything is known; None where the side is at its end."""
        return None if self._over else self._held[-1]

    async def filled(self) -> bool:
        """Make sure that something is at hand; whether there is anything left."""
        while not self._held and not self._over:
            batch = await anext(self._batches, None)
            self._over = batch is None
            self._held = list(batch or ())
        return bool(self._held)

    def take(self, end: bytes) -> list[bytes]:
        """What is at hand up to `end`."""
        count = bisect_right(self._held, end)
        taken, self._held = self._held[:count], self._held[count:]
        return taken


async def _settle(column: NameColumn, source: NameSource, bucket: ObjectSource, lag_s: float, found: Found) -> None:
    """Look again at what stands on one side only."""
    ends_s, pause_s = time.monotonic() + lag_s, PAUSE_S[0]
    while found.missing.names:
        absent = await _there(bucket, found.missing.names, False)
        still = await source.still(column, absent)
        found.missing.names = [name for name in absent if name in still]
        left_s = ends_s - time.monotonic()
        if left_s <= 0:
            break
        await asyncio.sleep(min(pause_s, left_s))
        pause_s = min(2 * pause_s, PAUSE_S[1])
    if found.unnamed.names:
        named = await source.still(column, found.unnamed.names)
        found.unnamed.names = await _there(bucket, [n for n in found.unnamed.names if n not in named], True)


async def _there(bucket: ObjectSource, names: Sequence[bytes], wanted: bool) -> list[bytes]:
    """Those of the names that the bucket holds now, or (not wanted) lacks."""
    free = asyncio.Semaphore(AT_ONCE)

    async def look(name: bytes) -> bool:
        async with free:
            return bool(await bucket.look(name, False))

    held = await asyncio.gather(*map(look, names))
    return [name for name, there in zip(names, held, strict=True) if there is wanted]
