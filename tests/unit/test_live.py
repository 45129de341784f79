"""The live view and the runs on the terminal, fed by real journals of a small world."""

from __future__ import annotations

import asyncio
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from orchestrator.cli import runs as runs_cli
from orchestrator.cli.options import Settings
from orchestrator.errors import Refused
from orchestrator.evidence.journal import utc_now
from orchestrator.execution import runstore
from orchestrator.execution.runstore import Run
from orchestrator.executor import execute
from orchestrator.model.observation import Snapshot
from orchestrator.model.plan import Phase, Plan, Verb
from orchestrator.model.run import Record
from orchestrator.reports.live import Watch, live_view, picture
from tests.simestate import plan, step, topology
from tests.simworld import SimWorld

A, ENTRY = "people/db@a", "people/entry@edge"
NOTHING = Snapshot(estate="sim", taken_at=utc_now(), took_s=0.0, readings=())


def steps(*, broken: bool = False) -> Plan:
    last = step("late", Verb.START, A, needs=["move"], phase=Phase.PROTECT)
    inject = step("hit", Verb.INJECT, params={"fault": "kill-centre b"})
    move = step("move", Verb.REDIRECT, ENTRY, towards=["people/app@a"], needs=["hit", "q:ask"], phase=Phase.REDIRECT)
    return plan([inject, step("q:ask", Verb.ASK, system="people"), move, *([last] if broken else [])])


def carried_out(home: Path, made: Plan, **fail: str) -> tuple[Run, list[Record]]:
    world = SimWorld(topology(), home / "effects", fail=fail)
    run = runstore.create_run(home, made, world.topology, (), NOTHING)
    seen: list[Record] = []
    asyncio.run(execute(made, run, world.ports(run, progress=seen.append)))
    run.release()
    return run, seen


def test_plain_lines_without_a_terminal(tmp_path: Path) -> None:
    made = steps(broken=True)
    _, records = carried_out(tmp_path, made, late="no such unit")
    out = io.StringIO()
    with live_view(made, stream=out) as progress:
        for record in records:
            progress(record)
    lines = out.getvalue().splitlines()
    assert any(re.fullmatch(r"\+\d+\.\d{3}s move done \d+\.\d\d s", line) for line in lines), lines
    assert any("hit FAULT INJECTED: kill-centre b" in line for line in lines)
    assert any("q:ask answered: Li Wei: yes" in line for line in lines)
    assert any(re.search(r"late FAILED \d+\.\d\d s: no such unit", line) for line in lines)
    assert lines[-1].endswith("run ended: degraded")
    assert len(lines) < len(records), "not every record is worth a line"


def test_nothing_for_programs(tmp_path: Path) -> None:
    made = steps()
    _, records = carried_out(tmp_path, made)
    out = io.StringIO()
    with live_view(made, silent=True, stream=out) as progress:
        for record in records:
            progress(record)
    assert out.getvalue() == ""


@pytest.mark.parametrize(
    ("lang", "words"), [("en", ["users served after", "forecast"]), ("zh", ["用户已恢复服务", "预计"])]
)
def test_the_picture_shows_clock_waves_and_what_runs(tmp_path: Path, lang: str, words: list[str]) -> None:
    from rich.console import Console

    made = steps(broken=True)
    _, records = carried_out(tmp_path, made, late="no such unit")
    watch = Watch(made, lang)
    pictures = []
    for record in records:
        watch.feed(record)
        console = Console(file=io.StringIO(), width=140)
        console.print(picture(watch))
        pictures.append(console.file.getvalue())  # type: ignore[attr-defined]
    assert any("▶" in p and "move" in p for p in pictures)
    assert all(word in pictures[-1] for word in words)
    assert "■" in pictures[-1] and "✗" in pictures[-1]
    assert ("outage" if lang == "en" else "中断") in "".join(pictures)


def test_a_big_plan_fits_the_screen() -> None:
    from rich.console import Console

    made = plan([step(f"s{n}", Verb.START, A) for n in range(900)])
    console = Console(file=io.StringIO(), width=120)
    console.print(picture(Watch(made)))
    assert len(console.file.getvalue().splitlines()) < 24  # type: ignore[attr-defined]


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_picture(tmp_path: Path) -> None:
    made = steps()
    _, records = carried_out(tmp_path, made)
    out = Tty()
    with live_view(made, stream=out) as progress:
        for record in records:
            progress(record)
    assert "users served after" in out.getvalue()


def call(home: Path, *words: str) -> Result:
    settings = Settings(estate="lab", home=home, lab_dir=home / "lab", state="", lang="en")
    return CliRunner().invoke(runs_cli.runs, words, obj=settings, standalone_mode=False)


def test_runs_list_and_show(tmp_path: Path) -> None:
    assert "no runs yet" in call(tmp_path, "list").output
    run, _ = carried_out(tmp_path, steps(broken=True), late="no such unit")
    listed = call(tmp_path, "list").output
    assert run.id in listed and "degraded" in listed and "3/4" in listed
    assert json.loads(call(tmp_path, "list", "--output", "json").output)[0]["missing"] == ["late: no such unit"]
    shown = call(tmp_path, "show", "last").output
    assert "missing   late: no such unit" in shown
    assert re.search(r"\+\d+\.\d{3}s  step_done +move \(\d", shown)
    whole: dict[str, Any] = json.loads(call(tmp_path, "show", run.id[:12], "--output", "json").output)
    assert whole["summary"]["state"] == "degraded"
    assert whole["records"][0]["event"] == "run_opened"


def test_a_list_tells_of_what_it_cannot_read(tmp_path: Path) -> None:
    run, _ = carried_out(tmp_path, steps())
    journal = run.path / "journal.jsonl"
    journal.write_bytes(journal.read_bytes().replace(b"Li Wei", b"Li Mei"))
    result = call(tmp_path, "list")
    assert "cannot be read" in result.output
    assert result.return_value == 9


def test_what_has_ended_is_neither_resumed_nor_aborted(tmp_path: Path) -> None:
    carried_out(tmp_path, steps())
    for word in ("resume", "abort"):
        assert isinstance(call(tmp_path, word, "last").exception, Refused)


def test_a_live_executor_is_asked_to_abort(tmp_path: Path) -> None:
    made = steps()
    run = runstore.create_run(tmp_path, made, topology(), (), NOTHING)
    result = call(tmp_path, "abort", "last")
    assert "asked run" in result.output
    assert run.control().value == "abort"
    assert call(tmp_path, "answer", "last", "q:ask", "--name", "Li Wei", "--answer", "yes").exception is None
    assert run.answer_of("q:ask") is not None
    run.release()
