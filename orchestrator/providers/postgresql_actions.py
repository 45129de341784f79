"""What the PostgreSQL provider does through SQL alone: promote, demote, repoint. All of an outage's critical path.

Every act first makes its run's epoch count: it refuses where a higher one was seen, writes its own, waits until the
postmaster has it, and ends the sessions of older runs, so that one that was past its check does not act either.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from orchestrator.model.topology import Instance, Setting
from orchestrator.providers.base import ActionFailed, Order, Outcome
from orchestrator.providers.postgresql_reading import read
from orchestrator.providers.postgresql_sql import (
    IDLE,
    POLL_S,
    SESSION,
    Session,
    SyncNames,
    Unreached,
    conninfo,
    quoted,
    session,
)
from orchestrator.providers.waiting import comes_true

if TYPE_CHECKING:
    import psycopg

EPOCH = "drctl.epoch"
READ_ONLY = "default_transaction_read_only"
SYNC = "synchronous_standby_names"
UPSTREAM = "primary_conninfo"
SLOT = "primary_slot_name"
PROMOTION_POLL_S = 0.012
"""A promotion takes tens of milliseconds of the server's processor time: asking all the while would take it away."""
_SIDE_S = 1.0
"""Bound of a side errand, such as letting a slot go that is no longer used."""

_STATE = """
select pg_is_in_recovery(), coalesce(nullif(current_setting('drctl.epoch', true), ''), '0')::bigint,
       current_setting('default_transaction_read_only'), current_setting('synchronous_standby_names'),
       current_setting('primary_conninfo'), coalesce(current_setting('primary_slot_name'), ''),
       exists (select from pg_stat_activity where backend_type = 'walreceiver'),
       case when pg_is_in_recovery()
            then coalesce(greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) - '0/0', 0)
            else pg_current_wal_lsn() - '0/0' end
"""


class State(msgspec.Struct, frozen=True):
    """What an act must know of a server before it changes it."""

    standby: bool
    epoch: int
    read_only: str
    sync_names: str
    conninfo: str
    slot: str
    receiver: bool
    position: int

    def setting(self, name: str) -> str:
        """The value in force of one of the settings that acts change."""
        values = {
            EPOCH: str(self.epoch),
            READ_ONLY: self.read_only,
            SYNC: self.sync_names,
            UPSTREAM: self.conninfo,
            SLOT: self.slot,
        }
        return values[name]


@contextlib.asynccontextmanager
async def acting(
    instance: Instance, order: Order, within_s: float | None = None
) -> AsyncIterator[tuple[Session, State]]:
    """A session of the order's run with an instance; foreign errors become ActionFailed here.

    Raises:
        ActionFailed: the instance was not reached, or has seen the epoch of a later run.
    """
    bound_s = order.within_s if within_s is None else within_s
    try:
        name = f"{SESSION} {order.epoch}"
        opened = await _renamed(instance, name, bound_s)
        async with session(instance, bound_s, name, opened=opened, idle=IDLE) as talk:
            state = await look(talk)
            if state.epoch > order.epoch:
                raise superseded(instance, state.epoch, order.epoch)
            yield talk, state
    except Unreached as e:
        raise ActionFailed(f"{instance.id}: {e.error}", hint=f"the instance is {e.reach.value}") from e


async def _renamed(instance: Instance, name: str, within_s: float) -> psycopg.AsyncConnection[Any] | None:
    """The connection of the last look under the run's name; None where there is none that still works.

    The name goes before the first look at the epoch, in a statement of its own: a later run ends the sessions that are
    named for an older one, and what is named after that reads the later run's epoch.
    """
    opened = IDLE.take(instance)
    if opened is None:
        return None
    words = (name, str(max(1, round(within_s * 1000))))
    try:
        async with session(instance, min(within_s, _SIDE_S), opened=opened, idle=IDLE) as talk:
            await talk.rows(
                "select set_config('application_name', %s, false), set_config('statement_timeout', %s, false)", words
            )
    except (Unreached, ActionFailed):
        return None
    return IDLE.take(instance)


