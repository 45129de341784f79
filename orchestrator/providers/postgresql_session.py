"""One connection to PostgreSQL whose every statement ends within its bound, also where the server is frozen."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Sequence as Seq
from contextlib import suppress
from typing import Any, LiteralString

import psycopg
from psycopg import errors, sql

from orchestrator.model.rows import RowsUnreadable, Trouble
from orchestrator.model.topology import Instance

CONNECT_WITHIN_S = 5
STATEMENT_WITHIN_S = 60.0
GRACE_S = 2.0
"""The server's own bound comes first; the socket is cut only after this much more."""

FIXED = {
    "search_path": "pg_catalog",
    "datestyle": "ISO",
    "timezone": "UTC",
    "intervalstyle": "postgres",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "jit": "off",
    "row_security": "off",
    "lock_timeout": "2000",
    "synchronous_commit": "local",
    "max_parallel_workers_per_gather": "0",
}
"""Settings that make the text of a value the same at every copy, names unambiguous, and hidden rows an error."""

Statement = LiteralString | sql.Composed | sql.SQL
TROUBLES: tuple[tuple[type[psycopg.Error], Trouble], ...] = (
    (errors.LockNotAvailable, Trouble.LOCKED),
    (errors.QueryCanceled, Trouble.LATE),
    (errors.DeadlockDetected, Trouble.LOCKED),
    (errors.SerializationFailure, Trouble.CONFLICT),
    (errors.InsufficientPrivilege, Trouble.DENIED),
    (errors.InvalidAuthorizationSpecification, Trouble.DENIED),
    (errors.DataCorrupted, Trouble.DAMAGED),
    (errors.IndexCorrupted, Trouble.DAMAGED),
    (errors.UndefinedTable, Trouble.GONE),
    (errors.UndefinedColumn, Trouble.GONE),
    (errors.UndefinedObject, Trouble.GONE),
    (errors.InvalidCatalogName, Trouble.GONE),
    (errors.ReadOnlySqlTransaction, Trouble.DENIED),
    (errors.AdminShutdown, Trouble.LOST),
    (errors.IdleInTransactionSessionTimeout, Trouble.LOST),
    (errors.CannotConnectNow, Trouble.DENIED),
)


def translate(instance: str, error: psycopg.Error) -> RowsUnreadable:
    """The domain's error for one of the driver's."""
    found = next((trouble for kind, trouble in TROUBLES if isinstance(error, kind)), None)
    if found is None:
        lost = error.sqlstate is None or error.sqlstate.startswith(("08", "57"))
        found = Trouble.LOST if lost else Trouble.OTHER
    if found is Trouble.LATE and "conflict with recovery" in str(error):
        found = Trouble.CONFLICT
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return RowsUnreadable(found, instance, "; ".join(lines[:2]) or type(error).__name__)


class Session:
    """A connection. Not for two tasks at once, except that they queue."""

    def __init__(self, instance: str, connection: psycopg.AsyncConnection[tuple[Any, ...]]) -> None:
        self._instance = instance
        self._connection = connection
        self._severed = False

    @classmethod
    async def open(cls, instance: Instance, database: str = "", within_s: float = CONNECT_WITHIN_S) -> Session:
        """Connect by the instance's address and parameters.

        Raises:
            RowsUnreadable: it cannot be reached, does not let us in, or does not answer within `within_s` seconds.
        """
        host, _, port = instance.address.partition("/")[0].rpartition(":")
        if not (host and port.isdecimal()):
            raise RowsUnreadable(Trouble.LOST, instance.id, f"no usable address is known ({instance.address!r})")
        options = " ".join(f"-c {name}={value}" for name, value in FIXED.items())
        try:
            async with asyncio.timeout(within_s):
                connection = await psycopg.AsyncConnection.connect(
                    host=host.strip("[]"),
                    port=int(port),
                    user=instance.param("user", "postgres"),
                    dbname=database or instance.param("database", "postgres"),
                    application_name="drctl-verify",
                    options=f"{options} -c statement_timeout={int(STATEMENT_WITHIN_S * 1000)}",
                    keepalives_idle=5,
                    keepalives_interval=2,
                    keepalives_count=3,
                    connect_timeout=max(2, int(within_s)),
                    autocommit=True,
                )
        except psycopg.Error as error:
            raise translate(instance.id, error) from error
        except TimeoutError as error:
            raise RowsUnreadable(Trouble.LOST, instance.id, f"no answer within {within_s:g} s") from error
        return cls(instance.id, connection)

    @property
    def usable(self) -> bool:
        """Whether the connection still stands, as far as we know."""
        return not (self._severed or self._connection.closed)

    async def run(
        self, statement: Statement, params: Seq[object] | None = None, within_s: float = STATEMENT_WITHIN_S
    ) -> list[tuple[Any, ...]]:
        """All rows of one statement, or of the last of several that come without parameters.

        The server ends it by statement_timeout. A server that is frozen cannot, and neither does the driver's own
        cancel return then; so the socket is cut after `within_s` + GRACE_S seconds, or when the caller gives up.

        Raises:
            RowsUnreadable: it failed; a connection that was lost stays lost.
        """
        work = asyncio.ensure_future(self._fetch(statement, params))
        axe = asyncio.get_running_loop().call_later(within_s + GRACE_S, self._sever)
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            self._sever()
            await asyncio.gather(work, return_exceptions=True)  # nobody wants to hear that it failed by this
            raise
        except psycopg.Error as error:
            raise translate(self._instance, error) from error
        finally:
            axe.cancel()

    async def _fetch(self, statement: Statement, params: Seq[object] | None) -> list[tuple[Any, ...]]:
        cursor = await self._connection.execute(statement, params)
        while cursor.nextset():
            pass
        return await cursor.fetchall() if cursor.description else []

    def _sever(self) -> None:
        self._severed = True
        with suppress(psycopg.Error, OSError), socket.socket(fileno=os.dup(self._connection.fileno())) as line:
            line.shutdown(socket.SHUT_RDWR)

    async def close(self) -> None:
        """End the connection; the server rolls back and frees locks. Never raises."""
        with suppress(psycopg.Error, OSError):
            await self._connection.close()
