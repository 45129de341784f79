"""Databases of the lab: made once per system, copied cold to the other centres, started with settings of their own."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.errors import Refused
from orchestrator.lab import layout, namespaces, processes, schema
from orchestrator.lab.layout import LabSystem, Place
from orchestrator.lab.processes import Account
from orchestrator.lab.state import LabState, Net

if TYPE_CHECKING:
    import psycopg

PGDATA = "pgdata"
CONF = "node.conf"
FENCED = "drctl.fenced"
"""Marker that the fence playbook leaves in pgdata."""
START_S = 30.0

_SHARED = """\
# Settings of one node. The file lies outside pgdata: pg_rewind, which copies the source's files, cannot replace it.
unix_socket_directories = ''
shared_buffers = 16MB
max_connections = 60
superuser_reserved_connections = 20
max_wal_senders = 10
max_replication_slots = 10
max_worker_processes = 4
max_logical_replication_workers = 0
io_method = sync
dynamic_shared_memory_type = mmap
wal_log_hints = on
wal_level = replica
hot_standby = on
hot_standby_feedback = on
min_wal_size = 16MB
max_wal_size = 256MB
max_slot_wal_keep_size = 512MB
wal_sender_timeout = 3s
wal_receiver_timeout = 3s
wal_receiver_status_interval = 1s
wal_retrieve_retry_interval = 100ms
recovery_init_sync_method = syncfs
jit = off
fsync = on
logging_collector = on
log_filename = 'postgresql.log'
log_file_mode = 0644
log_rotation_age = 0
log_rotation_size = 0
log_line_prefix = '%m [%p] '
log_statement = none
"""
_SINGLE = ("--single", "-j", "-c", "exit_on_error=true", "-c", "fsync=off", "-c", "logging_collector=off",
           "-c", "shared_buffers=64MB", "-c", "synchronous_standby_names=")  # fmt: skip


def account_of(state: LabState) -> Account | None:
    """The user that databases run as; None where they run as ourselves."""
    return Account(uid=state.uid, gid=state.gid) if os.getuid() == 0 else None


def pgdata(state: LabState, place: Place) -> Path:
    """A database's folder."""
    return state.folder(place) / PGDATA


def conf(state: LabState, place: Place) -> Path:
    """The file of a node's own settings."""
    return state.folder(place) / CONF


def make_folders(state: LabState, places: Iterable[Place]) -> None:
    """The nodes' folders, owned by the databases' user, which others may enter."""
    for place in places:
        folder = state.folder(place)
        folder.mkdir(parents=True, mode=0o755, exist_ok=True)
        (folder / "log").mkdir(mode=0o755)
        own(folder, state)
        own(folder / "log", state)


def own(path: Path, state: LabState) -> None:
    """Give a file or folder to the databases' user where we are root."""
    if os.getuid() == 0:
        os.chown(path, state.uid, state.gid)


def create(state: LabState, system: LabSystem) -> None:
    """initdb, schema and data of a system's primary; the server is not running afterwards.

    The nodes' settings come first: a standby refuses to start below what its primary's control file says.
    """
    place = Place(system=system.id, service="db", centre=system.primary)
    folder = pgdata(state, place)
    _run(state, place, ["initdb", "-D", str(folder), "-U", layout.SUPERUSER, "-A", "trust", "-E", "UTF8", "-N",
                        "--no-instructions", "--wal-segsize=4", "--locale-provider=builtin", "--builtin-locale=C.UTF-8",
                        "-c", "io_method=sync", "-c", "dynamic_shared_memory_type=mmap"])  # fmt: skip
    (folder / "postgresql.conf").write_text(f"include_if_exists '../{CONF}'\n")
    (folder / "pg_hba.conf").write_text(_clients(state))
    single = ["postgres", *_SINGLE, "-D", str(folder)]
    _run(state, place, [*single, layout.SUPERUSER], schema.CREATE_DATABASE)
    _run(state, place, [*single, layout.DATABASE], schema.seed(system.id))


