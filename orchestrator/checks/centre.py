"""Whether a centre is lost: by the majority of those who can tell, and never by one of them alone. Pure.

Who votes on a centre: every other centre's observer, and the witness where there is one. The centre's own observer has
no vote: one that is cut off always sees itself. An observer without a fresh view keeps its vote and does not use it,
so that a majority is one of all voters, not of those that happen to answer.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from orchestrator.model.view import CentreState, Sight, View

STALE_S = 10.0
"""An older view is none: a centre that was seen (or not) then may have gone (or come back) since."""


def votes(centre: str, views: Iterable[View], observers: Collection[str]) -> dict[str, Sight]:
    """Each voter's sight of a centre; UNKNOWN for one without a fresh view. Of several views the freshest counts."""
    found = {name: Sight.UNKNOWN for name in sorted(observers) if name != centre}
    fresh = [v for v in views if v.centre == centre and v.observer in found and 0 <= v.age_s <= STALE_S]
    for view in sorted(fresh, key=lambda v: -v.age_s):
        found[view.observer] = view.sight
    return found


def centre_state(centre: str, views: Iterable[View], observers: Collection[str]) -> CentreState:
    """What more than half of all voters say; UNKNOWN where no such majority says the same.

    Args:
        centre: whom the question is about.
        views: of anyone, of anything.
        observers: everyone who observes, `centre` itself included or not.
    """
    told = list(votes(centre, views, observers).values())
    for sight, state in ((Sight.SEEN, CentreState.REACHABLE), (Sight.UNSEEN, CentreState.LOST)):
        if 2 * told.count(sight) > len(told) and len(told) > 1:
            return state
    return CentreState.UNKNOWN


def most_reach(instance: str, centre: str, views: Iterable[View], observers: Collection[str]) -> tuple[str, ...]:
    """The observers that an instance answers, where they are more than half of all who have a vote on its centre."""
    voters = {name for name in observers if name != centre}
    fresh = [v for v in views if v.centre == centre and v.observer in voters and 0 <= v.age_s <= STALE_S]
    found = tuple(sorted({v.observer for v in fresh if instance in v.answering}))
    return found if 2 * len(found) > len(voters) else ()
