"""A run as it happens: a picture that is redrawn on a terminal, plain lines elsewhere, nothing for `--output json`.

Fed by the journal's records. What it costs the run is a note in memory; drawing is done by a thread of its own.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, TextIO

from orchestrator.execution.history import History
from orchestrator.model.plan import Phase, Plan, Step, Verb
from orchestrator.model.run import Event, Record
from orchestrator.model.topology import Text

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

ROWS_MAX = 14
"""Running steps and recent lines that are shown at once."""
REDRAWS_PER_S = 8

WORDS: Mapping[Event, Text] = {
    Event.STEP_DONE: Text(en="done", zh="完成"),
    Event.STEP_FAILED: Text(en="FAILED", zh="失败"),
    Event.STEP_SKIPPED: Text(en="skipped", zh="跳过"),
    Event.FAULT_INJECTED: Text(en="FAULT INJECTED", zh="故障已注入"),
    Event.FAULT_HEALED: Text(en="fault healed", zh="故障已恢复"),
    Event.UNDO_STARTED: Text(en="undoing", zh="回退中"),
    Event.UNDO_DONE: Text(en="undone", zh="已回退"),
    Event.UNDO_FAILED: Text(en="CANNOT BE UNDONE", zh="无法回退"),
    Event.ANSWERED: Text(en="answered", zh="已答复"),
    Event.ABORT_ASKED: Text(en="abort asked for", zh="要求中止"),
    Event.RUN_RESUMED: Text(en="run resumed", zh="任务已恢复"),
    Event.RUN_INTERRUPTED: Text(en="run stopped, can be resumed", zh="任务已停止，可恢复"),
    Event.RUN_CLOSED: Text(en="run ended", zh="任务结束"),
    Event.RUN_TAKEN_OVER: Text(en="run taken over", zh="任务已被接管"),
    Event.STORE_AWAY: Text(en="STATE STORE AWAY", zh="状态库失联"),
    Event.STORE_BACK: Text(en="state store is back", zh="状态库已恢复"),
    Event.STORE_ALONE: Text(en="STATE STORE ALONE", zh="状态库无同步副本"),
    Event.JOURNAL_CUT: Text(en="half a line of a crash was cut off the journal", zh="已截去日志末尾的残行"),
}
"""Events that are told; the others would only be noise."""
BAD = frozenset({Event.STEP_FAILED, Event.UNDO_FAILED, Event.FAULT_INJECTED, Event.STORE_AWAY, Event.STORE_ALONE})
WITH_DETAIL = BAD | {Event.ANSWERED, Event.RUN_CLOSED, Event.STEP_SKIPPED, Event.RUN_TAKEN_OVER, Event.STORE_BACK}


class Watch:
    """What a view shows: the standing of every step, and the clock."""

    def __init__(self, plan: Plan, lang: str = "en", now: Callable[[], float] = time.monotonic) -> None:
        self.plan, self.lang, self.now = plan, lang, now
        self.history = History(plan)
        self.zero_s = now()
        self.fault_s: float | None = None
        self.served_s: float | None = None
        self.running: dict[str, float] = {}
        self.lines: list[tuple[Event, str]] = []
        self._path = {s.id for s in plan.steps if s.phase is Phase.REDIRECT}

    def feed(self, record: Record) -> str | None:
        """Take a record into account; the line to tell, if any."""
        self.history.feed(record)
        if record.event is Event.FAULT_INJECTED and self.fault_s is None:
            self.fault_s = record.mono_s
        began = self._clock_step(record)
        if self._path and self.served_s is None and self._path <= self.history.done.keys():
            self.served_s = record.mono_s
        if record.event not in WORDS:
            return None
        line = self._line(record, began)
        self.lines = [*self.lines, (record.event, line)][-ROWS_MAX:]
        return line

    def _clock_step(self, record: Record) -> float | None:
        if record.event in {Event.STEP_STARTED, Event.UNDO_STARTED}:
            self.running[record.step] = record.mono_s
        elif record.event in {Event.STEP_DONE, Event.STEP_FAILED, Event.UNDO_DONE, Event.UNDO_FAILED}:
            return self.running.pop(record.step, None)
        return None

    def _line(self, record: Record, began: float | None) -> str:
        word = WORDS[record.event].of(self.lang)
        took = "" if began is None else f" {record.mono_s - began:.2f} s"
        detail = (self.lang.startswith("zh") and record.value("detail_zh")) or record.detail
        told = f": {detail}" if record.event in WITH_DETAIL and detail else ""
        name = f"{record.step} " if record.step else ""
        return f"+{max(0.0, record.mono_s - self.zero_s):.3f}s {name}{word}{took}{told}"


@contextlib.contextmanager
def live_view(
    plan: Plan,
    *,
    silent: bool = False,
    lang: str = "en",
    stream: TextIO | None = None,
    records: Iterable[Record] = (),
) -> Iterator[Callable[[Record], None]]:
    """Show a run while the block lasts; gives the function that is to be told of every record.

    Args:
        plan: what is carried out.
        silent: show nothing (`--output json`).
        lang: "zh" or anything else for English.
        stream: where to; standard error by default, so that what the command itself prints stays clean.
        records: what a resumed run's journal holds already.
    """
    out = stream or sys.stderr
    watch = Watch(plan, lang)
    for record in records:
        watch.history.feed(record)
    if silent:
        yield lambda record: None
    elif out.isatty():
        with _drawn(watch, out) as progress:
            yield progress
    else:
        yield _lines(watch, out)


def _lines(watch: Watch, out: TextIO) -> Callable[[Record], None]:
    def progress(record: Record) -> None:
        line = watch.feed(record)
        if line is not None:
            out.write(f"{line}\n")
            out.flush()

    return progress


@contextlib.contextmanager
def _drawn(watch: Watch, out: TextIO) -> Iterator[Callable[[Record], None]]:
    from rich.console import Console
    from rich.live import Live

    console = Console(file=out)
    with Live(
        get_renderable=lambda: picture(watch), console=console, refresh_per_second=REDRAWS_PER_S, transient=False
    ):

        def progress(record: Record) -> None:
            watch.feed(record)

        yield progress


def picture(watch: Watch) -> RenderableType:
    """The whole view: clock and forecast, waves, running steps, the last lines."""
    from rich.console import Group
    from rich.text import Text as Styled

    lines = [Styled(f"  {line}", style="bold red" if event in BAD else "dim") for event, line in watch.lines]
    running = _running(watch)
    room = max(3, ROWS_MAX - running.row_count)
    return Group(_clock(watch), _waves(watch), running, *lines[-room:])


def _clock(watch: Watch) -> RenderableType:
    from rich.text import Text as Styled

    zh, now = watch.lang.startswith("zh"), watch.now()
    plan = watch.plan
    done = f"{len(watch.history.done)}/{len(plan.steps)}"
    head = Styled(f"{plan.scenario} {plan.mode.value}  {done}  +{now - watch.zero_s:.1f} s", style="bold")
    head.append(f" / {plan.forecast_total_s:.1f} s {'预计' if zh else 'forecast'}", style="dim")
    since = watch.fault_s if watch.fault_s is not None else watch.zero_s
    if watch.served_s is not None:
        served = "用户已恢复服务" if zh else "users served after"
        head.append(f"  {served} {watch.served_s - since:.2f} s", style="bold green")
    elif watch.fault_s is not None:
        head.append(f"  {'中断' if zh else 'outage'} {now - since:.1f} s", style="bold red")
    head.append(f" / {plan.forecast_rto_s:.1f} s {'预计' if zh else 'forecast'}", style="dim")
    return head


def _waves(watch: Watch) -> RenderableType:
    """One mark a step, one group a wave; counts where that would not fit."""
    from rich.text import Text as Styled

    text = Styled()
    for wave in sorted({s.wave for s in watch.plan.steps}):
        steps = [s for s in watch.plan.steps if s.wave == wave]
        if len(watch.plan.steps) > 80:
            done = sum(s.id in watch.history.done for s in steps)
            text.append(f" {wave}:{done}/{len(steps)}", style="green" if done == len(steps) else "yellow")
            continue
        for step in steps:
            text.append(*_mark(watch, step))
        text.append(" ")
    return text


def _mark(watch: Watch, step: Step) -> tuple[str, str]:
    history = watch.history
    if step.id in history.undone:
        return "↩", "yellow"
    if step.id in history.failed:
        return "✗", "bold red"
    if step.id in history.done:
        return "■", "red" if step.verb is Verb.INJECT else "green"
    return ("▶", "bold yellow") if step.id in watch.running else ("·", "dim")


def _running(watch: Watch) -> Table:
    from rich.table import Table

    table = Table(box=None, show_header=False, padding=(0, 1))
    now = watch.now()
    for name, began in list(watch.running.items())[:ROWS_MAX]:
        step = watch.plan.step_by_id.get(name)
        if step is None:
            continue
        took, style = now - began, "yellow" if step.critical else ""
        forecast = f"/ {step.forecast_s:.1f} s" if step.forecast_s else ""
        table.add_row("▶", name, step.text.of(watch.lang), f"{took:.1f} s", forecast, style=style)
    return table
