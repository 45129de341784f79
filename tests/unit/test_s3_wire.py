"""What our requests do to a server that sends a reply in two pieces, over a real connection."""

from __future__ import annotations

import asyncio
import socket
import threading
import time

import pytest

from orchestrator.model.topology import Instance, Role
from orchestrator.providers import s3_wire
from orchestrator.providers.s3_wire import Wire

REPLIES = 30
LATE_S = 0.03
"""Between nothing (the head was confirmed at once) and 40 ms (the kernel put it off)."""


def late_bodies(monkeypatch: pytest.MonkeyPatch) -> int:
    """Replies whose body had to wait for the confirmation of their head (Nagle's algorithm is on, as RGW has it)."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "k")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"127.0.0.1:{listening.getsockname()[1]}/b"
        server = threading.Thread(target=serve, args=(listening,), daemon=True)
        server.start()
        found = asyncio.run(ask(Instance(id="b@a", service="b", centre="a", role=Role.PRIMARY, address=address)))
        server.join(10)
    return found


def serve(listening: socket.socket) -> None:
    call, _ = listening.accept()
    with call:
        while heard := call.recv(65536):
            assert heard.endswith(b"\r\n\r\n")
            call.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
            call.sendall(b"ok")


async def ask(instance: Instance) -> int:
    wire, late = Wire(instance), 0
    for _ in range(REPLIES):
        begun = time.perf_counter()
        assert (await wire.ask("GET")).body == b"ok"
        late += time.perf_counter() - begun > LATE_S
    wire.close()
    return late


async def test_a_server_that_is_gone_with_its_reply_sent_is_no_failure() -> None:
    server = await asyncio.start_server(lambda _, w: w.close(), "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
    writer.close()
    await writer.wait_closed()
    with pytest.raises(OSError):  # noqa: PT011 (that is what the system says of a closed one)
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    s3_wire._Link(reader, writer).confirm()
    server.close()


def test_the_body_of_a_reply_does_not_wait_for_the_kernels_confirmation(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(s3_wire, "QUICKACK", None)
        left_alone = late_bodies(monkeypatch)
    if left_alone < REPLIES / 2:
        pytest.skip(f"this kernel confirms at once by itself ({left_alone} of {REPLIES} bodies were late)")
    assert late_bodies(monkeypatch) < left_alone / 2
