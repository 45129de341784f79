"""One pass over all copies of a bucket at once: what their listings do not agree on, with bounded memory.

Workers read ranges of keys; one that has nothing to do cuts another's range. What differs is only suspected here: it
may be on its way (see `objects_settle`).
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from orchestrator.model.objects import Entry, Page
from orchestrator.model.rows import RowsUnreadable, Trouble
from orchestrator.verification.objects_merge import Feed, Unsorted, pass_equal, realign, same_listing
from orchestrator.verification.objects_ranges import Range, find_cuts
from orchestrator.verification.objects_source import ObjectSource

WORKERS = 8
MOST_SUSPECTS = 10_000
"""Keys per copy that are kept to be looked at again; beyond that the copy is `more`."""
RETRY_PAGES = 6
IDLE_PART = 4
"""A range is cut for one worker in so many: they ask at once, and cut it in as many parts."""
LEAST_PAGES = 4
"""A part is cut again after so many pages: a cut costs some requests, and many parts end at once."""
LEAN_AFTER = 100
"""So many keys that read alike and are worded differently: from then on only what is compared is kept of a page."""
MOST_VERSIONS = 20_000
"""Versions of one key that are held at once; above that nothing can be told of the key."""
SAMPLE = 32
"""Keys whose metadata, tags and locks are asked for one by one."""
CANARY = b".drctl/canary/"
"""Keys of our own canaries; they come and go during the pass."""


class OwnTime:
    """Whether our own thread's processor time is what a pass takes: then more requests at once gain nothing."""

    WINDOW_S, FULL = 0.01, 0.9

    def __init__(self, now: Callable[[], float] = time.monotonic, used: Callable[[], float] = time.thread_time) -> None:
        self._now, self._used = now, used
        self._since, self._full = (now(), used()), False

    def __call__(self) -> bool:
        """Whether it was so between the last two looks that were WINDOW_S apart, at least."""
        now, before = self._now(), self._since
        if now - before[0] >= self.WINDOW_S:
            self._since = now, self._used()
            self._full = self._since[1] - before[1] >= self.FULL * (now - before[0])
        return self._full


@dataclass
class Swept:
    """What the pass found at one copy beside the primary."""

    listed: int = 0
    suspects: list[bytes] = field(default_factory=list)
    more: int = 0
    """Keys that were suspected beyond those kept."""
    oldest_s: float = 0.0
    """When the oldest version was written that the primary lists and this copy does not; 0: none."""


