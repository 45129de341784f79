"""What a Ceph gateway tells of its zone: the period (who is the master, who may be written to), its data sync and logs.

Read over the gateway's admin API with the same signature; the user needs the caps
`zone=read;datalog=read;bilog=read;buckets=read`. A gateway speaks of the period that *it* runs by: an old master that
missed a failover still names itself, which is why the periods of all zones must be held against each other. Measured on
Ceph 16.2.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import TypeVar

import msgspec

from orchestrator.providers.s3_wire import Wire

_TRUE = "true"
_T = TypeVar("_T")


class _ZoneFile(msgspec.Struct, frozen=True):
    id: str
    name: str
    read_only: str | bool = "false"


class _Group(msgspec.Struct, frozen=True):
    id: str
    name: str
    zones: list[_ZoneFile]
    master_zone: str = ""


class _Map(msgspec.Struct, frozen=True):
    zonegroups: list[_Group]


class _Period(msgspec.Struct, frozen=True):
    id: str
    epoch: int
    master_zone: str
    period_map: _Map
    realm_epoch: int = 0


class _Mark(msgspec.Struct, frozen=True):
    status: str


class _Shard(msgspec.Struct, frozen=True):
    key: int
    val: _Mark


class _Info(msgspec.Struct, frozen=True):
    status: str


class _Sync(msgspec.Struct, frozen=True):
    info: _Info
    markers: list[_Shard] = []


class _Bucket(msgspec.Struct, frozen=True):
    id: str
    max_marker: str = ""


class _Place(msgspec.Struct, frozen=True):
    position: str = ""


class _Followed(msgspec.Struct, frozen=True):
    status: str
    inc_marker: _Place = _Place()


class _Logged(msgspec.Struct, frozen=True):
    timestamp: str = ""


class Zone(msgspec.Struct, frozen=True):
    """One zone by its own gateway's word."""

    name: str
    read_only: bool | None
    """None: the period does not know a zone of this name."""
    master: str
    """Name of the zone that it takes for the master."""
    master_id: str
    period: str
    period_epoch: int
    realm_epoch: int

    @property
    def agreement(self) -> str:
        """Equal at all zones that act by the same period."""
        return f"{self.period} {self.period_epoch} {self.master}"


async def _told(wire: Wire, path: str, kind: type[_T], *query: tuple[str, str]) -> _T | None:
    """An answer of the admin API; None where it refuses, or says what is not of that kind.

    Raises:
        NoAnswer: there is no HTTP answer.
    """
    reply = await wire.ask("GET", query=query, path=path)
    if reply.status != 200:
        return None
    try:
        return msgspec.json.decode(reply.body, type=kind)
    except msgspec.MsgspecError:
        return None


async def zone_of(wire: Wire, name: str) -> Zone | None:
    """The zone behind an endpoint; None where the endpoint tells nothing of zones (no Ceph, or no right to read it).

    Raises:
        NoAnswer: there is no HTTP answer.
    """
    told = await _told(wire, "/admin/realm/period", _Period)
    if told is None:
        return None
    zones = {z.id: z for g in told.period_map.zonegroups for z in g.zones}
    here = next((z for z in zones.values() if z.name == name), None)
    master = zones.get(told.master_zone)
    return Zone(
        name=name,
        read_only=None if here is None else str(here.read_only).lower() == _TRUE,
        master=master.name if master else "",
        master_id=told.master_zone,
        period=told.id,
        period_epoch=told.epoch,
        realm_epoch=told.realm_epoch,
    )


async def follows(wire: Wire, source_id: str) -> bool | None:
    """Whether a zone follows the log of the zone `source_id` in every shard (none is in its full copy).

    A hint, for it also says so by a stale period; None where it does not tell.

    Raises:
        NoAnswer: there is no HTTP answer.
    """
    told = await _told(wire, "/admin/log", _Sync, ("type", "data"), ("status", ""), ("source-zone", source_id))
    if told is None:
        return None
    every = [shard.val.status for shard in told.markers]
    return told.info.status == "sync" and set(every) == {"incremental-sync"}


class BucketLog(msgspec.Struct, frozen=True):
    """The log of a bucket's index in one zone: what other zones follow."""

    instance: str
    """NAME:ID, the same in every zone."""
    marks: tuple[str, ...]
    """The last entry of each shard; empty where there is none."""


async def log_of(wire: Wire) -> BucketLog | None:
    """The log of the bucket's index in the zone behind an endpoint; None where it does not tell.

    Raises:
        NoAnswer: there is no HTTP answer.
    """
    told = await _told(wire, "/admin/bucket", _Bucket, ("bucket", wire.bucket), ("stats", "false"))
    if told is None:
        return None
    shards = dict(part.split("#", 1) for part in told.max_marker.split(",") if "#" in part)
    if not shards or set(shards) != {str(n) for n in range(len(shards))}:
        return None
    return BucketLog(f"{wire.bucket}:{told.id}", tuple(shards[str(n)] for n in range(len(shards))))


async def followed(wire: Wire, instance: str, source_id: str) -> tuple[str, ...] | None:
    """How far a zone has followed the log of `source_id`, by shard; None while it copies, or where it does not tell.

    An entry that could not be fetched stays the next one: a mark is passed only by what is there.

    Raises:
        NoAnswer: there is no HTTP answer.
    """
    query = (("type", "bucket-index"), ("status", ""), ("bucket", instance), ("source-zone", source_id))
    shards = await _told(wire, "/admin/log", list[_Followed], *query)
    if not shards or any(shard.status != "incremental-sync" for shard in shards):
        return None
    return tuple(shard.inc_marker.position for shard in shards)


def position(marks: Sequence[str]) -> int:
    """One number for the marks of one log: level with another of the same log only where every shard is."""
    return sum(_number(mark) for mark in marks)


def _number(mark: str) -> int:
    head = mark.partition(".")[0]
    return int(head) if head.isdigit() else 0


async def waits_since(wire: Wire, log: BucketLog, marks: Sequence[str]) -> float | None:
    """When the oldest entry was written that `marks` have not passed, by the clock of the log's own zone.

    Args:
        wire: of the zone whose log it is.
        log: that log.
        marks: how far another zone has followed it.

    Returns:
        Seconds since 1970; 0 where nothing waits; None where it cannot be told.

    Raises:
        NoAnswer: there is no HTTP answer.
    """
    if len(marks) != len(log.marks):
        return None
    behind = [n for n, mark in enumerate(marks) if _number(mark) < _number(log.marks[n])]
    times = await asyncio.gather(*(_next_entry(wire, f"{log.instance}:{n}", marks[n]) for n in behind))
    told = [t for t in times if t]
    return min(told, default=0.0) if len(told) == len(times) else None


async def _next_entry(wire: Wire, shard: str, mark: str) -> float:
    """When the entry after a mark was written; 0 where that is not told."""
    query = (("type", "bucket-index"), ("bucket-instance", shard), ("marker", mark), ("max-entries", "1"))
    entries = await _told(wire, "/admin/log", list[_Logged], *query)
    return min((_seconds(e.timestamp) for e in entries or []), default=0.0)


def _seconds(text: str) -> float:
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return 0.0
