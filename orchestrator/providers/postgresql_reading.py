"""One look at one PostgreSQL server: two round trips, and everything that a server can tell of itself."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping

import msgspec

from orchestrator.model.observation import Downstream, Reach, Reading
from orchestrator.model.topology import Instance, Role, Service, Setting
from orchestrator.providers.base import ActionFailed
from orchestrator.providers.postgresql_sql import (
    IDLE,
    Session,
    SyncNames,
    Unreached,
    centre_of_conninfo,
    session,
    split_address,
)

MATCHED = (
    "block_size",
    "data_checksums",
    "max_connections",
    "max_locks_per_transaction",
    "max_prepared_transactions",
    "max_wal_senders",
    "max_worker_processes",
    "server_encoding",
    "synchronous_commit",
    "wal_level",
    "wal_log_hints",
    "wal_segment_size",
)
"""Settings that a standby must have as its primary, beside `version` and `system_identifier`."""
_RECHECK_S = 0.02
"""A standby that had not replayed all is asked again after this: it tells a lag of milliseconds from a long one."""
_LOG_PAGE = 8192
"""Bytes of a page of the log, unless the server was built with others (wal_block_size)."""

_CLOCK = "select extract(epoch from clock_timestamp())::float8"
_WAITS = "exists (select from pg_stat_activity where backend_type = 'startup' and wait_event = 'RecoveryWalStream')"
_REPLAYED = f"select pg_last_wal_replay_lsn() - '0/0', {_WAITS}"
# Prepared and without the view pg_settings, a look costs the server 0.8 ms instead of 7: users wait for some of them.
# A receiver calls itself streaming before its source has agreed, and where histories have parted it does so again and
# again. Until the first message both of its times are the same; a refused one does not live for half a second.
_LOOK = f"""
with receiver as (select r.*, r.status = 'streaming'
                         and (r.last_msg_send_time is distinct from r.last_msg_receipt_time
                              or clock_timestamp() - a.backend_start > interval '0.5 s') as live
                    from pg_stat_wal_receiver r left join pg_stat_activity a on a.pid = r.pid limit 1),
     here as (select pg_is_in_recovery() as standby),
     log as (select case when standby then greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())
                         else pg_current_wal_lsn() end as lsn from here)
select json_build_object(
  'standby', standby,
  'read_only', current_setting('default_transaction_read_only')::bool,
  'epoch', current_setting('drctl.epoch', true),
  'timeline', case when standby
      then coalesce((select received_tli from receiver where live),
                    (select greatest(min_recovery_end_timeline, (select timeline_id from pg_control_checkpoint()))
                       from pg_control_recovery()))
      else ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int end,
  'position', (select lsn - '0/0' from log),
  'replayed', case when standby then pg_last_wal_replay_lsn() - '0/0' end,
  'replayed_age_s', case when standby
      then extract(epoch from clock_timestamp() - pg_last_xact_replay_timestamp()) end,
  'conninfo', current_setting('primary_conninfo'),
  'streaming', exists (select from receiver where live),
  'waits', {_WAITS},
  'receiver', exists (select from pg_stat_activity where backend_type = 'walreceiver'),
  'heard_s', (select extract(epoch from clock_timestamp() - last_msg_receipt_time) from receiver),
  'ping_s', extract(epoch from current_setting('wal_receiver_timeout')::interval),
  'sync_names', current_setting('synchronous_standby_names'),
  'sync_commit', current_setting('synchronous_commit'),
  'downstreams', (select coalesce(json_agg(json_build_object(
      'centre', application_name, 'sync', sync_state in ('sync', 'quorum') and state = 'streaming',
      'streaming', state = 'streaming', 'position', flush_lsn - '0/0',
      'flush_lag_s', extract(epoch from flush_lag)) order by (state = 'streaming')::int, flush_lsn nulls first), '[]')
      from pg_stat_replication),
  'retained', (select max((select lsn from log) - restart_lsn) from pg_replication_slots),
  'limit_bytes', pg_size_bytes(current_setting('max_slot_wal_keep_size')),
  'lost', (select coalesce(json_agg(slot_name order by slot_name), '[]') from pg_replication_slots
            where wal_status in ('lost', 'unreserved')),
  'system', (select system_identifier::text from pg_control_system()),
  'version', current_setting('server_version'),
  'settings', (select json_object_agg(name, current_setting(name)) from unnest(%s::text[]) name))::text
