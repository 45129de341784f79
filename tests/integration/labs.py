"""A lab for tests: brought up in a folder of its own, looked into through its databases, taken down in any case."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from orchestrator.lab import control, faults, namespaces, state
from orchestrator.lab.endpoints import Endpoint, Endpoints
from orchestrator.lab.state import Net
from orchestrator.lab.status import InstanceStatus, LabStatus
from orchestrator.model.topology import Frozen

Connection = psycopg.Connection[tuple[Any, ...]]


class Reply(Frozen):
    """What an app or entry answered; status 0: no answer."""

    status: int
    body: str = ""

    @property
    def json(self) -> dict[str, Any]:
        found = json.loads(self.body)
        assert isinstance(found, dict)
        return found


@dataclass(frozen=True)
class Lab:
    """A lab that is up."""

    dir: Path

    @property
    def endpoints(self) -> dict[str, Endpoint]:
        import msgspec

        return dict(msgspec.json.decode((self.dir / "endpoints.json").read_bytes(), type=Endpoints).instances)

    def address(self, instance: str, viewer: str = "") -> str:
        endpoint = self.endpoints[instance]
        return endpoint.seen_from[viewer] if viewer else endpoint.address

    def sql(
        self, instance: str, query: str, values: tuple[object, ...] = (), viewer: str = ""
    ) -> list[tuple[Any, ...]]:
        """Rows of a query at a database, as the operator or as centre `viewer` reaches it; bounded by 3 s."""
        with self.connect(instance, viewer, options="-c statement_timeout=3000") as connection:
            cursor = connection.execute(query, values)
            return cursor.fetchall() if cursor.description else []

    def connect(self, instance: str, viewer: str = "", within_s: int = 3, options: str = "") -> Connection:
        """A session with a database, as the operator or as centre `viewer` has it."""
        host, _, port = self.address(instance, viewer).rpartition(":")
        with self.standing_in(viewer):
            return psycopg.connect(
                host=host, port=port, user="postgres", dbname="app", autocommit=True, connect_timeout=within_s,
                options=options,
            )  # fmt: skip

    def standing_in(self, centre: str) -> contextlib.AbstractContextManager[None]:
        """What is opened within the block is opened in a centre, where centres have networks of their own."""
        if not centre or self.net is not Net.NAMESPACES:
            return contextlib.nullcontext()
        return namespaces.standing_in(state.identity(self.dir), centre)

    @property
    def net(self) -> Net:
        return state.require(self.dir).net

    def one(self, instance: str, query: str, *values: object) -> Any:
        """The only value of a query."""
        return self.sql(instance, query, values)[0][0]

    def http(self, instance: str, method: str, path: str, body: object = None, within_s: float = 5.0) -> Reply:
        """One request to an app or an entry."""
        host, _, port = self.address(instance).rpartition(":")
        call = http.client.HTTPConnection(host, int(port), timeout=within_s)
        try:
            call.request(method, path, None if body is None else json.dumps(body))
            answer = call.getresponse()
            return Reply(status=answer.status, body=answer.read().decode())
        except (OSError, http.client.HTTPException):
            return Reply(status=0)
        finally:
            call.close()

    def write(self, instance: str, name: str, value: str = "v") -> int:
        """Write a record through an app or entry; the status."""
        return self.http(instance, "PUT", f"/records/{name}", {"value": value, "entry": instance}).status

    def inject(self, fault: str) -> None:
        faults.inject(self.dir, fault)

    def heal(self) -> tuple[str, ...]:
        return faults.heal(self.dir)

    @property
    def status(self) -> LabStatus:
        found = control.status(self.dir)
        assert found is not None
        return found

    @property
    def started(self) -> set[int]:
        """The processes that the lab began itself. A database's own children come and go (a session's backend ends a
        moment after its client, autovacuum starts a worker), so whether these are the same tells nothing.
        """
        found = {p.pid for p in control.processes(self.dir)}
        return {pid for pid in found if _parent(pid) not in found | {None}}

    @property
    def faults(self) -> list[str]:
        return list(self.status.faults)

    @property
    def isolated(self) -> list[str]:
        return list(self.status.isolated)

    def instance(self, name: str) -> InstanceStatus:
        return next(i for i in self.status.instances if i.instance == name)


def _parent(pid: int) -> int | None:
    """Which process began it; None once it is gone."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])
    except OSError:
        return None


@contextlib.contextmanager
def running(folder: Path, net: str = "", *, ssh: bool = False) -> Iterator[Lab]:
    """A lab in `folder` for the length of the block; its network as DRCTL_LAB_NET says, like that of `drctl lab up`."""
    control.up(folder, net=Net(net or os.environ.get("DRCTL_LAB_NET", Net.RELAYS)), ssh=ssh)
    try:
        yield Lab(folder)
    finally:
        control.down(folder)


def wait_for(holds: Callable[[], object], what: str, within_s: float = 10.0) -> None:
    """Ask until it holds; a database that does not answer counts as not yet."""
    end = time.monotonic() + within_s
    last = ""
    while time.monotonic() < end:
        try:
            if holds():
                return
        except psycopg.Error as e:
            last = str(e)
        time.sleep(0.03)
    raise AssertionError(f"not within {within_s} s: {what} {last}")