class Superseded(ActionFailed):
    """A later run has changed the instance: this one must not go on."""


def superseded(instance: Instance, seen: int, own: int) -> Superseded:
    """The refusal of an older run."""
    return Superseded(
        f"{instance.id} has seen epoch {seen}, and this run's is {own}: a later run took over",
        hint="`drctl runs list` shows it; this run must not go on",
    )


async def look(talk: Session) -> State:
    """The server's state now."""
    row = await talk.row(_STATE, prepare=True)
    return State(row[0], int(row[1]), row[2], row[3], row[4], row[5], row[6], int(row[7]))


async def until(
    what: str, holds: Callable[[], Awaitable[bool]], order: Order, within_s: float | None = None, poll_s: float = POLL_S
) -> None:
    """Poll until a condition holds.

    Raises:
        ActionFailed: it did not within the order's time.
    """
    bound_s = order.within_s if within_s is None else within_s
    if not await comes_true(holds, bound_s, poll_s):
        raise ActionFailed(f"{order.instance.id}: {what} did not happen within {bound_s:g} s")


async def settle(talk: Session, state: State, order: Order, wanted: Mapping[str, str]) -> bool:
    """Put settings and the run's epoch in force, and end the sessions of older runs; whether anything was changed."""
    due = {k: v for k, v in {EPOCH: str(order.epoch), **wanted}.items() if state.setting(k) != v}
    if not due:
        return False
    for name, value in due.items():
        await talk.rows(f"alter system set {name} = {quoted(value)}")
    await talk.rows("select pg_reload_conf()")

    async def in_force() -> bool:
        now = await look(talk)
        return all(now.setting(k) == v for k, v in due.items())

    # The postmaster reads the files before it tells its children to, so what this session sees holds for new ones too.
    await until(f"{', '.join(due)} in force (given on the command line?)", in_force, order)
    await talk.rows(
        "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid()"
        rf" and application_name ~ '^{SESSION} \d{{1,18}}$' and split_part(application_name, ' ', 2)::bigint < %s",
        (order.epoch,),
    )
    return set(due) != {EPOCH}


def fact(name: str, value: object) -> Setting:
    """A fact of an Outcome."""
    return Setting(name=name, value=str(value))


async def promote(order: Order) -> Outcome:
    """Make a standby the primary; the first write neither waits for an absent standby nor is refused as read-only."""
    async with acting(order.instance, order) as (talk, state):
        if not state.standby:
            changed = await settle(talk, state, order, {READ_ONLY: "off"})
            return Outcome(detail=f"{order.instance.id} is the primary already", changed=changed)
        changed = await settle(talk, state, order, {READ_ONLY: "off", SYNC: ""})
        await talk.rows("select pg_promote(wait => false)")

        async def promoted() -> bool:
            (standby,) = await talk.row("select pg_is_in_recovery()")
            return not standby

        await until("promotion", promoted, order, poll_s=PROMOTION_POLL_S)
        timeline, start = await talk.row(
            "select ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int,"
            " pg_current_wal_insert_lsn() - '0/0'"
        )
    return Outcome(
        detail=f"{order.instance.id} is the primary on timeline {timeline}",
        facts=(fact("received", state.position), fact("timeline", timeline), fact("position", start)),
    )


async def demote(order: Order) -> Outcome:
    """A primary refuses writes; with `towards`, its source asks a sync standby for no acknowledgement any more."""
    if order.towards:
        return await release(order, order.towards[0])
    async with acting(order.instance, order) as (talk, state):
        if state.standby:
            await settle(talk, state, order, {})
            return Outcome(detail=f"{order.instance.id} is a standby and takes no writes", changed=False)
        changed = await settle(talk, state, order, {READ_ONLY: "on"})
        ended = await _end_clients(talk, order)
        (position,) = await talk.row("select pg_current_wal_insert_lsn() - '0/0'")
    return Outcome(
        detail=f"{order.instance.id} takes no writes; {ended} sessions ended",
        changed=changed or ended > 0,
        facts=(fact("position", position), fact("sessions_ended", ended)),
    )


