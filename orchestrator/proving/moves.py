"""What may happen between two states, what may go wrong, and what a search came to. Pure."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from orchestrator.machine.faults import Fault

FAULT, CRASH, ANSWER = 1, 2, 4
"""What may go wrong, each once: a fault of the world, a crash of the executor, an answer that is late or lost (or that
an operator aborts)."""
TROUBLES = 3


class Move(StrEnum):
    """What happens between two states."""

    BEGIN = "begin"
    SHUT = "shut"
    BLIND = "blind"
    CONFIRM = "confirm"
    LAND = "land"
    REFUSE = "refuse"
    IN_VAIN = "in-vain"
    """An order that took effect and is told to have failed."""
    HANG = "hang"
    UNANSWERED = "unanswered"
    PROVE = "prove"
    DONE = "done"
    """A step that is not looked into ends well."""
    FAILED = "failed"
    GIVE_UP = "give-up"
    SLOW = "slow"
    UNDO = "undo"
    UNDONE = "undone"
    KEEP = "keep"
    STUCK = "stuck"
    LATE = "late"
    CRASH = "crash"
    ABORT = "abort"
    FAULT = "fault"
    WAKE = "wake"
    RETURN = "return"


class Label(NamedTuple):
    """One move, told by what it is about."""

    move: Move
    step: int = -1
    deed: int = -1
    faults: tuple[Fault, ...] = ()


Told = tuple[Move] | tuple[Move, int] | tuple[Move, int, int] | tuple[Move, int, int, tuple[Fault, ...]]
"""What makes a label: a search makes millions, and tells few."""
CRASHES: Told = (Move.CRASH,)
ABORTS: Told = (Move.ABORT,)


class Wrong(NamedTuple):
    """An invariant that a move breaks."""

    rule: str
    text: str


Next = tuple[int, int, int, Told, Wrong | None]
"""A state that comes next: world, course, what of FAULT, CRASH and ANSWER it uses up, the move, what that breaks."""


Struck = tuple[int, Told, Wrong | None]
"""A world that comes next by itself, how, and what that breaks."""


class Start(NamedTuple):
    """A first state."""

    name: str
    """How the lost centre stands; empty where nothing is lost yet."""
    world: int
    late: tuple[int, ...] = ()
    """Orders of an earlier run that are still on their way."""


class Found(NamedTuple):
    """What a search came to."""

    states: int
    transitions: int
    troubles: int
    """So many things going wrong together were looked at to the end; -1: not even none, nothing is proven."""
    wrong: Wrong | None = None
    start: str = ""
    way: tuple[Label, ...] = ()


class Rules(NamedTuple):
    """What may go wrong in a search."""

    faults: tuple[tuple[Fault, ...], ...]
    """The faults of the world, of which one may happen."""
    returns: tuple[Fault, ...] = ()
    """What may come back by itself, any time, at no account."""
    troubles: tuple[int, ...] = (0,)
    """Which of FAULT, CRASH and ANSWER may come together."""
