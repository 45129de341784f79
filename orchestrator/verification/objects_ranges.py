"""Shards by discovery: a range of keys is cut in two where the listing itself shows that keys lie behind.

Nothing is assumed of how keys look. A worker without work asks what comes after the prefixes of the key where another
one stands, which finds the longest prefix that all the rest share, and cuts among the characters that follow it.
A skewed half is cut again, for work goes on until every range is read to its end. A wrong guess costs one request.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

Probe = Callable[[bytes], Awaitable[bytes | None]]
"""The first key after this one (which need not exist); None where there is none."""

TOP = "\U0010ffff"
ASCII_TOP = "\x7f"
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

    def cut(self, at: bytes) -> Range | None:
        """Keep what is until `at`; the rest, or None where it is too late for that."""
        if at <= self.reached or (self.high is not None and at >= self.high):
            return None
        rest = Range(low=at, high=self.high, reached=at)
        self.high = at
        return rest


async def find_cut(range_: Range, probe: Probe) -> bytes | None:
    """A key somewhere in the middle of what is left of a range; None where none was found."""
    here, high = _text(range_.reached), range_.high
    top = None if high is None else _text(high)
    left = MOST_PROBES

    async def after(text: str) -> bytes | None:
        nonlocal left
        left -= 1
        found = await probe(text.encode()) if left >= 0 else None
        return found if found is not None and (high is None or found < high) else None

    beyond = await _shared(here, top, after)
    if beyond is None:
        return None
    shared, first = beyond
    return await _middle(here[:shared], first, top, after)


Asked = Callable[[str], Awaitable[bytes | None]]


async def _shared(here: str, top: str | None, after: Asked) -> tuple[int, bytes] | None:
    """How many characters of `here` all the rest shares, and the first key that goes on otherwise."""
    # What lies between two keys shares all that they share, and most often no more: so that is asked first.
    low, high = _alike(here, top or ""), len(here)
    middle = low
    found: bytes | None = None
    # Beyond "" + TOP there is nothing; beyond all of `here` + TOP lies what does not begin with it.
    while low < high:
        key = await after(here[: middle + 1] + TOP)
        if key is None:
            low = middle + 1
        else:
            found, high = key, middle
        middle = (low + high) // 2
    if found is None:
        key = await after(here)
        return (len(here), key) if key is not None else None
    return low, found


async def _middle(prefix: str, first: bytes, top: str | None, after: Asked) -> bytes:
    """A key that parts what follows `first` among the characters after `prefix`."""
    start = _text(first)[len(prefix) : len(prefix) + 1] or "\x00"
    low, high = ord(start), ord(TOP)
    if top is not None and top.startswith(prefix) and top != prefix:
        high = ord(top[len(prefix)]) + 1
    elif low < ord(ASCII_TOP) and await after(prefix + ASCII_TOP) is None:
        high = ord(ASCII_TOP)
    while high - low > 1:
        middle = (low + high) // 2
        if middle in SURROGATES:
            middle = SURROGATES.start - 1 if low < SURROGATES.start - 1 else SURROGATES.stop
        key = await after(prefix + chr(middle)) if middle < high else None
        if key is not None:
            return key
        if middle >= high:
            break
        high = middle
    return first


def _alike(one: str, other: str) -> int:
    """How many characters two texts have in common from their beginning."""
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _text(key: bytes) -> str:
    """A key as text; bytes that are no UTF-8 end it, for no request could say them."""
    try:
        return key.decode()
    except UnicodeDecodeError as e:
        return key[: e.start].decode()
