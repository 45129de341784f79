"""What befell others, as named scenarios: each in many seeds, and each with what must not happen here."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from orchestrator.errors import Refused
from orchestrator.simulation.chance import Chance
from tests.simulation.__main__ import story
from tests.simulation.driver import Course, Driver, Result
from tests.simulation.lives import Death
from tests.simulation.situations import Situation, Words, situation
from tests.simulation.weather import CALM, Blow, Weather

SEEDS = range(25)
ESTATES = ("chain", "star", "single-app", "two")
LOST_A = "kill-centre a"
ENDED = {"done", "degraded, resumed: done"}


def lost(estate: str = "chain", befallen: str = LOST_A, *, accept_loss: bool = False) -> Situation:
    """Centre a is lost, and its systems are taken over."""
    words = Words(estate=estate, scenario="centre-lost", lost=("a",), befallen=befallen, accept_loss=accept_loss)
    return situation(words)


def played(where: Situation, weather: Weather, seeds: range = SEEDS) -> Iterator[tuple[Result, Course]]:
    """The story in some seeds, without any violation."""
    driver = Driver()
    for seed in seeds:
        result = driver.play(where, weather, Chance(seed))
        assert not result.violations, story(result, last=60)
        yield result, driver.course


def told(result: Result, words: str) -> list[float]:
    """When something happened."""
    return [at for at, text in result.trace if words in text]


@pytest.mark.parametrize("estate", ESTATES)
def test_github_2018_a_partition_of_43_seconds(estate: str) -> None:
    """The centres lose each other; the old primary runs on, with its local users, on its side of the cut.

    GitHub's orchestrator promoted on the other side, both took writes, and putting them together took 24 hours.
    """
    where = lost(estate, "cut-link a-b; cut-link a-c; darken a")
    for result, course in played(where, Weather(befallen_s=43.0)):
        assert result.outcome in ENDED, story(result)
        logs = course.world.logs["one/db"]
        assert logs.head == "b"
        fork = logs.parents[1][1]
        assert logs.acked[0] <= fork, "the old side told a client that a write is kept, and the new side lacks it"
        assert logs.acked[1] > fork, "users write again"
        promoted = told(result, "one/db@b:promote takes effect")
        assert promoted and promoted[0] < 43.0, "nobody waits for the partition to end"


def test_github_2018_without_a_sync_copy() -> None:
    """Nothing proves that the other side is silent, and no fence reaches it: nothing is promoted, whoever consents."""
    befallen = "cut-link a-b; cut-link a-c; darken a"
    with pytest.raises(Refused, match="loss-accepted"):
        lost("loose", befallen)
    where = lost("loose", befallen, accept_loss=True)
    for result, course in played(where, Weather(befallen_s=600.0)):
        assert not told(result, "promote-accepting-loss takes effect"), story(result)
        assert course.world.logs["one/db"].head == "a"


@pytest.mark.parametrize("estate", ESTATES)
def test_ramendr_the_state_lies_on_the_dead_site(estate: str) -> None:
    """The state store dies with the centre, and the controller in the middle: plan and journal suffice."""
    for result, _ in played(lost(estate), Weather(blows=(_blow("store", 0.02), _blow("kill", 0.2)))):
        assert result.outcome == "done", story(result)
        assert result.lives == 2


@pytest.mark.parametrize("how", ["before", "torn", "after"])
def test_veeam_the_controller_restarts_in_the_middle_of_a_plan(how: str) -> None:
    """Wherever it is: at every operation on its journal, power lost."""
    driver = Driver()
    for where in (lost(), lost("loose", accept_loss=True), switched()):
        for operation in range(1, 130):
            weather = Weather(deaths=(Death(operation=operation, how=how),))
            result = driver.play(where, weather, Chance(operation))
            assert not result.violations, story(result, last=60)
            assert result.outcome == "done", story(result, last=60)
            if result.lives == 1:
                break
        assert operation > 20
        assert result.lives == 1, "every operation had its turn"


def switched(target: str = "b") -> Situation:
    """A planned move."""
    return situation(Words(estate="star", scenario="switchover", target=target))


def test_awx_the_controller_dies_with_its_job() -> None:
    """Killed when the order is out, which lands at once, or late, when the next controller is already at work."""
    for where in (lost(), lost("loose", accept_loss=True), switched("b"), switched("c")):
        for act in range(1, len(where.plan.steps)):
            weather = Weather(deaths=(Death(act=act),))
            for result, _ in played(where, weather, range(6)):
                assert result.outcome == "done", story(result, last=60)


def test_pg_auto_failover_the_monitor_dies() -> None:
    """Nobody is there for an hour, in the middle of a planned move: the databases keep what they told, and no other
    one takes over by itself; then somebody resumes."""
    where = switched()
    for operation in range(1, 100, 7):
        weather = Weather(deaths=(Death(operation=operation, how="after"),), resumed_s=3600.0)
        for result, course in played(where, weather, range(3)):
            assert result.outcome == "done", story(result, last=60)
            promotions = told(result, ":promote takes effect")
            assert len(promotions) <= 2
            assert len(course.world.logs["one/db"].parents) == 2, "one promotion, whoever carried it out"


@pytest.mark.parametrize("centres", ["a", "b", "ab", "abc"])
def test_dropbox_the_tool_acts_on_a_wrong_view(centres: str) -> None:
    """Probes go on showing a world that is gone, from just before or just after the fault: it may fail, and harms
    nobody."""
    for at_s in (0.0, 0.15, 0.35, 0.6):
        blows = tuple(_blow("lie", at_s, c, lasts_s=90.0) for c in centres)
        where = situation(Words(estate="chain", scenario="centre-lost", lost=("a",), fault="kill-centre a"))
        for result, _ in played(where, Weather(blows=blows), range(8)):
            assert result.outcome != "refused", story(result)


@pytest.mark.parametrize("late_s", [0.05, 0.4, 3.0, 60.0])
def test_a_frozen_primary_wakes_up_late(late_s: float) -> None:
    """As a primary, with its sessions, in the middle of the take-over or after it."""
    for estate in ESTATES:
        for result, course in played(lost(estate, "freeze-centre a"), Weather(befallen_s=late_s), range(12)):
            assert result.outcome in {*ENDED, "undone"}, story(result)
            logs = course.world.logs["one/db"]
            assert result.outcome == "undone" or logs.acked[0] <= logs.parents[1][1]


@pytest.mark.parametrize("jump_s", [-7200.0, -3.0, 5.0, 7200.0])
def test_the_clock_is_set_in_the_middle(jump_s: float) -> None:
    """What was seen before the loss may seem too old or from the future: then nothing is promoted on its strength."""
    for at_s in (0.0, 0.01, 0.05, 0.3):
        for result, _ in played(lost(), Weather(blows=(_blow("clock", at_s, size=jump_s),)), range(10)):
            promoted = told(result, "promote takes effect")
            assert (result.outcome == "done") is bool(promoted), story(result)
            assert promoted or result.outcome.endswith("undone"), story(result)


def test_the_disk_is_full_at_the_journal() -> None:
    """No effect without its record; when there is room again the run goes on."""
    for at_s in (0.0, 0.005, 0.05, 0.1, 0.3, 0.6, 2.0):
        for result, _ in played(lost(), Weather(blows=(_blow("full", at_s, lasts_s=30.0),)), range(8)):
            assert result.outcome == "done", story(result, last=60)
            effects = [at for at in told(result, "takes effect") if at_s + 0.5 < at < at_s + 30.0]
            assert not effects, story(result, last=60)


def test_a_calm_day() -> None:
    """The stories above are not won by doing nothing: without faults every scenario is done."""
    for where in (lost(), switched(), switched("c"), lost("loose", accept_loss=True)):
        for result, _ in played(where, CALM):
            assert result.outcome == "done", story(result)


def _blow(kind: str, at_s: float, place: str = "a", *, size: float = 0.5, lasts_s: float = 1.0) -> Blow:
    return Blow(at_s=at_s, kind=kind, place=place, size=size, lasts_s=lasts_s)
