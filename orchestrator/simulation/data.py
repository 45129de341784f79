"""What stands in the copies of one service: logs that fork, who holds what, and what clients were told is kept.

Writes come at a steady rate to every primary that takes them, and are worked out when somebody asks: between two
changes of the world a log grows by rate times time, so no event is needed for a write. Positions are whole writes.
A branch of history begins at every promotion; a copy is a place on a branch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

CLIENTS = 8
"""Writes that may hang on one primary at once: each client waits for its own."""
CATCH_UP = 20
"""A copy that is behind receives so many times faster than clients write."""
BYTES = 100
"""Size of a write in its log."""
START = 2000
"""Writes that every copy holds when time begins."""


class Flow:
    """Who writes and who receives in one state of the world, for one service."""

    __slots__ = ("heard", "streams", "writers")

    def __init__(
        self,
        writers: Iterable[tuple[str, bool, tuple[str, ...]]],
        streams: Iterable[tuple[str, str]],
        heard: Iterable[tuple[str, str]],
    ) -> None:
        self.writers = tuple(writers)
        """Centre of a primary that takes writes, whether it waits, and the copies waited for that stream."""
        self.streams = tuple(streams)
        """(copy, its source), sources first."""
        self.heard = tuple(heard)
        """(primary, a copy that it waits for): what the copy has said still arrives, though nothing is sent to it."""


class Copy:
    """What one copy holds: everything up to `position` on the way to the end of `branch`."""

    __slots__ = ("branch", "moved_s", "position")

    def __init__(self, branch: int, position: int) -> None:
        self.branch, self.position = branch, position
        self.moved_s = 0.0
        """When it last grew."""


class Logs:
    """All copies of one service."""

    def __init__(
        self, centres: Iterable[str], primary: str, rate: int, delays: Mapping[tuple[str, str], float]
    ) -> None:
        """`rate` in writes a second; `delays` one way in seconds, by (from, to)."""
        self.rate, self._delays = rate, delays
        self.at_s = 0.0
        self.parents: list[tuple[int, int]] = [(-1, 0)]
        """Branch → the branch that it left, and where."""
        self.acked = [START]
        """Branch → position up to which clients were told that it is kept."""
        self.waived = [0]
        """Branch → position up to which the loss was accepted."""
        self.copies = {c: Copy(0, START) for c in centres}
        self.head = primary
        """Centre of the primary that was promoted last."""
        self.wrong: list[str] = []

    def advance(self, now_s: float, flow: Flow) -> None:
        """Let time pass in a state of the world that did not change."""
        new = int(self.rate * now_s) - int(self.rate * self.at_s)
        passed_s, self.at_s = now_s - self.at_s, now_s
        if passed_s <= 0:
            return
        for primary, other in flow.heard:
            if passed_s >= self._delays[other, primary]:
                self._hear(primary, other)
        fed: set[str] = set()
        for centre, waits, copies in flow.writers:
            self._write(centre, waits, copies, new)
            fed.update(copies)
        for target, source in flow.streams:
            if target not in fed:
                self._follow(target, source, new)

    def _hear(self, primary: str, other: str) -> None:
        """What a copy has confirmed, and was under way to its source, arrives."""
        branch = self.copies[primary].branch
        self._acknowledge(branch, min(self.reach(other, branch), self.copies[primary].position), primary)

    def _write(self, centre: str, waits: bool, copies: tuple[str, ...], new: int) -> None:
        copy = self.copies[centre]
        target = copy.position + new
        if not waits:
            self._grow(copy, target)
            self._acknowledge(copy.branch, target, centre)
            return
        room = self.acked[copy.branch] + CLIENTS
        for other in copies:
            there, flying = self.copies[other], 1 + int(self.rate * self._delays[centre, other])
            if not self._joins(other, centre):
                continue
            self._acknowledge(copy.branch, min(there.position, target), centre)
            arrived = max(there.position, target - flying)
            self._acknowledge(copy.branch, arrived - flying, centre)
            room = max(room, self.acked[copy.branch] + CLIENTS + 2 * flying)
            self._grow(there, min(arrived, room))
        self._grow(copy, min(target, room))

    def _grow(self, copy: Copy, position: int) -> None:
        if position > copy.position:
            copy.position, copy.moved_s = position, self.at_s

    def _follow(self, target: str, source: str, new: int) -> None:
        """A copy stays as far behind as its source is away, and has everything when that has stood still so long."""
        if not self._joins(target, source):
            return
        copy, above = self.copies[target], self.copies[source]
        delay_s = self._delays[source, target]
        still = above.moved_s + delay_s < self.at_s
        behind = above.position - (0 if still else 1 + int(self.rate * delay_s))
        self._grow(copy, min(behind, copy.position + CATCH_UP * new + 1))

    def _joins(self, target: str, source: str) -> bool:
        """Whether a copy's history is the beginning of its source's; then it is on the source's branch from now on."""
        copy, above = self.copies[target], self.copies[source]
        if copy.branch != above.branch:
            if self.reach(source, copy.branch) < copy.position:
                self._note(f"{target} is taken to follow {source}, and their histories have parted")
                return False
            copy.branch = above.branch
        return True

    def _acknowledge(self, branch: int, upto: int, centre: str) -> None:
        if upto <= self.acked[branch]:
            return
        self.acked[branch] = upto
        if self.copies[self.head].branch != branch and self.reach(self.head, branch) < upto:
            self._note(f"{centre} acknowledges writes that {self.head}, promoted since, does not hold")

    def _note(self, text: str) -> None:
        if text not in self.wrong:
            self.wrong.append(text)

    def reach(self, centre: str, branch: int) -> int:
        """Up to where a copy holds what was written on a branch; -1 where it holds nothing of it."""
        copy = self.copies[centre]
        at, position = copy.branch, copy.position
        while at != branch:
            at, fork = self.parents[at]
            position = min(position, fork)
            if at < 0:
                return -1
        return position

    def level(self, centre: str) -> bool:
        """Whether a copy holds all that stands at the primary that was promoted last."""
        head = self.copies[self.head]
        return self.reach(centre, head.branch) >= head.position

    def missing(self, centre: str) -> int:
        """How many writes a copy lacks that clients were told are kept, and whose loss nobody accepted."""
        lacking = 0
        for branch, acked in enumerate(self.acked):
            floor = max(self.parents[branch][1], self.waived[branch], self.reach(centre, branch))
            lacking += max(0, acked - floor)
        return lacking

    def promote(self, centre: str, *, accepted: bool) -> None:
        """A new branch begins at a copy; what it lacks is lost from now on, with consent or without."""
        lacking = self.missing(centre)
        if lacking and not accepted:
            self._note(f"{centre} is promoted without {lacking} acknowledged writes, and nobody accepted a loss")
        if accepted:
            self.waived = [max(w, a) for w, a in zip(self.waived, self.acked, strict=True)]
        copy = self.copies[centre]
        self.parents.append((copy.branch, copy.position))
        self.acked.append(copy.position)
        self.waived.append(0)
        copy.branch, self.head = len(self.parents) - 1, centre

    def rebuild(self, centre: str, source: str) -> None:
        """A copy is rewound, or made anew, from its source."""
        copy, above = self.copies[centre], self.copies[source]
        copy.branch, copy.position = above.branch, above.position
