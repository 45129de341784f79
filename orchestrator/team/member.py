"""This home as one of a team's controllers: it hands its runs to the store, and rebuilds the runs of others from it."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from orchestrator.diskfile import write, write_bytes
from orchestrator.errors import Refused, Unreadable
from orchestrator.evidence.journal import Elsewhere, genesis, read_journal, sync_folder
from orchestrator.execution.runstore import SHARED, Run, open_run, run_ids
from orchestrator.model.plan import Plan
from orchestrator.model.topology import Frozen
from orchestrator.team import store
from orchestrator.team.address import StoreAddress
from orchestrator.team.keeper import Keeper
from orchestrator.team.session import Line
from orchestrator.team.store import Controller, StoredRun

_FILES = ("plan", "topology", "approvals", "before")


class Shared(Frozen, kw_only=True):
    """Content of the mark."""

    store: str
    """Servers and database; no user, no password."""


def controller(home: Path, centre: str) -> Controller:
    """This home among the team's controllers."""
    return Controller(owner=f"{os.uname().nodename}:{home.resolve()}", centre=centre)


class Member:
    """Owns one run in the team's store; see `runstore.Team`."""

    def __init__(
        self,
        address: StoreAddress,
        who: Controller,
        *,
        look: Callable[[], str] | None = None,
        revive: Callable[[str], None] | None = None,
    ) -> None:
        """`look`: sees the store's own instances; `revive`: see `Keeper.revive`."""
        self._address, self._who, self._look, self._revive = address, who, look, revive
        self.keeper: Keeper | None = None

    @property
    def url(self) -> str:
        """The store's primary, for the durable-execution library."""
        assert self.keeper is not None
        return self.keeper.url

    def own(self, run: Run, at_least: int) -> tuple[int, Elsewhere]:
        """See `runstore.Team`.

        Raises:
            Refused: another controller owns it, or has gone on with it.
            StoreAway: the store has no primary.
        """
        keeper = Keeper(self._address, run.id, self._who, look=self._look)
        keeper.revive = self._revive

        def take(line: Line) -> int:
            with store.one_at_a_time(line):
                if not run.records():
                    _refuse_conflict(line, run)
                store.register(line, _stored(run))
                self._refuse_behind(line, run)
                return store.take(line, run.id, self._who, at_least=at_least)

        epoch = keeper.begin(take)
        self.keeper = keeper
        write(run.path / SHARED, Shared(store=self._address.shown))
        return epoch, keeper

    def _refuse_behind(self, line: Line, run: Run) -> None:
        ahead = store.journal_length(line, run.id) - len(run.records())
        if ahead > 0:
            raise Refused(
                f"run {run.id} has gone on elsewhere: the state store holds {ahead} records more than this home",
                hint=f"`drctl takeover {run.id}` goes on with what the store holds",
            )

    def note(self, run: Run) -> None:
        """Keep how the run is carried out, for whoever takes it over."""
        if self.keeper is not None:
            with contextlib.suppress(OSError):
                self.keeper.note((run.path / "manner.json").read_text(encoding="utf-8"))

    def release(self, run: Run) -> None:
        """Ship what is left and end the lease."""
        if self.keeper is not None:
            self.keeper.end()


def _refuse_conflict(line: Line, run: Run) -> None:
    """Another controller's unfinished run may not be crossed by a new one, whichever home it is in."""
    for other, text in store.unfinished(line, run.plan.estate):
        shared = sorted(set(msgspec.json.decode(text, type=Plan).systems) & set(run.plan.systems))
        if shared:
            raise Refused(
                f"run {other} of the team is not finished and changes {', '.join(shared)}",
                hint=f"`drctl takeover {other}`, or `drctl runs resume {other}` in its own home",
            )


def _stored(run: Run) -> StoredRun:
    texts = {name: (run.path / f"{name}.json").read_text(encoding="utf-8") for name in _FILES}
    return StoredRun(run=run.id, estate=run.plan.estate, **texts)


def is_shared(run: Run) -> bool:
    """Whether a team's store holds the run."""
    return (run.path / SHARED).exists()


def rebuild(home: Path, stored: StoredRun, lines: Sequence[str]) -> Run:
    """The run's folder in this home, as the store holds the run; its chain is verified before anything is put in place.

    A journal of this home that parted from the store's is kept beside it.

    Raises:
        Refused: a live executor of this home owns it.
        Tampered: the chain does not hold.
        BadFile: the plan is none.
    """
    runs = home / "runs"
    runs.mkdir(parents=True, exist_ok=True)
    hidden = runs / f".take-{stored.run}"
    shutil.rmtree(hidden, ignore_errors=True)
    hidden.mkdir()
    try:
        _fill(hidden, stored, lines)
        known = stored.run in run_ids(home)
        if known:
            _go_on_here(open_run(home, stored.run), hidden)
        else:
            sync_folder(hidden)
            hidden.rename(runs / stored.run)
            sync_folder(runs)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
    return open_run(home, stored.run)


def _fill(folder: Path, stored: StoredRun, lines: Sequence[str]) -> None:
    for name in _FILES:
        write_bytes(folder / f"{name}.json", getattr(stored, name).encode())
    if stored.manner:
        write_bytes(folder / "manner.json", stored.manner.encode())
    for name in ("canary", "artifacts"):
        (folder / name).mkdir()
    journal = folder / "journal.jsonl"
    write_bytes(journal, "".join(f"{line}\n" for line in lines).encode())
    try:
        plan = msgspec.json.decode(stored.plan, type=Plan)
    except msgspec.DecodeError as error:
        raise Unreadable(f"the state store's plan of run {stored.run} cannot be read: {error}") from error
    read_journal(journal, genesis(plan.sha256, stored.run))


def _go_on_here(run: Run, fresh: Path) -> None:
    """This home knows the run: its journal is brought up to the store's; where they parted it is put aside."""
    if run.owner_alive():
        raise Refused(
            f"an executor of this home carries run {run.id} out", hint=f"`drctl runs resume {run.id} --takeover`"
        )
    own, new = run.path / "journal.jsonl", (fresh / "journal.jsonl").read_bytes()
    here = own.read_bytes() if own.exists() else b""
    if here.startswith(new):
        return  # the store lacks what was not shipped any more; it is shipped when the run goes on
    if not new.startswith(here):
        own.rename(run.path / f"journal.parted-{len(list(run.path.glob('journal.parted-*'))) + 1}.jsonl")
    write_bytes(own, new)
