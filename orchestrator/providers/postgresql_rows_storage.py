"""PostgreSQL's own checks of its storage: page checksums, and amcheck where the database has it."""

from __future__ import annotations

import time

from psycopg import sql

from orchestrator.model.rows import RowsUnreadable, Storage, Table, Trouble
from orchestrator.providers import postgresql_rows_sql as statements
from orchestrator.providers.postgresql_session import Session

PAGES = 16_384
"""A table is checked in so many pages at a time."""
MOST_BROKEN = 20
SUMS = """
SELECT current_setting('data_checksums') = 'on',
       (SELECT coalesce(sum(checksum_failures), 0)::bigint FROM pg_stat_database WHERE datname = current_database()),
       (SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE extname = 'amcheck')
"""
INDEXES = """
SELECT n.nspname, c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_am a ON a.oid = c.relam
WHERE i.indrelid = {}::regclass AND a.amname = 'btree' AND i.indisvalid ORDER BY 1, 2
"""


async def look_at_storage(session: Session, tables: tuple[Table, ...], within_s: float) -> Storage:
    """Check tables and their B-trees until the time is over.

    Raises:
        RowsUnreadable: the time was not enough (LATE), or the server could not be asked.
    """
    [[sums, failures, schema]] = await session.run(SUMS)
    found = Storage(checksums=sums, failures=failures, checker=schema is not None)
    if schema is None:
        return found
    end = time.monotonic() + within_s
    broken: list[str] = []
    indexes = 0
    for table in tables:
        broken += await _table(session, schema, table, end)
        names = await session.run(sql.SQL(INDEXES).format(sql.Literal(_name(table))))
        for owner, name in names:
            indexes += 1
            broken += await _index(session, schema, (owner, name), end)
        if len(broken) >= MOST_BROKEN:
            break
    return Storage(
        checksums=sums,
        failures=failures,
        checker=True,
        tables=len(tables),
        indexes=indexes,
        broken=tuple(broken[:MOST_BROKEN]),
    )


async def _table(session: Session, schema: str, table: Table, end: float) -> list[str]:
    check = sql.SQL("SELECT blkno, msg FROM {}.verify_heapam({}::regclass, false, true, 'none', {}, {})")
    found: list[str] = []
    [[pages]] = await session.run(
        sql.SQL("SELECT pg_relation_size({}::regclass) / current_setting('block_size')::bigint").format(
            sql.Literal(_name(table))
        )
    )
    for first in range(0, pages, PAGES):
        last = min(first + PAGES, pages) - 1
        asked = check.format(sql.Identifier(schema), sql.Literal(_name(table)), first, last)
        told = await _ask(session, asked, end, table.full_name)
        found += [f"{table.full_name}, page {number}: {text}" for number, text in told]
    return found


async def _index(session: Session, schema: str, index: tuple[str, str], end: float) -> list[str]:
    name = ".".join(index)
    check = sql.SQL("SELECT 0, {}.bt_index_check({}::regclass)::text").format(
        sql.Identifier(schema), sql.Literal(sql.Identifier(*index).as_string(None))
    )
    return [f"{name}: {text}" for _, text in await _ask(session, check, end, name) if text]


async def _ask(session: Session, check: sql.Composed, end: float, what: str) -> list[tuple[int, str]]:
    left_s = end - time.monotonic()
    if left_s <= 0:
        raise RowsUnreadable(Trouble.LATE, what, "was not checked in time")
    try:
        found = await session.run(check, within_s=left_s)
    except RowsUnreadable as error:
        if error.trouble is Trouble.DAMAGED:
            return [(0, error.message)]
        raise
    return [(number, text) for number, text in found]


def _name(table: Table) -> str:
    return statements.quoted(table)