from here
"""


class _Copy(msgspec.Struct, frozen=True):
    centre: str
    sync: bool
    streaming: bool
    position: int | None
    flush_lag_s: float | None


class _Look(msgspec.Struct, frozen=True):
    """The answer of `_LOOK`."""

    standby: bool
    read_only: bool
    epoch: str | None
    timeline: int | None
    position: int | None
    replayed: int | None
    replayed_age_s: float | None
    conninfo: str
    streaming: bool
    waits: bool
    receiver: bool
    heard_s: float | None
    ping_s: float
    sync_names: str
    sync_commit: str
    downstreams: tuple[_Copy, ...]
    retained: int | None
    limit_bytes: int
    lost: tuple[str, ...]
    system: str
    version: str
    settings: Mapping[str, str]


async def read(service: Service, instance: Instance, within_s: float) -> Reading:
    """One look, bounded by `within_s` seconds; never raises for a bad world."""
    began = time.monotonic()
    try:
        async with asyncio.timeout(within_s + 0.5):
            reading = await _through_a_session(service, instance, within_s)
    except Unreached as e:
        return _without(instance, began, e.reach, e.error, barred=e.barred)
    except TimeoutError:
        return _without(instance, began, Reach.SILENT, f"no answer within {within_s:g} s")
    except (ActionFailed, msgspec.MsgspecError) as e:
        return _without(instance, began, Reach.UNKNOWN, str(e))
    return msgspec.structs.replace(reading, took_s=time.monotonic() - began)


def _without(instance: Instance, began: float, reach: Reach, error: str, *, barred: bool | None = None) -> Reading:
    took_s = time.monotonic() - began
    return Reading(instance=instance.id, reach=reach, took_s=took_s, error=error, barred=barred)


async def _through_a_session(service: Service, instance: Instance, within_s: float) -> Reading:
    """Look through the connection of the last look; through a new one where the server has ended that meanwhile."""
    until = time.monotonic() + within_s
    opened = IDLE.take(instance)
    try:
        async with session(instance, within_s, opened=opened, idle=IDLE) as talk:
            return await _look(talk, service, instance)
    except Unreached:
        if opened is None or time.monotonic() > until:
            raise
    async with session(instance, until - time.monotonic(), idle=IDLE) as talk:
        return await _look(talk, service, instance)


async def _look(talk: Session, service: Service, instance: Instance) -> Reading:
    sent = time.time()
    (clock,) = await talk.row(_CLOCK)
    offset_s = clock - (sent + time.time()) / 2
    (text,) = await talk.row(_LOOK, (list(MATCHED),), prepare=True)
    look = msgspec.json.decode(text, type=_Look)
    free, total = await _disk(talk, instance)
    return Reading(
        instance=instance.id,
        reach=Reach.ANSWERED,
        took_s=0.0,
        role=Role.STANDBY if look.standby else Role.PRIMARY,
        writable=not look.standby and not look.read_only,
        epoch=int(look.epoch or 0),
        timeline=look.timeline,
        position=look.position,
        replayed=look.replayed,
        lag_s=await _lag(talk, look) if look.standby else None,
        upstream=centre_of_conninfo(look.conninfo, service, instance.centre) if look.standby else "",
        receiving=_receiving(look) if look.standby else None,
        downstreams=_downstreams(look, service),
        sync_required=None if look.standby else required(look.sync_names, look.sync_commit, service, instance),
        clock_offset_s=offset_s,
        disk_free_bytes=free,
        disk_total_bytes=total,
        wal_retained_bytes=look.retained,
        wal_limit_bytes=look.limit_bytes if look.limit_bytes >= 0 else None,
        slots_lost=look.lost,
        last_heard_s=look.heard_s,
        settings=_settings(look),
    )


def _receiving(look: _Look) -> bool:
    """A live stream; of one that is set to receive from nobody a receiver's process is enough, it may be a late one."""
    return look.streaming if look.conninfo.strip() else look.receiver


