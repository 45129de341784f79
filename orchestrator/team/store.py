"""What a team's store is asked: epochs, leases, shipped journals, whole runs. One method is one transaction.

Every method may raise `StoreAway`: what it asked for may or may not have happened, and nothing may rest on it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from orchestrator.errors import Refused, Tampered
from orchestrator.model.topology import Frozen
from orchestrator.team import schema
from orchestrator.team.lease import LEASE_S, next_team_epoch
from orchestrator.team.session import Line, StoreAway

TAKE_S = 5.0


class Controller(Frozen, kw_only=True):
    """Who carries a run out: a home on a machine, and the centre that it stands in."""

    owner: str
    """host:home"""
    centre: str = ""


class LeaseRow(Frozen, kw_only=True):
    """A run's lease as the store holds it; times by the server's clock."""

    owner: str
    centre: str
    epoch: int
    left_s: float
    """Until it runs out; negative: it has."""
    renewed_s: float
    """Seconds since the last renewal."""
    renewals: str
    """Changes with every renewal."""
    look: str = ""
    """The store's own instances as the owner saw them last, a Snapshot as JSON."""


class StoredRun(Frozen, kw_only=True):
    """A run as it was handed to the store; each part is the JSON of the file of that name."""

    run: str
    estate: str
    plan: str
    topology: str
    approvals: str
    before: str
    manner: str = ""


class Shipped(Frozen, kw_only=True):
    """How a shipment ended."""

    current: bool
    """The run's lease still carries the shipper's epoch."""
    held: bool
    """Another server had to confirm the commit."""


def prepare(line: Line) -> None:
    """Make what is missing of the tables."""
    if line.rows("select to_regclass('drctl.workers') is not null")[0][0]:
        return
    with line.transaction(TAKE_S) as connection:
        connection.execute("select pg_advisory_xact_lock(%s)", (schema.LOCK,))
        connection.execute(schema.CREATE)


def current_epoch(line: Line) -> int:
    """The last epoch that was given out; also from a standby."""
    return int(line.rows("select epoch from drctl.epochs")[0][0])


@contextlib.contextmanager
def one_at_a_time(line: Line) -> Iterator[None]:
    """Nobody else of the team begins or owns a run for the length of a short block; a lost connection ends it too."""
    line.rows("select pg_advisory_lock(%s)", (schema.LOCK + 1,), TAKE_S)
    try:
        yield
    finally:
        with contextlib.suppress(StoreAway):
            line.rows("select pg_advisory_unlock(%s)", (schema.LOCK + 1,))


def unfinished(line: Line, estate: str) -> tuple[tuple[str, str], ...]:
    """Runs of an estate (with their plans) that are being begun, or were and have not ended."""
    rows = line.rows(
        "with told as (select run, seq, line::jsonb ->> 'event' as event from drctl.journal),"
        " last as (select run, max(seq) filter (where event in ('run_opened', 'run_resumed')) as begun,"
        "                 max(seq) filter (where event = 'run_closed') as closed from told group by run)"
        " select r.run, r.plan from drctl.runs r left join last using (run) left join drctl.leases l using (run)"
        "  where r.estate = %s and case when last.begun is null then l.expires_at > clock_timestamp()"
        "        else coalesce(last.closed, -1) < last.begun end order by r.run",
        (estate,),
        TAKE_S,
    )
    return tuple((run, plan) for run, plan in rows)


def register(line: Line, run: StoredRun) -> None:
    """Keep a run's files; those of a run that is known already stay as they were.

    Raises:
        Refused: another plan is kept under this name.
    """
    with line.transaction(TAKE_S) as connection:
        connection.execute(
            "insert into drctl.runs (run, estate, plan, topology, approvals, before)"
            " values (%s, %s, %s, %s, %s, %s) on conflict do nothing",
            (run.run, run.estate, run.plan, run.topology, run.approvals, run.before),
        )
        kept = connection.execute("select plan from drctl.runs where run = %s", (run.run,)).fetchone()
    if kept is None or kept[0] != run.plan:
        raise Refused(f"the state store holds another plan as run {run.run}", hint="is it another team's store?")


