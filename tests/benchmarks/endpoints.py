"""Looks at thousands of apps on loopback, against bare sockets that only connect, ask and read.

Every endpoint is an address of its own (127.0.0.x:port), served by two processes that share the two cores with us.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

from orchestrator.cli.quickly import run
from orchestrator.model.observation import Reach
from orchestrator.observer import observe
from orchestrator.providers.base import Outcome
from orchestrator.providers.http_app import HttpApp
from tests.benchmarks.app_server import FIRST_PORT
from tests.benchmarks.measure import ROOT, Row
from tests.unit.build import apps

PORTS = 500
HOSTS = 10
SERVERS = 2
ROUNDS = 3
FLOOR_AT_ONCE = 500
TARGETS = {3_000: 0.7, 10_000: 2.5}
REQUEST = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\nGET /ready HTTP/1.1\r\nHost: x\r\n\r\n"


def endpoint_rows() -> list[Row]:
    """A row for each size."""
    with servers():
        return [_row(count, target) for count, target in TARGETS.items()]


@contextlib.contextmanager
def servers() -> Iterator[None]:
    """The apps, up."""
    started = []
    try:
        for number in range(SERVERS):
            words = [
                sys.executable,
                "-m",
                "tests.benchmarks.app_server",
                str(1 + number * HOSTS),
                str(HOSTS),
                str(PORTS),
            ]
            process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=ROOT)
            started.append(process)
        for process in started:
            assert process.stdout is not None and process.stdout.readline() == "up\n"
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


def _row(count: int, target_s: float) -> Row:
    mine, floors, cpu = [], [], []
    for _ in range(ROUNDS):
        floors.append(bare(count))
        seconds, used = ours(count)
        mine.append(seconds)
        cpu.append(used / count * 1e6)
    seconds, floor = statistics.median(mine), statistics.median(floors)
    return Row(
        what=f"{count:,} HTTP endpoints, two requests each",
        ours=f"{seconds:.2f} s, {statistics.median(cpu):.0f} µs CPU each",
        against=f"bare sockets {floor:.2f} s",
        ratio=f"{seconds / floor:.2f}",
        target=f"≤ {target_s:g} s, ≤ 250 µs",
        met=seconds <= target_s and statistics.median(cpu) <= 250,
    )


def addresses(count: int) -> list[tuple[str, int]]:
    """So many endpoints, each another one."""
    every = [(f"127.0.1.{1 + n // PORTS}", FIRST_PORT + n % PORTS) for n in range(SERVERS * HOSTS * PORTS)]
    return every[:count]


def ours(count: int) -> tuple[float, float]:
    """One look at all of them: seconds, and our processor's; every one must have answered."""

    async def no_playbook(*_: object) -> Outcome:
        raise AssertionError

    topology = apps([f"{host}:{port}" for host, port in addresses(count)])
    app = HttpApp(no_playbook)
    begun = time.process_time()
    snapshot = run(observe(topology, {"http-app": app}, None, 5.0))
    used = time.process_time() - begun
    assert all(r.reach is Reach.ANSWERED and r.answers for r in snapshot.readings)
    return snapshot.took_s, used


def bare(count: int) -> float:
    """The same with selectors alone: connect, send, read what comes, in seconds."""
    began = time.monotonic()
    waiting = iter(addresses(count))
    selector = selectors.DefaultSelector()

    def begin() -> bool:
        address = next(waiting, None)
        if address is None:
            return False
        line = socket.socket()
        line.setblocking(False)
        line.connect_ex(address)
        selector.register(line, selectors.EVENT_WRITE)
        return True

    open_now = sum(begin() for _ in range(FLOOR_AT_ONCE))
    while open_now:
        for key, events in selector.select():
            line = key.fileobj
            assert isinstance(line, socket.socket)
            if events & selectors.EVENT_WRITE:
                line.send(REQUEST)
                selector.modify(line, selectors.EVENT_READ)
            elif line.recv(4096):
                selector.unregister(line)
                line.close()
                open_now += begin() - 1
    selector.close()
    return time.monotonic() - began
