"""How the PostgreSQL provider speaks to one server: bounded sessions, foreign errors as reach, settings and the epoch.

A session is bounded by a timer that breaks its socket. asyncio's cancellation alone does not do: psycopg answers it
with a cancel request to the server and waits up to 10 s for a frozen one.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from orchestrator.crashpoint import outward
from orchestrator.model.observation import Reach
from orchestrator.model.topology import Frozen, Instance, Service
from orchestrator.providers.base import ActionFailed

if TYPE_CHECKING:
    import psycopg

SESSION = "drctl"
"""application_name of a look; an act's session is called `drctl <epoch>`."""
POLL_S = 0.004
"""Pause between two looks at a state that changes within milliseconds."""
_REFUSAL_S = 1.0
"""A refusal comes after a round trip; nothing that is slower is taken for one."""
_TRANSIENT = ("57P03", "53300", "53400")
"""Starting up or shutting down, too many connections: passes by itself, and is no fence."""


class Unreached(Exception):
    """No session: how the server was met, and what it said."""

    def __init__(self, reach: Reach, error: str, *, barred: bool | None = None) -> None:
        super().__init__(error)
        self.reach = reach
        self.error = error
        self.barred = barred


class Session:
    """One connection in autocommit mode that ends, whatever the server does, when its time is over."""

    def __init__(self, connection: psycopg.AsyncConnection[Any], instance: Instance) -> None:
        self._connection = connection
        self.instance = instance
        self.expired = False

    async def row(
        self, sql: str, values: tuple[object, ...] | None = None, *, prepare: bool = False
    ) -> tuple[Any, ...]:
        """The first row of a query; `prepare` where it is asked often and planning it costs more than running it.

        Raises:
            Unreached: the connection broke, or its time is over.
            ActionFailed: the server refused the statement.
        """
        rows = await self.rows(sql, values, prepare=prepare)
        return rows[0]

    async def rows(
        self, sql: str, values: tuple[object, ...] | None = None, *, prepare: bool = False
    ) -> list[tuple[Any, ...]]:
        """All rows of a query, or none where the statement gives none; raises as `row`."""
        import psycopg

        running = asyncio.ensure_future(self._execute(sql, values, prepare))
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            # The call is not cancelled but ended by its socket: see the module's words on cancellation.
            self.expire()
            await asyncio.gather(running, return_exceptions=True)
            raise
        except psycopg.Error as e:
            if self._connection.closed or self._connection.broken or e.sqlstate is None:
                raise self._broken(e) from e
            raise ActionFailed(f"{self.instance.id}: {_words(e)}", hint=_hint(e.sqlstate)) from e

    async def _execute(self, sql: str, values: tuple[object, ...] | None, prepare: bool) -> list[tuple[Any, ...]]:
        outward()
        cursor = await self._connection.execute(sql.encode(), values, prepare=prepare or None)
        return await cursor.fetchall() if cursor.description else []

    def _broken(self, error: Exception) -> Unreached:
        if self.expired:
            return Unreached(Reach.SILENT, "no answer within the time given")
        return Unreached(Reach.SILENT, f"the connection broke: {_words(error)}")

    def expire(self) -> None:
        """Break the socket: a waiting call ends at once, even where the server is frozen."""
        self.expired = True
        with contextlib.suppress(Exception), socket.socket(fileno=os.dup(self._connection.fileno())) as half:
            half.shutdown(socket.SHUT_RDWR)


