"""What a resumed run decides about a way back that it finds begun; each was found by the simulator."""

from __future__ import annotations

import pytest

from orchestrator.checks.conditions import Evidence, judge
from orchestrator.execution.decisions import conclude, may_start, way_back
from orchestrator.execution.history import History
from orchestrator.model.observation import Verdict
from orchestrator.model.plan import Condition, Fact, Mode, Phase, Plan, ScenarioKind, Verb
from orchestrator.model.request import Timings
from orchestrator.model.run import Event, Record, RunState
from orchestrator.model.topology import Role, Setting
from orchestrator.planner import plan as make_plan
from orchestrator.planning.graph import closure
from tests.simestate import plan
from tests.stage import B, failover
from tests.unit.build import database, estate, request, runbook, system
from tests.unit.checks.world import HEALTHY, TOPOLOGY, change
from tests.unit.checks.world import B as B_CHECKED

DETACH = f"{B}:detach"


def told(plan_: Plan, *events: tuple[Event, str] | tuple[Event, str, str]) -> History:
    """A history of events (event, step, state)."""
    records = []
    for seq, (event, step, *state) in enumerate(events):
        data = tuple(Setting(name="state", value=s) for s in state)
        records.append(
            Record(
                seq=seq,
                at="",
                mono_s=0.0,
                boot="",
                run="r",
                epoch=1,
                event=event,
                step=step,
                data=data,
                prev="",
                hash="x",
            )
        )
    return History(plan_, records)


def begun(step: str) -> list[tuple[Event, str]]:
    return [
        (Event.STEP_STARTED, step),
        (Event.EFFECT_STARTED, step),
        (Event.EFFECT_DONE, step),
        (Event.STEP_DONE, step),
    ]


RESUMED = [(Event.UNDO_FAILED, DETACH), (Event.RUN_CLOSED, "", "partial"), (Event.RUN_RESUMED, "")]


def stuck() -> tuple[Plan, History]:
    """A failover that failed before its promotion, whose way back failed too, closed and resumed."""
    made = plan(failover(), kind=ScenarioKind.FAILOVER)
    failed = [(Event.STEP_FAILED, f"{B}:promote"), (Event.UNDO_STARTED, DETACH)]
    return made, told(made, *begun(DETACH), *failed, *RESUMED)  # type: ignore[arg-type]


def test_a_resumed_run_goes_its_way_back_to_the_end() -> None:
    made, history = stuck()
    assert not history.broken, "a resumed run tries again"
    assert [s.id for s in way_back(made, history)] == [DETACH]
    assert not may_start(made, history, made.step_by_id[f"{B}:promote"])


def test_a_system_that_has_nothing_to_go_back_from_is_left_alone() -> None:
    two = plan([*failover("people"), *failover("maps")[1:]], kind=ScenarioKind.FAILOVER)
    other = "maps/db@b:detach"
    history = told(two, *begun(DETACH), *begun(other), (Event.UNDO_STARTED, DETACH), *RESUMED)  # type: ignore[arg-type]
    assert [s.id for s in way_back(two, history)] == [DETACH]
    assert may_start(two, history, two.step_by_id["maps/db@b:promote"])


def test_nothing_is_undone_where_nothing_was() -> None:
    made = plan(failover(), kind=ScenarioKind.FAILOVER)
    assert way_back(made, told(made, *begun(DETACH))) == ()


def test_a_step_that_was_undone_is_not_counted_as_done() -> None:
    made = plan(failover(), kind=ScenarioKind.FAILOVER)
    every = [e for s in made.steps for e in begun(s.id)]
    assert conclude(made, told(made, *every))[0] is RunState.DONE
    undone = [(Event.UNDO_STARTED, DETACH), (Event.UNDO_DONE, DETACH)]
    state, _ = conclude(made, told(made, *every, *undone))
    assert state is RunState.PARTIAL


def test_detached_holds_for_one_that_this_run_has_promoted_since() -> None:
    condition = Condition(fact=Fact.DETACHED, instance=B_CHECKED)
    now = change(HEALTHY, B_CHECKED, role=Role.PRIMARY, writable=True, epoch=7)
    assert judge(condition, Evidence(topology=TOPOLOGY, now=now, epoch=7)).verdict is Verdict.PASS
    assert judge(condition, Evidence(topology=TOPOLOGY, now=now, epoch=8)).verdict is Verdict.FAIL
    assert judge(condition, Evidence(topology=TOPOLOGY, now=now, epoch=0)).verdict is Verdict.FAIL


@pytest.mark.parametrize("scenario", ["centre-lost", "site-lost", "switchover"])
def test_nothing_is_protected_before_a_promotion_is_done_where_there_is_no_app(scenario: str) -> None:
    """A database alone has no entry to be redirected: users are served when it is promoted, and not before."""
    bare = estate([system("one", [database("one")])])
    lost = {"centre-lost": ("a",), "site-lost": ("a", "b")}.get(scenario, ())
    asked = request(Mode.TABLETOP, accept_loss=True, lost=lost, target="" if lost else "b")
    made = make_plan(bare, None, runbook(scenario), asked, Timings())
    promotions = {s.id for s in made.steps if s.verb is Verb.PROMOTE}
    for step in made.steps:
        if step.phase is Phase.VERIFY or step.verb is Verb.REJOIN:
            assert promotions & closure(made.step_by_id, step.id), step.id
