"""The executor's pen: writes a record, tells everyone, and says when it is on disk."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from concurrent.futures import ThreadPoolExecutor

from orchestrator.errors import Usage
from orchestrator.evidence.journal import Clock, Entry, Journal
from orchestrator.evidence.secrets import redact
from orchestrator.execution.history import History
from orchestrator.execution.ports import Ports
from orchestrator.model.plan import Plan
from orchestrator.model.run import Event, Record
from orchestrator.model.topology import Frozen, Setting

CRASH_AT = "DRCTL_CRASH_AT"


class CrashPoint(Frozen, kw_only=True):
    """Test hook: the process kills itself (SIGKILL) at one journal boundary; `DRCTL_CRASH_AT=event:step:before|after`.

    `step` may be `*`. Honoured in a lab's estate only.
    """

    event: Event
    step: str
    after: bool

    @classmethod
    def from_environment(cls, plan: Plan) -> CrashPoint | None:
        """The crash point that the environment asks for.

        Raises:
            Usage: it cannot be read, or the estate is not a lab.
        """
        text = os.environ.get(CRASH_AT, "")
        if not text:
            return None
        if not plan.lab:
            raise Usage(f"{CRASH_AT} is set and {plan.estate} is not a lab", hint=f"unset {CRASH_AT}")
        event, _, rest = text.partition(":")
        step, _, when = rest.rpartition(":")
        if event not in {e.value for e in Event} or when not in {"before", "after"} or not step:
            raise Usage(f"cannot read {CRASH_AT}={text}", hint="event:step or *:before|after")
        return cls(event=Event(event), step=step, after=when == "after")

    def strike(self, event: Event, step: str, *, after: bool) -> None:
        """Kill this process where the boundary is the one asked for."""
        if event is self.event and after is self.after and self.step in {"*", step}:
            os.kill(os.getpid(), signal.SIGKILL)


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

    async def settle(self) -> None:
        """Wait until everything written so far is on disk; steps that wait at once share one fdatasync.

        Raises:
            JournalFailed: the disk failed.
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
        self._journal.check_epoch()

    def close(self) -> None:
        """Let the thread that syncs go; the journal stays open."""
        self._disk.shutdown(wait=False)


def settings(**data: str | float) -> tuple[Setting, ...]:
    """Data of a record; seconds are written with 0.1 ms."""
    return tuple(
        Setting(name=name, value=f"{value:.4f}" if isinstance(value, float) else value) for name, value in data.items()
    )
