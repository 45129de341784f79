"""What a journal says of its run: one reading, used while it runs, on resume and for every list. Pure.

State machine as a table: `_RULES` holds one rule for each event. Nothing else in the program keeps a run's state, so
there is nothing that could drift from the journal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cached_property

from orchestrator.model.plan import Phase, Plan, ScenarioKind, Step, Verb
from orchestrator.model.run import Event, Record, RunState
from orchestrator.model.topology import Frozen

UNTOUCHING = frozenset({Verb.CONFIRM, Verb.ASK})
"""Verbs that change nothing in the world."""

WOULD = "would"
"""Datum of a record that tells of a rehearsal: it would have been done, and nothing was touched."""


class Answer(Frozen, kw_only=True):
    """What a person answered, and who."""

    answer: str
    name: str


class History:
    """The standing of every step of a run; `feed` it the records in order."""

    def __init__(self, plan: Plan, records: Iterable[Record] = ()) -> None:
        self.plan = plan
        self.closed: RunState | None = None
        self.missing: tuple[str, ...] = ()
        """Why a closed run is not simply done."""
        self.epochs: list[int] = []
        """Every epoch under which this run was carried out, oldest first."""
        self.attempt = 1
        """1 for the first; one more each time that a closed run was resumed."""
        self.done: dict[str, str] = {}
        """Step → hash of the record that says it is done."""
        self.begun: list[str] = []
        """Steps whose effect was begun, oldest first; the world may have changed by each."""
        self.open: set[str] = set()
        """Steps whose effect was begun and has not been seen to end."""
        self.effected: set[str] = set()
        """Steps whose effect was seen to end, though the step may not be done."""
        self.failed: dict[str, str] = {}
        self.undone: set[str] = set()
        self.undoing: set[str] = set()
        self.undo_failed: dict[str, str] = {}
        self.answers: dict[str, Answer] = {}
        self.fenced: set[str] = set()
        """Instances that a fence of this run holds."""
        self.aborting = False
        self.opened_at = ""
        self.closed_at = ""
        for record in records:
            self.feed(record)

    @property
    def state(self) -> RunState:
        """Where the run stands."""
        return self.closed or RunState.RUNNING

    def feed(self, record: Record) -> None:
        """Take one more record into account."""
        if record.epoch not in self.epochs:
            self.epochs.append(record.epoch)
        rule = _RULES.get(record.event)
        if rule:
            rule(self, record)

    @property
    def promoted(self) -> frozenset[str]:
        """Systems past the point of no return: a promotion in production was begun. An exercise has none."""
        if self.plan.kind is ScenarioKind.EXERCISE:
            return frozenset()
        steps = (self.plan.step_by_id.get(s) for s in self.begun)
        return frozenset(s.system for s in steps if s and s.verb is Verb.PROMOTE)

    @property
    def broken(self) -> tuple[Step, ...]:
        """Failed steps that the recovery itself depends on (see `tolerated`)."""
        return tuple(s for s in self.plan.steps if s.id in self.failed and not self.tolerated(s))

    @property
    def changed(self) -> tuple[Step, ...]:
        """Steps that may have changed the world and are not undone, oldest first."""
        steps = (self.plan.step_by_id[s] for s in self.begun if s in self.plan.step_by_id)
        return tuple(s for s in steps if s.verb not in UNTOUCHING and s.id not in self.undone)

    @property
    def incomplete(self) -> frozenset[str]:
        """Systems of which a step that their recovery depends on is not done."""
        return frozenset(s.system for s in self.plan.steps if s.id not in self.done and not self.tolerated(s))

    def tolerated(self, step: Step) -> bool:
        """Whether users are served without this step: it protects, or it is a fence that only protection waits for."""
        return step.id in self._tolerated

    @cached_property
    def _tolerated(self) -> frozenset[str]:
        dependents: dict[str, list[Step]] = {s.id: [] for s in self.plan.steps}
        for step in self.plan.steps:
            for need in step.needs:
                dependents[need].append(step)
        found: set[str] = set()
        for step in reversed(self.plan.steps):
            off_path = step.phase is Phase.PROTECT or step.verb is Verb.FENCE
            if off_path and all(d.id in found for d in dependents[step.id]):
                found.add(step.id)
        return frozenset(found)

    def _opened(self, record: Record) -> None:
        self.opened_at = self.opened_at or record.at

    def _resumed(self, _: Record) -> None:
        """A closed run that is resumed tries again what failed; an interrupted one keeps its failures."""
        if self.closed is not None:
            self.closed, self.missing, self.aborting, self.closed_at = None, (), False, ""
            for step in self.failed:
                self.answers.pop(step, None)
                self.effected.discard(step)
            self.failed.clear()
            self.undo_failed.clear()
            self.attempt += 1

    def _effect_started(self, record: Record) -> None:
        if record.value(WOULD):
            return
        if record.step not in self.begun:
            self.begun.append(record.step)
        self.open.add(record.step)
        self.effected.discard(record.step)
        self.answers.pop(record.step, None)  # it was about the effect before this one

    def _effect_done(self, record: Record) -> None:
        if record.value(WOULD):
            return
        self.open.discard(record.step)
        self.effected.add(record.step)
        step = self.plan.step_by_id.get(record.step)
        if step and step.verb is Verb.FENCE:
            self.fenced.add(step.instance)
        if step and step.verb in {Verb.UNFENCE, Verb.REJOIN}:
            self.fenced.discard(step.instance)

    def _done(self, record: Record) -> None:
        self.done[record.step] = record.hash
        self.failed.pop(record.step, None)

    def _failed(self, record: Record) -> None:
        self.failed[record.step] = record.detail

    def _undo_started(self, record: Record) -> None:
        self.undoing.add(record.step)
        step = self.plan.step_by_id.get(record.step)
        if step and step.verb is Verb.FENCE:
            self.fenced.discard(step.instance)

    def _undone(self, record: Record) -> None:
        self.undone.add(record.step)
        self.undo_failed.pop(record.step, None)

    def _undo_failed(self, record: Record) -> None:
        self.undo_failed[record.step] = record.detail

    def _answered(self, record: Record) -> None:
        self.answers[record.step] = Answer(answer=record.value("answer"), name=record.value("name"))

    def _abort(self, _: Record) -> None:
        self.aborting = True

    def _closed(self, record: Record) -> None:
        self.closed = RunState(record.value("state"))
        self.missing = tuple(d.value for d in record.data if d.name == "missing")
        self.closed_at = record.at


_RULES: Mapping[Event, Callable[[History, Record], None]] = {
    Event.RUN_OPENED: History._opened,
    Event.RUN_RESUMED: History._resumed,
    Event.EFFECT_STARTED: History._effect_started,
    Event.EFFECT_DONE: History._effect_done,
    Event.STEP_DONE: History._done,
    Event.STEP_FAILED: History._failed,
    Event.UNDO_STARTED: History._undo_started,
    Event.UNDO_DONE: History._undone,
    Event.UNDO_FAILED: History._undo_failed,
    Event.ANSWERED: History._answered,
    Event.ABORT_ASKED: History._abort,
    Event.RUN_CLOSED: History._closed,
}
