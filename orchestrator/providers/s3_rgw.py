"""What a Ceph gateway tells of its zone: the period (who is the master, who may be written to) and its data sync.

Read over the gateway's admin API with the same signature; the user needs the caps `zone=read;datalog=read`. A gateway
speaks of the period that *it* runs by: an old master that missed a failover still names itself, which is why the
periods of all zones must be held against each other. Measured on Ceph 16.2.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from orchestrator.providers.s3_wire import Wire

_TRUE = "true"


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
    timestamp: str = ""


class _Shard(msgspec.Struct, frozen=True):
    key: int
    val: _Mark


class _Info(msgspec.Struct, frozen=True):
    status: str


class _Sync(msgspec.Struct, frozen=True):
    info: _Info
    markers: list[_Shard] = []


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


async def zone_of(wire: Wire, name: str) -> Zone | None:
    """The zone behind an endpoint; None where the endpoint tells nothing of zones (no Ceph, or no right to read it).

    Raises:
        NoAnswer: there is no HTTP answer.
    """
    reply = await wire.ask("GET", path="/admin/realm/period")
    if reply.status != 200:
        return None
    try:
        told = msgspec.json.decode(reply.body, type=_Period)
    except msgspec.MsgspecError:
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


class SyncState(msgspec.Struct, frozen=True):
    """A zone's data sync from another, by its own word: a hint, for it also says "caught up" to a stale period."""

    incremental: bool
    """Every shard follows the log (none is in its full copy)."""
    newest_s: float
    """Seconds since 1970 of the newest entry that it has followed; 0: none."""


async def sync_of(wire: Wire, source_id: str) -> SyncState | None:
    """How a zone follows the zone `source_id`; None where it does not tell.

    Raises:
        NoAnswer: there is no HTTP answer.
    """
    query = [("type", "data"), ("status", ""), ("source-zone", source_id)]
    reply = await wire.ask("GET", query=query, path="/admin/log")
    if reply.status != 200:
        return None
    try:
        told = msgspec.json.decode(reply.body, type=_Sync)
    except msgspec.MsgspecError:
        return None
    times = [_seconds(shard.val.timestamp) for shard in told.markers]
    good = told.info.status == "sync" and all(s.val.status == "incremental-sync" for s in told.markers)
    return SyncState(good and bool(told.markers), max(times, default=0.0))


def _seconds(text: str) -> float:
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return 0.0
