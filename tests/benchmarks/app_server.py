"""Many apps in one process, each at its own address: `python -m tests.benchmarks.app_server FIRST_HOST HOSTS PORTS`."""

from __future__ import annotations

import asyncio
import sys
from typing import cast

import uvloop

FIRST_PORT = 12_000
HEALTH = b'{"upstream":"a","epoch":0,"writable":true,"serving":true}'
ANSWERS = {
    b"GET /health": b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(HEALTH), HEALTH),
    b"GET /ready ": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
}


class App(asyncio.Protocol):
    """Answers every request in a packet."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.WriteTransport, transport)

    def data_received(self, data: bytes) -> None:
        self.transport.write(b"".join(ANSWERS.get(part[:11], b"") for part in data.split(b"\r\n\r\n")))


async def main(first_host: int, hosts: int, ports: int) -> None:
    """Listen everywhere, say so, and serve until killed."""
    loop = asyncio.get_running_loop()
    for host in range(first_host, first_host + hosts):
        for port in range(FIRST_PORT, FIRST_PORT + ports):
            await loop.create_server(App, f"127.0.1.{host}", port, backlog=64)
    print("up", flush=True)
    await asyncio.sleep(3600)


if __name__ == "__main__":
    uvloop.run(main(*map(int, sys.argv[1:])))
