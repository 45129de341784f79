"""A network namespace for each centre (`drctl lab up --net namespaces`): Linux, root, iproute2 and util-linux.

Every centre has an address of its own; packets between centres go through one process (`lab.router`), which delays,
drops and narrows them, so that a cut is what TCP really meets. The entries, the canary and drctl stand outside, in the
machine's own namespace, at the edge's address.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from orchestrator.errors import PartialState, Refused
from orchestrator.lab import layout
from orchestrator.lab.processes import Account
from orchestrator.lab.state import LabState, Net
from orchestrator.model.topology import EDGE

FOLDER = Path("/run/netns")
TUN = Path("/dev/net/tun")
_LAST = {EDGE: 1} | {centre: 11 + n for n, centre in enumerate(layout.CENTRES)}
"""Last number of each place's address."""
_WITHIN_S = 10.0
_CLONE_NEWNET = 0x40000000


def refuse_where_impossible() -> None:
    """Say what is missing for a lab in namespaces.

    Raises:
        Refused: no root, no TUN device, or a program is not there.
    """
    missing = [name for name in ("ip", "nsenter") if shutil.which(name) is None]
    if os.getuid() != 0:
        raise Refused("a lab in network namespaces needs root", hint="`--net relays` needs none")
    if not TUN.exists():
        raise Refused(f"this machine has no {TUN}", hint="load the kernel's module `tun`, or take `--net relays`")
    if missing:
        raise Refused(f"{' and '.join(missing)} not found", hint="install iproute2 and util-linux")


def hosts(lab_id: str) -> Mapping[str, str]:
    """The address of each centre and of the edge; a lab has a /24 of its own, by its id."""
    second, third = int(lab_id[:2], 16), int(lab_id[2:4], 16)
    return {place: f"10.{second}.{third}.{last}" for place, last in _LAST.items()}


def subnet(found: Mapping[str, str]) -> str:
    """The lab's network."""
    return found[EDGE].rpartition(".")[0] + ".0/24"


def name(lab_id: str, centre: str) -> str:
    """Of a centre's namespace."""
    return f"drctl-{lab_id}-{centre}"


def device(lab_id: str) -> str:
    """Of the edge's end, in the machine's own namespace (at most 15 characters)."""
    return f"drctl{lab_id}"


def make(lab_id: str) -> None:
    """Make the centres' namespaces, each with its own loopback.

    Raises:
        Refused: the machine does not let us.
    """
    for centre in layout.CENTRES:
        _ip("netns", "add", name(lab_id, centre))
        _ip("-n", name(lab_id, centre), "link", "set", "lo", "up")


def attach(tun: str, address: str, netns: str = "") -> None:
    """Give a TUN device its address and set it up.

    Raises:
        Refused: the machine does not let us.
    """
    where = ("-n", netns) if netns else ()
    _ip(*where, "addr", "add", f"{address}/24", "dev", tun)
    _ip(*where, "link", "set", tun, "up", "mtu", str(MTU))


MTU = 8960
"""Fewer packets than 1,500 bytes would make, and still many for a stream of log."""


def remove(lab_id: str) -> bool:
    """Remove what there is of a lab's namespaces; whether there was anything.

    Raises:
        PartialState: one cannot be removed.
    """
    found = [n for c in layout.CENTRES if (FOLDER / (n := name(lab_id, c))).exists()]
    for one in found:
        try:
            _ip("netns", "del", one)
        except Refused as e:
            raise PartialState(f"cannot remove the namespace {one}: {e.message}", hint=f"ip netns del {one}") from e
    return bool(found)


def inside(lab_id: str, centre: str, account: Account | None = None) -> tuple[str, ...]:
    """Words before a command that make it run in a centre's namespace, as another user where one is named."""
    user = (f"--setuid={account.uid}", f"--setgid={account.gid}") if account else ()
    return ("nsenter", f"--net={FOLDER / name(lab_id, centre)}", *user, "--")


def entering(lab: LabState, centre: str) -> tuple[str, ...]:
    """As `inside`; nothing where the lab's centres have no networks of their own."""
    return inside(lab.id, centre) if lab.net is Net.NAMESPACES else ()


@contextlib.contextmanager
def standing_in(lab_id: str, centre: str) -> Iterator[None]:
    """What this thread opens within the block belongs to a centre's network (setns(2); Python has it from 3.12 on)."""
    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    other = os.open(FOLDER / name(lab_id, centre), os.O_RDONLY | os.O_CLOEXEC)
    try:
        _enter(other)
        yield
    finally:
        _enter(own)
        os.close(own)
        os.close(other)


def _enter(opened: int) -> None:
    if ctypes.CDLL(None, use_errno=True).setns(opened, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), f"setns: {os.strerror(ctypes.get_errno())}")


def members(lab_id: str, centre: str) -> frozenset[int]:
    """Every process in a centre's network, by its number; none where there is no such network."""
    if not (FOLDER / name(lab_id, centre)).exists():
        return frozenset()
    done = subprocess.run(
        ["ip", "netns", "pids", name(lab_id, centre)], capture_output=True, text=True, timeout=_WITHIN_S, check=False
    )
    return frozenset(map(int, done.stdout.split()))


def write_shell(path: Path, lab_id: str, centre: str) -> None:
    """A shell that works in a centre: what Ansible runs on this host, it runs there."""
    path.write_text(f'#!/bin/sh\nexec {shlex.join(inside(lab_id, centre))} /bin/sh "$@"\n')
    path.chmod(0o755)


def _ip(*words: str) -> None:
    command: Sequence[str] = ("ip", *words)
    with contextlib.suppress(subprocess.TimeoutExpired):
        done = subprocess.run(command, capture_output=True, text=True, timeout=_WITHIN_S, check=False)
        if done.returncode == 0:
            return
        raise Refused(f"`{shlex.join(command)}` failed: {done.stderr.strip()}", hint="drctl lab down, then up again")
    raise Refused(f"`{shlex.join(command)}` did not end within {_WITHIN_S:g} s", hint="drctl lab down")
