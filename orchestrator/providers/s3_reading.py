"""One look at a bucket in a zone: over the S3 API and, where the endpoint is a Ceph gateway, its admin API.

Positions are those of the log of the bucket's index in the zone that leads: where that stands, and how far another zone
has followed it. They can be compared as long as both zones act by the same period.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from orchestrator.model.objects import Versioning
from orchestrator.model.observation import Reach, Reading
from orchestrator.model.rows import RowsUnreadable, Trouble
from orchestrator.model.topology import Instance, Role, Service, Setting
from orchestrator.providers.base import ActionFailed
from orchestrator.providers.http_request import NoAnswer
from orchestrator.providers.s3_objects import S3Objects
from orchestrator.providers.s3_rgw import BucketLog, Zone, followed, follows, log_of, position, waits_since, zone_of
from orchestrator.providers.s3_tags import NoBucket, read_tags
from orchestrator.providers.s3_wire import Wire

EPOCH = "drctl-epoch"
CONNECT_S = 1.0
"""Bound of what is asked of a gateway that only fetches: where it is silent, the other is still read."""


async def read(service: Service, instance: Instance, within_s: float) -> Reading:
    """One look at one bucket, bounded by `within_s` seconds; never raises for a bad world."""
    began = time.monotonic()
    wire = Wire(instance)
    try:
        async with asyncio.timeout(within_s):
            return await _reading(wire, service, instance, began)
    except NoAnswer as e:
        return _blank(instance, began, e.reach, e.error)
    except RowsUnreadable as e:
        return _blank(instance, began, Reach.UNKNOWN, e.message)
    except TimeoutError:
        return _blank(instance, began, Reach.SILENT, f"no answer within {within_s:g} s")
    finally:
        wire.close()


def epoch_of(tags: Mapping[str, str]) -> int:
    """The epoch of the last run that changed the bucket; 0 where none has."""
    value = tags.get(EPOCH, "")
    return int(value) if value.isdigit() else 0


async def zone_at(instance: Instance) -> Zone:
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


async def fetches(instance: Instance) -> bool | None:
    """Whether what fetches from other zones runs; None where that is not declared, or cannot be told."""
    host, _, port = instance.param("sync_address").rpartition(":")
    if not host or not port.isdigit():
        return None
    try:
        async with asyncio.timeout(CONNECT_S):
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    except ConnectionRefusedError:
        return False
    except (OSError, TimeoutError):
        return None
    writer.close()
    return True


def _blank(instance: Instance, began: float, reach: Reach, error: str) -> Reading:
    return Reading(instance=instance.id, reach=reach, took_s=time.monotonic() - began, error=error)


async def _reading(wire: Wire, service: Service, instance: Instance, began: float) -> Reading:
    """What does not rest on another answer is asked at once.

    Raises:
        NoAnswer: it does not answer.
        RowsUnreadable: it answers what is no S3.
    """
    bucket = S3Objects(instance)
    try:
        zone, tags, log, versioning, (lock, retained) = await asyncio.gather(
            zone_of(wire, instance.centre), _tags(wire), log_of(wire), bucket.versioning(), bucket.lock()
        )
    except RowsUnreadable as e:
        if e.trouble is Trouble.DENIED:
            return _blank(instance, began, Reach.DENIED, e.message)
        if e.trouble is Trouble.GONE:
            return _blank(instance, began, Reach.ANSWERED, "no such bucket")
        raise
    finally:
        await bucket.close()
    told = Reading(
        instance=instance.id,
        reach=Reach.ANSWERED,
        took_s=0.0,
        epoch=None if tags is None else epoch_of(tags),
        clock_offset_s=wire.clock_offset_s,
        settings=_settings(zone, versioning, lock, retained),
    )
    if zone is not None and zone.read_only is not None:
        told = await _placed(told, wire, (service, instance), zone, log)
    return msgspec.structs.replace(told, took_s=time.monotonic() - began)


async def _placed(
    told: Reading, wire: Wire, where: tuple[Service, Instance], zone: Zone, log: BucketLog | None
) -> Reading:
    """With its place among the zones: the master leads, whether it takes writes now or not."""
    service, instance = where
    leads = zone.master == instance.centre
    told = msgspec.structs.replace(
        told,
        role=Role.PRIMARY if leads or not zone.read_only else Role.STANDBY,
        writable=not zone.read_only,
        timeline=zone.realm_epoch,
        upstream="" if leads or not zone.read_only else zone.master,
    )
    if leads:
        at = position(log.marks) if log else None
        return msgspec.structs.replace(told, position=at, replayed=at)
    marks, stream = await asyncio.gather(_followed(wire, zone, log), _stream(instance, zone))
    if told.role is Role.STANDBY:
        told = msgspec.structs.replace(told, upstream=stream.upstream, receiving=stream.receiving)
    at = position(marks) if marks is not None else None
    lag_s = await _lag_s(service, zone, marks) if told.receiving and marks is not None else None
    return msgspec.structs.replace(told, position=at, replayed=at, lag_s=lag_s)


class _Stream(NamedTuple):
    """From whom a zone receives, and whether it does; None: it cannot be told."""

    upstream: str | None
    receiving: bool | None


async def _stream(instance: Instance, zone: Zone) -> _Stream:
    """What fetches says how it follows the master; where a gateway of its own fetches, only as long as that runs."""
    apart = instance.param("sync_address")
    at = f"{apart}/{instance.address.partition('/')[2]}" if apart else instance.address
    wire = Wire(msgspec.structs.replace(instance, address=at))
    try:
        async with asyncio.timeout(CONNECT_S):
            receiving = await follows(wire, zone.master_id)
    except TimeoutError:
        return _Stream(None, None)
    except NoAnswer as e:
        return _Stream("", False) if e.reach is Reach.REFUSED else _Stream(None, None)
    finally:
        wire.close()
    return _Stream(zone.master, receiving)


async def _followed(wire: Wire, zone: Zone, log: BucketLog | None) -> tuple[str, ...] | None:
    return await followed(wire, log.instance, zone.master_id) if log else None


async def _lag_s(service: Service, zone: Zone, marks: tuple[str, ...]) -> float | None:
    """Age of the oldest change in the leading zone that this one has not followed; None where that does not answer."""
    source = service.at(zone.master)
    if source is None:
        return None
    wire = Wire(source)
    try:
        log = await log_of(wire)
        since = await waits_since(wire, log, marks) if log else None
    except NoAnswer:
        return None
    finally:
        wire.close()
    if since is None:
        return None
    return max(0.0, time.time() + (wire.clock_offset_s or 0.0) - since) if since else 0.0


async def _tags(wire: Wire) -> Mapping[str, str] | None:
    try:
        return await read_tags(wire)
    except NoBucket:
        return None


def _settings(zone: Zone | None, versioning: Versioning, lock: bool, retained: bool) -> tuple[Setting, ...]:
    found = {
        "versioning": versioning.value,
        "object_lock": str(lock).lower(),
        "default_retention": str(retained).lower(),
    }
    if zone is not None:
        found |= {"master": zone.master, "period": f"{zone.period} {zone.period_epoch}"}
    return tuple(Setting(name=name, value=value) for name, value in found.items())
