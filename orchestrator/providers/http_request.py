"""One HTTP/1.1 request over asyncio streams with h11: nothing heavy to import, bounded, failures told apart."""

from __future__ import annotations

import asyncio
import socket
from types import TracebackType
from typing import TYPE_CHECKING, Any

import msgspec

from orchestrator.crashpoint import outward
from orchestrator.model.observation import Reach

if TYPE_CHECKING:
    import h11

_CHUNK = 65536
_BODY_MAX = 1 << 20
"""A larger answer is not one of ours."""


class Answer(msgspec.Struct, frozen=True):
    """Status and body of a response."""

    status: int
    body: bytes


class NoAnswer(Exception):
    """There was no HTTP response: how the server was met, and why."""

    def __init__(self, reach: Reach, error: str) -> None:
        super().__init__(error)
        self.reach = reach
        self.error = error


class Talk:
    """One connection that takes several requests, one after the other; bound it by `asyncio.timeout`."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        if not host or not port.isdigit():
            raise NoAnswer(Reach.UNKNOWN, f"no address host:port: {address!r}")
        self._address = address
        self._host, self._port = host.strip("[]"), int(port)
        self._writer: asyncio.StreamWriter | None = None

    async def __aenter__(self) -> Talk:
        """Connect.

        Raises:
            NoAnswer: nobody listens, or the name is unknown.
        """
        import h11

        try:
            self._reader, self._writer = await asyncio.open_connection(self._host, self._port)
        except (OSError, asyncio.IncompleteReadError) as e:
            raise met(e) from e
        self._http = h11.Connection(h11.CLIENT)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.transport.abort()

    async def ask(self, method: str, path: str, body: bytes = b"") -> Answer:
        """One request.

        Raises:
            NoAnswer: the connection broke, or what came is not HTTP.
        """
        import h11

        assert self._writer is not None
        outward()
        headers = [("Host", self._address), ("Content-Length", str(len(body))), ("Content-Type", "application/json")]
        try:
            self._write(h11.Request(method=method, target=path, headers=headers))
            if body:
                self._write(h11.Data(data=body))
            self._write(h11.EndOfMessage())
            await self._writer.drain()
            answer = await self._answer()
            if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
                self._http.start_next_cycle()
        except (OSError, h11.ProtocolError) as e:
            raise met(e) from e
        return answer

    def _write(self, event: h11.Request | h11.Data | h11.EndOfMessage) -> None:
        assert self._writer is not None
        self._writer.write(self._http.send(event) or b"")

    async def _answer(self) -> Answer:
        import h11

        status, body = 0, b""
        while True:
            event: Any = self._http.next_event()
            if event is h11.NEED_DATA:
                self._http.receive_data(await self._reader.read(_CHUNK))
            elif isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
                if len(body) > _BODY_MAX:
                    raise NoAnswer(Reach.UNKNOWN, "the answer is too large")
            elif isinstance(event, h11.EndOfMessage):
                return Answer(status, body)
            elif isinstance(event, h11.ConnectionClosed):
                raise NoAnswer(Reach.SILENT, "the connection was closed without an answer")


def met(error: BaseException) -> NoAnswer:
    """How a server was met, from the error of trying."""
    words = str(error) or type(error).__name__
    if isinstance(error, ConnectionRefusedError):
        return NoAnswer(Reach.REFUSED, "connection refused")
    if isinstance(error, socket.gaierror):
        return NoAnswer(Reach.UNKNOWN, words)
    if isinstance(error, FileNotFoundError):
        return NoAnswer(Reach.REFUSED, words)
    if isinstance(error, PermissionError):
        return NoAnswer(Reach.UNKNOWN, words)
    return NoAnswer(Reach.SILENT, words)
