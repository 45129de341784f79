"""When each step was planned to happen, when it did, and what became of it. Pure.

Seconds count from the fault, or where none was injected from the declaration, as in `measure`. Within one boot they
are differences of the monotonic clock; across boots (a run resumed after a restart) of UTC.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import cached_property

from orchestrator.execution.history import WOULD
from orchestrator.measure import declaration, fault_record
from orchestrator.model.observation import Verdict
from orchestrator.model.plan import Phase, Plan, Step
from orchestrator.model.run import Event, Record
from orchestrator.model.topology import Frozen, Text
from orchestrator.reports.words import Outcome

SLOW_FACTOR = 2.0
"""A step that took more than this times its forecast is a deviation …"""
SLOW_MIN_S = 0.25
"""… if that is at least so much longer than forecast; below, it is noise."""


class Judged(Frozen, kw_only=True):
    """A gate as it was judged just before a step's effect."""

    fact: str
    instance: str
    verdict: Verdict
    reason: Text


class StepTime(Frozen, kw_only=True):
    """One step of the plan and what became of it."""

    step: Step
    planned_begin_s: float
    planned_end_s: float
    begin_s: float | None = None
    end_s: float | None = None
    outcome: Outcome = Outcome.NOT_REACHED
    detail: str = ""
    detail_zh: str = ""
    answered_by: str = ""
    gates: tuple[Judged, ...] = ()

    @property
    def took_s(self) -> float | None:
        """Seconds from its start to its end."""
        return None if self.begin_s is None or self.end_s is None else self.end_s - self.begin_s

    @property
    def slow(self) -> bool:
        """It took clearly longer than forecast."""
        took, forecast = self.took_s, self.step.forecast_s
        return took is not None and forecast > 0 and took > SLOW_FACTOR * forecast and took - forecast >= SLOW_MIN_S


