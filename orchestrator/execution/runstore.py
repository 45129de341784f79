"""Run folders and who owns them: `<home>/runs/<run>/`. What a run's state is, its journal says (history).

A run is created in a hidden folder and renamed into place, so a crash leaves nothing that a list could trip over.
Ownership is a flock that dies with its process, and an epoch that fences out an executor which wakes up late: epochs
come from one counter of the home and never fall below what an instance was seen to carry.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from orchestrator.crashpoint import CrashPoint
from orchestrator.diskfile import locked, read, take_lock, write, write_bytes
from orchestrator.errors import BadFile, DrctlError, Refused, Usage
from orchestrator.evidence.journal import (
    REAL,
    Clock,
    Elsewhere,
    Entry,
    Journal,
    boot_id,
    genesis,
    read_journal,
    sync_folder,
)
from orchestrator.execution.conversation import Control, Conversation, as_file_name
from orchestrator.execution.history import History
from orchestrator.execution.naming import free_name
from orchestrator.model.observation import Snapshot
from orchestrator.model.plan import TOUCHING, Approval, Plan
from orchestrator.model.run import Event, Record, RunState, RunSummary
from orchestrator.model.topology import Frozen, Setting, Topology

SHARED = "team.json"  # marks a run that a team's store holds
RESUMABLE = frozenset({RunState.RUNNING, RunState.DEGRADED, RunState.PARTIAL})


class Owner(Frozen, kw_only=True):
    """Who carries a run out, or did so last."""

    pid: int
    host: str
    boot: str
    epoch: int
    since: str
    """UTC, RFC 3339."""


class Team(Protocol):
    """Controllers of other homes that may go on with a run where this home is lost."""

    @property
    def url(self) -> str: ...
    def own(self, run: Run, at_least: int) -> tuple[int, Elsewhere]:
        """Own a run among all controllers, or raise `Refused`, `Unreadable`: its epoch, and who holds its journal."""
        ...

    def note(self, run: Run) -> None:
        """Keep how it is carried out (`manner.json`); never raises."""

    def release(self, run: Run) -> None: ...


class Run(Conversation):
    """A handle on one run folder; `acquire` it before anything is carried out."""

    def __init__(self, home: Path, path: Path, plan: Plan, topology: Topology, before: Snapshot) -> None:
        self.home, self.path, self.plan, self.topology, self.before = home, path, plan, topology, before
        self.epoch = 0
        """Epoch of this process's ownership; 0 while it has none."""
        self._lock = -1
        self._journal: Journal | None = None
        self._team: Team | None = None

    @property
    def journal(self) -> Journal:
        """The journal, open for writing; only while this process owns the run."""
        if self._journal is None:
            raise Refused(f"run {self.id} is not owned by this process")
        return self._journal

    @property
    def state_url(self) -> str:
        """Where the team's store takes writes; empty for a run of this home alone."""
        return self._team.url if self._team is not None else ""

    @property
    def approvals(self) -> tuple[Approval, ...]:
        """The consents that the run was started with."""
        return read(self.path / "approvals.json", tuple[Approval, ...])

    def records(self) -> tuple[Record, ...]:
        """The journal as it is on disk, verified.

        Raises:
            Tampered: the chain does not hold.
        """
        path = self.path / "journal.jsonl"
        return read_journal(path, genesis(self.plan.sha256, self.id)) if path.exists() else ()

    def history(self) -> History:
        """Where every step stands by the journal on disk."""
        return History(self.plan, self.records())

    def artifacts(self, step: str) -> Path:
        """Folder of a step's own, created."""
        path = self.path / "artifacts" / as_file_name(step)
        path.mkdir(parents=True, exist_ok=True)
        return path

    def owner(self) -> Owner | None:
        """Who owns the run or owned it last."""
        try:
            return read(self.path / "owner.json", Owner)
        except (BadFile, FileNotFoundError):
            return None

    def owner_alive(self) -> bool:
        """Whether an executor carries the run out now."""
        if self._lock >= 0:
            return True
        fd = os.open(self.path / "owner.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(fd)
        return False

    def acquire(self, *, takeover: bool = False, clock: Clock = REAL, team: Team | None = None) -> None:
        """Own the run: lock it, raise its epoch, open its journal.

        Args:
            takeover: also from an executor that is alive but hangs (frozen, unreachable); its late writes and
                actions are refused by the higher epoch.
            clock: stamps the journal.
            team: shares the run with the controllers of other homes.

        Raises:
            Refused: another live executor owns it, here or in the team.
            Unreadable: the team's store does not answer.
            Tampered: the journal's chain does not hold.
        """
        if takeover and self.owner_alive():
            self._displace()
        self._lock = take_lock(self.path / "owner.lock", f"run {self.id}")
        try:
            elsewhere = self._own(team)
            owner = Owner(
                pid=os.getpid(), host=os.uname().nodename, boot=boot_id(), epoch=self.epoch, since=clock.utc()
            )
            write(self.path / "owner.json", owner)
            if takeover:
                self._displace_journal()
            self._journal = self._open_journal(clock, elsewhere)
        except BaseException:
            self.release()
            raise
        if self.control() is Control.PAUSE:
            self.clear_control()

    def note(self) -> None:
        """Tell the team how the run is carried out."""
        if self._team is not None:
            self._team.note(self)

    def release(self) -> None:
        """Give the run up; safe to call twice."""
        if self._journal is not None:
            self._journal.close()
            self._journal = None
        if self._team is not None:
            self._team.release(self)
            self._team = None
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1
        self.epoch = 0

    def require_resumable(self) -> None:
        """Refuse what cannot be gone on with.

        Raises:
            Refused: the run has ended for good.
        """
        state = self.history().state
        if state not in RESUMABLE:
            raise Refused(f"run {self.id} has ended: {state.value}", hint="make a new plan")

    def summary(self) -> RunSummary:
        """The run as a list shows it."""
        history = self.history()
        return RunSummary(
            run=self.id,
            scenario=self.plan.scenario,
            kind=self.plan.kind,
            mode=self.plan.mode,
            state=history.state,
            started_at=history.opened_at or self.plan.created_at,
            ended_at=history.closed_at,
            steps_done=len(history.done),
            steps=len(self.plan.steps),
            owner_alive=self.owner_alive(),
            missing=history.missing,
        )

    def _own(self, team: Team | None) -> Elsewhere | None:
        floor = self._epoch_floor()
        if team is None:
            self.epoch = next_epoch(self.home, at_least=floor)
            return None
        self._team = team
        self.epoch, elsewhere = team.own(self, floor)
        next_epoch(self.home, at_least=self.epoch - 1)  # what this home gives out alone later is higher too
        return elsewhere

    def _epoch_floor(self) -> int:
        owner = self.owner()
        seen = [r.epoch for r in self.before.readings if r.epoch is not None]
        return max([owner.epoch if owner else 0, *seen, *(r.epoch for r in self.records())], default=0)

    def _open_journal(self, clock: Clock, elsewhere: Elsewhere | None) -> Journal:
        def epoch_now() -> int:
            owner = self.owner()
            return owner.epoch if owner else 0

        return Journal(
            self.path / "journal.jsonl",
            run=self.id,
            first_prev=genesis(self.plan.sha256, self.id),
            epoch=self.epoch,
            epoch_now=epoch_now,
            clock=clock,
            elsewhere=elsewhere,
        )

    def _displace(self) -> None:
        """The hanging owner keeps a lock on a file that no longer has this name."""
        fresh = self.path / f".owner.lock.{secrets.token_hex(4)}"
        fresh.touch(mode=0o640)
        fresh.replace(self.path / "owner.lock")

    def _displace_journal(self) -> None:
        """Go on in a copy: what a late owner still writes falls into a file that has no name (the epoch is up)."""
        path = self.path / "journal.jsonl"
        if path.exists():
            write_bytes(path, path.read_bytes())


def create_run(
    home: Path,
    plan: Plan,
    topology: Topology,
    approvals: Sequence[Approval],
    before: Snapshot,
    *,
    clock: Clock = REAL,
    team: Team | None = None,
) -> Run:
    """Make the folder of a new run, owned by this process, its journal opened.

    Raises:
        Unreadable: the team's store does not answer; the folder is gone again.
        Refused: an unfinished run changes one of these systems; resume or abort that first.
    """
    crash = CrashPoint.from_environment(plan)
    runs = home / "runs"
    runs.mkdir(parents=True, exist_ok=True)
    with locked(home / "runs.lock", "the list of runs"):
        _refuse_conflict(home, plan, alone=team is None)
        _sweep(runs)
        files = {"plan": plan, "topology": topology, "approvals": tuple(approvals), "before": before}
        path = _make_folder(runs, free_name(runs, plan), files)
    run = Run(home, path, plan, topology, before)
    try:
        run.acquire(clock=clock, team=team)
    except BaseException:
        shutil.rmtree(path, ignore_errors=True)  # nothing was begun, and nothing must stand in the next run's way
        raise
    data = (Setting(name="plan_sha256", value=plan.sha256), Setting(name="version", value=plan.version))
    if crash:
        crash.strike(Event.RUN_OPENED, "", after=False)
    run.journal.append([Entry(event=Event.RUN_OPENED, detail=plan.scenario, data=data)])
    if crash:
        crash.strike(Event.RUN_OPENED, "", after=True)
    return run


def _make_folder(runs: Path, name: str, files: Mapping[str, object]) -> Path:
    hidden = runs / f".new-{name}"
    hidden.mkdir()
    for file, value in files.items():
        write(hidden / f"{file}.json", value)
    for folder in ("canary", "artifacts"):
        (hidden / folder).mkdir()
    sync_folder(hidden)
    hidden.rename(runs / name)
    sync_folder(runs)
    return runs / name


def _refuse_conflict(home: Path, plan: Plan, *, alone: bool) -> None:
    if plan.mode not in TOUCHING:
        return
    for other in _runs(home):
        if not alone and (other.path / SHARED).exists():
            continue  # it may have gone on, and ended, elsewhere: the team's store knows
        unfinished = other.plan.mode in TOUCHING and other.history().state is RunState.RUNNING
        shared = sorted(set(other.plan.systems) & set(plan.systems))
        if unfinished and shared:
            raise Refused(
                f"run {other.id} is not finished and changes {', '.join(shared)}",
                hint=f"`drctl runs resume {other.id}` or `drctl runs abort {other.id}` first",
            )


def open_run(home: Path, run: str) -> Run:
    """A run by its id, a unique beginning of it, or `last`.

    Raises:
        Usage: there is no such run, or several.
        BadFile: its files cannot be read.
    """
    known = run_ids(home)
    if run == "last" and known:
        return _open(home, known[-1])
    found = [run] if run in known else [name for name in known if run and name.startswith(run)]
    if len(found) != 1:
        problem = f"no run {run!r} in {home / 'runs'}" if not found else f"{run!r} could be {len(found)} runs"
        raise Usage(problem, hint=f"there are: {', '.join((found or known)[-5:]) or 'none'}")
    return _open(home, found[0])


def run_ids(home: Path) -> tuple[str, ...]:
    """Every run, oldest first."""
    folder = home / "runs"
    if not folder.is_dir():
        return ()
    return tuple(sorted(p.name for p in folder.iterdir() if not p.name.startswith(".") and (p / "plan.json").is_file()))


def list_runs(home: Path) -> tuple[RunSummary, ...]:
    """Every run that can be read, oldest first; derived from plan and journal alone."""
    return tuple(run.summary() for run in _runs(home))


def broken_runs(home: Path) -> tuple[tuple[str, DrctlError], ...]:
    """Runs that cannot be read, with the reason; a list must not hide them, and must not end at them."""
    found: list[tuple[str, DrctlError]] = []
    for name in run_ids(home):
        try:
            _open(home, name).history()
        except DrctlError as error:
            found.append((name, error))
    return tuple(found)


def next_epoch(home: Path, *, at_least: int = 0) -> int:
    """A new epoch, higher than every one that this home gave out and than `at_least`."""
    home.mkdir(parents=True, exist_ok=True)
    with locked(home / "epoch.lock", "the epoch counter"):
        path = home / "epoch"
        known = int(path.read_text(encoding="ascii")) if path.exists() else 0
        epoch = max(known, at_least) + 1
        write_bytes(path, str(epoch).encode())
        return epoch


def _runs(home: Path) -> Iterator[Run]:
    for name in run_ids(home):
        with contextlib.suppress(DrctlError):
            run = _open(home, name)
            run.records()
            yield run


def _open(home: Path, name: str) -> Run:
    path = home / "runs" / name
    return Run(
        home,
        path,
        read(path / "plan.json", Plan),
        read(path / "topology.json", Topology),
        read(path / "before.json", Snapshot),
    )


def _sweep(runs: Path) -> None:
    """Remove what a crash in the middle of `create_run` left; the caller holds the lock, so nobody is at work there."""
    for path in runs.glob(".new-*"):
        shutil.rmtree(path, ignore_errors=True)
