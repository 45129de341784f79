"""Parts of a system that no condition ties are proven apart: each meets every world that it meets beside the others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from orchestrator.checks.conditions import Evidence, judge
from orchestrator.machine.world import World
from orchestrator.model.observation import Finding, Verdict
from orchestrator.model.plan import Condition, Fact, Plan, Step, Verb
from orchestrator.prover import prove
from orchestrator.proving import views as cut
from orchestrator.proving.course import Courses
from orchestrator.proving.moves import Move, Rules
from orchestrator.proving.search import Search
from orchestrator.proving.simple import Course
from orchestrator.proving.story import NO_END
from orchestrator.proving.views import View, groups, views, whole
from orchestrator.proving.worlds import Worlds
from tests.unit.test_conclusion import estate
from tests.unit.test_prover import RUNBOOKS, certified, harm, made, one_system
from tests.unit.test_prover_reductions import searched

TOPOLOGY = estate("lab-buckets")
SYSTEM = "legal-person"
CITY = {"lost": ("a", "b"), "target": "c", "accept_loss": True, "fault": "kill-centre a; kill-centre b"}
CENTRE = {"lost": ("a",), "accept_loss": True, "fault": "kill-centre a"}


def first(scenario: str, **words: object) -> Plan:
    """The plan of the system that keeps rows and objects."""
    return one_system(TOPOLOGY, made(TOPOLOGY, RUNBOOKS / f"{scenario}.yaml", **words), SYSTEM)  # type: ignore[arg-type]


PLANS: dict[str, Callable[[], Plan]] = {
    "a takeover": lambda: first("centre-lost", **CENTRE),
    "a lost standby": lambda: first("centre-lost", lost=("b",), fault="kill-centre b"),
    "a switchover": lambda: first("switchover", target="b", systems=(SYSTEM,)),
}


def met(view: View, most: int) -> frozenset[World]:
    """Every world that a view comes to from a well world and from a frozen centre."""
    search, found = searched(view, most, simply=True)
    assert (found.wrong, found.troubles) == (None, most), "not searched to the end"
    return search.met()


def only(world: World, view: View) -> World:
    """What a view shows of a world."""
    lost = world.lost & {s.id for s in view.ground.services}
    return replace(world, nodes=tuple(n for n in world.nodes if n.id in view.ground.index), lost=lost)


@pytest.mark.parametrize("name", [*PLANS, "a city lost"])
def test_each_part_alone_meets_every_world_that_it_meets_beside_the_other(name: str) -> None:
    made, most = (PLANS[name](), 1) if name in PLANS else (first("site-lost", **CITY), 0)
    (group,) = groups(made, TOPOLOGY)
    db, files = (v for v in views(group) if v.aborts)
    assert [[s.id.rpartition("/")[2] for s in v.ground.services] for v in (db, files)] == [["db"], ["files"]]
    beside = met(cut._data(group, group.ground.services), most)
    for view in (db, files):
        here = {only(world, view) for world in beside}
        assert len(here) > 10
        assert here <= met(view, most)


@pytest.mark.parametrize("name", list(PLANS))
def test_users_are_led_as_in_the_view_of_everything(name: str) -> None:
    (group,) = groups(PLANS[name](), TOPOLOGY)
    (served,) = (v for v in views(group) if not v.aborts)
    assert [s.id.rpartition("/")[2] for s in served.ground.services] == ["db", "app", "entry"]
    everything = whole(group)
    assert len(everything.ground.services) == 4
    assert {only(world, served) for world in met(everything, 1)} <= met(served, 1)


def test_a_city_is_lost_with_a_database_and_a_bucket_and_the_plan_is_proven() -> None:
    found = certified(prove(first("site-lost", **CITY), TOPOLOGY))
    assert found.complete
    assert {s.troubles for s in found.shapes} == {3}


def open_to_all(condition: Condition, evidence: Evidence) -> Finding:
    """A judge to whom every gate is open."""
    return replace(judge(condition, evidence), verdict=Verdict.PASS)


def city(which: Callable[[View], bool], **of_redirect: Any) -> tuple[Search, dict[str, int]]:
    """A search of one view of a lost city, and the bit of each of its steps."""
    lost = first("site-lost", **CITY)
    steps = tuple(replace(s, **of_redirect) if s.verb is Verb.REDIRECT else s for s in lost.steps)
    (group,) = groups(replace(lost, steps=steps), TOPOLOGY)
    view = next(v for v in views(group) if which(v))
    worlds = Worlds(view.ground, view.concerned, view.ground.declared(), open_to_all)
    courses = Courses(worlds, view.plan, alone=True, free=view.free, unsure=view.unsure, aborts=view.aborts)
    return Search(worlds, courses, Rules(faults=())), {s.id: 1 << n for n, s in enumerate(view.plan.steps)}


def test_a_promotion_that_is_not_looked_into_is_past_return_once_it_began() -> None:
    search, bits = city(lambda v: v.aborts)
    courses, promote = search.courses, bits[f"{SYSTEM}/files@c:promote-accepting-loss"]
    fence = next(n for n, s in enumerate(courses.steps) if s.id == f"{SYSTEM}/db@a:fence")
    stands = Course(done=bits["inject"] | 1 << fence, begun=1 << fence, order=(fence,))
    for begun, back in ((0, True), (promote, False)):
        failed = courses.number(stands._replace(failed=promote, begun=stands.begun | begun))
        while (menu := courses.menu(failed)).begins or menu.frees or menu.flights:  # what else goes on there, fails
            assert not back
            failed = (
                menu.frees[0].failed if menu.frees else (menu.begins[0].shut if menu.begins else menu.flights[0][3])
            )
        assert bool(menu.backs) == back
    ready = next(f for f in courses.menu(courses.number(stands)).frees if 1 << f.step == promote)
    begun_course = courses.course(ready.done)
    assert (begun_course.begun & promote, begun_course.done & promote) == (promote, 0)
    assert not courses.course(ready.failed).begun & promote
    ends = next(f for f in courses.menu(ready.done).frees if 1 << f.step == promote)
    assert courses.course(ends.done).done & promote
    assert courses.course(ends.failed).begun & promote


@pytest.mark.parametrize("alone", [False, True])
def test_a_gate_that_is_not_looked_at_may_be_shut_though_nothing_went_wrong(alone: bool) -> None:
    only_files = (Condition(fact=Fact.WRITABLE_PRIMARY, instance=f"{SYSTEM}/files@c"),)
    search, bits = city(lambda v: not v.aborts, **({"gates": only_files} if alone else {}))
    step = next(n for n, s in enumerate(search.courses.steps) if s.verb is Verb.REDIRECT)
    assert [s.id for n, s in enumerate(search.courses.steps) if search.courses.unsure[n]] == [
        search.courses.steps[step].id
    ]
    others = sum(bits.values()) & ~(1 << step)
    number = search.courses.number(Course(done=others))
    state = search._after(search.worlds.number(search.worlds.ground.declared()), number, 0)
    told = [label[0] for _, _, cost, label, _ in search.nexts(state) if not cost]
    assert told == [Move.BEGIN, Move.SHUT]


def test_what_leads_up_to_a_promotion_that_is_not_looked_into_is_told_by_it() -> None:
    """It may fail, and begin, as early as the first of what leads up to it."""

    def step(name: str, verb: Verb, *needs: str, system: str = SYSTEM) -> Step:
        like = next(s for s in first("site-lost", **CITY).steps if s.verb is Verb.CONFIRM)
        return replace(like, id=name, verb=verb, needs=needs, system=system)

    inject, early = step("inject", Verb.INJECT, system=""), step("early", Verb.CONFIRM)
    late = step("late", Verb.FENCE, "inject")
    promote, follows = step("promote", Verb.PROMOTE, "early", "late"), step("follows", Verb.REJOIN, "late", "promote")
    free = {"early", "late", "promote"}
    told = {s.id: s.needs for s in cut._led_up([inject, early, late, promote, follows], free)}
    assert told == {"inject": (), "promote": (), "follows": ("promote",)}
    told = {s.id: s.needs for s in cut._led_up([inject, late, replace(promote, needs=("late",))], free)}
    assert told == {"inject": (), "promote": ("inject",)}
    every = [inject, early, late, promote, follows]
    assert cut._led_up(every, free - {"late"}) == every
    elsewhere = [inject, replace(early, system="sharing"), late, promote, follows]
    assert cut._led_up(elsewhere, free) == elsewhere


@pytest.mark.parametrize("service", ["db", "files"])
def test_a_plan_of_which_one_part_never_comes_to_its_end_is_refused(service: str) -> None:
    """The candidate is to take writes before it is promoted."""
    whole_plan, candidate = first("site-lost", **CITY), f"{SYSTEM}/{service}@c"
    never = Condition(fact=Fact.WRITABLE_PRIMARY, instance=candidate)
    steps = tuple(
        replace(s, gates=(*s.gates, never)) if s.verb is Verb.PROMOTE and s.instance == candidate else s
        for s in whole_plan.steps
    )
    assert harm(prove(replace(whole_plan, steps=steps), TOPOLOGY)).rule == NO_END


def hasty(plan: Plan, service: str, *gates: Condition) -> Plan:
    """A plan in which nobody waits for the fences of a service, neither by a need nor by a gate."""

    def step(found: Step) -> Step:
        if found.verb not in {Verb.PROMOTE, Verb.REPOINT} or not found.instance.startswith(f"{SYSTEM}/{service}@"):
            return found
        needs = tuple(n for n in found.needs if not n.endswith(":fence"))
        return replace(found, needs=needs, gates=gates if found.verb is Verb.PROMOTE else ())

    return replace(plan, steps=tuple(map(step, plan.steps)))


@pytest.mark.parametrize(("service", "other"), [("db", "files"), ("files", "db")])
@pytest.mark.parametrize("asked", [True, False])
def test_harm_in_either_part_is_found(service: str, other: str, asked: bool) -> None:
    """Whatever is asked of the candidate itself, or of the other part, whose gates are not looked at."""
    frozen = first("site-lost", **CITY | {"fault": "freeze-centre a; freeze-centre b"})
    certified(prove(frozen, TOPOLOGY))
    gate = Condition(fact=Fact.DETACHED, instance=f"{SYSTEM}/{service if asked else other}@c")
    told = harm(prove(hasty(frozen, service, gate), TOPOLOGY))
    assert told.rule in {"one-acknowledger", "promotion-licensed"}
    assert {name.partition("@")[0] for name in told.story[-1].en.split() if "@" in name} == {f"{SYSTEM}/{service}"}
