"""Every error that reaches an operator, with the exit code that tells the state of the world.

DrctlError
├── Usage          2  the command's words are wrong; nothing was touched
├── Findings       3  it ran, with findings or an objective missed
├── BadFile        4  a file of the operator's is wrong
├── Refused        5  a gate, a proof or a missing approval forbids it; nothing was changed
├── Unreadable     6  the world could not be read; nothing was changed
├── RolledBack     7  a step failed and what was done has been undone
├── PartialState   8  the world is between two states: a person is needed now
├── Tampered       9  evidence was changed, or is not signed
└── Interrupted  130  stopped by the operator; `drctl runs resume` goes on

Any other exception is a bug and ends with exit code 1.
"""

from __future__ import annotations

from collections.abc import Iterable

SHOWN_MAX = 20


class DrctlError(Exception):
    """An error with a message for people, a hint of what to do, and an exit code."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class Usage(DrctlError):
    """The command's words are wrong; nothing was touched."""

    exit_code = 2


class Findings(DrctlError):
    """The command ran to its end and has findings, or an objective was missed."""

    exit_code = 3


class BadFile(DrctlError):
    """A file of the operator's is wrong; the message begins with file:line:column where known."""

    exit_code = 4


class Refused(DrctlError):
    """A gate, a proof or a missing approval forbids the action; nothing was changed."""

    exit_code = 5


class Unreadable(DrctlError):
    """The world could not be read, so nothing was changed."""

    exit_code = 6


class RolledBack(DrctlError):
    """A step failed, and every step before it has been undone."""

    exit_code = 7


class PartialState(DrctlError):
    """The world is between two states and a person is needed now."""

    exit_code = 8


class Tampered(DrctlError):
    """Evidence was changed, removed or added to, or carries no valid signature."""

    exit_code = 9


class Interrupted(DrctlError):
    """Stopped by the operator; the run can be resumed."""

    exit_code = 130


def guess(name: str, known: Iterable[str], listed: str = "there are") -> str:
    """The hint for a name that is not there: the nearest one, else what there is."""
    import difflib

    names = sorted(str(one) for one in known)
    near = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {near[0]!r}?" if near else f"{listed}: {', '.join(names[:SHOWN_MAX]) or 'none'}"
