"""What verification asks of a copy. A technology implements these two protocols and needs nothing else to be verified.

Contract: every call returns within its bound or raises `RowsUnreadable` with the trouble named; nothing else is raised.
A source connects when it is first asked, and `close` frees whatever it holds, locks first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from orchestrator.model.rows import (
    Address,
    BucketDigest,
    CanarySeen,
    Digest,
    Fact,
    Form,
    Row,
    RowPrint,
    Sequence,
    Span,
    Standing,
    Storage,
    Subscribed,
    Table,
)


class RowView(Protocol):
    """Reads of one database of one copy: each call the newest; after `freeze` all at one moment.

    A call that fails leaves the view (and its moment) usable, unless the connection is lost.
    """

    async def freeze(self) -> None:
        """From now on every call reads what is committed (at a replica: replayed) at this moment."""
        ...

    async def digests(self, table: Table, form: Form, spans: tuple[Span, ...]) -> tuple[Digest, ...]:
        """Count and sum of prints of each span, all read at one moment."""
        ...

    async def buckets(self, table: Table, form: Form, span: Span, of: int) -> tuple[BucketDigest, ...]:
        """The same, split by the hash of the key (of the row where there is none) into `of` buckets, a power of two."""
        ...

    async def prints(
        self, table: Table, form: Form, spans: tuple[Span, ...], buckets: tuple[int, ...] = (), of: int = 1
    ) -> tuple[RowPrint, ...]:
        """Every row of spans, or those of some buckets."""
        ...

    async def rows(self, table: Table, form: Form, by: Address, ids: tuple[str, ...], show: bool) -> tuple[Row, ...]:
        """The rows at places, or with keys; with the text of their values where `show`."""
        ...

    async def close(self) -> None:
        """End the view; never raises."""
        ...


class Hold(Protocol):
    """Writers of some tables are held until `release`, or until the server's own bound."""

    async def release(self) -> float:
        """Let them go; the seconds that they were held.

        Raises:
            RowsUnreadable: the server had let them go before.
        """
        ...


class RowSource(Protocol):
    """One copy."""

    @property
    def instance(self) -> str: ...

    async def standing(self, within_s: float) -> Standing:
        """Role, version, lineage and position now."""
        ...

    async def mark(self) -> int:
        """A primary: a position at or after everything committed so far, and sent to every replica without delay."""
        ...

    async def pulse(self) -> float:
        """A primary: seconds that a small commit takes now, on a connection of its own."""
        ...

    async def changed(
        self, database: str, since: int, until: int, tables: tuple[Table, ...]
    ) -> Mapping[str, tuple[int, ...]]:
        """A primary: pages of tables that its log says were changed between two positions, by `schema.table`.

        Raises:
            RowsUnreadable: the log is not kept so far back, or cannot be read.
        """
        ...

    async def reached(self) -> tuple[int, int]:
        """A replica: position that it has received and flushed, and position that its reads see."""
        ...

    async def pending(self) -> int:
        """A primary: commits that replicas may show and that it does not show itself yet (it waits for a replica)."""
        ...

    async def databases(self) -> tuple[str, ...]:
        """Databases that may hold rows of users."""
        ...

    async def tables(self, database: str) -> tuple[Table, ...]:
        """Every relation with rows of users, as of now."""
        ...

    async def mark_of(self, table: Table) -> str:
        """The table's mark as of now; empty where it is gone."""
        ...

    async def sequences(self, database: str) -> tuple[Sequence, ...]:
        """Every replicated sequence, as of now."""
        ...

    async def subscribed(self, database: str) -> tuple[Subscribed, ...]:
        """A logical replica: what it takes from its primary."""
        ...

    async def confirmed(self, streams: tuple[str, ...]) -> int:
        """A primary: position up to which the reader of each of these streams has applied and flushed everything."""
        ...

    async def filtered(self, database: str) -> frozenset[str]:
        """A primary: tables (`schema.table`) of which it publishes only some rows or columns."""
        ...

    async def facts(self, database: str) -> tuple[Fact, ...]:
        """Schema and extensions of a database; under the empty name roles and settings of the whole copy."""
        ...

    async def storage(self, database: str, tables: tuple[Table, ...], within_s: float) -> Storage:
        """What the copy's own server says of the storage of tables and their indexes, asked in `within_s` seconds."""
        ...

    async def view(self, database: str) -> RowView:
        """Open a view, not frozen."""
        ...

    async def hold(self, database: str, tables: tuple[Table, ...], wait_s: float, hold_s: float) -> Hold:
        """A primary: hold the writers of `tables`.

        Waits at most `wait_s` seconds for them; the server lets them go after `hold_s` seconds even if we do not.
        """
        ...

    async def plant(self, run: str) -> None:
        """A primary: make sure that canary rows can be written."""
        ...

    async def write_canary(self, run: str, number: int) -> str:
        """Commit one canary row without waiting for any replica; its content."""
        ...

    async def see_canaries(self, run: str, after: int) -> tuple[CanarySeen, ...]:
        """Canary rows above number `after` that reads here can see."""
        ...

    async def clear_canaries(self, run: str) -> None:
        """Remove the rows of a run."""
        ...

    async def close(self) -> None:
        """Free everything; never raises."""
        ...
