"""Every refusal of the planner: exit 5, the gate and its reason, and what to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from orchestrator.errors import Refused
from orchestrator.model.observation import Reach, Snapshot
from orchestrator.model.plan import Fact, Mode, Verb
from orchestrator.model.request import Timings
from orchestrator.model.runbook import Runbook, StepTemplate
from orchestrator.model.topology import CopyMode, Role, Topology
from orchestrator.model.view import Sight, View
from orchestrator.planner import plan
from tests.unit.build import (
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
HEALTHY = healthy(LAB)
Change = Callable[[Snapshot], Snapshot]


def refusal(
    scenario: str | Runbook,
    look: Snapshot | None = HEALTHY,
    mode: Mode = Mode.LIVE,
    topology: Topology = LAB,
    **words: Any,
) -> Refused:
    book = runbook(scenario) if isinstance(scenario, str) else scenario
    with pytest.raises(Refused) as caught:
        plan(topology, look, book, request(mode, **words), Timings())
    assert caught.value.exit_code == 5
    return caught.value


@pytest.mark.parametrize(
    ("scenario", "words", "message", "hint"),
    [
        ("centre-lost", {"lost": ("x",)}, "no centre 'x'", "there are: a, b, c"),
        ("centre-lost", {"lost": ("a",), "target": "bb"}, "no centre 'bb'", "did you mean 'b'"),
        ("centre-lost", {"lost": ("a",), "target": "a"}, "a is lost and cannot take over", "--to"),
        ("centre-lost", {"lost": ("a",), "systems": ("sharin",)}, "no system 'sharin'", "'sharing'"),
        ("centre-lost", {}, "needs --lost", "a, b, c"),
        ("centre-lost", {"lost": ("a", "b")}, "a whole city is lost", "site-lost"),
        ("site-lost", {"lost": ("a",)}, "no whole city", "centre-lost"),
        ("site-lost", {"lost": ("a", "b", "c")}, "every centre is lost", ""),
        ("switchover", {}, "needs --to", "a, b, c"),
        ("switchover", {"target": "b", "lost": ("a",)}, "takes no --lost", "centre-lost"),
        ("system-switchover", {"target": "b"}, "needs --system", ""),
        ("switchover", {"target": "b", "systems": ("open-data",)}, "does not concern open-data", "--system"),
        ("failback", {}, "no system is affected", "drctl check"),
        ("restore", {}, "no system is affected", "drctl check"),
    ],
)
def test_words_that_do_not_fit(scenario: str, words: dict[str, Any], message: str, hint: str) -> None:
    error = refusal(scenario, **words)
    assert message in error.message
    assert hint in error.hint


def test_a_mode_that_the_scenario_does_not_have() -> None:
    error = refusal("centre-lost", mode=Mode.ISOLATED, lost=("a",))
    assert "cannot be carried out as isolated" in error.message
    assert "rehearsal, tabletop, live" in error.hint
    assert "live" in refusal("isolated", mode=Mode.LIVE).message


def test_a_healthy_centre_is_not_lost() -> None:
    error = refusal("centre-lost", lost=("a",))
    assert "legal-person/db@a answers as a writable primary: a is not lost" in error.message
    assert "open-data/db@a answers and streams" in error.message
    assert "switchover" in error.hint


def test_a_centre_without_a_primary_is_not_lost_while_its_copies_stream() -> None:
    assert "legal-person/db@c answers and streams: c is not lost" in refusal("centre-lost", lost=("c",)).message


@pytest.mark.parametrize(
    "reading",
    [
        {"reach": Reach.SILENT},
        {"reach": Reach.REFUSED},
        {"reach": Reach.UNKNOWN},
        {"role": None},
    ],
    ids=["silent", "refused", "not probed", "unknown role"],
)
def test_the_candidate_must_answer_as_a_standby(reading: dict[str, Any]) -> None:
    look = change(change(HEALTHY, "legal-person/db@b", **reading), "legal-person/db@a", writable=False)
    error = refusal(
        "centre-lost", look, lost=("a",), fault="kill-centre a", accept_loss=True, systems=("legal-person",)
    )
    assert "legal-person/db@b" in error.message


def test_no_copy_survives() -> None:
    alone = system("alone", [database("alone", [("a", "b", CopyMode.SYNC)])])
    topology = estate([alone])
    error = refusal("site-lost", healthy(topology), Mode.REHEARSAL, topology, lost=("a", "b"), accept_loss=True)
    assert "alone/db has no copy in a surviving centre" in error.message


def test_no_app_survives() -> None:
    alone = system("alone", [database("alone"), app("alone", "a", "", "alone/db"), entry("alone")])
    topology = estate([alone])
    error = refusal("centre-lost", healthy(topology), Mode.REHEARSAL, topology, lost=("a",))
    assert "alone/app has no instance in a surviving centre" in error.message


def test_switchover_to_a_centre_without_a_copy() -> None:
    topology = estate([system("two", [database("two", [("a", "b", CopyMode.SYNC)])])])
    assert "no system is affected" in refusal("switchover", healthy(topology), topology=topology, target="c").message
    error = refusal("switchover", healthy(topology), topology=topology, target="c", systems=("two",))
    assert "two/db has no copy in c" in error.message


def test_a_loss_that_is_not_accepted_is_refused_with_the_figures() -> None:
    error = refusal("site-lost", lost=("a", "b"), fault="kill-centre a;kill-centre b")
    assert error.message.count("loss-accepted:") == 3
    assert "within the declared RPO of 30 s" in error.message
    assert "--accept-loss" in error.hint


def test_a_loss_above_the_budget_says_so() -> None:
    look = change(HEALTHY, "legal-person/db@c", lag_s=100.0)
    error = refusal("site-lost", look, lost=("a", "b"), fault="kill-centre a;kill-centre b")
    assert "loss 100.0 s, above the declared RPO of 30 s" in error.message


def test_a_loss_that_cannot_be_told_says_so() -> None:
    look = dark(change(HEALTHY, "legal-person/db@b", upstream="", receiving=False, role=Role.DETACHED), "a")
    error = refusal("centre-lost", look, lost=("a",), systems=("legal-person",))
    assert "loss unknown, above the declared RPO of 0 s" in error.message


@pytest.mark.parametrize(
    ("key", "reading", "reason"),
    [
        ("legal-person/db@b", {"receiving": False}, "legal-person/db@b does not stream"),
        ("legal-person/db@c", {"reach": Reach.SILENT}, "legal-person/db@c does not stream (silent)"),
        ("legal-person/db@c", {"receiving": None}, "legal-person/db@c does not stream"),
        ("legal-person/db@a", {"downstreams": ()}, "legal-person/db@b is to be sync and is not"),
        ("legal-person/db@c", {"lag_s": 60.0}, "legal-person/db@c is behind by 60.0 s"),
        ("legal-person/db@c", {"lag_s": None}, "legal-person/db@c is behind by an unknown time"),
        ("legal-person/db@a", {"writable": False}, "legal-person/db@a is no writable primary"),
    ],
)
@pytest.mark.parametrize("scenario", ["switchover"])
def test_a_planned_move_needs_health(scenario: str, key: str, reading: dict[str, Any], reason: str) -> None:
    error = refusal(scenario, change(HEALTHY, key, **reading), target="b")
    assert reason in error.message


def test_failback_needs_three_copies() -> None:
    moved = healthy(LAB, {"legal-person/db": "b"})
    error = refusal("failback", change(moved, "legal-person/db@c", receiving=False))
    assert "three-copies: legal-person/db@c does not stream" in error.message
    assert "restore" in error.hint


def test_every_shut_gate_is_listed() -> None:
    look = change(change(HEALTHY, "legal-person/db@c", receiving=False), "sharing/db@a", writable=False)
    error = refusal("switchover", look, target="b")
    assert "legal-person/db@c does not stream" in error.message
    assert "sharing/db@a is no writable primary" in error.message
    assert "2 reasons" in error.message or "3 reasons" in error.message


@pytest.mark.parametrize(
    ("fault", "words", "reason"),
    [
        ("kill-centre b", {"lost": ("a",)}, "legal-person/db@a would still answer"),
        ("cut-link a-b", {"lost": ("a",)}, "legal-person/db@a would still answer"),
        ("cut-link b-c", {"lost": ("b",), "systems": ("legal-person",)}, "legal-person/db@b would still stream"),
        ("slow-link a-b 200ms", {"lost": ("c",)}, "legal-person/db@c would still stream"),
    ],
)
def test_a_fault_must_take_the_lost_centre_away(fault: str, words: dict[str, Any], reason: str) -> None:
    assert reason in refusal("centre-lost", fault=fault, **words).message


def test_a_fault_needs_a_live_drill_in_the_lab() -> None:
    words: dict[str, Any] = {"lost": ("a",), "fault": "kill-centre a"}
    assert "needs a live drill in the lab" in refusal("centre-lost", mode=Mode.REHEARSAL, **words).message
    real = estate(LAB.systems, lab=False)
    assert "needs a live drill in the lab" in refusal("centre-lost", topology=real, **words).message


def test_a_scenario_without_an_inject_step_takes_no_fault() -> None:
    assert "injects no fault" in refusal("switchover", target="b", fault="slow-link a-b 200ms").message


@pytest.mark.parametrize(
    ("look", "reason"),
    [
        (change(HEALTHY, "legal-person/db@b", role=Role.PRIMARY, writable=True), "two writable primaries: a and b"),
        (change(HEALTHY, "legal-person/db@a", role=Role.STANDBY), "no primary that can be told"),
    ],
)
def test_nobody_can_tell_who_is_primary(look: Snapshot, reason: str) -> None:
    error = refusal("centre-lost", look, Mode.REHEARSAL, lost=("a",))
    assert reason in error.message


def edited(scenario: str, key: str, **fields: Any) -> Runbook:
    """A runbook in which one step is different."""
    book = runbook(scenario)
    steps = tuple(msgspec.structs.replace(s, **fields) if s.id == key else s for s in book.steps)
    return msgspec.structs.replace(book, steps=steps)


def without(scenario: str, *keys: str) -> Runbook:
    """A runbook from which steps were taken."""
    book = runbook(scenario)
    gone = tuple(s for s in book.steps if s.id not in keys)
    steps = tuple(msgspec.structs.replace(s, after=tuple(a for a in s.after if a not in keys)) for s in gone)
    return msgspec.structs.replace(book, steps=steps)


def gates_without(scenario: str, key: str, fact: Fact) -> Runbook:
    """A runbook in which a step lacks the gates of one fact."""
    step: StepTemplate = next(s for s in runbook(scenario).steps if s.id == key)
    return edited(scenario, key, gates=tuple(g for g in step.gates if g.fact is not fact))


KILL_A: dict[str, Any] = {"lost": ("a",), "fault": "kill-centre a"}


@pytest.mark.parametrize(
    ("book", "reason"),
    [
        (gates_without("centre-lost", "promote", Fact.CANNOT_ACK), "no gate `cannot_ack`"),
        (gates_without("centre-lost", "promote", Fact.HOLDS_ALL), "no gate `holds_all`"),
        (edited("centre-lost", "promote", gates=()), "no gate `cannot_ack`"),
        (gates_without("centre-lost", "redirect", Fact.WRITABLE_PRIMARY), "no gate `writable_primary`"),
        (edited("centre-lost", "redirect", gates=()), "no gate on what it leads to"),
        (edited("centre-lost", "redirect", after=("release",)), "does not wait for"),
        (without("centre-lost", "detach"), "nothing before it fences, demotes or cuts off"),
        (edited("centre-lost", "promote", after=()), "nothing before it fences, demotes or cuts off"),
        (without("centre-lost", "promote"), "no step promotes one"),
        (without("centre-lost", "rejoin"), "never comes back"),
        (msgspec.structs.replace(runbook("centre-lost"), verify=()), "nothing confirms at the end"),
        (edited("centre-lost", "heal", after=("serves",)), "would wake an old primary before"),
        (edited("centre-lost", "detach", after=("redirect",)), "wait for each other"),
    ],
)
def test_an_edited_runbook_that_would_do_harm(book: Runbook, reason: str) -> None:
    assert reason in refusal(book, **KILL_A).message


def test_promoting_with_loss_needs_a_fence_not_a_detached_standby() -> None:
    book = edited("centre-lost", "promote-accepting-loss", after=("detach",))
    look = dark(HEALTHY, "a")
    assert "nothing before it fences" in refusal(book, look, lost=("a",), accept_loss=True).message


def test_a_promotion_of_the_wrong_copy_is_refused() -> None:
    book = runbook("centre-lost")
    promote = next(s for s in book.steps if s.verb is Verb.PROMOTE)
    stray = msgspec.structs.replace(promote, id="stray", subject="new-primary", when=(), after=())
    error = refusal(msgspec.structs.replace(book, steps=(*book.steps, stray)), **KILL_A)
    assert "open-data/db@b:stray: promotes where no primary is to move" in error.message


def test_steps_that_wait_for_each_other_are_named() -> None:
    error = refusal(edited("centre-lost", "detach", after=("promote",)), **KILL_A)
    assert "legal-person/db@b:detach" in error.message
    assert "legal-person/db@b:promote" in error.message
    assert "after" in error.hint


def test_the_whole_estate_is_never_lost_silently() -> None:
    topology = estate([full_system("legal-person")])
    error = refusal("centre-lost", dark(healthy(topology), "a", "b", "c"), topology=topology, lost=("a",))
    assert "does not answer" in error.message


def test_a_centre_that_the_other_observers_reach_is_not_lost() -> None:
    """Silent here and answering there: our own way fails. One observer alone does not keep the gate shut."""
    look = dark(HEALTHY, "a")
    seen = tuple(View(observer=o, centre="a", sight=Sight.SEEN, answering=("legal-person/db@a",)) for o in ("b", "c"))
    error = refusal("centre-lost", look, lost=("a",), views=seen, observers=("a", "b", "c"))
    assert "legal-person/db@a does not answer here and answers b, c" in error.message
    one = refusal("centre-lost", look, lost=("a",), views=seen[:1], observers=("a", "b", "c"))
    assert "lost-is-gone" not in one.message
