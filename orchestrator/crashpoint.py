"""Test hook: this process kills itself (SIGKILL) where DRCTL_CRASH_AT says; honoured in a lab's estate only.

    EVENT:STEP:before|after    before or after the journal's record of that event; STEP may be `*`
    inside:STEP:N              when the step's action turns to the outside for the N-th time; 0: when it begins
    trace:FILE                 kills nothing: notes each turn to the outside as a line `STEP N`, for whoever picks an N
    unstruck:FILE              the first point reached that FILE has not struck yet: `-POINT` in a line of it; that line
                               is appended just before the process dies. `+POINT`: one of the first two forms that
                               is wanted; `+*`: every boundary, and of a step's turns those that `is_told_apart`

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
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from functools import partial
from pathlib import Path

from orchestrator.errors import Usage
from orchestrator.model.plan import Plan
from orchestrator.model.run import Event
from orchestrator.model.topology import Frozen

CRASH_AT = "DRCTL_CRASH_AT"
EVERYTHING = "+*"
TURNS_APART = 5
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
    unstruck: Unstruck | None = None

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
        if text.startswith("unstruck:"):
            return cls(unstruck=Unstruck(Path(text.removeprefix("unstruck:"))))
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
        if self.unstruck:
            self.unstruck.reached(f"{event.value}:{step or '*'}:{'after' if after else 'before'}")
        elif event is self.event and after is self.after and self.step in {"*", step}:
            _at(self.later_s, partial(_end, self.freeze))

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
        elif self.unstruck:
            self.unstruck.reached(f"inside:{step}:{turn}")
        elif self.event is None and self.step == step and self.turn == turn:
            _at(self.later_s, partial(_end, self.freeze))


def _end(freeze: bool) -> None:
    os.kill(os.getpid(), signal.SIGSTOP if freeze else signal.SIGKILL)


def _at(later_s: float, strike: Callable[[], None]) -> None:
    """At once, or so much later; a process that has ended by then is not kept for it."""
    if not later_s:
        strike()
        return
    timer = threading.Timer(later_s, strike)
    timer.daemon = True
    timer.start()


def is_told_apart(turn: int) -> bool:
    """Whether a turn is a point of its own: the first ones, then each power of two (one action may poll for long)."""
    return turn <= TURNS_APART or turn & (turn - 1) == 0


class Unstruck:
    """The points of a file of which one life strikes one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        lines = path.read_text(encoding="utf-8").splitlines()
        self._everything = EVERYTHING in lines
        self._struck = {line[1:] for line in lines if line.startswith("-")}
        self._wanted = [line[1:] for line in lines if line.startswith("+") and line != EVERYTHING]
        self._lock = threading.Lock()
        self._over = self._aiming = False

    def reached(self, where: str) -> None:
        """Strike what is to be struck here: at once, or later where nothing is to be struck at once."""
        step, _, when = where.rpartition(":")
        apart = not step.startswith("inside:") or is_told_apart(int(when))
        if self._everything and apart and where not in self._struck:
            self._strike(where, where)
        for text in self._wanted:
            first = text.partition(";")[0]
            if text not in self._struck and re.fullmatch(re.escape(where) + r"(\+\d+)?(~stop)?", first):
                self._strike(text, first)

    def _strike(self, text: str, first: str) -> None:
        point = CrashPoint.parse(first)
        if point.later_s and self._aiming:
            return
        self._aiming = self._aiming or point.later_s > 0
        _at(point.later_s, partial(self._end, text, point.freeze))

    def _end(self, text: str, freeze: bool) -> None:
        """One life strikes once: whoever comes second in the same moment waits here, for its end or to go on."""
        with self._lock:
            if not self._over:
                self._over = True
                with open(self._path, "ab", buffering=0) as file:
                    file.write(f"-{text}\n".encode())
                _end(freeze)


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