_CLIENTS = rf"""
select pid from pg_stat_activity
 where backend_type = 'client backend' and pid <> pg_backend_pid() and application_name !~ '^{SESSION}( \d+)?$'
"""


async def _end_clients(talk: Session, order: Order) -> int:
    """End every session that began before the server became read-only; the ones after are read-only and may stay."""
    pids = [pid for (pid,) in await talk.rows(_CLIENTS)]
    if not pids:
        return 0
    await talk.rows("select pg_terminate_backend(p) from unnest(%s::int[]) p", (pids,))

    async def gone() -> bool:
        (left,) = await talk.row("select count(*) from pg_stat_activity where pid = any(%s)", (pids,))
        return bool(left == 0)

    await until("the end of its client sessions", gone, order)
    return len(pids)


async def release(order: Order, source: Instance) -> Outcome:
    """The source waits for this standby's acknowledgement no more; commits that hang on it go on."""
    centre = order.instance.centre
    async with acting(source, order) as (talk, state):
        names = SyncNames.parse(state.sync_names)
        if "*" in names.names:
            raise ActionFailed(
                f"{source.id}: {SYNC} is `{state.sync_names}`, which names every standby",
                hint="name the standbys one by one, by their centres",
            )
        changed = await settle(talk, state, order, {SYNC: _sync_text(state, names.without(centre))})
    return Outcome(detail=f"{source.id} waits for {centre} no more", changed=changed)


async def require(order: Order, source: Instance) -> Outcome:
    """The source acknowledges nothing without this standby; asked for only once it streams, so that no write hangs."""
    centre = order.instance.centre
    async with acting(source, order) as (talk, state):
        await until(f"streaming to {centre}", lambda: _sends(talk, centre, "streaming"), order)
        names = SyncNames.parse(state.sync_names)
        wanted = names if "*" in names.names else names.including(centre)
        changed = await settle(talk, state, order, {SYNC: _sync_text(state, wanted)})
        await until(f"{centre} as a sync standby", lambda: _sends(talk, centre, "streaming", sync=True), order)
    return Outcome(detail=f"{source.id} waits for {centre}", changed=changed)


def _sync_text(state: State, names: SyncNames) -> str:
    """The setting's text, as it stands where it already says the same."""
    return state.sync_names if SyncNames.parse(state.sync_names) == names else str(names)


async def _sends(talk: Session, centre: str, *states: str, sync: bool = False) -> bool:
    rows = await talk.rows("select state, sync_state from pg_stat_replication where application_name = %s", (centre,))
    return any(s in states and (not sync or how in ("sync", "quorum")) for s, how in rows)


async def repoint(order: Order) -> Outcome:
    """A standby receives from `towards[0]` from now on, or from nobody."""
    if not order.towards:
        return await _detach(order)
    source, centre = order.towards[0], order.instance.centre
    async with acting(order.instance, order) as (talk, state):
        _refuse_primary(order, state)
        unready = await _slot_fault(order, source)
        changed = await settle(talk, state, order, {UPSTREAM: conninfo(source, centre), SLOT: centre})
    if unready is not None:
        raise unready
    await until_attached(order, source)
    dropped = await release_slots(order, source)
    return Outcome(
        detail=f"{order.instance.id} receives from {source.id}",
        changed=changed,
        facts=tuple(fact("slot_dropped", name) for name in dropped),
    )


