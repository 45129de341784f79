"""The lab's folder: its identity, lock, recorded state, and where data and ports are put.

The identity follows from the folder's path, so that a lab whose records were deleted is still found and cleaned.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import random
import shutil
import socket
import stat
import tempfile
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path

import msgspec

from orchestrator.errors import BadFile, Refused, Usage
from orchestrator.lab import layout
from orchestrator.model.topology import Frozen

STATE = "lab.json"
ENDPOINTS = "endpoints.json"
STATE_STORE = "state.json"
LOCK = "lock"
DATA = "data"
DATA_OVERRIDE = "DRCTL_LAB_DATA"
"""Environment variable: a folder for labs' data, for example one in memory (/dev/shm), where fsync costs nothing."""
NEEDED_BYTES = 1 << 30
"""Free room that `up` asks for: nine small databases with their retained log."""
_LONGEST_ROOT = 56
"""A unix socket's path has at most 107 bytes (sun_path); sockets lie up to 50 characters below the root."""
_PORTS = (15000, 31900)
"""Below the kernel's ephemeral range, so that no outgoing connection takes the port of a stopped database."""


class Phase(StrEnum):
    """How far `up` came."""

    STARTING = "starting"
    UP = "up"


class Net(StrEnum):
    """How the centres are kept apart."""

    RELAYS = "relays"
    """Everything listens on loopback; each connection between centres goes through a port of a relay. Needs no root."""
    NAMESPACES = "namespaces"
    """Each centre has a network of its own, and packets go through a router."""


class LabState(Frozen):
    """What `lab.json` records."""

    id: str
    root: str
    """Folder of all data; one subfolder per centre."""
    boot: str
    """The kernel's boot id: a lab of an earlier boot is stale."""
    phase: Phase
    started_at: str
    uid: int
    """User that the databases run as."""
    gid: int
    bindir: str = ""
    haproxy: str = ""
    ports: Mapping[str, int] = msgspec.field(default_factory=dict)
    """By the names of `layout.port_names`."""
    took_s: float = 0.0
    state_store: bool = False
    """The team's state store is part of the lab."""
    net: Net = Net.RELAYS
    hosts: Mapping[str, str] = msgspec.field(default_factory=dict)
    """Address of each centre and of the edge, where they have their own."""
    buckets: bool = False
    """Each centre has a zone of object storage, and a system keeps objects in it."""
    ssh: bool = False
    """Each centre has an sshd, and Ansible goes through it."""

    @property
    def databases(self) -> tuple[layout.Place, ...]:
        """Every database, those of the state store included where it is there."""
        return (*layout.databases(), *(layout.state_store() if self.state_store else ()))

    @property
    def places(self) -> tuple[layout.Place, ...]:
        """Every instance, those of the state store included where it is there."""
        return (*layout.places(), *(layout.state_store() if self.state_store else ()))

    @property
    def socket(self) -> Path:
        """Control socket of the relays."""
        return Path(self.root) / "edge" / "relay" / "control.sock"

    def folder(self, place: layout.Place) -> Path:
        """Folder of one instance."""
        return Path(self.root) / place.folder

    def address(self, name: str) -> str:
        """host:port of an instance, or of a route to it (`layout.route`)."""
        instance = name.rpartition(">")[2]
        port = self.ports[instance if self.net is Net.NAMESPACES else name]
        return f"{self.host(instance.rpartition('@')[2])}:{port}"

    def host(self, place: str) -> str:
        """Address of a centre, or of the edge."""
        return self.hosts.get(place, layout.HOST)


def identity(lab_dir: Path) -> str:
    """Eight hex digits that name the lab of this folder and user."""
    return hashlib.sha256(f"{os.getuid()}:{lab_dir.resolve()}".encode()).hexdigest()[:8]


def boot_id() -> str:
    """The kernel's id of this boot; empty where it tells none."""
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text().strip() if path.exists() else ""


def data_root(lab_dir: Path) -> Path:
    """Where the data goes: below DRCTL_LAB_DATA; else in the lab's folder; else, where the databases' user could not
    enter that or its sockets' paths would be too long, in the temporary folder.
    """
    if chosen := os.environ.get(DATA_OVERRIDE):
        return Path(chosen).resolve() / f"drctl-lab-{identity(lab_dir)}"
    inside = lab_dir.resolve() / DATA
    too_long = len(str(inside)) > _LONGEST_ROOT
    hidden = os.getuid() == 0 and not traversable(inside.parent)
    return temporary_root(lab_dir) if too_long or hidden else inside


def temporary_root(lab_dir: Path) -> Path:
    """The lab's data folder outside its own folder."""
    return Path(tempfile.gettempdir()).resolve() / f"drctl-lab-{identity(lab_dir)}"