def _downstreams(look: _Look, service: Service) -> tuple[Downstream, ...]:
    """One for each centre of the service; of two connections of one standby the live one, further ahead, counts."""
    known = {i.centre for i in service.instances}
    latest = {c.centre: c for c in look.downstreams if c.centre in known}
    return tuple(
        Downstream(centre=c.centre, sync=c.sync, streaming=c.streaming, position=c.position, flush_lag_s=c.flush_lag_s)
        for c in latest.values()
    )


def required(names: str, commit: str, service: Service, instance: Instance) -> tuple[str, ...]:
    """Centres of which any may be asked for an acknowledgement; none where commits do not wait for a standby at all.

    `*` means every other centre of the service.
    """
    if commit in ("off", "local"):
        return ()
    listed = SyncNames.parse(names).names
    others = tuple(i.centre for i in service.instances if i.centre != instance.centre)
    return others if "*" in listed else listed


async def _lag(talk: Session, look: _Look) -> float | None:
    """Seconds that reads at a standby are behind.

    0 where it streams and has replayed all that it received. A stream that gave no sign of life for longer than the
    receiver waits before it asks for one (half of wal_receiver_timeout) counts as cut: then from the last message.
    An idle primary's last transaction may be old, so one that had not replayed all is looked at twice.
    """
    if look.position is None or look.replayed is None:
        return look.replayed_age_s
    if _all(look, look.replayed, look.waits):
        dead_s = look.ping_s / 2 + 1 if look.ping_s else float("inf")
        if look.streaming and (look.heard_s is None or look.heard_s <= dead_s):
            return 0.0
        return look.heard_s if look.heard_s is not None else look.replayed_age_s
    began = time.monotonic()
    await asyncio.sleep(_RECHECK_S)
    if look.streaming and _all(look, *await talk.row(_REPLAYED)):
        return time.monotonic() - began
    return look.replayed_age_s


def _all(look: _Look, replayed: int, waits: bool) -> bool:
    """Whether a standby had replayed all that it can of what it had received when it was looked at.

    It may have the beginning of a record only: a primary writes whole pages out, and later the end of what no commit
    waits for. Then the startup process waits for more behind a whole page; a frozen one seems to wait anywhere.
    """
    assert look.position is not None
    return replayed >= look.position or (waits and look.position % _LOG_PAGE == 0)


def _settings(look: _Look) -> tuple[Setting, ...]:
    told = {"version": look.version, "system_identifier": look.system, **dict(sorted(look.settings.items()))}
    return tuple(Setting(name=name, value=value) for name, value in told.items())


async def _disk(talk: Session, instance: Instance) -> tuple[int | None, int | None]:
    """Free and total bytes of the data folder's file system.

    SQL has no function for it, and `COPY FROM PROGRAM` needs a table to copy into, which a standby cannot have. So: the
    file system itself where the server runs on this machine, else the operator's own `disk_query` (for example over a
    file_fdw foreign table on `df`, which a standby can read), else unknown.
    """
    if query := instance.param("disk_query"):
        try:
            free, total = await talk.row(query)
        except (ActionFailed, IndexError, ValueError):
            return None, None
        return int(free), int(total)
    host, _ = split_address(instance.address)
    pgdata = instance.param("pgdata")
    here = host == "localhost" or host.startswith("127.") or host == "::1" or instance.param("shell")
    if not pgdata or not here:
        return None, None
    return await asyncio.to_thread(_room, pgdata)


def _room(folder: str) -> tuple[int | None, int | None]:
    try:
        found = os.statvfs(folder)
    except OSError:
        return None, None
    return found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize
