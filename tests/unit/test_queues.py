"""Both ends of the way to a worker, without the library between: what is refused, and who acts in the end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from orchestrator.model.plan import Verb
from orchestrator.model.topology import Kind, Setting
from orchestrator.providers.base import ActionFailed, Order, Outcome, Unsupported
from orchestrator.queues import Answer, Dispatcher, Hand, NotTaken, Routed, WorkerDied, decode, encode
from tests.simestate import KINDS, topology

ESTATE = topology(("s0",))


def order(epoch: int = 2000, instance: str = "s0/db@b", **more: Any) -> Order:
    found = ESTATE.instance_by_id[instance]
    service = ESTATE.service_by_id[found.service]
    return Order(run="r", step="s", epoch=epoch, service=service, instance=found, artifacts=Path("x/y"), **more)


class Acting:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.kind = Kind(name="simdb", nature=KINDS["simdb"])
        self.told: list[tuple[Verb, int]] = []

    async def act(self, verb: Verb, order: Order) -> Outcome:
        if verb is Verb.REDIRECT:
            raise Unsupported("no such verb")
        self.told.append((verb, order.epoch))
        return Outcome(detail="done", facts=(Setting(name="at", value=str(order.artifacts)),))


def hand(acting: Acting, owns: int | None = None) -> Hand:
    async def current(_: str) -> int | None:
        return owns

    return Hand("b", {"simdb": acting}, lambda run, step: Path("here") / run / step, current)


async def answer(found: Hand, given: Order, verb: Verb = Verb.START) -> Answer:
    return msgspec.json.decode(await found.act(encode(verb, given)), type=Answer)


def test_an_order_arrives_as_it_was_sent_but_for_its_folder() -> None:
    sent = order(
        towards=(ESTATE.instance_by_id["s0/db@a"],), params=(Setting(name="mode", value="sync"),), within_s=7.5
    )
    verb, came = decode(encode(Verb.REJOIN, sent), lambda run, step: Path("here") / run / step)
    assert verb is Verb.REJOIN
    assert came == msgspec.structs.replace(sent, artifacts=Path("here/r/s"))


async def test_a_worker_acts_in_its_own_folder() -> None:
    told = await answer(hand(acting := Acting()), order())
    assert msgspec.json.decode(told.outcome, type=Outcome).facts[0].value == "here/r/s"
    assert acting.told == [(Verb.START, 2000)]


async def test_an_older_epoch_is_refused_by_the_store_and_by_memory() -> None:
    acting = Acting()
    assert "has seen epoch 3000" in (await answer(hand(acting, owns=3000), order(2000))).error
    same = hand(acting)
    assert not (await answer(same, order(3000))).error
    assert "has seen epoch 3000" in (await answer(same, order(2000))).error
    assert acting.told == [(Verb.START, 3000)]


async def test_another_centres_instance_is_refused() -> None:
    acting = Acting()
    assert "does not stand in centre b" in (await answer(hand(acting), order(instance="s0/db@a"))).error
    assert acting.told == []


async def test_what_fails_is_told_and_never_raised() -> None:
    assert (await answer(hand(Acting()), order(), Verb.REDIRECT)).unsupported
    assert "a bug" in msgspec.json.decode(await hand(Acting()).act("{}"), type=Answer).error


class Way(Dispatcher):
    """A dispatcher whose worker lives or not, and does as it is told."""

    def __init__(self, end: Callable[[], Outcome], *, alive: bool = True) -> None:
        super().__init__("", lambda _: alive)
        self._end = end

    async def send(self, centre: str, verb: Verb, order: Order) -> Outcome:
        return self._end()


def ends(error: Exception | None) -> Callable[[], Outcome]:
    def end() -> Outcome:
        if error:
            raise error
        return Outcome(detail="by the worker")

    return end


@pytest.mark.parametrize(("error", "acts"), [(None, 0), (NotTaken("x"), 1), (WorkerDied("x"), 1)])
async def test_who_acts(error: Exception | None, acts: int) -> None:
    acting = Acting()
    done = await Routed(acting, Way(ends(error))).act(Verb.START, order())
    assert len(acting.told) == acts
    assert done.detail == ("done" if acts else "by the worker")


async def test_where_no_worker_lives_the_controller_acts_at_once() -> None:
    acting = Acting()
    await Routed(acting, Way(ends(AssertionError("asked")), alive=False)).act(Verb.START, order())
    assert len(acting.told) == 1


async def test_what_must_not_happen_twice_is_not_done_again_after_a_worker_died() -> None:
    acting = Acting()
    with pytest.raises(WorkerDied):
        await Routed(acting, Way(ends(WorkerDied("x")))).act(Verb.RUN_PLAYBOOK, order())
    again = (Setting(name="idempotent", value="true"),)
    await Routed(acting, Way(ends(WorkerDied("x")))).act(Verb.RUN_PLAYBOOK, order(params=again))
    assert len(acting.told) == 1


async def test_a_workers_failure_is_the_actions_failure() -> None:
    acting = Acting()
    with pytest.raises(ActionFailed):
        await Routed(acting, Way(ends(ActionFailed("x")))).act(Verb.START, order())
    assert acting.told == []
