"""Proves a plan before it runs: every interleaving, every crash, late answers, one more fault; or a counterexample.

Pure: a plan, a topology and the looks that the plan rests on in, a certificate or a counterexample out. The worlds and
what happens in them are the tables of `machine`; the gates are judged by the shipped checks; what a failure means is
decided by the executor's own decisions. Groups of systems that share nothing are proven apart, and groups of one shape
once. Leaves out: time and load; the data itself (its loss is bounded from above, see `machine.world`).
"""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

from msgspec.structs import replace

from orchestrator.checks.conditions import judge
from orchestrator.machine.faults import Fault
from orchestrator.machine.invariants import WHEN_DONE
from orchestrator.machine.table import Act
from orchestrator.machine.world import World
from orchestrator.model.certificate import Certificate, Counterexample, Shape
from orchestrator.model.observation import Snapshot
from orchestrator.model.plan import Plan, Verb
from orchestrator.model.run import RunState
from orchestrator.model.topology import Role, Text, Topology
from orchestrator.proving.course import Courses
from orchestrator.proving.moves import ANSWER, CRASH, FAULT, TROUBLES, Found, Rules, Start, Wrong
from orchestrator.proving.search import Search
from orchestrator.proving.shapes import shape
from orchestrator.proving.starts import is_real_loss, lost_worlds, moved_worlds, world_before
from orchestrator.proving.story import NO_END, tell
from orchestrator.proving.views import Group, View, faults, groups, views, whole
from orchestrator.proving.worlds import Deed, Judge, Worlds

VERSION = "3"
"""Of the model: it counts up with everything that may change what is proven."""
STATES_MAX = 40_000
"""States of one search, of which a system has two to four; about 300 bytes each. Where they do not suffice, the
certificate says how many troubles were let come together to the end."""
TROUBLES_MIN = 1
"""A plan of which not even every single trouble could be searched to its end is not proven."""
ALONE = (0, FAULT, CRASH, ANSWER)
"""What comes with an order of an earlier run."""
FIRST = 5
"""So many times that bound for what is looked at at least: that one thing goes wrong."""
CONSIDERED = (
    Text(en="every order of the steps that their needs allow", zh="步骤依赖所允许的全部执行次序"),
    Text(
        en="the world moves between a gate and its effect, and between an effect and its proof",
        zh="准入与动作之间、动作与验证之间环境发生变化",
    ),
    Text(
        en="an answer that is late or lost, an order that takes effect after it was given up, an abort",
        zh="应答迟到或丢失、指令被放弃后才生效、操作员中止",
    ),
    Text(
        en="a crash of drctl before, in and after every step and every way back, and going on from the journal",
        zh="drctl 在每个步骤及回退之前、之中、之后崩溃并从日志继续",
    ),
    Text(
        en="a promotion that an earlier, superseded run ordered and that takes effect only now",
        zh="先前已被接替的任务所下达、此刻才生效的提升指令",
    ),
    Text(
        en="one more fault: a centre killed, frozen or dark, a link cut, an instance stopped; late wake-ups",
        zh="再发生一处故障：中心宕机、冻结、失联，链路中断，实例停止；以及延迟苏醒",
    ),
)
ASSUMED = (
    Text(
        en="each of a fault, a crash and a late answer comes at most once in a run, in any combination",
        zh="一次任务中，故障、崩溃、应答迟到各至多一次，可任意组合",
    ),
    Text(en="where the entries lead is looked at with one fault alone", zh="入口流向仅考虑单处故障"),
    Text(en="actions do what the table of the state machine says", zh="动作效果与状态机表一致"),
    Text(
        en="whom the old primary waits for did not change between the last look and its loss",
        zh="自最后一次观测至失效，原主库的同步要求未变",
    ),
    Text(en="a fence holds until this run takes it away", zh="隔离在本任务解除之前一直有效"),
)


class _Case(NamedTuple):
    """One shape: a group that stands for all that are like it, and the worlds in which it begins."""

    group: Group
    before: World
    starts: Mapping[str, World]
    real: bool
    alone: bool
    judged: Judge = judge
    states_max: int = STATES_MAX


