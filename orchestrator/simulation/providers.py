"""The simulated world's provider: a Prober and an Actor of each kind, by the same protocols as the real ones."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

import msgspec

from orchestrator.machine.table import Act
from orchestrator.model.observation import Reach, Reading, Snapshot
from orchestrator.model.plan import Verb
from orchestrator.model.topology import Instance, Kind, Nature, Service
from orchestrator.providers.base import ActionFailed, Order, Outcome, Unsupported
from orchestrator.simulation.loop import PROCESS
from orchestrator.simulation.world import Ordered, SimWorld, takes_s

_EVERY = frozenset({Verb.START, Verb.STOP, Verb.RUN_PLAYBOOK})
VERBS: dict[Nature, frozenset[Verb]] = {
    Nature.REPLICATED: _EVERY | {Verb.FENCE, Verb.UNFENCE, Verb.PROMOTE, Verb.DEMOTE, Verb.REPOINT, Verb.REJOIN},
    Nature.ACTIVE: _EVERY | {Verb.REPOINT},
    Nature.ROUTE: frozenset({Verb.REDIRECT}),
}
"""Verbs that services of a nature have."""
POLL_S = 0.2
ATTACHING = frozenset({Verb.REPOINT, Verb.REJOIN})
"""Verbs that wait until the stream is there."""


class SimProvider:
    """Reads and changes one kind of service in the simulated world."""

    def __init__(self, world: SimWorld, kind: Kind) -> None:
        self._world, self.kind = world, kind

    async def read(self, service: Service, instance: Instance, within_s: float) -> Reading:
        """One look, bounded by `within_s` seconds."""
        told: asyncio.Future[Reading] = asyncio.get_running_loop().create_future()
        began = self._world.now_s
        self._world.look(instance.id, within_s, lambda reading: None if told.done() else told.set_result(reading))
        reading = await told
        return msgspec.structs.replace(reading, took_s=self._world.now_s - began)

    async def act(self, verb: Verb, order: Order) -> Outcome:
        """Carry a verb out.

        Raises:
            Unsupported: services of this nature have no such verb.
            ActionFailed: refused, unanswered, or not at its end in time.
        """
        if verb not in VERBS[self.kind.nature]:
            raise Unsupported(f"a {self.kind.name} instance has no {verb.value}")
        world, loop = self._world, asyncio.get_running_loop()
        seen = world.state
        act = Act(
            verb=verb,
            instance=order.instance.id,
            towards=tuple(i.centre for i in order.towards),
            mode=order.param("mode"),
            epoch=order.epoch,
        )
        accepted = order.param("loss") == "accepted"
        ordered = Ordered(act=act, step=order.step, accepted=accepted, by=PROCESS.get(), sent_s=loop.time())
        answered: asyncio.Future[str] = loop.create_future()
        deadline = loop.time() + order.within_s
        world.send(ordered, lambda why: None if answered.done() else answered.set_result(why))
        try:
            async with asyncio.timeout_at(deadline):
                why = await answered
                if why:
                    raise _refused(why)
                await asyncio.sleep(takes_s(verb, world.chance))
                await self._attached(verb, order)
        except TimeoutError as error:
            raise ActionFailed(f"{order.instance.id}: no answer within {order.within_s:g} s") from error
        changed = world.state is not seen
        return Outcome(detail=f"{order.instance.id}: {verb.value} done", changed=changed)

    async def _attached(self, verb: Verb, order: Order) -> None:
        if verb in ATTACHING and order.towards and order.instance.service in self._world.logs:
            while not self._world.streams(order.instance.id):
                await asyncio.sleep(POLL_S)


def _refused(why: str) -> ActionFailed:
    if "has seen epoch" in why:
        return ActionFailed(f"{why}: a later run took over")
    failed = ActionFailed(why)
    failed.__cause__ = ConnectionRefusedError(why)
    return failed


async def observe(world: SimWorld, instances: Collection[str], within_s: float, utc: Callable[[], str]) -> Snapshot:
    """One look at some instances at once; the readings are taken at different instants, as they arrive."""
    names = sorted(instances)
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    readings: dict[str, Reading] = {}
    taken_at, began = utc(), loop.time()

    def tell(reading: Reading) -> None:
        readings[reading.instance] = reading
        if len(readings) == len(names) and not done.done():
            done.set_result(None)

    for name in names:
        if name in world.topology.instance_by_id:
            world.look(name, within_s, tell)
        else:
            tell(Reading(instance=name, reach=Reach.UNKNOWN, took_s=0.0, error="not known"))
    if names:
        await done
    return Snapshot(
        estate=world.topology.id,
        taken_at=taken_at,
        took_s=loop.time() - began,
        readings=tuple(readings[n] for n in names),
    )