def keep_manner(line: Line, run: str, manner: str) -> None:
    """Keep how a run is carried out."""
    line.rows("update drctl.runs set manner = %s where run = %s", (manner, run))


_LEASE = """
select owner, centre, epoch, extract(epoch from expires_at - clock_timestamp())::float8,
       extract(epoch from clock_timestamp() - renewed_at)::float8, renewed_at::text || ' ' || epoch, look
  from drctl.leases where run = %s
"""


def lease_of(line: Line, run: str) -> LeaseRow | None:
    """A run's lease; also from a standby, whose word on `left_s` is then as good as the two servers' clocks."""
    rows = line.rows(_LEASE, (run,))
    return _lease(rows[0]) if rows else None


def _lease(row: Sequence[Any]) -> LeaseRow:
    owner, centre, epoch, left_s, renewed_s, renewals, look = row
    return LeaseRow(
        owner=owner, centre=centre, epoch=epoch, left_s=left_s, renewed_s=renewed_s, renewals=renewals, look=look
    )


def take(
    line: Line, run: str, who: Controller, *, at_least: int = 0, instead_of: LeaseRow | None = None,
    approved_by: Sequence[str] = (),
) -> int:  # fmt: skip
    """Own a run: a new epoch and a new lease, in one transaction; the epoch.

    Args:
        line: to the primary.
        run: registered.
        who: the new owner.
        at_least: the epoch shall be above this.
        instead_of: the lease that is taken over, as it was seen; None: free, or one's own.
        approved_by: noted with the take-over.

    Raises:
        Refused: another one owns it; with `instead_of`: it has changed since it was looked at.
    """
    with line.transaction(TAKE_S) as connection:
        known = connection.execute("select epoch from drctl.epochs for update").fetchone()
        row = connection.execute(_LEASE + " for update", (run,)).fetchone()
        found = _lease(row) if row else None
        _refuse_foreign(run, who, found, instead_of)
        epoch = next_team_epoch(known[0] if known else 0, at_least)
        connection.execute("update drctl.epochs set epoch = %s", (epoch,))
        connection.execute(
            "insert into drctl.leases (run, owner, centre, epoch, length_s, expires_at)"
            " values (%(run)s, %(owner)s, %(centre)s, %(epoch)s, %(s)s,"
            "  clock_timestamp() + make_interval(secs => %(s)s))"
            " on conflict (run) do update set owner = %(owner)s, centre = %(centre)s, epoch = %(epoch)s,"
            "  length_s = %(s)s, taken_at = clock_timestamp(), renewed_at = clock_timestamp(),"
            "  expires_at = clock_timestamp() + make_interval(secs => %(s)s)",
            {"run": run, "owner": who.owner, "centre": who.centre, "epoch": epoch, "s": LEASE_S},
        )
        if instead_of is not None:
            connection.execute(
                "insert into drctl.takeovers (run, epoch, owner, centre, from_owner, approved_by)"
                " values (%s, %s, %s, %s, %s, %s)",
                (run, epoch, who.owner, who.centre, instead_of.owner, list(approved_by)),
            )
    return epoch


def _refuse_foreign(run: str, who: Controller, found: LeaseRow | None, instead_of: LeaseRow | None) -> None:
    if instead_of is not None:
        if found is None or found.renewals != instead_of.renewals:
            raise Refused(f"run {run} is being carried out: its lease was renewed just now", hint=_ALIVE)
    elif found is not None and found.owner != who.owner:
        raise Refused(
            f"run {run} belongs to the controller {found.owner} in centre {found.centre or '?'}",
            hint=f"`drctl takeover {run}` goes on with it from here",
        )


_ALIVE = "stop it there (Ctrl-C, `drctl runs abort`), or take it over with two approvals (--approved-by, twice)"


