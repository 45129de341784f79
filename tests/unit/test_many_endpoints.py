"""Looks at very many apps: one time-out for a dead centre, honest latency, an answer cut into any packets."""

from __future__ import annotations

import asyncio
import gc
import time
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from orchestrator.model.observation import Reach, Reading, Snapshot
from orchestrator.model.topology import Instance, Kind, Nature, Service, Topology
from orchestrator.observer import AT_ONCE, observe
from orchestrator.providers.base import Outcome
from orchestrator.providers.http_app import HttpApp
from orchestrator.providers.http_probe import Look, Strange
from orchestrator.providers.http_request import Answer, NoAnswer
from tests.unit.build import apps

HEALTH = b'{"upstream":"a","epoch":7,"writable":true,"serving":true}'
PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(HEALTH), HEALTH)
READY = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length:0\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(HEALTH), HEALTH)
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def no_playbook(*_: object) -> Outcome:
    raise AssertionError("a look runs no playbook")


async def look_at(topology: Topology, within_s: float = 5.0) -> Snapshot:
    return await observe(topology, {"http-app": HttpApp(no_playbook)}, None, within_s)


class SilentUntilAllHaveBegun:
    """Instances of a dead centre: each look waits, and ends well only if every other has begun meanwhile."""

    kind = Kind(name="http-app", nature=Nature.ACTIVE)

    def __init__(self, count: int) -> None:
        self.left = count
        self.all_begun = asyncio.Event()

    async def read(self, service: Service, instance: Instance, within_s: float) -> Reading:
        self.left -= 1
        if not self.left:
            self.all_begun.set()
        async with asyncio.timeout(within_s):
            await self.all_begun.wait()
        return Reading(instance=instance.id, reach=Reach.SILENT, took_s=within_s)


async def test_a_dead_centre_costs_one_time_out_however_large_it_is() -> None:
    count = 3 * AT_ONCE + 7
    snapshot = await observe(
        apps(["127.0.0.1:1"] * count), {"http-app": SilentUntilAllHaveBegun(count)}, None, within_s=20.0
    )
    assert {r.reach for r in snapshot.readings} == {Reach.SILENT}


@asynccontextmanager
async def server(serve: Serve) -> AsyncIterator[str]:
    running = await asyncio.start_server(serve, "127.0.0.1", 0)
    host, port = running.sockets[0].getsockname()
    async with running:
        yield f"{host}:{port}"


def says(*answers: bytes, close: bool = False) -> Serve:
    """A server that gives one answer a request, in order, one request at a time."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            if not await reader.readuntil(b"\r\n\r\n"):
                break
            writer.write(answer)
            await writer.drain()
            if close:
                break
        writer.close()

    return serve


async def test_two_answers_of_one_connection() -> None:
    async with server(says(PLAIN, READY)) as address:
        (reading,) = (await look_at(apps([address]))).readings
    assert (reading.reach, reading.epoch, reading.upstream, reading.answers) == (Reach.ANSWERED, 7, "a", False)


async def test_what_the_quick_reader_does_not_understand_the_full_one_reads() -> None:
    async with server(says(CHUNKED, READY)) as address:
        (reading,) = (await look_at(apps([address]))).readings
    assert (reading.reach, reading.epoch, reading.answers) == (Reach.ANSWERED, 7, False)


async def test_who_hangs_up_in_the_middle_is_silent() -> None:
    async with server(says(PLAIN, close=True)) as address:
        (reading,) = (await look_at(apps([address]))).readings
    assert reading.reach is Reach.SILENT


class Wire(asyncio.Transport):
    """What a look writes to."""

    def __init__(self) -> None:
        super().__init__()
        self.written, self.aborted = b"", False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def abort(self) -> None:
        self.aborted = True


def looking() -> tuple[Look, Wire]:
    look, wire = Look(asyncio.get_running_loop(), b"GET", 2), Wire()
    look.connection_made(wire)
    return look, wire


@pytest.mark.parametrize("size", [1, 2, 7, 64, len(PLAIN), 4096])
async def test_an_answer_may_come_in_any_packets(size: int) -> None:
    look, wire = looking()
    stream = PLAIN + READY
    for start in range(0, len(stream), size):
        assert not look.done.done()
        look.data_received(stream[start : start + size])
    _, answers = look.done.result()
    assert answers == [Answer(200, HEALTH), Answer(503, b"")]
    assert wire.aborted


@pytest.mark.parametrize(
    "odd",
    [
        CHUNKED,
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n",
        b"HTTP/1.1 xyz\r\nContent-Length: 0\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"x" * 70_000,
    ],
)
async def test_what_is_odd_is_not_guessed_at(odd: bytes) -> None:
    look, wire = looking()
    look.data_received(odd)
    assert isinstance(look.done.exception(), Strange)
    assert wire.aborted


async def test_nothing_said_is_silence_and_half_said_is_odd() -> None:
    look, _ = looking()
    look.connection_lost(None)
    nothing = look.done.exception()
    assert isinstance(nothing, NoAnswer) and nothing.reach is Reach.SILENT
    look, _ = looking()
    look.data_received(PLAIN)
    look.connection_lost(None)
    assert isinstance(look.done.exception(), Strange)


async def test_the_time_is_that_of_the_answer_and_not_of_our_own_queue() -> None:
    look, _ = looking()
    look.data_received(PLAIN + READY)
    answered = time.monotonic()
    await asyncio.sleep(0.05)  # our own work, between the answer and the look's turn
    assert (await look.done)[0] <= answered


async def test_watching_for_hours_holds_memory_flat() -> None:
    async with server(says(PLAIN, READY)) as address:
        topology = apps([address] * 8)
        tracemalloc.start()
        try:
            for _ in range(10):
                await look_at(topology)
            gc.collect()
            before = tracemalloc.take_snapshot()
            for _ in range(40):
                await look_at(topology)
            gc.collect()
            grown = sum(line.size_diff for line in tracemalloc.take_snapshot().compare_to(before, "filename"))
        finally:
            tracemalloc.stop()
    assert grown < 40 * 200, "each look of 8 instances leaves something behind"


class Counting:
    """Looks that take a turn or two; how many were under way at the most."""

    kind = Kind(name="http-app", nature=Nature.ACTIVE)

    def __init__(self) -> None:
        self.now = self.most = 0

    async def read(self, service: Service, instance: Instance, within_s: float) -> Reading:
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0.001)
        self.now -= 1
        return Reading(instance=instance.id, reach=Reach.ANSWERED, took_s=0.001)


async def test_looks_that_end_make_room_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.observer.HOLD_S", 3600.0)
    count, prober = 3 * AT_ONCE, Counting()
    topology = apps([f"127.0.0.1:{n}" for n in range(count)])
    async with asyncio.timeout(20.0):
        snapshot = await observe(topology, {"http-app": prober}, None, within_s=20.0)
    assert len(snapshot.readings) == count
    assert prober.most == AT_ONCE
