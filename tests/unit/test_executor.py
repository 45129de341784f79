"""The executor in a small world: order, gates, proof, what a failure means, abort, pause, resume."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator import runstore
from orchestrator.conversation import Control
from orchestrator.errors import Interrupted, Refused, Tampered, Usage
from orchestrator.evidence.journal import JournalFailed, Superseded
from orchestrator.executor import execute, verdict_of
from orchestrator.history import Answer
from orchestrator.model.observation import Snapshot
from orchestrator.model.plan import Condition, Fact, Mode, Phase, Plan, ScenarioKind, Step, Verb
from orchestrator.model.run import Event, RunState
from orchestrator.model.topology import Kind
from orchestrator.providers.recording import Recording
from orchestrator.runlog import CRASH_AT
from orchestrator.runstore import Run
from tests.simworld import KINDS, SimWorld, plan, step, topology

A, B, C = "people/db@a", "people/db@b", "people/db@c"
APP, ENTRY = "people/app@b", "people/entry@edge"


def cond(fact: Fact, instance: str, *others: str) -> Condition:
    return Condition(fact=fact, instance=instance, others=others)


def failover(system: str = "people", *, inject: bool = True) -> list[Step]:
    """Centre a lost → b, as the contract states it."""
    a, b, c = (f"{system}/db@{x}" for x in "abc")
    app, app_a, entry = f"{system}/app@b", f"{system}/app@a", f"{system}/entry@edge"
    first = ("inject",) if inject else ()
    steps = [step("inject", Verb.INJECT, params={"fault": "kill-centre a"})] if inject else []
    detach = f"{b}:detach"
    return [
        *steps,
        step(
            f"{a}:detect",
            Verb.CONFIRM,
            a,
            needs=first,
            verify=[cond(Fact.NOT_SERVING, a)],
            phase=Phase.DETECT,
        ),
        step(
            detach,
            Verb.REPOINT,
            b,
            needs=[f"{a}:detect"],
            verify=[cond(Fact.DETACHED, b)],
            undo=Verb.REPOINT,
            undo_towards=[a],
            phase=Phase.FENCE,
        ),
        step(
            f"{b}:promote",
            Verb.PROMOTE,
            b,
            needs=[detach],
            gates=[cond(Fact.CANNOT_ACK, a, b), cond(Fact.HOLDS_ALL, b, a)],
            verify=[cond(Fact.WRITABLE_PRIMARY, b)],
            phase=Phase.PROMOTE,
        ),
        step(
            f"{app}:repoint",
            Verb.REPOINT,
            app,
            towards=[b],
            needs=[f"{b}:promote"],
            verify=[cond(Fact.CALLS, app, b)],
            phase=Phase.REDIRECT,
        ),
        step(
            f"{entry}:redirect",
            Verb.REDIRECT,
            entry,
            towards=[app],
            needs=[f"{app}:repoint"],
            gates=[cond(Fact.WRITABLE_PRIMARY, b)],
            verify=[cond(Fact.ROUTED_TO, entry, app), cond(Fact.SERVES_USERS, entry)],
            phase=Phase.REDIRECT,
        ),
        step(f"{a}:fence", Verb.FENCE, a, needs=[f"{a}:detect"], verify=[cond(Fact.FENCED, a)], phase=Phase.FENCE),
        step(
            f"{a}:rejoin",
            Verb.REJOIN,
            a,
            towards=[b],
            needs=[f"{a}:fence", f"{entry}:redirect"],
            params={"mode": "sync"},
            verify=[cond(Fact.SYNC_STANDBY_OF, a, b)],
            phase=Phase.PROTECT,
        ),
        step(
            f"{app_a}:repoint",
            Verb.REPOINT,
            app_a,
            towards=[b],
            needs=[f"{a}:rejoin"],
            phase=Phase.PROTECT,
        ),
        step(
            f"{c}:confirm",
            Verb.CONFIRM,
            c,
            needs=[f"{b}:promote"],
            verify=[cond(Fact.STANDBY_OF, c, b)],
            phase=Phase.PROTECT,
        ),
    ]


class Stage:
    """A home, a world and a run of one plan."""

    def __init__(self, home: Path, steps: list[Step], systems: tuple[str, ...] = ("people",), **more: Any) -> None:
        self.home = home
        self.world = SimWorld(topology(systems), home / "effects")
        self.plan: Plan = plan(steps, **({"kind": ScenarioKind.FAILOVER} | more))
        self.run: Run | None = None

    async def start(self) -> Run:
        instances = [i.id for i in self.world.topology.instances()]
        before: Snapshot = await self.world.observe(instances, 1.0)
        self.run = runstore.create_run(self.home, self.plan, self.world.topology, (), before)
        return self.run

    async def go(self, **changes: Any) -> RunState:
        run = self.run or await self.start()
        if not run.epoch:
            run.acquire()
        try:
            return await execute(self.plan, run, self.world.ports(run, **changes))
        finally:
            run.release()

    @property
    def known(self) -> Run:
        assert self.run
        return self.run

    def events(self, event: Event) -> list[str]:
        return [r.step for r in self.known.records() if r.event is event]


async def test_a_failover_serves_users_and_restores_protection(tmp_path: Path) -> None:
    stage = Stage(tmp_path, failover())
    assert await stage.go() is RunState.DONE
    nodes = stage.world.nodes()
    assert nodes[B].role.value == "primary"
    assert nodes[A].upstream == "b"
    assert nodes[ENTRY].routes == ("b",)
    assert nodes[B].sync_required == ("a",)
    assert set(stage.events(Event.STEP_DONE)) == {s.id for s in stage.plan.steps}
    done = [r for r in stage.known.records() if r.event is Event.STEP_DONE]
    assert all(float(r.value("own_s")) >= 0 and r.value("action_s") and r.value("verify_s") for r in done)


async def test_the_start_of_an_effect_is_on_file_before_the_effect(tmp_path: Path) -> None:
    stage = Stage(tmp_path, failover())
    seen: list[tuple[str, bool]] = []
    act = stage.world.note

    def note(**line: Any) -> None:
        if line["k"] == "begin" and line["verb"] not in {"inject", "heal"}:
            started = {r.step for r in stage.known.records() if r.event is Event.EFFECT_STARTED}
            seen.append((line["step"], line["step"] in started))
        act(**line)

    stage.world.note = note  # type: ignore[method-assign]
    await stage.go()
    assert len(seen) == 7
    assert all(on_file for _, on_file in seen)


async def test_steps_without_needs_run_at_once(tmp_path: Path) -> None:
    steps = [step(f"s{n}", Verb.START, B) for n in range(20)]
    stage = Stage(tmp_path, steps)
    stage.world.act_s = (0.2, 0.2)
    begin = asyncio.get_running_loop().time()
    assert await stage.go() is RunState.DONE
    assert asyncio.get_running_loop().time() - begin < 2.0


async def test_needs_are_waited_for(tmp_path: Path) -> None:
    steps = [step("x", Verb.START, B), step("y", Verb.START, C, needs=["x"]), step("z", Verb.START, A, needs=["y"])]
    stage = Stage(tmp_path, steps)
    await stage.go()
    lines = [(e["k"], e["step"]) for e in stage.world.effects()]
    assert lines == [("begin", "x"), ("end", "x"), ("begin", "y"), ("end", "y"), ("begin", "z"), ("end", "z")]


async def test_a_shut_gate_lets_nothing_through_and_undoes(tmp_path: Path) -> None:
    steps = [s for s in failover(inject=False) if s.id != f"{B}:detach" and not s.id.endswith(":detect")]
    steps = [step("prep", Verb.START, C, undo=Verb.STOP), *steps]
    steps = [_needing(s, ["prep"] if s.id in {f"{B}:promote", f"{A}:fence"} else None) for s in steps]
    stage = Stage(tmp_path, [s for s in steps if s.id != f"{A}:fence" and "rejoin" not in s.id and "app@a" not in s.id])
    assert await stage.go() is RunState.UNDONE
    assert stage.world.begun(f"{B}:promote") == 0
    assert stage.world.nodes()[B].role.value == "standby"
    assert stage.events(Event.UNDO_DONE) == ["prep"]
    failed = next(r for r in stage.known.records() if r.event is Event.STEP_FAILED)
    assert "cannot_ack" in failed.detail
    assert failed.value("detail_zh")


def _needing(found: Step, needs: list[str] | None) -> Step:
    from msgspec.structs import replace

    return found if needs is None else replace(found, needs=tuple(needs))


async def test_a_gate_that_could_not_be_told_is_looked_at_again(tmp_path: Path) -> None:
    stage = Stage(tmp_path, [step("s", Verb.START, B, gates=[cond(Fact.DETACHED, C)])])
    stage.world.blind.add(C)
    stage.world.note(k="end", step="", verb="repoint", instance=C, towards=[], epoch=0)
    assert await stage.go() is RunState.DONE


async def test_a_promotion_without_a_gate_is_not_carried_out(tmp_path: Path) -> None:
    stage = Stage(tmp_path, [step("p", Verb.PROMOTE, B)])
    assert await stage.go() is RunState.UNDONE
    assert stage.world.effects() == []


async def test_confirming_nothing_is_no_confirmation(tmp_path: Path) -> None:
    stage = Stage(tmp_path, [step("c", Verb.CONFIRM, B)])
    assert await stage.go() is RunState.UNDONE


async def test_an_unproven_effect_fails_and_is_undone_in_reverse(tmp_path: Path) -> None:
    steps = [
        step("one", Verb.START, A, undo=Verb.STOP),
        step("two", Verb.START, B, needs=["one"], undo=Verb.STOP),
        step("ask", Verb.CONFIRM, B, needs=["two"], verify=[cond(Fact.ANSWERS, B)]),
        step("three", Verb.START, C, needs=["ask"], undo=Verb.STOP, verify=[cond(Fact.DETACHED, C)], timeout_s=0.2),
        step("four", Verb.START, C, needs=["three"]),
    ]
    stage = Stage(tmp_path, steps, kind=ScenarioKind.SWITCHOVER)
    assert await stage.go() is RunState.UNDONE
    assert stage.events(Event.UNDO_DONE) == ["three", "two", "one"]
    undone = [e["step"] for e in stage.world.effects() if e["k"] == "end" and e["undo"]]
    assert undone == ["three", "two", "one"]
    assert stage.events(Event.STEP_SKIPPED) == ["four"]
    error = verdict_of("r", RunState.UNDONE, stage.known.history().missing)
    assert error is not None and error.exit_code == 7
    assert "three: not proven within 0.2 s" in error.message


async def test_what_has_no_way_back_leaves_a_partial_state_that_is_named(tmp_path: Path) -> None:
    steps = [
        step("one", Verb.START, A, undo=Verb.STOP),
        step("two", Verb.START, B, needs=["one"]),
        step("three", Verb.START, C, needs=["two"]),
    ]
    stage = Stage(tmp_path, steps, kind=ScenarioKind.SWITCHOVER)
    stage.world.fail["three"] = "no such unit"
    assert await stage.go() is RunState.PARTIAL
    assert stage.events(Event.UNDO_DONE) == ["one"]
    missing = stage.known.history().missing
    assert any("two" in line and "changed" in line for line in missing)
    assert any("three" in line and "no such unit" in line for line in missing)
    error = verdict_of("r", RunState.PARTIAL, missing)
    assert error is not None and error.exit_code == 8


async def test_a_failing_undo_is_tried_twice_and_named(tmp_path: Path) -> None:
    steps = [step("one", Verb.START, A, undo=Verb.STOP), step("two", Verb.START, B, needs=["one"])]
    stage = Stage(tmp_path, steps, kind=ScenarioKind.SWITCHOVER)
    stage.world.fail |= {"two": "broken", "undo one": "still broken"}
    assert await stage.go() is RunState.PARTIAL
    assert sum(e["k"] == "begin" and bool(e["undo"]) for e in stage.world.effects()) == 2
    assert any("still broken" in line for line in stage.known.history().missing)


async def test_an_action_that_hangs_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.stepper.ACTOR_GRACE_S", 0.1)
    stage = Stage(tmp_path, [step("s", Verb.START, B, timeout_s=0.1, undo=Verb.STOP)])
    stage.world.hang.add("s")
    assert await stage.go() is RunState.UNDONE
    assert "no end within" in stage.known.history().failed["s"]


async def test_protection_that_fails_leaves_the_failover_alone(tmp_path: Path) -> None:
    stage = Stage(tmp_path, failover())
    stage.world.fail[f"{A}:rejoin"] = "pg_rewind failed"
    assert await stage.go() is RunState.DEGRADED
    assert stage.events(Event.UNDO_STARTED) == []
    assert stage.world.nodes()[ENTRY].routes == ("b",)
    history = stage.known.history()
    assert any("pg_rewind failed" in line for line in history.missing)
    assert any("app@a" in line for line in history.missing)
    error = verdict_of("r", RunState.DEGRADED, history.missing)
    assert error is not None and error.exit_code == 3

    stage.world.fail.clear()
    promotions = stage.world.took_effect(f"{B}:promote")
    assert await stage.go() is RunState.DONE
    assert stage.world.took_effect(f"{B}:promote") == promotions == 1
    assert stage.world.nodes()[A].upstream == "b"


async def test_a_fence_off_the_critical_path_may_fail(tmp_path: Path) -> None:
    stage = Stage(tmp_path, failover())
    stage.world.fail[f"{A}:fence"] = "host unreachable"
    assert await stage.go() is RunState.DEGRADED
    assert stage.world.nodes()[ENTRY].routes == ("b",)
    assert stage.world.begun(f"{A}:rejoin") == 0


async def test_a_fence_that_a_promotion_waits_for_may_not(tmp_path: Path) -> None:
    steps = [
        _needing(s, [f"{A}:fence"]) if s.id == f"{B}:detach" else s
        for s in failover()
        if not s.id.endswith((":rejoin", "app@a:repoint"))
    ]
    stage = Stage(tmp_path, _sorted(steps))
    stage.world.fail[f"{A}:fence"] = "host unreachable"
    assert await stage.go() is RunState.PARTIAL, "a fence without undo may have happened"
    assert stage.world.begun(f"{B}:promote") == 0


def _sorted(steps: list[Step]) -> list[Step]:
    placed: list[Step] = []
    while len(placed) < len(steps):
        placed += [s for s in steps if s not in placed and set(s.needs) <= {p.id for p in placed}]
    return placed


async def test_nothing_undoes_a_promotion(tmp_path: Path) -> None:
    stage = Stage(tmp_path, failover())
    stage.world.fail[f"{APP}:repoint"] = "connection reset"
    assert await stage.go() is RunState.PARTIAL
    assert stage.events(Event.UNDO_STARTED) == []
    nodes = stage.world.nodes()
    assert nodes[B].role.value == "primary"
    assert nodes[A].fenced, "what can still go on, goes on: a fence most of all"
    assert any("connection reset" in line for line in stage.known.history().missing)
    stage.world.fail.clear()
    assert await stage.go() is RunState.DONE
    assert stage.world.nodes()[ENTRY].routes == ("b",)


async def test_in_a_disaster_one_broken_system_does_not_hold_back_the_others(tmp_path: Path) -> None:
    steps = [*failover("people"), *[s for s in failover("maps") if s.verb is not Verb.INJECT]]
    stage = Stage(tmp_path, steps, ("people", "maps"))
    stage.world.fail["maps/db@b:detach"] = "broken"
    assert await stage.go() is RunState.PARTIAL
    nodes = stage.world.nodes()
    assert nodes["people/entry@edge"].routes == ("b",)
    assert nodes["people/db@a"].upstream == "b"
    assert nodes["maps/db@b"].role.value == "standby"
    assert stage.events(Event.UNDO_DONE) == ["maps/db@b:detach"]


async def test_a_planned_move_stops_everywhere(tmp_path: Path) -> None:
    steps = [
        step("people:1", Verb.START, A, undo=Verb.STOP),
        step("maps:1", Verb.START, "maps/db@a", undo=Verb.STOP),
        step("people:2", Verb.START, B, needs=["people:1", "maps:1"], undo=Verb.STOP),
        step("maps:2", Verb.START, "maps/db@b", needs=["maps:1", "people:2"]),
        step("maps:3", Verb.START, "maps/db@c", needs=["people:1", "maps:1", "people:2"]),
    ]
    stage = Stage(tmp_path, steps, ("people", "maps"), kind=ScenarioKind.SWITCHOVER)
    stage.world.fail["people:2"] = "broken"
    assert await stage.go() is RunState.UNDONE
    assert set(stage.events(Event.UNDO_DONE)) == {"people:1", "people:2", "maps:1"}
    assert stage.world.begun("maps:2") == stage.world.begun("maps:3") == 0


async def test_an_undone_drill_takes_its_fault_away(tmp_path: Path) -> None:
    stage = Stage(tmp_path, failover())
    stage.world.fail[f"{B}:detach"] = "broken"
    steps = [s for s in stage.plan.steps if s.verb is not Verb.FENCE and "rejoin" not in s.id and "app@a" not in s.id]
    stage.plan = plan(steps, kind=ScenarioKind.FAILOVER)
    assert await stage.go() is RunState.UNDONE
    assert stage.world.effects()[-1]["verb"] == "heal"
    assert stage.world.nodes()[A].alive


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


@pytest.mark.parametrize("mode", [Mode.TABLETOP, Mode.REHEARSAL])
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

    def full(records: Any) -> None:
        if any(r.event is Event.EFFECT_STARTED and r.step == "two" for r in records):
            raise JournalFailed("the journal cannot be written: no space left")
        write(records)

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

        async def step(self, name: str, body: Any) -> str:
            return f"done {'0' * 64}"

    stage = Stage(tmp_path, [step("one", Verb.START, A)])
    run = await stage.start()
    with pytest.raises(Tampered, match="state store"):
        await execute(stage.plan, run, stage.world.ports(run), Liar())
    run.release()


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
