"""Looks over HTTP at thousands of apps at once: a small protocol instead of streams, its answers stamped as they come.

A look sends its requests in one go (RFC 9112, 9.3.2: pipelining) and ends at the last answer's callback, so that what
waits in our own queue is not told as the app's latency. What is not plain (a body without a length) is `Strange`, and
the caller asks again by `http_request`, which understands all of HTTP/1.1.
"""

from __future__ import annotations

import asyncio
import re
import time
from typing import cast

from orchestrator.model.observation import Reach
from orchestrator.providers.http_request import Answer, NoAnswer, met

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,7})[ \t]*\r\n", re.IGNORECASE)
_HEAD_MAX = 1 << 16
_BODY_MAX = 1 << 20


class Strange(Exception):
    """An answer that this reader does not take apart."""


class Look(asyncio.Protocol):
    """One connection, some GETs, one answer each."""

    def __init__(self, loop: asyncio.AbstractEventLoop, request: bytes, wanted: int) -> None:
        self._request, self._wanted = request, wanted
        self._buffer = b""
        self._answers: list[Answer] = []
        self.done: asyncio.Future[tuple[float, list[Answer]]] = loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's is one in all but its base class
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()  # not the loop's: uvloop's clock stands still within a turn
        self._buffer += data
        try:
            while len(self._answers) < self._wanted and (answer := self._next()) is not None:
                self._answers.append(answer)
        except (Strange, ValueError) as error:
            self._end(error if isinstance(error, Strange) else Strange(str(error)))
            return
        if len(self._answers) == self._wanted and not self.done.done():
            self.done.set_result((now, self._answers))
            self._transport.abort()

    def _next(self) -> Answer | None:
        """The next whole answer in the buffer; None where some of it is missing."""
        end = self._buffer.find(b"\r\n\r\n") + 4
        if end < 4:
            if len(self._buffer) > _HEAD_MAX:
                raise Strange("the head is too large")
            return None
        head = self._buffer[:end]
        length = _LENGTH.search(head)
        if not head.startswith(b"HTTP/1.1 ") or length is None or head[9:10] == b"1":
            raise Strange("no HTTP/1.1 answer with a length")
        size = int(length[1])
        if size > _BODY_MAX:
            raise Strange("the body is too large")
        if len(self._buffer) < end + size:
            return None
        body, self._buffer = self._buffer[end : end + size], self._buffer[end + size :]
        return Answer(int(head[9:12]), body)

    def connection_lost(self, error: Exception | None) -> None:
        lost = met(error) if isinstance(error, OSError) else NoAnswer(Reach.SILENT, "closed without an answer")
        # A server may close after its first answer: one request at a time is then what it understands.
        self._end(Strange("closed between two answers") if self._answers or self._buffer else lost)

    def _end(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)
            self._transport.abort()


async def get(address: str, paths: tuple[str, ...]) -> tuple[float, list[Answer]]:
    """GET some paths through one connection; bound it by `asyncio.timeout`.

    Returns:
        Seconds from the first packet to the last answer, and the answers.

    Raises:
        NoAnswer: nobody listens, the name is unknown, or the connection broke.
        Strange: there is an answer that needs the full reader.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise NoAnswer(Reach.UNKNOWN, f"no address host:port: {address!r}")
    request = b"".join(b"GET %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (p.encode(), address.encode()) for p in paths)
    loop = asyncio.get_running_loop()
    began = time.monotonic()
    look = Look(loop, request, len(paths))
    try:
        transport, _ = await loop.create_connection(lambda: look, host.strip("[]"), int(port))
    except OSError as error:
        raise met(error) from error
    try:
        ended, answers = await look.done
    finally:
        transport.abort()
    return ended - began, answers
