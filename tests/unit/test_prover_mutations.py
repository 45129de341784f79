"""Checks the prover itself: a guard of a shipped plan, of the table or of the checks is dropped, and it must find harm.

What survives alone is guarded twice (docs/proof.md lists it): dropped together with its double, it is found as well.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from orchestrator.checks.base import yes
from orchestrator.checks.conditions import Evidence, judge
from orchestrator.machine import invariants, table, world
from orchestrator.machine.table import Act
from orchestrator.machine.world import Ground, World
from orchestrator.model.certificate import Certificate, Counterexample
from orchestrator.model.observation import Finding, Verdict
from orchestrator.model.plan import Condition, Fact, Plan, Step, Verb
from orchestrator.prover import prove
from orchestrator.proving import worlds
from tests.unit.test_prover import RUNBOOKS, TOPOLOGY, made, one_system

Change = Callable[[Step], Step]
Mutant = Callable[[Plan], Plan]

ZERO = one_system(TOPOLOGY, made(TOPOLOGY, RUNBOOKS / "centre-lost.yaml", lost=("a",), fault="kill-centre a"), "first")
LOSS = one_system(
    TOPOLOGY,
    made(TOPOLOGY, RUNBOOKS / "centre-lost.yaml", lost=("a",), target="c", accept_loss=True, fault="freeze-centre a"),
    "first",
)
MOVE = one_system(TOPOLOGY, made(TOPOLOGY, RUNBOOKS / "switchover.yaml", target="b", systems=("first",)), "first")


def changed(ending: str, change: Change) -> Mutant:
    """Change the one step whose id ends so."""

    def mutate(plan: Plan) -> Plan:
        hit = [s.id for s in plan.steps if s.id.endswith(ending)]
        assert len(hit) == 1, f"{ending} names {hit}"
        return replace(plan, steps=tuple(change(s) if s.id == hit[0] else s for s in plan.steps))

    return mutate


def gate(ending: str, fact: Fact) -> Mutant:
    """Drop the gates of a fact."""
    return changed(ending, lambda s: replace(s, gates=tuple(g for g in s.gates if g.fact is not fact)))


def proof(ending: str, fact: Fact) -> Mutant:
    """Drop what is waited for of a fact."""
    return changed(ending, lambda s: replace(s, verify=tuple(v for v in s.verify if v.fact is not fact)))


def need(ending: str, *others: str) -> Mutant:
    """No longer wait for some steps."""
    return changed(ending, lambda s: replace(s, needs=tuple(n for n in s.needs if not n.endswith(others))))


def without(verb: Verb) -> Mutant:
    """Forget every step of a verb; what waited for it waits for nothing in its place."""

    def mutate(plan: Plan) -> Plan:
        gone = {s.id for s in plan.steps if s.verb is verb}
        assert gone
        kept = (s for s in plan.steps if s.id not in gone)
        steps = tuple(replace(s, needs=tuple(n for n in s.needs if n not in gone)) for s in kept)
        return replace(plan, steps=steps)

    return mutate


def both(*mutants: Mutant) -> Mutant:
    """Several at once."""

    def mutate(plan: Plan) -> Plan:
        for mutant in mutants:
            plan = mutant(plan)
        return plan

    return mutate


KILLED: dict[str, tuple[Plan, Mutant, str]] = {
    "holds_all of promote": (ZERO, gate("db@b:promote", Fact.HOLDS_ALL), "promotion-keeps-all"),
    "writable_primary of redirect": (ZERO, gate(":redirect", Fact.WRITABLE_PRIMARY), "users-led-to-the-primary"),
    "writable_primary of spread": (ZERO, gate(":spread", Fact.WRITABLE_PRIMARY), "users-led-to-the-primary"),
    "the rejoin": (ZERO, without(Verb.REJOIN), "comes-to-its-end"),
    "the promotion": (ZERO, without(Verb.PROMOTE), "comes-to-its-end"),
    "the demotion before a switchover": (MOVE, without(Verb.DEMOTE), "comes-to-its-end"),
    "writable_primary of the redirect of a switchover": (
        MOVE,
        gate(":redirect", Fact.WRITABLE_PRIMARY),
        "users-led-to-the-primary",
    ),
    "detach and cannot_ack": (
        ZERO,
        both(need("db@b:promote", ":detach"), gate("db@b:promote", Fact.CANNOT_ACK)),
        "promotion-licensed",
    ),
    "call and calls": (
        ZERO,
        both(need(":redirect", ":call"), gate(":redirect", Fact.CALLS)),
        "users-led-to-the-primary",
    ),
    "call-again and calls": (
        ZERO,
        both(need(":spread", ":call-again"), gate(":spread", Fact.CALLS)),
        "users-led-to-the-primary",
    ),
    "fence-first, fenced and cannot_ack": (
        LOSS,
        both(
            need(":promote-accepting-loss", ":fence-first"),
            gate(":promote-accepting-loss", Fact.FENCED),
            gate(":promote-accepting-loss", Fact.CANNOT_ACK),
        ),
        "promotion-licensed",
    ),
    "caught-up and holds_all": (
        MOVE,
        both(need("db@b:promote", ":caught-up"), gate("db@b:promote", Fact.HOLDS_ALL)),
        "promotion-keeps-all",
    ),
    "every guard of the old primary in a switchover": (
        MOVE,
        both(without(Verb.DEMOTE), gate("db@b:promote", Fact.CANNOT_ACK), proof(":caught-up", Fact.HOLDS_ALL)),
        "",
    ),
}


@pytest.mark.parametrize("name", list(KILLED))
def test_a_dropped_guard_is_found(name: str) -> None:
    plan, mutant, rule = KILLED[name]
    found = prove(mutant(plan), TOPOLOGY)
    assert isinstance(found, Counterexample), f"{name} is needed for nothing: {found.states} states"
    assert not rule or found.rule == rule, found.told("en")


# ------------------------------------------------------------- the checks


def lying(fact: Fact) -> Callable[[Condition, Evidence], Finding]:
    """The shipped judge, but one fact always holds."""

    def judged(condition: Condition, evidence: Evidence) -> Finding:
        if condition.fact is fact:
            return yes("of course", "当然").about(condition.fact.value, condition.instance)
        return judge(condition, evidence)

    return judged


def unknown_is_down(condition: Condition, evidence: Evidence) -> Finding:
    """Invariant 4 broken: what could not be told licenses a promotion."""
    finding = judge(condition, evidence)
    licence = condition.fact in {Fact.CANNOT_ACK, Fact.HOLDS_ALL}
    return replace(finding, verdict=Verdict.PASS) if licence and finding.verdict is Verdict.UNKNOWN else finding


def test_a_judge_that_believes_a_candidate_to_hold_everything_is_found() -> None:
    assert isinstance(prove(ZERO, TOPOLOGY, judged=lying(Fact.HOLDS_ALL)), Counterexample)


def test_a_judge_to_whom_unknown_is_down_is_found() -> None:
    assert isinstance(prove(ZERO, TOPOLOGY, judged=unknown_is_down), Counterexample)


# ------------------------------------------------------------- the table


def test_a_promotion_that_forgets_what_was_given_up_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that calls itself done while a copy does not follow breaks invariant 6."""
    shut = replace(table.ACTIONS[Verb.REJOIN], effect=lambda _, __, node, ___: {node.id: node})
    monkeypatch.setattr(table, "ACTIONS", {**table.ACTIONS, Verb.REJOIN: shut})
    assert isinstance(prove(ZERO, TOPOLOGY), Counterexample)