def _clients(state: LabState) -> str:
    """Whoever is in the lab's network is trusted; and on loopback, where a drill's clone is asked."""
    nets = [f"{layout.HOST}/32", *([namespaces.subnet(state.hosts)] if state.hosts else [])]
    return "".join(f"host {scope} all {net} trust\n" for net in nets for scope in ("all", "replication"))


def _run(state: LabState, place: Place, command: list[str], stdin: str = "") -> str:
    program = str(Path(state.bindir) / command[0])
    folder = state.folder(place)
    words = [program, *command[1:]]
    return processes.run(words, lab_id=state.id, folder=folder, account=account_of(state), stdin=stdin).stdout


def copy(state: LabState, system: LabSystem) -> None:
    """Cold copies of a stopped primary for the two other centres, as standbys."""
    primary = Place(system=system.id, service="db", centre=system.primary)
    for centre in (system.sync, system.cascade):
        place = Place(system=system.id, service="db", centre=centre)
        command = ["cp", "-a", str(pgdata(state, primary)), str(pgdata(state, place))]
        processes.run(command, lab_id=state.id, folder=state.folder(place), account=account_of(state))


def configure(state: LabState, system: LabSystem) -> None:
    """Each node's own settings, in a file outside its data."""
    for centre in layout.CENTRES:
        place = Place(system=system.id, service="db", centre=centre)
        settings = [
            f"listen_addresses = '{state.host(centre)}'",
            f"port = {state.ports[place.id]}",
            f"cluster_name = '{place.id}'",
            f"log_directory = '{state.folder(place) / 'log'}'",
        ]
        _write(conf(state, place), _SHARED + "\n".join(settings) + "\n", state)


def replicate(state: LabState, system: LabSystem) -> None:
    """Each node's place in the replication, written where ALTER SYSTEM writes it."""
    for centre in layout.CENTRES:
        place = Place(system=system.id, service="db", centre=centre)
        auto = pgdata(state, place) / "postgresql.auto.conf"
        _write(auto, _replication(state, system, centre), state)
        if system.source_of(centre):
            _write(pgdata(state, place) / "standby.signal", "", state)


def _replication(state: LabState, system: LabSystem, centre: str) -> str:
    source = system.source_of(centre)
    if not source:
        return f"synchronous_standby_names = 'ANY 1 ({system.sync})'\n"
    target = Place(system=system.id, service="db", centre=source).id
    host, _, port = state.address(layout.route(centre, target)).partition(":")
    conninfo = f"host={host} port={port} user={layout.SUPERUSER} application_name={centre}"
    return f"primary_conninfo = '{conninfo}'\nprimary_slot_name = '{centre}'\n"


def _write(path: Path, text: str, state: LabState) -> None:
    path.write_text(text)
    path.chmod(0o644 if path.name == CONF else 0o600)
    own(path, state)


def start(state: LabState, place: Place) -> int:
    """Start a server of which no process lives, without waiting for it; the postmaster's pid.

    The pid file of a killed one is removed: while init has not reaped it, PostgreSQL would take it for living.

    Raises:
        Refused: the instance is fenced.
    """
    folder = pgdata(state, place)
    if (folder / FENCED).exists():
        raise Refused(f"{place.id} is fenced", hint="unfence or rejoin it first")
    (folder / "postmaster.pid").unlink(missing_ok=True)
    program = str(Path(state.bindir) / "postgres")
    log = state.folder(place) / "log" / "start.log"
    command, account = [program, "-D", str(folder)], account_of(state)
    if state.net is Net.NAMESPACES:
        command, account = [*namespaces.inside(state.id, place.centre, account), *command], None
    return processes.spawn(command, lab_id=state.id, folder=state.folder(place), log=log, account=account)


