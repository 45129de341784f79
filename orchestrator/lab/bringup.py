"""The steps of `drctl lab up`: databases made in parallel, a system each; apps and relays beside them; entries last."""

from __future__ import annotations

import http.client
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import msgspec

from orchestrator.errors import Refused
from orchestrator.lab import (
    binaries,
    buckets,
    endpoints,
    layout,
    namespaces,
    postgres,
    services,
    sshd,
    state,
    statestore,
)
from orchestrator.lab.layout import LabSystem, Place
from orchestrator.lab.state import LabState, Net, Phase

_READY_S = 30.0
_POLL_S = 0.02


def bring_up(
    lab_dir: Path,
    progress: Callable[[str], None],
    *,
    state_store: bool = False,
    net: Net = Net.RELAYS,
    ssh: bool = False,
    with_buckets: bool = False,
) -> LabState:
    """Make and start everything; returns when users are served in every system.

    Raises:
        Refused: binaries, ports or disk room are missing, or something does not come up within 30 s.
    """
    began = time.monotonic()
    with state.claimed_ports() as ports:
        lab = _prepare(lab_dir, ports, net, state_store=state_store, with_buckets=with_buckets)
        progress(f"lab {lab.id}: databases from {lab.bindir}, data in {lab.root}")
        services.start_network(lab)
        _make_centres(lab)
        if lab.buckets:
            progress("three zones of object storage come up; this takes a minute")
            buckets.bring_up(lab)
        _make_services(lab)
        services.start_apps(lab)
        carrier = "relays" if net is Net.RELAYS else "router"
        progress(f"{carrier} and nine apps started; making {len(lab.databases)} databases")
        Systems(lab, progress).bring_up((*layout.SYSTEMS, *((layout.STATE,) if state_store else ())))
        for place in layout.entries():
            services.start_entry(lab, place)
        _wait_serving(lab)
    lab = msgspec.structs.replace(lab, phase=Phase.UP, took_s=round(time.monotonic() - began, 3))
    if ssh:
        lab = msgspec.structs.replace(lab, ssh=True)
        sshd.bring_up(lab_dir, lab)
    endpoints.write(lab_dir, lab)
    if state_store:
        statestore.write(lab_dir, lab)
    state.write(lab_dir, lab)
    if lab.buckets:
        progress(f"keys of the buckets: export AWS_SHARED_CREDENTIALS_FILE={buckets.write_credentials(lab_dir)}")
    progress(f"three centres are up and their entries serve, in {lab.took_s:.1f} s")
    return lab


def add_state_store(lab_dir: Path, lab: LabState, progress: Callable[[str], None]) -> LabState:
    """Give a lab that is up a state store.

    Raises:
        Refused: it does not come up; what there is of it goes with `lab down`.
    """
    lab = msgspec.structs.replace(lab, state_store=True)
    postgres.make_folders(lab, layout.state_store())
    Systems(lab, progress).bring_up((layout.STATE,))
    statestore.write(lab_dir, lab)
    state.write(lab_dir, lab)
    return lab


def _prepare(lab_dir: Path, ports: dict[str, int], net: Net, *, state_store: bool, with_buckets: bool) -> LabState:
    """Record the lab before anything of it exists, so that a killed `up` is found again."""
    root = state.data_root(lab_dir)
    account = binaries.account()
    found = binaries.postgres()
    lab = LabState(
        id=state.identity(lab_dir), root=str(root), boot=state.boot_id(), phase=Phase.STARTING, ports=ports,
        started_at=datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        uid=account.uid if account else os.getuid(), gid=account.gid if account else os.getgid(),
        state_store=state_store, net=net, buckets=with_buckets,
        hosts=namespaces.hosts(state.identity(lab_dir)) if net is Net.NAMESPACES else {},
    )  # fmt: skip
    state.write(lab_dir, lab)
    if net is Net.NAMESPACES:
        namespaces.make(lab.id)
    root.mkdir(mode=0o755)
    root.chmod(0o755)
    state.check_room(root)
    lab = msgspec.structs.replace(
        lab,
        bindir=str(binaries.usable_bindir(Path(found.bindir), account, root / "bin")),
        haproxy=str(binaries.haproxy(root / "bin")),
    )
    state.write(lab_dir, lab)
    return lab


def _make_centres(lab: LabState) -> None:
    for centre in layout.CENTRES:
        (Path(lab.root) / centre).mkdir(mode=0o755)


