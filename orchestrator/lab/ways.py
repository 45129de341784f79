"""The ways between the centres, and what can be done to them: the part that both kinds of network share.

A way is one direction between two centres; it has a delay and may have a bandwidth, and can be cut. Asked through a
unix socket, a line of JSON for a line of JSON (`RelayOrder`, `RelayStatus`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from time import monotonic

import msgspec

from orchestrator.lab.layout import LabLink
from orchestrator.lab.relayctl import Do, RelayOrder, RelayStatus, WayStatus


class Way:
    """One direction between two centres."""

    def __init__(self, source: str, target: str, delay_s: float) -> None:
        self.source = source
        self.target = target
        self.delay_s = delay_s
        self.usual_delay_s = delay_s
        self.bytes_s = 0.0
        """Bandwidth; 0: as much as the machine can."""
        self.cut = False
        self._free_s = 0.0
        """When all that was sent off so far has left."""

    def arrival(self, size: int) -> float:
        """When so many bytes that are sent off now arrive, by the monotonic clock."""
        now = monotonic()
        if not self.bytes_s:
            return now + self.delay_s
        self._free_s = max(now, self._free_s) + size / self.bytes_s
        return self._free_s + self.delay_s

    def backlog_s(self) -> float:
        """How long what is sent off now would wait for the line."""
        return max(0.0, self._free_s - monotonic()) if self.bytes_s else 0.0

    def mend(self) -> None:
        """As it was at first."""
        self.cut, self.delay_s, self.bytes_s = False, self.usual_delay_s, 0.0

    def status(self) -> WayStatus:
        """For whoever asks."""
        return WayStatus(
            source=self.source,
            target=self.target,
            delay_ms=self.delay_s * 1000,
            cut=self.cut,
            slowed=self.delay_s != self.usual_delay_s,
            kbit_s=self.bytes_s * 8 / 1000,
        )


class Ways:
    """Every way, and the instances that a fence has cut off."""

    def __init__(self, links: Iterable[LabLink]) -> None:
        self.ways = {
            (source, target): Way(source, target, link.delay_ms / 1000)
            for link in links
            for source, target in (link.ends, link.ends[::-1])
        }
        self.isolated: set[str] = set()

    def changed(self) -> None:
        """Called after every order that changes something."""

    def connections(self) -> int:
        """How many connections are open, where that is known."""
        return 0

    def obey(self, order: RelayOrder) -> RelayStatus:
        """Carry out an order; the state of the network afterwards."""
        chosen = [w for key, w in self.ways.items() if key in {tuple(pair) for pair in order.ways}]
        if order.do is Do.CUT:
            for way in chosen:
                way.cut = True
        elif order.do is Do.SLOW:
            for way in chosen:
                way.delay_s = order.delay_ms / 1000
        elif order.do is Do.NARROW:
            for way in chosen:
                way.bytes_s = order.kbit_s * 1000 / 8
        elif order.do is Do.MEND:
            for way in self.ways.values():
                way.mend()
        elif order.do is Do.ISOLATE:
            self.isolated.add(order.instance)
        elif order.do is Do.RESTORE:
            self.isolated.discard(order.instance)
        if order.do is not Do.STATUS:
            self.changed()
        return self.status()

    def status(self) -> RelayStatus:
        """Every way, the isolated instances and the number of connections."""
        ways = tuple(way.status() for way in self.ways.values())
        return RelayStatus(ways=ways, isolated=tuple(sorted(self.isolated)), connections=self.connections())

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one caller of the control socket."""
        with contextlib.suppress(OSError, ValueError):
            while line := await reader.readline():
                try:
                    reply = self.obey(msgspec.json.decode(line, type=RelayOrder))
                except msgspec.MsgspecError as e:
                    reply = RelayStatus(error=str(e))
                writer.write(msgspec.json.encode(reply) + b"\n")
                await writer.drain()
        writer.close()