def stop(state: LabState, place: Place) -> None:
    """Stop a server as an administrator would; at once where it does not end within 5 s."""
    for mode in ("fast", "immediate"):
        with contextlib.suppress(Refused):
            _run(state, place, ["pg_ctl", "stop", "-D", str(pgdata(state, place)), "-m", mode, "-t", "5"])
            return


def was_primary(state: LabState, place: Place) -> bool:
    """Whether a server that is not running would start as a primary."""
    folder = pgdata(state, place)
    return (folder / "PG_VERSION").exists() and not (folder / "standby.signal").exists()


def timeline(state: LabState, place: Place) -> int:
    """The timeline of the last checkpoint in a data folder; 0 where it cannot be read.

    A promoted server's checkpoint may come after its death: the newest history file in its log counts too.
    """
    folder = pgdata(state, place)
    histories = [int(p.name[:8], 16) for p in (folder / "pg_wal").glob("????????.history")]
    with contextlib.suppress(Refused):
        told = _run(state, place, ["pg_controldata", "-D", str(folder)])
        found = re.search(r"Latest checkpoint's TimeLineID:\s+(\d+)", told)
        return max([int(found[1]) if found else 0, *histories])
    return max([0, *histories])


def log_tail(state: LabState, place: Place) -> str:
    """The last words of a server's log."""
    for name in ("postgresql.log", "start.log"):
        path = state.folder(place) / "log" / name
        with contextlib.suppress(OSError):
            lines = path.read_text(errors="replace").splitlines()
            telling = [line for line in lines if "FATAL" in line or "ERROR" in line or "PANIC" in line]
            if lines:
                return (telling or lines)[-1]
    return "no log"


@contextlib.contextmanager
def session(state: LabState, place: Place, within_s: float = 2.0) -> Iterator[psycopg.Connection[Any]]:
    """A superuser's connection, as the operator has it (no relay between); bounded by `within_s` seconds."""
    import psycopg

    with psycopg.connect(
        host=state.host(place.centre), port=state.ports[place.id], user=layout.SUPERUSER, dbname=layout.DATABASE,
        autocommit=True, connect_timeout=max(2, round(within_s)), application_name="drctl-lab",
        options=f"-c statement_timeout={round(within_s * 1000)}",
    ) as connection:  # fmt: skip
        yield connection


def answers(state: LabState, place: Place) -> bool:
    """Whether a server takes connections, or denies them for good; not while it starts up."""
    import psycopg

    try:
        with session(state, place):
            return True
    except psycopg.OperationalError as e:
        return "pg_hba.conf" in str(e)


def remove_shared_memory(folders: Iterator[Path]) -> list[int]:
    """Remove the System V segments that killed postmasters left; their ids.

    PostgreSQL derives a segment's key from the inode of its data folder (src/backend/port/sysv_shmem.c), which is
    how a leftover is told from a foreign one. One that a process still uses is left alone.
    """
    table = Path("/proc/sysvipc/shm")
    if not table.exists():
        return []
    keys = {folder.stat().st_ino & 0xFFFFFFFF for folder in folders}
    rows = [line.split() for line in table.read_text().splitlines()[1:]]
    left = [int(r[1]) for r in rows if int(r[0]) & 0xFFFFFFFF in keys and r[6] == "0"]
    for shmid in left:
        _remove_segment(shmid)
    return left


def _remove_segment(shmid: int) -> None:
    import ctypes

    ipc_rmid = 0
    ctypes.CDLL(None, use_errno=True).shmctl(shmid, ipc_rmid, None)


def data_folders(root: Path) -> Iterator[Path]:
    """Every PostgreSQL data folder below `root`, clones that a drill made included."""
    for folder, below, files in os.walk(root):
        if "PG_VERSION" in files and "global" in below:
            below.clear()
            yield Path(folder)


def quit_all(found: tuple[processes.Process, ...]) -> None:
    """Ask every postmaster for an immediate shutdown, which removes its shared memory."""
    masters = [p for p in found if p.program == "postgres" and "-D" in p.arguments]
    processes.send(masters, signal.SIGQUIT)
