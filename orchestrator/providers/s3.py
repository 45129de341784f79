"""A bucket in zones of an S3 store: reads its zone and settings, and moves the write role between zones.

What is read comes over the S3 API and, where the endpoint is a Ceph gateway, its admin API: the zone that takes writes
is the one that is not `read_only` in the period by which the gateway acts. What the API cannot do (the master, start
and stop) is done by the operator's commands on a host of the zone. The run's epoch is kept in a tag of the bucket.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping

from orchestrator.model.objects import Versioning
from orchestrator.model.observation import Reach, Reading
from orchestrator.model.plan import Verb
from orchestrator.model.rows import RowsUnreadable, Trouble
from orchestrator.model.topology import Instance, Kind, Role, Service, Setting
from orchestrator.providers.base import ActionFailed, Order, Outcome, PlaybookRunner, Unsupported
from orchestrator.providers.http_request import NoAnswer
from orchestrator.providers.kinds import S3_BUCKET
from orchestrator.providers.playbook import run_named
from orchestrator.providers.s3_objects import S3Objects
from orchestrator.providers.s3_rgw import SyncState, Zone, sync_of, zone_of
from orchestrator.providers.s3_tags import NoBucket, read_tags, write_tag
from orchestrator.providers.s3_wire import Wire
from orchestrator.providers.waiting import comes_true

EPOCH = "drctl-epoch"
LOOK_S = 2.0
POLL_S = 0.2
_COMMANDS: Mapping[Verb, str] = {
    Verb.PROMOTE: "promote_command",
    Verb.DEMOTE: "demote_command",
    Verb.FENCE: "fence_command",
    Verb.UNFENCE: "unfence_command",
    Verb.REJOIN: "rejoin_command",
    Verb.START: "start_command",
    Verb.STOP: "stop_command",
}


class S3Bucket:
    """Prober and Actor of buckets."""

    kind: Kind = S3_BUCKET

    def __init__(self, playbooks: PlaybookRunner) -> None:
        self._playbooks = playbooks

    async def read(self, service: Service, instance: Instance, within_s: float) -> Reading:
        """One look at one bucket, bounded by `within_s` seconds; never raises for a bad world."""
        began = time.monotonic()
        wire = Wire(instance)
        try:
            async with asyncio.timeout(within_s):
                return await _reading(wire, instance, began)
        except NoAnswer as e:
            return _blank(instance, began, e.reach, e.error)
        except RowsUnreadable as e:
            return _blank(instance, began, Reach.UNKNOWN, e.message)
        except TimeoutError:
            return _blank(instance, began, Reach.SILENT, f"no answer within {within_s:g} s")
        finally:
            wire.close()

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
            case Verb.UNFENCE | Verb.START | Verb.REJOIN:
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
            await self._command(verb, order)
            await self._until(f"{verb.value} in force", holds, order)
        if not wanted_read_only:
            await self._mark(order)
        words = "takes no writes" if wanted_read_only else "is the master zone and takes writes"
        return Outcome(detail=f"{order.instance.id} {words}", changed=not done)

    async def _down(self, verb: Verb, order: Order) -> Outcome:
        """Nobody gets in any more: the fence is real when the address refuses."""
        now = await self.read(order.service, order.instance, min(LOOK_S, order.within_s))
        if now.reach is Reach.REFUSED:
            return Outcome(detail=f"{order.instance.id} does not listen", changed=False)

        async def closed() -> bool:
            return (await self.read(order.service, order.instance, LOOK_S)).reach is Reach.REFUSED

        await self._command(verb, order)
        await self._until("the end of its gateway", closed, order)
        return Outcome(detail=f"{order.instance.id} does not listen any more")

    async def _back(self, verb: Verb, order: Order) -> Outcome:
        """Its gateway answers again; after `rejoin` it acts by the period of the zone that it follows, read-only."""
        source = order.towards[0] if order.towards else None

        async def answers() -> bool:
            return (await self.read(order.service, order.instance, LOOK_S)).reach is Reach.ANSWERED

        async def follows() -> bool:
            if source is None:
                return await answers()
            try:
                mine, theirs = await self._zone(order), await _zone(source)
            except (NoAnswer, ActionFailed):
                return False
            return mine.agreement == theirs.agreement and mine.read_only is True

        holds = follows if verb is Verb.REJOIN else answers
        if await answers():
            await self._refuse_older(order)
        done = await holds()
        if not done:
            await self._command(verb, order)
            await self._until("its answer" if holds is answers else "the period of its source", holds, order)
        if verb is Verb.REJOIN:
            await self._mark(order)
        return Outcome(detail=f"{order.instance.id} answers", changed=not done)

    async def _repoint(self, order: Order) -> Outcome:
        """Zones of a realm receive from every other: all there is to do is to make sure that the source is one."""
        await self._refuse_older(order)
        if order.towards:
            mine, source = await self._zone(order), order.towards[0]
            theirs = await _zone(source)
            if mine.agreement != theirs.agreement:
                raise ActionFailed(
                    f"{order.instance.id} and {source.id} act by different periods",
                    hint="one of them missed a failover: rejoin it before anything else",
                )
        await self._mark(order)
        return Outcome(detail=f"{order.instance.id} receives from every zone of its realm", changed=False)

    async def _command(self, verb: Verb, order: Order) -> None:
        name = _COMMANDS[verb]
        command = order.instance.param(name) or order.service.param(name)
        if not command:
            raise ActionFailed(f"{order.instance.id}: no {name} is declared", hint="give it in the topology's params")
        source = order.towards[0].address_from(order.instance.centre).partition("/")[0] if order.towards else ""
        extra = (Setting(name="command", value=command), Setting(name="source", value=source))
        await self._playbooks("s3_zone.yml", order, extra)

    async def _zone(self, order: Order) -> Zone:
        return await _zone(order.instance)

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


def epoch_of(tags: Mapping[str, str]) -> int:
    """The epoch of the last run that changed the bucket; 0 where none has."""
    value = tags.get(EPOCH, "")
    return int(value) if value.isdigit() else 0


async def _zone(instance: Instance) -> Zone:
    """The zone by its own gateway's word.

    Raises:
        NoAnswer: it does not answer.
        ActionFailed: it tells nothing of zones.
    """
    wire = Wire(instance)
    try:
        zone = await zone_of(wire, instance.centre)
    finally:
        wire.close()
    if zone is None:
        raise ActionFailed(
            f"{instance.id}: its endpoint tells nothing of zones",
            hint="a Ceph gateway and the cap zone=read are needed",
        )
    return zone


def _blank(instance: Instance, began: float, reach: Reach, error: str) -> Reading:
    return Reading(instance=instance.id, reach=reach, took_s=time.monotonic() - began, error=error)


async def _reading(wire: Wire, instance: Instance, began: float) -> Reading:
    """All requests at once: one round trip.

    Raises:
        NoAnswer: it does not answer.
        RowsUnreadable: it answers what is no S3.
    """
    bucket = S3Objects(instance)
    try:
        zone, tags, versioning, (lock, retained) = await asyncio.gather(
            zone_of(wire, instance.centre), _tags(wire), bucket.versioning(), bucket.lock()
        )
    except RowsUnreadable as e:
        if e.trouble is Trouble.DENIED:
            return _blank(instance, began, Reach.DENIED, e.message)
        if e.trouble is Trouble.GONE:
            return _blank(instance, began, Reach.ANSWERED, "no such bucket")
        raise
    finally:
        await bucket.close()
    known = zone is not None and zone.read_only is not None
    sync = await _sync(wire, instance, zone) if zone else None
    return Reading(
        instance=instance.id,
        reach=Reach.ANSWERED,
        took_s=time.monotonic() - began,
        role=(Role.STANDBY if zone.read_only else Role.PRIMARY) if zone and known else None,
        writable=not zone.read_only if zone and known else None,
        epoch=None if tags is None else epoch_of(tags),
        timeline=zone.realm_epoch if zone else None,
        upstream=(zone.master if zone.read_only else "") if zone and known else None,
        receiving=sync.incremental if sync else None,
        clock_offset_s=wire.clock_offset_s,
        settings=_settings(zone, versioning, lock, retained),
    )


async def _tags(wire: Wire) -> Mapping[str, str] | None:
    try:
        return await read_tags(wire)
    except NoBucket:
        return None


async def _sync(wire: Wire, instance: Instance, zone: Zone) -> SyncState | None:
    return await sync_of(wire, zone.master_id) if zone.master != instance.centre else None


def _settings(zone: Zone | None, versioning: Versioning, lock: bool, retained: bool) -> tuple[Setting, ...]:
    found = {
        "versioning": versioning.value,
        "object_lock": str(lock).lower(),
        "default_retention": str(retained).lower(),
    }
    if zone is not None:
        found |= {"master": zone.master, "period": f"{zone.period} {zone.period_epoch}"}
    return tuple(Setting(name=name, value=value) for name, value in found.items())
