"""A lab as the provider tests see it: orders, readings, faults by pid, and looks into databases past the providers."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import psycopg

from orchestrator.app import ROOT, kinds
from orchestrator.loader import load_topology
from orchestrator.model.observation import Reading
from orchestrator.model.plan import Verb
from orchestrator.model.topology import Instance, Role, Setting
from orchestrator.providers.base import Order, Outcome
from orchestrator.providers.haproxy import HAProxy
from orchestrator.providers.http_app import HttpApp
from orchestrator.providers.playbook import Playbooks
from orchestrator.providers.postgresql import PostgreSQL
from orchestrator.providers.waiting import comes_true

INVENTORY = ROOT / "inventories" / "lab" / "hosts.yaml"


class World:
    """One lab and the providers that drive it."""

    def __init__(self, lab_dir: Path, artifacts: Path) -> None:
        self.lab_dir = lab_dir
        self.artifacts = artifacts
        self.topology = load_topology(ROOT / "inventories" / "lab", kinds(), lab_dir / "endpoints.json")
        self.playbooks = Playbooks(ROOT / "playbooks", INVENTORY)
        self.postgresql = PostgreSQL(self.playbooks)
        self.http_app = HttpApp(self.playbooks)
        self.haproxy = HAProxy()
        self.epoch = 0
        self.steps = 0

    @property
    def providers(self) -> dict[str, PostgreSQL | HttpApp | HAProxy]:
        return {p.kind.name: p for p in (self.postgresql, self.http_app, self.haproxy)}

    def instance(self, name: str) -> Instance:
        return self.topology.instance_by_id[name]

    def order(
        self, name: str, *towards: str, epoch: int | None = None, within_s: float = 120.0, **params: str
    ) -> Order:
        """An order of the world's current epoch, unless told another."""
        self.steps += 1
        return Order(
            run=f"run-{self.epoch}",
            step=f"step-{self.steps}",
            epoch=self.epoch if epoch is None else epoch,
            service=self.topology.service_by_id[self.instance(name).service],
            instance=self.instance(name),
            towards=tuple(self.instance(t) for t in towards),
            params=tuple(Setting(name=k, value=v) for k, v in params.items()),
            within_s=within_s,
            artifacts=self.artifacts / f"step-{self.steps}",
        )

    async def act(
        self, verb: Verb, name: str, *towards: str, epoch: int | None = None, within_s: float = 120.0, **params: str
    ) -> Outcome:
        """Have a verb carried out by the provider of the instance's kind."""
        order = self.order(name, *towards, epoch=epoch, within_s=within_s, **params)
        return await self.providers[order.service.kind].act(verb, order)

    async def read(self, name: str, within_s: float = 2.0) -> Reading:
        service = self.topology.service_by_id[self.instance(name).service]
        return await self.providers[service.kind].read(service, self.instance(name), within_s)

    async def trio(self, system: str) -> tuple[str, str, str]:
        """The databases of a system: the primary, its sync standby, and the third one; whole, or an AssertionError."""
        names = [f"{system}/db@{c}" for c in "abc"]
        readings = {n: await self.read(n) for n in names}
        (primary,) = [n for n in names if readings[n].role is Role.PRIMARY]
        (sync,) = [f"{system}/db@{d.centre}" for d in readings[primary].downstreams if d.sync]
        (third,) = [n for n in names if n not in (primary, sync)]
        assert readings[primary].writable
        assert readings[third].receiving
        return primary, sync, third

    def begin(self) -> int:
        """A new run: its epoch is above every other."""
        self.epoch += 1
        return self.epoch

    async def protect(self, primary: str, sync: str, third: str) -> tuple[Outcome, Outcome]:
        """Bring the two others back as sync standby of the primary, and as cascaded one of the sync standby."""
        first = await self.act(Verb.REJOIN, sync, primary, mode="sync")
        return first, await self.act(Verb.REJOIN, third, sync)

    @contextlib.contextmanager
    def sql(self, name: str, application: str = "provider-test") -> Iterator[psycopg.Connection[Any]]:
        """A client's session, past the providers."""
        host, _, port = self.instance(name).address.rpartition(":")
        with psycopg.connect(
            host=host, port=port, user="postgres", dbname="app", autocommit=True, connect_timeout=3,
            application_name=application, options="-c statement_timeout=10000",
        ) as connection:  # fmt: skip
            yield connection

    def write(self, name: str, value: str) -> None:
        """One acknowledged write: a warning (a cancelled wait for the standby) does not count as one."""
        warnings: list[str] = []
        with self.sql(name) as connection:
            connection.add_notice_handler(lambda d: warnings.append(d.message_primary or ""))
            connection.execute("set client_min_messages = warning")
            connection.execute("create table if not exists provider_test (value text)")
            connection.execute("insert into provider_test values (%s)", (value,))
        assert not warnings

    def values(self, name: str) -> set[str]:
        with self.sql(name) as connection:
            if connection.execute("select to_regclass('provider_test')").fetchone() == (None,):
                return set()
            return {v for (v,) in connection.execute("select value from provider_test")}

    async def serves(self, name: str) -> None:
        """Wait until an app or entry gives a right answer."""

        async def answers() -> bool:
            return bool((await self.read(name)).answers)

        assert await comes_true(answers, 20.0, 0.01)

    async def arrives(self, name: str, value: str) -> None:
        """Wait until a value can be read at a replica."""

        async def there() -> bool:
            return value in self.values(name)

        assert await comes_true(there, 20.0, 0.01)

    def ask(self, name: str, sql: str) -> Any:
        """The first column of the first row."""
        with self.sql(name) as connection:
            row = connection.execute(sql.encode()).fetchone()
            return row[0] if row else None

    def param(self, name: str, param: str) -> str:
        return self.instance(name).param(param)

    def pids(self, name: str) -> list[int]:
        """Every process that works in the database's folder."""
        return [p for p in map(int, filter(str.isdigit, os.listdir("/proc"))) if _cwd(p) == self.param(name, "pgdata")]

    def signal(self, name: str, number: signal.Signals) -> None:
        for pid in self.pids(name):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def start_by_hand(self, name: str) -> None:
        """Start the server as an administrator would who knows nothing of a fence."""
        prefix, bindir, data = (self.param(name, p) for p in ("os_user_prefix", "bindir", "pgdata"))
        command = [*prefix.split(), f"{bindir}/pg_ctl", "-D", data, "-w", "-t", "20", "-l", f"{data}.by-hand", "start"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)


def _cwd(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/cwd")
    except OSError:
        return ""


@contextlib.contextmanager
def silent_address() -> Iterator[str]:
    """An address where connections are taken and nothing is ever said, as by a frozen process."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(16)
        yield f"127.0.0.1:{listener.getsockname()[1]}"


@contextlib.contextmanager
def garbage_address() -> Iterator[str]:
    """An address where every connection is answered with noise and closed."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection, contextlib.suppress(OSError):
                    connection.recv(4096)
                    connection.sendall(b"\x00\xffnoise\r\n" * 20)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(timeout=5)


@contextlib.contextmanager
def closed_address() -> Iterator[str]:
    """An address where nobody listens; the port is held so that nobody comes to."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{holder.getsockname()[1]}"


def at(instance: Instance, address: str) -> Instance:
    """The same instance at another address."""
    return msgspec.structs.replace(instance, address=address, seen_from=())
