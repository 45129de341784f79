"""How long steps took in past runs, from the journals in the home: what forecasts rest on once there is a history.

Leaves out: what is made of it (planner, simulation.forecast).
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from orchestrator.errors import DrctlError
from orchestrator.execution.history import WOULD
from orchestrator.execution.runstore import Run, open_run, run_ids
from orchestrator.model.plan import TOUCHING, Verb
from orchestrator.model.request import Timing
from orchestrator.model.run import Event, Record

RUNS = 8
"""So many of the latest runs are read: older ones tell of an older estate, and reading takes time."""


def durations(home: Path, estate: str, runs: int = RUNS) -> Mapping[tuple[Verb, str], tuple[float, ...]]:
    """(verb, kind of service) → seconds that done steps took in the latest real runs of an estate, oldest first.

    A run that cannot be read is passed over: a forecast must not fail for an old file.
    """
    found: dict[tuple[Verb, str], list[float]] = {}
    for run, records in _latest(home, estate, runs):
        for record in records:
            step = run.plan.step_by_id.get(record.step)
            total = record.value("total_s")
            if record.event is Event.STEP_DONE and step is not None and total and not record.value(WOULD):
                instance = run.topology.instance_by_id.get(step.instance)
                kind = run.topology.service_by_id[instance.service].kind if instance else ""
                found.setdefault((step.verb, kind), []).append(float(total))
    return {key: tuple(seconds) for key, seconds in found.items()}


def history(home: Path, estate: str) -> tuple[Timing, ...]:
    """The middle of the measured durations, as forecasts."""
    return tuple(
        Timing(verb=verb, kind=kind, seconds=round(sorted(seconds)[len(seconds) // 2], 3))
        for (verb, kind), seconds in sorted(durations(home, estate).items())
    )


def _latest(home: Path, estate: str, runs: int) -> list[tuple[Run, tuple[Record, ...]]]:
    """Runs with their journals, oldest first."""
    found: list[tuple[Run, tuple[Record, ...]]] = []
    for name in reversed(run_ids(home)):
        if len(found) == runs:
            break
        with suppress(DrctlError):
            run = open_run(home, name)
            if run.plan.estate == estate and run.plan.mode in TOUCHING:
                found.append((run, run.records()))
    return found[::-1]
