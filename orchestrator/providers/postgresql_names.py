"""Which objects of a bucket the rows of a PostgreSQL database name."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from psycopg import sql

from orchestrator.model.objects import NameColumn
from orchestrator.model.topology import Instance
from orchestrator.providers.postgresql_session import Session

AT_ONCE = 5_000
WITHIN_S = 600.0
"""Bound of the sort before the first name, and of each batch."""
_NAMES = """
DECLARE names NO SCROLL CURSOR FOR
SELECT DISTINCT convert_to({column}::text, 'UTF8') AS name FROM {table} WHERE {column} IS NOT NULL ORDER BY name
"""
"""Bytes are sorted by their values, as keys in a listing are; text would be sorted by its collation."""
_STILL = "SELECT DISTINCT convert_to({column}::text, 'UTF8') FROM {table} WHERE {column}::text = ANY(%s)"


class PostgresNames:
    """One PostgreSQL instance as the proof of names reads it: a snapshot that holds nobody up, also at a standby."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self._session: Session | None = None

    @property
    def instance(self) -> str:
        """Id of the instance."""
        return self._instance.id

    async def names(self, column: NameColumn) -> AsyncIterator[Sequence[bytes]]:
        """See `NameSource.names`."""
        session = await self._open()
        await session.run("BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        await session.run(f"SET LOCAL statement_timeout = {int(WITHIN_S * 1000)}")
        await session.run(_of(_NAMES, column), within_s=WITHIN_S)
        while batch := await session.run(f"FETCH {AT_ONCE} FROM names", within_s=WITHIN_S):
            yield [bytes(name) for (name,) in batch]
        await session.run("COMMIT")

    async def still(self, column: NameColumn, names: Sequence[bytes]) -> frozenset[bytes]:
        """See `NameSource.still`."""
        session = await self._open()
        asked = [name.decode() for name in names if _is_text(name)]
        found = await session.run(_of(_STILL, column), (asked,), WITHIN_S)
        return frozenset(bytes(name) for (name,) in found)

    async def close(self) -> None:
        """Free everything; never raises."""
        if self._session is not None:
            await self._session.close()

    async def _open(self) -> Session:
        if self._session is None or not self._session.usable:
            self._session = await Session.open(self._instance)
        return self._session


def _of(statement: str, column: NameColumn) -> sql.Composed:
    return sql.SQL(statement).format(
        column=sql.Identifier(column.name), table=sql.Identifier(column.schema, column.table)
    )


def _is_text(name: bytes) -> bool:
    """A key that is no text, or holds a zero byte, cannot stand in a column of text."""
    try:
        return "\0" not in name.decode()
    except UnicodeDecodeError:
        return False
