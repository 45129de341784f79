"""What makes the search small loses nothing: with courses told simply and without, the same worlds are met.

Two courses that are told as one and should not be lead to other worlds, or to none where the other would. So each
rule of `proving.simple` is held against the search that does without all of them.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from orchestrator.machine.faults import Fault, strike
from orchestrator.model.plan import Plan, Verb
from orchestrator.proving.course import Courses
from orchestrator.proving.moves import Found, Rules, Start
from orchestrator.proving.search import Search
from orchestrator.proving.simple import Course, Simple
from orchestrator.proving.views import View, faults, groups, views
from orchestrator.proving.worlds import Worlds
from tests.unit.test_prover import RUNBOOKS, TOPOLOGY, made, one_system

KILL = {"lost": ("a",), "fault": "kill-centre a"}
STATES_MAX = 200_000


def first(scenario: str, **words: object) -> Plan:
    """The plan of one system."""
    return one_system(TOPOLOGY, made(TOPOLOGY, RUNBOOKS / f"{scenario}.yaml", **words), "first")  # type: ignore[arg-type]


LOSS = {"lost": ("a",), "target": "c", "accept_loss": True, "fault": "freeze-centre a"}
PLANS: dict[str, Callable[[], Plan]] = {
    "a takeover": lambda: first("centre-lost", **KILL),
    "a takeover that accepts a loss": lambda: first("centre-lost", **LOSS),
    "a lost standby": lambda: first("centre-lost", lost=("b",), fault="kill-centre b"),
    "a switchover": lambda: first("switchover", target="b", systems=("first",)),
}
TOGETHER = {"a takeover that accepts a loss": (1, 0)}
"""How many troubles may come together, in the view of data and in that of all, where two are too many for a search
that tells nothing simply."""


def searched(view: View, most: int, *, simply: bool) -> tuple[Search, Found]:
    """Everything that a view can come to from a well world and from a frozen centre."""
    before = view.ground.declared()
    worlds = Worlds(view.ground, view.concerned, before)
    courses = Courses(
        worlds, view.plan, alone=True, free=view.free, unsure=view.unsure, aborts=view.aborts, simply=simply
    )
    search = Search(worlds, courses, Rules(faults=faults(view, ("a",), real=False), troubles=view.troubles))
    frozen = strike(view.ground, before, Fault(name="freeze-centre", place="a"))
    starts = [Start(name, worlds.number(world)) for name, world in (("", before), ("frozen", frozen))]
    return search, search.run(starts, STATES_MAX, most)


@pytest.mark.parametrize("name", list(PLANS))
@pytest.mark.parametrize("which", [0, 1], ids=["data", "all"])
def test_the_same_worlds_are_met_with_courses_told_simply_and_without(name: str, which: int) -> None:
    (group,) = groups(PLANS[name](), TOPOLOGY)
    view, most = views(group)[which], TOGETHER.get(name, (2, 2))[which]
    simple, found = searched(view, most, simply=True)
    plain, every = searched(view, most, simply=False)
    assert (found.wrong, every.wrong) == (None, None)
    assert found.troubles == every.troubles == most, "not searched to the end"
    assert found.states < every.states
    assert simple.met() == plain.met()


def two_systems() -> Plan:
    """A takeover of two systems as if they shared a service."""
    whole = made(TOPOLOGY, RUNBOOKS / "centre-lost.yaml", **KILL)  # type: ignore[arg-type]
    steps = [s for s in whole.steps if s.system in {"", "first", "pool-east"}]
    ids = {s.id for s in steps}
    cut = tuple(replace(s, needs=tuple(n for n in s.needs if n in ids)) for s in steps)
    return replace(whole, systems=("first", "pool-east"), steps=cut)


def test_a_promotion_of_one_system_leaves_the_other_its_way_back() -> None:
    """Past its point of no return a system is not undone; the other one of its group still is."""
    plan = two_systems()
    of = {s.id: n for n, s in enumerate(plan.steps)}
    needs = [sum(1 << of[n] for n in s.needs) for s in plan.steps]
    promoted = next(n for n, s in enumerate(plan.steps) if s.verb is Verb.PROMOTE and s.system == "first")
    begun = [n for n, s in enumerate(plan.steps) if s.verb is Verb.REPOINT and s.id.endswith("detach")]
    assert {plan.steps[n].system for n in begun} == {"first", "pool-east"}
    course = Course(begun=sum(1 << n for n in (*begun, promoted)), order=(*begun, promoted))
    kept = Simple(plan, needs, aborts=True).form(course)
    other = next(n for n in begun if plan.steps[n].system == "pool-east")
    assert kept.order == (other,)
    assert kept.begun == 1 << other | 1 << promoted
