"""Every guard of every shipped runbook is accounted for: found alone, found with its doubles, or spared with a reason.

The guards are read from the runbooks: one that is added stands in no list here, and the test fails until somebody has
said what it is needed for.
"""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from msgspec.structs import replace

from orchestrator.model.certificate import Certificate, Counterexample
from orchestrator.model.plan import Plan
from orchestrator.prover import prove
from tests.unit.guards import Guard, guards_of, tried, without
from tests.unit.test_prover import RUNBOOKS, TOPOLOGY

STATES_MAX = 1_000
"""Of one search; what goes wrong where little goes wrong is looked for in five times as many."""

FOUND: tuple[tuple[str, str, str, str], ...] = (
    ("centre-lost", "zero", "detect verify not_serving", "comes-to-its-end"),
    ("centre-lost", "zero", "promote gate holds_all", "promotion-keeps-all"),
    ("centre-lost", "zero", "redirect gate writable_primary", "users-led-to-the-primary"),
    ("centre-lost", "zero", "spread gate writable_primary", "users-led-to-the-primary"),
    ("centre-lost", "zero", "promote after detach, promote gate cannot_ack", "promotion-licensed"),
    ("centre-lost", "zero", "redirect after call, redirect gate calls", "users-led-to-the-primary"),
    ("centre-lost", "zero", "spread after call-again, spread gate calls", "users-led-to-the-primary"),
    ("centre-lost", "zero", "detach after detect, protected verify sync_standby_of", "three-copies"),
    (
        "centre-lost",
        "loss",
        "promote-accepting-loss after fence-first, promote-accepting-loss gate fenced,"
        " promote-accepting-loss gate cannot_ack",
        "promotion-licensed",
    ),
    ("site-lost", "loss", "detect verify not_serving", "comes-to-its-end"),
    (
        "site-lost",
        "loss",
        "detach after fence, promote-accepting-loss after fence, promote-accepting-loss gate fenced,"
        " promote-accepting-loss gate cannot_ack",
        "promotion-licensed",
    ),
    ("site-lost", "loss", "redirect after call, redirect gate calls", "users-led-to-the-primary"),
    (
        "site-lost",
        "loss",
        "redirect after call, redirect after promote-accepting-loss, call after promote-accepting-loss,"
        " redirect gate writable_primary",
        "users-led-to-the-primary",
    ),
    ("switchover", "near", "caught-up verify holds_all", "comes-to-its-end"),
    ("switchover", "near", "redirect gate writable_primary", "users-led-to-the-primary"),
    ("switchover", "near", "caught-up after demote, promote gate cannot_ack", "promotion-licensed"),
    ("switchover", "near", "promote after caught-up, promote gate cannot_ack", "promotion-licensed"),
    ("switchover", "near", "promote after caught-up, promote gate holds_all", "promotion-keeps-all"),
    ("switchover", "near", "redirect after call, redirect gate calls", "users-led-to-the-primary"),
    ("failback", "home", "promote after hold, protected verify sync_standby_of", "three-copies"),
    ("failback", "home", "redirect gate writable_primary", "users-led-to-the-primary"),
    ("isolated", "exercise", "before verify standby_of", "comes-to-its-end"),
)
"""Runbook, plan, the guards that are dropped together, and the invariant that breaks."""

