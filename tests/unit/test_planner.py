"""Situations and the steps that they come to."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.model.observation import Reach, Snapshot
from orchestrator.model.plan import Fact, Mode, Phase, Plan, ScenarioKind, Verb
from orchestrator.model.request import Timing, Timings
from orchestrator.model.topology import CopyMode, Topology
from orchestrator.planner import plan
from orchestrator.planning.graph import closure
from tests.unit.build import (
    CHAIN,
    MIRRORED,
    app,
    change,
    dark,
    database,
    entry,
    estate,
    full_system,
    healthy,
    lab,
    request,
    runbook,
    system,
)

LAB = lab()
KILL_A: dict[str, Any] = {"lost": ("a",), "fault": "kill-centre a"}
KILL_AB: dict[str, Any] = {"lost": ("a", "b"), "fault": "kill-centre a;kill-centre b", "accept_loss": True}


def made(
    scenario: str, topology: Topology = LAB, look: Snapshot | None = None, mode: Mode = Mode.LIVE, **words: Any
) -> Plan:
    """A plan from a healthy estate, or from `look`; a tabletop looks at nothing."""
    seen = None if mode is Mode.TABLETOP else look or healthy(topology)
    return plan(topology, seen, runbook(scenario), request(mode, **words), Timings())


def steps_of(found: Plan, key: str) -> list[str]:
    """`template instance -> towards` of a system's steps, in order."""
    return [
        f"{s.id.rpartition(':')[2]} {s.instance.removeprefix(key + '/')}"
        + (f" -> {' '.join(t.removeprefix(key + '/') for t in s.towards)}" if s.towards else "")
        for s in found.steps
        if s.system == key
    ]


def test_centre_lost_moves_the_primary_and_brings_the_old_one_back() -> None:
    found = made("centre-lost", **KILL_A)
    assert steps_of(found, "legal-person") == [
        "detect db@a",
        "detach db@b",
        "promote db@b",
        "call app@b -> db@b",
        "redirect entry@edge -> app@b",
        "serves ",
        "fence db@a",
        "start app@a",
        "rejoin db@a -> db@b",
        "call-again app@a -> db@b",
        "spread entry@edge -> app@a app@b",
        "protected ",
    ]
    assert found.target == "b"
    assert found.kind is ScenarioKind.FAILOVER
    assert all(loss.proven_zero for loss in found.losses)


def test_a_surviving_primary_stops_waiting_and_its_cascade_is_fed_meanwhile() -> None:
    found = made("centre-lost", **KILL_A)
    assert steps_of(found, "open-data") == [
        "release db@a -> db@b",
        "redirect entry@edge -> app@b",
        "serves ",
        "rehome db@c -> db@b",
        "start app@a",
        "return db@a -> db@b",
        "call-again app@a -> db@b",
        "rewire db@c -> db@a",
        "spread entry@edge -> app@a app@b",
        "protected ",
    ]
    back = found.step_by_id["open-data/db@a:return"]
    assert back.param("mode") == "sync"


def test_a_lost_sync_standby_is_planned_for_the_other_way_round() -> None:
    found = made("centre-lost", lost=("b",), fault="freeze-centre b")
    assert found.target == "a"
    assert steps_of(found, "legal-person")[:3] == [
        "release db@b -> db@a",
        "redirect entry@edge -> app@a",
        "serves ",
    ]
    assert "promote db@a" in steps_of(found, "open-data")


def test_a_lost_remote_centre_touches_no_user() -> None:
    found = made("centre-lost", lost=("c",), fault="kill-centre c")
    assert {s.verb for s in found.steps} == {Verb.INJECT, Verb.CONFIRM, Verb.HEAL, Verb.REJOIN}
    assert found.step_by_id["legal-person/db@c:return"].towards == ("legal-person/db@b",)
    assert found.step_by_id["open-data/db@c:return"].towards == ("open-data/db@a",)
    assert found.losses == ()


def test_promote_is_gated_by_evidence() -> None:
    promote = made("centre-lost", **KILL_A).step_by_id["legal-person/db@b:promote"]
    gates = {(g.fact, g.instance, g.others) for g in promote.gates}
    assert gates == {
        (Fact.CANNOT_ACK, "legal-person/db@a", ("legal-person/db@b",)),
        (Fact.HOLDS_ALL, "legal-person/db@b", ("legal-person/db@a",)),
    }
    assert promote.undo is None


