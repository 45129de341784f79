"""A machine's clock that is set during a run decides nothing."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace

from orchestrator import carry
from orchestrator.evidence.journal import REAL
from orchestrator.execution.runclock import run_clock
from orchestrator.model.observation import Verdict
from orchestrator.model.plan import Fact
from tests.stage import A, B, Stage, cond, failover


@pytest.mark.parametrize("set_by_s", [-7200, -5, 0, 7200])
async def test_a_promotion_is_judged_alike_whatever_the_clock_says(tmp_path: Path, set_by_s: int) -> None:
    """A died, B was detached and held everything as seen before the loss; then the clock was set."""
    stage = Stage(tmp_path, failover())
    run = await stage.start()
    await stage.world.inject("kill-centre a")
    stage.world.note(k="end", step="detach", verb="repoint", instance=B, towards=[], epoch=run.epoch)
    look = await stage.world.observe([A, B], 1.0)
    shifted = datetime.fromisoformat(look.taken_at) + timedelta(seconds=set_by_s)
    means: Any = SimpleNamespace(observe=stage.world.observe, injector=None)
    ports = carry.ports(means, run, lambda record: None, {})
    now = replace(look, taken_at=shifted.isoformat())
    for fact, instance, other in ((Fact.CANNOT_ACK, A, B), (Fact.HOLDS_ALL, B, A)):
        found = ports.judge(cond(fact, instance, other), now, run.before, frozenset(), run.epoch)
        assert found.verdict is Verdict.PASS, found.reason.en
    run.release()


async def test_after_a_reboot_there_is_only_the_clock(tmp_path: Path) -> None:
    run = await Stage(tmp_path, failover()).start()
    records = run.records()
    later = replace(REAL, boot=lambda: "another", utc=lambda: "2026-01-01T00:00:00Z")
    assert run_clock(records, later)() == "2026-01-01T00:00:00Z"
    assert run_clock((), later)() == "2026-01-01T00:00:00Z"
    ticking = replace(REAL, monotonic=lambda: records[0].mono_s + 90, utc=lambda: "2026-01-01T00:00:00Z")
    passed = datetime.fromisoformat(run_clock(records, ticking)()) - datetime.fromisoformat(records[0].at)
    assert passed == timedelta(seconds=90)
    run.release()
