"""The test hook: what it reads, and that it counts an action's turns to the outside and nothing else."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from orchestrator.crashpoint import CRASH_AT, CrashPoint, outward
from orchestrator.errors import Usage
from orchestrator.model.plan import Verb
from orchestrator.model.run import Event
from tests.simestate import plan, step
from tests.stage import A


def test_it_reads_boundaries_and_insides() -> None:
    found = CrashPoint.parse("step_done:legal-person/db@b:promote:after+250")
    assert (found.event, found.step, found.after) == (Event.STEP_DONE, "legal-person/db@b:promote", True)
    assert found.later_s == 0.25
    found = CrashPoint.parse("inside:legal-person/db@b:promote:3")
    assert (found.event, found.step, found.turn, found.later_s) == (None, "legal-person/db@b:promote", 3, 0.0)


@pytest.mark.parametrize(
    "text", ["nonsense", "step_done:x", "step_done:x:3", "inside:x:after", "no_event:x:after", "step_done:x:after+"]
)
def test_what_it_cannot_read_is_refused(text: str) -> None:
    with pytest.raises(Usage, match="cannot read"):
        CrashPoint.parse(text)


def test_no_variable_no_point(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CRASH_AT, raising=False)
    assert CrashPoint.from_environment(plan([step("one", Verb.START, A)])) is None
    monkeypatch.setenv(CRASH_AT, "inside:one:1")
    with pytest.raises(Usage, match="not a lab"):
        CrashPoint.from_environment(plan([step("one", Verb.START, A)], lab=False))


async def test_turns_are_counted_for_each_action_and_in_its_tasks(tmp_path: Path) -> None:
    point = CrashPoint.parse(f"trace:{tmp_path / 'trace'}")

    async def act(name: str, turns: int) -> None:
        with point.within(name):
            for _ in range(turns):
                await asyncio.create_task(turn())

    async def turn() -> None:
        await asyncio.sleep(0)
        outward()

    outward()  # a look, outside of every action
    await asyncio.gather(act("one", 2), act("two", 1))
    outward()
    assert sorted((tmp_path / "trace").read_text().split("\n")) == ["", "one 0", "one 1", "one 2", "two 0", "two 1"]
