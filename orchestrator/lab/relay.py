"""The network between the centres: one process that relays every TCP connection from one centre to another.

What comes in on a cut way is kept as TCP keeps what is not acknowledged: the sender's buffers fill and it stalls,
nothing is closed, a new connection hangs, and after healing everything flows on in order. An isolated instance's
routes are cut both ways, whoever calls.

Started as `python -m orchestrator.lab.relay CONFIG` with a `RelayConfig` as JSON; obeys as `ways` says.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections import deque
from pathlib import Path
from time import monotonic
from typing import cast

import msgspec

from orchestrator.lab.relayctl import RelayConfig, Route
from orchestrator.lab.ways import Way, Ways

_HIGH_BYTES = 4 << 20
"""A way with more than this under way stops reading, as a full TCP window would."""
_EARLY_S = 0.0002
"""What is due within this counts as due."""
_TICK_S = 0.001
"""The event loop's timers count whole milliseconds of a clock that stands still within a turn: one may end up to a
millisecond early, so what is due is judged by the monotonic clock."""
_CONNECT_S = 3.0


class Pipe:
    """One direction of one connection: what is under way, in order, each with the time it arrives."""

    def __init__(self, way: Way, link: Connection) -> None:
        self.way = way
        self.link = link
        self.source: asyncio.Transport | None = None
        self.sink: asyncio.Transport | None = None
        self.under_way: deque[tuple[float, bytes | None]] = deque()
        self.size = 0
        self.full = False
        self.held = False
        self.timer: asyncio.TimerHandle | None = None
        self.ended = False

    def put(self, data: bytes | None) -> None:
        """Send off data, or the end of the connection (None)."""
        self.under_way.append((self.way.arrival(len(data) if data else 0), data))
        self.size += len(data) if data else 0
        if self.size > _HIGH_BYTES and not self.full:
            self.full = True
            self.throttle()
        if self.timer is None:
            self.schedule()

    def schedule(self) -> None:
        """Wake up when the first of what is under way arrives."""
        if self.under_way and not self.stopped:
            wait = self.under_way[0][0] - monotonic()
            self.timer = LOOP.call_later(max(wait, _TICK_S) if wait > 0 else 0, self.deliver)

    @property
    def stopped(self) -> bool:
        """Nothing may be delivered: cut, isolated, not connected yet, or the receiver's buffer is full."""
        return self.link.blocked(self.way) or self.sink is None or self.held

    def deliver(self) -> None:
        """Hand over everything that has arrived by now."""
        self.timer = None
        if self.stopped:
            return
        until = monotonic() + _EARLY_S
        while self.under_way and self.under_way[0][0] <= until and not self.held:
            self._hand_over(self.under_way.popleft()[1])
        if self.full and self.size <= _HIGH_BYTES // 2:
            self.full = False
            self.throttle()
        self.schedule()

    def _hand_over(self, data: bytes | None) -> None:
        assert self.sink is not None
        if data is None:
            self.ended = True
            self.sink.close()
            return
        self.size -= len(data)
        if not self.sink.is_closing():
            self.sink.write(data)

    def throttle(self) -> None:
        """Stop or resume reading, so that the sender feels a cut way or a full one."""
        if self.source is None or self.source.is_closing():
            return
        wait = self.full or (self.link.blocked(self.way) and self.sink is not None)
        with contextlib.suppress(RuntimeError):
            self.source.pause_reading() if wait else self.source.resume_reading()

    def changed(self) -> None:
        """The way was cut, healed or slowed."""
        self.throttle()
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        self.schedule()


class End(asyncio.Protocol):
    """One end of a relayed connection; what it reads goes into `out`, what arrives for it comes from `into`."""

    def __init__(self, link: Connection, out: Pipe, into: Pipe) -> None:
        self.link = link
        self.out = out
        self.into = into

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but its base class
        self.out.source = transport
        self.into.sink = transport
        self.out.throttle()
        self.into.changed()

    def data_received(self, data: bytes) -> None:
        self.out.put(data)

    def pause_writing(self) -> None:
        self.into.held = True

    def resume_writing(self) -> None:
        self.into.held = False
        self.into.changed()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.into.ended:
            self.out.put(None)
        self.link.lost()


class Connection:
    """A connection of a client in one centre to an instance in another."""

    def __init__(self, relay: Relay, route: Route) -> None:
        self.relay = relay
        self.route = route
        there = relay.ways[route.viewer, route.centre]
        back = relay.ways[route.centre, route.viewer]
        self.forward = Pipe(there, self)
        self.backward = Pipe(back, self)
        self.ends = 1
        self.opened = False
        self.task: asyncio.Task[None] | None = None

    def accept(self) -> End:
        """The client's end; the other one is opened as soon as both ways are open."""
        self.relay.open.add(self)
        self.task = LOOP.create_task(self._open())
        return End(self, self.forward, self.backward)

    def blocked(self, way: Way) -> bool:
        return way.cut or self.route.instance in self.relay.isolated

    async def _open(self) -> None:
        while self.blocked(self.forward.way) or self.blocked(self.backward.way):
            await self.relay.change.wait()
        try:
            async with asyncio.timeout(_CONNECT_S):
                self.opened = True
                self.ends += 1
                await LOOP.create_connection(
                    lambda: End(self, self.backward, self.forward), self.route.host, self.route.port
                )
        except (OSError, TimeoutError):
            self.ends -= 1
            if self.backward.sink is not None:
                self.backward.sink.abort()

    def lost(self) -> None:
        """One end is gone; without the other one nothing is to be told."""
        self.ends -= 1
        if not self.opened and self.task is not None:
            self.task.cancel()
        if self.ends <= 0:
            self.relay.open.discard(self)


class Change:
    """Wakes everyone who waits for the network to change."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    async def wait(self) -> None:
        await self._event.wait()

    def tell(self) -> None:
        self._event.set()
        self._event = asyncio.Event()


class Relay(Ways):
    """All ways, routes and connections, and what is done to them."""

    def __init__(self, config: RelayConfig) -> None:
        super().__init__(config.links)
        self.config = config
        self.open: set[Connection] = set()
        self.change = Change()

    def connections(self) -> int:
        return len(self.open)

    def changed(self) -> None:
        self.change.tell()
        for connection in tuple(self.open):
            connection.forward.changed()
            connection.backward.changed()

    async def serve(self) -> None:
        """Listen on every route, then on the control socket, and never end."""
        servers = []  # a server that nobody refers to is closed
        for route in self.config.routes:
            server = await LOOP.create_server(
                lambda route=route: Connection(self, route).accept(),  # type: ignore[misc]
                self.config.host, route.listen, backlog=256, reuse_address=True,
            )  # fmt: skip
            servers.append(server)
        servers.append(await asyncio.start_unix_server(self.answer, self.config.socket))
        await asyncio.Event().wait()


LOOP: asyncio.AbstractEventLoop


def main(path: str) -> None:
    """Run the relay of a configuration until it is killed."""
    import uvloop

    global LOOP  # noqa: PLW0603  one loop for the process; looking it up per packet costs more than the packet
    config = msgspec.json.decode(Path(path).read_bytes(), type=RelayConfig)
    LOOP = uvloop.new_event_loop()
    asyncio.set_event_loop(LOOP)
    LOOP.run_until_complete(Relay(config).serve())


if __name__ == "__main__":
    main(sys.argv[1])
