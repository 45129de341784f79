"""Merges sorted listings of several copies of a bucket, a page of each at a time. Pure: no network, memory of a page.

Pages that are equal byte for byte are passed over without being read. What is read is one key at a time: all that the
copies list of it, from where they part. After that their pages would begin at other keys for ever: see `realign`.
"""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.model.objects import Entry, Page

LITTLE = 8
"""What is left of a page is little where it is at most one of so many parts."""


class Feed:
    """One copy's listing of one range: the page at hand and how far it was used."""

    def __init__(self, after: bytes) -> None:
        self.page: Page | None = None
        self.at = 0
        self.end = 0
        """Blocks from here on are beyond the range."""
        self.over = False
        """Nothing comes after the page at hand."""
        self.first_key = self.last_key = after
        self.last_version = ""
        self.listed = 0

    @property
    def empty(self) -> bool:
        """The page at hand is used up."""
        return self.at >= self.end

    def give(self, page: Page, until: bytes | None) -> None:
        """The next page; what lies beyond `until` is not of this range.

        Raises:
            Unsorted: the page does not go on after the one before, or ends before it begins.
        """
        self.page, self.at, self.end = page, 0, page.count
        self.over = not page.more
        if not page.count:
            self.over = True
            return
        first, last, version = page.ends
        if first < self.last_key or (last, version) == (self.last_key, self.last_version):
            raise Unsorted(f"{first!r} is listed after {self.last_key!r}")
        if last < first:
            raise Unsorted(f"{last!r} is listed after {first!r}")
        self.first_key, self.last_key, self.last_version = first, last, version
        self.cut(until)

    def cut(self, until: bytes | None) -> None:
        """The range ends at `until` (included) from now on."""
        if until is None or self.page is None or self.last_key <= until:
            return
        low, high = self.at, self.end
        while low < high:
            middle = (low + high) // 2
            if self.page.key(middle) <= until:
                low = middle + 1
            else:
                high = middle
        self.end, self.over = low, True

    def take(self, key: bytes) -> list[Entry]:
        """All that is left in the page at hand of a key."""
        found: list[Entry] = []
        while not self.empty and self.page is not None:
            entry = self.page.entry(self.at)
            if entry.key < key:
                raise Unsorted(f"{entry.key!r} is listed after {key!r}")
            if entry.key != key:
                break
            found.append(entry)
            self.at += 1
            self.listed += 1
        return found

    def let_go(self, key: bytes, version: str) -> None:
        """Forget what is left of the page where that is little and follows this entry: it is asked for again."""
        if self.page is None or not 0 < (self.end - self.at) * LITTLE <= self.end:
            return
        passed = self.page.entry(self.at - 1)
        if (passed.key, passed.version) == (key, version):
            self.end, self.last_key, self.last_version = self.at, key, version

    @property
    def head(self) -> bytes | None:
        """The next key; None where the page at hand is used up."""
        return None if self.empty or self.page is None else self.page.key(self.at)


class Unsorted(Exception):
    """A server listed keys in another order than that of their bytes: nothing could be told from a merge."""


def pass_equal(feeds: Sequence[Feed]) -> int:
    """Pass over what all the pages at hand have in common from where they stand; the number of entries."""
    if any(f.empty for f in feeds):
        return 0
    most = min(f.end - f.at for f in feeds)
    pages, at = [f.page for f in feeds if f.page], [f.at for f in feeds]
    whole = len(set(at)) == 1 and all(p.join(pages[0]) for p in pages[1:])
    count = most if whole else _common([p.blocks for p in pages], at, most)
    for feed in feeds:
        feed.at += count
        feed.listed += count
    return count


def realign(feeds: Sequence[Feed]) -> None:
    """Let copies that list a key more or less than others begin their next pages where the others begin theirs.

    Only pages that begin at one key can be equal as a whole; and all copies are asked at once.
    """
    used_up = next((f for f in feeds if f.empty), None)
    if used_up is None or any(f.over for f in feeds):
        return
    for feed in feeds:
        feed.let_go(used_up.last_key, used_up.last_version)


def _common(lists: Sequence[list[bytes]], at: Sequence[int], most: int) -> int:
    """Length of the longest common run, by doubling and halving: lists are compared by the interpreter's own loop."""
    first, *others = zip(lists, at, strict=True)
    base, start = first

    def same(low: int, high: int) -> bool:
        mine = base[start + low : start + high]
        return all(mine == blocks[other + low : other + high] for blocks, other in others)

    if same(0, most):
        return most
    low, step = 0, 1
    while low + step <= most and same(low, low + step):
        low += step
        step *= 2
    while step > 1:
        step //= 2
        if low + step <= most and same(low, low + step):
            low += step
    return low


def same_listing(ours: Sequence[Entry], theirs: Sequence[Entry]) -> bool:
    """Whether two copies list the same versions of one key, in whatever order."""
    if len(ours) != len(theirs):
        return False
    if len(ours) == 1:
        return ours[0].same(theirs[0])
    return {e.version: e[:6] for e in ours} == {e.version: e[:6] for e in theirs}
