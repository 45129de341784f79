"""The canary's ledger: what was asked through an entry, and what was answered. Pure and frozen.

One file per entry, JSON lines: a header, then one line per operation that ended. Times are seconds of the
monotonic clock, comparable with the journal's of the same boot.
"""

from __future__ import annotations

import hashlib
from enum import StrEnum

import msgspec

from orchestrator.model.topology import Frozen


class Header(Frozen, kw_only=True):
    """First line of a ledger."""

    entry: str
    system: str
    boot: str
    t0_utc: str
    t0_mono: float
    rate: float
    """Operations a second, writes and reads in turn."""
    prefix: str
    """Every id of this ledger begins with it."""
    header: bool = True


class Result(StrEnum):
    """How an operation ended."""

    OK = "ok"
    REFUSED = "refused"
    """Certainly not done (503, or nobody took the connection)."""
    DOUBT = "doubt"
    """Sent, and neither acknowledged nor refused."""
    WRONG = "wrong"
    """A read that did not give what had been acknowledged."""


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One operation. Short names: a long drill writes millions of them."""

    k: str
    """`w` write or `r` read."""
    i: str
    """Id of the record."""
    s: float
    """Sent, monotonic seconds."""
    e: float
    """Ended, monotonic seconds."""
    o: Result
    c: int
    """HTTP status; 0 for none."""
    n: str = ""
    """Centre of the app that answered, where it says."""


class Ledger(msgspec.Struct, frozen=True, kw_only=True):
    """One entry's ledger as read back."""

    header: Header
    operations: tuple[Operation, ...]

    def acknowledged(self) -> tuple[Operation, ...]:
        """Writes that users were told are kept, in the order of their acknowledgement."""
        return tuple(sorted((o for o in self.operations if o.k == "w" and o.o is Result.OK), key=lambda o: o.e))


def value_of(record: str) -> str:
    """The value that belongs to an id: derived, so that a reader can tell a changed one without a store."""
    return hashlib.sha256(record.encode()).hexdigest()[:32]
