"""The common ground on which copies are compared while the database is written to.

- A *cut*: writers of the tables are held, the primary takes its snapshot and notes its position, every replica takes
  its own as soon as it has replayed that position, and the writers go on. All snapshots show the same moment.
- *Live*: nobody is held. Every read of the primary carries a position, a replica is read once it has passed it, and
  what differs is read again (see `settle`).

Both are exact; a cut costs writers the lag plus some milliseconds, live costs repeated reads.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from orchestrator.model.proof import Method
from orchestrator.model.rows import RowsUnreadable, Table
from orchestrator.model.topology import Text
from orchestrator.verification.positions import Follower
from orchestrator.verification.result import explain
from orchestrator.verification.source import Hold, RowSource, RowView

LOCK_WAIT_S = 0.3
"""Bound of the wait for writers; below PostgreSQL's deadlock_timeout, so that no application is made to fail by it."""
LOCK_TRIES = 3
LAG_LIMIT_S = 0.5
"""Above this lag writers are not held for a replica."""
HOLD_SPARE_S = 0.25
SLOW = Text(en="it did not reach the cut in time", zh="未能及时到达一致性切点")


@dataclass
class Ground:
    """The primary's view and those of the replicas that stand on the same ground."""

    method: Method
    primary: RowView
    followers: Mapping[str, Follower]
    views: dict[str, RowView] = field(default_factory=dict)
    position: int = 0
    held_s: float = 0.0

    taken_at: float = field(default_factory=time.monotonic)

    @property
    def age_s(self) -> float:
        """Seconds since it was taken."""
        return time.monotonic() - self.taken_at

    @property
    def frozen(self) -> bool:
        """Every view shows one moment and stays there."""
        return self.method is Method.CUT

    async def pass_by(self, instance: str, position: int) -> None:
        """Live: wait until the replica has replayed what the primary was read at.

        Raises:
            RowsUnreadable: it did not within its bound.
        """
        if not self.frozen:
            await self.followers[instance].reach(position)

    async def position_now(self, instance: str) -> int:
        """Live: a position at or after everything read at the primary so far; 0 on a cut."""
        return 0 if self.frozen else await self.followers[instance].mark()

    async def pass_back(self, instance: str) -> None:
        """Live, between standbys: wait until the first shows what the other was read at.

        Raises:
            RowsUnreadable: it did not within its bound.
        """
        if not self.frozen:
            await self.followers[instance].level()

    async def close(self) -> None:
        """End every view."""
        for view in (self.primary, *self.views.values()):
            await view.close()


async def live(database: str, primary: RowSource, followers: Mapping[str, Follower]) -> Ground:
    """A ground without locks. A replica whose view cannot be opened is left out."""
    ground = Ground(Method.RECHECK, await primary.view(database), followers)
    await _open(database, ground)
    return ground


def why_live(locks: bool, lag_s: float) -> Text | None:
    """Why no cut is to be taken with a replica: none is wanted, or it is that far behind; None where one may be."""
    if not locks:
        return Text(en="no locks were wanted", zh="要求不加锁")
    if lag_s <= LAG_LIMIT_S:
        return None
    return Text(
        en=f"its lag of {lag_s:.1f} s is above {LAG_LIMIT_S:g} s", zh=f"延迟 {lag_s:.1f} 秒超过 {LAG_LIMIT_S:g} 秒"
    )


async def cut(
    database: str,
    primary: RowSource,
    followers: Mapping[str, Follower],
    tables: Sequence[Table],
    say: Callable[[Text], None],
) -> Ground | Text:
    """A consistent cut through the primary and as many of the replicas as reach it while writers are held.

    The bound of the hold follows from the replicas' lag, is said before, and is kept by the primary itself. Why there
    is no cut where writers could not be held, or the primary let them go before it was taken.
    """
    hold_s = 2 * max(follower.lag_s for follower in followers.values()) + HOLD_SPARE_S
    bound_s = LOCK_WAIT_S + hold_s
    say(
        Text(
            en=f"holding writers of {len(tables)} tables of {database} for at most {bound_s:.2f} s",
            zh=f"暂停 {database} 中 {len(tables)} 张表的写入，最多 {bound_s:.2f} 秒",
        )
    )
    try:
        return await _cut(database, primary, followers, tables, hold_s)
    except RowsUnreadable as error:
        why = explain(error)
        return Text(en=f"writers could not be held: {why.en}", zh=f"无法暂停写入：{why.zh}")


async def _cut(
    database: str, primary: RowSource, followers: Mapping[str, Follower], tables: Sequence[Table], hold_s: float
) -> Ground:
    ground = Ground(Method.CUT, await primary.view(database), followers)
    try:
        await _open(database, ground)
        hold = await _hold(database, primary, tables, hold_s)
        try:
            _, ground.position = await asyncio.gather(ground.primary.freeze(), primary.mark())
            await asyncio.gather(*(_join(ground, name, hold_s) for name in list(ground.views)))
        finally:
            ground.held_s = await hold.release()
    except BaseException:
        await ground.close()
        raise
    return ground


async def _open(database: str, ground: Ground) -> None:
    async def one(name: str, replica: RowSource) -> None:
        with suppress(RowsUnreadable):
            ground.views[name] = await replica.view(database)

    await asyncio.gather(*(one(name, follower.replica) for name, follower in ground.followers.items()))


async def _hold(database: str, primary: RowSource, tables: Sequence[Table], hold_s: float) -> Hold:
    for remaining in reversed(range(LOCK_TRIES)):
        try:
            return await primary.hold(database, tuple(tables), LOCK_WAIT_S, hold_s)
        except RowsUnreadable as error:
            if not remaining or error.trouble.value not in {"locked", "late"}:
                raise
            await asyncio.sleep(LOCK_WAIT_S)
    raise AssertionError("the last try returns or raises")


async def _join(ground: Ground, name: str, hold_s: float) -> None:
    """Freeze one replica at the cut; one that is too slow leaves the ground."""
    try:
        await ground.followers[name].reach(ground.position, hold_s * 0.8)
        await ground.views[name].freeze()
    except RowsUnreadable:
        await ground.views.pop(name).close()