def test_a_primary_that_acknowledges_without_its_standby_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The condition of synchronous copying is what lets the slow fence stand beside the way."""
    for module in (world, invariants):
        monkeypatch.setattr(module, "can_acknowledge", lambda _, __, node: world.would_take(node))
    found = prove(ZERO, TOPOLOGY)
    assert isinstance(found, Counterexample)
    assert found.rule in {"promotion-licensed", "one-acknowledger", "promotion-keeps-all"}


def test_a_fence_that_does_not_hold_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a loss accepted the fence alone keeps the old primary from acknowledging."""
    torn = replace(table.ACTIONS[Verb.FENCE], effect=lambda _, __, node, ___: {node.id: replace(node, fenced=True)})
    monkeypatch.setattr(table, "ACTIONS", {**table.ACTIONS, Verb.FENCE: torn})
    assert isinstance(prove(LOSS, TOPOLOGY), Counterexample)


def test_nothing_is_found_where_nothing_is_dropped() -> None:
    for plan in (ZERO, MOVE):
        assert isinstance(prove(plan, TOPOLOGY), Certificate)


ROWS: dict[Verb, tuple[Plan, str]] = {
    Verb.FENCE: (LOSS, "comes-to-its-end"),
    Verb.PROMOTE: (ZERO, "comes-to-its-end"),
    Verb.DEMOTE: (MOVE, "comes-to-its-end"),
    Verb.REPOINT: (ZERO, "comes-to-its-end"),
    Verb.REJOIN: (ZERO, "comes-to-its-end"),
}
SPARED_ROWS = {
    Verb.UNFENCE: "a way back alone",
    Verb.REDIRECT: "an entry that stays where it was leads nobody astray; whether users are served is asked",
    Verb.START: "of apps alone: whether they answer is asked for users' sake",
    Verb.STOP: "no shipped plan has it",
    Verb.RUN_PLAYBOOK: "it has no effect in this model",
}


@pytest.mark.parametrize("verb", list(ROWS))
def test_a_row_without_its_effect_is_found(verb: Verb, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, rule = ROWS[verb]
    idle = replace(table.ACTIONS[verb], effect=lambda *_: {})
    monkeypatch.setattr(table, "ACTIONS", {**table.ACTIONS, verb: idle})
    found = prove(plan, TOPOLOGY, states_max=1_000)
    assert isinstance(found, Counterexample)
    assert found.rule == rule, found.told("en")


def test_every_row_of_the_table_is_accounted_for() -> None:
    assert set(table.ACTIONS) == set(ROWS) | set(SPARED_ROWS)


@pytest.mark.parametrize("plan", [ZERO, LOSS, MOVE])
def test_an_epoch_that_nobody_checks_is_found(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """An earlier run promoted what is primary now; its order lands after this run has moved the primary."""
    checked = table.refusal

    def unchecked(ground: Ground, state: World, act: Act) -> str:
        why = checked(ground, state, act)
        return checked(ground, state, replace(act, epoch=1_000)) if "has seen epoch" in why else why

    for module in (table, worlds):
        monkeypatch.setattr(module, "refusal", unchecked)
    monkeypatch.setattr(worlds.Worlds, "outdated", lambda *_: False)
    found = prove(plan, TOPOLOGY, states_max=3_000)
    assert isinstance(found, Counterexample)
    assert found.rule == "promotion-licensed"
    assert "earlier run" in found.story[0].en
