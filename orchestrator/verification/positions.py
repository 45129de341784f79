"""Does a replica hold, and show, what the primary had at one moment? The log is the only clock that both share."""

from __future__ import annotations

import asyncio
import time

from orchestrator.model.observation import Verdict
from orchestrator.model.proof import NOTHING, PositionProof
from orchestrator.model.rows import RowsUnreadable, Standing, Trouble
from orchestrator.model.topology import Text
from orchestrator.verification.options import Options
from orchestrator.verification.result import explain
from orchestrator.verification.source import RowSource

LOOK_EVERY_S = 0.002
NUDGE_AFTER_S = 0.004
"""What nothing flushes is not sent (asynchronous commits, hints); the primary is asked to after so long, then after
twice as long, and so on."""


class Follower:
    """A replica beside the primary that it follows; or (not `led`) beside another standby, which may be behind it."""

    def __init__(self, primary: RowSource, replica: RowSource, within_s: float, *, led: bool = True) -> None:
        self.primary = primary
        self.replica = replica
        self.within_s = within_s
        self.led = led
        self.lag_s = 0.0
        """As last measured by `measure_lag`."""
        self.replayed = 0
        """The highest position that it is known to have replayed."""

    async def mark(self) -> int:
        """A position at or after everything that the first of both shows now."""
        if self.led:
            return await self.primary.mark()
        _, replayed = await self.primary.reached()
        return replayed

    async def level(self) -> None:
        """Between standbys: wait until the first shows all that the other shows now; else there is nothing to wait for.

        Raises:
            RowsUnreadable: as `reach`.
        """
        if not self.led:
            _, replayed = await self.replica.reached()
            await Follower(self.replica, self.primary, self.within_s, led=False).reach(replayed)

    async def reach(self, position: int, within_s: float | None = None) -> float:
        """Wait until reads at the replica see `position`; the seconds it took.

        Raises:
            RowsUnreadable: not within the bound (LATE), or one of the two cannot be read.
        """
        if self.replayed >= position:
            return 0.0
        begun = time.monotonic()
        bound_s = self.within_s if within_s is None else within_s
        nudge_s = NUDGE_AFTER_S
        while not await self.has(position):
            waited_s = time.monotonic() - begun
            if waited_s > bound_s:
                behind = position - self.replayed
                message = f"is still {behind} bytes of log behind after {bound_s:g} s"
                raise RowsUnreadable(Trouble.LATE, self.replica.instance, message)
            if waited_s > nudge_s:
                await self.mark()
                nudge_s *= 2
            await asyncio.sleep(LOOK_EVERY_S)
        return time.monotonic() - begun

    async def measure_lag(self, small_s: float) -> None:
        """Time how long a fresh position of the primary takes to be replayed: a lag above `small_s` is real if it is
        still there at the third try, else a hiccup.

        Raises:
            RowsUnreadable: as `reach`.
        """
        for _ in range(3):
            self.lag_s = await self.reach(await self.mark())
            if self.lag_s <= small_s:
                return

    async def has(self, position: int) -> bool:
        """Whether reads at the replica see everything up to a position.

        Raises:
            RowsUnreadable: it follows nobody any more, or one of the two cannot be read.
        """
        received, self.replayed = await self.replica.reached()
        if not received:
            raise RowsUnreadable(Trouble.OTHER, self.replica.instance, "is no longer a standby")
        return self.replayed >= position


def beside(primary: RowSource, replica: RowSource, options: Options) -> Follower:
    """A replica beside its primary, or beside the standby that was chosen in its place."""
    return Follower(primary, replica, options.within_s, led=not options.reference)


async def inclusion(follower: Follower) -> PositionProof:
    """Take a fresh position of the primary and time until the replica has flushed and replayed it.

    PASS only if both came within the follower's bound on the same timeline of the same lineage; FAIL if the replica
    answered all the time and did not get there; UNKNOWN if it could not be told. A replica that reports positions it
    does not hold is left to the canary row and the content.
    """
    target, primary, replica, within_s = 0, follower.primary, follower.replica, follower.within_s
    try:
        before = await primary.standing(within_s)
        target = await follower.mark()
        seen = await _watch(replica, target, within_s)
        ours, theirs = await asyncio.gather(primary.standing(within_s), replica.standing(within_s))
    except RowsUnreadable as error:
        return PositionProof(verdict=Verdict.UNKNOWN, target=target, reason=explain(error))
    wrong = _not_comparable(before, ours, theirs, led=follower.led)
    if wrong is not None:
        return PositionProof(verdict=Verdict.FAIL, target=target, reason=wrong)
    return seen


async def _watch(replica: RowSource, target: int, within_s: float) -> PositionProof:
    begun = time.monotonic()
    received_s: float | None = None
    while True:
        received, replayed = await replica.reached()
        passed_s = time.monotonic() - begun
        if received >= target and received_s is None:
            received_s = passed_s
        there = replayed >= target
        if there or passed_s > within_s:
            return PositionProof(
                verdict=Verdict.PASS if there else Verdict.FAIL,
                target=target,
                received=received,
                replayed=replayed,
                received_s=received_s,
                replayed_s=passed_s if there else None,
                reason=NOTHING if there else _behind(target, received, replayed, within_s),
            )
        await asyncio.sleep(LOOK_EVERY_S)


def _behind(target: int, received: int, replayed: int, within_s: float) -> Text:
    if not received:
        return Text(en="it is not a standby", zh="该实例不是备库")
    lacks, hidden = max(0, target - received), max(0, target - replayed)
    return Text(
        en=f"after {within_s:g} s it lacks {lacks} bytes of log and does not show {hidden} bytes",
        zh=f"{within_s:g} 秒后仍缺 {lacks} 字节日志，{hidden} 字节尚不可见",
    )


def _not_comparable(before: Standing, primary: Standing, replica: Standing, *, led: bool) -> Text | None:
    if {before.primary, primary.primary} != {led}:
        what = Text(en="a primary", zh="主库") if led else Text(en="a standby", zh="备库")
        return Text(en=f"{primary.instance} is not {what.en}", zh=f"{primary.instance} 不是{what.zh}")
    if replica.primary:
        return Text(en="it is not a standby: it is a primary itself", zh="该实例不是备库，自身为主库")
    if replica.lineage != primary.lineage:
        return Text(en="it is a copy of another database cluster", zh="它是另一数据库集群的副本")
    if None not in (replica.timeline, primary.timeline) and replica.timeline != primary.timeline:
        return Text(
            en=f"it follows timeline {replica.timeline}, the primary is on {primary.timeline}: not comparable",
            zh=f"其时间线为 {replica.timeline}，主库为 {primary.timeline}：位点不可比较",
        )
    return None
