"""What the PostgreSQL provider does through a playbook on the host: fence, unfence, rejoin, start, stop.

Nothing here lies on the critical path of an outage with a surviving synchronous standby.
"""

from __future__ import annotations

import asyncio
import time

import msgspec

from orchestrator.model.observation import Reach, Reading
from orchestrator.model.topology import Instance, Role, Setting
from orchestrator.providers.base import ActionFailed, Order, Outcome, PlaybookRunner
from orchestrator.providers.postgresql_actions import (
    READ_ONLY,
    Superseded,
    acting,
    drop_idle,
    ensure_slot,
    fact,
    release_slots,
    repoint,
    require,
    settle,
    superseded,
    until,
    until_attached,
)
from orchestrator.providers.postgresql_reading import read
from orchestrator.providers.postgresql_sql import split_address

LOOK_S = 1.0
"""Bound of a look before or after a host action."""
STREAM_S = 15.0
"""A rejoined standby that does not stream after this time has diverged, or its log is gone at the source."""
_METHODS = ("", "rewind", "basebackup")
"""What the rejoin playbook is told to do at least, one after the other until the standby streams."""


async def fence(run: PlaybookRunner, order: Order) -> Outcome:
    """Stop the instance with SIGKILL, refuse its clients, cut its route; then make sure that nobody gets in."""
    outcome = await run("fence_postgresql.yml", order, ())
    after = await _look(order, order.instance)
    if after.reach is Reach.ANSWERED:
        raise ActionFailed(
            f"{order.instance.id} still lets clients in after its fence",
            hint="the playbook worked on another host, or on another pgdata, than the one at this address",
        )
    return outcome


async def unfence(run: PlaybookRunner, order: Order) -> Outcome:
    """Take a fence or a demotion back: let clients in, take writes again; with `towards`, be a sync standby again."""
    if order.towards:
        return await require(order, order.towards[0])
    now = await _look(order, order.instance)
    if now.reach is Reach.ANSWERED:
        return await _unfence_running(order)
    outcome = await run("unfence_postgresql.yml", order, (await _forbid_primary(order),))
    await _answering(order)
    return outcome


async def _unfence_running(order: Order) -> Outcome:
    async with acting(order.instance, order) as (talk, state):
        if not state.standby and state.read_only == "on" and (why := await _other_primary(order)):
            raise ActionFailed(f"{order.instance.id} must not take writes again: {why}", hint="rejoin it instead")
        changed = await settle(talk, state, order, {READ_ONLY: "off"})
    words = "takes writes again" if changed else "is not fenced"
    return Outcome(detail=f"{order.instance.id} {words}", changed=changed)


async def start(run: PlaybookRunner, order: Order) -> Outcome:
    """Start the server as what it was, unless it is fenced or would be a second primary."""
    now = await _look(order, order.instance)
    if now.reach is Reach.ANSWERED:
        await _answering(order)
        return Outcome(detail=f"{order.instance.id} runs already", changed=False)
    outcome = await run("start_postgresql.yml", order, (await _forbid_primary(order),))
    await _answering(order)
    return outcome


async def stop(run: PlaybookRunner, order: Order) -> Outcome:
    """Stop the server as an administrator would (fast)."""
    return await run("stop_postgresql.yml", order, ())


async def rejoin(run: PlaybookRunner, order: Order) -> Outcome:
    """Come back as a standby of `towards[0]`: by SQL where it is one that only follows another, else on the host.

    With param `mode` = sync the source then acknowledges nothing without it.
    """
    if not order.towards:
        raise ActionFailed(f"{order.instance.id}: rejoin needs to be told whose standby it becomes")
    source = order.towards[0]
    now, there = await asyncio.gather(_look(order, order.instance), _look(order, source))
    _refuse_loss(order, now, there)
    off_line = await _parted(order, source, now, there)
    outcome = None if off_line else await _follow(order, now)
    outcome = outcome or await _rebuild(run, order, source, _METHODS[1:] if off_line else _METHODS)
    if order.param("mode") == "sync":
        await require(order, source)
    dropped = [*await release_slots(order, source), *await _drop_own_slots(order, source)]
    facts = (*outcome.facts, *(fact("slot_dropped", name) for name in dropped))
    return msgspec.structs.replace(outcome, facts=facts)


def _refuse_loss(order: Order, now: Reading, there: Reading) -> None:
    """A rejoin discards what only the instance holds: never from the one place where the service is written."""
    if not now.writable:
        return
    newer = (now.timeline or 0) > (there.timeline or 0)
    if there.role is not Role.PRIMARY or newer:
        raise ActionFailed(
            f"{order.instance.id} takes writes, and {there.instance} is no newer primary: a rejoin would discard them",
            hint="promote the other one, or demote this one, first",
        )


