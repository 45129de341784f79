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
import time
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from orchestrator.errors import Refused
from orchestrator.lab import layout, namespaces, processes
from orchestrator.lab.listening import listens
from orchestrator.lab.state import LabState

ADMIN_S = 120.0
START_S = 240.0
STOP_S = 15.0
PROGRAMS = ("ceph", "ceph-mon", "ceph-osd", "ceph-authtool", "monmaptool", "radosgw", "radosgw-admin")
PACKAGES = ("ceph-mon", "ceph-osd", "radosgw")
STORAGE = ("mon", "osd")
GATEWAYS = ("rgw", "sync")
REALM, ZONEGROUP = "drctl", "cq"

# A watch must outlive some pings of its client (5 s apart): with 5 s gateways lost theirs all the time, and crashed.
CONF = """
[global]
fsid = {fsid}
mon_host = {monitor}
mon_initial_members = {name}
public_network = {host}/32
public_addr = {host}
cluster_addr = {host}
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
rgw_frontends = beast endpoint={address}
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
rgw_realm = {realm}
rgw_zonegroup = {zonegroup}
rgw_zone = {name}
"""


def missing_programs() -> tuple[str, ...]:
    """Programs of Ceph that are not installed here."""
    return tuple(name for name in PROGRAMS if shutil.which(name) is None)


class Cluster:
    """The cluster and gateways of one zone."""

    def __init__(self, lab: LabState, centre: str) -> None:
        self.name, self.folder = centre, Path(lab.root) / centre / "ceph"
        self.conf = self.folder / "ceph.conf"
        self._host = lab.host(centre)
        address = {what: f"{self._host}:{lab.ports[layout.zone_port(centre, what)]}" for what in layout.ZONE_PORTS}
        self.address = address["rgw"]
        """host:port of the gateway that serves users."""
        self.sync_address = address["sync"]
        """host:port of the gateway that fetches from the other zones."""
        self._monitor = f"[v2:{address['mon2']},v1:{address['mon1']}]"
        self._inside = namespaces.entering(lab, centre)
        self._run = partial(processes.run, lab_id=lab.id, folder=self.folder)
        self._spawn = partial(processes.spawn, lab_id=lab.id, folder=self.folder)

    def make(self) -> None:
        """Lay the cluster down and start it; the gateways come later, once their zone is known."""
        self._prepare()
        self.start("mon")
        osd = str(uuid.uuid4())
        self.ceph("osd", "new", osd)
        self._ceph("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd, "--no-mon-config")
        self.start("osd")

    def _prepare(self) -> None:
        for part in ("run", "log", "mon", "osd", "rgw", "crash"):
            (self.folder / part).mkdir(parents=True)
        fsid = str(uuid.uuid4())
        words = {"name": self.name, "folder": self.folder, "monitor": self._monitor, "address": self.address}
        self.conf.write_text(CONF.format(fsid=fsid, realm=REALM, zonegroup=ZONEGROUP, host=self._host, **words))
        self._keys()
        monmap = str(self.folder / "monmap")
        self._run(["monmaptool", "--create", "--fsid", fsid, "--addv", self.name, self._monitor, monmap])
        self._ceph("ceph-mon", "--mkfs", "-i", self.name, "--monmap", monmap, "--keyring", str(self.folder / "keyring"))

    def _keys(self) -> None:
        """One keyring for all daemons; radosgw asks for cephx whatever its configuration says."""
        ring = ["ceph-authtool", str(self.folder / "keyring"), "--gen-key"]
        every = ["--cap", "mon", "allow *", "--cap", "osd", "allow *"]
        self._run([*ring, "--create-keyring", "-n", "mon.", *every])
        self._run([*ring, "-n", "client.admin", *every])
        self._run([*ring, "-n", "osd.0", "--cap", "mon", "allow profile osd", "--cap", "osd", "allow *"])

    def start(self, *daemons: str) -> None:
        """Start daemons (`mon`, `osd`, `rgw`, `sync`) that do not run, one after the other, and wait for each.

        Raises:
            Refused: one ended, or does not work in its time.
        """
        for daemon in daemons:
            if self.pid(daemon) is None:
                pid = self._spawn([*self._inside, *self.command_of(daemon)], log=self.log(daemon))
                self.pid_file(daemon).write_text(f"{pid}\n")
            self._wait_for(daemon)

    def command_of(self, daemon: str) -> list[str]:
        """The words that start a daemon."""
        commands = {
            "mon": ["ceph-mon", "-i", self.name],
            "osd": ["ceph-osd", "-i", "0"],
            "rgw": ["radosgw", "-n", "client.admin"],
            "sync": [
                "radosgw", "-n", "client.admin", f"--rgw-frontends=beast endpoint={self.sync_address}",
                "--rgw-run-sync-thread=true",
            ],
        }  # fmt: skip
        return [*commands[daemon], "-f", "-c", str(self.conf)]

    def _wait_for(self, daemon: str) -> None:
        if not comes_true(lambda: self._works(daemon) or not self.pid(daemon), START_S, 0.1) or not self.pid(daemon):
            said = self.log(daemon).read_text(errors="replace")[-800:]
            raise Refused(f"{daemon} of zone {self.name} does not come up: {said}", hint=f"logs: {self.folder}/log")

    def _works(self, daemon: str) -> bool:
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

    def ceph(self, *words: str, within_s: float = ADMIN_S) -> Any:
        """A command of `ceph`, its answer as JSON (None where it says nothing that is JSON)."""
        limit = ["--connect-timeout", str(max(1, round(within_s)))]
        return _json(self._ceph("ceph", *limit, *words, "--format", "json", within_s=within_s))

    def admin(self, *words: str, within_s: float = ADMIN_S) -> Any:
        """A command of `radosgw-admin`, its answer as JSON where it is one."""
        return _json(self._ceph("radosgw-admin", *words, within_s=within_s))

    def _ceph(self, program: str, *words: str, within_s: float = ADMIN_S) -> str:
        return self._run([*self._inside, program, "-c", str(self.conf), *words], within_s=within_s).stdout


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
