"""Tells a real difference from a row that was merely changed between two reads, without a lock.

A round reads a row at the primary (`before`), waits until the replica has replayed that position, reads it there, and
reads it at the primary again (`after`). Every change has made a new version, and versions are the same at a physical
copy, so:

- the replica shows what the primary showed in this round, or both show nothing: they agree;
- the same version with another content: a difference;
- `before` and `after` are the same and the replica shows something else, or the replica shows what it showed in an
  earlier round and `before` of this round is something else: a difference. There is one exception: a commit that waits
  for a synchronous standby is shown by replicas before the primary shows it. So this must hold in PERSIST rounds, with
  pauses between them, and while no such commit is pending;
- (between standbys the replica may be the one that is ahead: the last read waits until the first shows as much)
- (a logical replica makes versions of its own: there the same content is agreement, and versions tell only whether a
  side has changed the row)
- else the row was changed meanwhile, and another round looks again, with more reads of both so that a row which changes
  all the time is caught in the same version. After the last round it is said to be undecided.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto

from orchestrator.model.rows import Address, Row
from orchestrator.verification.result import Pair, pair_rows
from orchestrator.verification.source import RowView
from orchestrator.verification.spans import Job

BURSTS = (1, 1, 2, 4, 8, 16, 32, 64)
"""Reads of each side in each round, both at the same time so that a version which lives short is met by both."""

PAUSES_S = (0.0, 0.03, 0.1, 0.2, 0.1, 0.1, 0.1, 0.1)
"""Before each round: longer than a commit waits for a standby that is well."""
PERSIST = 3
"""Rounds in which a difference must be seen the same."""

Look = frozenset[tuple[str, int]]
"""Versions and prints of what is shown for one place or key; mostly one, empty for nothing."""


Remark = tuple[Look | None, Look]
"""The primary's look (None: whatever it was) and the replica's, where they do not agree."""
Memory = Counter[Remark]


class Ruling(Enum):
    """What a round makes of one row."""

    AGREED = auto()
    AGREED_GONE = auto()
    """Both show nothing: what was there may be elsewhere by now."""
    DIFFERENT = auto()
    OPEN = auto()


@dataclass
class Settled:
    """What came of suspects."""

    pairs: list[Pair] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    undecided: list[str] = field(default_factory=list)
    rounds: int = 0
    position: int = 0


@dataclass
class _Shown:
    """Rows by the id that they were asked by, for each read."""

    reads: list[dict[str, list[Row]]] = field(default_factory=list)

    def looks(self, name: str) -> list[Look]:
        return [look(read.get(name, [])) for read in self.reads]

    def rows(self, name: str, seen: Look) -> list[Row]:
        """The rows of the last read that showed `seen`."""
        return next((r.get(name, []) for r in reversed(self.reads) if look(r.get(name, [])) == seen), [])


Alike = Callable[[Look], Look]
"""What of a look must be the same at both sides."""


def whole(shown: Look) -> Look:
    """Versions and content."""
    return shown


def content(shown: Look) -> Look:
    """What is shown, whichever version it is."""
    return frozenset(("", print_) for _, print_ in shown)


def look(rows: Iterable[Row]) -> Look:
    """What is shown, without content."""
    return frozenset((row.version, row.print) for row in rows)


@dataclass(frozen=True)
class _Case:
    """How suspects are read."""

    job: Job
    replica: str
    by: Address

    async def read(self, view: RowView, ids: tuple[str, ...], into: _Shown, times: int) -> None:
        for _ in range(times):
            read: dict[str, list[Row]] = {}
            for row in await view.rows(self.job.table, self.job.form, self.by, ids, self.job.show):
                read.setdefault(row.asked, []).append(row)
            into.reads.append(read)

    async def round(self, ids: tuple[str, ...], burst: int) -> tuple[_Shown, _Shown, int]:
        """One round: reads of the primary, reads of the replica, and the position between them."""
        ground = self.job.ground
        primary, theirs = _Shown(), _Shown()

        async def follow(position: int) -> None:
            await ground.pass_by(self.replica, position)
            await self.read(ground.views[self.replica], ids, theirs, burst)

        await self.read(ground.primary, ids, primary, 1)
        position = await ground.position_now(self.replica)
        await asyncio.gather(self.read(ground.primary, ids, primary, burst - 1), follow(position))
        await ground.pass_back(self.replica)
        await self.read(ground.primary, ids, primary, 1)
        return primary, theirs, position


async def settle(job: Job, replica: str, by: Address, ids: Iterable[str], *, own_versions: bool = False) -> Settled:
    """Read suspects again until each is agreed upon, different, or undecided.

    `own_versions`: the replica makes versions of its own, for it is no copy of the primary's files.

    Raises:
        RowsUnreadable: one of the copies could not be read.
    """
    alike = content if own_versions else whole
    case, result = _Case(job, replica, by), Settled(undecided=sorted(set(ids)))
    earlier: defaultdict[str, Memory] = defaultdict(Counter)
    for burst, pause_s in zip(BURSTS, PAUSES_S, strict=True):
        if not result.undecided:
            break
        await asyncio.sleep(pause_s)
        result.rounds += 1
        primary, theirs, result.position = await case.round(tuple(result.undecided), burst)
        ahead = await job.ground.followers[replica].primary.pending() > 0
        _judge(primary, theirs, earlier, result, alike, ahead=ahead)
    return result


def _judge(
    primary: _Shown, theirs: _Shown, earlier: defaultdict[str, Memory], result: Settled, alike: Alike, *, ahead: bool
) -> None:
    ids, result.undecided = result.undecided, []
    for name in ids:
        seen, shown = primary.looks(name), theirs.looks(name)
        ruling, (left, right) = rule(seen, shown, earlier[name], alike)
        earlier[name].update(remarks(seen, shown, alike))
        if ruling is Ruling.DIFFERENT and not ahead:
            result.pairs += pair_rows(primary.rows(name, left), theirs.rows(name, right))
        elif ruling is Ruling.AGREED_GONE:
            result.gone.append(name)
        elif ruling is not Ruling.AGREED:
            result.undecided.append(name)


def rule(
    primary: list[Look], replica: list[Look], earlier: Memory, alike: Alike = whole
) -> tuple[Ruling, tuple[Look, Look]]:
    """Judge one row by the reads of one round (`primary` ends with the read after the replica's).

    `earlier` counts the remarks of the rounds before.
    """
    before, last = primary[0], replica[-1]
    shown_there = {alike(p) for p in primary}
    for shown in replica:
        if shown and alike(shown) in shown_there:
            return Ruling.AGREED, (shown, shown)
        twisted = next((p for p in primary if contradicts(p, shown)), None) if alike is whole else None
        if twisted is not None:
            return Ruling.DIFFERENT, (twisted, shown)
    if not last and not before:
        return Ruling.AGREED_GONE, (before, last)
    for remark in remarks(primary, replica, alike):
        if earlier[remark] >= PERSIST - 1:
            return Ruling.DIFFERENT, (before, remark[1])
    return Ruling.OPEN, (before, last)


def remarks(primary: list[Look], replica: list[Look], alike: Alike = whole) -> set[Remark]:
    """What would be a difference if it stays so: the primary stands still and the replica shows something else, or the
    replica shows one version while `before` shows another.
    """
    before, after = primary[0], primary[-1]
    other = [shown for shown in replica if alike(shown) != alike(before)]
    found: set[Remark] = {(None, shown) for shown in other if shown}
    if before == after:
        found |= {(before, shown) for shown in other}
    return found


def contradicts(ours: Look, theirs: Look) -> bool:
    """Whether one version has two contents."""
    prints: Mapping[str, int] = dict(ours)
    return any(version in prints and prints[version] != print_ for version, print_ in theirs)
