"""Rows of PostgreSQL for verification: implements `verification.source.RowSource`."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from psycopg import sql

from orchestrator.model.rows import (
    CanarySeen,
    Column,
    Fact,
    RowsUnreadable,
    Sequence,
    Standing,
    Storage,
    Subscribed,
    Table,
    Trouble,
)
from orchestrator.model.topology import Instance, Service, Text
from orchestrator.providers import postgresql_rows_sql as statements
from orchestrator.providers.postgresql_rows_facts import CLUSTER, CONFIRMED, FILTERED, SCHEMA, SUBSCRIBED
from orchestrator.providers.postgresql_rows_storage import look_at_storage
from orchestrator.providers.postgresql_rows_view import PostgresHold, PostgresView
from orchestrator.providers.postgresql_session import CONNECT_WITHIN_S, STATEMENT_WITHIN_S, Session

PROBE = "drctl_probe"
LOCK_SHARE = 4
"""At most one in so many of the server's lock slots is used to hold writers."""
TIDY_AFTER = "1 day"
MOST_CHANGED = 200_000
"""Pages; where more have changed, reading the tables costs no more than asking the log."""
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
        self._hashes: dict[tuple[str, str], str] = {}
        self._heart: Session | None = None

    @property
    def instance(self) -> str:
        """Id of the instance."""
        return self._instance.id

    async def standing(self, within_s: float) -> Standing:
        """Role, version, lineage and position now."""
        [row] = await self._run(statements.STANDING, within_s=within_s)
        standby, writable, version, lineage, timeline, position, replayed, receiving, subscribes = row
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
            subscribes=tuple(subscribes),
            birth=await self._birth(within_s),
        )

    async def _birth(self, within_s: float) -> str:
        try:
            [[born]] = await self._run(statements.BIRTH, within_s=within_s)
        except RowsUnreadable as error:
            if error.trouble is Trouble.DENIED:
                return ""
            raise
        return str(born)

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

    async def pulse(self) -> float:
        """Time a small commit that is flushed to the primary's disk and waits for no replica."""
        if self._heart is None or not self._heart.usable:  # it is cut where nobody waits for its answer any more
            self._heart = await Session.open(self._instance)
        begun = time.monotonic()
        await self._heart.run("SELECT pg_logical_emit_message(true, 'drctl', 'pulse')", within_s=CONNECT_WITHIN_S)
        return time.monotonic() - begun

    async def changed(
        self, database: str, since: int, until: int, tables: tuple[Table, ...]
    ) -> Mapping[str, tuple[int, ...]]:
        """By pg_walinspect, which a superuser creates once in the database (`CREATE EXTENSION pg_walinspect`)."""
        names = json.dumps([[table.schema, table.name] for table in tables])
        where = await self._ask(database, statements.WALINSPECT)
        if not where:
            raise RowsUnreadable(Trouble.GONE, self.instance, f"pg_walinspect is not installed in {database}")
        found = await self._ask(database, statements.changed(where[0][0]), (names, since, until, MOST_CHANGED))
        if sum(len(pages) for _, pages in found) >= MOST_CHANGED:
            raise RowsUnreadable(Trouble.OTHER, self.instance, f"more than {MOST_CHANGED} pages have changed")
        return {name: tuple(pages) for name, pages in found}

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
        found = await self._ask(database, statements.catalogue())
        for name in {column[1] for row in found for column in row[7]}:
            if (database, name) not in self._hashes:
                self._hashes[database, name] = await self._hash_of(database, name)
        return tuple(self._table(database, row) for row in found if tuple(row[:2]) != ("public", PROBE))

    def _table(self, database: str, row: tuple[Any, ...]) -> Table:
        schema, name, kind, persistence, pages, estimate, mark, columns, key = row
        return Table(
            database=database,
            schema=schema,
            name=name,
            mark=mark,
            columns=tuple(Column(name=n, type=t, hash=self._hashes[database, t]) for n, t in columns),
            key=tuple(key),
            pages=pages,
            rows_estimate=max(0, estimate),
            lockable=kind == "r",
            skip=_skip(kind, persistence),
        )

    async def _hash_of(self, database: str, type_name: str) -> str:
        """Empty also where equals may look another way: types of extensions (citext), and what is made of such."""
        own = await self._ask(database, statements.HASHES, (type_name,))
        if own:
            return str(own[0][0]) if own[0][0].startswith("pg_catalog.") else ""
        [[loose]] = await self._ask(database, statements.LOOSE, (type_name,))
        if loose:
            return ""
        question = sql.SQL("SELECT {}").format(statements.hashed(sql.SQL(f"NULL::{type_name}"), statements.RECORD, 1))
        try:
            await self._ask(database, question)
        except RowsUnreadable as error:
            if error.trouble in {Trouble.LOST, Trouble.LATE}:
                raise
            return ""
        return statements.RECORD

    async def mark_of(self, table: Table) -> str:
        """The table's mark as of now; empty where it is gone."""
        found = await self._ask(table.database, statements.mark_of(table))
        return str(found[0][0]) if found else ""

    async def sequences(self, database: str) -> tuple[Sequence, ...]:
        """Every permanent sequence, as of now (sequences know no snapshot)."""
        found = await self._ask(database, statements.SEQUENCES)
        return tuple(
            Sequence(schema=schema, name=name, last_value=last, increment=increment, cache=cache, cycles=cycles)
            for schema, name, last, increment, cache, cycles in found
        )

    async def subscribed(self, database: str) -> tuple[Subscribed, ...]:
        """From pg_subscription_rel."""
        found = await self._ask(database, SUBSCRIBED)
        return tuple(Subscribed(table=table, stream=slot, ready=ready) for table, slot, ready in found)

    async def confirmed(self, streams: tuple[str, ...]) -> int:
        """The least that the slots' readers have confirmed; 0 where one of the slots is not here."""
        [[count, position]] = await self._run(CONFIRMED, (list(streams),))
        return int(position or 0) if count == len(set(streams)) else 0

    async def filtered(self, database: str) -> frozenset[str]:
        """Published with a row filter or a column list."""
        return frozenset(name for (name,) in await self._ask(database, FILTERED))

    async def facts(self, database: str) -> tuple[Fact, ...]:
        """What stands around the rows."""
        found = await self._ask(database, SCHEMA if database else CLUSTER)
        return tuple(Fact(kind=kind, name=name, value=value or "") for kind, name, value in found)

    async def storage(self, database: str, tables: tuple[Table, ...], within_s: float) -> Storage:
        """What the server's own checks say of its storage (amcheck, where the database has it)."""
        session = await Session.open(self._instance, database)
        try:
            await session.run(sql.SQL("SET statement_timeout = {}").format(int(within_s * 1000)))
            return await look_at_storage(session, tables, within_s)
        finally:
            await session.close()

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
        [[content]] = await self._ask("", statement, (run, number), CONNECT_WITHIN_S, again=False)
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
        for session in (*self._sessions.values(), *filter(None, [self._heart])):
            await session.close()
        self._sessions.clear()
        self._heart = None

    async def _session(self, database: str = "", within_s: float = CONNECT_WITHIN_S) -> Session:
        database = database or self._instance.param("database", "postgres")
        if database not in self._sessions or not self._sessions[database].usable:
            self._sessions[database] = await Session.open(self._instance, database, within_s)
        return self._sessions[database]

    async def _run(
        self, statement: Any, params: tuple[object, ...] | None = None, within_s: float = CONNECT_WITHIN_S
    ) -> list[tuple[Any, ...]]:
        return await self._ask("", statement, params, within_s)

    async def _ask(
        self,
        database: str,
        statement: Any,
        params: tuple[object, ...] | None = None,
        within_s: float = STATEMENT_WITHIN_S,
        *,
        again: bool = True,
    ) -> list[tuple[Any, ...]]:
        """Rows of a statement. One whose connection was cut while it lay idle is asked again on a new one, unless
        that could do it twice.
        """
        session = await self._session(database, min(within_s, CONNECT_WITHIN_S))
        try:
            return await session.run(statement, params, within_s)
        except RowsUnreadable as error:
            if error.trouble is not Trouble.LOST or session.usable or not again:
                raise
        return await self._ask(database, statement, params, within_s, again=False)


def _skip(kind: str, persistence: str) -> Text | None:
    reasons = {
        "foreign": kind == "f",
        "unlogged": persistence == "u",
    }
    return next((SKIPS[reason] for reason, holds in reasons.items() if holds), None)
