"""Finds the parts of a table that differ, by sums of row hashes taken in the servers; what differs is cut finer."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from orchestrator.model.rows import Digest, Form, RowsUnreadable, Span, Table, Trouble
from orchestrator.verification.ground import Ground
from orchestrator.verification.options import Pace
from orchestrator.verification.pacing import Brake

FROZEN_PAGES = 1024
LIVE_PAGES = 512
GENTLE_PAGES = 128
"""What is read at once. Live it is less: the less time between the two reads, the fewer rows change in between; but
each read also waits for its turn at a busy processor, and for the replica.
"""
PARTS = 16
"""What is read at once is told in so many parts, so that what differs need not be read again to be halved."""
LEAF_PAGES = 1
SPLIT = 64
TOGETHER = 512
"""Spans that are read again together."""
AHEAD = 2
"""The primary is read so many batches ahead of a replica that keeps up; what is read later differs more."""
SPAN_S = 0.005
"""A batch takes at least about so long; a replica that lags is given as many more as its lag holds."""
MOST_AHEAD = 4096

Batch = tuple[Span, ...]
"""Spans that are read at one moment."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One table to compare on one ground."""

    ground: Ground
    table: Table
    form: Form
    pace: Pace
    show: bool = False
    """Read the text of values that differ."""
    brake: Brake = field(default_factory=Brake)
    snapshot_s: float = math.inf
    """A snapshot is given up after so long."""
    note: Callable[[str, Sweep], None] = lambda replica, swept: None
    """Told how far a replica has been compared."""
    pages: tuple[int, ...] | None = None
    """Only these, in ascending order; None: all."""

    def quietly(self) -> Job:
        """The same, while what was compared before is looked at closely: not counted, not remembered."""
        return replace(self, pace=Pace("", None), note=lambda replica, swept: None, snapshot_s=math.inf)

    @property
    def at_once(self) -> int:
        """Pages that are read at once."""
        if self.brake.gentle:
            return GENTLE_PAGES
        return FROZEN_PAGES if self.ground.frozen else LIVE_PAGES


@dataclass
class Sweep:
    """What a pass over spans found for one replica."""

    left: Digest = field(default_factory=lambda: Digest(rows=0, total=0))
    right: Digest = field(default_factory=lambda: Digest(rows=0, total=0))
    differing: list[Span] = field(default_factory=list)
    damaged: list[RowsUnreadable] = field(default_factory=list)
    """Parts that the replica itself says are broken."""
    trouble: RowsUnreadable | None = None
    """The pass did not come to its end."""
    next_page: int = 0
    """What lies before has been compared; a later pass goes on here."""
    since: int = 0
    """Position of the ground on which it began; 0: of this one."""
    resumed: int = 0
    """Times that it was gone on with."""


def spans_of(table: Table) -> tuple[Span, ...]:
    """A table in spans; the last one is open, for rows that came after the catalogue was read."""
    step = FROZEN_PAGES
    starts = range(0, max(table.pages, 1), step)
    return tuple(Span(first=s, last=s + step if s + step < table.pages else None) for s in starts)


def batches_of(table: Table, at_once: int, first: int = 0, pages: Sequence[int] | None = None) -> Iterator[Batch]:
    """A table from page `first` on in batches of `at_once` pages, each in PARTS; or only some of its pages."""
    if pages is not None:
        left = [page for page in pages if page >= first]
        for start in range(0, len(left), at_once):
            yield tuple(Span(first=p, last=p + 1) for p in left[start : start + at_once])
        return
    for start in range(first, max(table.pages, first + 1), at_once):
        end = start + at_once
        yield cut_up(Span(first=start, last=end if end < table.pages else None), at_once)