async def _follow(order: Order, now: Reading) -> Outcome | None:
    """The outcome where SQL suffices, as for a standby that runs; else None."""
    if now.reach is not Reach.ANSWERED or now.role is not Role.STANDBY:
        return None
    try:
        done = await repoint(msgspec.structs.replace(order, within_s=min(order.within_s / 2, STREAM_S)))
    except Superseded:
        raise
    except ActionFailed:
        return None
    return msgspec.structs.replace(done, facts=(*done.facts, fact("method", "repoint")))


async def _parted(order: Order, source: Instance, now: Reading, there: Reading) -> bool:
    """Whether a standby that runs holds log that its new source's history does not."""
    if now.role is not Role.STANDBY or now.timeline is None or now.position is None or there.timeline is None:
        return False
    async with acting(source, order) as (talk, _):
        name = f"pg_wal/{there.timeline:08X}.history"
        (history,) = await talk.row("select coalesce(pg_read_file(%s, true), '')", (name,))
    return parted(history, there.timeline, now.timeline, now.position)


def parted(history: str, source_timeline: int, timeline: int, position: int) -> bool:
    """Whether `position` on `timeline` lies off the source's line.

    `history` is the source's timeline history file: lines of `timeline <tab> LSN at which the next one forked off`.
    """
    if timeline == source_timeline:
        return False
    for line in history.splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] == str(timeline):
            return position > lsn(words[1])
    return True


def lsn(text: str) -> int:
    """Bytes of a log position such as `0/5000148`."""
    high, _, low = text.partition("/")
    return (int(high, 16) << 32) + int(low, 16)


async def _rebuild(run: PlaybookRunner, order: Order, source: Instance, methods: tuple[str, ...]) -> Outcome:
    """Let the host bring the instance back, by the lightest of the ways after which its source sends to it."""
    ends = time.monotonic() + order.within_s
    await ensure_slot(order, source)
    host, port = split_address(source.address_from(order.instance.centre))
    told = (
        Setting(name="source_host", value=host),
        Setting(name="source_port", value=port),
        Setting(name="source_user", value=source.param("user", "postgres")),
    )
    facts: tuple[Setting, ...] = ()
    for method in methods:
        left_s = max(1.0, ends - time.monotonic())
        now = msgspec.structs.replace(order, within_s=left_s)
        outcome = await run("rejoin_postgresql.yml", now, (*told, Setting(name="at_least", value=method)))
        facts = (*facts, *outcome.facts)
        try:
            await until_attached(order, source, min(STREAM_S, max(1.0, ends - time.monotonic())))
        except Superseded:
            raise
        except ActionFailed:
            continue
        return msgspec.structs.replace(outcome, facts=facts)
    raise ActionFailed(
        f"{order.instance.id} was rebuilt from {source.id} and does not stream from it",
        hint="see the server's log and pg_replication_slots at the source",
    )


async def _drop_own_slots(order: Order, source: Instance) -> list[str]:
    """Slots from the time as a primary keep the log back here: drop those of instances that follow another now."""
    others = [i for i in order.service.instances if i.id not in (order.instance.id, source.id)]
    looks = await asyncio.gather(*(_look(order, i) for i in others))
    elsewhere = [
        i.centre for i, r in zip(others, looks, strict=True) if r.upstream not in (None, order.instance.centre)
    ]
    return await drop_idle(order, order.instance, (source.centre, *elsewhere))


async def _look(order: Order, instance: Instance) -> Reading:
    reading = await read(order.service, instance, min(LOOK_S, order.within_s))
    if reading.epoch is not None and reading.epoch > order.epoch:
        raise superseded(instance, reading.epoch, order.epoch)
    return reading


async def _answering(order: Order) -> None:
    """Wait until the server lets clients in, and note the run's epoch in it."""

    async def answers() -> bool:
        return (await _look(order, order.instance)).reach is Reach.ANSWERED

    await until("an answer", answers, order)
    async with acting(order.instance, order) as (talk, state):
        await settle(talk, state, order, {})


async def _forbid_primary(order: Order) -> Setting:
    """Tells the playbook why the instance must not come back as a primary; empty where it may."""
    return Setting(name="forbid_primary", value=await _other_primary(order))


async def _other_primary(order: Order) -> str:
    """Why another instance is, or may be, the primary of the service; empty where none can be.

    One that refuses or denies connections serves nobody now. One that is silent may be a frozen primary: unknown is
    not down.
    """
    others = [i for i in order.service.instances if i.id != order.instance.id]
    for instance, seen in zip(others, await asyncio.gather(*(_look(order, i) for i in others)), strict=True):
        if seen.role is Role.PRIMARY:
            return f"{instance.id} is a primary"
        if seen.reach in (Reach.SILENT, Reach.UNKNOWN):
            return f"{instance.id} does not answer, and may be a primary"
    return ""
