"""A bucket in zones of an S3 store: reads its zone and settings, and moves the write role between zones.

The zone that takes writes is the one that is not `read_only` in the period by which its gateway acts. What the API
cannot do (the master, start and stop) is done by the operator's commands on a host of the zone. The run's epoch is kept
in a tag of the bucket. A zone is cut off from the others by stopping the gateway that fetches from them
(`sync_address`), which serves no users.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from orchestrator.model.observation import Reach, Reading
from orchestrator.model.plan import Verb
from orchestrator.model.topology import Instance, Kind, Service, Setting
from orchestrator.providers.base import ActionFailed, Order, Outcome, PlaybookRunner, Unsupported
from orchestrator.providers.http_request import NoAnswer
from orchestrator.providers.kinds import S3_BUCKET
from orchestrator.providers.playbook import run_named
from orchestrator.providers.s3_reading import EPOCH, epoch_of, fetches, read, zone_at
from orchestrator.providers.s3_rgw import Zone
from orchestrator.providers.s3_tags import NoBucket, read_tags, write_tag
from orchestrator.providers.s3_wire import Wire
from orchestrator.providers.waiting import comes_true

LOOK_S = 2.0
POLL_S = 0.2


class S3Bucket:
    """Prober and Actor of buckets."""

    kind: Kind = S3_BUCKET

    def __init__(self, playbooks: PlaybookRunner) -> None:
        self._playbooks = playbooks

    async def read(self, service: Service, instance: Instance, within_s: float) -> Reading:
        """One look at one bucket, bounded by `within_s` seconds; never raises for a bad world."""
        return await read(service, instance, within_s)

    async def act(self, verb: Verb, order: Order) -> Outcome:
        """Carry out one verb.

        Raises:
            Unsupported: `redirect`, and the verbs of the executor.
            ActionFailed: it did not reach its end within the order's time.
        """
        try:
            async with asyncio.timeout(order.within_s):
                return await self._act(verb, order)
        except NoAnswer as e:
            raise ActionFailed(f"{order.instance.id}: {e.error}", hint=f"the instance is {e.reach.value}") from e
        except TimeoutError as e:
            raise ActionFailed(f"{order.instance.id}: {verb.value} not done within {order.within_s:g} s") from e

    async def _act(self, verb: Verb, order: Order) -> Outcome:
        match verb:
            case Verb.RUN_PLAYBOOK:
                return await run_named(self._playbooks, order)
            case Verb.REPOINT:
                return await self._repoint(order)
            case Verb.PROMOTE | Verb.DEMOTE:
                return await self._role(verb, order)
            case Verb.FENCE | Verb.STOP:
                return await self._down(verb, order)
            case Verb.UNFENCE:
                return await self._unfence(order)
            case Verb.START | Verb.REJOIN:
                return await self._back(verb, order)
            case _:
                raise Unsupported(f"an s3-bucket instance has no {verb.value}", hint="an entry sends users elsewhere")

    async def _role(self, verb: Verb, order: Order) -> Outcome:
        """Give its zone the write role, or take it: done when its own gateway acts by the new period."""
        wanted_read_only = verb is Verb.DEMOTE

        async def holds() -> bool:
            zone = await self._zone(order)
            master = zone.master == order.instance.centre
            return zone.read_only is wanted_read_only and (master or wanted_read_only)

        await self._refuse_older(order)
        done = await holds()
        if wanted_read_only:
            await self._mark(order, needed=not done)  # before: afterwards nobody may be left who takes the word
        if not done:
            await self._command(f"{verb.value}_command", order)
            await self._until(f"{verb.value} in force", holds, order)
        if not wanted_read_only:
            await self._mark(order)
        words = "takes no writes" if wanted_read_only else "is the master zone and takes writes"
        return Outcome(detail=f"{order.instance.id} {words}", changed=not done)

    async def _down(self, verb: Verb, order: Order) -> Outcome:
        """Nobody gets in any more: it is done when the address refuses.

        A fence is laid also where nothing listens: what died by itself may come back by itself.
        """

        async def closed() -> bool:
            listens = (await self.read(order.service, order.instance, LOOK_S)).reach is not Reach.REFUSED
            return not listens and await fetches(order.instance) is not True

        done = await closed()
        if verb is Verb.FENCE or not done:
            await self._command(f"{verb.value}_command", order)
            await self._until("the end of its gateways", closed, order)
        return Outcome(detail=f"{order.instance.id} does not listen any more", changed=not done)

    async def _unfence(self, order: Order) -> Outcome:
        """It answers again; a master that had been told to take no writes takes them."""
        back = await self._back(Verb.UNFENCE, order)
        zone = await self._zone(order)
        if zone.master != order.instance.centre or not zone.read_only:
            return back
        return await self._role(Verb.PROMOTE, order)

    async def _back(self, verb: Verb, order: Order) -> Outcome:
        """Its gateway answers again; after `rejoin` it acts by the period of the zone that it follows, read-only."""
        source = order.towards[0] if order.towards else None

        async def answers() -> bool:
            return (await self.read(order.service, order.instance, LOOK_S)).reach is Reach.ANSWERED

        async def follows() -> bool:
            if source is None:
                return await answers()
            try:
                mine, theirs = await self._zone(order), await zone_at(source)
            except (NoAnswer, ActionFailed):
                return False
            agrees = mine.agreement == theirs.agreement and mine.read_only is True
            return agrees and await fetches(order.instance) is not False

        holds = follows if verb is Verb.REJOIN else answers
        if await answers():
            await self._refuse_older(order)
        done = await holds()
        if not done:
            await self._command(f"{verb.value}_command", order)
            await self._until("its answer" if holds is answers else "the period of its source", holds, order)
        if verb is Verb.REJOIN:
            await self._mark(order)
        return Outcome(detail=f"{order.instance.id} answers", changed=not done)

    async def _repoint(self, order: Order) -> Outcome:
        """Towards nobody: it is cut off from all zones. Towards another: a zone receives from every other of its realm,
        so all there is to do is to see that the source is one, and to let it fetch again."""
        await self._refuse_older(order)
        if not order.towards:
            return await self._fetching(order, "detach_command", wanted=False)
        mine, source = await self._zone(order), order.towards[0]
        theirs = await zone_at(source)
        if mine.agreement != theirs.agreement:
            raise ActionFailed(
                f"{order.instance.id} and {source.id} act by different periods",
                hint="one of them missed a failover: rejoin it before anything else",
            )
        done = await self._fetching(order, "attach_command", wanted=True)
        await self._mark(order)
        return done

    async def _fetching(self, order: Order, name: str, *, wanted: bool) -> Outcome:
        """Let its zone fetch from others, or keep it from that."""
        instance = order.instance

        async def holds() -> bool:
            return await fetches(instance) is wanted

        if not instance.param("sync_address"):
            if wanted:
                return Outcome(detail=f"{instance.id} receives from every zone of its realm", changed=False)
            raise ActionFailed(
                f"{instance.id}: what fetches from other zones cannot be stopped by itself",
                hint="let a gateway of its own do that, and declare sync_address, detach_command and attach_command",
            )
        done = await holds()
        if not done:
            await self._command(name, order)
            await self._until("the start of what fetches" if wanted else "the end of what fetches", holds, order)
        words = "receives from every zone of its realm" if wanted else "receives from nobody"
        return Outcome(detail=f"{instance.id} {words}", changed=not done)

    async def _command(self, name: str, order: Order) -> None:
        command = order.instance.param(name) or order.service.param(name)
        if not command:
            raise ActionFailed(f"{order.instance.id}: no {name} is declared", hint="give it in the topology's params")
        source = order.towards[0].address_from(order.instance.centre).partition("/")[0] if order.towards else ""
        extra = (Setting(name="command", value=command), Setting(name="source", value=source))
        await self._playbooks("s3_zone.yml", order, extra)

    async def _zone(self, order: Order) -> Zone:
        return await zone_at(order.instance)

    async def _until(self, what: str, holds: Callable[[], Awaitable[bool]], order: Order) -> None:
        async def patient() -> bool:
            try:
                return await holds()
            except NoAnswer:
                return False  # a gateway that takes a new period answers nobody for a moment

        if not await comes_true(patient, order.within_s, POLL_S):
            raise ActionFailed(f"{order.instance.id}: {what} did not happen within {order.within_s:g} s")

    async def _refuse_older(self, order: Order) -> None:
        """Raises ActionFailed where the bucket has seen a later run."""
        wire = Wire(order.instance)
        try:
            seen = epoch_of(await read_tags(wire))
        except NoBucket as e:
            raise ActionFailed(f"{order.instance.id}: {e}") from e
        finally:
            wire.close()
        if seen > order.epoch:
            raise ActionFailed(
                f"{order.instance.id} has seen epoch {seen}, and this run's is {order.epoch}: a later run took over",
                hint="`drctl runs list` shows it; this run must not go on",
            )

    async def _mark(self, order: Order, *, needed: bool = True) -> None:
        """Write the run's epoch into the bucket's tags: at its own zone, or (it takes no writes) at one that does.

        Where no zone does, nothing can be kept; that is a failure only if the act changes something (`needed`).
        """
        wire = Wire(order.instance)
        try:
            if epoch_of(await read_tags(wire)) >= order.epoch:
                return
            await _write_epoch(order)

            async def there() -> bool:  # a zone that takes no writes has the tag from the master, a little later
                return epoch_of(await read_tags(wire)) >= order.epoch

            await self._until("the epoch in its tags", there, order)
        except NoBucket as e:
            if needed:
                raise ActionFailed(f"{order.instance.id}: {e}") from e
        finally:
            wire.close()


async def _write_epoch(order: Order) -> None:
    """Let a zone that takes writes keep the epoch.

    Raises:
        NoBucket: none of them let us.
        NoAnswer: the last one did not answer.
    """
    others = [i for i in order.service.instances if i.id != order.instance.id]
    trouble: NoBucket | NoAnswer = NoBucket("the service has no instance")
    for instance in (order.instance, *others):
        wire = Wire(instance)
        try:
            await write_tag(wire, await read_tags(wire), EPOCH, str(order.epoch))
            return
        except (NoBucket, NoAnswer) as e:
            trouble = e
        finally:
            wire.close()
    raise trouble
