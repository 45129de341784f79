"""What happened: the records of a run's journal and what is made of them. Pure and frozen."""

from __future__ import annotations

from enum import StrEnum

from orchestrator.model.plan import Mode, Phase, ScenarioKind
from orchestrator.model.topology import Frozen, Setting


class Event(StrEnum):
    """What a journal record tells."""

    RUN_OPENED = "run_opened"
    RUN_RESUMED = "run_resumed"
    FAULT_INJECTED = "fault_injected"
    FAULT_HEALED = "fault_healed"
    STEP_STARTED = "step_started"
    GATE_JUDGED = "gate_judged"
    EFFECT_STARTED = "effect_started"
    EFFECT_DONE = "effect_done"
    STEP_DONE = "step_done"
    STEP_FAILED = "step_failed"
    STEP_SKIPPED = "step_skipped"
    UNDO_STARTED = "undo_started"
    UNDO_DONE = "undo_done"
    UNDO_FAILED = "undo_failed"
    ANSWERED = "answered"
    ABORT_ASKED = "abort_asked"
    RUN_CLOSED = "run_closed"
    RUN_INTERRUPTED = "run_interrupted"
    """The operator stopped the executor between two steps; the run can be resumed."""
    JOURNAL_CUT = "journal_cut"
    """A crash had left half a line at the end; it was cut off. The data say how many bytes, and their SHA-256."""
    RUN_TAKEN_OVER = "run_taken_over"
    """Another controller goes on with the run. The data say from whom, from which centre, and who consented."""
    STORE_AWAY = "store_away"
    """The team's state store does not confirm; the run goes on by the local journal while its lease holds."""
    STORE_BACK = "store_back"
    STORE_ALONE = "store_alone"
    """The state store confirms without a synchronous copy: what is shipped is held in one centre only."""


class Record(Frozen, kw_only=True):
    """One line of the journal. `hash` covers every other field and the hash before it."""

    seq: int
    at: str
    """UTC, RFC 3339, microseconds."""
    mono_s: float
    """Monotonic clock in seconds; differences count only within one `boot`."""
    boot: str
    """Identifies the clock: records of one machine's boot share it."""
    run: str
    epoch: int
    event: Event
    step: str = ""
    detail: str = ""
    data: tuple[Setting, ...] = ()
    prev: str
    hash: str

    def value(self, name: str, default: str = "") -> str:
        """The value of a datum, or `default`."""
        return next((s.value for s in self.data if s.name == name), default)


class RunState(StrEnum):
    """Where a run stands."""

    RUNNING = "running"
    """An executor owns it, or it was interrupted and can be resumed."""
    DONE = "done"
    """Every step done, three protected copies exist."""
    DEGRADED = "degraded"
    """Users are served, and protection is not restored; the record names what is missing."""
    UNDONE = "undone"
    """A step failed and everything before it was undone."""
    PARTIAL = "partial"
    """A person is needed now."""
    ABORTED = "aborted"
    """Stopped by the operator, and undone."""


class RunSummary(Frozen, kw_only=True):
    """A run as `drctl runs list` shows it."""

    run: str
    scenario: str
    kind: ScenarioKind
    mode: Mode
    state: RunState
    started_at: str
    ended_at: str = ""
    steps_done: int
    steps: int
    owner_alive: bool = False
    missing: tuple[str, ...] = ()


class PhaseTime(Frozen, kw_only=True):
    """Time that a phase took, from its first step's start to its last step's end, in seconds."""

    phase: Phase
    begin_s: float
    """Seconds after the fault (or after the declaration where there was no fault)."""
    seconds: float


class EntryOutage(Frozen, kw_only=True):
    """What users of one entry saw."""

    system: str
    entry: str
    writes_acked: int
    writes_lost: tuple[str, ...]
    """Ids of writes that were acknowledged and that the surviving database does not hold."""
    writes_in_doubt: int
    """Sent, neither acknowledged nor refused; `writes_in_doubt_kept` of them are in the database."""
    writes_in_doubt_kept: int
    writes_failed: int = 0
    """Refused for certain: the user saw an error, nothing was written."""
    reads_ok: int
    reads_failed: int = 0
    reads_wrong: tuple[str, ...]
    """Ids of acknowledged writes that a read through the entry did not find, or found changed."""
    outage_ms: float
    """Longest time between two acknowledged writes that includes at least one failed operation; 0 for none."""
    outage_begin_s: float | None
    """Seconds after the fault (or the run's start) of the last acknowledged write before the outage."""
    rpo_s: float
    """Age of the oldest lost write when the outage began; 0 where nothing was lost."""


class Measurement(Frozen, kw_only=True):
    """Objectives as measured for one system; None: nobody measured it, which is not the same as met."""

    system: str
    rto_from_fault_s: float | None = None
    rto_from_declaration_s: float | None = None
    rpo_s: float | None = None
    lost_writes: int | None = None
    rto_target_s: float
    rpo_target_s: float
    rto_met: bool | None = None
    rpo_met: bool | None = None


class Measurements(Frozen, kw_only=True):
    """All that was measured of a run."""

    run: str
    fault_at: str
    declared_at: str
    phases: tuple[PhaseTime, ...]
    outages: tuple[EntryOutage, ...]
    systems: tuple[Measurement, ...]
    overhead_ms_per_step: float
    """The program's own time per step, median, beside the action's time."""
