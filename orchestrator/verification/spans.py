"""Finds the parts of a table that differ, by sums of row hashes taken in the servers; what differs is cut finer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.model.rows import Digest, Form, RowsUnreadable, Span, Table, Trouble
from orchestrator.verification.ground import Ground
from orchestrator.verification.options import Pace

FROZEN_PAGES = 1024
LIVE_PAGES = 128
"""Live spans are small: the less time between the two reads, the fewer rows change in between."""
LEAF_PAGES = 16
SPLIT = 8
AHEAD = 2
"""The primary is read so many spans ahead of a replica that keeps up; what is read later differs more."""
SPAN_S = 0.005
"""A span takes at least about so long; a replica that lags is given as many more spans as its lag holds."""
MOST_AHEAD = 4096


@dataclass(frozen=True, kw_only=True)
class Job:
    """One table to compare on one ground."""

    ground: Ground
    table: Table
    form: Form
    pace: Pace
    show: bool = False
    """Read the text of values that differ."""


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


def spans_of(table: Table, frozen: bool) -> tuple[Span, ...]:
    """A table in spans; the last one is open, for rows that came after the catalogue was read."""
    step = FROZEN_PAGES if frozen else LIVE_PAGES
    starts = range(0, max(table.pages, 1), step)
    return tuple(Span(first=s, last=s + step if s + step < table.pages else None) for s in starts)


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


async def sweep(job: Job, spans: Sequence[Span], replicas: Sequence[str]) -> Mapping[str, Sweep]:
    """Compare spans of the primary with those of replicas, all servers at work at once.

    Never raises for a copy that cannot be read: the replica's `trouble` says so.
    """
    queues = {name: _Queue(maxsize=_ahead(job.ground, name)) for name in replicas}
    found = {name: Sweep() for name in replicas}
    async with asyncio.TaskGroup() as group:
        group.create_task(_feed(job, spans, queues))
        for name in replicas:
            group.create_task(_follow(job, name, queues[name], found[name]))
    return found


def _ahead(ground: Ground, replica: str) -> int:
    return min(MOST_AHEAD, AHEAD + int(ground.followers[replica].lag_s / SPAN_S))


_Item = tuple[Span, Digest] | RowsUnreadable | None
_Queue = asyncio.Queue[_Item]


async def _feed(job: Job, spans: Sequence[Span], queues: Mapping[str, _Queue]) -> None:
    async def give(item: _Item) -> None:
        for queue in queues.values():
            await queue.put(item)

    try:
        for span in spans:
            digest = await job.ground.primary.digest(job.table, job.form, span)
            job.pace.add(digest.rows, job.table.full_name)
            await give((span, digest))
    except RowsUnreadable as error:
        await give(error)
    await give(None)


async def _follow(job: Job, name: str, queue: _Queue, found: Sweep) -> None:
    while (item := await queue.get()) is not None:
        if isinstance(item, RowsUnreadable):
            found.trouble = found.trouble or item
        elif found.trouble is None:
            await _compare(job, name, item, found)


async def _compare(job: Job, name: str, item: tuple[Span, Digest], found: Sweep) -> None:
    span, left = item
    try:
        await job.ground.pass_by(name, left.position)
        right = await job.ground.views[name].digest(job.table, job.form, span)
    except RowsUnreadable as error:
        _note_trouble(span, error, found)
        return
    found.left, found.right = found.left.plus(left), found.right.plus(right)
    if not left.same(right):
        found.differing.append(span)


def _note_trouble(span: Span, error: RowsUnreadable, found: Sweep) -> None:
    if error.trouble is Trouble.DAMAGED:
        found.damaged.append(error)
    elif error.trouble is Trouble.CONFLICT:
        found.differing.append(span)
    else:
        found.trouble = error


async def narrow(job: Job, spans: Sequence[Span], replica: str) -> Sweep:
    """Cut differing spans finer until they are leaves; the differing leaves are in the result."""
    pages = job.table.pages
    leaves = Sweep(differing=[s for s in spans if is_leaf(s, pages)])
    coarse = [s for s in spans if not is_leaf(s, pages)]
    while coarse and leaves.trouble is None:
        parts = [part for span in coarse for part in split(span, pages)]
        found = (await sweep(job, parts, [replica]))[replica]
        leaves.damaged += found.damaged
        leaves.trouble = found.trouble
        leaves.differing += [s for s in found.differing if is_leaf(s, pages)]
        coarse = [s for s in found.differing if not is_leaf(s, pages)]
    return leaves