def prove(
    plan: Plan,
    topology: Topology,
    *,
    now: Snapshot | None = None,
    before: Snapshot | None = None,
    judged: Judge = judge,
    states_max: int = STATES_MAX,
    known: Mapping[str, Shape] | None = None,
) -> Certificate | Counterexample:
    """Explore every run of a plan.

    Args:
        plan: what would be done; a rehearsal or a tabletop is proven as if it were live.
        topology: the estate.
        now: the look that the plan rests on; None: as declared.
        before: the memory of each instance's last answer, as the planner got it.
        judged: judges the gates; the shipped judge, unless a test puts a broken one in its place.
        states_max: bound of one search.
        known: shapes that were proven before, by the same prover and the same judge; by key.
    """
    found: dict[str, tuple[_Case, list[str]]] = {}
    cases = list(groups(plan, topology))
    for group in cases:
        case = _case(group, plan, (now, before), len(cases) == 1)._replace(judged=judged, states_max=states_max)
        key = _key(shape(group, case.starts, case.before, plan, case.alone))
        found.setdefault(key, (case, []))[1].extend(group.systems)
    shapes: list[Shape] = []
    unproven: list[str] = []
    for key, (case, systems) in found.items():
        if known and key in known:
            shapes.append(replace(known[key], systems=tuple(systems)))
            continue
        with _without_pauses():
            proven = _prove(case, plan)
        if isinstance(proven, Counterexample):
            return proven
        if proven is None:
            unproven += systems
        else:
            shapes.append(_shape_of(key, proven, case, systems))
    return _certificate(plan, tuple(shapes), tuple(unproven), tuple(case for case, _ in found.values()))


def _key(what: object) -> str:
    return hashlib.sha256(repr((VERSION, what)).encode()).hexdigest()


@contextmanager
def _without_pauses() -> Iterator[None]:
    """A search makes millions of small values and no circles: the collector of circles would only cost time."""
    on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if on:
            gc.enable()


def _case(group: Group, plan: Plan, looks: tuple[Snapshot | None, Snapshot | None], alone: bool) -> _Case:
    now, before = looks
    real = is_real_loss(plan)
    world = world_before(group.ground, now, before, plan.lost if real else ())
    starts = lost_worlds(group.ground, world, plan, now) if real else {"": world}
    return _Case(group, world, starts, real, alone)


class _Proven(NamedTuple):
    states: int
    transitions: int
    troubles: int


def _prove(case: _Case, plan: Plan) -> _Proven | Counterexample | None:
    """The counts of every view together; None where there were too many states."""
    every = views(case.group)
    data = [view for view in every if view.aborts] or every[:1]
    moved = [
        (other, view)
        for other in _moved(case)
        for view in data
        if _only(other.before, view) != _only(case.before, view)
    ]
    cases = [*((case, view) for view in every), *moved]
    searches = [(_search(one, view), one) for one, view in cases]
    searches += [(late, case) for view in data if (late := _superseded(case, view))]
    # What is wrong with a plan mostly shows where hardly anything goes wrong: all views are looked at for that first.
    for most in (1, TROUBLES):
        for (search, starts), _ in searches:
            room = case.states_max * (FIRST if most == 1 else 1)
            found = search.run(starts, room, most)
            if found.wrong:
                return _counterexample(found, search, case, plan)
        if most == 1 and (lacking := _without_end(case)):
            return lacking
    every_found = [search.run(starts, case.states_max) for (search, starts), _ in searches]
    troubles = min(f.troubles for f in every_found)
    if troubles < TROUBLES_MIN:
        return None
    return _Proven(sum(f.states for f in every_found), sum(f.transitions for f in every_found), troubles)


def _moved(case: _Case) -> Iterator[_Case]:
    """The case in worlds that have moved since the plan was made."""
    ground, plan = case.group.ground, case.group.plan
    for name, world in moved_worlds(ground, case.before, plan).items():
        starts = lost_worlds(ground, world, plan, None) if case.real else {"": world}
        yield case._replace(before=world, starts={f"{name}/{start}": w for start, w in starts.items()})


