"""What a take-over makes of observers whose last look is older than the loss."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import pytest

from orchestrator import takeover
from orchestrator.model.view import CentreState, Sight, View
from orchestrator.takeover import agreed
from orchestrator.team.observers import Watch

SEEN, UNSEEN = Sight.SEEN, Sight.UNSEEN


class Scripted(Watch):
    """Observers in a, b and c that tell what a test says, a look of b's own first."""

    def __init__(self, told: Callable[[float], Sequence[View]]) -> None:
        self._told, self._begun_s, self.asked = told, time.monotonic(), 0

    @property
    def observers(self) -> tuple[str, ...]:
        return ("a", "b", "c")

    async def views(self) -> tuple[View, ...]:
        self.asked += 1
        return tuple(self._told(time.monotonic() - self._begun_s))


def view(observer: str, sight: Sight, age_s: float = 0.0) -> View:
    return View(observer=observer, centre="a", sight=sight, age_s=age_s)


async def test_a_look_from_before_the_loss_is_waited_out() -> None:
    """c looked a second before we asked, and looks again after 0.4 s."""

    def told(now_s: float) -> list[View]:
        return [view("b", UNSEEN), view("c", SEEN, 1.0 + now_s) if now_s < 0.4 else view("c", UNSEEN, now_s - 0.4)]

    watch = Scripted(told)
    state, views = await agreed(watch, "a")
    assert (state, [v.sight for v in views]) == (CentreState.LOST, [UNSEEN, UNSEEN])
    assert watch.asked >= 3


async def test_a_centre_that_is_seen_by_looks_of_now_is_reachable() -> None:
    watch = Scripted(lambda now_s: [view("b", UNSEEN), view("c", SEEN, 0.1)])
    begun_s = time.monotonic()
    state, _ = await agreed(watch, "a")
    assert state is CentreState.UNKNOWN
    assert 1.0 <= time.monotonic() - begun_s < takeover.FRESH_S


async def test_a_worker_that_looks_no_more_is_not_waited_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(takeover, "FRESH_S", 0.5)
    watch = Scripted(lambda now_s: [view("b", UNSEEN), view("c", SEEN, 2.0 + now_s)])
    state, _ = await agreed(watch, "a")
    assert state is CentreState.UNKNOWN
