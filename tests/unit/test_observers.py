"""Views from looks, and what the gate of a failover makes of them."""

from __future__ import annotations

from msgspec.structs import replace

from orchestrator.checks.centre import STALE_S, most_reach
from orchestrator.model.observation import Reach, Reading, Snapshot
from orchestrator.model.view import Sight, View
from orchestrator.team.observers import as_seen_from, views_of, watched_by
from tests.unit.build import lab

LAB = lab()


def snapshot(**reaches: Reach) -> Snapshot:
    readings = tuple(Reading(instance=f"x/db@{name}", reach=reach, took_s=0.0) for name, reach in reaches.items())
    return Snapshot(estate="e", taken_at="", took_s=0.0, readings=readings)


def sight(*reaches: Reach) -> Sight:
    names = [f"x/db@{n}" for n in range(len(reaches))]
    looks = snapshot(**{str(n): r for n, r in enumerate(reaches)})
    return views_of("b", {"a": names}, looks)[0].sight


def test_one_answer_is_enough_to_see_a_centre_and_only_silence_of_all_is_none() -> None:
    assert sight(Reach.ANSWERED, Reach.SILENT) is Sight.SEEN
    assert sight(Reach.DENIED, Reach.REFUSED) is Sight.SEEN
    assert sight(Reach.SILENT, Reach.REFUSED) is Sight.UNSEEN
    assert sight(Reach.SILENT, Reach.UNKNOWN) is Sight.UNKNOWN
    assert sight() is Sight.UNKNOWN


def test_an_observer_looks_by_its_own_ways_and_never_at_itself() -> None:
    watched = watched_by("b", LAB)
    assert set(watched) == {"a", "c"}
    assert all(name.endswith("@a") for name in watched["a"])
    own = LAB.instance_by_id["sharing/db@a"]
    if own.seen_from:
        moved = as_seen_from(LAB, "b").instance_by_id[own.id]
        assert moved.address == own.address_from("b")


def test_most_observers_must_get_the_instances_own_answer() -> None:
    def view(observer: str, *answering: str, age_s: float = 0.0) -> View:
        return View(observer=observer, centre="a", sight=Sight.SEEN, answering=answering, age_s=age_s)

    voters = ("a", "b", "c")
    both = (view("b", "x/db@a"), view("c", "x/db@a"))
    assert most_reach("x/db@a", "a", both, voters) == ("b", "c")
    assert most_reach("x/db@a", "a", both[:1], voters) == ()
    assert most_reach("y/db@a", "a", both, voters) == ()
    assert most_reach("x/db@a", "a", (both[0], replace(both[1], age_s=STALE_S + 1)), voters) == ()
    assert most_reach("x/db@a", "a", (), ()) == ()
