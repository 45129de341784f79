"""The executor in a small world: order, gates, proof, the way back."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from orchestrator.executor import execute, verdict_of
from orchestrator.model.observation import Snapshot
from orchestrator.model.plan import Fact, ScenarioKind, Verb
from orchestrator.model.run import Event, RunState
from tests.simestate import step
from tests.stage import ENTRY, A, B, C, Stage, cond, failover, needing


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
    steps = [needing(s, ["prep"] if s.id in {f"{B}:promote", f"{A}:fence"} else None) for s in steps]
    stage = Stage(tmp_path, [s for s in steps if s.id != f"{A}:fence" and "rejoin" not in s.id and "app@a" not in s.id])
    assert await stage.go() is RunState.UNDONE
    assert stage.world.begun(f"{B}:promote") == 0
    assert stage.world.nodes()[B].role.value == "standby"
    assert stage.events(Event.UNDO_DONE) == ["prep"]
    failed = next(r for r in stage.known.records() if r.event is Event.STEP_FAILED)
    assert "cannot_ack" in failed.detail
    assert failed.value("detail_zh")


async def test_a_gate_that_could_not_be_told_is_looked_at_again(tmp_path: Path) -> None:
    stage = Stage(tmp_path, [step("s", Verb.START, B, gates=[cond(Fact.DETACHED, C)])])
    stage.world.blind.add(C)
    stage.world.note(k="end", step="", verb="repoint", instance=C, towards=[], epoch=0)
    assert await stage.go() is RunState.DONE


@pytest.mark.parametrize(("until", "state"), [(5, RunState.DONE), (1_000_000, RunState.UNDONE)])
async def test_what_is_on_its_way_is_waited_for_before_a_promotion_is_refused(
    until: int, state: RunState, tmp_path: Path
) -> None:
    """A demoted server still logs of its own; its candidate has that a moment later."""
    promote = step("p", Verb.PROMOTE, B, needs=["d"], gates=[cond(Fact.HOLDS_ALL, B, A)])
    stage = Stage(tmp_path, [step("d", Verb.DEMOTE, A, undo=Verb.UNFENCE), promote])
    looks, real = 0, stage.world.observe

    async def observe(instances: Collection[str], within_s: float) -> Snapshot:
        nonlocal looks
        looks += B in instances
        found = await real(instances, within_s)
        ahead = [
            replace(r, position=1056) if r.instance == A and looks <= until and not r.writable else r
            for r in found.readings
        ]
        return replace(found, readings=tuple(ahead))

    stage.world.observe = observe  # type: ignore[method-assign]
    assert await stage.go() is state
    assert stage.world.begun("p") == (state is RunState.DONE)
    assert looks > 4


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
    monkeypatch.setattr("orchestrator.execution.stepper.ACTOR_GRACE_S", 0.1)
    stage = Stage(tmp_path, [step("s", Verb.START, B, timeout_s=0.1, undo=Verb.STOP)])
    stage.world.hang.add("s")
    assert await stage.go() is RunState.UNDONE
    assert "no end within" in stage.known.history().failed["s"]


async def test_what_answers_slowly_is_given_a_longer_look_until_it_is_seen(tmp_path: Path) -> None:
    stage = Stage(tmp_path, [step("s", Verb.START, B, verify=[cond(Fact.ANSWERS, B)], timeout_s=20.0)])
    run, bounds = await stage.start(), []

    async def observe(names: Collection[str], within_s: float) -> Snapshot:
        bounds.append(within_s)
        return await stage.world.observe(names if within_s > 3 else [], within_s)

    assert await execute(stage.plan, run, stage.world.ports(run, observe=observe)) is RunState.DONE
    run.release()
    assert bounds[-3:] == [1.0, 2.0, 4.0]


async def test_the_last_look_ends_soon_after_the_step_has_no_time_left(tmp_path: Path) -> None:
    stage = Stage(tmp_path, [step("s", Verb.START, B, verify=[cond(Fact.ANSWERS, B)], timeout_s=0.3)])
    run, bounds = await stage.start(), []

    async def observe(names: Collection[str], within_s: float) -> Snapshot:
        bounds.append(within_s)
        return await stage.world.observe([], within_s)

    assert await execute(stage.plan, run, stage.world.ports(run, observe=observe)) is RunState.PARTIAL
    run.release()
    assert max(bounds) == 1.0
