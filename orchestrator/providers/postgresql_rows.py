"""Rows of PostgreSQL for verification: implements `verification.source.RowSource`."""

from __future__ import annotations

import time
from typing import Any

from psycopg import sql

from orchestrator.model.rows import (
    Address,
    BucketDigest,
    CanarySeen,
    Cell,
    Column,
    Digest,
    Form,
    Row,
    RowPrint,
    RowsUnreadable,
    Sequence,
    Span,
    Standing,
    Table,
    Trouble,
)
from orchestrator.model.topology import Instance, Service, Text
from orchestrator.providers import postgresql_rows_sql as statements
from orchestrator.providers.postgresql_session import CONNECT_WITHIN_S, Session

PROBE = "drctl_probe"
END = "(4294967295,0)"
"""A place behind every row."""
LOCK_SHARE = 4
"""At most one in so many of the server's lock slots is used to hold writers."""
TIDY_AFTER = "1 day"
SKIPS = {
    "unlogged": Text(en="unlogged: its rows are not replicated", zh="非日志表：其数据不参与复制"),
    "foreign": Text(en="foreign table: its rows are stored elsewhere", zh="外部表：数据存放在别处"),
}


class PostgresRows:
    """One PostgreSQL instance as verification reads it. `service` is kept for symmetry with other technologies."""

    def __init__(self, service: Service, instance: Instance) -> None:
        self.service = service
        self._instance = instance
        self._sessions: dict[str, Session] = {}
        self._hashable: dict[str, bool] = {}

    @property
    def instance(self) -> str:
        """Id of the instance."""
        return self._instance.id

    async def standing(self, within_s: float) -> Standing:
        """Role, version, lineage and position now."""
        [row] = await self._run(statements.STANDING, within_s=within_s)
        standby, writable, version, lineage, timeline, position, replayed, receiving = row
        return Standing(
            instance=self.instance,
            primary=not standby,
            writable=writable,
            version=version,
            lineage=lineage,
            timeline=timeline,
            position=int(position or 0),
            replayed=int(replayed or 0),
            receiving=receiving,
        )

    async def mark(self) -> int:
        """A position at or after everything committed so far.

        The message is a tiny transaction: its commit flushes, so that replicas are sent all of it even on an idle
        server, where the log's last page would otherwise stay in memory.
        """
        [[position]] = await self._run(
            "BEGIN; SELECT pg_logical_emit_message(true, 'drctl', 'mark'); COMMIT; "
            "SELECT pg_current_wal_flush_lsn() - '0/0'::pg_lsn"
        )
        return int(position)

    async def reached(self) -> tuple[int, int]:
        """Flushed and replayed position; both the current one where the instance is (or has become) a primary."""
        [[received, replayed]] = await self._run(
            "SELECT greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) - '0/0'::pg_lsn, "
            "pg_last_wal_replay_lsn() - '0/0'::pg_lsn WHERE pg_is_in_recovery()"
        ) or [(0, 0)]
        return int(received or 0), int(replayed or 0)

    async def pending(self) -> int:
        """Commits that wait for a synchronous standby: durable, perhaps replayed elsewhere, and invisible here."""
        [[count]] = await self._run("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
        return int(count)

    async def databases(self) -> tuple[str, ...]:
        """Databases that take connections, templates left out; the declared one first."""
        found = await self._run("SELECT datname FROM pg_database WHERE datallowconn AND NOT datistemplate ORDER BY 1")
        declared = self._instance.param("database", "postgres")
        return tuple(sorted((name for (name,) in found), key=lambda name: name != declared))

    async def tables(self, database: str) -> tuple[Table, ...]:
        """Tables, leaves of partitioned tables, materialised views, and the large objects; not our own canary table."""
        session = await self._session(database)
        found = await session.run(statements.catalogue())
        for name in {column[1] for row in found for column in row[7]} - self._hashable.keys():
            self._hashable[name] = await self._can_hash(session, name)
        return tuple(self._table(database, row) for row in found if tuple(row[:2]) != ("public", PROBE))

    def _table(self, database: str, row: tuple[Any, ...]) -> Table:
        schema, name, kind, persistence, pages, estimate, mark, columns, key = row
        return Table(
            database=database,
            schema=schema,
            name=name,
            mark=mark,
            columns=tuple(Column(name=n, type=t, hashable=self._hashable[t]) for n, t in columns),
            key=tuple(key),
            pages=pages,
            rows_estimate=max(0, estimate),
            lockable=kind == "r",
            skip=_skip(kind, persistence),
        )

    async def _can_hash(self, session: Session, type_name: str) -> bool:
        try:
            await session.run(sql.SQL("SELECT hash_record_extended(ROW(NULL::{}), 0)").format(sql.SQL(type_name)))
        except RowsUnreadable as error:
            if error.trouble in {Trouble.LOST, Trouble.LATE}:
                raise
            return False
        return True

    async def mark_of(self, table: Table) -> str:
        """The table's mark as of now; empty where it is gone."""
        found = await (await self._session(table.database)).run(statements.mark_of(table))
        return str(found[0][0]) if found else ""

    async def sequences(self, database: str) -> tuple[Sequence, ...]:
        """Every permanent sequence, as of now (sequences know no snapshot)."""
        found = await (await self._session(database)).run(statements.SEQUENCES)
        return tuple(
            Sequence(schema=schema, name=name, last_value=last, increment=increment, cache=cache, cycles=cycles)
            for schema, name, last, increment, cache, cycles in found
        )

    async def view(self, database: str) -> PostgresView:
        """Open a view on a connection of its own."""
        session = await Session.open(self._instance, database)
        try:
            await session.run("SET enable_seqscan = off")
            await session.run("SET idle_in_transaction_session_timeout = '10min'")
        except RowsUnreadable:
            await session.close()
            raise
        return PostgresView(session)

    async def hold(self, database: str, tables: tuple[Table, ...], wait_s: float, hold_s: float) -> PostgresHold:
        """Hold the writers of tables by LOCK … IN SHARE MODE.

        Should we be frozen or cut off while holding, idle_in_transaction_session_timeout ends it at the server.
        """
        session = await Session.open(self._instance, database)
        try:
            [[slots]] = await session.run(
                "SELECT current_setting('max_locks_per_transaction')::int * (current_setting('max_connections')::int "
                "+ current_setting('max_prepared_transactions')::int)"
            )
            if len(tables) * LOCK_SHARE > slots:
                raise RowsUnreadable(Trouble.LOCKED, self.instance, f"{len(tables)} tables are too many to lock")
            await session.run("BEGIN")
            for name, bound_s in (("lock", wait_s), ("statement", wait_s), ("idle_in_transaction_session", hold_s)):
                setting = sql.SQL("SET LOCAL {} = {}").format(sql.Identifier(f"{name}_timeout"), int(bound_s * 1000))
                await session.run(setting)
            await session.run(statements.lock(tables))
        except RowsUnreadable:
            await session.close()
            raise
        return PostgresHold(session)

    async def plant(self, run: str) -> None:
        """Create the canary table if it is missing, and drop what a run that died has left."""
        exists = await self._run("SELECT to_regclass(%s) IS NOT NULL", (f"public.{PROBE}",))
        if exists != [(True,)]:
            await self._run(
                "CREATE TABLE IF NOT EXISTS public.drctl_probe (id uuid NOT NULL, number integer NOT NULL, "
                "written_at timestamptz NOT NULL DEFAULT clock_timestamp(), PRIMARY KEY (id, number))"
            )
        await self._run("DELETE FROM public.drctl_probe WHERE written_at < now() - %s::interval", (TIDY_AFTER,))

    async def write_canary(self, run: str, number: int) -> str:
        """Commit one row; the session does not wait for replicas (synchronous_commit = local)."""
        statement = "INSERT INTO public.drctl_probe (id, number) VALUES (%s, %s) RETURNING written_at::text"
        [[content]] = await self._run(statement, (run, number))
        return str(content)

    async def see_canaries(self, run: str, after: int) -> tuple[CanarySeen, ...]:
        """Rows of the run that reads here can see; none where the table has not arrived yet."""
        statement = "SELECT number, written_at::text FROM public.drctl_probe WHERE id = %s AND number > %s ORDER BY 1"
        try:
            found = await self._run(statement, (run, after))
        except RowsUnreadable as error:
            if error.trouble is Trouble.GONE:
                return ()
            raise
        return tuple(CanarySeen(number=number, content=content) for number, content in found)

    async def clear_canaries(self, run: str) -> None:
        """Remove the rows of a run."""
        await self._run("DELETE FROM public.drctl_probe WHERE id = %s", (run,))

    async def close(self) -> None:
        """Close every connection."""
        for session in self._sessions.values():
            await session.close()
        self._sessions.clear()

    async def _session(self, database: str = "", within_s: float = CONNECT_WITHIN_S) -> Session:
        database = database or self._instance.param("database", "postgres")
        if database not in self._sessions or not self._sessions[database].usable:
            self._sessions[database] = await Session.open(self._instance, database, within_s)
        return self._sessions[database]

    async def _run(
        self, statement: Any, params: tuple[object, ...] | None = None, within_s: float = CONNECT_WITHIN_S
    ) -> list[tuple[Any, ...]]:
        session = await self._session(within_s=within_s)
        return await session.run(statement, params, within_s)


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

    async def digest(self, table: Table, form: Form, span: Span) -> Digest:
        """Count and sum of prints of a span."""
        [row] = await self._run(statements.digest(table, form, not self._frozen), _places(span))
        return Digest(rows=row[0], total=int(row[1]), position=int(row[2]))

    async def buckets(self, table: Table, form: Form, span: Span, of: int) -> tuple[BucketDigest, ...]:
        """Count and sum by bucket."""
        found = await self._run(statements.buckets(table, form), (of - 1, *_places(span)))
        return tuple(BucketDigest(bucket=b, digest=Digest(rows=n, total=int(total))) for b, n, total in found)

    async def prints(
        self, table: Table, form: Form, span: Span, buckets: tuple[int, ...] = (), of: int = 1
    ) -> tuple[RowPrint, ...]:
        """Every row of a span, or those of some buckets."""
        params = (*_places(span), of, of - 1, list(buckets))
        found = await self._run(statements.prints(table, form), params)
        return tuple(RowPrint(place=p, key=k, version=v, print=h) for p, k, v, h in found)

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
    return f"({span.first},0)", END if span.last is None else f"({span.last},0)"


def _skip(kind: str, persistence: str) -> Text | None:
    reasons = {
        "foreign": kind == "f",
        "unlogged": persistence == "u",
    }
    return next((SKIPS[reason] for reason, holds in reasons.items() if holds), None)
