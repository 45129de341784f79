"""The report's figures for programs."""

from __future__ import annotations

from pathlib import Path

from orchestrator.model.plan import Mode, ScenarioKind
from orchestrator.model.run import Measurements, RunState
from orchestrator.model.topology import Frozen, Text
from orchestrator.reports.dossier import read_dossier
from orchestrator.reports.judgement import Copies, Light, judge
from orchestrator.reports.sections.base import View
from orchestrator.reports.sections.course import deviation_texts
from orchestrator.reports.words import Outcome, Words


class StepResult(Frozen, kw_only=True):
    """One step; seconds count from the fault (or the declaration where there was none)."""

    step: str
    wave: int
    phase: str
    critical: bool
    outcome: Outcome
    planned_begin_s: float
    begin_s: float | None
    end_s: float | None
    forecast_s: float
    slow: bool
    detail: str


class RunResults(Frozen, kw_only=True):
    """What `drctl report --format json` prints."""

    run: str
    scenario: str
    kind: ScenarioKind
    mode: Mode
    state: RunState
    verdict: Light
    missing: tuple[str, ...]
    plan_sha256: str
    opened_at: str
    closed_at: str
    objectives_met: int
    objectives: int
    measurements: Measurements | None
    copies: tuple[Copies, ...]
    steps: tuple[StepResult, ...]
    deviations: tuple[Text, ...]


def results_of(folder: Path) -> RunResults:
    """The figures of a run, from its folder or bundle.

    Raises:
        BadFile: it is no run's folder, or a file of it cannot be read.
        Tampered: the journal's chain is broken.
    """
    dossier = read_dossier(folder)
    judgement, history = judge(dossier), dossier.history
    english, chinese = (deviation_texts(View(dossier, Words(lang))) for lang in ("en", "zh"))
    steps = (
        StepResult(
            step=t.step.id,
            wave=t.step.wave,
            phase=t.step.phase.value,
            critical=t.step.critical,
            outcome=t.outcome,
            planned_begin_s=round(t.planned_begin_s, 4),
            begin_s=None if t.begin_s is None else round(t.begin_s, 4),
            end_s=None if t.end_s is None else round(t.end_s, 4),
            forecast_s=t.step.forecast_s,
            slow=t.slow,
            detail=t.detail,
        )
        for t in dossier.timeline.steps
    )
    return RunResults(
        run=dossier.run,
        scenario=dossier.plan.scenario,
        kind=dossier.plan.kind,
        mode=dossier.plan.mode,
        state=history.state,
        verdict=judgement.light,
        missing=history.missing,
        plan_sha256=dossier.plan.sha256,
        opened_at=history.opened_at,
        closed_at=history.closed_at,
        objectives_met=judgement.objectives_met,
        objectives=judgement.objectives,
        measurements=dossier.measurements,
        copies=judgement.copies,
        steps=tuple(steps),
        deviations=tuple(
            Text(en=": ".join(filter(None, e)), zh="：".join(filter(None, z)))
            for e, z in zip(english, chinese, strict=True)
        ),
    )
