"""The parts of the simulated world: time, data, disk. Each is judged by what it must show when it is wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import cast

import pytest

from orchestrator.evidence.journal import Entry, JournalFailed, genesis, parse_journal
from orchestrator.machine.faults import FAULTS, parse, strike
from orchestrator.machine.table import Act
from orchestrator.model.plan import Verb
from orchestrator.model.run import Event
from orchestrator.simulation.chance import Chance, spread
from orchestrator.simulation.data import CLIENTS, START, Flow, Logs
from orchestrator.simulation.disk import Dead, SimFile, SimJournal, full
from orchestrator.simulation.loop import PROCESS, Stuck, virtual_loop
from orchestrator.simulation.states import lift
from orchestrator.simulation.world import Ordered, SimWorld
from tests.simulation.situations import ground_states

DELAYS = {(x, y): 0.001 if "c" not in x + y else 0.02 for x in "abc" for y in "abc" if x != y}


def test_time_jumps_and_nothing_sleeps() -> None:
    loop = virtual_loop()
    seen: list[tuple[float, str]] = []

    async def at(seconds: float, word: str) -> None:
        await asyncio.sleep(seconds)
        seen.append((loop.time(), word))

    async def main() -> None:
        await asyncio.gather(at(3600, "late"), at(0.5, "soon"), at(0.5, "soon too"))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(10):
                await asyncio.Event().wait()

    loop.run_until(main(), 1e6)
    assert seen == [(0.5, "soon"), (0.5, "soon too"), (3600.0, "late")]
    assert loop.time() == 3610.0


def test_a_loop_that_waits_for_ever_is_found() -> None:
    async def for_ever() -> None:
        await asyncio.Event().wait()

    with pytest.raises(Stuck, match="nothing is left"):
        virtual_loop().run_until(for_ever(), 10.0)
    with pytest.raises(Stuck, match="not at its end"):
        virtual_loop().run_until(asyncio.sleep(11), 10.0)


def test_a_copy_that_was_cut_off_while_nobody_wrote_is_level() -> None:
    """A promotion of it loses nothing, though its stream was gone (seed 10020381)."""
    logs = Logs("abc", "a", 50, DELAYS)
    writes = Flow([("a", False, ())], [], [])
    logs.advance(0.01, writes)
    assert logs.level("c")
    logs.advance(0.1, writes)
    assert not logs.level("c")


def test_an_order_is_judged_by_the_look_that_led_to_it_and_not_by_that_of_a_later_life() -> None:
    """It lands long after its process was killed, and the run has looked at the same step again (seed 10240438)."""
    rule = "users-led-to-the-primary"
    right = SimpleNamespace(judged=lambda *_: ())
    wrong = SimpleNamespace(judged=lambda *_: ((rule, "it leads to nobody"),))
    order = SimpleNamespace(step="spread", act=None, accepted=False, sent_s=1.0)
    for looked_s, expected in ((0.9, True), (10.0, True), (None, True)):
        world = SimpleNamespace(
            looked_s={} if looked_s is None else {"spread": looked_s},
            trouble=SimpleNamespace(lied=False),
            _past=[(0.0, right), (8.0, wrong)],
        )
        assert SimWorld._was_right(cast(SimWorld, world), cast(Ordered, order), rule) is expected
    world._past = [(0.0, right), (0.5, wrong)]
    world.looked_s = {"spread": 0.9}
    assert not SimWorld._was_right(cast(SimWorld, world), cast(Ordered, order), rule)


def test_a_frozen_process_goes_on_where_it_stood() -> None:
    loop = virtual_loop()
    seen: list[float] = []

    async def work() -> None:
        for _ in range(3):
            await asyncio.sleep(1)
            seen.append(loop.time())

    async def main() -> None:
        PROCESS.set(7)
        task = loop.create_task(work())
        PROCESS.set(0)
        loop.call_at(1.5, loop.freeze, 7)
        loop.call_at(10.0, loop.thaw, 7)
        await asyncio.wait({task})

    loop.run_until(main(), 100.0)
    assert seen == [1.0, 10.0, 11.0]


def test_concerns_do_not_disturb_each_other() -> None:
    one, other = Chance(5), Chance(5)
    other.of("weather").random()
    assert one.of("probes").random() == other.of("probes").random()
    assert Chance(6).of("probes").random() != Chance(5).of("probes").random()
    source = Random(1)
    middle = sorted(spread(source, 2.0) for _ in range(999))[499]
    assert 1.8 < middle < 2.2


def pair(waits: bool = True) -> tuple[Logs, Flow]:
    """Primary a, copy b."""
    flow = Flow([("a", waits, ("b",) if waits else ())], [("b", "a")], [])
    return Logs("abc", "a", 200, DELAYS), flow


def test_a_sync_copy_holds_whatever_was_acknowledged() -> None:
    logs, flow = pair()
    for at in (0.1, 0.5, 7.0):
        logs.advance(at, flow)
        assert logs.copies["a"].position >= logs.copies["b"].position >= logs.acked[0] > START
    assert logs.missing("b") == 0
    assert logs.missing("c") > 1000
    assert logs.acked[0] - START == pytest.approx(7.0 * 200, abs=10)


def test_without_its_copy_a_primary_acknowledges_nothing_more() -> None:
    logs, flow = pair()
    logs.advance(1.0, flow)
    logs.advance(60.0, Flow([("a", True, ())], [], []))
    assert logs.acked[0] <= logs.copies["b"].position
    assert logs.copies["a"].position <= logs.acked[0] + CLIENTS + 2 * CLIENTS


def test_a_later_copy_is_behind_and_catches_up_when_its_source_stands_still() -> None:
    logs, _ = pair()
    flow = Flow([("a", False, ())], [("c", "a")], [])
    for tick in range(1, 50):
        logs.advance(tick / 10, flow)
    assert 0 < logs.missing("c") <= 0.02 * 200 + 1
    still = Flow([], [("c", "a")], [])
    logs.advance(4.91, still)
    assert logs.missing("c") > 0, "what is on its way needs its time"
    logs.advance(5.0, still)
    logs.advance(5.1, still)
    assert logs.missing("c") == 0


def test_a_promotion_that_loses_writes_is_found() -> None:
    logs, flow = pair()
    logs.advance(5.0, flow)
    logs.promote("c", accepted=False)
    assert any("nobody accepted a loss" in text for text in logs.wrong)


def test_an_accepted_loss_is_no_loss() -> None:
    logs, flow = pair()
    logs.advance(5.0, flow)
    logs.promote("c", accepted=True)
    assert logs.wrong == []
    assert logs.missing("c") == 0


def test_two_sides_that_acknowledge_are_found() -> None:
    logs, flow = pair(waits=False)
    logs.advance(5.0, flow)
    logs.promote("b", accepted=True)
    logs.advance(6.0, Flow([("a", False, ()), ("b", False, ())], [], []))
    assert logs.wrong == ["a acknowledges writes that b, promoted since, does not hold"]


def test_a_copy_whose_history_has_parted_does_not_follow() -> None:
    logs, flow = pair(waits=False)
    logs.advance(5.0, flow)
    ahead = logs.copies["a"].position
    logs.promote("b", accepted=True)
    back = Flow([("b", False, ())], [("a", "b")], [])
    logs.advance(6.0, back)
    assert logs.copies["a"].position == ahead
    assert any("histories have parted" in text for text in logs.wrong)
    logs.wrong.clear()
    logs.rebuild("a", "b")
    logs.advance(7.0, back)
    assert logs.wrong == []
    assert logs.reach("a", 1) > logs.parents[1][1]


FIRST = genesis("ab" * 32, "run")


def book(file: SimFile, gate: Callable[[str, bytes], None] = lambda what, content: None) -> SimJournal:
    return SimJournal(
        Path("journal"),
        run="run",
        first_prev=FIRST,
        epoch=1,
        epoch_now=lambda: 1,
        file=file,
        gate=gate,
    )


@pytest.mark.parametrize("seed", range(20))
def test_power_takes_what_was_not_synced_and_may_tear_a_line(seed: int) -> None:
    file = SimFile()
    writer = book(file)
    writer.append([Entry(event=Event.STEP_STARTED, step="kept")])
    writer.append([Entry(event=Event.STEP_STARTED, step=f"loose {n}") for n in range(3)], sync=False)
    assert writer.synced_seq == 0
    file.crash(Random(seed))
    again = book(file)
    assert again.records[0].step == "kept"
    assert [r.step for r in again.records[1:] if r.event is Event.STEP_STARTED] == [
        f"loose {n}" for n in range(sum(r.step.startswith("loose") for r in again.records))
    ]
    assert parse_journal(bytes(file.content), Path("journal"), FIRST) == again.records


def test_a_full_disk_and_a_dead_process() -> None:
    def no_room(what: str, content: bytes) -> None:
        if what == "write":
            raise full()

    file = SimFile()
    with pytest.raises(JournalFailed, match="No space left"):
        book(file, no_room).append([Entry(event=Event.STEP_STARTED)])
    assert file.content == b""

    def dead(what: str, content: bytes) -> None:
        raise Dead

    with pytest.raises(Dead):
        book(file, dead).append([Entry(event=Event.STEP_STARTED)])
    assert file.content == b""


@pytest.mark.parametrize(
    "words", ["kill-centre a", "freeze-centre a", "blackout b", "darken c", "cut-link a-b", "cut-link b>a"]
)
def test_a_fault_that_is_lifted_leaves_nothing(words: str) -> None:
    ground = ground_states("chain").ground
    (fault,) = parse(words)
    begin = ground.declared()
    struck = strike(ground, begin, fault)
    assert struck != begin
    assert fault.name in FAULTS
    lifted = lift(struck, fault)
    assert lifted.cut == begin.cut
    assert [n.power for n in lifted.nodes] == [n.power for n in begin.nodes]


def test_a_release_acts_at_the_source_though_the_standby_is_dark() -> None:
    """The table once refused it; the real one asks the source alone."""
    states = ground_states("chain")
    dark = states.of(strike(states.ground, states.ground.declared(), *parse("blackout b")))
    act = Act(verb=Verb.DEMOTE, instance="one/db@b", towards=("a",), epoch=1)
    why, after = dark.after(act)
    assert why == ""
    assert after.world.nodes[states.ground.index["one/db@a"]].sync == ()


def test_a_promotion_parts_the_histories_of_those_that_did_not_receive_through_it() -> None:
    """The table once forgot it for everybody but the promoted one; the concrete data told."""
    states = ground_states("star")
    begin = states.of(states.ground.declared())
    for act in (
        Act(verb=Verb.FENCE, instance="one/db@a", epoch=1),
        Act(verb=Verb.REPOINT, instance="one/db@b", epoch=1),
        Act(verb=Verb.PROMOTE, instance="one/db@b", epoch=1),
    ):
        why, begin = begin.after(act)
        assert why == ""
    a, b, c = (begin.world.nodes[states.ground.index[f"one/db@{x}"]] for x in "abc")
    assert (a.forked, b.forked, c.forked) == (True, False, True)
    assert (b.epoch, c.epoch) == (1, 0), "it learns of a run only what reaches it"
