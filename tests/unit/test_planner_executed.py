"""Our own runbooks, planned from a look and carried out by the real executor in the simulated world.

What is asserted is read from the world, never from the plan.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from orchestrator.execution import runstore
from orchestrator.executor import execute
from orchestrator.model.observation import Snapshot
from orchestrator.model.plan import Mode, Plan, Step
from orchestrator.model.request import Request, Timings
from orchestrator.model.run import RunState
from orchestrator.model.topology import Role, Setting
from orchestrator.planner import plan
from tests.simworld import SimWorld, topology
from tests.unit.build import runbook

PEOPLE = ("people", "land")


def world_in(tmp_path: Path) -> SimWorld:
    return SimWorld(topology=topology(PEOPLE), path=tmp_path / "world.jsonl")


async def look_at(world: SimWorld) -> Snapshot:
    return await world.observe([i.id for i in world.topology.instances()], 1.0)


async def planned(world: SimWorld, scenario: str, **words: Any) -> tuple[Plan, Snapshot]:
    """A live plan of one of our runbooks from a look at the world."""
    look = await look_at(world)
    request = Request(mode=Mode.LIVE, created_at=look.taken_at, topology_sha256="0" * 64, **words)
    return plan(world.topology, look, runbook(scenario), request, Timings()), look


async def carried_out(world: SimWorld, home: Path, scenario: str, **words: Any) -> RunState:
    """Plan and carry out, as `drctl drill run` does."""
    made, look = await planned(world, scenario, **words)
    made = msgspec.structs.replace(made, steps=tuple(_marked(s) for s in made.steps))
    run = runstore.create_run(home, made, world.topology, (), look)
    try:
        return await execute(made, run, world.ports(run))
    finally:
        run.release()


def _marked(step: Step) -> Step:
    """The simulated world tells a way back from the way there by a parameter."""
    if step.undo is None:
        return step
    params = (*step.undo.params, Setting(name="undo", value="yes"))
    return msgspec.structs.replace(step, undo=msgspec.structs.replace(step.undo, params=params))


def standing(world: SimWorld, system: str) -> dict[str, tuple[str, str, tuple[str, ...]]]:
    """centre → role, upstream, required standbys of a system's database."""
    nodes = world.nodes()
    found = {c: nodes[f"{system}/db@{c}"] for c in "abc"}
    assert all(n.alive and not n.fenced for n in found.values())
    return {
        c: (n.role.value, n.upstream if n.role is not Role.PRIMARY else "", n.sync_required) for c, n in found.items()
    }


AT_HOME = {"a": ("primary", "", ("b",)), "b": ("standby", "a", ()), "c": ("standby", "b", ())}
IN_B = {"a": ("standby", "b", ()), "b": ("primary", "", ("a",)), "c": ("standby", "b", ())}


async def test_a_killed_centre_is_taken_over_and_comes_back(tmp_path: Path) -> None:
    world = world_in(tmp_path)
    state = await carried_out(world, tmp_path, "centre-lost", lost=("a",), fault="kill-centre a")
    assert state is RunState.DONE
    for system in PEOPLE:
        assert standing(world, system) == IN_B
        assert world.nodes()[f"{system}/app@a"].upstream == "b"
        assert world.nodes()[f"{system}/entry@edge"].routes == ("a", "b")


async def test_there_and_back_again(tmp_path: Path) -> None:
    world = world_in(tmp_path)
    assert await carried_out(world, tmp_path, "switchover", target="b") is RunState.DONE
    assert all(standing(world, s) == IN_B for s in PEOPLE)
    assert await carried_out(world, tmp_path, "failback") is RunState.DONE
    assert all(standing(world, s) == AT_HOME for s in PEOPLE)


async def test_one_system_alone(tmp_path: Path) -> None:
    world = world_in(tmp_path)
    state = await carried_out(world, tmp_path, "system-switchover", target="b", systems=("land",))
    assert state is RunState.DONE
    assert standing(world, "land") == IN_B
    assert standing(world, "people") == AT_HOME


async def test_a_switchover_that_fails_before_it_promotes_is_undone(tmp_path: Path) -> None:
    world = world_in(tmp_path)
    assert await carried_out(world, tmp_path, "switchover", target="b", systems=("people",)) is RunState.DONE
    world.fail["people/db@c:hold"] = "no such luck"
    assert await carried_out(world, tmp_path, "failback") is RunState.UNDONE
    assert standing(world, "people") == IN_B
    assert not world.nodes()["people/db@b"].read_only


async def test_a_promotion_that_fails_leaves_no_second_primary(tmp_path: Path) -> None:
    world = world_in(tmp_path)
    world.fail["people/db@b:promote"] = "no such luck"
    state = await carried_out(world, tmp_path, "switchover", target="b", systems=("people",))
    assert state is RunState.PARTIAL
    primaries = [n for n in world.nodes().values() if n.role is Role.PRIMARY and n.instance.service == "people/db"]
    assert sum(not n.read_only for n in primaries) <= 1
