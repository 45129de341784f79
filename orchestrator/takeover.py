"""Goes on, from another centre, with a run whose controller is gone: its use case, readable from top to bottom.

The order matters: the store first (promoted by proof where its primary is gone), then the lease (run out, or two
people), then the run's files and journal out of the store, then the run itself with a higher epoch, as a resume.
Nothing but the state store is touched before the run is owned.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import closing

import msgspec

from orchestrator.carry import Manner, Outcome, carry_out
from orchestrator.checks.centre import centre_state
from orchestrator.context import Context, refuse_alone
from orchestrator.durable import preload
from orchestrator.errors import Refused, Unreadable, Usage
from orchestrator.evidence.journal import Entry
from orchestrator.execution.history import History
from orchestrator.execution.runstore import RESUMABLE, Run
from orchestrator.model.observation import Snapshot
from orchestrator.model.plan import APPROVERS, Plan
from orchestrator.model.run import Event, Record
from orchestrator.model.topology import Frozen, Setting
from orchestrator.model.view import CentreState, View
from orchestrator.team import store
from orchestrator.team.address import KIND, StoreAddress, parse
from orchestrator.team.eye import StoreEye
from orchestrator.team.lease import LEASE_S, next_team_epoch
from orchestrator.team.member import controller, rebuild
from orchestrator.team.observers import LOOK_S, Watch
from orchestrator.team.revival import Revival, Revived, actor_of
from orchestrator.team.session import Line, Seen, StoreAway, connect_primary, look, primary_of
from orchestrator.team.store import LeaseRow

POLL_S = 0.2
FRESH_S = 5.0
"""A worker's look that was under way when we asked takes 1 s at most, the pause after it 2 s, and the next look 1 s."""
Tell = Callable[[str], None]


class Wanted(Frozen, kw_only=True):
    """What the operator asks for."""

    run: str
    """An id, a unique beginning of one, or `last`."""
    approved_by: tuple[str, ...] = ()


async def take_over(context: Context, wanted: Wanted, tell: Tell, *, quiet: bool = False) -> Outcome:
    """Take a run over and bring it to its end.

    Raises:
        Refused: its controller lives, its lease has not run out, the store is not proven to be lost, or the run has
            ended; nothing of it was changed.
        Unreadable: the store cannot be reached.
        Tampered: what the store holds of the run is not whole.
    """
    refuse_alone(context, "a take-over")
    warm = asyncio.create_task(asyncio.to_thread(preload))
    run = await _TakeOver(context, people(wanted.approved_by), tell).own(wanted.run)
    await warm
    return await carry_out(context, run, _manner(run, quiet))


class _TakeOver:
    """One attempt; its parts in the order of `own`."""

    def __init__(self, context: Context, names: tuple[str, ...], tell: Tell) -> None:
        self._context, self._names, self._tell = context, names, tell
        self._address: StoreAddress = parse(context.state)
        self._eye = StoreEye(self._address, context.probers)
        self._me = controller(context.home, context.centre)
        self._revived: Revived | None = None

    async def own(self, word: str) -> Run:
        """The run, owned by this process, its journal complete."""
        began_s = time.monotonic()
        seen = await asyncio.to_thread(look, self._address)
        run_id, lease = await asyncio.to_thread(_find, self._address, seen, self._context.topology.id, word)
        if primary_of(seen) is None:
            self._revived = await self._revive(seen, lease)
        line, host = await asyncio.to_thread(connect_primary, self._address, f"drctl {run_id}")
        with closing(line):
            self._tell(f"state store: {host.address} takes writes")
            _refuse_ended(line, run_id)
            free = await self._freed(line, run_id)
            store.take(line, run_id, self._me, instead_of=free, approved_by=self._names)
            run = _rebuilt(self._context, line, run_id)
        run.acquire(team=self._context.member(run))
        run.journal.append([_record(free, self._names, self._revived)])
        self._tell(
            f"run {run.id} is ours with epoch {run.epoch}, {time.monotonic() - began_s:.1f} s after it was asked for"
        )
        return run

    async def _revive(self, seen: tuple[Seen, ...], lease: LeaseRow) -> Revived:
        if any(not h.centre for h in self._address.hosts):
            raise Refused(
                "the state store has no primary, and its address does not say where its servers stand",
                hint="add ?centres=a,b,c to --state, in the order of the servers",
            )
        if not lease.look:
            raise Refused(
                "nobody looked at the state store while its primary was there: its standby is not proven whole"
            )
        self._tell("state store: no server takes writes; asking the observers")
        standby = next(s.host for s in seen if not s.error)
        epoch = await asyncio.to_thread(_epoch_at, self._address.dsn(standby))
        before = msgspec.json.decode(lease.look, type=Snapshot)
        actor = actor_of(self._context.actors, KIND)
        revival = Revival(self._eye, actor, before, next_team_epoch(epoch), tell=self._tell)
        return await revival.go(await self._state_of(revival.lost.centre), self._names)

    async def _state_of(self, centre: str) -> CentreState:
        watch = self._context.watch()
        assert watch is not None
        state, views = await agreed(watch, centre)
        told = ", ".join(f"{v.observer}: {v.sight.value}" for v in views if v.centre == centre)
        self._tell(f"centre {centre} is {state.value} ({told or 'nobody looked'})")
        return state

    async def _freed(self, line: Line, run: str) -> LeaseRow:
        """The lease, once nobody may act under it any more (or two people say so).

        A promoted server's clock is not the one that stamped the lease: after a promotion the lease's whole length is
        waited for by our own clock, from the moment at which the lost primary could confirm no renewal any more.

        Raises:
            Refused: its owner renews it.
        """
        first = found = _lease(line, run)
        if first.owner == self._me.owner:
            return first
        if len(self._names) >= APPROVERS:
            self._tell(f"{' and '.join(self._names)} approve the take-over from {first.owner}")
            return first
        until_s = self._revived.detached_s + LEASE_S if self._revived else float("inf")
        if found.left_s > 0 or self._revived:
            self._tell(f"waiting for the lease of {first.owner} ({first.centre or '?'}) to run out")
        while time.monotonic() < until_s and (found.left_s > 0 or self._revived):
            await asyncio.sleep(POLL_S)
            found = _lease(line, run)
            if found.renewals != first.renewals:
                where = f"{first.owner} in centre {first.centre or '?'}"
                raise Refused(
                    f"run {run} is being carried out by {where}, which renews its lease",
                    hint="stop it there, or let two people approve the take-over (--approved-by, twice)",
                )
        return found


