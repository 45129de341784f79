"""A server that answers S3 requests as a test wants them answered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from orchestrator.model.topology import Instance, Role, Setting

Answer = Callable[[bytes, int], bytes | None]


@asynccontextmanager
async def server(answer: Answer) -> AsyncIterator[Instance]:
    """Answers each request by its head and number; None closes the connection."""
    count = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                count += 1
                reply = answer(head, count)
                if reply is None:
                    break
                writer.write(reply)
        except asyncio.IncompleteReadError:
            pass
        writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    params = (Setting(name="region", value="cq"),)
    try:
        yield Instance(
            id="x@a", service="x", centre="a", role=Role.PRIMARY, address=f"127.0.0.1:{port}/b", params=params
        )
    finally:
        listener.close()


def reply(body: bytes = b"", status: str = "200 OK", extra: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{extra}\r\n".encode() + body
