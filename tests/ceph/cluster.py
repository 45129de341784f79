"""One Ceph cluster and its gateway, real and small: a monitor, an OSD on a sparse file and radosgw, as our processes.

Every call has a time-out, for a cluster without its OSD answers nothing. All files, sockets and logs lie in one folder.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

ADMIN_S = 120.0
START_S = 240.0
STOP_S = 15.0
_DIE_WITH_US = ("setpriv", "--pdeathsig", "KILL")
"""A daemon is killed when the thread ends that started it: nothing is left behind a killed test run."""

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
rgw_thread_pool_size = 48
rgw_num_rados_handles = 1
rgw_enable_usage_log = false
rgw_cache_enabled = true
rgw_dynamic_resharding = false
rgw_override_bucket_index_max_shards = 4
rgw_md_log_max_shards = 4
rgw_data_log_num_shards = 4
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


class CephError(Exception):
    """A command of Ceph failed or did not end in its time."""


class Cluster:
    """The cluster and gateway of one zone."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, folder
        self.http = 0
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def endpoint(self) -> str:
        """URL of the gateway."""
        return f"http://127.0.0.1:{self.http}"

    @property
    def address(self) -> str:
        """host:port of the gateway."""
        return f"127.0.0.1:{self.http}"

    @property
    def conf(self) -> Path:
        return self.folder / "ceph.conf"

    def prepare(self) -> None:
        """Lay down configuration and monitor; nothing runs yet."""
        for part in ("run", "log", "mon", "osd", "rgw", "crash"):
            (self.folder / part).mkdir(parents=True, exist_ok=True)
        mon2, mon1, self.http = free_ports(3)
        fsid = str(uuid.uuid4())
        words = {"name": self.name, "folder": self.folder, "mon1": mon1, "mon2": mon2, "http": self.http}
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
        """Start daemons (`mon`, `osd`, `rgw`) that do not run, one after the other, and wait until each works."""
        for daemon in daemons:
            self.launch(daemon)
            self.wait_for(daemon)

    def launch(self, daemon: str, *words: str) -> None:
        """Start a daemon that does not run, by the thread that shall outlive it: it is killed with that one."""
        if not self.runs(daemon):
            log = (self.folder / "log" / f"{daemon}.out").open("ab")
            self._daemons[daemon] = subprocess.Popen(
                [*_DIE_WITH_US, *_COMMANDS[daemon](self.name), "-f", "-c", str(self.conf), *words],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                cwd=self.folder,
            )  # fmt: skip
            log.close()
            if daemon == "rgw":
                self.pid_file.write_text(f"{self._daemons[daemon].pid}\n")

    def wait_for(self, daemon: str) -> None:
        """Wait until a daemon works.

        Raises:
            CephError: it ended, or did not in its time.
        """
        checks = {"mon": self._mon_up, "osd": self._osd_up, "rgw": self.answers}
        if not comes_true(lambda: checks[daemon]() or not self.runs(daemon), START_S, 0.1) or not self.runs(daemon):
            said = (self.folder / "log" / f"{daemon}.out").read_text(errors="replace")[-800:]
            raise CephError(f"{daemon} of zone {self.name} did not come up: {said}")

    def _mon_up(self) -> bool:
        with contextlib.suppress(CephError):
            return bool(self.ceph("quorum_status", within_s=5.0)["quorum"])
        return False

    def _osd_up(self) -> bool:
        with contextlib.suppress(CephError):
            return bool(self.ceph("osd", "stat", within_s=5.0)["num_up_osds"] == 1)
        return False

    @property
    def pid_file(self) -> Path:
        """Holds the gateway's pid: it may be started by an operator's command, past us."""
        return self.folder / "rgw.pid"

    def gateway(self) -> int | None:
        """The pid of the gateway that runs, whoever started it."""
        with contextlib.suppress(OSError, ValueError):
            pid = int(self.pid_file.read_text())
            name = Path(f"/proc/{pid}/cmdline").read_bytes()
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            return pid if b"radosgw" in name and state != "Z" else None
        return None

    def answers(self) -> bool:
        """Whether the gateway takes connections."""
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.http), 1.0):
            return True
        return False

    def runs(self, daemon: str) -> bool:
        """Whether a daemon of ours runs."""
        process = self._daemons.get(daemon)
        return process is not None and process.poll() is None

    def pid(self, daemon: str) -> int:
        """Process id of a daemon that runs."""
        return self._daemons[daemon].pid

    def end_gateway(self) -> None:
        """Kill the gateway, whoever started it."""
        if (pid := self.gateway()) is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            if not comes_true(lambda: self.gateway() is None, STOP_S, 0.05):
                raise CephError(f"radosgw {pid} of zone {self.name} does not end")
            if (ours := self._daemons.get("rgw")) is not None and ours.pid == pid:
                ours.wait(STOP_S)  # it has no command line any more before it has ended

    def stop(self, *daemons: str, number: signal.Signals = signal.SIGTERM) -> None:
        """End daemons and wait for their end; what does not end in its time is killed."""
        for daemon in daemons:
            process = self._daemons.pop(daemon, None)
            if process is None or process.poll() is not None:
                continue
            process.send_signal(number)
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(STOP_S)

    def lose(self) -> None:
        """The zone is gone at once, as by a power cut."""
        self.end_gateway()
        self.stop("rgw", "osd", "mon", number=signal.SIGKILL)

    def restart(self) -> None:
        """The storage comes back after `lose`; the gateway does not, for that is a decision."""
        self.start("mon", "osd")

    def down(self) -> None:
        """End everything."""
        self.end_gateway()
        self.stop("rgw", "osd", "mon")

    def ceph(self, *words: str, within_s: float = ADMIN_S) -> Any:
        """A command of `ceph`, its answer as JSON (None where it says nothing that is JSON)."""
        limit = ["--connect-timeout", str(max(1, round(within_s)))]
        return _json(self._ceph("ceph", *limit, *words, "--format", "json", within_s=within_s))

    def admin(self, *words: str, within_s: float = ADMIN_S) -> Any:
        """A command of `radosgw-admin`, its answer as JSON where it is one."""
        return _json(self._ceph("radosgw-admin", *words, within_s=within_s))

    def _ceph(self, program: str, *words: str, within_s: float = ADMIN_S) -> str:
        return command([program, "-c", str(self.conf), *words], within_s)


_COMMANDS: dict[str, Callable[[str], list[str]]] = {
    "mon": lambda name: ["ceph-mon", "-i", name],
    "osd": lambda _: ["ceph-osd", "-i", "0"],
    "rgw": lambda _: ["radosgw", "-n", "client.admin"],
}


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
        CephError: it failed, or took longer than its bound.
    """
    try:
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=within_s, check=False
        )
    except subprocess.TimeoutExpired as e:
        raise CephError(f"{' '.join(words[:6])}: not done within {within_s:g} s") from e
    if done.returncode != 0:
        raise CephError(f"{' '.join(words)}: {done.stderr.strip()[-600:]}")
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
