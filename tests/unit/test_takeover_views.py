"""What a take-over makes of observers whose last look is older than the loss."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import pytest

from orchestrator import takeover
from orchestrator.model.view import CentreState, Sight, View
from orchestrator.takeover import agreed
from orchestrator.team.observers import Watch

pytestmark = pytest.mark.timeout(30)
SEEN, UNSEEN = Sight.SEEN, Sight.UNSEEN


@pytest.fixture(autouse=True)
def no_end_of_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing but looks of now ends the waiting, however slow the machine is."""
    monkeypatch.setattr(takeover, "FRESH_S", float("inf"))


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
    """c looked a second before we asked, and has looked again when we ask for the third time."""
    watch = Scripted(
        lambda now_s: [view("b", UNSEEN), view("c", SEEN, 1.0 + now_s) if watch.asked < 3 else view("c", UNSEEN)]
    )
    state, views = await agreed(watch, "a")
    assert (state, [v.sight for v in views]) == (CentreState.LOST, [UNSEEN, UNSEEN])
    assert watch.asked == 3


@pytest.mark.parametrize(("b", "state"), [(SEEN, CentreState.REACHABLE), (UNSEEN, CentreState.UNKNOWN)])
async def test_looks_of_now_end_the_waiting_whatever_they_say(b: Sight, state: CentreState) -> None:
    watch = Scripted(lambda now_s: [view("b", b), view("c", SEEN, 0.1)])
    assert (await agreed(watch, "a"))[0] is state
    assert watch.asked > 1


async def test_a_worker_that_looks_no_more_is_not_waited_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(takeover, "FRESH_S", 0.5)
    watch = Scripted(lambda now_s: [view("b", UNSEEN), view("c", SEEN, 2.0 + now_s)])
    state, _ = await agreed(watch, "a")
    assert state is CentreState.UNKNOWN
