"""A centre is lost by the majority of all who have a vote, and by nothing less."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.checks.centre import STALE_S, centre_state, votes
from orchestrator.model.view import WITNESS, CentreState, Sight, View

CENTRES = ("a", "b", "c")


def view(observer: str, sight: Sight, centre: str = "a", age_s: float = 0.0) -> View:
    return View(observer=observer, centre=centre, sight=sight, age_s=age_s)


def state(*views: View, observers: tuple[str, ...] = CENTRES) -> CentreState:
    return centre_state("a", views, observers)


def test_both_others_agree() -> None:
    assert state(view("b", Sight.UNSEEN), view("c", Sight.UNSEEN)) is CentreState.LOST
    assert state(view("b", Sight.SEEN), view("c", Sight.SEEN)) is CentreState.REACHABLE


def test_one_alone_never_tells() -> None:
    assert state(view("b", Sight.UNSEEN)) is CentreState.UNKNOWN
    assert state(view("b", Sight.UNSEEN), view("c", Sight.SEEN)) is CentreState.UNKNOWN
    assert state(view("b", Sight.UNSEEN), view("c", Sight.UNKNOWN)) is CentreState.UNKNOWN
    assert state(view("b", Sight.UNSEEN), observers=("a", "b")) is CentreState.UNKNOWN


def test_the_witness_breaks_a_tie() -> None:
    four = (*CENTRES, WITNESS)
    split = (view("b", Sight.UNSEEN), view("c", Sight.SEEN))
    assert state(*split, observers=four) is CentreState.UNKNOWN
    assert state(*split, view(WITNESS, Sight.UNSEEN), observers=four) is CentreState.LOST
    assert state(*split, view(WITNESS, Sight.SEEN), observers=four) is CentreState.REACHABLE


def test_a_centre_has_no_vote_on_itself() -> None:
    views = (view("a", Sight.SEEN), view("b", Sight.UNSEEN), view("c", Sight.UNSEEN))
    assert state(*views) is CentreState.LOST
    assert "a" not in votes("a", views, CENTRES)


def test_a_stale_view_is_none_and_of_two_the_fresher_counts() -> None:
    old = view("c", Sight.UNSEEN, age_s=STALE_S + 0.1)
    assert state(view("b", Sight.UNSEEN), old) is CentreState.UNKNOWN
    again = (view("c", Sight.SEEN, age_s=5.0), view("c", Sight.UNSEEN, age_s=1.0), view("b", Sight.UNSEEN))
    assert state(*again) is CentreState.LOST
    assert state(view("b", Sight.UNSEEN), view("c", Sight.UNSEEN, age_s=-1.0)) is CentreState.UNKNOWN


def test_views_of_others_and_of_strangers_say_nothing() -> None:
    assert state(view("b", Sight.UNSEEN, centre="c"), view("c", Sight.UNSEEN)) is CentreState.UNKNOWN
    assert state(view("x", Sight.UNSEEN), view("c", Sight.UNSEEN)) is CentreState.UNKNOWN
    assert state() is CentreState.UNKNOWN
    assert centre_state("a", (), ()) is CentreState.UNKNOWN


sights = st.sampled_from(Sight)


@given(
    told=st.dictionaries(st.sampled_from(["b", "c", "d", "e", WITNESS]), sights),
    voters=st.sets(st.sampled_from("abcde")),
)
def test_lost_and_reachable_each_need_more_than_half_of_all_voters(told: dict[str, Sight], voters: set[str]) -> None:
    views = [view(name, sight) for name, sight in told.items()]
    found = centre_state("a", views, voters)
    electorate = voters - {"a"}
    for sight, meant in ((Sight.UNSEEN, CentreState.LOST), (Sight.SEEN, CentreState.REACHABLE)):
        say = sum(told.get(v) is sight for v in electorate)
        assert (found is meant) == (say * 2 > len(electorate) and len(electorate) > 1)