async def _detach(order: Order) -> Outcome:
    """Wait until nothing can come in any more, and note how far it came."""
    async with acting(order.instance, order) as (talk, state):
        _refuse_primary(order, state)
        changed = await settle(talk, state, order, {UPSTREAM: ""})
        seen = [state]

        async def silent() -> bool:
            """Twice in a row: the startup process may just be about to start a receiver as it was set before."""
            seen.append(await look(talk))
            return not (seen[-1].receiver or seen[-2].receiver) and len(seen) > 2

        await until("the end of its stream", silent, order)
    received = fact("received", seen[-1].position)
    return Outcome(detail=f"{order.instance.id} receives from nobody", changed=changed, facts=(received,))


async def _follows(talk: Session, order: Order, source: Instance) -> bool:
    if not await _sends(talk, order.instance.centre, "catchup", "streaming"):
        return False
    here, there = await asyncio.gather(*(read(order.service, i, order.within_s) for i in (order.instance, source)))
    return bool(here.receiving) and here.timeline is not None and here.timeline == there.timeline


async def until_attached(order: Order, source: Instance, within_s: float | None = None) -> None:
    """Wait until the source sends to this standby, on the source's own timeline.

    The source is asked, not the standby: a receiver calls itself streaming before its source has agreed to send. The
    timeline too: to a standby whose history has parted the source sends the rest of the old timeline, again and again.

    Raises:
        ActionFailed: it does not within the time; the standby's history may have parted from the source's.
    """
    async with acting(source, order, within_s) as (talk, _):
        what = f"a stream from {source.id} (have their histories parted? then rejoin it)"
        await until(what, lambda: _follows(talk, order, source), order, within_s)


def _refuse_primary(order: Order, state: State) -> None:
    if not state.standby:
        raise ActionFailed(
            f"{order.instance.id} is a primary: it receives from nobody and cannot be repointed",
            hint="rejoin makes a standby of it",
        )


async def _slot_fault(order: Order, source: Instance) -> ActionFailed | None:
    """Make the slot; a source that is down is told of later, so that a detachment can be taken back all the same.

    Raises:
        Superseded: the source has seen a later run.
    """
    try:
        await ensure_slot(order, source, order.within_s / 2)
    except Superseded:
        raise
    except ActionFailed as e:
        return e
    return None


async def ensure_slot(order: Order, source: Instance, within_s: float | None = None) -> None:
    """The source keeps its log for this standby; a slot that was lost is made anew."""
    name = order.instance.centre
    if not re.fullmatch(r"[a-z0-9_]{1,63}", name):
        raise ActionFailed(f"centre {name!r} cannot name a replication slot", hint="use a-z, 0-9 and _")
    async with acting(source, order, within_s) as (talk, _):
        rows = await talk.rows("select wal_status from pg_replication_slots where slot_name = %s", (name,))
        if rows and rows[0][0] == "lost":
            await talk.rows("select pg_drop_replication_slot(%s)", (name,))
            rows = []
        if not rows:
            await talk.rows("select pg_create_physical_replication_slot(%s, true)", (name,))


async def release_slots(order: Order, source: Instance) -> list[str]:
    """Let this standby's slots at other instances go: unused, they would keep the log back until the disk is full.

    Best effort, each within a second: an instance that is down keeps its slot until it rejoins.
    """
    others = [i for i in order.service.instances if i.id not in (source.id, order.instance.id)]
    done = await asyncio.gather(*(drop_idle(order, other, (order.instance.centre,)) for other in others))
    return [name for names in done for name in names]


async def drop_idle(order: Order, holder: Instance, names: tuple[str, ...]) -> list[str]:
    """Drop slots that nobody uses now; `holder/name` of those that were dropped."""
    dropped = []
    with contextlib.suppress(ActionFailed):
        async with acting(holder, order, min(_SIDE_S, order.within_s)) as (talk, _):
            rows = await talk.rows(
                "select slot_name from pg_replication_slots where not active and slot_type = 'physical'"
                " and slot_name = any(%s)",
                (list(names),),
            )
            for (name,) in rows:
                await talk.rows("select pg_drop_replication_slot(%s)", (name,))
                dropped.append(f"{holder.id}/{name}")
    return dropped
