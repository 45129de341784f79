"""Protection waits for users, but never for the operator's word nor for a run that has come to its end."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path
from typing import Any

import pytest

from orchestrator import executor
from orchestrator.errors import Interrupted
from orchestrator.execution.conversation import Control
from orchestrator.model.plan import Fact, Phase, Step, Verb
from orchestrator.model.run import Event, RunState
from tests.simestate import step
from tests.stage import A, B, C, Stage, cond

PROMPT_S = 5.0
"""Far below the bounds of what is waited for (20 s, 60 s), far above a busy machine's delays."""


def steps() -> list[Step]:
    """Users of B wait for something that does not come; A could be protected meanwhile."""
    return [
        step("users", Verb.CONFIRM, B, verify=[cond(Fact.DETACHED, B)], timeout_s=60, phase=Phase.VERIFY),
        step("protect", Verb.START, A, phase=Phase.PROTECT, undo=Verb.STOP),
    ]


async def waiting(home: Path, more: list[Step] | None = None, **ports: Any) -> tuple[Stage, asyncio.Task[RunState]]:
    """A run whose protection waits."""
    stage = Stage(home, steps() + (more or []))
    run = await stage.start()
    going = asyncio.ensure_future(stage.go(**ports))
    while '"step_started","step":"users"' not in (run.path / "journal.jsonl").read_text():
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
    assert stage.world.begun("protect") == 0, "protection does not wait: this would prove nothing"
    return stage, going


async def test_a_pause_ends_the_wait(tmp_path: Path) -> None:
    stage, going = await waiting(tmp_path)
    stage.known.ask_control(Control.PAUSE)
    with pytest.raises(Interrupted):
        await asyncio.wait_for(going, PROMPT_S)
    assert stage.world.begun("protect") == 0


async def test_an_abort_ends_the_wait(tmp_path: Path) -> None:
    stage, going = await waiting(tmp_path)
    stage.known.ask_control(Control.ABORT)
    assert await asyncio.wait_for(going, PROMPT_S) is RunState.ABORTED
    assert stage.world.begun("protect") == 0


async def test_a_fatal_end_ends_the_wait(tmp_path: Path) -> None:
    """The disk gets full under another step: nothing more is begun, and nobody waits for proofs until their bound."""
    now = asyncio.Event()

    class Full:
        async def act(self, verb: Verb, order: Any) -> Any:
            await now.wait()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    other = step("other", Verb.START, C, phase=Phase.REDIRECT)
    stage, going = await waiting(tmp_path, [other], actor=lambda kind: Full())
    now.set()
    with pytest.raises(OSError, match="No space left"):
        await asyncio.wait_for(going, PROMPT_S)
    assert stage.world.begun("protect") == 0
    assert stage.known.history().state is RunState.RUNNING
    assert stage.events(Event.STEP_FAILED) == []


async def test_protection_does_not_wait_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor, "USERS_FIRST_S", 0.3)
    stage, going = await waiting(tmp_path)
    while not stage.world.took_effect("protect"):
        assert not going.done()
        await asyncio.sleep(0.01)
    stage.known.ask_control(Control.PAUSE)
    with pytest.raises(Interrupted):
        await asyncio.wait_for(going, PROMPT_S)