class Timeline:
    """The run's clock and its steps."""

    def __init__(self, plan: Plan, records: Sequence[Record]) -> None:
        self._plan, self._records = plan, records
        self.zero = (fault_record(records) or declaration(plan, records)) if records else None
        """The record that seconds count from; None without a journal."""

    @cached_property
    def declared_s(self) -> float | None:
        """When the loss was declared (detection was done)."""
        return self.second(declaration(self._plan, self._records)) if self._records else None

    @property
    def fault_s(self) -> float | None:
        """0 where a fault was injected, else None."""
        return 0.0 if fault_record(self._records) else None

    def second(self, record: Record) -> float:
        """Seconds of a record after the zero."""
        assert self.zero is not None
        if record.boot == self.zero.boot:
            return record.mono_s - self.zero.mono_s
        return (datetime.fromisoformat(record.at) - datetime.fromisoformat(self.zero.at)).total_seconds()

    def of_ledger(self, boot: str, t0_mono: float, t0_utc: str) -> float:
        """What to add to a ledger's monotonic times to get seconds after the zero."""
        assert self.zero is not None
        if boot == self.zero.boot:
            return -self.zero.mono_s
        apart = datetime.fromisoformat(t0_utc) - datetime.fromisoformat(self.zero.at)
        return apart.total_seconds() - t0_mono

    @cached_property
    def steps(self) -> tuple[StepTime, ...]:
        """Every step of the plan, in the plan's order."""
        of_step: dict[str, list[Record]] = {}
        for record in self._records:
            of_step.setdefault(record.step, []).append(record)
        planned = _schedule(self._plan.steps, self._first_begin())
        return tuple(self._time(step, planned[step.id], of_step.get(step.id, ())) for step in self._plan.steps)

    @cached_property
    def by_id(self) -> Mapping[str, StepTime]:
        """Steps by id."""
        return {t.step.id: t for t in self.steps}

    @property
    def deviating(self) -> tuple[StepTime, ...]:
        """Steps that did not go as planned: not done, or slow, or with a gate that could not be told."""
        return tuple(
            t for t in self.steps if t.outcome not in {Outcome.DONE, Outcome.WOULD} or t.slow or self.doubtful(t)
        )

    @staticmethod
    def doubtful(time: StepTime) -> bool:
        """Whether some gate of the step did not pass."""
        return any(g.verdict is not Verdict.PASS for g in time.gates)

    @cached_property
    def begin_s(self) -> float:
        """When the recovery began: at the fault, or where none was injected with the first step."""
        return 0.0 if self.fault_s is not None else self._first_begin()

    @cached_property
    def end_s(self) -> float:
        """When the last step ended."""
        return max((t.end_s for t in self.steps if t.end_s is not None), default=0.0)

    @cached_property
    def service_end_s(self) -> float:
        """When the last critical step on the way to service ended; of any recovery step where none is critical."""
        ends = [t for t in self.steps if t.end_s is not None and t.step.phase not in {Phase.PREPARE, Phase.PROTECT}]
        critical = [t for t in ends if t.step.critical] or ends
        return max((t.end_s for t in critical if t.end_s is not None), default=self.end_s)

    def _first_begin(self) -> float:
        first = next((r for r in self._records if r.event is Event.STEP_STARTED), None)
        return self.second(first) if first else 0.0

    def _time(self, step: Step, planned: tuple[float, float], records: Iterable[Record]) -> StepTime:
        begin: float | None = None
        end: float | None = None
        outcome, detail, detail_zh, by = Outcome.NOT_REACHED, "", "", ""
        gates: dict[tuple[str, str], Judged] = {}
        for record in records:
            if record.event is Event.STEP_STARTED:
                begin, outcome = (self.second(record) if begin is None else begin), Outcome.OPEN
            if record.event in _ENDS:
                end = self.second(record) if record.event in _STEP_ENDS else end
                outcome = Outcome.WOULD if record.value(WOULD) else _ENDS[record.event]
                said = record.detail or detail
                detail, detail_zh = said, record.value("detail_zh") or record.value("zh") or said
            if record.event is Event.ANSWERED:
                by = record.value("name")
            if record.event is Event.GATE_JUDGED:
                gate = _judged(record)
                gates[gate.fact, gate.instance] = gate
        return StepTime(
            step=step,
            planned_begin_s=planned[0],
            planned_end_s=planned[1],
            begin_s=begin,
            end_s=end,
            outcome=outcome,
            detail=detail,
            detail_zh=detail_zh,
            answered_by=by,
            gates=tuple(gates.values()),
        )


_STEP_ENDS = frozenset({Event.STEP_DONE, Event.STEP_FAILED, Event.STEP_SKIPPED})
_ENDS: Mapping[Event, Outcome] = {
    Event.STEP_DONE: Outcome.DONE,
    Event.STEP_FAILED: Outcome.FAILED,
    Event.STEP_SKIPPED: Outcome.SKIPPED,
    Event.UNDO_STARTED: Outcome.OPEN,
    Event.UNDO_DONE: Outcome.UNDONE,
    Event.UNDO_FAILED: Outcome.UNDO_FAILED,
}


def _judged(record: Record) -> Judged:
    known = {v.value for v in Verdict}
    verdict = record.value("verdict")
    return Judged(
        fact=record.value("fact"),
        instance=record.value("instance"),
        verdict=Verdict(verdict) if verdict in known else Verdict.UNKNOWN,
        reason=Text(en=record.detail, zh=record.value("detail_zh") or record.detail),
    )


def _schedule(steps: Sequence[Step], begin_s: float) -> Mapping[str, tuple[float, float]]:
    """When each step would run if each took its forecast and began as soon as what it needs was done."""
    planned: dict[str, tuple[float, float]] = {}
    for step in steps:
        begin = max((planned[n][1] for n in step.needs if n in planned), default=begin_s)
        planned[step.id] = (begin, begin + step.forecast_s)
    return planned
