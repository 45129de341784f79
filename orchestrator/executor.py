"""Runs a plan: its steps as a graph, as many at once as their needs allow; undoes in reverse; resumes from the journal.

What a failure means (docs/adr/0002-effect-journal.md):
- a step that users do not wait for (protection, a fence that only protection waits for): the rest goes on, DEGRADED;
- a system whose promotion was begun is past the point of no return: it is never undone, and what still can go on in it
  goes on, because stopping would leave its users unserved; the run ends PARTIAL;
- else the system is undone in reverse. In a failover the other systems go on (one broken system of 130 must not hold
  back the others in a disaster); in every other scenario nothing new is begun and everything is undone.

Knows no durable-execution library and no provider. Leaves out: one step's inside (stepper), who owns a run (runstore).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from msgspec.structs import replace

from orchestrator.crashpoint import CrashPoint
from orchestrator.errors import DrctlError, Findings, Interrupted, PartialState, Refused, RolledBack, Tampered
from orchestrator.execution.conversation import Control
from orchestrator.execution.decisions import conclude, may_start, undo_of, way_back
from orchestrator.execution.history import History
from orchestrator.execution.ports import Ports, Site
from orchestrator.execution.runlog import RunLog, settings
from orchestrator.execution.runstore import RESUMABLE, Run
from orchestrator.execution.stepper import StepFailed, Stepper, Stopped
from orchestrator.model.plan import EXERCISES, USERS_FIRST_S, Mode, Phase, Plan, Step
from orchestrator.model.run import Event, RunState
from orchestrator.model.topology import Setting

RESUME_LOOK_S = 0.5
UNDO_ATTEMPTS = 2


class Durable(Protocol):
    """Remembers which steps have ended, beside the journal."""

    def reserve(self, names: Sequence[str]) -> None:
        """Announce every step in a fixed order, before any is begun."""
        ...

    async def step(self, name: str, body: Callable[[], Awaitable[str]], *, urgent: bool = False) -> str:
        """Run `body`, or return what it returned in an earlier life of the run. Errors pass through unremembered.

        `urgent`: users wait for it; what is to be remembered of it may be remembered later.
        """
        ...


class Direct:
    """Remembers nothing: plan and journal suffice to finish a run."""

    def reserve(self, names: Sequence[str]) -> None:
        """Nothing to do."""

    async def step(self, name: str, body: Callable[[], Awaitable[str]], *, urgent: bool = False) -> str:
        """Run `body`."""
        return await body()


async def execute(plan: Plan, run: Run, ports: Ports, durable: Durable | None = None) -> RunState:
    """Carry a plan out, or go on where its journal ends.

    Args:
        plan: what to do; the run's own.
        run: owned by this process (`run.acquire`).
        ports: hands and eyes.
        durable: a second memory; None: the journal alone.

    Returns:
        The state in which the run was closed: DONE, DEGRADED, UNDONE, PARTIAL or ABORTED (see `verdict_of`).

    Raises:
        Interrupted: the operator paused; the run can be resumed.
        Refused: the run is closed, or another run has changed its instances meanwhile.
        JournalFailed, Superseded: nothing may be done any more; the run can be resumed.
        Tampered: the durable store and the journal do not agree.
    """
    engine = _Engine(plan, run, ports, durable or Direct())
    try:
        return await engine.run()
    finally:
        engine.close()


def verdict_of(run: str, state: RunState, missing: Sequence[str], mode: Mode = Mode.LIVE) -> DrctlError | None:
    """The error that tells an operator how a run ended; None for DONE."""
    what = "; ".join(missing)
    show = f"`drctl runs show {run}` has the details"
    if state is RunState.DEGRADED and mode in EXERCISES:
        return Findings(f"a live run would fail (nothing was changed): {what}", hint=show)
    if state is RunState.DEGRADED:
        return Findings(f"users are served, protection is not restored: {what}", hint=f"`drctl runs resume {run}`")
    if state is RunState.UNDONE:
        return RolledBack(f"undone: {what}", hint=show)
    if state is RunState.ABORTED:
        return RolledBack("aborted by the operator, and undone", hint=show)
    if state is RunState.PARTIAL:
        return PartialState(what, hint=f"mend the cause, then `drctl runs resume {run}`; {show}")
    return None


class _Engine:
    def __init__(self, plan: Plan, run: Run, ports: Ports, durable: Durable) -> None:
        self._plan, self._run, self._ports, self._durable = plan, run, ports, durable
        self._history = History(plan, run.journal.records)
        self._log = RunLog(run.journal, self._history, ports, CrashPoint.from_environment(plan))
        site = Site(
            plan=plan,
            topology=run.topology,
            before=run.before,
            run=run.id,
            epoch=run.epoch,
            artifacts=run.artifacts,
            forget_answer=run.take_answer,
        )
        self._stepper = Stepper(site, replace(ports, control=self._wish), self._log)
        self._ended: dict[str, asyncio.Future[bool]] = {}
        self._served: asyncio.Future[None]
        """Done when no user of any system waits for a step any more."""
        self._paused = False
        self._fatal: Exception | None = None

    async def run(self) -> RunState:
        await self._open()
        self._durable.reserve([s.id for s in self._plan.steps] + [_undo_name(s) for s in reversed(self._plan.steps)])
        await self._forward()
        self._stop_if_paused()
        await self._backward()
        return await self._close()

    def close(self) -> None:
        self._log.close()

    def _wish(self) -> Control:
        """What a step that waits is to heed: after a fatal error it waits no more, as if the operator had paused."""
        return Control.PAUSE if self._fatal else self._ports.control()

    async def _open(self) -> None:
        history = self._history
        if history.state not in RESUMABLE:
            raise Refused(f"run {self._run.id} is closed: {history.state.value}", hint="make a new plan")
        records = self._run.journal.records
        if not records:
            data = settings(plan_sha256=self._plan.sha256, version=self._plan.version)
            self._log.write(Event.RUN_OPENED, detail=self._plan.scenario, data=data)
        elif records[-1].event is not Event.RUN_OPENED or records[-1].epoch != self._run.epoch:
            if self._plan.mode not in EXERCISES:
                await self._refuse_if_overtaken()
            self._log.write(Event.RUN_RESUMED, detail=f"epoch {self._run.epoch}")
        await self._log.settle()

    async def _refuse_if_overtaken(self) -> None:
        """Another run that changed our instances since decides about them; its epoch is above our last one."""
        ours = max(self._history.epochs)
        names = {s.instance for s in self._plan.steps if s.instance in self._run.topology.instance_by_id}
        if not names:
            return
        snapshot = await self._ports.observe(sorted(names), RESUME_LOOK_S)
        later = sorted(r.instance for r in snapshot.readings if r.epoch is not None and r.epoch > ours)
        if later:
            raise Refused(
                f"a later run has changed {', '.join(later)} since run {self._run.id} was stopped",
                hint=f"`drctl runs list` shows it; give run {self._run.id} up and make a new plan",
            )

    async def _forward(self) -> None:
        loop = asyncio.get_running_loop()
        self._ended = {s.id: loop.create_future() for s in self._plan.steps}
        waiting = [self._ended[s.id] for s in self._plan.steps if s.phase is not Phase.PROTECT]
        self._served = asyncio.ensure_future(_all_of(waiting))
        tasks = [asyncio.ensure_future(self._drive(s)) for s in self._plan.steps]
        try:
            await asyncio.gather(*tasks)
        finally:
            tasks.append(self._served)
            for task in tasks:
                if not task.cancelling():  # gather has done so already; twice would break its clearing away off
                    task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if self._fatal:
            raise self._fatal

    async def _drive(self, step: Step) -> None:
        """Wait for what a step needs, run it, and tell those that wait for it."""
        ended = self._ended[step.id]
        try:
            ready = all([await self._ended[need] for need in step.needs])
            if step.phase is Phase.PROTECT:
                await self._users_first()
            if step.id in self._history.done or (ready and not self._fatal and self._may_start(step)):
                urgent = step.phase is not Phase.PROTECT
                outcome = await self._durable.step(step.id, lambda: self._body(step), urgent=urgent)
                self._hold_against_journal(step, outcome)
            elif not self._paused and not self._fatal:
                self._skip(step)
        except Exception as error:
            self._fatal = self._fatal or error
        finally:
            if not ended.done():
                ended.set_result(step.id in self._history.done and step.id not in self._history.undone)

    async def _users_first(self) -> None:
        """Hold protection back while users of any system wait: a playbook's second of processor time is theirs.

        Bounded: a system that cannot be brought back must not keep the others unprotected.
        """
        await asyncio.wait([self._served], timeout=USERS_FIRST_S)

    def _may_start(self, step: Step) -> bool:
        """Read the operator's wish and the state of the run just before a step begins."""
        control = self._ports.control()
        if control is Control.ABORT and not self._history.aborting:
            self._log.write(Event.ABORT_ASKED, detail="asked by the operator")
        self._paused = self._paused or control is Control.PAUSE
        return not self._paused and may_start(self._plan, self._history, step)

    async def _body(self, step: Step) -> str:
        """What the durable store remembers of a step: how it ended, and the hash of the record that says so."""
        if step.id in self._history.done:
            return _outcome(self._history, step)
        try:
            await self._stepper.run(step)
        except StepFailed as error:
            self._log.write(Event.STEP_FAILED, step.id, error.reason.en, settings(detail_zh=error.reason.zh))
        except Stopped:
            if not self._history.aborting and self._ports.control() is not Control.ABORT:
                self._paused = True
                raise Interrupted("stopped by the operator") from None
            return "stopped"
        self._ended[step.id].set_result(step.id in self._history.done)
        await self._log.settle()
        return _outcome(self._history, step)

    def _hold_against_journal(self, step: Step, outcome: str) -> None:
        if outcome.startswith("done") and outcome != _outcome(self._history, step):
            self._run.journal.check_epoch()  # one that was overtaken hears of its successor's steps
            raise Tampered(
                f"the state store says that {step.id} is done, and the journal of run {self._run.id} does not agree",
                hint="the journal or the store was changed; look at both before anything is done",
            )

    def _skip(self, step: Step) -> None:
        if step.id in self._history.failed or self._history.undoing:
            return
        waits = [need for need in step.needs if need not in self._history.done]
        why = f"needs {', '.join(waits)}" if waits else "the run stops"
        self._log.write(Event.STEP_SKIPPED, step.id, why)

    def _stop_if_paused(self) -> None:
        if self._paused or self._ports.control() is Control.PAUSE:
            self._log.write(Event.RUN_INTERRUPTED, detail="stopped by the operator between two steps")
            raise Interrupted(
                f"run {self._run.id} is stopped and can be resumed",
                hint=f"`drctl runs resume {self._run.id}` or `drctl runs abort {self._run.id}`",
            )

    async def _backward(self) -> None:
        if self._plan.mode in EXERCISES:
            return
        if not self._history.aborting and self._ports.control() is Control.ABORT and not self._all_done():
            self._log.write(Event.ABORT_ASKED, detail="asked by the operator")
        for step in way_back(self._plan, self._history):
            self._stop_if_paused()
            await self._durable.step(_undo_name(step), lambda step=step: self._undo(step))  # type: ignore[misc]

    def _all_done(self) -> bool:
        return all(s.id in self._history.done for s in self._plan.steps)

    async def _undo(self, step: Step) -> str:
        undo = undo_of(step)
        if undo is None:
            self._log.write(Event.UNDO_FAILED, step.id, "it has no way back")
            return "undo failed"
        for attempt in range(1, UNDO_ATTEMPTS + 1):
            self._log.write(Event.UNDO_STARTED, step.id, f"{undo.verb.value} {undo.instance}")
            await self._log.settle()
            try:
                detail = await self._stepper.undo(step, undo)
            except StepFailed as error:
                if attempt == UNDO_ATTEMPTS:
                    self._log.write(Event.UNDO_FAILED, step.id, str(error))
            else:
                self._log.write(Event.UNDO_DONE, step.id, detail)
                break
        await self._log.settle()
        return "undone" if step.id in self._history.undone else "undo failed"

    async def _close(self) -> RunState:
        state, missing = conclude(self._plan, self._history)
        data = (*settings(state=state.value), *(Setting(name="missing", value=m) for m in missing))
        self._log.write(Event.RUN_CLOSED, detail=state.value, data=data)
        await self._log.settle()
        self._run.clear_control()
        return state


def _undo_name(step: Step) -> str:
    return f"undo {step.id}"


async def _all_of(ended: Sequence[asyncio.Future[bool]]) -> None:
    if ended:
        await asyncio.wait(ended)


def _outcome(history: History, step: Step) -> str:
    if step.id in history.done:
        return f"done {history.done[step.id]}"
    return "failed"
