"""One connection of the app to its database, driven straight through libpq's non-blocking calls.

A reader stays registered for the connection's whole life, so that a query costs two system calls and no changes to the
event loop, and so that the end of an idle connection is noticed at once. One query at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import psycopg
from psycopg import pq

_GOOD = (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK)
_FINAL = (b"FATAL", b"PANIC")


class RefusedError(Exception):
    """Refused for certain: nothing was written."""


class InDoubtError(Exception):
    """It cannot be told whether it was written."""


class Answer(NamedTuple):
    """What a statement gave: the first column of its first row, if there is a row."""

    found: bool
    value: str


class Line:
    """One connection with its statements prepared."""

    def __init__(self, connection: psycopg.AsyncConnection[Any], gone: Callable[[Line], None]) -> None:
        self.connection = connection
        self.pgconn = connection.pgconn
        self.fd = self.pgconn.socket
        self.dead = False
        self._gone = gone
        self._warned = ""
        self._result: pq.abc.PGresult | None = None
        self._waiting: asyncio.Future[pq.abc.PGresult] | None = None
        self._loop = asyncio.get_running_loop()
        self.pgconn.nonblocking = 1
        self.pgconn.notice_handler = self._notice
        self._loop.add_reader(self.fd, self._readable)

    async def prepare(self, statements: Mapping[str, str], within_s: float) -> None:
        """Prepare statements by name.

        Raises:
            InDoubtError, RefusedError: the server does not take one.
        """
        for name, sql in statements.items():
            await self._call(lambda n=name, s=sql: self.pgconn.send_prepare(n.encode(), s.encode()), within_s)  # type: ignore[misc]

    async def ask(self, statement: str, values: tuple[str, ...], within_s: float) -> Answer:
        """Run a prepared statement.

        Raises:
            RefusedError: the server refused it; nothing was written.
            InDoubtError: no answer within `within_s` seconds, the connection broke, or the server warned: a commit
                that stopped waiting for its standby succeeds with no more than a warning.
        """
        name, parameters = statement.encode(), [value.encode() for value in values]
        self._warned = ""
        result = await self._call(lambda: self.pgconn.send_query_prepared(name, parameters), within_s)
        if self._warned:
            raise InDoubtError(self._warned)
        if not result.ntuples:
            return Answer(False, "")
        return Answer(True, (result.get_value(0, 0) or b"").decode())

    async def _call(self, send: Callable[[], None], within_s: float) -> pq.abc.PGresult:
        self._waiting = self._loop.create_future()
        timer = self._loop.call_later(within_s, self.drop)
        try:
            send()
            if self.pgconn.flush():
                self.drop()
            result = await self._waiting
        except psycopg.Error as e:
            self.close()
            raise InDoubtError(str(e).strip()) from e
        finally:
            timer.cancel()
            self._waiting = None
        return self._judged(result)

    def _judged(self, result: pq.abc.PGresult) -> pq.abc.PGresult:
        if result.status in _GOOD:
            return result
        told = (result.error_message or b"").decode(errors="replace").strip()
        severity = result.error_field(pq.DiagnosticField.SEVERITY_NONLOCALIZED)
        if severity is None or severity in _FINAL:
            raise InDoubtError(told)
        raise RefusedError(told)

    def _notice(self, notice: pq.abc.PGresult) -> None:
        if notice.error_field(pq.DiagnosticField.SEVERITY_NONLOCALIZED) == b"WARNING":
            self._warned = (notice.error_field(pq.DiagnosticField.MESSAGE_PRIMARY) or b"warning").decode()

    def _readable(self) -> None:
        try:
            self.pgconn.consume_input()
            while not self.pgconn.is_busy():
                result = self.pgconn.get_result()
                if result is None:
                    break
                self._result = result
            else:
                return
        except psycopg.Error as e:
            self._end(str(e))
            return
        if self._waiting is not None and not self._waiting.done() and self._result is not None:
            self._waiting.set_result(self._result)
        self._result = None
        if self.pgconn.status != pq.ConnStatus.OK:
            # libpq has closed the socket; its number must leave the event loop before anyone else gets it.
            self._end("the connection broke")

    def _end(self, why: str) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(psycopg.OperationalError(why.strip() or "the connection broke"))
        self.close()

    def drop(self) -> None:
        """Break the connection from this side: a waiting call ends at once, in doubt, whatever the server does."""
        if self.dead:
            return
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(self.fd)) as half:
            half.shutdown(socket.SHUT_RDWR)
        self._end("no answer in time, or dropped")

    def close(self) -> None:
        """Give the connection up; may be repeated."""
        if self.dead:
            return
        self.dead = True
        self._loop.remove_reader(self.fd)
        self.pgconn.finish()
        self._gone(self)
