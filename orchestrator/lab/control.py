"""Bringing the lab up and down, and finding out what it is: the public face of the lab.

`up`, `down`, `status` and `processes_of` take the lab's folder; everything else follows from it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from orchestrator.errors import BadFile, PartialState, Refused, Unreadable, Usage
from orchestrator.lab import binaries, endpoints, layout, postgres, processes, services, state
from orchestrator.lab.layout import LabSystem, Place
from orchestrator.lab.processes import Process
from orchestrator.lab.relayctl import Do, RelayOrder, ask
from orchestrator.lab.state import LabState, Phase

Progress = Callable[[str], None]
_READY_S = 30.0
_POLL_S = 0.02


def up(lab_dir: Path, progress: Progress = lambda _: None) -> LabState:
    """Bring the lab up; one that is up already is left as it is.

    What a killed `up`, a reboot or a killed lab left behind in this folder is cleaned away before.

    Raises:
        Usage: the folder holds something that is not a lab.
        Refused: another `up` or `down` is at work, or binaries, ports, disk room or a service would not come;
            whatever had been started is taken down again.
    """
    if not Path("/proc/self/cwd").exists():
        raise Refused("the lab needs Linux and its /proc", hint="run it in a Linux machine or container")
    with state.locked(lab_dir):
        _refuse_foreign(lab_dir)
        found = _read(lab_dir)
        if found is not None and not stale(lab_dir, found):
            progress(f"already up in {lab_dir} (lab {found.id})")
            return found
        if _clear(lab_dir):
            progress("cleaned away what an earlier lab left here")
        try:
            return _bring_up(lab_dir, progress)
        except BaseException:
            _clear(lab_dir)
            raise


def _read(lab_dir: Path) -> LabState | None:
    """The record; one that cannot be read counts as none."""
    with contextlib.suppress(BadFile):
        return state.read(lab_dir)
    return None


def _refuse_foreign(lab_dir: Path) -> None:
    ours = {state.STATE, state.ENDPOINTS, state.LOCK, state.DATA}
    others = [p.name for p in lab_dir.iterdir() if p.name not in ours and not p.name.startswith((".lab.", ".endp"))]
    if others and not (lab_dir / state.STATE).exists():
        raise Usage(f"{lab_dir} holds {others[0]!r} and is no lab's folder", hint="choose an empty or new folder")


def stale(lab_dir: Path, found: LabState) -> bool:
    """Whether a recorded lab is not there any more: half up, of an earlier boot, or without its network."""
    if found.phase is not Phase.UP or found.boot != state.boot_id():
        return True
    return not any(p.program == "orchestrator.lab.relay" for p in services.scan(lab_dir))


def _bring_up(lab_dir: Path, progress: Progress) -> LabState:
    began = time.monotonic()
    with state.claimed_ports() as ports:
        lab = _prepare(lab_dir, ports)
        progress(f"lab {lab.id}: databases from {lab.bindir}, data in {lab.root}")
        services.start_relay(lab)
        _make_services(lab)
        services.start_apps(lab, tuple(layout.apps()))
        progress("relays and nine apps started")
        with ThreadPoolExecutor(max_workers=len(layout.SYSTEMS)) as pool:
            list(pool.map(lambda system: _bring_up_system(lab, system, progress), layout.SYSTEMS))
        for place in layout.entries():
            services.start_entry(lab, place)
        _wait_serving(lab)
    lab = msgspec.structs.replace(lab, phase=Phase.UP, took_s=round(time.monotonic() - began, 3))
    endpoints.write(lab_dir, lab)
    state.write(lab_dir, lab)
    progress(f"three centres are up and their entries serve, in {lab.took_s:.1f} s")
    return lab


def _prepare(lab_dir: Path, ports: dict[str, int]) -> LabState:
    """Record the lab before anything of it exists, so that a killed `up` is found again."""
    root = state.data_root(lab_dir)
    account = binaries.account()
    found = binaries.postgres()
    lab = LabState(
        id=state.identity(lab_dir), root=str(root), boot=state.boot_id(), phase=Phase.STARTING, ports=ports,
        started_at=datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        uid=account.uid if account else os.getuid(), gid=account.gid if account else os.getgid(),
    )  # fmt: skip
    state.write(lab_dir, lab)
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


def _make_services(lab: LabState) -> None:
    for centre in layout.CENTRES:
        (Path(lab.root) / centre).mkdir()
    postgres.make_folders(lab)
    for place in layout.apps():
        services.make_app(lab, place)
    for place in layout.entries():
        services.make_entry(lab, place)


def _bring_up_system(lab: LabState, system: LabSystem, progress: Progress) -> None:
    """Make a system's three databases and wait until they replicate as declared."""
    postgres.configure(lab, system)
    postgres.create(lab, system)
    postgres.copy(lab, system)
    postgres.replicate(lab, system)
    places = {c: Place(system=system.id, service="db", centre=c) for c in layout.CENTRES}
    for centre in (system.primary, system.sync, system.cascade):
        postgres.start(lab, places[centre])
    for source, target in ((system.primary, system.sync), (system.sync, system.cascade)):
        services.wait_listening(lab, places[source], _READY_S)
        _wait(lambda s=source, t=target: _add_slot(lab, places[s], t), f"{places[source].id} takes a slot", lab)
    _wait(lambda: _streams(lab, places[system.primary], system.sync, "quorum"), f"{system.id}: sync standby", lab)
    _wait(lambda: _streams(lab, places[system.sync], system.cascade, "async"), f"{system.id}: cascaded standby", lab)
    progress(f"{system.id}: primary {system.primary}, sync {system.sync}, cascaded {system.cascade}")


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


