"""A disk that forgets what was not synced when its machine dies, fills up, and tears the last line in two."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from orchestrator.evidence.journal import Journal


class Dead(BaseException):
    """This process was killed: nothing that it does reaches the world any more."""


class SimFile:
    """The bytes of one file, and how many of them are on disk for certain."""

    def __init__(self, content: bytes = b"") -> None:
        self.content = bytearray(content)
        self.synced = len(content)
        self.writer = 0
        """The process that may write; another one's bytes fall into a file without a name."""

    def crash(self, source: Random) -> None:
        """Power is lost: of what was not synced some beginning is left."""
        loose = len(self.content) - self.synced
        if loose:
            del self.content[self.synced + source.choice((0, loose, source.randrange(loose + 1))) :]
            self.synced = len(self.content)


class SimJournal(Journal):
    """The shipped journal on a simulated disk."""

    def __init__(self, *args: Any, file: SimFile, gate: Callable[[str, bytes], None], **more: Any) -> None:
        """`gate` is asked before each operation ("write", "sync") and may raise OSError or Dead."""
        self._file, self._gate = file, gate
        self.synced_seq = -1
        """Number of the last record that is on disk for certain."""
        super().__init__(*args, **more)

    def _open(self, path: Any) -> int:
        return -1

    def _content(self) -> bytes:
        return bytes(self._file.content)

    def _put(self, content: bytes) -> int:
        self._gate("write", content)
        self._file.content += content
        return len(content)

    def _flush(self) -> None:
        self._gate("sync", b"")
        self._file.synced = len(self._file.content)
        self.synced_seq = self.last_seq

    def _cut(self, size: int) -> None:
        del self._file.content[size:]
        self._file.synced = min(self._file.synced, size)


def full() -> OSError:
    """No space left."""
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class SimStore:
    """The durable store of one run: remembers how steps ended, as long as it is there."""

    def __init__(self) -> None:
        self.outcomes: dict[str, str] = {}
        self.reserved: tuple[str, ...] = ()
        self.gone = False


class SimDurable:
    """One process's way to the store; the executor's port `Durable`."""

    def __init__(self, store: SimStore, alive: Callable[[], bool]) -> None:
        self._store, self._alive = store, alive
        self._untold: dict[str, str] = {}

    def reserve(self, names: Sequence[str]) -> None:
        """The same steps in the same order in every life, or the store's numbers would mean other steps."""
        if self._store.reserved and self._store.reserved != tuple(names):
            raise AssertionError("steps were reserved in another order than in the life before")
        self._store.reserved = tuple(names)

    async def step(self, name: str, body: Any, *, urgent: bool = False) -> str:
        """Run `body`, or give what it returned in an earlier life; an urgent end is remembered with the next other."""
        if self._store.gone:
            return str(await body())
        if name in self._store.outcomes:
            return self._store.outcomes[name]
        self._untold[name] = str(await body())
        if self._alive() and not self._store.gone and not urgent:
            self._store.outcomes |= self._untold
            self._untold.clear()
        return self._untold.get(name) or self._store.outcomes[name]
