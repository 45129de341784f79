"""Carries a run out under DBOS: the second memory beside the journal, in SQLite or in a team's PostgreSQL.

The only importer of dbos (3.4.0, pinned). What it must never do is stand between an operator and a recovery, so:
- the journal is the truth; DBOS remembers of each step how it ended and the hash of the record that says so, and a
  disagreement is `Tampered`;
- a store that is slow or gone is given `PATIENCE_S` a step and then left behind: the run ends by plan and journal;
- interrupting raises through DBOS as `Halt`, which it does not record, so the workflow stays pending.

Traps of FACTS, each with a test: (T1) steps are reserved in topological order; (T2) every executor has an id of its
own (`<run>.<epoch>`), application and version are named for the run, and recovery is explicit; (T3) DBOS's cancel is
not used to pause or abort: the executor reads a control file before each step; (T4) DBOS's retries are not used.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import sqlite3
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from orchestrator.errors import Interrupted, Unreadable, Usage
from orchestrator.evidence.journal import Entry
from orchestrator.execution.ports import Ports
from orchestrator.execution.runstore import Run
from orchestrator.execution.stopping import stoppable, with_stop
from orchestrator.executor import Direct, Durable, execute
from orchestrator.model.plan import EXERCISES, Plan
from orchestrator.model.run import Event, RunState
from orchestrator.model.topology import Setting
from orchestrator.storelog import log_to

PATIENCE_S = 1.0
"""A store that has not let a step begin within this is left behind for the rest of the run."""
START_WITHIN_S = 10.0
"""A store that has not let the run begin (or go on) within this is not waited for."""
LOCKED_S = 3.0
"""Whoever writes to the SQLite store lets go within milliseconds, unless it was frozen in the middle."""
CLEAR_AWAY_S = 10.0
"""A run that is stopped at once may take so long to stop what it has at work."""
FAREWELL_S = 2.0
"""The store may take so long to note the end of a run that has ended."""
WORKFLOW = "drctl_run"


class StoreGone(Unreadable):
    """The state store cannot be reached; nothing was changed."""


class Halt(BaseException):
    """Carries an error through DBOS without being recorded: DBOS keeps every `Exception` as a step's result."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(str(cause))
        self.cause = cause


class _Once:
    """A body that runs at most once, whoever calls first: the store, or the executor that ran out of patience."""

    def __init__(self, body: Callable[[], Awaitable[str]]) -> None:
        self._body = body
        self._task: asyncio.Future[str] | None = None
        self._ending = False
        self.entered = asyncio.Event()

    def begin(self) -> asyncio.Future[str]:
        if self._task is None:
            self._task = asyncio.ensure_future(self._body())
            self.entered.set()
        return self._task

    async def run(self) -> str:
        task = self.begin()
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            await self.end()
            raise
        except Exception as error:
            raise Halt(error) from error

    async def end(self) -> None:
        """Stop the body where it was begun, and wait until it has cleared away what it had at work.

        Without that, the store (and with it the loop's threads) would be gone before a playbook is stopped.
        """
        if self._task is not None:
            if not self._ending:  # a second cancel would break the clearing away off
                self._ending = True
                self._task.cancel()
            await asyncio.wait({self._task}, timeout=CLEAR_AWAY_S)


class DbosSteps:
    """Steps of one workflow; made inside it."""

    def __init__(self, dbos: Any, told: logging.Logger, *, fresh: bool) -> None:
        """`fresh`: the workflow has no earlier life, so a step need not wait for the store to look for its result."""
        self._dbos, self._told, self._fresh = dbos, told, fresh
        self._reserved: dict[str, Any] = {}
        self._left_behind = False
        self._untold: list[tuple[str, _Once]] = []
        self._telling = asyncio.Lock()

    def reserve(self, names: Sequence[str]) -> None:
        """Draw the ids of all steps in a fixed order (T1), so that a resumed run gives each step its own result."""
        self._reserved = {name: self._dbos.reserve_step() for name in names}

    async def step(self, name: str, body: Callable[[], Awaitable[str]], *, urgent: bool = False) -> str:
        """Run `body` under its reserved id, or give what it returned in an earlier life of the run.

        The store is told of an urgent step's end only with the first that is not: its several milliseconds of
        processor and disk a step would be the users' (a fifth of an outage). A kill in between loses nothing that the
        journal does not hold.
        """
        once = _Once(body)
        try:
            if urgent and self._fresh:
                result = await _own_result(once)
                self._untold.append((name, once))
                return result
            await self.catch_up()
            return await self._step(name, once)
        except asyncio.CancelledError:
            await once.end()
            raise

    async def catch_up(self) -> None:
        """Tell the store how the urgent steps ended."""
        async with self._telling:
            while self._untold:
                await self._step(*self._untold.pop(0))

    async def _step(self, name: str, once: _Once) -> str:
        if self._left_behind:
            return await _own_result(once)
        if self._fresh:
            once.begin()
        work = asyncio.ensure_future(self._reserved.pop(name).run_async({"name": name}, once.run))
        work.add_done_callback(_forget)
        if not await _either(work, once, PATIENCE_S):
            self._leave_behind(name)
        elif not once.entered.is_set():
            if not work.exception():
                return str(work.result())
            self._leave_behind(name)
        result = await _own_result(once)
        if not self._left_behind:
            await asyncio.wait({work}, timeout=PATIENCE_S)
            if not work.done():
                self._leave_behind(name)
        return result

    def _leave_behind(self, name: str) -> None:
        self._left_behind = True
        self._told.warning("the state store did not answer in time for %s; going on by plan and journal", name)