def roots(lab_dir: Path) -> tuple[Path, ...]:
    """Every folder that may hold data of this lab, recorded or not."""
    recorded: tuple[Path, ...] = ()
    with contextlib.suppress(BadFile):
        found = read(lab_dir)
        recorded = (Path(found.root),) if found and _ours(Path(found.root), lab_dir) else ()
    return tuple(dict.fromkeys((lab_dir.resolve() / DATA, temporary_root(lab_dir), data_root(lab_dir), *recorded)))


def _ours(root: Path, lab_dir: Path) -> bool:
    """Whether a recorded folder bears this lab's name, so that a damaged record makes us remove no foreign one."""
    return root.name == f"drctl-lab-{identity(lab_dir)}" or root == lab_dir.resolve() / DATA


def traversable(folder: Path) -> bool:
    """Whether any user can enter the folder, judging by the mode of it and its parents that exist."""
    return all(p.stat().st_mode & stat.S_IXOTH for p in (folder, *folder.parents) if p.exists())


def read(lab_dir: Path) -> LabState | None:
    """The recorded state; None where no lab is recorded.

    Raises:
        BadFile: the record cannot be read as one.
    """
    path = lab_dir / STATE
    try:
        return msgspec.json.decode(path.read_bytes(), type=LabState)
    except FileNotFoundError:
        return None
    except (msgspec.MsgspecError, OSError) as e:
        raise BadFile(f"{path}: not a lab's record: {e}", hint="drctl lab down clears it away") from e


def write(lab_dir: Path, state: LabState) -> None:
    """Replace the record in one move."""
    write_file(lab_dir / STATE, msgspec.json.format(msgspec.json.encode(state), indent=2))


def write_file(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old or the new content and never a part."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.write_bytes(content)
    part.replace(path)


def require(lab_dir: Path) -> LabState:
    """The state of a lab that is up.

    Raises:
        Refused: there is none, or it is still coming up.
    """
    state = read(lab_dir)
    if state is None or state.phase is not Phase.UP:
        raise Refused(f"no lab is up in {lab_dir}", hint="drctl lab up")
    return state


@contextlib.contextmanager
def locked(lab_dir: Path, *, create: bool = True) -> Iterator[None]:
    """Hold the lab's lock; it falls by itself when the holder dies.

    Raises:
        Refused: another `lab up` or `lab down` is at work here.
        Usage: the folder cannot be made.
    """
    try:
        if create:
            lab_dir.mkdir(parents=True, exist_ok=True)
        handle = os.open(lab_dir / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as e:
        raise Usage(f"cannot use {lab_dir} as the lab's folder: {e.strerror}", hint="choose another with --lab") from e
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as e:
        raise Refused(f"another drctl is bringing the lab in {lab_dir} up or down", hint="wait for it to end") from e
    finally:
        os.close(handle)


def check_room(folder: Path) -> None:
    """Refuse to start where the disk has no room for nine databases.

    Raises:
        Refused: less than NEEDED_BYTES are free.
    """
    free = shutil.disk_usage(folder).free
    if free < NEEDED_BYTES:
        raise Refused(
            f"{folder} has {free >> 20} MiB free; the lab needs {NEEDED_BYTES >> 20} MiB",
            hint="free some room, or choose another folder with --lab",
        )


@contextlib.contextmanager
def claimed_ports() -> Iterator[dict[str, int]]:
    """A run of free ports, one for each name of the layout, kept from other labs until the block ends.

    One port more is held open meanwhile: a second lab that looks at the same run sees it taken.

    Raises:
        Refused: no free run was found.
    """
    names = layout.port_names()
    size = len(names) + 1
    starts = list(range(*_PORTS, size))
    random.shuffle(starts)
    for start in starts:
        claim = _claim(start, size)
        if claim is not None:
            with claim:
                yield dict(zip(names, range(start + 1, start + size), strict=True))
            return
    raise Refused(f"no {size} free ports in a row between {_PORTS[0]} and {_PORTS[1]}", hint="drctl lab down others")


def _claim(start: int, size: int) -> socket.socket | None:
    holders: list[socket.socket] = []
    try:
        for port in range(start, start + size):
            holders.append(_bind(port))
        holders[0].listen(1)
        return holders.pop(0)
    except OSError as e:
        if e.errno not in (errno.EADDRINUSE, errno.EACCES):
            raise
        return None
    finally:
        for holder in holders:
            holder.close()


def _bind(port: int) -> socket.socket:
    holder = socket.socket()
    try:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind((layout.HOST, port))
    except OSError:
        holder.close()
        raise
    return holder
