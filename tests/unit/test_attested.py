"""A city without power: no host answers, so two people's word stands for the fences, and the fences follow later."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pytest
from msgspec.structs import replace

from orchestrator.approvals import approve, write_plan
from orchestrator.checks.conditions import Evidence, judge
from orchestrator.errors import Refused
from orchestrator.execution import runstore
from orchestrator.execution.runstore import Run
from orchestrator.executor import execute
from orchestrator.model.observation import Finding, Reach, Reading, Snapshot, Verdict
from orchestrator.model.plan import Condition, Fact, Mode, Plan, Verb
from orchestrator.model.request import Timings
from orchestrator.model.run import RunState
from orchestrator.planner import plan
from orchestrator.providers.base import ActionFailed, Actor, Order, Outcome
from orchestrator.workflow import Wanted, consents
from tests.simworld import SimWorld, topology
from tests.unit.build import AT, dark, healthy, lab, request, runbook
from tests.unit.checks.world import HEALTHY, TOPOLOGY, A, B, gone

NOBODY: frozenset[str] = frozenset()
OFF = frozenset({"a"})


def seen(condition: Condition, now: Snapshot, attested: frozenset[str]) -> Verdict:
    return judge(condition, Evidence(topology=TOPOLOGY, now=now, attested=attested, epoch=5)).verdict


@pytest.mark.parametrize("fact", [Fact.FENCED, Fact.CANNOT_ACK])
def test_peoples_word_stands_for_a_fence_only_while_nothing_answers(fact: Fact) -> None:
    condition = Condition(fact=fact, instance=A, others=())
    assert seen(condition, gone(HEALTHY, A), OFF) is Verdict.PASS
    assert seen(condition, gone(HEALTHY, A), NOBODY) is not Verdict.PASS
    assert seen(condition, gone(HEALTHY, A), frozenset({"b"})) is not Verdict.PASS
    assert seen(condition, HEALTHY, OFF) is Verdict.FAIL


def test_peoples_word_says_nothing_of_another_centre() -> None:
    assert seen(Condition(fact=Fact.FENCED, instance=B), gone(gone(HEALTHY, A), B), OFF) is not Verdict.PASS


def city_lost(now: Snapshot, *attested: str, mode: Mode = Mode.LIVE) -> Plan:
    words = request(mode, lost=("a", "b"), accept_loss=True, attested=attested)
    return plan(lab(), now, runbook("site-lost"), words, Timings(), before=healthy(lab()))


def test_no_fence_stands_before_a_promotion_that_rests_on_peoples_word() -> None:
    silent = dark(healthy(lab()), "a", "b")
    steps = city_lost(silent, "a", "b").step_by_id
    assert "legal-person/db@a:fence" not in steps
    assert "legal-person:serves" in steps["legal-person/db@a:fence-later"].needs
    assert "legal-person/db@a:fence-later" in steps["legal-person/db@a:rejoin"].needs
    half = city_lost(silent, "a").step_by_id
    assert {"legal-person/db@a:fence-later", "legal-person/db@b:fence"} <= set(half)


def test_it_is_refused_where_something_answers_there() -> None:
    with pytest.raises(Refused, match="legal-person/db@b answers: b is not off"):
        city_lost(dark(healthy(lab()), "a"), "a", "b")


def test_only_a_lost_centre_can_be_attested_to_be_off() -> None:
    with pytest.raises(Refused, match="not named as lost"):
        city_lost(dark(healthy(lab()), "a", "b"), "c")


def test_two_people_must_attest_it(tmp_path: Path) -> None:
    made, file = city_lost(dark(healthy(lab()), "a", "b"), "a", "b"), tmp_path / "plan.json"
    write_plan(file, made)
    wanted = Wanted(runbook=None, plan_file=file, mode=Mode.LIVE)
    with pytest.raises(Refused, match="your word that a, b is off"):
        approve(file, "Li Wei", AT, accepts_loss=True)
    approve(file, "Li Wei", AT, accepts_loss=True, attests=True)
    with pytest.raises(Refused, match="rests on the word that a, b is off: 2 approvals"):
        consents(made, wanted)
    approve(file, "Chen Yu", AT, accepts_loss=True, attests=True)
    assert [a.attests for a in consents(made, wanted)] == [True, True]


class DarkCity(SimWorld):
    """A and B have no power: nothing there answers, and no host can be reached."""

    off: frozenset[str] = frozenset("ab")

    async def observe(self, instances: Collection[str], within_s: float) -> Snapshot:
        look = await super().observe(instances, within_s)
        return replace(look, readings=tuple(self._seen(r) for r in look.readings))

    def _seen(self, reading: Reading) -> Reading:
        silent = Reading(instance=reading.instance, reach=Reach.SILENT, took_s=0.0, error="no answer")
        return silent if reading.instance.rpartition("@")[2] in self.off else reading

    def judge(
        self, condition: Condition, now: Snapshot, before: Snapshot, fenced: frozenset[str], epoch: int
    ) -> Finding:
        weighed = Evidence(
            topology=self.topology, now=now, before=before, fenced=fenced, epoch=epoch, attested=frozenset("ab")
        )
        return judge(condition, weighed)


class Unreachable:
    """An actor that meets no host in a dark centre."""

    def __init__(self, world: DarkCity, actor: Actor) -> None:
        self.world, self.actor, self.kind = world, actor, actor.kind

    async def act(self, verb: Verb, order: Order) -> Outcome:
        if order.instance.centre in self.world.off:
            raise ActionFailed(f"{order.instance.id}: host unreachable")
        return await self.actor.act(verb, order)


async def go(world: DarkCity, run: Run) -> RunState:
    if not run.epoch:
        run.acquire()
    ports = world.ports(run)
    try:
        return await execute(run.plan, run, world.ports(run, actor=lambda k: Unreachable(world, ports.actor(k))))
    finally:
        run.release()


async def test_a_dark_city_is_taken_over_and_fenced_when_its_power_is_back(tmp_path: Path) -> None:
    world = DarkCity(topology=topology(("people",)), path=tmp_path / "world.jsonl")
    world.note(k="end", step="power", verb="inject", instance="", towards=[], epoch=0, fault="kill-centre a")
    names = [i.id for i in world.topology.instances()]
    world.off = frozenset()
    before = await world.observe(names, 1.0)
    world.off = frozenset("ab")
    words = request(Mode.LIVE, lost=("a", "b"), accept_loss=True, attested=("a", "b"), created_at=before.taken_at)
    now = await world.observe(names, 1.0)
    made = plan(world.topology, now, runbook("site-lost"), words, Timings(), before=before)
    run = runstore.create_run(tmp_path, made, world.topology, (), before)
    assert await go(world, run) is RunState.DEGRADED
    nodes = world.nodes()
    assert nodes["people/db@c"].role == "primary"
    assert nodes["people/entry@edge"].routes == ("c",)
    assert any("fence-later" in m for m in run.history().missing)
    world.off = frozenset()
    assert await go(world, run) is RunState.DONE
    nodes = world.nodes()
    assert [nodes[f"people/db@{c}"].role.value for c in "abc"] == ["standby", "standby", "primary"]
    fenced = [e["instance"] for e in world.effects() if e["k"] == "end" and e["verb"] == "fence"]
    assert sorted(fenced) == ["people/db@a", "people/db@b"]