async def _catch_up(steps: DbosSteps | None) -> None:
    if steps:
        await steps.catch_up()


async def _either(work: asyncio.Future[str], once: _Once, within_s: float) -> bool:
    """Wait until the store has an answer or has let the body begin; whether it did in time."""
    entered = asyncio.ensure_future(once.entered.wait())
    both: set[asyncio.Future[Any]] = {work, entered}
    try:
        done, _ = await asyncio.wait(both, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
        return bool(done)
    finally:
        entered.cancel()


async def _own_result(once: _Once) -> str:
    """The body's result, or its own error."""
    try:
        return await once.run()
    except Halt as halt:
        raise halt.cause from None


def _forget(work: asyncio.Future[str]) -> None:
    """What the store says after the executor has gone on is of no interest."""
    if not work.cancelled():
        work.exception()


def preload() -> None:
    """Import dbos (0.8 s) ahead of time, for example in a thread while the plan is made."""
    importlib.import_module("dbos")


async def run_durably(plan: Plan, run: Run, ports: Ports, state: str = "") -> RunState:
    """Carry a run out (or go on with it) with the state store beside the journal; see `executor.execute`.

    The store is opened before the first step, so nothing of it is on the way of an outage. A tabletop or rehearsal
    changes nothing and needs none.

    Args:
        plan: the run's plan.
        run: owned by this process.
        ports: hands and eyes.
        state: empty for SQLite in the home, or `postgresql://…`.

    Raises:
        StoreGone: a new run's store cannot be opened; nothing was done. A resumed run goes on without it.
        Usage: `state` is no URL that can be used.
        Interrupted and others: as `executor.execute`.
    """
    with stoppable(run) as asked:
        ports = with_stop(ports, asked)
        if plan.mode in EXERCISES:
            return await execute(plan, run, ports)
        fresh = len(run.journal.records) <= 1
        try:
            store = await Store.open(plan, run, state)
        except (StoreGone, Usage) as error:
            if fresh:
                give_up(run, error.message)
                raise
            print(f"{error.message}: finishing from plan and journal", file=sys.stderr)  # noqa: T201
            return await execute(plan, run, ports, Direct())
        try:
            return await store.carry(lambda steps: execute(plan, run, ports, steps))
        finally:
            await store.close()


def give_up(run: Run, why: str) -> None:
    """Close a run that has begun nothing, so that it stands in nobody's way."""
    data = (Setting(name="state", value=RunState.ABORTED.value), Setting(name="missing", value=why))
    run.journal.append([Entry(event=Event.RUN_CLOSED, detail=RunState.ABORTED.value, data=data)])


class Store:
    """DBOS, launched for one run."""

    def __init__(self, dbos: Any, module: Any, workflow: str, told: logging.Logger) -> None:
        self._dbos, self._module, self._workflow, self._told = dbos, module, workflow, told
        self._body: _Once | None = None
        self._fresh = False

    @classmethod
    async def open(cls, plan: Plan, run: Run, state: str = "") -> Store:
        """Launch DBOS for this run on the running loop.

        Raises:
            StoreGone: the store cannot be reached.
            Usage: `state` is no URL that can be used.
        """
        url = _url(run.home, state)
        told = log_to(run.path / "store.log")
        try:
            await asyncio.to_thread(preload)
            async with asyncio.timeout(START_WITHIN_S):
                await asyncio.to_thread(_probe, run.home, url)
            module = importlib.import_module("dbos")
            dbos = module.DBOS(config=_config(module, plan, run, url))
            history = run.history()
            attempt = history.attempt + (history.closed is not None)  # `run_resumed` is not written yet
            store = cls(module.DBOS, module, run.id if attempt == 1 else f"{run.id}~{attempt}", told)
            store._register()
            dbos.launch()
        except TimeoutError as error:
            raise StoreGone(f"the state store {_shown(url)} does not answer", hint=_HINT) from error
        except Usage:
            raise
        except Exception as error:
            _destroy()
            reason = str(error).strip().splitlines()[:1] or [type(error).__name__]
            raise StoreGone(f"the state store {_shown(url)} cannot be opened: {reason[0]}", hint=_HINT) from error
        return store

    def _register(self) -> None:
        async def drctl_run(run: str) -> str:
            assert self._body is not None, run
            return await self._body.run()

        drctl_run.__qualname__ = WORKFLOW
        self._entry = self._dbos.workflow(name=WORKFLOW, max_recovery_attempts=None)(drctl_run)

    async def carry(self, body: Callable[[Durable], Awaitable[RunState]]) -> RunState:
        """Run `body` inside the run's workflow, begun or taken up again; without the store where it does not let it."""
        outcome: asyncio.Future[RunState] = asyncio.get_running_loop().create_future()

        async def inside() -> str:
            steps = DbosSteps(self._dbos, self._told, fresh=self._fresh) if self._inside() else None
            try:
                outcome.set_result(await body(steps or Direct()))
            except Interrupted:
                await _catch_up(steps)
                raise
            await _catch_up(steps)
            return outcome.result().value

        once = self._body = _Once(inside)
        work = asyncio.ensure_future(self._start())
        work.add_done_callback(_forget)
        try:
            await _either(work, once, START_WITHIN_S)
            if not once.entered.is_set():
                self._told.warning("the state store did not take the run up; going on by plan and journal")
            await _own_result(once)
            await asyncio.wait({work}, timeout=FAREWELL_S)
            return outcome.result()
        finally:
            await once.end()
            work.cancel()
            await asyncio.wait({work}, timeout=FAREWELL_S)

    def _inside(self) -> bool:
        """Whether the caller runs inside the workflow (it does not where the store was left behind)."""
        return bool(self._dbos.workflow_id)

    async def _start(self) -> str:
        """Begin the workflow, or take a pending one up from the executor that died with it (T2)."""
        status = await self._dbos.get_workflow_status_async(self._workflow)
        self._fresh = status is None
        if self._fresh:
            with self._module.SetWorkflowID(self._workflow):
                return str(await self._entry(self._workflow))
        await self._dbos.cancel_workflow_async(self._workflow)
        handle = await self._dbos.resume_workflow_async(self._workflow)
        return str(await handle.get_result())

    async def close(self) -> None:
        """Leave the store, in bounded time; its threads are daemons."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL_S):
                await asyncio.to_thread(_destroy)


def _destroy() -> None:
    module = sys.modules.get("dbos")
    if module is not None:
        with contextlib.suppress(Exception):
            module.DBOS.destroy(destroy_registry=True)


_HINT = "`--state sqlite` keeps the state in the home folder; a resumed run needs no store"


def _url(home: Path, state: str) -> str:
    """The store's URL.

    Raises:
        Usage: neither SQLite nor PostgreSQL.
    """
    if state in {"", "sqlite"}:
        return f"sqlite:///{(home / 'state.sqlite').resolve()}"
    if state.startswith(("postgresql://", "postgres://", "sqlite:///")):
        return state
    raise Usage(f"cannot use the state store {_shown(state)!r}", hint="sqlite, or postgresql://user@host/database")


def _shown(url: str) -> str:
    """A URL without what stands before the @ (it may hold a password)."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}" if rest else scheme


def _probe(home: Path, url: str) -> None:
    """Reach the store before DBOS does: DBOS tries a dead one for ever."""
    if url.startswith("sqlite"):
        path = Path(url.removeprefix("sqlite:///"))
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.closing(sqlite3.connect(path, timeout=LOCKED_S)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            connection.execute("BEGIN IMMEDIATE")  # whoever holds it may be frozen, and DBOS waits 30 s for it
        return
    import psycopg

    with psycopg.connect(url, connect_timeout=3) as server:
        server.execute("SELECT 1")


def _config(module: Any, plan: Plan, run: Run, url: str) -> dict[str, Any]:
    return {
        "name": f"drctl-{run.id}",
        "system_database_url": url,
        "executor_id": f"{run.id}.{run.epoch}",
        "application_version": f"{plan.version}.{run.id}",
        "serializer": module.DBOSPortableJSONSerializer(),
        "enable_otlp": False,
        "log_level": "INFO",
    }
