"""Writes to every copy of a service at ≥ 20 Hz, directly, and keeps down who acknowledged what and when.

This is the judge of "at most one writable primary": it believes no role and no record of ours, only acknowledgements
that a client was given. A commit that came back with a warning (a cancelled wait for the sync standby) is none.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
import time
from pathlib import Path

import msgspec
import psycopg

PERIOD_S = 0.03
ATTEMPT_S = 1.0
REFUSALS = 20
"""A copy that takes no writes is asked so often in one session: new ones each time took a tenth of a drill's time."""


class Ack(msgspec.Struct, frozen=True):
    """One acknowledged write."""

    service: str
    instance: str
    sent: float
    acked: float


class Sampler:
    """Use as a context manager around the drill."""

    def __init__(self, addresses: dict[str, str], log: Path) -> None:
        """`addresses`: instance id → host:port of every copy that is sampled."""
        self.acks: list[Ack] = []
        self.attempts: dict[str, int] = dict.fromkeys(addresses, 0)
        self.seconds = 0.0
        self._addresses = addresses
        self._log = log
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._sample()))

    def __enter__(self) -> Sampler:
        self._begun = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.seconds = time.monotonic() - self._begun
        self._log.write_bytes(b"\n".join(msgspec.json.encode(ack) for ack in self.acks))

    async def _sample(self) -> None:
        await asyncio.gather(*(self._one(instance, address) for instance, address in self._addresses.items()))

    async def _one(self, instance: str, address: str) -> None:
        host, _, port = address.partition(":")
        dsn = f"host={host} port={port} user=postgres dbname=app application_name=sampler"
        while not self._stop.is_set():
            with contextlib.suppress(psycopg.Error, OSError, TimeoutError):
                await self._session(instance, dsn)
            self.attempts[instance] += 1
            await asyncio.sleep(PERIOD_S)

    async def _session(self, instance: str, dsn: str) -> None:
        warnings: list[str] = []
        async with asyncio.timeout(ATTEMPT_S):
            connection = await psycopg.AsyncConnection.connect(dsn, autocommit=True)
        connection.add_notice_handler(lambda notice: warnings.append(notice.message_primary or ""))
        refusals = 0
        try:
            while refusals < REFUSALS and not self._stop.is_set():
                sent = time.monotonic()
                self.attempts[instance] += 1
                try:
                    async with asyncio.timeout(ATTEMPT_S):
                        await connection.execute("INSERT INTO drctl_sampler(writer) VALUES (%s)", (instance,))
                except psycopg.errors.ReadOnlySqlTransaction:
                    refusals += 1
                else:
                    if not warnings:
                        self.acks.append(Ack(instance.partition("@")[0], instance, sent, time.monotonic()))
                warnings.clear()
                await asyncio.sleep(max(0.0, sent + PERIOD_S - time.monotonic()))
        finally:
            connection.pgconn.finish()

    def writers(self, service: str) -> list[str]:
        """The instances that acknowledged, in order, each run of one instance once: `[db@a, db@b]` for a clean move."""
        acks = sorted((a for a in self.acks if a.service == service), key=lambda a: a.acked)
        return [instance for instance, _ in itertools.groupby(acks, key=lambda a: a.instance)]

    def overlapping(self, service: str) -> list[tuple[Ack, Ack]]:
        """Pairs of acknowledged writes at two instances whose spans overlap: two writable primaries at one instant."""
        acks = sorted((a for a in self.acks if a.service == service), key=lambda a: a.sent)
        return [(x, y) for x, y in itertools.pairwise(acks) if x.instance != y.instance and y.sent < x.acked]


def prepare(addresses: list[str]) -> None:
    """Make the sampler's table at the primaries."""
    for address in addresses:
        host, _, port = address.partition(":")
        with psycopg.connect(f"host={host} port={port} user=postgres dbname=app", autocommit=True) as connection:
            connection.execute(
                "CREATE TABLE IF NOT EXISTS drctl_sampler(id bigserial PRIMARY KEY, writer text NOT NULL, "
                "at timestamptz NOT NULL DEFAULT clock_timestamp())"
            )