async def agreed(watch: Watch, centre: str) -> tuple[CentreState, tuple[View, ...]]:
    """What the observers say of a centre; one that saw it before we asked is asked again, for FRESH_S at most.

    A worker tells its last look. A centre that died a moment ago is there in it, and on that day nobody asks twice.
    """
    asked_s = time.monotonic()
    while True:
        views = await watch.views()
        state, waited_s = centre_state(centre, views, watch.observers), time.monotonic() - asked_s
        old = any(v.centre == centre and v.age_s + LOOK_S > waited_s for v in views)
        if state is CentreState.LOST or not old or waited_s > FRESH_S:
            return state, views
        await asyncio.sleep(POLL_S)


def people(names: tuple[str, ...]) -> tuple[str, ...]:
    """Different names of people.

    Raises:
        Usage: one is empty, or one person alone approves.
    """
    found = {" ".join(n.split()).casefold(): " ".join(n.split()) for n in names}
    if "" in found:
        raise Usage("an approver's name is empty", hint='for example --approved-by "Li Wei"')
    if len(found) == 1:
        raise Usage("one person alone cannot approve a take-over", hint="give --approved-by twice, or not at all")
    return tuple(found.values())


def _find(address: StoreAddress, seen: tuple[Seen, ...], estate: str, word: str) -> tuple[str, LeaseRow]:
    """The run and its lease, as any server of the store has them; the primary is asked before a standby."""
    primary = primary_of(seen)
    hosts = sorted((s for s in seen if not s.error), key=lambda s: (s.host != primary, -s.timeline))
    if not hosts:
        told = "; ".join(f"{s.host.address}: {s.error}" for s in seen)
        raise StoreAway(f"no server of the state store answers ({told})", hint="is the address right? is the network?")
    with closing(Line(address.dsn(hosts[0].host), "drctl")) as line:
        if not line.rows("select to_regclass('drctl.leases') is not null")[0][0]:
            raise Usage(
                "the state store holds no runs", hint="runs are shared from their start: `--state postgresql://…`"
            )
        known = store.run_ids(line, estate)
        found = (
            [known[-1]]
            if word == "last" and known
            else [r for r in known if r == word or (word and r.startswith(word))]
        )
        if len(found) != 1:
            problem = f"{word!r} could be {len(found)} runs" if found else f"the state store holds no run {word!r}"
            raise Usage(problem, hint=f"there are: {', '.join((found or list(known))[-5:]) or 'none'}")
        lease = store.lease_of(line, found[0])
    if lease is None:
        raise Refused(f"run {found[0]} was never carried out", hint="make a new plan")
    return found[0], lease


def _epoch_at(dsn: str) -> int:
    with closing(Line(dsn, "drctl")) as line:
        return store.current_epoch(line)


def _lease(line: Line, run: str) -> LeaseRow:
    found = store.lease_of(line, run)
    if found is None:
        raise Refused(f"run {run} has no lease any more")
    return found


def _refuse_ended(line: Line, run: str) -> None:
    stored = store.stored_run(line, run)
    if stored is None:
        raise Unreadable(f"the state store lost run {run}")
    plan = msgspec.json.decode(stored.plan, type=Plan)
    records = (msgspec.json.decode(text, type=Record) for text in store.journal_of(line, run))
    state = History(plan, records).state
    if state not in RESUMABLE:
        raise Refused(f"run {run} has ended: {state.value}", hint="make a new plan")


def _rebuilt(context: Context, line: Line, run: str) -> Run:
    stored = store.stored_run(line, run)
    assert stored is not None
    return rebuild(context.home, stored, store.journal_of(line, run))


def _record(lease: LeaseRow, names: tuple[str, ...], revived: Revived | None) -> Entry:
    data = [Setting(name="from", value=lease.owner), Setting(name="from_centre", value=lease.centre)]
    data += [Setting(name="approved_by", value=name) for name in names]
    if revived:
        data += [Setting(name="store", value=revived.primary), Setting(name="store_copy", value=revived.copy)]
    ground = f"approved by {' and '.join(names)}" if names else "its lease had run out"
    store_words = f"; the state store's {revived.primary} was promoted instead of {revived.lost}" if revived else ""
    detail = f"from {lease.owner} in centre {lease.centre or '?'}: {ground}{store_words}"
    return Entry(event=Event.RUN_TAKEN_OVER, detail=detail, data=tuple(data))


def _manner(run: Run, quiet: bool) -> Manner:
    """How it was carried out, without what only the other home has."""
    from orchestrator.diskfile import read

    told = run.path / "manner.json"
    manner = read(told, Manner) if told.exists() else Manner()
    key = manner.key if manner.key and manner.key.exists() else None
    return msgspec.structs.replace(manner, quiet=quiet, key=key)
