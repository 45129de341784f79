"""What is written into a journal, and the second place that may hold it: ports, without I/O."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from orchestrator.model.run import Event, Record
from orchestrator.model.topology import Frozen, Setting


class Entry(Frozen, kw_only=True):
    """What a caller wants written; the journal adds number, time and chain."""

    event: Event
    step: str = ""
    detail: str = ""
    data: tuple[Setting, ...] = ()


class Elsewhere(Protocol):
    """A second place that holds the journal before an effect rests on it, and knows who owns the run."""

    def keep(self, records: Sequence[Record]) -> None:
        """Hold records (some may be known); called in the thread that syncs, and may wait.

        Raises:
            Superseded: the run has another owner.
            JournalFailed: nothing may be begun now.
        """
        ...

    def held(self, seq: int) -> bool:
        """Whether every record up to a number is held there. Never waits."""
        ...

    def superseded(self) -> str:
        """Why this writer may write nothing any more; empty where it may. Never waits."""
        ...

    def news(self) -> tuple[Entry, ...]:
        """What has to be written down about the second place; each is given once. Never waits."""
        ...
