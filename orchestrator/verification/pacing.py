"""What a comparison costs the primary: how much of the time it may be read, and what its own commits take meanwhile.

A small commit of ours at the primary stands for those of its users: it waits for the same processors, locks and disks.
It is timed before and after the comparison, when we read nothing, and all the time during it, in the same way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from orchestrator.model.proof import Effect
from orchestrator.model.rows import RowsUnreadable
from orchestrator.verification.canary_row import rank
from orchestrator.verification.source import RowSource

ALONE = 15
"""Commits that are timed before, and as many after."""
CLOSELY_S = 0.004
"""So long after another commit comes each that is timed: one that comes after a rest is slower (half as slow again or
more, with nothing else to do), by what processors and the server have put away meanwhile.
"""
EVERY_S = 0.05
RECENT = 8
"""So many of the last commits tell whether the primary suffers now."""
SUFFERS = 2.0
"""It does where they take so many times what they took before."""
MOST_REST = 16.0
REST_MOST_S = 30.0


class Brake:
    """Rests between reads, so that servers are read at most `share` (above 0, at most 1) of the time; longer while the
    primary suffers. A share of 1 never rests.
    """

    def __init__(self, share: float = 1.0) -> None:
        self.share = share
        self._more = 1.0
        self._alone: list[float] = []
        self._during: list[float] = []

    @property
    def gentle(self) -> bool:
        """Reads are to be short, with rests between them."""
        return self.share < 1

    async def rest(self, worked_s: float) -> None:
        """After a read that took so long."""
        if self.gentle:
            self._more = min(MOST_REST, self._more * 2) if self._suffers() else max(1.0, self._more / 2)
            await asyncio.sleep(min(REST_MOST_S, worked_s * (1 / self.share - 1) * self._more))

    def _suffers(self) -> bool:
        if not self._alone or len(self._during) < RECENT:
            return False
        return (rank(self._during[-RECENT:], 50) or 0) > SUFFERS * (rank(self._alone, 50) or 0)

    async def watch(self, primary: RowSource) -> None:
        """Time commits until cancelled; ends by itself where the primary takes none."""
        with suppress(RowsUnreadable):
            while True:
                await primary.pulse()
                await asyncio.sleep(CLOSELY_S)
                self._during.append(await primary.pulse())
                await asyncio.sleep(EVERY_S)

    async def alone(self, primary: RowSource) -> None:
        """Time commits while nothing else of ours goes on."""
        with suppress(RowsUnreadable):
            for _ in range(ALONE):
                self._alone.append(await primary.pulse())
                await asyncio.sleep(CLOSELY_S)

    @property
    def effect(self) -> Effect | None:
        """What was measured; None where that is too little."""
        if len(self._alone) <= ALONE or not self._during:
            return None
        return Effect(
            share=self.share,
            alone_p50_s=_rank(self._alone, 50),
            alone_p95_s=_rank(self._alone, 95),
            during_p50_s=_rank(self._during, 50),
            during_p95_s=_rank(self._during, 95),
            commits=len(self._during),
        )


def _rank(values: Sequence[float], percent: int) -> float:
    return rank(values, percent) or 0.0
