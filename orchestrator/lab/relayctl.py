"""Talking to the relays; also a command: `python -m orchestrator.lab.relayctl LABDIR isolate|restore INSTANCE`.

The command is what the lab's databases name as `fence_route_command` and `unfence_route_command`.
"""

from __future__ import annotations

import socket
import sys
from enum import StrEnum
from pathlib import Path

import msgspec

from orchestrator.errors import DrctlError, Unreadable, Usage
from orchestrator.lab import layout, state
from orchestrator.lab.layout import LabLink
from orchestrator.model.topology import Frozen

_ANSWER_S = 5.0


class Route(Frozen):
    """A port on which an instance is seen from another centre."""

    viewer: str
    """Centre of the clients."""
    instance: str
    centre: str
    """Centre of the instance."""
    listen: int
    host: str
    port: int


class RelayConfig(Frozen):
    """What the relay process is started with."""

    host: str
    socket: str
    links: tuple[LabLink, ...]
    routes: tuple[Route, ...]


class Do(StrEnum):
    """What the relays can be told."""

    STATUS = "status"
    CUT = "cut"
    SLOW = "slow"
    NARROW = "narrow"
    MEND = "mend"
    """Every way as it was at first; isolated instances stay so."""
    ISOLATE = "isolate"
    RESTORE = "restore"


class RelayOrder(Frozen):
    """One line that the relays are sent."""

    do: Do
    ways: tuple[tuple[str, str], ...] = ()
    """Ordered pairs of centres."""
    delay_ms: float = 0.0
    instance: str = ""
    kbit_s: float = 0.0


class WayStatus(Frozen):
    """One direction between two centres."""

    source: str
    target: str
    delay_ms: float
    cut: bool
    slowed: bool
    kbit_s: float = 0.0
    """Bandwidth; 0: not narrowed."""


class RelayStatus(Frozen):
    """One line that the relays answer with."""

    ways: tuple[WayStatus, ...] = ()
    isolated: tuple[str, ...] = ()
    connections: int = 0
    error: str = ""


def ask(path: Path, order: RelayOrder) -> RelayStatus:
    """Send one order and return the state of the network after it.

    Raises:
        Unreadable: the relays do not answer within 5 s.
    """
    try:
        with socket.socket(socket.AF_UNIX) as call:
            call.settimeout(_ANSWER_S)
            call.connect(str(path))
            call.sendall(msgspec.json.encode(order) + b"\n")
            with call.makefile("rb") as answers:
                reply = msgspec.json.decode(answers.readline(), type=RelayStatus)
    except (OSError, msgspec.MsgspecError) as e:
        raise Unreadable(f"the lab's relays do not answer on {path}: {e}", hint="drctl lab status") from e
    if reply.error:
        raise Unreadable(f"the lab's relays refuse the order: {reply.error}", hint="drctl lab status")
    return reply


def command(words: list[str]) -> RelayStatus:
    """The command's work; `isolate` and `restore` may be repeated.

    Raises:
        Usage: the words are not LABDIR isolate|restore INSTANCE.
        Refused: no lab is up there.
        Unreadable: the relays do not answer.
    """
    if len(words) != 3 or words[1] not in (Do.ISOLATE, Do.RESTORE):
        raise Usage("relayctl takes LABDIR isolate|restore INSTANCE", hint="relayctl .drctl/lab isolate sharing/db@a")
    if layout.place(words[2]) is None:
        known = ", ".join(p.id for p in layout.places())
        raise Usage(f"the lab has no instance {words[2]!r}", hint=f"there are: {known}")
    found = state.require(Path(words[0]))
    return ask(found.socket, RelayOrder(do=Do(words[1]), instance=words[2]))


if __name__ == "__main__":
    try:
        command(sys.argv[1:])
    except DrctlError as error:
        sys.stderr.write(f"error: {error.message}\nhint: {error.hint}\n")
        sys.exit(error.exit_code)