def ship(line: Line, run: str, epoch: int, lines: Sequence[tuple[int, str]], within_s: float) -> Shipped:
    """Keep journal lines, unless the run has another epoch now.

    Raises:
        Tampered: another line is kept under one of the numbers.
    """
    current, other, held = line.rows(
        "with mine as (select 1 from drctl.leases where run = %(run)s and epoch = %(epoch)s for share),"
        " new as (select * from unnest(%(seqs)s::int[], %(lines)s::text[]) as x (seq, line)),"
        " kept as (insert into drctl.journal (run, seq, line) select %(run)s, seq, line from new, mine"
        "          on conflict do nothing returning seq)"
        " select (select count(*) from mine), (select count(*) from new join drctl.journal j"
        "   on j.run = %(run)s and j.seq = new.seq and j.line <> new.line),"
        "  current_setting('synchronous_standby_names')"
        "   from (select count(*) from kept) k",
        {"run": run, "epoch": epoch, "seqs": [s for s, _ in lines], "lines": [text for _, text in lines]},
        within_s,
    )[0]
    if other and current:  # whoever was replaced has parted from the journal of its successor: that is no tampering
        raise Tampered(
            f"the state store holds another journal of run {run}",
            hint=f"`drctl takeover {run}` goes on with the one in the store, and keeps this one beside it",
        )
    return Shipped(current=bool(current), held=bool(held.strip()))


def renew(line: Line, run: str, epoch: int, look: str, within_s: float) -> bool:
    """Lengthen the lease by its whole length from now; False where the run has another epoch."""
    rows = line.rows(
        "update drctl.leases set renewed_at = clock_timestamp(), look = coalesce(nullif(%s, ''), look),"
        " expires_at = clock_timestamp() + make_interval(secs => length_s) where run = %s and epoch = %s returning 1",
        (look, run, epoch),
        within_s,
    )
    return bool(rows)


def give_back(line: Line, run: str, epoch: int) -> None:
    """End the lease now: nobody needs to wait for it."""
    line.rows("update drctl.leases set expires_at = clock_timestamp() where run = %s and epoch = %s", (run, epoch))


def journal_of(line: Line, run: str) -> tuple[str, ...]:
    """The lines of a run's journal as they were shipped.

    Raises:
        Tampered: one is missing in the middle.
    """
    rows = line.rows("select seq, line from drctl.journal where run = %s order by seq", (run,), TAKE_S)
    if [seq for seq, _ in rows] != list(range(len(rows))):
        raise Tampered(
            f"the state store's journal of run {run} has a gap", hint="compare with the controller's own home"
        )
    return tuple(line for _, line in rows)


def journal_length(line: Line, run: str) -> int:
    """Number of journal lines that the store holds."""
    return int(line.rows("select count(*) from drctl.journal where run = %s", (run,))[0][0])


def run_ids(line: Line, estate: str) -> tuple[str, ...]:
    """The runs of an estate, oldest first."""
    return tuple(r for (r,) in line.rows("select run from drctl.runs where estate = %s order by run", (estate,)))


def stored_run(line: Line, run: str) -> StoredRun | None:
    """A run's files; None where the store knows none of this name."""
    rows = line.rows(
        "select run, estate, plan, topology, approvals, before, manner from drctl.runs where run = %s", (run,), TAKE_S
    )
    names = ("run", "estate", "plan", "topology", "approvals", "before", "manner")
    return StoredRun(**dict(zip(names, rows[0], strict=True))) if rows else None


def beat(line: Line, centre: str, worker: str, address: str) -> None:
    """A worker's heartbeat."""
    line.rows(
        "insert into drctl.workers (centre, worker, address) values (%(c)s, %(w)s, %(a)s)"
        " on conflict (centre) do update set worker = %(w)s, address = %(a)s, beat_at = clock_timestamp()",
        {"c": centre, "w": worker, "a": address},
    )


def leave(line: Line, centre: str, worker: str) -> None:
    """A worker ends: nobody waits for its missing heartbeats."""
    line.rows("delete from drctl.workers where centre = %s and worker = %s", (centre, worker))
