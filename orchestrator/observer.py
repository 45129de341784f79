"""Looks at every instance at once, so that a dead centre costs one time-out and not one for each of its instances."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Collection, Mapping
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


async def observe(
    topology: Topology, probers: Mapping[str, Prober], instances: Collection[str] | None = None, within_s: float = 2.0
) -> Snapshot:
    """One look at all instances, or at those named; each is bounded by `within_s` seconds.

    `probers` is by kind. An instance without a prober, or whose prober breaks, gives a reading with `reach` unknown.
    """
    began, taken_at = time.monotonic(), datetime.now(UTC).isoformat(timespec="milliseconds")
    gate = Gate()
    looks = [
        _look(probers.get(service.kind), service, instance, within_s, gate)
        for service in topology.services()
        for instance in service.instances
        if instances is None or instance.id in instances
    ]
    readings = await asyncio.gather(*looks)
    return Snapshot(
        estate=topology.id,
        taken_at=taken_at.replace("+00:00", "Z"),
        took_s=time.monotonic() - began,
        readings=tuple(readings),
    )


class Gate:
    """Lets AT_ONCE looks begin; a place is free again when its look has ended, or waits."""

    def __init__(self) -> None:
        self._free = asyncio.Semaphore(AT_ONCE)

    @contextlib.asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """A place, for HOLD_S at most."""
        await self._free.acquire()
        held = [True]

        def leave() -> None:
            if held:
                held.clear()
                self._free.release()

        timer = asyncio.get_running_loop().call_later(HOLD_S, leave)
        try:
            yield
        finally:
            timer.cancel()
            leave()


async def _look(prober: Prober | None, service: Service, instance: Instance, within_s: float, gate: Gate) -> Reading:
    if prober is None:
        return _unknown(instance, 0.0, f"nothing probes the kind {service.kind!r}")
    async with gate.place():
        began = time.monotonic()
        try:
            async with asyncio.timeout(within_s + _GRACE_S):
                return await prober.read(service, instance, within_s)
        except TimeoutError:
            return _unknown(instance, time.monotonic() - began, f"its look did not end within {within_s:g} s")
        except Exception as e:
            return _unknown(instance, time.monotonic() - began, f"the prober broke: {type(e).__name__}: {e}")


def _unknown(instance: Instance, took_s: float, error: str) -> Reading:
    return Reading(instance=instance.id, reach=Reach.UNKNOWN, took_s=took_s, error=error)
