"""Looks again at what a pass suspected, until each key is agreed upon, different, or cannot be told.

A difference is one only after it had the time that replication is declared to take: the primary's version is older
than that, or the same pair was seen for as long. A key that the primary writes meanwhile starts anew.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from orchestrator.model.objects import Entry
from orchestrator.model.proof import DifferenceKind, RowDifference, Sameness
from orchestrator.model.rows import RowsUnreadable, Trouble
from orchestrator.model.topology import Text
from orchestrator.verification.objects_judge import Judgement, judge
from orchestrator.verification.objects_merge import same_listing
from orchestrator.verification.objects_source import ObjectSource
from orchestrator.verification.result import explain

AT_ONCE = 16
PAUSE_S = 0.5
PAUSE_MOST_S = 4.0
LEAST_LAG_S = 2.0
"""Even a replication that is declared to have no lag is given so long."""

Pair = tuple[tuple[Entry, ...], tuple[Entry, ...]]


@dataclass
class Settled:
    """The answer for every suspect of one copy."""

    differences: list[RowDifference] = field(default_factory=list)
    unknown: list[tuple[bytes, Text]] = field(default_factory=list)
    agreed: int = 0
    rounds: int = 0
    behind_s: float = 0.0
    """Age of the oldest version of the primary that the copy did not hold at the last look; 0: none."""


@dataclass
class Case:
    """A copy against the primary."""

    primary: ObjectSource
    copy: ObjectSource
    versions: bool
    lag_s: float
    """Seconds that replication between them is declared to stay below."""
    within_s: float
    """Bound of the waiting: at most so long again after the declared lag, and never more than twice this."""

    @property
    def patience_s(self) -> float:
        """Seconds after which a difference is one."""
        return max(self.lag_s, LEAST_LAG_S)


async def settle(case: Case, keys: Iterable[bytes]) -> Settled:
    """Look at keys again.

    Raises:
        RowsUnreadable: one of the copies could not be read.
    """
    begun, result = time.monotonic(), Settled()
    seen: dict[bytes, tuple[Pair, float]] = {}
    left, pause_s = sorted(set(keys)), PAUSE_S
    offset_s = await case.primary.now_s() - time.monotonic()
    while left:
        result.rounds += 1
        result.behind_s = 0.0
        free = asyncio.Semaphore(AT_ONCE)

        async def one(key: bytes, free: asyncio.Semaphore = free) -> bool:
            async with free:
                return await _look(case, key, seen, result, offset_s)

        open_ = await asyncio.gather(*(one(key) for key in left))
        left = [key for key, still in zip(left, open_, strict=True) if still]
        if left and time.monotonic() - begun > min(case.patience_s, case.within_s) + case.within_s:
            result.unknown += [(key, _UNDECIDED) for key in left]
            break
        if left:
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, PAUSE_MOST_S)
    return result


_UNDECIDED = Text(
    en="it is written to too often, or is younger than the declared lag", zh="写入过于频繁，或尚在声明的延迟之内"
)


async def _look(
    case: Case, key: bytes, seen: dict[bytes, tuple[Pair, float]], result: Settled, offset_s: float
) -> bool:
    """One look at one key; whether it stays open."""
    before = await case.primary.look(key, case.versions)
    theirs = await case.copy.look(key, case.versions)
    after = await case.primary.look(key, case.versions)
    now = time.monotonic()
    if same_listing(before, theirs) or same_listing(after, theirs):
        result.agreed += 1
        return False
    if (oldest := lacking_s(after, theirs)) > 0:
        result.behind_s = max(result.behind_s, now + offset_s - oldest)
    pair = (after, theirs)
    since = seen[key][1] if key in seen and seen[key][0] == pair and before == after else None
    if since is None:
        seen[key] = (pair, now)
        return True
    age_s = now + offset_s - max((e.modified_s for e in after), default=now + offset_s)
    if max(age_s, now - since) < case.patience_s:
        return True
    answer = await _judged(case, after, theirs)
    _note(result, key, pair, answer)
    return False


def lacking_s(ours: Sequence[Entry], theirs: Sequence[Entry]) -> float:
    """When the oldest version was written that the other copy does not hold; 0: it holds all. Pure."""
    held = {(e.version, e.etag, e.size, e.marker) for e in theirs}
    times = [e.modified_s for e in ours if (e.version, e.etag, e.size, e.marker) not in held]
    return min(times, default=0.0)


async def _judged(case: Case, ours: Sequence[Entry], theirs: Sequence[Entry]) -> Judgement | None:
    if not ours or not theirs:
        return None
    try:
        return await judge(case.primary, case.copy, ours, theirs, case.versions)
    except RowsUnreadable as error:
        if error.trouble is not Trouble.DENIED:
            raise
        return Judgement(sameness=Sameness.UNKNOWN, reason=explain(error))  # of this object; the rest may be open


def _note(result: Settled, key: bytes, pair: Pair, answer: Judgement | None) -> None:
    if answer is not None and answer.sameness is Sameness.EQUAL:
        result.agreed += 1
    elif answer is not None and answer.sameness is Sameness.UNKNOWN:
        result.unknown.append((key, answer.reason))
    elif answer is not None:
        result.differences.append(RowDifference(kind=DifferenceKind.CHANGED, key=shown(key), columns=answer.columns))
    else:
        kind = DifferenceKind.MISSING if pair[0] else DifferenceKind.EXTRA
        result.differences.append(RowDifference(kind=kind, key=shown(key)))


def shown(key: bytes) -> str:
    """A key for people: what cannot be printed is escaped."""
    text = key.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
