"""One Ceph cluster and its gateways, real and small: a monitor, an OSD on a sparse file and two radosgw.

Users' requests go to one gateway (`rgw`), and another (`sync`) fetches from the other zones: so a zone can be cut off
from them while its users are served. Daemons are found again by their pid files, whoever started them. Every call has a
time-out, for a cluster without its OSD answers nothing. All files, sockets and logs lie in one folder.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from orchestrator.errors import Refused

ADMIN_S = 120.0
START_S = 240.0
STOP_S = 15.0
PROGRAMS = ("ceph", "ceph-mon", "ceph-osd", "ceph-authtool", "monmaptool", "radosgw", "radosgw-admin")
PACKAGES = ("ceph-mon", "ceph-osd", "radosgw")
GATEWAYS = ("rgw", "sync")
Spawn = Callable[[Sequence[str], Path, Path], int]
"""Starts a command (words, folder, log) that outlives us; its pid."""

CONF = """
[global]
fsid = {fsid}
mon_host = [v2:127.0.0.1:{mon2},v1:127.0.0.1:{mon1}]
mon_initial_members = {name}
public_network = 127.0.0.0/8
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
run_dir = {folder}/run
admin_socket = {folder}/run/$name.$pid.asok
log_file = {folder}/log/$name.log
pid_file =
mon_data = {folder}/mon
osd_data = {folder}/osd
mgr_data = {folder}/mgr
rgw_data = {folder}/rgw
crash_dir = {folder}/crash
keyring = {folder}/keyring
mon_allow_pool_size_one = true
mon_warn_on_pool_no_redundancy = false
mon_osd_min_down_reporters = 1
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 8
osd_pool_default_pgp_num = 8
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
osd_fast_shutdown = false
osd_objectstore = bluestore
osd_memory_target = 939524096
osd_op_num_shards = 2
osd_class_load_list = *
osd_class_default_list = *
bluestore_block_path =
bluestore_block_size = 17179869184
bluestore_block_create = true
bluestore_cache_autotune = false
bluestore_cache_size = 50331648
bluestore_rocksdb_options_annex = write_buffer_size=16777216,max_write_buffer_number=2
debug_ms = 0
debug_rgw = 0/0
debug_rgw_sync = 0/0
debug_mon = 0/0
debug_osd = 0/0
debug_bluestore = 0/0
debug_rocksdb = 0/0
client_mount_timeout = 20
rados_mon_op_timeout = 20
rados_osd_op_timeout = 20
rgw_frontends = beast endpoint=127.0.0.1:{http}
rgw_run_sync_thread = false
rgw_thread_pool_size = 48
rgw_num_rados_handles = 1
osd_client_watch_timeout = 15
rgw_enable_usage_log = false
rgw_cache_enabled = true
rgw_dynamic_resharding = false
rgw_override_bucket_index_max_shards = 4
rgw_md_log_max_shards = 4
rgw_data_log_num_shards = 4
rgw_data_log_window = 2
rgw_sync_lease_period = 20
rgw_data_sync_poll_interval = 2
rgw_meta_sync_poll_interval = 2
rgw_gc_max_objs = 1
rgw_lc_max_objs = 1
rgw_objexp_hints_num_shards = 1
rgw_realm = drctl
rgw_zonegroup = cq
rgw_zone = {name}
"""


def missing_programs() -> tuple[str, ...]:
    """Programs of Ceph that are not installed here."""
    return tuple(name for name in PROGRAMS if shutil.which(name) is None)


class Cluster:
    """The cluster and gateways of one zone."""

    def __init__(self, name: str, folder: Path, spawn: Spawn) -> None:
        self.name, self.folder = name, folder
        self._spawn = spawn

    @property
    def ports(self) -> dict[str, int]:
        """Port of each gateway, as laid down by `prepare`."""
        found: dict[str, int] = json.loads((self.folder / "ports.json").read_text())
        return found

    @property
    def endpoint(self) -> str:
        """URL of the gateway."""
        return f"http://{self.address}"

    @property
    def address(self) -> str:
        """host:port of the gateway."""
        return f"127.0.0.1:{self.ports['rgw']}"

    @property
    def sync_address(self) -> str:
        """host:port of the gateway that fetches from the other zones."""
        return f"127.0.0.1:{self.ports['sync']}"

    @property
    def conf(self) -> Path:
        return self.folder / "ceph.conf"

    def prepare(self) -> None:
        """Lay down configuration and monitor; nothing runs yet."""
        for part in ("run", "log", "mon", "osd", "rgw", "crash"):
            (self.folder / part).mkdir(parents=True, exist_ok=True)
        mon2, mon1, http, sync = free_ports(4)
        (self.folder / "ports.json").write_text(json.dumps({"rgw": http, "sync": sync}))
        fsid = str(uuid.uuid4())
        words = {"name": self.name, "folder": self.folder, "mon1": mon1, "mon2": mon2, "http": http}
        self.conf.write_text(CONF.format(fsid=fsid, **words))
        self._keys()
        monmap = str(self.folder / "monmap")
        addresses = f"[v2:127.0.0.1:{mon2},v1:127.0.0.1:{mon1}]"
        command(["monmaptool", "--create", "--clobber", "--fsid", fsid, "--addv", self.name, addresses, monmap])
        self._ceph("ceph-mon", "--mkfs", "-i", self.name, "--monmap", monmap, "--keyring", str(self.folder / "keyring"))

    def _keys(self) -> None:
        """One keyring for all daemons; radosgw asks for cephx whatever its configuration says."""
        ring = ["ceph-authtool", str(self.folder / "keyring"), "--gen-key"]
        every = ["--cap", "mon", "allow *", "--cap", "osd", "allow *"]
        command([*ring, "--create-keyring", "-n", "mon.", *every])
        command([*ring, "-n", "client.admin", *every])
        command([*ring, "-n", "osd.0", "--cap", "mon", "allow profile osd", "--cap", "osd", "allow *"])

    def create_osd(self) -> None:
        """Lay down the OSD; the gateway comes later, once its zone is known."""
        osd = str(uuid.uuid4())
        self.ceph("osd", "new", osd)
        self._ceph("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd, "--no-mon-config")

    def start(self, *daemons: str) -> None:
        """Start daemons (`mon`, `osd`, `rgw`, `sync`) that do not run, one after the other, and wait for each."""
        for daemon in daemons:
            self.launch(daemon)
            self.wait_for(daemon)

    def launch(self, daemon: str) -> None:
        """Start a daemon that does not run."""
        if self.pid(daemon) is None:
            words = [*self.command_of(daemon), "-f", "-c", str(self.conf)]
            pid = self._spawn(words, self.folder, self.log(daemon))
            self.pid_file(daemon).write_text(f"{pid}\n")

    def command_of(self, daemon: str) -> list[str]:
        """The words that start a daemon, without its configuration."""
        commands = {
            "mon": ["ceph-mon", "-i", self.name],
            "osd": ["ceph-osd", "-i", "0"],
            "rgw": ["radosgw", "-n", "client.admin"],
            "sync": [
                "radosgw", "-n", "client.admin", f"--rgw-frontends=beast endpoint={self.sync_address}",
                "--rgw-run-sync-thread=true",
            ],
        }  # fmt: skip
        return commands[daemon]

    def wait_for(self, daemon: str) -> None:
        """Wait until a daemon works.

        Raises:
            Refused: it ended, or did not in its time.
        """
        if not comes_true(lambda: self.works(daemon) or not self.pid(daemon), START_S, 0.1) or not self.pid(daemon):
            said = self.log(daemon).read_text(errors="replace")[-800:]
            raise Refused(f"{daemon} of zone {self.name} does not come up: {said}", hint=f"logs: {self.folder}/log")

    def works(self, daemon: str) -> bool:
        """Whether a daemon answers as it should."""
        match daemon:
            case "mon":
                return self._mon_up()
            case "osd":
                return self._osd_up()
            case _:
                return listens(self.address if daemon == "rgw" else self.sync_address)

    def _mon_up(self) -> bool:
        with contextlib.suppress(Refused):
            return bool(self.ceph("quorum_status", within_s=5.0)["quorum"])
        return False

    def _osd_up(self) -> bool:
        with contextlib.suppress(Refused):
            return bool(self.ceph("osd", "stat", within_s=5.0)["num_up_osds"] == 1)
        return False

    def log(self, daemon: str) -> Path:
        """What a daemon says on its way up."""
        return self.folder / "log" / f"{daemon}.out"

    def pid_file(self, daemon: str) -> Path:
        """Holds a daemon's pid: it may be started by an operator's command, past us."""
        return self.folder / f"{daemon}.pid"

    def pid(self, daemon: str) -> int | None:
        """The pid of a daemon that runs, whoever started it."""
        with contextlib.suppress(OSError, ValueError):
            pid = int(self.pid_file(daemon).read_text())
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX":
                return None
            words = Path(f"/proc/{pid}/cmdline").read_bytes()  # none for a moment while one program becomes another
            return pid if not words or str(self.conf).encode() in words else None
        return None

    def end(self, *daemons: str, number: signal.Signals = signal.SIGKILL) -> None:
        """End daemons and wait for their end; what does not end in its time is killed.

        Raises:
            Refused: one does not even end then.
        """
        running = [(d, pid) for d in daemons if (pid := self.pid(d)) is not None]
        for daemon, pid in running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
            if comes_true(lambda d=daemon: self.pid(d) is None, STOP_S, 0.05):  # type: ignore[misc]
                continue
            if number is signal.SIGKILL:
                raise Refused(f"{daemon} {pid} of zone {self.name} does not end")
            self.end(daemon)

    def lose(self) -> None:
        """The zone is gone at once, as by a power cut."""
        self.end(*GATEWAYS, "osd", "mon")

    def restart(self) -> None:
        """The storage comes back after `lose`; the gateways do not, for that is a decision."""
        self.start("mon", "osd")

    def down(self) -> None:
        """End everything."""
        self.end(*GATEWAYS)
        self.end("osd", "mon", number=signal.SIGTERM)

    def ceph(self, *words: str, within_s: float = ADMIN_S) -> Any:
        """A command of `ceph`, its answer as JSON (None where it says nothing that is JSON)."""
        limit = ["--connect-timeout", str(max(1, round(within_s)))]
        return _json(self._ceph("ceph", *limit, *words, "--format", "json", within_s=within_s))

    def admin(self, *words: str, within_s: float = ADMIN_S) -> Any:
        """A command of `radosgw-admin`, its answer as JSON where it is one."""
        return _json(self._ceph("radosgw-admin", *words, within_s=within_s))

    def _ceph(self, program: str, *words: str, within_s: float = ADMIN_S) -> str:
        return command([program, "-c", str(self.conf), *words], within_s)


def listens(address: str) -> bool:
    """Whether something takes connections at host:port."""
    host, _, port = address.partition(":")
    with contextlib.suppress(OSError), socket.create_connection((host, int(port)), 1.0):
        return True
    return False


def comes_true(holds: Callable[[], bool], within_s: float, pause_s: float) -> bool:
    """Whether a condition holds within `within_s` seconds; asked anew `pause_s` after each answer."""
    until = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > until:
            return False
        time.sleep(pause_s)
    return True


def _json(text: str) -> Any:
    with contextlib.suppress(json.JSONDecodeError):
        return json.loads(text)
    return None


def command(words: list[str], within_s: float = ADMIN_S) -> str:
    """Standard output of a command.

    Raises:
        Refused: it failed, or took longer than its bound.
    """
    try:
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=within_s, check=False
        )
    except subprocess.TimeoutExpired as e:
        raise Refused(f"{' '.join(words[:6])}: not done within {within_s:g} s") from e
    if done.returncode != 0:
        raise Refused(f"{' '.join(words)}: {done.stderr.strip()[-600:]}")
    return done.stdout


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listens on; below the range that the system gives to clients."""
    found: list[int] = []
    port = 21_000 + (os.getpid() * 37 + time.monotonic_ns() // 1000) % 9_000
    while len(found) < count:
        port += 1
        with socket.socket() as tried:
            try:
                tried.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
    return found
