"""Runs on the terminal: the list, and one run with its timeline."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.errors import DrctlError
from orchestrator.execution.runstore import Owner, Run
from orchestrator.model.run import Event, Record, RunState, RunSummary
from orchestrator.model.topology import Frozen

COLUMNS = ("RUN", "MODE", "STATE", "STEPS", "STARTED", "ENDED")


class RunView(Frozen, kw_only=True):
    """One run with its journal, as `drctl runs show --output json` prints it."""

    summary: RunSummary
    owner: Owner | None
    records: tuple[Record, ...]


def view(run: Run) -> RunView:
    """Everything that is shown of a run.

    Raises:
        Tampered: its journal was changed.
    """
    return RunView(summary=run.summary(), owner=run.owner(), records=run.records())


def standing(summary: RunSummary) -> str:
    """The state in a word; a running one that nobody carries out is interrupted."""
    if summary.state is RunState.RUNNING and not summary.owner_alive:
        return "interrupted"
    return summary.state.value


def list_lines(summaries: Sequence[RunSummary], broken: Sequence[tuple[str, DrctlError]]) -> list[str]:
    """A table, newest last; runs that cannot be read below it."""
    if not summaries and not broken:
        return ["no runs yet"]
    rows = [
        (s.run, s.mode.value, standing(s), f"{s.steps_done}/{s.steps}", s.started_at[:19], s.ended_at[:19])
        for s in summaries
    ]
    widths = [max(len(row[i]) for row in (COLUMNS, *rows)) for i in range(len(COLUMNS))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (COLUMNS, *rows)
    ]
    return [*lines, *(f"{name}  cannot be read: {error.message}" for name, error in broken)]


def show_lines(run: RunView) -> list[str]:
    """Head and timeline; seconds count from the first record, and start anew with another boot of the machine."""
    summary, owner = run.summary, run.owner
    lines = [
        f"run       {summary.run}",
        f"scenario  {summary.scenario} ({summary.kind.value}, {summary.mode.value})",
        f"state     {standing(summary)}, {summary.steps_done} of {summary.steps} steps done",
        f"started   {summary.started_at}",
    ]
    lines += [f"ended     {summary.ended_at}"] if summary.ended_at else []
    if owner:
        alive = "alive" if summary.owner_alive else "gone"
        lines.append(f"owner     pid {owner.pid} on {owner.host}, epoch {owner.epoch}, {alive}")
    lines += [f"missing   {line}" for line in summary.missing]
    return [*lines, "", *timeline(run.records)]


def timeline(records: Sequence[Record]) -> list[str]:
    """One line for each record, with the seconds since the first one of the same boot."""
    zeros: dict[str, float] = {}
    lines = []
    for record in records:
        since = record.mono_s - zeros.setdefault(record.boot, record.mono_s)
        verdict = f" {record.value('verdict')} {record.value('fact')}" if record.event is Event.GATE_JUDGED else ""
        took = f" ({record.value('total_s')} s)" if record.value("total_s") else ""
        detail = f": {record.detail}" if record.detail else ""
        lines.append(f"{since:+10.3f}s  {record.event.value:<16} {record.step}{verdict}{took}{detail}".rstrip())
    return lines