def test_redirect_waits_for_the_redirect_of_what_it_depends_on_and_promotions_do_not() -> None:
    found = made("centre-lost", **KILL_A)
    redirect = found.step_by_id["sharing/entry@edge:redirect"]
    assert "legal-person/entry@edge:redirect" in redirect.needs
    assert not any(i.startswith("legal-person") for i in closure(found.step_by_id, "sharing/db@b:promote"))
    assert Fact.WRITABLE_PRIMARY in {g.fact for g in redirect.gates}


def test_a_dependency_passes_through_a_system_that_is_not_affected() -> None:
    idle = system("middle", [database("middle", [("b", "c", CopyMode.ASYNC)])], ["legal-person"])
    top = full_system("top", depends_on=["middle"])
    found = made("centre-lost", estate([full_system("legal-person"), idle, top]), **KILL_A)
    assert "middle" not in found.systems
    assert "legal-person/entry@edge:redirect" in found.step_by_id["top/entry@edge:redirect"].needs


def test_everything_comes_after_the_fault_and_healing_after_every_fence() -> None:
    found = made("centre-lost", **KILL_A)
    assert [s.id for s in found.steps if not s.needs] == ["inject"]
    fences = {s.id for s in found.steps if s.verb is Verb.FENCE}
    assert fences == {"legal-person/db@a:fence", "sharing/db@a:fence"}
    assert fences <= closure(found.step_by_id, "heal")
    assert "heal" not in closure(found.step_by_id, "sharing/db@a:fence")
    assert "heal" in closure(found.step_by_id, "legal-person/db@a:rejoin")


def test_without_a_fault_nothing_is_injected_or_healed() -> None:
    found = made("centre-lost", mode=Mode.REHEARSAL, lost=("a",))
    assert not {Verb.INJECT, Verb.HEAL} & {s.verb for s in found.steps}


def test_site_lost_fences_everything_lost_before_it_promotes() -> None:
    found = made("site-lost", **KILL_AB)
    promote = found.step_by_id["legal-person/db@c:promote-accepting-loss"]
    before = closure(found.step_by_id, promote.id)
    assert {"legal-person/db@a:fence", "legal-person/db@b:fence", "legal-person/db@c:detach"} <= before
    assert {(g.fact, g.instance) for g in promote.gates} >= {
        (Fact.FENCED, "legal-person/db@a"),
        (Fact.FENCED, "legal-person/db@b"),
        (Fact.CANNOT_ACK, "legal-person/db@a"),
    }
    assert found.step_by_id["legal-person/entry@edge:redirect"].towards == ("legal-person/app@c",)
    assert found.step_by_id["legal-person/db@a:rejoin"].param("mode") == "async"
    assert "legal-person/app@c:wake" in found.step_by_id
    assert [s for s in steps_of(found, "legal-person") if s.startswith("retire")] == ["retire app@a", "retire app@b"]


def test_switchover_stops_writes_proves_and_then_promotes() -> None:
    found = made("switchover", target="b", systems=("legal-person",))
    assert steps_of(found, "legal-person") == [
        "demote db@a",
        "caught-up db@b",
        "promote db@b",
        "call app@a -> db@b",
        "call app@b -> db@b",
        "redirect entry@edge -> app@a app@b",
        "serves ",
        "rejoin db@a -> db@b",
        "protected ",
    ]
    assert found.systems == ("legal-person",)
    assert found.step_by_id["legal-person/db@a:rejoin"].param("mode") == "sync"


def test_switchover_takes_only_systems_that_are_not_there_yet() -> None:
    assert made("switchover", target="b").systems == ("legal-person", "sharing")
    assert made("system-switchover", target="a", systems=("open-data",)).systems == ("open-data",)


def test_switchover_across_cities_takes_the_app_along_and_is_never_sync() -> None:
    found = made("switchover", target="c", systems=("legal-person",))
    told = steps_of(found, "legal-person")
    assert told[0] == "wake app@c"
    assert "redirect entry@edge -> app@c" in told
    assert "rejoin db@a -> db@c" in told
    assert "rewind db@b -> db@c" in told
    assert "retire app@a" in told
    assert found.step_by_id["legal-person/db@a:rejoin"].param("mode") == "async"


