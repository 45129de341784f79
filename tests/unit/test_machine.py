"""The state machine: its table, its faults and its looks; and what stands in no plan: every state of one service."""

from __future__ import annotations

import pytest

from orchestrator.machine import looks
from orchestrator.machine.faults import Fault, heal, strike
from orchestrator.machine.invariants import one_acknowledger, three_copies
from orchestrator.machine.table import ACTIONS, Act, apply, failure, refusal
from orchestrator.machine.world import Ground, Node, Power, World, can_acknowledge, connected
from orchestrator.model.certificate import MachineStates, Transition
from orchestrator.model.observation import Reach
from orchestrator.model.plan import Verb
from orchestrator.model.topology import Role
from orchestrator.proving import machine_states
from orchestrator.reports.machine_view import machine_mermaid, machine_svg
from tests.unit.estates import load

TOPOLOGY = load()
GROUND = Ground(TOPOLOGY, ["first"])
A, B, C = (f"first/db@{c}" for c in "abc")


def act(verb: Verb, instance: str, *towards: str, mode: str = "", epoch: int = 1) -> Act:
    return Act(verb=verb, instance=instance, towards=towards, mode=mode, epoch=epoch)


def node(world: World, name: str) -> Node:
    return world.nodes[GROUND.index[name]]


def after(world: World, *acts: Act) -> World:
    for one in acts:
        assert not refusal(GROUND, world, one), refusal(GROUND, world, one)
        world = apply(GROUND, world, one)
    return world


def test_a_link_that_is_cut_one_way_carries_no_conversation_either_way() -> None:
    """The prover holds both to be one fault."""
    cut = strike(GROUND, GROUND.declared(), Fault(name="cut-link", place="a>b"))
    assert not connected(cut, "a", "b")
    assert not connected(cut, "b", "a")


def test_a_primary_without_its_synchronous_standby_acknowledges_nothing() -> None:
    world = after(GROUND.declared(), act(Verb.REPOINT, B))
    assert not can_acknowledge(GROUND, world, node(world, A))
    assert not one_acknowledger(GROUND, world)


def test_two_that_acknowledge_are_told() -> None:
    world = after(GROUND.declared(), act(Verb.DEMOTE, B, "a"), act(Verb.REPOINT, B), act(Verb.PROMOTE, B))
    assert f"{A} and {B}" in one_acknowledger(GROUND, world)


def test_only_whom_an_action_reaches_learns_its_epoch() -> None:
    """A promotion means something to the old primary, and it has not heard of it: an older order may still reach it."""
    world = after(GROUND.declared(), act(Verb.REPOINT, B), act(Verb.PROMOTE, B, epoch=7))
    assert [node(world, n).epoch for n in (A, B, C)] == [0, 7, 0]
    assert refusal(GROUND, world, act(Verb.PROMOTE, B, epoch=6))
    assert not refusal(GROUND, world, act(Verb.FENCE, A, epoch=6))


def test_a_fenced_instance_does_not_come_back_by_itself() -> None:
    world = after(GROUND.declared(), act(Verb.FENCE, A))
    for back in (heal(GROUND, world), strike(GROUND, world, Fault(name="restart-centre", place="a"))):
        assert node(back, A).power is Power.DOWN
    assert node(heal(GROUND, strike(GROUND, world, Fault(name="kill-centre", place="b"))), B).power is Power.UP


def test_a_centre_whose_hosts_answer_again_stays_off() -> None:
    dark = strike(GROUND, GROUND.declared(), Fault(name="blackout", place="a"))
    assert looks.read(GROUND, dark, node(dark, A)).reach is Reach.SILENT
    light = strike(GROUND, dark, Fault(name="lighten", place="a"))
    assert looks.read(GROUND, light, node(light, A)).reach is Reach.REFUSED


def test_a_copy_is_no_further_than_what_it_streams_from() -> None:
    """C streams from B, and B fell behind A: a look that showed C level with A would license a loss."""
    world = after(GROUND.declared(), act(Verb.DEMOTE, B, "a"), act(Verb.REPOINT, B))
    told = [looks.read(GROUND, world, node(world, n)).position for n in (A, B, C)]
    assert told == [looks.LEVEL, looks.BEHIND, looks.BEHIND]


def test_a_copy_whose_source_does_not_answer_us_follows_and_its_order_is_told_to_have_failed() -> None:
    """Told to be well, a rejoin of a sync standby was never done again, and nobody waited for it (seed 10035840)."""
    dark = strike(GROUND, GROUND.declared(), Fault(name="darken", place="a"))
    for order in (act(Verb.REJOIN, B, "a", mode="sync"), act(Verb.REPOINT, B, "a")):
        assert node(after(dark, order), B).upstream == "a"
        assert "does not answer" in failure(GROUND, dark, order)
        assert not failure(GROUND, GROUND.declared(), order)


def test_a_takeover_and_the_way_back_end_with_three_copies() -> None:
    world = strike(GROUND, GROUND.declared(), Fault(name="kill-centre", place="a"))
    world = after(world, act(Verb.REPOINT, B), act(Verb.PROMOTE, B), act(Verb.FENCE, A))
    assert three_copies(GROUND, world)
    back = after(heal(GROUND, world), act(Verb.REJOIN, A, "b", mode="sync"))
    assert not three_copies(GROUND, back)
    assert node(back, A).role is Role.STANDBY


def test_every_verb_of_an_actor_has_its_row() -> None:
    assert set(ACTIONS) == set(list(Verb)[:10])


def test_doing_twice_is_doing_once() -> None:
    world = GROUND.declared()
    for verb in ACTIONS:
        for towards in ((), ("a",), ("b",), ("c",)):
            one = act(verb, B, *towards)
            if (verb is Verb.REJOIN and towards in {(), ("b",)}) or refusal(GROUND, world, one):
                continue
            once = apply(GROUND, world, one)
            assert apply(GROUND, once, one) == once, one


def test_no_state_near_the_beginning_breaks_an_invariant() -> None:
    """The whole enumeration is `drctl prove`; here its first states."""
    found = machine_states.enumerate_machine(states_max=1500)
    assert found.violations == ()
    assert 1500 < found.states < found.transitions


def test_a_licence_that_is_not_asked_for_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = {v: licence for v, licence in machine_states.LICENCES.items() if v is not Verb.PROMOTE}
    monkeypatch.setattr(machine_states, "LICENCES", kept)
    assert machine_states.enumerate_machine(states_max=300).violations


def test_the_picture_holds_the_counts_and_names_nothing_from_outside() -> None:
    moves = (Transition(source="a:primary b:standby", label="promote", target="a:down b:primary", times=3),)
    machine = MachineStates(
        states=2,
        transitions=3,
        violations=(),
        faults_at_once=1,
        classes=("a:down b:primary", "a:primary b:standby"),
        moves=moves,
    )
    svg, text = machine_svg(machine, "en"), machine_mermaid(machine, "zh")
    assert "2 states, 3 transitions, 0 violations" in svg
    assert "promote" in svg
    assert "http" not in svg.replace("http://www.w3.org/2000/svg", "")
    assert "s1 --> s0: promote" in text
    assert "状态 2" in text
