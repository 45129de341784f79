"""The executor's pen: writes a record, tells everyone, and says when it is on disk."""

from __future__ import annotations

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor

from orchestrator.crashpoint import CrashPoint
from orchestrator.evidence.journal import Clock, Entry, Journal, JournalFailed
from orchestrator.evidence.secrets import redact
from orchestrator.execution.history import History
from orchestrator.execution.ports import Ports
from orchestrator.model.run import Event, Record
from orchestrator.model.topology import Setting

HELD_WITHIN_S = 30.0
"""An effect that must not happen twice waits so long for the team's store."""


class RunLog:
    """Writes the journal, keeps the history in step with it, and reports progress."""

    def __init__(self, journal: Journal, history: History, ports: Ports, crash: CrashPoint | None) -> None:
        self.history = history
        self._journal, self._progress, self._clock, self._crash = journal, ports.progress, ports.clock, crash
        self._on_disk = journal.last_seq
        self._turn = asyncio.Lock()
        self._disk = ThreadPoolExecutor(max_workers=1, thread_name_prefix="journal")  # shared with nobody who may hang

    @property
    def clock(self) -> Clock:
        """The clock that stamps the records."""
        return self._clock

    def write(self, event: Event, step: str = "", detail: str = "", data: tuple[Setting, ...] = ()) -> Record:
        """Append one record; `settle` waits until it is on disk.

        Raises:
            JournalFailed, Superseded: nothing was written, and nothing may be done.
        """
        if self._crash:
            self._crash.strike(event, step, after=False)
        entry = Entry(event=event, step=step, detail=redact(detail), data=data)  # foreign words may hold a secret
        record = self._journal.append([entry], sync=False)[0]
        if self._crash:
            self._crash.strike(event, step, after=True)
        self.history.feed(record)
        with contextlib.suppress(Exception):
            self._progress(record)
        return record

    def inside(self, step: str) -> contextlib.AbstractContextManager[None]:
        """Around a step's action, for the test hook."""
        return self._crash.within(step) if self._crash else contextlib.nullcontext()

    async def settle(self, *, must: bool = False) -> None:
        """Wait until everything written so far is on disk; steps that wait at once share one fdatasync.

        Where a team's store holds the journal too, it does so by then; a store that is away does not hold the run up
        as long as its lease holds, unless `must`: then it is waited for, for HELD_WITHIN_S.

        Raises:
            JournalFailed: the disk failed, or nothing may be begun without the store.
            Superseded: the run was taken over meanwhile.
        """
        mine = self._journal.last_seq
        while self._on_disk < mine:
            async with self._turn:
                if self._on_disk < mine:
                    upto = self._journal.last_seq
                    if self._clock.simulated:
                        self._journal.sync()
                    else:
                        await asyncio.get_running_loop().run_in_executor(self._disk, self._journal.sync)
                    self._on_disk = upto
        if must:
            await self._held(mine)
        self._journal.check_epoch()
        for entry in self._journal.news():
            self.write(entry.event, entry.step, entry.detail, entry.data)

    async def _held(self, seq: int) -> None:
        until_s = self._clock.monotonic() + HELD_WITHIN_S
        while not self._journal.held(seq):
            self._journal.check_epoch()
            if self._clock.monotonic() > until_s:
                raise JournalFailed(
                    "the state store is away: an effect that must not happen twice was not begun",
                    hint="`drctl runs resume` when it is back; `drctl takeover` from a centre that reaches it",
                )
            await asyncio.sleep(0.05)

    def close(self) -> None:
        """Let the thread that syncs go; the journal stays open."""
        self._disk.shutdown(wait=False)


def settings(**data: str | float) -> tuple[Setting, ...]:
    """Data of a record; seconds are written with 0.1 ms."""
    return tuple(
        Setting(name=name, value=f"{value:.4f}" if isinstance(value, float) else value) for name, value in data.items()
    )