def test_failback_restores_the_declared_replication() -> None:
    found = made("failback", look=healthy(LAB, {"legal-person/db": "b", "sharing/db": "c"}))
    assert found.systems == ("legal-person", "sharing")
    assert found.target == "a"
    told = steps_of(found, "legal-person")
    assert told[told.index("serves ") + 1 :] == [
        "rejoin db@b -> db@a",
        "rewind db@c -> db@a",
        "rewire db@c -> db@b",
        "protected ",
    ]
    assert "legal-person/db@c:hold" in found.step_by_id["legal-person/db@a:promote"].needs
    assert found.step_by_id["sharing/db@b:rewind"].param("mode") == "sync"
    assert "rewire db@c -> db@b" in steps_of(found, "sharing")


def test_a_copy_that_feeds_the_candidate_is_not_cut_off() -> None:
    chain = [("a", "b", CopyMode.SYNC), ("b", "c", CopyMode.ASYNC)]
    topology = estate([full_system("x", chain)])
    found = made("switchover", topology, target="c")
    assert "hold db@b" not in steps_of(found, "x")
    aside = estate([full_system("x", [("a", "b", CopyMode.SYNC), ("a", "c", CopyMode.ASYNC)])])
    assert "hold db@b" in steps_of(made("switchover", aside, target="c"), "x")


def test_restore_brings_back_what_is_missing_and_what_is_no_longer_sync() -> None:
    look = dark(healthy(LAB), "c")
    look = change(look, "sharing/db@a", sync_required=(), downstreams=())
    found = made("restore", look=look)
    assert steps_of(found, "legal-person") == ["rejoin db@c -> db@b", "protected "]
    assert steps_of(found, "sharing") == ["rejoin db@b -> db@a", "rejoin db@c -> db@b", "protected "]
    assert found.step_by_id["sharing/db@b:rejoin"].param("mode") == "sync"
    assert "sharing/db@b:rejoin" in found.step_by_id["sharing/db@c:rejoin"].needs


def test_isolated_clones_checks_and_discards_beside_production() -> None:
    found = made("isolated", mode=Mode.ISOLATED)
    assert [s.param("playbook") for s in found.steps if s.verb is Verb.RUN_PLAYBOOK and s.system == "sharing"] == [
        "clone_postgresql_bubble.yml",
        "check_bubble.yml",
        "discard_postgresql_bubble.yml",
    ]
    clone = found.step_by_id["sharing/db@c:clone"]
    assert clone.undo is not None
    assert clone.undo.params[0].value == "discard_postgresql_bubble.yml"
    assert {s.verb for s in found.steps} == {Verb.RUN_PLAYBOOK, Verb.CONFIRM}
    assert found.forecast_rto_s == 0


def test_the_plan_starts_from_who_is_primary_now() -> None:
    look = healthy(LAB, {"legal-person/db": "b", "sharing/db": "b"})
    found = made("centre-lost", look=look, lost=("b",), fault="kill-centre b")
    assert {s.instance for s in found.steps if s.verb is Verb.PROMOTE} == {
        "legal-person/db@a",
        "sharing/db@a",
        "open-data/db@a",
    }
    # Home again, so the declared chain is restored: c was fed by b, and must be rewound at a before it goes back.
    assert found.step_by_id["legal-person/db@c:rewind"].towards == ("legal-person/db@a",)
    assert found.step_by_id["legal-person/db@c:rewire"].towards == ("legal-person/db@b",)


def test_a_service_without_a_copy_in_the_target_goes_to_where_it_has_one() -> None:
    far = system("far", [database("far", [("a", "c", CopyMode.ASYNC)]), app("far", "a", "c", "far/db"), entry("far")])
    found = made("centre-lost", estate([full_system("legal-person"), far]), accept_loss=True, **KILL_A)
    assert found.target == "b"
    assert {s.instance for s in found.steps if s.verb is Verb.PROMOTE} == {"legal-person/db@b", "far/db@c"}
    assert "wake app@c" in steps_of(found, "far")