def _search(case: _Case, view: View, *, simply: bool = True) -> tuple[Search, list[Start]]:
    before = _only(case.before, view)
    worlds = Worlds(view.ground, view.concerned, before, case.judged, view.plan.attested)
    courses = Courses(
        worlds, view.plan, alone=case.alone, free=view.free, unsure=view.unsure, aborts=view.aborts, simply=simply
    )
    lost = view.plan.lost
    rules = Rules(
        faults=faults(view, lost, case.real),
        returns=tuple(_return(c, view.plan) for c in lost) if case.real else (),
        troubles=view.troubles,
    )
    starts = [Start(name, worlds.number(_only(world, view))) for name, world in case.starts.items()]
    return Search(worlds, courses, rules), starts


def _superseded(case: _Case, data: View) -> tuple[Search, list[Start]] | None:
    """The search in which an earlier run promoted what is primary now, and that order is still on its way to it.

    Its executor was superseded by this run: the order was given again, or its answer was lost. Nothing but the epoch
    keeps it from taking effect after this run has moved the primary. One trouble comes with it, not several.
    """
    moves = {s.service for s in data.plan.steps if s.verb is Verb.PROMOTE and s.id not in data.free}
    leaders = [n.id for n in case.before.nodes if n.service in moves and n.role is Role.PRIMARY]
    if not leaders:
        return None
    search, starts = _search(case, data._replace(troubles=ALONE))
    orders = [Deed(Act(verb=Verb.PROMOTE, instance=name, epoch=1)) for name in leaders]
    late = tuple(sorted(search.worlds.deed(order) for order in orders))
    return search, [s._replace(name=f"superseded/{s.name}", late=late) for s in starts]


def _return(centre: str, plan: Plan) -> Fault:
    """How a lost centre comes back by itself; an attested one stays off until it is fenced: its hosts alone answer."""
    return Fault(name="lighten" if centre in plan.attested else "restart-centre", place=centre)


def _only(world: World, view: View) -> World:
    """A world with the nodes of a view alone, in the order of its ground."""
    of = {n.id: n for n in world.nodes}
    return World(nodes=tuple(of[name] for name in view.ground.index), cut=world.cut, lost=world.lost)


def _without_end(case: _Case) -> Counterexample | None:
    """A first world from which a plan that nothing more befalls does not come to its end; None where there is none.

    Where copies were missing before, a plan may end degraded; it must still serve.
    """
    view = whole(case.group)
    search, starts = _search(case, view)
    complete = not any(rule(view.ground, _only(case.before, view)) for rule in WHEN_DONE.values())
    good = {RunState.DONE} if complete else {RunState.DONE, RunState.DEGRADED}
    for start in starts:
        if not search.comes_to(start, good):
            told, again = _search(case, view, simply=False)  # the story names every step that was done
            told.run([s for s in again if s.name == start.name], case.states_max, 0)
            return _counterexample(told.stranded(Wrong(NO_END, "")), told, case, case.group.plan)
    return None


def _counterexample(found: Found, search: Search, case: _Case, plan: Plan) -> Counterexample:
    assert found.wrong is not None
    return Counterexample(
        scenario=plan.scenario,
        plan_sha256=plan.sha256,
        system=", ".join(case.group.systems),
        rule=found.wrong.rule,
        story=tell(found, search.worlds, search.courses, plan.lost),
    )


def _shape_of(key: str, proven: _Proven, case: _Case, systems: list[str]) -> Shape:
    return Shape(
        key=key,
        systems=tuple(systems),
        steps=len(case.group.plan.steps),
        states=proven.states,
        transitions=proven.transitions,
        troubles=proven.troubles,
    )


def _certificate(
    plan: Plan, shapes: tuple[Shape, ...], unproven: tuple[str, ...], cases: tuple[_Case, ...]
) -> Certificate:
    struck = {f.name for case in cases for view in views(case.group) for (f,) in faults(view, plan.lost, case.real)}
    return Certificate(
        scenario=plan.scenario,
        plan_sha256=plan.sha256,
        prover=VERSION,
        systems=sum(len(s.systems) for s in shapes),
        states=sum(s.states for s in shapes),
        transitions=sum(s.transitions for s in shapes),
        shapes=shapes,
        starts=tuple(dict.fromkeys(name for case in cases for name in case.starts if name)),
        faults=tuple(sorted(struck)),
        considered=CONSIDERED,
        assumed=ASSUMED,
        unproven=unproven,
    )