class Idle:
    """Connections that wait for the next look: one an instance, for connecting costs more than looking."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[int, str], psycopg.AsyncConnection[Any]] = {}

    def take(self, instance: Instance) -> psycopg.AsyncConnection[Any] | None:
        """The connection of the last look from this loop, where it seems alive; the caller owns it now."""
        connection = self._waiting.pop(self._key(instance), None)
        return connection if connection is not None and not connection.closed else None

    def give(self, instance: Instance, connection: psycopg.AsyncConnection[Any]) -> None:
        """Keep a connection for the next look; one that waits already is ended."""
        older = self._waiting.pop(self._key(instance), None)
        if older is not None:
            older.pgconn.finish()
        self._waiting[self._key(instance)] = connection

    @staticmethod
    def _key(instance: Instance) -> tuple[int, str]:
        return id(asyncio.get_running_loop()), f"{instance.id} {instance.address}"


IDLE = Idle()


@contextlib.asynccontextmanager
async def session(
    instance: Instance,
    within_s: float,
    name: str = SESSION,
    *,
    opened: psycopg.AsyncConnection[Any] | None = None,
    idle: Idle | None = None,
) -> AsyncIterator[Session]:
    """A session with an instance at the operator's address, usable for `within_s` seconds in all.

    Args:
        instance: whom to speak with.
        within_s: bound, connecting included.
        name: application_name.
        opened: a connection to use instead of a new one.
        idle: where the connection goes when all went well; None: it is ended.

    Raises:
        Unreached: there is none to be had.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + within_s
    connection = opened or await _connect(instance, within_s, name)
    talk = Session(connection, instance)
    timer = loop.call_at(until, talk.expire)
    well = False
    try:
        yield talk
        well = not talk.expired and not connection.closed
    finally:
        timer.cancel()
        if well and idle is not None:
            idle.give(instance, connection)
        else:
            # Not `close()`: it says good-bye through the socket, and a frozen server lets that wait.
            connection.pgconn.finish()


async def _connect(instance: Instance, within_s: float, name: str) -> psycopg.AsyncConnection[Any]:
    import psycopg

    if not instance.address:
        raise Unreached(Reach.UNKNOWN, "no address is declared")
    host, port = split_address(instance.address)
    try:
        async with asyncio.timeout(within_s):
            return await psycopg.AsyncConnection.connect(
                host=host,
                port=port,
                user=instance.param("user", "postgres"),
                dbname=instance.param("database", "postgres"),
                application_name=name,
                autocommit=True,
                connect_timeout=max(2, round(within_s + 1)),
                options=f"-c statement_timeout={max(1, round(within_s * 1000))}",
            )
    except TimeoutError as e:
        raise Unreached(Reach.SILENT, f"no answer within {within_s:g} s") from e
    except (psycopg.Error, OSError) as e:
        if "closed the connection unexpectedly" in str(e) and await _refuses(host, port):
            raise Unreached(Reach.REFUSED, "connection refused") from e
        raise unreached(e) from e


async def _refuses(host: str, port: str) -> bool:
    """Whether nobody listens there, told by TCP itself.

    psycopg asks libpq on before the connection is made; a refusal that comes a moment later, as over any real network,
    then reads as if a server had closed it.
    """
    try:
        async with asyncio.timeout(_REFUSAL_S):
            _, writer = await asyncio.open_connection(host, int(port))
    except ConnectionRefusedError:
        return True
    except (OSError, TimeoutError):
        return False
    writer.close()
    return False


def split_address(address: str) -> tuple[str, str]:
    """host and port of `host:port`; brackets of an IPv6 address are taken off."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), port


def unreached(error: BaseException) -> Unreached:
    """What a failed connection tells of the server; what cannot be told apart counts as silence.

    libpq gives no SQLSTATE for an error of the connection's start: the words decide where it is missing.
    """
    text = _words(error)
    state = getattr(error, "sqlstate", None) or ""
    low = text.lower()
    if "connection refused" in low or "no such file or directory" in low:
        return Unreached(Reach.REFUSED, text)
    if "pg_hba.conf" in low:
        return Unreached(Reach.DENIED, text, barred=True)
    if state in _TRANSIENT or re.search(
        r"system is (starting up|shutting down)|not yet accepting|too many|slots are reserved", low
    ):
        return Unreached(Reach.DENIED, text, barred=False)
    if state.startswith(("28", "3D")) or re.search(r"authentication|password|does not exist|permission denied", low):
        return Unreached(Reach.DENIED, text, barred=False)
    if re.search(r"could not translate host name|failed to resolve|name or service not known|invalid", low):
        return Unreached(Reach.UNKNOWN, text)
    return Unreached(Reach.SILENT, text)


def _words(error: BaseException) -> str:
    """The error's own words on one line, the longest useful part of them."""
    return " ".join(str(error).split()) or type(error).__name__