def _wait(holds: Callable[[], bool], what: str, lab: LabState, within_s: float = _READY_S) -> None:
    import psycopg

    end = time.monotonic() + within_s
    last = ""
    while time.monotonic() < end:
        try:
            if holds():
                return
        except psycopg.Error as e:
            last = f": {e}"
        time.sleep(_POLL_S)
    raise Refused(f"{what}: not after {within_s:g} s{last}", hint=f"the logs lie in {lab.root}")


def _wait_serving(lab: LabState) -> None:
    """Wait until every serving app takes writes and every entry answers through one."""
    for place in layout.apps():
        services.wait_listening(lab, place, _READY_S)
        if place.centre in layout.system(place.system).serving:
            _wait(lambda p=place: _answers(lab.ports[p.id], "/ready"), f"{place.id} takes writes", lab)
    for place in layout.entries():
        services.wait_listening(lab, place, _READY_S)
        _wait(lambda p=place: _answers(lab.ports[p.id], "/ready"), f"{place.id} serves", lab)


def _answers(port: int, path: str) -> bool:
    import http.client

    call = http.client.HTTPConnection(layout.HOST, port, timeout=2)
    try:
        call.request("GET", path)
        return call.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        call.close()


def down(lab_dir: Path, progress: Progress = lambda _: None) -> bool:
    """Take the lab away: processes, shared memory, ports and files; whether there was anything.

    Raises:
        Refused: another `up` or `down` is at work.
        PartialState: a process cannot be ended or a file not removed.
    """
    if not lab_dir.exists() and not services.scan(lab_dir) and not any(r.exists() for r in state.roots(lab_dir)):
        progress(f"no lab in {lab_dir}")
        return False
    with state.locked(lab_dir):
        cleaned = _clear(lab_dir)
        (lab_dir / state.LOCK).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        lab_dir.rmdir()
    progress("the lab is down and nothing of it is left" if cleaned else f"no lab in {lab_dir}")
    return cleaned


def _clear(lab_dir: Path) -> bool:
    """Remove everything of a lab in this folder, recorded or not; whether there was anything."""
    postgres.quit_all(tuple(p for p in services.scan(lab_dir) if not p.frozen))
    killed = processes.kill(lambda: services.scan(lab_dir))
    found = [root for root in state.roots(lab_dir) if root.exists()]
    for root in found:
        postgres.remove_shared_memory(postgres.data_folders(root))
        _remove(root)
    records = [p for p in (lab_dir / state.STATE, lab_dir / state.ENDPOINTS) if p.exists()]
    for path in (*records, *lab_dir.glob(".lab.json.*"), *lab_dir.glob(".endpoints.json.*")):
        path.unlink()
    return bool(killed or found or records)


def _remove(root: Path) -> None:
    try:
        shutil.rmtree(root)
    except OSError as e:
        raise PartialState(f"cannot remove {root}: {e}", hint="remove it by hand, then drctl lab down") from e


def processes_of(lab_dir: Path) -> tuple[Process, ...]:
    """Every living process of the lab."""
    return services.scan(lab_dir)