def _make_services(lab: LabState) -> None:
    if lab.net is Net.NAMESPACES:
        services.make_shells(lab)
    postgres.make_folders(lab, lab.databases)
    for place in layout.apps():
        services.make_app(lab, place)
    for place in layout.entries():
        services.make_entry(lab, place)


class Systems:
    """The databases of all systems at once; when one fails or the operator interrupts, the others give up too."""

    def __init__(self, lab: LabState, progress: Callable[[str], None]) -> None:
        self.lab = lab
        self.progress = progress
        self.given_up = threading.Event()

    def bring_up(self, systems: tuple[LabSystem, ...]) -> None:
        """Make, copy and start the systems' databases, and wait until they replicate as declared."""
        with ThreadPoolExecutor(max_workers=len(systems)) as pool:
            try:
                for done in [pool.submit(self._system, system) for system in systems]:
                    done.result()
            except BaseException:
                self.given_up.set()
                raise

    def _system(self, system: LabSystem) -> None:
        try:
            for step in (postgres.configure, postgres.create, postgres.copy, postgres.replicate):
                self._go_on()
                step(self.lab, system)
            self._start(system)
        except BaseException:
            self.given_up.set()
            raise
        self.progress(f"{system.id}: primary {system.primary}, sync {system.sync}, cascaded {system.cascade}")

    def _go_on(self) -> None:
        if self.given_up.is_set():
            raise Refused("given up, because another system failed", hint="see the first error")

    def _start(self, system: LabSystem) -> None:
        places = {c: Place(system=system.id, service="db", centre=c) for c in layout.CENTRES}
        for centre in (system.primary, system.sync, system.cascade):
            postgres.start(self.lab, places[centre])
        for source, target in ((system.primary, system.sync), (system.sync, system.cascade)):
            services.wait_listening(self.lab, places[source], _READY_S)
            self._wait(partial(_add_slot, self.lab, places[source], target), places[source])
        self._wait(partial(_streams, self.lab, places[system.primary], system.sync, "quorum"), places[system.sync])
        self._wait(partial(_streams, self.lab, places[system.sync], system.cascade, "async"), places[system.cascade])

    def _wait(self, holds: Callable[[], bool], place: Place) -> None:
        wait_until(holds, partial(_not_in_time, self.lab, place), self._go_on)


def _not_in_time(lab: LabState, place: Place, why: str) -> Refused:
    return Refused(
        f"{place.id} does not come up within {_READY_S:g} s{why}: {services.last_words(lab, place)}",
        hint=f"its logs lie in {lab.folder(place)}",
    )


def wait_until(holds: Callable[[], bool], late: Callable[[str], Refused], go_on: Callable[[], None]) -> None:
    """Ask again and again until it holds; a database that does not answer counts as `not yet`."""
    import psycopg

    end = time.monotonic() + _READY_S
    last = ""
    while time.monotonic() < end:
        go_on()
        try:
            if holds():
                return
        except psycopg.Error as e:
            last = f" ({str(e).strip().splitlines()[0]})"
        time.sleep(_POLL_S)
    raise late(last)


def _add_slot(lab: LabState, place: Place, name: str) -> bool:
    with postgres.session(lab, place) as session:
        session.execute(
            "SELECT pg_create_physical_replication_slot(%(name)s, true) "
            "WHERE NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = %(name)s)",
            {"name": name},
        )
    return True


def _streams(lab: LabState, place: Place, standby: str, sync_state: str) -> bool:
    with postgres.session(lab, place) as session:
        row = session.execute(
            "SELECT 1 FROM pg_stat_replication WHERE application_name = %s AND state = 'streaming' AND sync_state = %s",
            (standby, sync_state),
        ).fetchone()
    return row is not None


def _wait_serving(lab: LabState) -> None:
    """Wait until every serving app takes writes and every entry answers through one."""
    for place in (*layout.apps(), *layout.entries()):
        services.wait_listening(lab, place, _READY_S)
        if place.service == "entry" or place.centre in layout.system(place.system).serving:
            wait_until(partial(_ready, lab.address(place.id)), partial(_not_in_time, lab, place), lambda: None)


def _ready(address: str) -> bool:
    call = http.client.HTTPConnection(address, timeout=2)
    try:
        call.request("GET", "/ready")
        return call.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        call.close()