@dataclass
class Sweep:
    """A pass: the primary first, then the other copies."""

    sources: Sequence[ObjectSource]
    versions: bool
    tell: Callable[[int], None] = lambda _: None
    """Hears of entries that were passed."""
    workers: int = WORKERS
    page: int = 1000
    full: Callable[[], bool] = field(default_factory=OwnTime)
    """More requests at once could not be answered sooner."""
    lean: bool = False
    alike: int = 0
    listed: int = 0
    cuts: int = 0
    found: list[Swept] = field(default_factory=list)
    sample: list[bytes] = field(default_factory=list)
    """Keys whose listings are equal: of a run of equal blocks one is offered at most."""
    offered: int = 0
    _waiting: list[Range] = field(default_factory=list)
    _active: list[Range] = field(default_factory=list)
    _searches: dict[int, asyncio.Future[list[bytes]]] = field(default_factory=dict)
    """For places to cut a range, by its identity."""
    _idle: int = 0
    _probes: int = 0
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def run(self) -> None:
        """Read everything once.

        Raises:
            RowsUnreadable: a copy could not be listed to its end.
        """
        self.found = [Swept() for _ in self.sources[1:]]
        self._waiting = [Range(low=b"", high=None, reached=b"")]
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self.workers):
                    group.create_task(self._work())
        except BaseExceptionGroup as errors:
            # Not `except*`: what is raised in one comes out alone or in a group, by the version of Python (3.11.2).
            unreadable, others = errors.split(RowsUnreadable)
            if others is not None or unreadable is None:
                raise
            raise _first(unreadable) from None

    async def _work(self) -> None:
        while (range_ := await self._next()) is not None:
            await self._read(range_)
            async with self._changed:
                self._active.remove(range_)
                if (search := self._searches.pop(id(range_), None)) is not None:
                    search.cancel()
                self._changed.notify_all()

    async def _next(self) -> Range | None:
        """A range to read: one that waits, or a part of one that is read; None once nothing is left."""
        while True:
            async with self._changed:
                self._idle += 1
                while not self._waiting and self._active and self._widest() is None:
                    await self._changed.wait()
                wide = self._widest()
                self._idle -= 1
                if self._waiting:
                    self._active.append(self._waiting.pop())
                    return self._active[-1]
                if wide is None:
                    self._changed.notify_all()
                    return None
            await self._cut(wide)

    def _widest(self) -> Range | None:
        """The range that was read longest since it was last cut; None unless some workers have nothing to do and their
        requests would be answered sooner. A lone range is cut all the same: before its first page comes, our processor
        is busy with beginning.
        """
        if self._idle < self.workers // IDLE_PART or (len(self._active) > 1 and self.full()):
            return None
        able = [
            r
            for r in self._active
            if r.pages >= max(r.barren, LEAST_PAGES if r.low else 1) and id(r) not in self._searches
        ]
        return max(able, key=lambda r: r.pages - r.barren, default=None)

    async def _cut(self, range_: Range) -> None:
        range_.barren = range_.pages + 1  # what asks for nothing may be tried again at the next page
        pages: dict[bytes, tuple[int, Page]] = {}

        async def probe(after: bytes, likely: bool) -> bytes | None:
            range_.barren = max(range_.barren, range_.pages + RETRY_PAGES)
            self._probes += 1  # of each copy in turn: any key is a place to cut, and what it costs is shared
            copy = self._probes % len(self.sources)
            # One key takes a store two thirds of what a page does (RGW): where a part will begin, its page is read.
            most = self.page if likely else 1
            page = await self.sources[copy].page(after, "", self.versions, lean=self.lean, most=most)
            if likely:
                pages[after] = copy, page
            return page.key(0) if page.count else None

        search = asyncio.ensure_future(find_cuts(range_, probe, self._idle + 1))
        self._searches[id(range_)] = search  # whoever reads the range to its end calls it off
        try:
            await asyncio.wait((search,))
        finally:
            search.cancel()
        async with self._changed:
            self._searches.pop(id(range_), None)
            if rests := [] if search.cancelled() else range_.split(search.result()):
                self.cuts += len(rests)
                # What is kept may be little, and each part costs a page that is not full.
                range_.barren = range_.pages + 2
                for rest in rests:
                    rest.ahead = pages.get(rest.low)
                self._waiting += rests
            self._changed.notify_all()

    async def _read(self, range_: Range) -> None:
        feeds = [Feed(range_.low) for _ in self.sources]
        if range_.ahead is not None:
            copy, first = range_.ahead
            self._give(feeds[copy], self.sources[copy], first, range_)
            range_.ahead = None  # held no longer than it is used
        while True:
            if await self._fill(feeds, range_):
                range_.passed(feeds[0].first_key, feeds[0].last_key)
                if self._widest() is not None:
                    async with self._changed:
                        self._changed.notify()
            for feed in feeds:
                feed.cut(range_.high)
            if all(f.empty and f.over for f in feeds):
                break
            begin = feeds[0].at
            count = pass_equal(feeds)
            self._pass(count)
            if count and (page := feeds[0].page):
                self._offer(partial(page.some_key, begin, begin + count, random.random()))
                self._in_order(feeds, range_, page.key(begin + count - 1))
            if any(f.empty and not f.over for f in feeds):
                continue
            keys = [h for f in feeds if (h := f.head) is not None]
            if keys:
                self._in_order(feeds, range_, min(keys))
                await self._apart(feeds, min(keys), range_)
        for swept, feed in zip(self.found, feeds[1:], strict=True):
            swept.listed += feed.listed

    async def _fill(self, feeds: Sequence[Feed], range_: Range) -> bool:
        """The next page for every copy whose last one is used up; whether there was any."""
        realign(feeds)
        due = [(f, s) for f, s in zip(feeds, self.sources, strict=True) if f.empty and not f.over]
        pages = await _together([self._page(f, s) for f, s in due])
        for page in pages[1:]:
            page.join(pages[0])  # before any is counted
        for (feed, source), page in zip(due, pages, strict=True):
            self._give(feed, source, page, range_)
        return bool(due)

    def _give(self, feed: Feed, source: ObjectSource, page: Page, range_: Range) -> None:
        try:
            feed.give(page, range_.high)
        except Unsorted as e:
            raise RowsUnreadable(Trouble.OTHER, source.instance, str(e)) from e

    def _pass(self, count: int) -> None:
        self.listed += count
        self.tell(count)

    def _in_order(self, feeds: Sequence[Feed], range_: Range, key: bytes) -> None:
        """The next key to read; it must not lie before what was read.

        Raises:
            RowsUnreadable: a server does not list by the bytes of the keys.
        """
        if key < range_.reached:
            heads = zip(feeds, self.sources, strict=True)
            name = next((s.instance for f, s in heads if f.head == key), self.sources[0].instance)
            raise RowsUnreadable(Trouble.OTHER, name, f"{key!r} is listed after {range_.reached!r}")
        range_.reached = key

    def _offer(self, read: Callable[[], bytes]) -> None:
        """Reservoir sampling: each key that is offered stays as likely as another. Only one that stays is read."""
        self.offered += 1
        place = len(self.sample) if len(self.sample) < SAMPLE else random.randrange(self.offered)
        if place < SAMPLE and not (key := read()).startswith(CANARY):
            self.sample[place : place + 1] = [key]

    async def _apart(self, feeds: Sequence[Feed], key: bytes, range_: Range) -> None:
        """The copies part here: gather what each lists of the key, and suspect those that differ from the primary."""
        groups = [await self._group(f, s, key, range_) for f, s in zip(feeds, self.sources, strict=True)]
        ours, *others = groups
        self._pass(len(ours))
        if key.startswith(CANARY):
            return
        same = [same_listing(ours, theirs) for theirs in others]
        for swept, theirs, alike in zip(self.found, others, same, strict=True):
            if not alike:
                _suspect(swept, key, ours, theirs)
        if all(same):
            self._offer(lambda: key)
            self.alike += 1
            self.lean = self.lean or self.alike >= LEAN_AFTER

    async def _group(self, feed: Feed, source: ObjectSource, key: bytes, range_: Range) -> list[Entry]:
        found: list[Entry] = []
        try:
            found += feed.take(key)
            while feed.empty and not feed.over and feed.last_key == key:
                await self._fill_one(feed, source, range_)
                found += feed.take(key)
                if len(found) > MOST_VERSIONS:
                    raise RowsUnreadable(Trouble.OTHER, source.instance, f"{key!r} has over {MOST_VERSIONS} versions")
        except Unsorted as e:
            raise RowsUnreadable(Trouble.OTHER, source.instance, str(e)) from e
        return found

    async def _fill_one(self, feed: Feed, source: ObjectSource, range_: Range) -> None:
        feed.give(await self._page(feed, source), range_.high)

    def _page(self, feed: Feed, source: ObjectSource) -> Coroutine[Any, Any, Page]:
        return source.page(feed.last_key, feed.last_version, self.versions, lean=self.lean, most=self.page)


async def _together(work: Sequence[Coroutine[Any, Any, Page]]) -> list[Page]:
    """What all of them say. The first needs no task of its own, which takes two thirds of what `gather` costs."""
    if not work:
        return []
    others = [asyncio.ensure_future(one) for one in work[1:]]
    try:
        return [await work[0], *[await other for other in others]]
    except BaseException:
        for other in others:
            other.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        raise


def _suspect(swept: Swept, key: bytes, ours: Sequence[Entry], theirs: Sequence[Entry]) -> None:
    if len(swept.suspects) < MOST_SUSPECTS:
        swept.suspects.append(key)
    else:
        swept.more += 1
    held = {e.version: e for e in theirs}
    for entry in ours:
        there = held.get(entry.version)
        absent = there is None or (there.etag, there.size, there.marker) != (entry.etag, entry.size, entry.marker)
        if absent and entry.modified_s and (not swept.oldest_s or entry.modified_s < swept.oldest_s):
            swept.oldest_s = entry.modified_s


def _first(errors: BaseExceptionGroup[RowsUnreadable]) -> RowsUnreadable:
    """One of the errors that ended the pass."""
    first = errors.exceptions[0]
    return first if isinstance(first, RowsUnreadable) else _first(first)
