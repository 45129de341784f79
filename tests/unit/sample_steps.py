"""What made-up runs are written with: the lab's topology, a clock, a script of steps."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

from orchestrator.evidence.journal import Entry
from orchestrator.loader import load_topology
from orchestrator.model.plan import (
    Condition,
    Fact,
    Loss,
    Phase,
    ScenarioKind,
    Step,
    Undo,
    Verb,
)
from orchestrator.model.run import Event, RunState
from orchestrator.model.topology import Setting, Text, Topology
from orchestrator.providers.kinds import KINDS

ROOT = Path(__file__).resolve().parents[2]
T0_MONO = 5000.0
"""Monotonic time of the fault."""
T0_UTC = datetime(2026, 11, 23, 2, 30, 15, 204_113, tzinfo=UTC)
BOOT = "6d1f0a52-5a3e-4d0c-9a57-0d5f4c1a2b3c"
SYSTEMS = ("legal-person", "sharing", "open-data")
PG = "18.6"


@cache
def lab_topology() -> Topology:
    """The lab's topology, read by the program's own loader."""
    return load_topology(ROOT / "inventories" / "lab", {kind.name: kind for kind in KINDS})


def utc(second: float) -> str:
    """RFC 3339 of a second after the fault."""
    return (T0_UTC + timedelta(seconds=second)).isoformat(timespec="microseconds").replace("+00:00", "Z")


@dataclass
class Script:
    """What happens in a made-up run, in seconds after the fault."""

    name: str
    scenario: str
    kind: ScenarioKind
    lost: tuple[str, ...]
    target: str
    fault: str
    state: RunState
    begin_s: float = -6.0
    end_s: float = 24.0
    timed: list[tuple[Step, float, float]] = field(default_factory=list)
    events: list[tuple[float, Entry]] = field(default_factory=list)
    losses: tuple[Loss, ...] = ()
    outages: dict[str, tuple[float, float]] = field(default_factory=dict)
    """System → begin and end of the time without service."""
    lost_window_s: float = 0.0
    """Writes acknowledged so shortly before the outage are lost."""
    missing: tuple[str, ...] = ()
    approvers: tuple[str, ...] = ()

    def step(self, step: Step, begin: float, end: float, *, fails: str = "") -> None:
        """A step from `begin` to `end`; one with `fails` does not reach its end."""
        self.timed.append((step, begin, end))
        self.events.append((begin, Entry(event=Event.STEP_STARTED, step=step.id)))
        for condition in step.gates:
            judged = (
                Setting(name="fact", value=condition.fact.value),
                Setting(name="instance", value=condition.instance),
                Setting(name="verdict", value="pass"),
                Setting(name="detail_zh", value="条件成立"),
            )
            self.events.append((begin, Entry(event=Event.GATE_JUDGED, step=step.id, detail="it holds", data=judged)))
        if step.verb is Verb.INJECT:
            self.events.append((begin, Entry(event=Event.FAULT_INJECTED, step=step.id, detail=self.fault)))
        if step.verb not in {Verb.CONFIRM, Verb.ASK}:
            self.events.append((begin, Entry(event=Event.EFFECT_STARTED, step=step.id, detail=step.verb.value)))
        if fails:
            self.events.append((end, Entry(event=Event.STEP_FAILED, step=step.id, detail=fails)))
            return
        if step.verb not in {Verb.CONFIRM, Verb.ASK}:
            self.events.append((end, Entry(event=Event.EFFECT_DONE, step=step.id, detail="done")))
        data = (Setting(name="own_s", value="0.0061"), Setting(name="action_s", value=f"{end - begin - 0.0061:.4f}"))
        self.events.append((end, Entry(event=Event.STEP_DONE, step=step.id, detail="done", data=data)))

    def undo(self, step: Step, begin: float, end: float) -> None:
        """The way back of a step."""
        self.events.append((begin, Entry(event=Event.UNDO_STARTED, step=step.id)))
        self.events.append((end, Entry(event=Event.UNDO_DONE, step=step.id, detail="undone")))


def make_step(
    target: str,
    verb: Verb,
    phase: Phase,
    text: tuple[str, str],
    *,
    wave: int,
    needs: tuple[str, ...] = (),
    towards: tuple[str, ...] = (),
    gates: tuple[Condition, ...] = (),
    critical: bool = False,
    forecast_s: float = 0.2,
    name: str = "",
    undo: Undo | None = None,
) -> Step:
    """A step on an instance; its id is `instance:verb`."""
    return Step(
        id=f"{target}:{name or verb.value}",
        verb=verb,
        text=Text(en=text[0], zh=text[1]),
        system=target.split("/", maxsplit=1)[0],
        service=target.split("@", maxsplit=1)[0] if "/" in target else "",
        instance=target if "/" in target else "",
        towards=towards,
        needs=needs,
        gates=gates,
        undo=undo,
        phase=phase,
        wave=wave,
        critical=critical,
        forecast_s=forecast_s,
    )


def cannot_ack(system: str) -> tuple[Condition, ...]:
    """The two gates of a promotion of the copy in b."""
    return (
        Condition(fact=Fact.CANNOT_ACK, instance=f"{system}/db@a", others=(f"{system}/db@b",)),
        Condition(fact=Fact.HOLDS_ALL, instance=f"{system}/db@b", others=(f"{system}/db@a",)),
    )