SPARED: Mapping[str, tuple[str, ...]] = {
    "the action itself does not end well before it is so": (
        "release verify no_sync_wait",
        "rehome verify standby_of",
        "fence verify fenced",
        "fence-first verify fenced",
        "detach verify detached",
        "hold verify detached",
        "demote verify not_writable",
        "promote verify writable_primary",
        "promote-accepting-loss verify writable_primary",
        "call verify calls",
        "call-again verify calls",
        "redirect verify routed_to",
        "spread verify routed_to",
        "rejoin verify standby_of",
        "return verify standby_of",
        "rewind verify standby_of",
        "rewire verify standby_of",
    ),
    "asked again before it matters: by the gate of the promotion, of the redirect, or at the end": (
        "demote gate standby_of",
        "hold after demote",
        "call after promote",
        "call after promote-accepting-loss",
        "redirect after release",
        "call-again after start",
        "rewire after return",
        "rewire after rejoin",
        "rewire after rewind",
        "serves verify writable_primary",
        "protected verify writable_primary",
        "protected verify standby_of",
        "protected verify sync_standby_of",
        "rejoin gate writable_primary",
    ),
    "a fence that holds, or a promotion, ends the stream in any case": (
        "promote-accepting-loss after detach",
        "promote-accepting-loss gate detached",
        "fence after detect",
        "fence-first after detect",
    ),
    "nothing is lost there: the old primary waits for the new one's acknowledgement until it is rejoined": (
        "heal after fence",
        "rejoin after fence",
    ),
    "for users' sake: what serves them comes before what protects, and what does not answer is not led to": (
        "rehome after serves",
        "fence after serves",
        "wake after detect",
        "wake verify answers",
        "demote after wake",
        "call after wake",
        "redirect gate answers",
        "spread gate answers",
        "serves after redirect",
        "serves verify serves_users",
        "protected verify serves_users",
        "heal after serves",
        "heal after rehome",
        "rejoin after serves",
        "rejoin after source.rejoin",
        "rewind after serves",
        "retire after serves",
        "start after serves",
        "start verify answers",
    ),
    "an exercise changes nothing in production: no invariant rests on it": (
        "clone after before",
        "clone gate standby_of",
        "check after clone",
        "check after dependencies.clone",
        "discard after check",
    ),
}
"""Guards that no invariant is found to need, by the reason why they stand there all the same."""


def read(runbook: str, text: str) -> tuple[Guard, ...]:
    """Guards from words: `promote gate holds_all, promote after detach`."""
    return tuple(Guard(runbook, *words.split()) for words in text.split(","))


def words(guard: Guard) -> str:
    """A guard without its runbook."""
    return " ".join(guard[1:])


def parents(runbook: str) -> str:
    """The runbook in which the steps stand: two extend `switchover`, and say nothing of their own."""
    return "switchover" if runbook in {"failback", "system-switchover"} else runbook


SHIPPED = tuple(sorted(path.stem for path in RUNBOOKS.glob("*.yaml")))


def order(plan: Plan) -> tuple[object, ...]:
    """What of a plan tells which step waits for which, however it says so; and all that it asks."""
    before: dict[str, frozenset[str]] = {}
    for step in plan.steps:
        before[step.id] = frozenset(step.needs).union(*(before[n] for n in step.needs))
    return before, tuple(replace(s, needs=()) for s in plan.steps)


def implied(guard: Guard) -> bool:
    """Whether other needs say the same in every plan, or no plan has the step."""
    family = [r for r in SHIPPED if parents(r) == guard.runbook]
    plans = [one.plan for runbook in family for one in tried(runbook).values()]
    return all(order(without(plan, guard)) == order(plan) for plan in plans)


@pytest.mark.parametrize("runbook", SHIPPED)
def test_every_guard_is_accounted_for(runbook: str) -> None:
    named = {g for name, _, text, _ in FOUND for g in read(parents(name), text)}
    spared = {text for texts in SPARED.values() for text in texts}
    every = dict.fromkeys(g._replace(runbook=parents(runbook)) for g in guards_of(runbook))
    open_ones = [g for g in every if g not in named and words(g) not in spared and not implied(g)]
    assert not open_ones, f"say what these are needed for: {', '.join(map(str, open_ones))}"


def test_what_is_named_stands_in_a_runbook() -> None:
    every = {g._replace(runbook=parents(r)) for r in SHIPPED for g in guards_of(r)}
    assert {g for name, _, text, _ in FOUND for g in read(parents(name), text)} <= every
    assert {text for texts in SPARED.values() for text in texts} <= {words(g) for g in every}


@pytest.mark.parametrize(("runbook", "which", "text", "rule"), FOUND)
def test_dropped_guards_are_found(runbook: str, which: str, text: str, rule: str) -> None:
    plan, look = tried(runbook)[which]
    dropped = without(plan, *read(runbook, text))
    found = prove(dropped, TOPOLOGY, now=look, before=look, states_max=STATES_MAX)
    assert isinstance(found, Counterexample), f"{text} is needed for nothing: {found.states} states"
    assert found.rule == rule, found.told("en")


@pytest.mark.parametrize(("runbook", "which"), [("failback", "home"), ("restore", "copy"), ("site-lost", "loss")])
def test_nothing_is_found_where_nothing_is_dropped(runbook: str, which: str) -> None:
    plan, look = tried(runbook)[which]
    found = prove(plan, TOPOLOGY, now=look, before=look, states_max=20_000)
    assert isinstance(found, Certificate), found.told("en")
    assert found.complete
