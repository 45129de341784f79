"""The observer: everything at once, each bounded, and a broken prober is unknown and never down."""

from __future__ import annotations

import asyncio
import time

import pytest

from orchestrator.model.observation import Reach, Reading
from orchestrator.model.topology import Instance, Kind, Nature, Service
from orchestrator.observer import observe
from tests.unit.estates import load


class Prober:
    """Takes `pause_s` for each look, and counts how many it has under way."""

    def __init__(self, pause_s: float = 0.0, error: Exception | None = None) -> None:
        self.kind = Kind(name="postgresql", nature=Nature.REPLICATED)
        self.pause_s, self.error = pause_s, error
        self.now = self.most = 0

    async def read(self, service: Service, instance: Instance, within_s: float) -> Reading:
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(self.pause_s)
        self.now -= 1
        if self.error:
            raise self.error
        return Reading(instance=instance.id, reach=Reach.ANSWERED, took_s=self.pause_s)


async def test_all_at_once_and_one_reading_each() -> None:
    topology = load()
    names = [i.id for i in topology.instances()]
    prober = Prober(pause_s=0.2)
    began = time.monotonic()
    snapshot = await observe(topology, {s.kind: prober for s in topology.services()})
    assert time.monotonic() - began < 0.2 * len(names)
    assert [r.instance for r in snapshot.readings] == names
    assert prober.most == len(names)
    assert snapshot.took_s == pytest.approx(0.2, abs=0.19)
    assert snapshot.taken_at.endswith("Z")


async def test_some_of_them() -> None:
    topology = load()
    wanted = next(topology.instances()).id
    snapshot = await observe(topology, {s.kind: Prober() for s in topology.services()}, [wanted])
    assert [r.instance for r in snapshot.readings] == [wanted]
    assert snapshot.of("another").reach is Reach.UNKNOWN


async def test_a_prober_that_breaks_or_hangs_is_unknown() -> None:
    topology = load()
    kinds = {s.kind for s in topology.services()}
    broken = await observe(topology, {k: Prober(error=ValueError("a bug")) for k in kinds})
    assert {r.reach for r in broken.readings} == {Reach.UNKNOWN}
    assert all("ValueError: a bug" in r.error for r in broken.readings)
    began = time.monotonic()
    hung = await observe(topology, {k: Prober(pause_s=60.0) for k in kinds}, within_s=0.1)
    assert time.monotonic() - began < 5.0
    assert {(r.reach, r.error) for r in hung.readings} == {(Reach.UNKNOWN, "its look did not end within 0.1 s")}


async def test_a_kind_that_nothing_probes_is_unknown() -> None:
    snapshot = await observe(load(), {})
    assert {r.reach for r in snapshot.readings} == {Reach.UNKNOWN}
    assert all("nothing probes" in r.error for r in snapshot.readings)


class Stuck:
    """Ends only where it is told to; counts what is under way."""

    def __init__(self) -> None:
        self.kind = Kind(name="postgresql", nature=Nature.REPLICATED)
        self.now = 0

    async def read(self, service: Service, instance: Instance, within_s: float) -> Reading:
        self.now += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.now -= 1
        raise AssertionError


async def test_no_look_outlives_an_observer_that_is_called_off() -> None:
    topology, stuck = load(), Stuck()
    looking = asyncio.create_task(observe(topology, {s.kind: stuck for s in topology.services()}, within_s=60.0))
    while not stuck.now:
        await asyncio.sleep(0)
    looking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await looking
    await asyncio.sleep(0)
    assert stuck.now == 0


async def test_one_that_hangs_takes_nothing_from_the_others() -> None:
    topology, stuck = load(), Stuck()
    first = next(topology.services()).kind
    probers = {s.kind: stuck if s.kind == first else Prober(pause_s=0.05) for s in topology.services()}
    snapshot = await observe(topology, probers, within_s=0.1)
    kinds = {i.id: s.kind for s in topology.services() for i in s.instances}
    for reading in snapshot.readings:
        hung = kinds[reading.instance] == first
        assert reading.reach is (Reach.UNKNOWN if hung else Reach.ANSWERED)
        assert not hung or 0.1 <= reading.took_s < 5.0
