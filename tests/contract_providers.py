"""What every Prober and every Actor keeps, whatever the technology: one suite, run against each of them.

A test module derives from `ProberContract` and `ActorContract` and gives a fixture `case`. Fakes run it too, so that a
fake cannot drift from the real thing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import pytest

from orchestrator.model.observation import Reach, Reading
from orchestrator.model.plan import Verb
from orchestrator.model.topology import Instance, Service
from orchestrator.providers.base import ActionFailed, Actor, Order, Prober, Unsupported

GRACE_S = 0.7
"""On top of its bound a call may take this long on a busy machine."""
BOUND_S = 0.5


@dataclass(frozen=True, kw_only=True)
class Case:
    """A provider, and the instances that it is tried on."""

    provider: Prober
    actor: Actor
    service: Service
    healthy: Instance
    closed: Instance | None
    """Nobody listens there; None where the technology has no address."""
    silent: Instance | None
    """Takes connections and says nothing."""
    garbage: Instance | None
    """Answers what is no answer."""
    homeless: Instance | None
    """Without an address."""
    order: Callable[[Instance, int, float], Order]
    """An order for an instance, with an epoch and a bound in seconds, that `verb` can carry out."""
    verb: Verb
    """An idempotent verb that changes the healthy instance."""
    other_verb: Verb
    """A verb that the technology does not have."""
    epoch: int


class ProberContract:
    """A Prober never raises for a bad world, keeps its bound, and never takes unknown for down."""

    async def read(self, case: Case, instance: Instance) -> Reading:
        began = time.monotonic()
        reading = await case.provider.read(case.service, instance, BOUND_S)
        assert time.monotonic() - began < BOUND_S + GRACE_S
        assert reading.instance == instance.id
        return reading

    def tells_nothing(self, reading: Reading) -> None:
        assert reading.writable is None
        assert reading.role is None
        assert reading.position is None
        assert not reading.answers
        assert reading.error

    async def test_healthy_one_answers(self, case: Case) -> None:
        reading = await case.provider.read(case.service, case.healthy, 5.0)
        assert reading.reach is Reach.ANSWERED
        assert reading.error == ""
        assert 0 < reading.took_s < 5.0

    async def test_closed_port_is_refused(self, case: Case) -> None:
        if case.closed is None:
            pytest.skip("has no address")
        reading = await self.read(case, case.closed)
        assert reading.reach is Reach.REFUSED
        self.tells_nothing(reading)

    async def test_silence_is_bounded_and_not_down(self, case: Case) -> None:
        if case.silent is None:
            pytest.skip("has no address")
        reading = await self.read(case, case.silent)
        assert reading.reach is Reach.SILENT
        self.tells_nothing(reading)

    async def test_garbage_is_no_answer(self, case: Case) -> None:
        if case.garbage is None:
            pytest.skip("has no address")
        reading = await self.read(case, case.garbage)
        assert reading.reach in (Reach.SILENT, Reach.UNKNOWN)
        self.tells_nothing(reading)

    async def test_no_address_is_unknown(self, case: Case) -> None:
        if case.homeless is None:
            pytest.skip("has no address")
        reading = await self.read(case, case.homeless)
        assert reading.reach is Reach.UNKNOWN
        self.tells_nothing(reading)


class ActorContract:
    """An Actor's verbs are idempotent, carry the run's epoch, keep their bound, and fail as ActionFailed alone."""

    async def test_same_kind_as_the_prober(self, case: Case) -> None:
        assert case.provider.kind == case.actor.kind
        assert case.actor.kind.name == case.service.kind

    async def test_a_verb_that_it_does_not_have_is_unsupported(self, case: Case) -> None:
        with pytest.raises(Unsupported):
            await case.actor.act(case.other_verb, case.order(case.healthy, case.epoch, 5.0))
        with pytest.raises(Unsupported):
            await case.actor.act(Verb.CONFIRM, case.order(case.healthy, case.epoch, 5.0))

    async def test_twice_is_as_once(self, case: Case) -> None:
        await case.actor.act(case.verb, case.order(case.healthy, case.epoch, 30.0))
        before = await case.provider.read(case.service, case.healthy, 5.0)
        again = await case.actor.act(case.verb, case.order(case.healthy, case.epoch, 30.0))
        after = await case.provider.read(case.service, case.healthy, 5.0)
        assert not again.changed
        assert self.lasting(before) == self.lasting(after)

    async def test_an_older_run_is_refused_and_changes_nothing(self, case: Case) -> None:
        await case.actor.act(case.verb, case.order(case.healthy, case.epoch, 30.0))
        before = await case.provider.read(case.service, case.healthy, 5.0)
        assert before.epoch == case.epoch
        with pytest.raises(ActionFailed, match="later run"):
            await case.actor.act(case.verb, case.order(case.healthy, case.epoch - 1, 30.0))
        assert self.lasting(before) == self.lasting(await case.provider.read(case.service, case.healthy, 5.0))

    async def test_nobody_there_is_a_failure(self, case: Case) -> None:
        if case.closed is None:
            pytest.skip("has no address")
        with pytest.raises(ActionFailed) as caught:
            await case.actor.act(case.verb, case.order(case.closed, case.epoch, BOUND_S))
        assert caught.value.__cause__ is not None

    async def test_silence_is_a_failure_within_its_bound(self, case: Case) -> None:
        if case.silent is None:
            pytest.skip("has no address")
        began = time.monotonic()
        with pytest.raises(ActionFailed):
            await case.actor.act(case.verb, case.order(case.silent, case.epoch, BOUND_S))
        assert time.monotonic() - began < BOUND_S + GRACE_S

    async def test_cancellation_ends_it_at_once(self, case: Case) -> None:
        if case.silent is None:
            pytest.skip("has no address")
        task = asyncio.ensure_future(case.actor.act(case.verb, case.order(case.silent, case.epoch, 30.0)))
        await asyncio.wait([task], timeout=0.2)
        began = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert time.monotonic() - began < GRACE_S

    def lasting(self, reading: Reading) -> Reading:
        """What an act that changes nothing leaves as it was; positions and times go on by themselves."""
        return msgspec.structs.replace(
            reading, took_s=0.0, position=None, replayed=None, lag_s=None, clock_offset_s=None, last_heard_s=None,
            disk_free_bytes=None, wal_retained_bytes=None, downstreams=(),
        )  # fmt: skip