def cut_up(span: Span, length: int) -> Batch:
    """A span of at most `length` pages in parts; the last one is open where the span is."""
    step = max(1, length // PARTS)
    end = span.first + length if span.last is None else span.last
    starts = range(span.first, end, step)
    return tuple(Span(first=s, last=span.last if s + step >= end else s + step) for s in starts)


def split(span: Span, pages: int) -> tuple[Span, ...]:
    """A span in finer ones. Where its end is unknown they grow from leaf size, until an open rest at the end."""
    if span.last is not None:
        step = max(LEAF_PAGES, -(-(span.last - span.first) // SPLIT))
        return tuple(Span(first=s, last=min(s + step, span.last)) for s in range(span.first, span.last, step))
    known = max(pages, span.first + LEAF_PAGES)
    step = max(LEAF_PAGES, -(-(known - span.first) // SPLIT))
    inside = [Span(first=s, last=s + step) for s in range(span.first, known, step)]
    return (*inside, *_tail(inside[-1].last or known))


def _tail(first: int) -> Iterator[Span]:
    size = LEAF_PAGES
    for _ in range(6):
        yield Span(first=first, last=first + size)
        first, size = first + size, size * SPLIT
    yield Span(first=first)


def is_leaf(span: Span, pages: int) -> bool:
    """Fine enough to look at single rows."""
    if span.last is None:
        return span.first > pages + LEAF_PAGES
    return span.last - span.first <= LEAF_PAGES


async def sweep(
    job: Job, batches: Iterable[Batch], replicas: Sequence[str], begun: Mapping[str, Sweep] = MappingProxyType({})
) -> Mapping[str, Sweep]:
    """Compare spans of the primary with those of replicas, all servers at work at once; goes on with what was `begun`.

    Never raises for a copy that cannot be read: the replica's `trouble` says so.
    """
    queues = {name: _Queue(maxsize=_ahead(job.ground, name)) for name in replicas}
    found = {name: begun.get(name) or Sweep() for name in replicas}
    async with asyncio.TaskGroup() as group:
        group.create_task(_feed(job, batches, queues, found))
        for name in replicas:
            group.create_task(_follow(job, name, queues[name], found[name]))
    return found


def _ahead(ground: Ground, replica: str) -> int:
    return min(MOST_AHEAD, AHEAD + int(ground.followers[replica].lag_s / SPAN_S))


_Digests = tuple[Digest, ...]
_Item = tuple[Batch, _Digests] | RowsUnreadable | None
_Queue = asyncio.Queue[_Item]


async def _feed(job: Job, batches: Iterable[Batch], queues: Mapping[str, _Queue], found: Mapping[str, Sweep]) -> None:
    async def give(item: _Item) -> None:
        for queue in queues.values():
            await queue.put(item)

    try:
        for number, batch in enumerate(batches):
            if all(swept.trouble for swept in found.values()):
                break
            begun = time.monotonic()
            if number and job.ground.frozen and job.ground.age_s > job.snapshot_s:
                raise RowsUnreadable(Trouble.AGED, "", f"after {job.ground.age_s:.0f} s")
            digests = await job.ground.primary.digests(job.table, job.form, batch)
            worked_s = time.monotonic() - begun
            job.pace.add(sum(d.rows for d in digests), job.table.full_name)
            await give((batch, digests))
            await job.brake.rest(worked_s)
    except RowsUnreadable as error:
        await give(error)
    await give(None)


async def _follow(job: Job, name: str, queue: _Queue, found: Sweep) -> None:
    while (item := await queue.get()) is not None:
        if isinstance(item, RowsUnreadable):
            found.trouble = found.trouble or item
        elif found.trouble is None and (batch := _beyond(*item, found.next_page))[0]:
            await _compare(job, name, *batch, found)
            if found.trouble is None:
                found.next_page = batch[0][-1].last or found.next_page
                job.note(name, found)


def _beyond(batch: Batch, digests: _Digests, first: int) -> tuple[Batch, _Digests]:
    """What of a batch was not compared before."""
    start = next((n for n, span in enumerate(batch) if span.first >= first), len(batch))
    return batch[start:], digests[start:]


async def _compare(job: Job, name: str, batch: Batch, lefts: _Digests, found: Sweep) -> None:
    try:
        await job.ground.pass_by(name, max(d.position for d in lefts))
        rights = await job.ground.views[name].digests(job.table, job.form, batch)
    except RowsUnreadable as error:
        if error.trouble is Trouble.DAMAGED and len(batch) > 1:
            for half in (slice(None, len(batch) // 2), slice(len(batch) // 2, None)):
                await _compare(job, name, batch[half], lefts[half], found)
        else:
            _note_trouble(batch, error, found)
        return
    for span, left, right in zip(batch, lefts, rights, strict=True):
        found.left, found.right = found.left.plus(left), found.right.plus(right)
        if not left.same(right):
            found.differing.append(span)


def _note_trouble(batch: Batch, error: RowsUnreadable, found: Sweep) -> None:
    if error.trouble is Trouble.DAMAGED:
        found.damaged.append(error)
    elif error.trouble is Trouble.CONFLICT:
        found.differing += batch
    else:
        found.trouble = error


async def narrow(job: Job, spans: Sequence[Span], replica: str) -> Sweep:
    """Cut differing spans finer until they are leaves; the differing leaves are in the result.

    Live, what was only changed between two reads is mostly the same by now, and drops out without a row being listed.
    """
    pages = job.table.pages
    leaves = Sweep(differing=[s for s in spans if is_leaf(s, pages)])
    coarse = [s for s in spans if not is_leaf(s, pages)]
    while coarse and leaves.trouble is None:
        parts = [part for span in sorted(coarse, key=_first) for part in split(span, pages)]
        together = [tuple(parts[n : n + TOGETHER]) for n in range(0, len(parts), TOGETHER)]
        found = (await sweep(job.quietly(), together, [replica]))[replica]
        leaves.damaged += found.damaged
        leaves.trouble = found.trouble
        leaves.differing += [s for s in found.differing if is_leaf(s, pages)]
        coarse = [s for s in found.differing if not is_leaf(s, pages)]
    return leaves


def _first(span: Span) -> int:
    return span.first
