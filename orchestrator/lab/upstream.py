"""The app's few connections to its database: kept open, and replaced within milliseconds once it is back.

Every way a write can end is one of three: acknowledged, refused for certain, or in doubt.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Mapping

import psycopg

from orchestrator.lab import layout
from orchestrator.lab.line import Answer, InDoubtError, Line, RefusedError

SIZE = 4
"""Connections kept open: at 100 writes/s and some 5 ms each by network and disk, one would do."""
CONNECT_S = 1.0
WAIT_S = 1.0
"""Longest wait for a connection while all are busy."""
_RETRY_S = 0.02
_SLOW_RETRY_S = 0.1
_PATIENCE = 150
"""After this many quick attempts (3 s) attempts become slow ones."""


class Upstream:
    """The database that the app calls now."""

    def __init__(self, centre: str, address: str, statements: Mapping[str, str]) -> None:
        self.centre = centre
        self.address = address
        self._statements = statements
        self._idle: list[Line] = []
        self._open: set[Line] = set()
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._wanted = asyncio.Event()
        self._closed = False
        self._keeper = asyncio.get_running_loop().create_task(self._keep())

    async def _keep(self) -> None:
        """Open connections until there are SIZE; one at a time, so that a dead database costs little."""
        failures = 0
        while True:
            if len(self._open) >= SIZE:
                self._wanted.clear()
                await self._wanted.wait()
            try:
                self._free(await self._connect())
                failures = 0
            except (psycopg.Error, OSError, InDoubtError, RefusedError):
                failures += 1
                await asyncio.sleep(_RETRY_S if failures < _PATIENCE else _SLOW_RETRY_S)

    async def _connect(self) -> Line:
        host, _, port = self.address.rpartition(":")
        async with asyncio.timeout(CONNECT_S):
            connection = await psycopg.AsyncConnection.connect(
                hostaddr=host, host=host, port=int(port), user=layout.APP_USER, dbname=layout.DATABASE,
                autocommit=True, application_name="drctl-app", sslmode="disable", gssencmode="disable",
            )  # fmt: skip
        line = Line(connection, self._gone)
        self._open.add(line)
        try:
            await line.prepare(self._statements, CONNECT_S)
        except RefusedError:
            line.close()
            raise
        return line

    def _gone(self, line: Line) -> None:
        self._open.discard(line)
        with contextlib.suppress(ValueError):
            self._idle.remove(line)
        self._wanted.set()
        if not self._open:
            self._wake(len(self._waiting))

    def _free(self, line: Line) -> None:
        if not line.dead:
            self._idle.append(line)
            self._wake(1)

    def _wake(self, count: int) -> None:
        while count and self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                count -= 1

    async def _take(self) -> Line:
        """An idle connection.

        Raises:
            RefusedError: there is none, or all stay busy for WAIT_S seconds.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + WAIT_S
        while not self._idle:
            left = until - loop.time()
            if self._closed or not self._open or left <= 0:
                raise RefusedError("no connection to the database")
            waiter = loop.create_future()
            self._waiting.append(waiter)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await waiter
        return self._idle.pop()

    async def ask(self, statement: str, values: tuple[str, ...], within_s: float) -> Answer:
        """Run a prepared statement on an idle connection.

        Raises:
            RefusedError: no connection, or the server refused the statement; nothing was written.
            InDoubtError: no answer within `within_s` seconds, the connection broke, or the server warned.
        """
        line = await self._take()
        try:
            return await line.ask(statement, values, within_s)
        finally:
            self._free(line)

    def close(self) -> None:
        """Drop every connection at once; calls under way end in doubt."""
        self._closed = True
        self._keeper.cancel()
        for line in tuple(self._open):
            line.drop()
        self._wake(len(self._waiting))
