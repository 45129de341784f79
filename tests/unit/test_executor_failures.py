"""What a failure means: protection, promotions, other systems, undo."""

from __future__ import annotations

from pathlib import Path

from orchestrator.executor import verdict_of
from orchestrator.model.plan import ScenarioKind, Step, Verb
from orchestrator.model.run import Event, RunState
from tests.simestate import plan, step
from tests.stage import APP, ENTRY, A, B, Stage, failover, needing


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
        needing(s, [f"{A}:fence"]) if s.id == f"{B}:detach" else s
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
    verbs = [e["verb"] for e in stage.world.effects()]
    assert verbs.index("heal") < len(verbs) - 1 - verbs[::-1].index("repoint")  # what is put back meets a whole world
    assert stage.world.nodes()[A].alive