def _hint(sqlstate: str | None) -> str:
    if sqlstate == "42501":
        return "the operator's database user lacks a right: superuser, or pg_monitor to look only"
    return "see the server's log"


def quoted(value: str) -> str:
    """A value as an SQL literal, for statements that take no parameters (ALTER SYSTEM)."""
    return "'" + value.replace("'", "''") + "'"


def conninfo_value(value: str) -> str:
    """A value of a libpq connection string, quoted where it must be (libpq manual, 34.1.1.1)."""
    if value and re.fullmatch(r"[\w.:/@-]+", value):
        return value
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def conninfo(source: Instance, seen_by: str) -> str:
    """primary_conninfo of the standby in centre `seen_by` that receives from `source`."""
    host, port = split_address(source.address_from(seen_by))
    words = {"host": host, "port": port, "user": source.param("user", "postgres"), "application_name": seen_by}
    return " ".join(f"{k}={conninfo_value(v)}" for k, v in words.items())


def centre_of_conninfo(text: str, service: Service, seen_by: str) -> str | None:
    """The centre that a primary_conninfo points at, by the addresses that `seen_by` has of the service's instances.

    Empty for an empty one; None where no declared address matches.
    """
    if not text.strip():
        return ""
    from psycopg import ProgrammingError
    from psycopg.conninfo import conninfo_to_dict

    try:
        words = conninfo_to_dict(text)
    except ProgrammingError:
        return None
    at = (str(words.get("host") or words.get("hostaddr") or ""), str(words.get("port") or "5432"))
    others = (i for i in service.instances if i.centre != seen_by)
    return next((i.centre for i in others if split_address(i.address_from(seen_by)) == at), None)


_NAMES = re.compile(
    r"^\s*(?:(?P<method>ANY|FIRST)?\s*(?P<count>\d+)\s*\((?P<list>.*)\)|(?P<plain>.*))\s*$", re.I | re.S
)
_NAME = re.compile(r'\s*(?:"((?:[^"]|"")*)"|([^\s,"]+))\s*(?:,|$)')


class SyncNames(Frozen, kw_only=True):
    """synchronous_standby_names, taken apart (PostgreSQL manual, 19.6.2)."""

    method: str = "ANY"
    count: int = 1
    names: tuple[str, ...] = ()

    @staticmethod
    def parse(text: str) -> SyncNames:
        """From the setting's text; a bare list means `FIRST 1`."""
        found = _NAMES.match(text)
        assert found is not None
        listed = found["plain"] if found["list"] is None else found["list"]
        names = tuple(quoted.replace('""', '"') if quoted else bare for quoted, bare in _NAME.findall(listed))
        if not names:
            return SyncNames()
        return SyncNames(method=(found["method"] or "FIRST").upper(), count=int(found["count"] or 1), names=names)

    def without(self, name: str) -> SyncNames:
        """The same without one standby."""
        return SyncNames(method=self.method, count=self.count, names=tuple(n for n in self.names if n != name))

    def including(self, name: str) -> SyncNames:
        """The same with one standby more that may acknowledge."""
        names = self.names if name in self.names else (*self.names, name)
        return SyncNames(method=self.method, count=self.count, names=names)

    def __str__(self) -> str:
        """The setting's text; it asks for no more acknowledgements than there are standbys."""
        if not self.names:
            return ""
        listed = ", ".join(_identifier(name) for name in self.names)
        return f"{self.method} {min(self.count, len(self.names))} ({listed})"


def _identifier(name: str) -> str:
    plain = re.fullmatch(r"[a-z_][a-z0-9_]*|\*", name)
    return name if plain else '"' + name.replace('"', '""') + '"'
