"""Persons, pause, abort, exercises, resume, and what keeps a late executor from acting."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.crashpoint import CRASH_AT
from orchestrator.errors import Interrupted, Refused, Tampered, Usage
from orchestrator.evidence.journal import JournalFailed, Superseded
from orchestrator.execution import runstore
from orchestrator.execution.conversation import Control
from orchestrator.execution.history import Answer
from orchestrator.executor import execute, verdict_of
from orchestrator.model.observation import Snapshot
from orchestrator.model.plan import EXERCISES, Fact, Mode, Step, Verb
from orchestrator.model.run import Event, Record, RunState
from orchestrator.model.topology import Kind
from orchestrator.providers.recording import Recording
from tests.simestate import KINDS, step
from tests.stage import A, B, Stage, cond, failover


async def test_a_bug_in_an_action_is_a_failed_step_and_its_traceback_is_kept(tmp_path: Path) -> None:
    stage = Stage(tmp_path, [step("s", Verb.START, B, undo=Verb.STOP)])

    async def boom(*_: object) -> None:
        raise ZeroDivisionError("oh")

    run = await stage.start()
    actor = type("Boom", (), {"act": boom})
    assert await execute(stage.plan, run, stage.world.ports(run, actor=lambda kind: actor)) is RunState.PARTIAL
    assert "ZeroDivisionError" in stage.known.history().failed["s"]
    assert "Traceback" in (run.artifacts("s") / "traceback.txt").read_text()


async def test_a_person_is_asked_once(tmp_path: Path) -> None:
    steps = [step("q:ask", Verb.ASK, system="people"), step("s", Verb.START, B, needs=["q:ask"])]
    stage = Stage(tmp_path, steps)
    run = await stage.start()
    with_stop = stage.world.ports(run, control=lambda: Control.PAUSE if stage.world.effects() else Control.GO)
    with pytest.raises(Interrupted):
        await execute(stage.plan, run, with_stop)
    run.release()
    assert await stage.go() is RunState.DONE
    assert [e["step"] for e in stage.world.effects() if e["k"] == "asked"] == ["q:ask"]
    answered = next(r for r in run.records() if r.event is Event.ANSWERED)
    assert (answered.value("answer"), answered.value("name")) == ("yes", "Li Wei")


@pytest.mark.parametrize(
    ("expect", "answer", "passes"), [("", "No", False), ("ja, yes", "YES", True), ("ja", "yes", False)]
)
async def test_an_answer_decides(tmp_path: Path, expect: str, answer: str, passes: bool) -> None:
    async def ask(_: Step) -> Answer:
        return Answer(answer=answer, name="Chen Yu")

    stage = Stage(tmp_path, [step("q:ask", Verb.ASK, system="people", params={"expect": expect} if expect else {})])
    assert await stage.go(ask=ask) is (RunState.DONE if passes else RunState.UNDONE)


async def test_nobody_answers(tmp_path: Path) -> None:
    async def ask(_: Step) -> Answer:
        await asyncio.sleep(3600)
        raise AssertionError

    stage = Stage(tmp_path, [step("q:ask", Verb.ASK, system="people", timeout_s=0.1)])
    assert await stage.go(ask=ask) is RunState.UNDONE


async def test_a_pause_ends_between_steps_and_is_resumed(tmp_path: Path) -> None:
    steps = [step("one", Verb.START, A), step("two", Verb.START, B, needs=["one"])]
    stage = Stage(tmp_path, steps)
    run = await stage.start()
    run.ask_control(Control.PAUSE)
    with pytest.raises(Interrupted) as caught:
        await stage.go()
    assert caught.value.exit_code == 130
    assert stage.world.effects() == []
    assert run.records()[-1].event is Event.RUN_INTERRUPTED
    assert run.summary().state is RunState.RUNNING
    assert await stage.go() is RunState.DONE


async def test_an_abort_undoes(tmp_path: Path) -> None:
    steps = [step("one", Verb.START, A, undo=Verb.STOP), step("two", Verb.START, B, needs=["one"])]
    stage = Stage(tmp_path, steps)
    await stage.start()

    def control() -> Control:
        return Control.ABORT if stage.world.took_effect("one") else Control.GO

    assert await stage.go(control=control) is RunState.ABORTED
    assert stage.events(Event.UNDO_DONE) == ["one"]
    assert stage.world.begun("two") == 0
    with pytest.raises(Refused, match="closed"):
        await stage.go()


async def test_an_abort_after_a_promotion_undoes_no_promotion(tmp_path: Path) -> None:
    stage = Stage(tmp_path, failover())
    await stage.start()

    def control() -> Control:
        return Control.ABORT if stage.world.took_effect(f"{B}:promote") else Control.GO

    assert await stage.go(control=control) is RunState.PARTIAL
    assert stage.world.nodes()[B].role.value == "primary"
    assert not any(e.get("undo") for e in stage.world.effects())


async def test_a_step_that_waits_heeds_an_abort(tmp_path: Path) -> None:
    stage = Stage(tmp_path, [step("c", Verb.CONFIRM, B, verify=[cond(Fact.DETACHED, B)], timeout_s=60)])
    run = await stage.start()
    waiting = asyncio.ensure_future(stage.go())
    while "step_started" not in (run.path / "journal.jsonl").read_text():
        await asyncio.sleep(0.01)
    run.ask_control(Control.ABORT)
    assert await asyncio.wait_for(waiting, 5) is RunState.ABORTED


@pytest.mark.parametrize("mode", sorted(EXERCISES))
async def test_an_exercise_touches_nothing(tmp_path: Path, mode: Mode) -> None:
    looked: list[str] = []
    stage = Stage(tmp_path, failover(), mode=mode)
    run = await stage.start()

    async def observe(names: Any, within_s: float) -> Snapshot:
        looked.extend(names)
        return await stage.world.observe(names, within_s)

    def recording(kind: str) -> Any:
        return Recording(Kind(name=kind, nature=KINDS[kind]))

    ports = stage.world.ports(run, observe=observe, actor=recording)
    assert await execute(stage.plan, run, ports) is RunState.DONE
    assert stage.world.effects() == []
    assert bool(looked) is (mode is Mode.REHEARSAL)
    history = run.history()
    assert history.promoted == frozenset() and not history.begun and not history.fenced
    done = [r for r in run.records() if r.event is Event.STEP_DONE]
    assert len(done) == len(stage.plan.steps)
    assert all(r.value("would") == "yes" for r in done)
    run.release()


async def test_a_rehearsal_finds_what_a_live_run_would(tmp_path: Path) -> None:
    stage = Stage(tmp_path, [step("one", Verb.REDIRECT, B)], mode=Mode.REHEARSAL)
    assert await stage.go(actor=lambda kind: Recording(Kind(name=kind, nature=KINDS[kind]))) is RunState.DEGRADED
    missing = stage.known.history().missing
    assert missing == ("one: a simdb instance has no redirect",)
    error = verdict_of("r", RunState.DEGRADED, missing, Mode.REHEARSAL)
    assert error is not None and error.exit_code == 3
    assert "nothing was changed" in error.message


async def test_an_executor_that_wakes_late_does_nothing(tmp_path: Path) -> None:
    stage = Stage(tmp_path, [step("one", Verb.START, A), step("two", Verb.START, B, needs=["one"])])
    run = await stage.start()

    def taken_over(_: Any) -> None:
        if stage.world.took_effect("one"):
            owner = json.loads((run.path / "owner.json").read_text())
            (run.path / "owner.json").write_text(json.dumps(owner | {"epoch": owner["epoch"] + 1}))

    with pytest.raises(Superseded):
        await execute(stage.plan, run, stage.world.ports(run, progress=taken_over))
    assert stage.world.begun("two") == 0
    run.release()


async def test_another_run_in_between_is_not_overwritten(tmp_path: Path) -> None:
    stage = Stage(tmp_path, [step("one", Verb.START, A), step("two", Verb.START, B, needs=["one"])])
    run = await stage.start()
    run.ask_control(Control.PAUSE)
    with pytest.raises(Interrupted):
        await stage.go()
    later = runstore.next_epoch(tmp_path)
    stage.world.note(k="end", step="x", verb="start", instance=B, towards=[], epoch=later)
    with pytest.raises(Refused, match="later run has changed people/db@b"):
        await stage.go()
    assert stage.world.begun("one") == 0


async def test_no_effect_without_its_record(tmp_path: Path) -> None:
    stage = Stage(tmp_path, [step("one", Verb.START, A), step("two", Verb.START, B, needs=["one"], undo=Verb.STOP)])
    run = await stage.start()
    write = run.journal._write

    def full(records: list[Record], content: bytes) -> None:
        if any(r.event is Event.EFFECT_STARTED and r.step == "two" for r in records):
            raise JournalFailed("the journal cannot be written: no space left")
        write(records, content)

    run.journal._write = full  # type: ignore[method-assign]
    with pytest.raises(JournalFailed):
        await execute(stage.plan, run, stage.world.ports(run))
    assert stage.world.begun("one") == 1
    assert stage.world.begun("two") == 0
    run.release()
    assert await stage.go() is RunState.DONE


async def test_a_store_that_contradicts_the_journal_is_found(tmp_path: Path) -> None:
    class Liar:
        def reserve(self, names: Any) -> None:
            pass

        async def step(self, name: str, body: Any, *, urgent: bool = False) -> str:
            return f"done {'0' * 64}"

    stage = Stage(tmp_path, [step("one", Verb.START, A)])
    run = await stage.start()
    with pytest.raises(Tampered, match="state store"):
        await execute(stage.plan, run, stage.world.ports(run), Liar())
    run.release()


async def test_one_that_was_overtaken_hears_of_its_successors_steps(tmp_path: Path) -> None:
    """It is superseded; to call the journal tampered with would send an operator the wrong way (found by a seed)."""
    stage = Stage(tmp_path, [step("one", Verb.START, A)])
    run = await stage.start()

    class Successor:
        def reserve(self, names: Any) -> None:
            pass

        async def step(self, name: str, body: Any, *, urgent: bool = False) -> str:
            runstore.open_run(tmp_path, run.id).acquire(takeover=True)
            return f"done {'0' * 64}"

    with pytest.raises(Superseded):
        await execute(stage.plan, run, stage.world.ports(run), Successor())


async def test_the_crash_hook_is_for_the_lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CRASH_AT, "effect_started:*:before")
    stage = Stage(tmp_path, [step("one", Verb.START, A)], lab=False)
    with pytest.raises(Usage, match="not a lab"):
        await stage.go()
    stage = Stage(tmp_path / "two", [step("one", Verb.START, A)])
    monkeypatch.setenv(CRASH_AT, "nonsense")
    with pytest.raises(Usage, match="cannot read"):
        await stage.go()


async def test_an_unknown_outcome_of_a_playbook_is_asked(tmp_path: Path) -> None:
    stage = Stage(tmp_path, [step("book", Verb.RUN_PLAYBOOK, B, params={"playbook": "x.yml"})])
    run = await stage.start()
    stage.world.hang.add("book")
    first = asyncio.ensure_future(stage.go())
    while not stage.world.begun("book"):
        await asyncio.sleep(0.01)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    stage.world.hang.clear()
    assert await stage.go() is RunState.DONE
    asked = [e for e in stage.world.effects() if e["k"] == "asked"]
    assert [e["answer"] for e in asked] == ["again"]
    assert stage.world.begun("book") == 2
    assert run.history().state is RunState.DONE


async def test_a_playbook_for_a_system_gets_an_instance_of_it(tmp_path: Path) -> None:
    stage = Stage(tmp_path, [step("book", Verb.RUN_PLAYBOOK, params={"playbook": "x.yml"}, system="people")])
    assert await stage.go() is RunState.DONE
    assert stage.world.effects()[0]["instance"] == B


async def test_own_time_of_a_step_is_small(tmp_path: Path) -> None:
    steps = [step(f"s{n}", Verb.START, B, needs=[f"s{n - 1}"] if n else []) for n in range(30)]
    stage = Stage(tmp_path, steps)
    await stage.go()
    own = sorted(float(r.value("own_s")) for r in stage.known.records() if r.event is Event.STEP_DONE)
    assert own[len(own) // 2] < 0.25, "the bench measures it; this is for what is wrong by a factor"
