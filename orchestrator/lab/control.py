"""Bringing the lab up and down, and finding out what it is: the public face of the lab.

`up`, `down`, `status` and `processes` take the lab's folder; everything else follows from it.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path

from orchestrator.errors import BadFile, PartialState, Refused, Usage
from orchestrator.lab import buckets, namespaces, postgres, services, sshd, state
from orchestrator.lab.bringup import add_state_store, bring_up
from orchestrator.lab.processes import Process, kill
from orchestrator.lab.state import LabState, Net, Phase
from orchestrator.lab.status import LabStatus, look

Progress = Callable[[str], None]
RECORDS = (state.STATE, state.ENDPOINTS, state.STATE_STORE, sshd.INVENTORY, buckets.CREDENTIALS)
"""What a lab keeps in its folder beside its lock and its data."""


def up(
    lab_dir: Path,
    progress: Progress = lambda _: None,
    *,
    state_store: bool = False,
    net: Net = Net.RELAYS,
    ssh: bool = False,
    with_buckets: bool = False,
) -> LabState:
    """Bring the lab up; one that is up already is left as it is.

    With `with_buckets` each centre has object storage, of Debian's Ceph. With `state_store` the team's state store is
    part of it; a lab that is up is given one.

    What a killed `up`, a reboot or a killed lab left behind in this folder is cleaned away before.

    Raises:
        Usage: the folder holds something that is not a lab.
        Refused: another `up` or `down` is at work, or binaries, ports, disk room or a service would not come;
            whatever had been started is taken down again.
    """
    if not Path("/proc/self/cwd").exists():
        raise Refused("the lab needs Linux and its /proc", hint="run it in a Linux machine or container")
    if net is Net.NAMESPACES:
        namespaces.refuse_where_impossible()
    if ssh:
        if net is not Net.NAMESPACES:
            raise Usage("on loopback there are no hosts to reach by ssh", hint="--net namespaces --ssh")
        sshd.refuse_where_impossible()
    if with_buckets:
        buckets.refuse_where_impossible()
    with state.locked(lab_dir):
        _refuse_foreign(lab_dir)
        found = _read(lab_dir)
        if found is not None and not stale(lab_dir, found):
            if found.net is not net:
                raise Refused(f"the lab in {lab_dir} is up with --net {found.net}", hint="drctl lab down first")
            if with_buckets and not found.buckets:
                raise Refused(f"the lab in {lab_dir} is up without buckets", hint="drctl lab down first")
            progress(f"already up in {lab_dir} (lab {found.id})")
            return add_state_store(lab_dir, found, progress) if state_store and not found.state_store else found
        if _clear(lab_dir):
            progress("cleaned away what an earlier lab left here")
        try:
            return bring_up(lab_dir, progress, state_store=state_store, net=net, ssh=ssh, with_buckets=with_buckets)
        except BaseException:
            _clear(lab_dir)
            raise


def _read(lab_dir: Path) -> LabState | None:
    """The record; one that cannot be read counts as none."""
    with contextlib.suppress(BadFile):
        return state.read(lab_dir)
    return None


def _refuse_foreign(lab_dir: Path) -> None:
    ours = {*RECORDS, state.LOCK, state.DATA}
    parts = (".lab.", ".endp", ".state.")
    others = [p.name for p in lab_dir.iterdir() if p.name not in ours and not p.name.startswith(parts)]
    if others and not (lab_dir / state.STATE).exists():
        raise Usage(f"{lab_dir} holds {others[0]!r} and is no lab's folder", hint="choose an empty or new folder")


def stale(lab_dir: Path, found: LabState) -> bool:
    """Whether a recorded lab is not there any more: half up, of an earlier boot, or without its network."""
    if found.phase is not Phase.UP or found.boot != state.boot_id():
        return True
    networks = {"orchestrator.lab.relay", "orchestrator.lab.router"}
    return not any(p.program in networks for p in services.scan(lab_dir))


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
    killed = kill(lambda: services.scan(lab_dir))
    networks = namespaces.remove(state.identity(lab_dir))
    found = [root for root in state.roots(lab_dir) if root.exists()]
    for root in found:
        postgres.remove_shared_memory(postgres.data_folders(root))
        _remove(root)
    records = [path for name in RECORDS if (path := lab_dir / name).exists()]
    parts = [p for name in ("lab", "endpoints", "state") for p in lab_dir.glob(f".{name}.json.*")]
    for path in (*records, *parts):
        path.unlink()
    return bool(killed or networks or found or records)


def _remove(root: Path) -> None:
    try:
        shutil.rmtree(root)
    except OSError as e:
        raise PartialState(f"cannot remove {root}: {e}", hint="remove it by hand, then drctl lab down") from e


def status(lab_dir: Path, progress: Progress = lambda _: None) -> LabStatus | None:
    """The lab as it is now, or None where there is none; a stale one is cleaned away.

    Raises:
        PartialState: a stale lab cannot be removed.
    """
    found = _read(lab_dir)
    if found is not None and not stale(lab_dir, found):
        return look(lab_dir, found)
    if found is None and not services.scan(lab_dir):
        return None
    try:
        with state.locked(lab_dir):
            found = _read(lab_dir)
            if found is not None and not stale(lab_dir, found):
                return look(lab_dir, found)
            progress("cleaned away a stale lab: its processes were gone, or its bring-up was killed")
            _clear(lab_dir)
    except Refused:
        return coming_or_going(lab_dir, found) if found else None
    return None


def coming_or_going(lab_dir: Path, found: LabState) -> LabStatus:
    """A lab that another drctl is bringing up or down at this moment."""
    return LabStatus(
        id=found.id, lab_dir=str(lab_dir), root=found.root, phase=Phase.STARTING, started_at=found.started_at,
        processes=services.scan(lab_dir),
    )  # fmt: skip


def processes(lab_dir: Path) -> tuple[Process, ...]:
    """Every living process of the lab."""
    return services.scan(lab_dir)
