"""The world of the row benches: a primary and a physical standby with one big table, and clients that write to it."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg

from tests.integration.test_verify_command import TOPOLOGY
from tests.integration.verify_pair import Pair, wait_for
from tests.integration.verify_tools import settle_to_disk

DIFFERENCES = 20
PAGE = 8192
MEMORY = "/dev/shm"
ROW_BYTES = 400
"""Both copies of a row and the log between them, roughly: what must be free in memory."""
FLOOR = "SELECT count(*), sum(hash_record_extended(t, 0)) FROM entry t"
BUILD = """
CREATE TABLE entry (id bigint PRIMARY KEY, office int, name text, amount numeric(12, 2), seen timestamptz)
  WITH (autovacuum_enabled = false, fillfactor = 90);
INSERT INTO entry SELECT g, g % 97, 'row-' || lpad(g::text, 9, '0') || '-' || md5(g::text), g % 10007 / 7.0,
  '2026-01-01'::timestamptz + g * interval '1 second' FROM generate_series(1, {rows}) g;
"""
LET_GO = """
SELECT coalesce(max(age(oldest)), 0) <= 1 FROM (
  SELECT backend_xmin FROM pg_stat_replication UNION ALL SELECT xmin FROM pg_replication_slots) AS held (oldest)
"""
"""Whether no replica holds rows that the last transactions left."""
CLIENTS = 4
UPDATES_PER_S = 1400
AT_ONCE = 4
"""Rows that a client changes in one transaction, as an application's transaction does."""


class World:
    """The pair."""

    def __init__(self, pair: Pair, rows: int) -> None:
        self.pair, self.rows = pair, rows

    @property
    def ports(self) -> tuple[int, int]:
        """Where the two servers listen."""
        return self.pair.a.port, self.pair.b.port

    def estate(self, home: Path, ports: tuple[int, int] | None = None) -> Path:
        """A folder with the topology of the pair."""
        a, b = ports or self.ports
        folder = home / f"estate-{a}"
        folder.mkdir(exist_ok=True)
        (folder / "topology.yaml").write_text(TOPOLOGY.format(a=a, b=b), encoding="utf-8")
        return folder

    def cpu_s(self) -> float:
        """Processor seconds that both servers have used, living backends and gone ones."""
        return sum(_cpu_s(node.process.pid) for node in self.pair.nodes if node.process)

    def plant(self) -> None:
        """Change DIFFERENCES rows in the standby's files, spread over the table."""
        # A page that the primary cleans up later is sent whole, and what was planted in it is gone: it does so now, as
        # soon as the standby says (every 10 s) that it needs no old rows.
        wait_for(lambda: self.pair.a.sql(LET_GO) == [(True,)], 30, "the standby to let go of old rows")
        self.pair.a.sql("VACUUM entry")
        self.pair.catch_up(self.pair.b)
        settle_to_disk(self.pair, self.pair.b)
        self._edit(b"row-", b"Row-")

    def promote(self) -> None:
        """The standby becomes a server of its own, with the differences in it."""
        self.pair.b.sql("SELECT pg_promote()")

    def repair(self) -> None:
        """Change them back."""
        if self._planted:
            self.pair.b.sql("CHECKPOINT")
            self._edit(b"Row-", b"row-")

    _planted = False

    def _edit(self, old: bytes, new: bytes) -> None:
        node = self.pair.b
        ids = [self.rows * n // DIFFERENCES + 1 for n in range(DIFFERENCES)]
        [[path]] = node.sql("SELECT pg_relation_filepath('entry')")
        found = node.sql("SELECT (ctid::text::point)[0]::int, id FROM entry WHERE id = ANY(%s)", ids)
        node.stop()
        for block, number in found:
            _flip(node.data / path, block, f"{number:09d}-".encode(), old, new)
        node.start()
        self.pair.catch_up(node)
        self._planted = new == b"Row-"


def _cpu_s(postmaster: int) -> float:
    """Of a postmaster, its children that are gone (15 and 16 in proc(5)), and those that live."""
    ticks = 0
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            fields = (folder / "stat").read_text().rpartition(")")[2].split() if folder.name.isdecimal() else []
            if fields and int(folder.name) == postmaster:
                ticks += sum(map(int, fields[11:15]))
            elif fields and int(fields[1]) == postmaster:
                ticks += sum(map(int, fields[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


def _flip(path: Path, block: int, number: bytes, old: bytes, new: bytes) -> None:
    segment, within = divmod(block, (1 << 30) // PAGE)
    with (path if not segment else path.with_name(f"{path.name}.{segment}")).open("r+b") as file:
        file.seek(within * PAGE)
        page = file.read(PAGE)
        assert old + number in page  # more than once where the row was updated: bytes of what is gone may be left
        file.seek(within * PAGE)
        file.write(page.replace(old + number, new + number))


@contextlib.contextmanager
def rows_world(rows: int) -> Iterator[World]:
    """A pair with `rows` rows a side and the differences planted, gone afterwards."""
    before = tempfile.tempdir
    if os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > 2 * rows * ROW_BYTES + (1 << 30):
        tempfile.tempdir = MEMORY
    try:
        pair = Pair(())
    finally:
        tempfile.tempdir = before
    try:
        pair.a.sql(BUILD.format(rows=rows))
        pair.a.sql("VACUUM ANALYZE entry")
        pair.a.sql("CHECKPOINT")
        pair.standbys["b"] = pair.clone("b")
        world = World(pair, rows)
        world.plant()
        yield world
    finally:
        pair.close()


class Load:
    """Clients that update rows at a steady rate and time each transaction; a late one is not forgiven its wait."""

    def __init__(self, world: World, updates_per_s: int = UPDATES_PER_S) -> None:
        self._world = world
        self._every_s = CLIENTS * AT_ONCE / updates_per_s
        self._stop = threading.Event()
        self._times: list[tuple[float, float]] = []
        self._threads = [threading.Thread(target=self._run, args=(n,), daemon=True) for n in range(CLIENTS)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(10)

    def _run(self, client: int) -> None:
        chance = random.Random(client)
        with self._world.pair.a.connect() as connection:
            connection.execute("SET synchronous_commit = off")
            due = time.perf_counter() + client * self._every_s / CLIENTS
            while not self._stop.wait(max(0.0, due - time.perf_counter())):
                self._update(connection, [chance.randint(1, self._world.rows) for _ in range(AT_ONCE)])
                now = time.perf_counter()
                self._times.append((now, now - due))
                due = max(due + self._every_s, now - 1.0)

    @staticmethod
    def _update(connection: psycopg.Connection[tuple[object, ...]], ids: list[int]) -> None:
        connection.execute(
            "UPDATE entry SET amount = amount + 1, seen = clock_timestamp() WHERE id = ANY(%s)", (sorted(ids),)
        )

    def settle(self) -> None:
        """Until the servers are warm."""
        time.sleep(2)

    def p99(self, during: Callable[[], object]) -> float:
        """The 99th percentile of the transactions that ended while `during` ran, in seconds from when they were due."""
        begun = time.perf_counter()
        during()
        times = sorted(s for at, s in list(self._times) if at >= begun)
        return times[max(0, -(-len(times) * 99 // 100) - 1)]

    @property
    def rate(self) -> float:
        """Updates of rows a second, over all."""
        if len(self._times) < 2:
            return 0.0
        return (len(self._times) - 1) * AT_ONCE / (self._times[-1][0] - self._times[0][0])
