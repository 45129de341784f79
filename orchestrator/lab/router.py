"""The network between the centres' namespaces: one process that carries IP packets from one TUN device to another.

Unlike a relay it knows no connections: a packet on a cut way is lost, and TCP itself finds out. A packet that would
wait too long for a narrow line is lost too, as at a full router. What an isolated instance sends or is sent between
two centres is lost. The edge stands beside every centre: its ways have no delay and are never cut.

Started as `python -m orchestrator.lab.router CONFIG` with a `RouterConfig` as JSON; obeys as `ways` says.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import struct
import sys
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from time import monotonic

import msgspec

from orchestrator.lab import namespaces
from orchestrator.lab.layout import LabLink
from orchestrator.lab.ways import Way, Ways
from orchestrator.model.topology import EDGE, Frozen

_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
_BACKLOG_S = 0.5
"""A packet that would wait longer for a narrow line is lost."""
_EARLY_S = 0.0002
_TICK_S = 0.001
"""As in the relay: timers count whole milliseconds."""
_AT_ONCE = 64
"""Packets taken from one device before the others have their turn."""
_TCP = 6


class RouterConfig(Frozen):
    """What the router process is started with."""

    lab: str
    socket: str
    links: tuple[LabLink, ...]
    hosts: Mapping[str, str]
    instances: Mapping[str, str]
    """Instance → host:port."""


class Lane:
    """What is under way from one place to another, in order."""

    def __init__(self, router: Router, way: Way, sink: int) -> None:
        self._router, self.way, self._sink = router, way, sink
        self._under_way: deque[tuple[float, bytes]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def put(self, packet: bytes) -> None:
        """Send a packet off, or lose it."""
        if self.way.cut or self.way.backlog_s() > _BACKLOG_S or self._router.lost(packet, self.way):
            return
        due = self.way.arrival(len(packet))
        if not self._under_way and due <= monotonic() + _EARLY_S:
            self._hand_over(packet)
            return
        self._under_way.append((due, packet))
        if self._timer is None:
            self._schedule()

    def _schedule(self) -> None:
        wait = self._under_way[0][0] - monotonic()
        self._timer = self._router.loop.call_later(max(wait, _TICK_S) if wait > 0 else 0, self._deliver)

    def _deliver(self) -> None:
        self._timer = None
        until = monotonic() + _EARLY_S
        while self._under_way and self._under_way[0][0] <= until:
            packet = self._under_way.popleft()[1]
            if not self.way.cut:
                self._hand_over(packet)
        if self._under_way:
            self._schedule()

    def _hand_over(self, packet: bytes) -> None:
        try:
            os.write(self._sink, packet)
        except OSError:
            return  # a full or closed device loses it, as a wire does


class Router(Ways):
    """All lanes, by source device and destination address."""

    def __init__(self, config: RouterConfig, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(config.links)
        self.loop = loop
        self._config = config
        self._addresses = {instance: _packed(address) for instance, address in config.instances.items()}
        self._dark: frozenset[bytes] = frozenset()
        devices = {place: _device(config, place) for place in config.hosts}
        direct = Way(EDGE, EDGE, 0.0)
        self._lanes: dict[str, dict[bytes, Lane]] = {}
        for source, end in devices.items():
            others = {p: d for p, d in devices.items() if p != source}
            lanes = {_ip(config.hosts[p]): Lane(self, self.ways.get((source, p), direct), d) for p, d in others.items()}
            self._lanes[source] = lanes
            loop.add_reader(end, self._arrived, end, lanes)

    def changed(self) -> None:
        self._dark = frozenset(self._addresses[i] for i in self.isolated if i in self._addresses)

    def lost(self, packet: bytes, way: Way) -> bool:
        """Whether a packet between two centres is to or from an isolated instance (RFC 791, RFC 9293: headers)."""
        if not self._dark or way.source == EDGE or packet[9] != _TCP:
            return False
        begin = (packet[0] & 15) * 4
        source, target = packet[begin : begin + 2], packet[begin + 2 : begin + 4]
        return packet[12:16] + source in self._dark or packet[16:20] + target in self._dark

    def _arrived(self, device: int, lanes: Mapping[bytes, Lane]) -> None:
        for _ in range(_AT_ONCE):
            try:
                packet = os.read(device, 65536)
            except BlockingIOError:
                return
            lane = lanes.get(packet[16:20]) if packet[0] >> 4 == 4 else None
            if lane is not None:
                lane.put(packet)

    async def serve(self) -> None:
        """Listen on the control socket, and never end."""
        server = await asyncio.start_unix_server(self.answer, self._config.socket)
        await server.serve_forever()


def _ip(address: str) -> bytes:
    return bytes(int(part) for part in address.split("."))


def _packed(address: str) -> bytes:
    """Address and port as they stand in a packet."""
    host, _, port = address.rpartition(":")
    return _ip(host) + int(port).to_bytes(2, "big")


def _device(config: RouterConfig, place: str) -> int:
    """A place's end of the network, made in its namespace; the descriptor of our end."""
    if place == EDGE:
        made = namespaces.device(config.lab)
        end = _open(made)
        namespaces.attach(made, config.hosts[place])
        return end
    with namespaces.standing_in(config.lab, place):
        end = _open("wan")
    namespaces.attach("wan", config.hosts[place], namespaces.name(config.lab, place))
    return end


def _open(made: str) -> int:
    end = os.open(namespaces.TUN, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.ioctl(end, _TUNSETIFF, struct.pack("16sH22x", made.encode(), _IFF_TUN | _IFF_NO_PI))
    return end


def main(path: str) -> None:
    """Run the router of a configuration until it is killed."""
    import uvloop

    config = msgspec.json.decode(Path(path).read_bytes(), type=RouterConfig)
    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    loop.run_until_complete(Router(config, loop).serve())


if __name__ == "__main__":
    main(sys.argv[1])
