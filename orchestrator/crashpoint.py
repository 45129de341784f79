"""Test hook: this process kills itself (SIGKILL) where DRCTL_CRASH_AT says; honoured in a lab's estate only.

    EVENT:STEP:before|after    before or after the journal's record of that event; STEP may be `*`
    inside:STEP:N              when the step's action turns to the outside for the N-th time; 0: when it begins
    trace:FILE                 kills nothing: notes each turn to the outside as a line `STEP N`, for whoever picks an N

The first two may end in `+MS`: so many milliseconds later, whatever goes on then; and in `~stop`: the process is not
killed but frozen (SIGSTOP), until somebody lets it go on. Nothing here does anything without the variable. Leaves out:
what is to be judged afterwards (tests/crash).
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import threading
from collections.abc import Iterator
from contextvars import ContextVar

from orchestrator.errors import Usage
from orchestrator.model.plan import Plan
from orchestrator.model.run import Event
from orchestrator.model.topology import Frozen

CRASH_AT = "DRCTL_CRASH_AT"
_FORM = re.compile(r"(?P<what>\w+):(?P<step>.+):(?P<when>before|after|\d+)(\+(?P<ms>\d+))?(?P<stop>~stop)?")


class CrashPoint(Frozen, kw_only=True):
    """Where to die, or what to note."""

    event: Event | None = None
    """None: inside an action."""
    step: str = ""
    after: bool = False
    turn: int = 0
    later_s: float = 0.0
    freeze: bool = False
    trace: str = ""

    @classmethod
    def from_environment(cls, plan: Plan) -> CrashPoint | None:
        """The crash point that the environment asks for.

        Raises:
            Usage: it cannot be read, or the estate is not a lab.
        """
        text = os.environ.get(CRASH_AT, "")
        if not text:
            return None
        if not plan.lab:
            raise Usage(f"{CRASH_AT} is set and {plan.estate} is not a lab", hint=f"unset {CRASH_AT}")
        return cls.parse(text)

    @classmethod
    def parse(cls, text: str) -> CrashPoint:
        """From its text.

        Raises:
            Usage: it is none.
        """
        if text.startswith("trace:"):
            return cls(trace=text.removeprefix("trace:"))
        found = _FORM.fullmatch(text)
        inside = found is not None and found["what"] == "inside"
        known = found is not None and (inside or found["what"] in {e.value for e in Event})
        if found is None or not known or inside is not found["when"].isdigit():
            raise Usage(f"cannot read {CRASH_AT}={text}", hint="EVENT:STEP:before|after or inside:STEP:N, and +MS")
        return cls(
            event=None if inside else Event(found["what"]),
            step=found["step"],
            after=found["when"] == "after",
            turn=int(found["when"]) if inside else 0,
            later_s=int(found["ms"] or 0) / 1000,
            freeze=bool(found["stop"]),
        )

    def strike(self, event: Event, step: str, *, after: bool) -> None:
        """Kill this process where the boundary is the one asked for."""
        if event is self.event and after is self.after and self.step in {"*", step}:
            self._die()

    @contextlib.contextmanager
    def within(self, step: str) -> Iterator[None]:
        """An action of this step for the length of the block: `outward` counts in it."""
        turns = _Turns(self, step)
        token = _acting.set(turns)
        try:
            turns.reached(0)
            yield
        finally:
            _acting.reset(token)

    def note(self, step: str, turn: int) -> None:
        """A turn to the outside has come."""
        if self.trace:
            with open(self.trace, "a", encoding="utf-8") as file:
                file.write(f"{step} {turn}\n")
        elif self.event is None and self.step == step and self.turn == turn:
            self._die()

    def _die(self) -> None:
        sign = signal.SIGSTOP if self.freeze else signal.SIGKILL
        if self.later_s:
            threading.Timer(self.later_s, os.kill, (os.getpid(), sign)).start()
        else:
            os.kill(os.getpid(), sign)


class _Turns:
    """How often one action has turned to the outside."""

    def __init__(self, point: CrashPoint, step: str) -> None:
        self._point, self._step, self._count = point, step, 0

    def reached(self, turn: int) -> None:
        self._count = turn
        self._point.note(self._step, turn)

    def next(self) -> None:
        self.reached(self._count + 1)


_acting: ContextVar[_Turns | None] = ContextVar("acting", default=None)


def outward() -> None:
    """Providers call this just before a statement, a request, a command, and around a playbook."""
    turns = _acting.get()
    if turns is not None:
        turns.next()
