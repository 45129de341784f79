"""Views of PostgreSQL's rows on connections of their own, and the locks that hold its writers."""

from __future__ import annotations

import time
from typing import Any

from psycopg import sql

from orchestrator.model.rows import (
    Address,
    BucketDigest,
    Cell,
    Digest,
    Form,
    Row,
    RowPrint,
    RowsUnreadable,
    Span,
    Table,
)
from orchestrator.providers import postgresql_rows_sql as statements
from orchestrator.providers.postgresql_session import Session

END = 4294967295
"""A page behind every row."""


class PostgresHold:
    """Locks that keep writers out, held by an open transaction."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._since = time.monotonic()

    async def release(self) -> float:
        """Commit, which frees the locks; raises where the server had ended the transaction before."""
        try:
            await self._session.run("COMMIT")
            return time.monotonic() - self._since
        finally:
            await self._session.close()


class PostgresView:
    """Reads of one database, on a connection of its own."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._frozen = False

    async def freeze(self) -> None:
        """Take the snapshot that every later read sees; the savepoint keeps it through a read that fails."""
        await self._session.run(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT pg_current_snapshot(); SAVEPOINT taken"
        )
        self._frozen = True

    async def digests(self, table: Table, form: Form, spans: tuple[Span, ...]) -> tuple[Digest, ...]:
        """Counts and sums of prints of spans."""
        [row] = await self._run(statements.digests(table, form, not self._frozen), _pages(spans))
        counts, totals, position = row
        return tuple(
            Digest(rows=n, total=int(total), position=int(position)) for n, total in zip(counts, totals, strict=True)
        )

    async def buckets(self, table: Table, form: Form, span: Span, of: int) -> tuple[BucketDigest, ...]:
        """Count and sum by bucket."""
        found = await self._run(statements.buckets(table, form), (of - 1, *_places(span)))
        return tuple(BucketDigest(bucket=b, digest=Digest(rows=n, total=int(total))) for b, n, total in found)

    async def prints(
        self, table: Table, form: Form, spans: tuple[Span, ...], buckets: tuple[int, ...] = (), of: int = 1
    ) -> tuple[RowPrint, ...]:
        """Every row of spans, or those of some buckets."""
        params = (*_pages(spans), of, of - 1, list(buckets))
        found = await self._run(statements.prints(table, form), params)
        return tuple(RowPrint(place=p, key=k, print=h) for p, k, h in found)

    async def rows(self, table: Table, form: Form, by: Address, ids: tuple[str, ...], show: bool) -> tuple[Row, ...]:
        """Rows at places or with keys."""
        found = await self._run(statements.rows(table, form, by, show), (list(ids),))
        return tuple(_row(table, row) for row in found)

    async def close(self) -> None:
        """Close the connection, which ends the snapshot."""
        await self._session.close()

    async def _run(self, statement: sql.Composed, params: tuple[object, ...]) -> list[tuple[Any, ...]]:
        try:
            return await self._session.run(statement, params)
        except RowsUnreadable:
            if self._frozen and self._session.usable:
                await self._session.run("ROLLBACK TO SAVEPOINT taken")
            raise


def _row(table: Table, found: tuple[Any, ...]) -> Row:
    asked, place, key, version, print_, hashes, texts = found
    shown = texts or [None] * len(hashes)
    cells = (Cell(name=c.name, print=h, text=t) for c, h, t in zip(table.columns, hashes, shown, strict=True))
    return Row(asked=asked, place=place, key=key, version=version, print=print_, cells=tuple(cells))


def _places(span: Span) -> tuple[str, str]:
    return f"({span.first},0)", f"({_last(span)},0)"


def _pages(spans: tuple[Span, ...]) -> tuple[list[int], list[int]]:
    return [span.first for span in spans], [_last(span) for span in spans]


def _last(span: Span) -> int:
    return END if span.last is None else span.last
