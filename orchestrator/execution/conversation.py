"""What an operator and a running executor tell each other, as files of the run: pause, abort, answers to questions."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from enum import StrEnum
from pathlib import Path

from orchestrator.diskfile import read, write, write_bytes
from orchestrator.errors import Refused, Usage, guess
from orchestrator.execution.history import Answer, History
from orchestrator.model.plan import Plan, Verb
from orchestrator.model.run import RunState

ASKING = frozenset({Verb.ASK, Verb.RUN_PLAYBOOK})
"""Steps that may ask a person; a playbook where its outcome is unknown."""


class Control(StrEnum):
    """What an operator asks of a running executor; read before each step."""

    GO = "go"
    PAUSE = "pause"
    """Stop after the running steps; the run can be resumed."""
    ABORT = "abort"
    """Stop after the running steps and undo what can be undone."""


class Conversation(ABC):
    """The part of a run that people write to from outside; read before each step."""

    path: Path
    plan: Plan

    @property
    def id(self) -> str:
        """The run's id, which is its folder's name."""
        return self.path.name

    @abstractmethod
    def history(self) -> History:
        """Where every step stands by the journal on disk."""

    def control(self) -> Control:
        """What the operator asks now."""
        try:
            return Control((self.path / "control").read_text(encoding="utf-8").strip())
        except (FileNotFoundError, ValueError):
            return Control.GO

    def ask_control(self, control: Control) -> None:
        """Ask the executor to pause or abort; it reads this before each step."""
        write_bytes(self.path / "control", control.value.encode())

    def clear_control(self) -> None:
        """What was asked has been heeded."""
        (self.path / "control").unlink(missing_ok=True)

    def answer_of(self, step: str) -> Answer | None:
        """A person's answer to a step's question, where there is one."""
        path = self.path / "answers" / f"{as_file_name(step)}.json"
        return read(path, Answer) if path.exists() else None

    def give_answer(self, step: str, answer: Answer) -> None:
        """Leave a person's answer for the executor.

        Raises:
            Usage: the plan has no such step, it asks nothing, or there is no name or answer.
            Refused: the run is closed.
        """
        known = self.plan.step_by_id
        if step not in known or known[step].verb not in ASKING:
            asking = [s.id for s in self.plan.steps if s.verb in ASKING]
            hint = guess(step, asking, "steps that ask")
            raise Usage(f"run {self.id} has no step {step!r} that asks", hint=hint)
        if not answer.name.strip() or not answer.answer.strip():
            raise Usage("an answer needs a name and words")
        if self.history().state is not RunState.RUNNING:
            raise Refused(f"run {self.id} is closed and asks nothing")
        folder = self.path / "answers"
        folder.mkdir(exist_ok=True)
        write(folder / f"{as_file_name(step)}.json", answer)

    def take_answer(self, step: str) -> None:
        """Forget an answer that the journal holds by now, so that the next question is asked anew."""
        (self.path / "answers" / f"{as_file_name(step)}.json").unlink(missing_ok=True)


def as_file_name(step: str) -> str:
    """A step's id as the name of a file."""
    return re.sub(r"[^A-Za-z0-9._@-]+", "_", step)
