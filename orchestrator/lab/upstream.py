"""The app's few connections to its database: kept open, replaced within milliseconds, and never trusted too long.

Every way a write can end is one of three: acknowledged, refused for certain, or in doubt.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import socket
from collections import deque
from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import errors

from orchestrator.lab import layout

SIZE = 4
"""Connections kept open: at 200 writes/s, 2 ms apart by network and disk, two would do."""
CONNECT_S = 1.0
WAIT_S = 1.0
"""Longest wait for a connection while all are busy."""
_RETRY_S = 0.02
_SLOW_RETRY_S = 0.1
_PATIENCE = 150
"""After this many quick attempts (3 s) attempts become slow ones."""


class RefusedError(Exception):
    """Refused for certain: nothing was written."""


class InDoubtError(Exception):
    """It cannot be told whether it was written."""


class Line:
    """One connection, and the warnings that the server sent on it."""

    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self.connection = connection
        self.cursor = connection.cursor()
        self.warned = ""
        connection.add_notice_handler(self._notice)

    def _notice(self, diagnostic: errors.Diagnostic) -> None:
        if diagnostic.severity_nonlocalized == "WARNING":
            self.warned = diagnostic.message_primary or "warning"

    @property
    def alive(self) -> bool:
        """Nothing has come in on the idle connection; a server that ends or warns is not used again."""
        if self.connection.closed:
            return False
        readable, _, _ = select.select([self.connection.fileno()], [], [], 0)
        return not readable

    def drop(self) -> None:
        """Break the connection from this side: a waiting call ends at once, whatever the server does."""
        with contextlib.suppress(OSError, psycopg.Error):
            half = socket.socket(fileno=os.dup(self.connection.fileno()))
            with half:
                half.shutdown(socket.SHUT_RDWR)


class Upstream:
    """The database that the app calls now."""

    def __init__(self, centre: str, address: str) -> None:
        self.centre = centre
        self.address = address
        self._idle: list[Line] = []
        self._busy: set[Line] = set()
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._wanted = asyncio.Event()
        self._keeper = asyncio.get_running_loop().create_task(self._keep())

    async def _keep(self) -> None:
        """Open connections until there are SIZE; one at a time, so that a dead database costs little."""
        failures = 0
        while True:
            if len(self._idle) + len(self._busy) >= SIZE:
                self._wanted.clear()
                await self._wanted.wait()
                continue
            try:
                self._free(Line(await self._connect()))
                failures = 0
            except (psycopg.Error, OSError, TimeoutError):
                failures += 1
                await asyncio.sleep(_RETRY_S if failures < _PATIENCE else _SLOW_RETRY_S)

    async def _connect(self) -> psycopg.AsyncConnection[Any]:
        host, _, port = self.address.rpartition(":")
        async with asyncio.timeout(CONNECT_S):
            return await psycopg.AsyncConnection.connect(
                hostaddr=host, host=host, port=int(port), user=layout.SUPERUSER, dbname=layout.DATABASE,
                autocommit=True, prepare_threshold=0, application_name="drctl-app", sslmode="disable",
                gssencmode="disable",
            )  # fmt: skip

    def _free(self, line: Line) -> None:
        self._idle.append(line)
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                break

    async def _take(self) -> Line:
        """An idle connection that is alive.

        Raises:
            RefusedError: there is none, or all stay busy for WAIT_S seconds.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + WAIT_S
        while True:
            while self._idle:
                line = self._idle.pop()
                if line.alive:
                    self._busy.add(line)
                    return line
                await self._discard(line)
            if not self._busy or loop.time() >= until:
                raise RefusedError("no connection to the database")
            await self._turn(until - loop.time())

    async def _turn(self, within_s: float) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await waiter

    async def _discard(self, line: Line) -> None:
        with contextlib.suppress(psycopg.Error, OSError):
            await line.connection.close()
        self._wanted.set()
        while self._waiting and not self._idle and not self._busy:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)

    async def ask(self, sql: str, values: Sequence[object], within_s: float) -> tuple[Any, ...] | None:
        """Run one statement; its first row, if it gives rows.

        Raises:
            RefusedError: no connection, or the server refused the statement; nothing was written.
            InDoubtError: no answer within `within_s` seconds, the connection broke, or the server warned.
        """
        line = await self._take()
        line.warned = ""
        timer = asyncio.get_running_loop().call_later(within_s, line.drop)
        try:
            await line.cursor.execute(sql, values)
            row: tuple[Any, ...] | None = await line.cursor.fetchone() if line.cursor.description else None
        except psycopg.Error as e:
            if line.connection.broken or line.connection.closed or e.sqlstate is None:
                raise InDoubtError(str(e).strip() or "the connection broke") from e
            raise RefusedError(str(e).strip()) from e
        finally:
            timer.cancel()
            await self._give_back(line)
        if line.warned:
            raise InDoubtError(line.warned)
        return row

    async def _give_back(self, line: Line) -> None:
        self._busy.discard(line)
        if line.connection.closed or line.connection.broken:
            await self._discard(line)
        else:
            self._free(line)

    async def close(self) -> None:
        """Drop every connection at once; calls under way end in doubt."""
        self._keeper.cancel()
        for line in (*self._busy, *self._idle):
            line.drop()
        while self._idle:
            await self._discard(self._idle.pop())
