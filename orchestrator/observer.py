"""Looks at every instance at once, so that a dead centre costs one time-out and not one for each of its instances."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime

from orchestrator.model.observation import Reach, Reading, Snapshot
from orchestrator.model.topology import Instance, Service, Topology
from orchestrator.providers.base import Prober

AT_ONCE = 500
"""Looks that are being begun at the same time: more would be measured as latency of the instances."""
HOLD_S = 0.1
"""A look that has no answer after this only waits: it costs nothing, and must not keep others from beginning. So a dead
centre costs one time-out, however many instances stood in it."""
_GRACE_S = 0.5
"""Beyond this a prober that did not keep its own bound is given up."""
_Looks = dict[asyncio.Task[Reading], tuple[Instance, float]]
"""Looks that have begun, and when."""


async def observe(
    topology: Topology, probers: Mapping[str, Prober], instances: Collection[str] | None = None, within_s: float = 2.0
) -> Snapshot:
    """One look at all instances, or at those named; each is bounded by `within_s` seconds.

    `probers` is by kind. An instance without a prober, or whose prober breaks, gives a reading with `reach` unknown.
    """
    began, taken_at = time.monotonic(), datetime.now(UTC).isoformat(timespec="milliseconds")
    gate = _Gate()
    looks: _Looks = {}
    try:
        for service, instance in _chosen(topology, instances):
            await gate.opens()
            look = asyncio.create_task(_look(probers.get(service.kind), service, instance, within_s))
            gate.enter(look)
            looks[look] = instance, time.monotonic()
        readings = await _ended(looks, within_s)
    finally:
        for look in looks:
            look.cancel()
    return Snapshot(
        estate=topology.id,
        taken_at=taken_at.replace("+00:00", "Z"),
        took_s=time.monotonic() - began,
        readings=tuple(readings),
    )


def _chosen(topology: Topology, instances: Collection[str] | None) -> Iterator[tuple[Service, Instance]]:
    for service in topology.services():
        for instance in service.instances:
            if instances is None or instance.id in instances:
                yield service, instance


async def _ended(looks: _Looks, within_s: float) -> list[Reading]:
    """What they read, in order. One bound for all that did not keep their own: a timer for each of thousands would take
    a seventh of the processor's time.
    """
    if not looks:
        return []
    _, late = await asyncio.wait(looks, timeout=within_s + _GRACE_S)
    for look in late:
        look.cancel()
    if late:
        await asyncio.wait(late)
    now, late_words = time.monotonic(), f"its look did not end within {within_s:g} s"
    return [
        _unknown(instance, now - began, late_words) if look in late else look.result()
        for look, (instance, began) in looks.items()
    ]


class _Gate:
    """Lets AT_ONCE looks begin; a place is free again when its look has ended, or waits. For one caller."""

    def __init__(self) -> None:
        self._now_s = asyncio.get_running_loop().time
        self._held: dict[asyncio.Task[Reading], float] = {}
        """Looks that hold a place, and since when: the first holds its place longest."""
        self._left = asyncio.Event()

    async def opens(self) -> None:
        """Return once a place is free."""
        while len(self._held) >= AT_ONCE:
            self._left.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(self._longest + HOLD_S):
                    await self._left.wait()
            while self._held and self._longest + HOLD_S <= self._now_s():
                del self._held[next(iter(self._held))]

    def enter(self, look: asyncio.Task[Reading]) -> None:
        """This look takes a place, for HOLD_S at most."""
        self._held[look] = self._now_s()
        look.add_done_callback(self._leave)

    @property
    def _longest(self) -> float:
        return next(iter(self._held.values()))

    def _leave(self, look: asyncio.Task[Reading]) -> None:
        self._held.pop(look, None)
        self._left.set()


async def _look(prober: Prober | None, service: Service, instance: Instance, within_s: float) -> Reading:
    if prober is None:
        return _unknown(instance, 0.0, f"nothing probes the kind {service.kind!r}")
    began = time.monotonic()
    try:
        return await prober.read(service, instance, within_s)
    except Exception as e:
        return _unknown(instance, time.monotonic() - began, f"the prober broke: {type(e).__name__}: {e}")


def _unknown(instance: Instance, took_s: float, error: str) -> Reading:
    return Reading(instance=instance.id, reach=Reach.UNKNOWN, took_s=took_s, error=error)
