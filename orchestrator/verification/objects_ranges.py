"""Shards by discovery: a range of keys is cut where the listing itself shows that keys lie behind.

Nothing is assumed of how keys look. Workers without work ask what comes after the prefixes of the key where another one
stands, which finds the longest prefix that all the rest share, and then among the characters that follow it for the
last one. Every key that is met on the way is a place to cut; where nothing lies is remembered. A skewed part is cut
again, for work goes on until every range is read to its end. A wrong guess costs one request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass

from orchestrator.model.objects import Page

Probe = Callable[[bytes, bool], Awaitable[bytes | None]]
"""The first key after this one (which need not exist), and whether a part will likely begin there; None: no key."""

TOP = "\U0010ffff"
KIND_TOPS = (":", "[", "{", "\x7f")
"""What follows the digits, capitals, small letters, and all of ASCII: where a search for the last character begins."""
SURROGATES = range(0xD800, 0xE000)
MOST_PROBES = 40


@dataclass
class Range:
    """Keys after `low` until `high` (included; None: to the end), and how far they were used."""

    low: bytes
    high: bytes | None
    reached: bytes
    pages: int = 0
    barren: int = 0
    """Cannot be cut before so many pages were read."""
    top: str = TOP
    """Beyond it there was no key but `high` when somebody looked."""
    page: tuple[bytes, bytes] | None = None
    """The first and the last key of the page that was read last."""
    ahead: tuple[int, Page] | None = None
    """Its first page, of the copy of this number, where the search for its place has read that."""

    def passed(self, first: bytes, last: bytes) -> None:
        """A page was read, from one key to another."""
        self.pages += 1
        self.page = first, last

    @property
    def shared(self) -> int | None:
        """How many characters all keys of its last page have in common; None: no page was read."""
        return None if self.page is None else _alike(*map(_text, self.page))

    def cut(self, at: bytes) -> Range | None:
        """Keep what is until `at`; the rest, or None where it is too late for that."""
        if at <= self.reached or (self.high is not None and at >= self.high):
            return None
        rest = Range(low=at, high=self.high, reached=at, top=self.top)
        self.high = at
        return rest

    def split(self, places: Sequence[bytes]) -> list[Range]:
        """Keep what is until the first place (in order) for which it is not too late; the rests, the last one first."""
        rests = [self.cut(at) for at in reversed(places)]
        return [rest for rest in rests if rest is not None]


async def find_cuts(range_: Range, probe: Probe, idle: int = 1) -> list[bytes]:
    """Keys that part what is left of a range, in order; empty where there are none.

    About as many are looked for, at once, as workers are `idle`. All that are met are places to cut, some three
    times as many at most: a part that waits costs no search when the next worker is idle.
    """
    search = _Search(range_, probe, idle)
    found = await search.run()
    range_.top = min(range_.top, search.top)
    return found


@dataclass
class _Search:
    range_: Range
    probe: Probe
    idle: int
    left: int = MOST_PROBES
    top: str = TOP

    async def run(self) -> list[bytes]:
        here, high = _text(self.range_.reached), self.range_.high
        self.top = self.range_.top if high is None else min(self.range_.top, _text(high))
        paged = self.range_.shared
        shared, first = await self._shared(here, paged)
        if first is None and (shared == len(here) or shared != paged):
            return []
        low = ord(here[shared]) if first is None else _next(first, here[:shared], "\x00")
        met = await self._beyond(here[:shared], low)
        places = sorted(place for key, place in met.items() if key != first)
        return places if first is None else [first, *places]

    async def _shared(self, here: str, paged: int | None) -> tuple[int, bytes | None]:
        """How many characters of `here` all the rest shares, and the first key that goes on otherwise.

        What shares more than a page does is no more than a page or two: so far is not asked, and no key is told.
        """
        low, high = self._known(here), len(here)
        if limited := paged is not None and paged < high:
            high = paged + 1
        # What lies between two keys shares all that they share, and most often no more: so that is asked first. Else
        # the rest mostly shares a few characters less than a page does, by the number of its pages.
        lengths, spread, first = [low], _backwards, None
        # Beyond "" + TOP there is nothing; beyond all of `here` + TOP lies what does not begin with it.
        while low < high - (limited and first is None):
            for length, key in zip(lengths, await self._after(*(here[: n + 1] + TOP for n in lengths)), strict=True):
                if key is None:
                    low = length + 1
                else:
                    high, first = length, key
                    break
            lengths, spread = spread(low, high, self.idle), _spaced
        if first is None and not limited:
            [first] = await self._after(here)
        return low, first

    def _known(self, here: str) -> int:
        """How many characters of `here` all the rest shares by what is known of its end."""
        shared = _alike(here, self.top)
        mine, its = here[shared : shared + 1], self.top[shared:]
        return shared + 1 if len(mine) == len(its) == 1 and ord(its) == ord(mine) + 1 else shared

    async def _beyond(self, prefix: str, low: int) -> dict[bytes, bytes]:
        """Keys with later characters after `prefix` than `low`, each with the last place known to lie before it."""
        high = ord(TOP)
        if self.top.startswith(prefix) and self.top != prefix:
            high = ord(self.top[len(prefix)]) + 1
        met: dict[bytes, bytes] = {}
        while len(met) < self.idle and high - low > 1:
            # Mostly what comes is of the same kind; where not, the kind's end tells in the same round.
            end = next((ord(kind) for kind in KIND_TOPS if low < ord(kind) < high), high)
            codes = sorted({*_spaced(low + 1, end, self.idle), end} - {high})
            keys = await asyncio.gather(*(self._one(prefix + chr(code), code < end) for code in codes))
            for code, key in zip(codes, keys, strict=True):
                low, high = (low, min(high, code)) if key is None else (max(code, _next(key, prefix, TOP)), high)
                if key is not None:
                    met[key] = (prefix + chr(code)).encode()
            if not codes or self.left <= 0:
                break
        return met

    async def _after(self, *texts: str) -> list[bytes | None]:
        """The first key of the range beyond each text."""
        return await asyncio.gather(*(self._one(text) for text in texts))

    async def _one(self, text: str, likely: bool = False) -> bytes | None:
        self.left -= 1
        if self.left < 0:
            return None
        key, high = await self.probe(text.encode(), likely), self.range_.high
        if key is None or (high is not None and key >= high):
            self.top = min(self.top, text)
            return None
        return key


def _spaced(low: int, high: int, most: int) -> list[int]:
    """Some numbers from `low` on and below `high`, evenly spaced; all if they are few; none that no character has."""
    found: Iterable[int] = range(low, high)
    if high - low > 2 * most:
        found = (low + (high - low) * n // (most + 1) for n in range(1, most + 1))
    return sorted(set(found) - set(SURROGATES))


def _backwards(low: int, high: int, most: int) -> list[int]:
    """Some numbers from `low` on and below `high`, in order, the closer together the nearer to `high`; all if few."""
    if high - low <= most:
        return list(range(low, high))
    return sorted({max(low, high - 1 - n * (n + 1) // 2) for n in range(most)})


def _next(key: bytes, prefix: str, otherwise: str) -> int:
    """The character of a key after a prefix."""
    return ord((_text(key)[len(prefix) :] or otherwise)[0])


def _alike(one: str, other: str) -> int:
    """How many characters two texts have in common from their beginning."""
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _text(key: bytes) -> str:
    """A key as text; bytes that are no UTF-8 end it, for no request could say them."""
    try:
        return key.decode()
    except UnicodeDecodeError as e:
        return key[: e.start].decode()