def test_two_databases_of_one_system_move_side_by_side() -> None:
    two = system("two", [database("two"), database("two", called="files"), app("two", serves="two/db"), entry("two")])
    found = made("centre-lost", estate([two]), **KILL_A)
    assert "two/db@b:detach" not in closure(found.step_by_id, "two/files@b:promote")
    before = closure(found.step_by_id, "two/entry@edge:redirect")
    assert {"two/db@b:promote", "two/files@b:promote"} <= before


def test_an_app_without_data_is_redirected_to_a_survivor() -> None:
    plain = system("plain", [app("plain", "a", "b"), entry("plain")])
    found = made("centre-lost", estate([full_system("legal-person"), plain]), **KILL_A)
    assert steps_of(found, "plain")[:3] == ["wake app@b", "redirect entry@edge -> app@b", "serves "]
    assert {g.fact for g in found.step_by_id["plain/entry@edge:redirect"].gates} == {Fact.ANSWERS}


def test_an_app_on_another_systems_database_follows_it() -> None:
    reader = system("reader", [app("reader", serves="legal-person/db"), entry("reader")], ["legal-person"])
    found = made("centre-lost", estate([full_system("legal-person"), reader]), **KILL_A)
    assert "call app@b -> legal-person/db@b" in steps_of(found, "reader")


def test_forecast_and_critical_path_follow_the_timings() -> None:
    slow = Timings().with_history([Timing(verb=Verb.PROMOTE, kind="postgresql", seconds=30.0)])
    words = request(Mode.LIVE, **KILL_A)
    fast = made("centre-lost", **KILL_A)
    late = plan(LAB, healthy(LAB), runbook("centre-lost"), words, slow)
    assert late.forecast_rto_s == pytest.approx(fast.forecast_rto_s + 29.8)
    assert late.forecast_total_s > late.forecast_rto_s
    path = [s for s in late.steps if s.critical and s.phase is not Phase.PROTECT]
    assert path[-1].id == "sharing:serves"
    assert [s.verb for s in path].count(Verb.PROMOTE) == 1


def test_a_fence_beside_the_way_costs_the_users_nothing() -> None:
    slow = Timings().with_history([Timing(verb=Verb.FENCE, seconds=600.0)])
    found = plan(LAB, healthy(LAB), runbook("centre-lost"), request(Mode.LIVE, **KILL_A), slow)
    assert found.forecast_rto_s == made("centre-lost", **KILL_A).forecast_rto_s
    assert found.forecast_total_s > 600


def test_what_can_fail_before_the_promotion_has_a_way_back() -> None:
    found = made("centre-lost", **KILL_A)
    undo = {s.id: s.undo for s in found.steps if s.undo}
    detach = undo["legal-person/db@b:detach"]
    assert (detach.verb, detach.towards) == (Verb.REPOINT, ("legal-person/db@a",))
    assert undo["inject"].verb is Verb.HEAL
    assert undo["open-data/entry@edge:redirect"].towards == ("open-data/app@a", "open-data/app@b")
    assert "legal-person/entry@edge:redirect" not in undo


def test_texts_are_in_both_languages_without_placeholders() -> None:
    for found in (made("centre-lost", **KILL_A), made("site-lost", **KILL_AB), made("switchover", target="b")):
        for step in found.steps:
            assert step.text.en and step.text.zh
            assert "{" not in step.text.en + step.text.zh


def test_a_cut_link_isolates_a_standby() -> None:
    found = made("centre-lost", lost=("b",), fault="cut-link a-b", systems=("legal-person",))
    assert "release db@b -> db@a" in steps_of(found, "legal-person")


def test_mirrored_systems_share_one_plan() -> None:
    found = made("centre-lost", estate([full_system("x", CHAIN), full_system("y", MIRRORED)]), **KILL_A)
    assert {s.system for s in found.steps if s.verb is Verb.PROMOTE} == {"x"}
    assert found.systems == ("x", "y")


def test_a_silent_copy_is_no_reason_to_plan_less() -> None:
    look = change(healthy(LAB), "legal-person/db@c", reach=Reach.SILENT, role=None, upstream=None, receiving=None)
    found = made("centre-lost", look=look, **KILL_A)
    assert "legal-person/db@b:promote" in found.step_by_id
