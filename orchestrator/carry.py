"""Carries a run out and brings it to its end: canary, execution, a last look, proofs, figures, sealed evidence."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from msgspec.structs import replace

from orchestrator import canary
from orchestrator.conclusion import CanaryRows, conclude
from orchestrator.diskfile import write
from orchestrator.errors import DrctlError, Findings, Interrupted, PartialState, Refused, Unreadable
from orchestrator.evidence.journal import Superseded, boot_id
from orchestrator.evidence.signing import KEY_FILE
from orchestrator.execution.history import Answer
from orchestrator.execution.ports import Ports
from orchestrator.execution.runstore import RESUMABLE, Run
from orchestrator.executor import verdict_of
from orchestrator.model.observation import Finding, Snapshot
from orchestrator.model.plan import TOUCHING, Condition, Mode, Plan, Step
from orchestrator.model.proof import Part, ServiceProof, proof_ok
from orchestrator.model.run import Measurements, Record, RunState
from orchestrator.model.topology import Frozen, Nature

if TYPE_CHECKING:
    from orchestrator.providers.base import Actor
    from orchestrator.verification.readers import Readers

WARM_WRITES = 200
"""The canary is at work when every ledger has this many lines, or a second's worth of them where that is less."""
WARM_WITHIN_S = 20.0
ANSWER_POLL_S = 0.2
LAST_LOOK_S = 8.0
"""The report rests on the last look, and nobody waits for it: what answers slowly is still seen."""
FINDINGS = 3
PROVEN = (Part.POSITIONS, Part.CONTENT, Part.NAMES)
"""What is proven of the systems of a run at its end."""


class Injector(Protocol):
    """Puts faults into the lab and takes them away; no other estate has one."""

    def inject(self, fault: str) -> None:
        """Put a fault in force."""
        ...

    def heal(self) -> None:
        """Take every fault away."""
        ...


class Means(Protocol):
    """What a run is carried out with; `context.Context` is one."""

    @property
    def home(self) -> Path: ...
    @property
    def state(self) -> str: ...
    @property
    def lang(self) -> str: ...
    @property
    def actors(self) -> Mapping[str, Actor]: ...
    @property
    def recorders(self) -> Mapping[str, Actor]: ...
    @property
    def readers(self) -> Readers: ...
    @property
    def canary_rows(self) -> CanaryRows: ...
    @property
    def injector(self) -> Injector | None: ...

    async def observe(self, instances: Collection[str] | None = None, within_s: float = ...) -> Snapshot:
        """Look at every instance (or at some) at once."""
        ...


class Manner(Frozen, kw_only=True):
    """How a run is carried out; kept beside it, so that a resumed one is carried out alike."""

    rate: float = 200.0
    """Canary operations a second and entry; 0 for no canary."""
    key: Path | None = None
    quiet: bool = False
    via_workers: bool = False
    """The worker of an instance's centre acts on it, where there is one."""


class Outcome(Frozen, kw_only=True):
    """What a run came to."""

    run: str
    state: RunState
    exit_code: int
    folder: str
    bundle: str = ""
    message: str = ""
    hint: str = ""
    missing: tuple[str, ...] = ()
    proven: bool | None = None
    """Every copy of the systems concerned holds the same content; None: not asked."""
    measurements: Measurements | None = None


async def carry_out(means: Means, run: Run, manner: Manner) -> Outcome:
    """Execute (or go on with) a run that this process owns, then measure, prove, seal and report.

    A run that has ended is only concluded: its executor died before it was sealed. The run is given up at the end.

    Raises:
        Interrupted, Superseded and others: as `executor.execute`.
        Refused: it has ended and is sealed; or our own disk is full or failing, and nothing was begun.
        PartialState: it is full or failing, and the run stands half-way; or what came after its end did not come about.
    """
    try:
        if not unsealed(run):
            run.require_resumable()
        closed = run.history().closed
        state = closed if closed and closed not in RESUMABLE else await _execute(means, run, manner)
        return await _conclude(means, run, state, manner)
    finally:
        run.release()


def unsealed(run: Run) -> bool:
    """Whether a run changed something and has ended, and nobody has measured, proven and sealed it."""
    history = run.history()
    if history.closed is None or not history.begun:
        return False
    from orchestrator.reports.publish import evidence_of

    return evidence_of(run.path) == run.path


async def _execute(means: Means, run: Run, manner: Manner) -> RunState:
    from orchestrator.durable import give_up, run_durably
    from orchestrator.reports.live import live_view

    try:
        write(run.path / "manner.json", manner)
        run.note()
        if run.plan.mode is Mode.LIVE and manner.rate:
            await begin_canary(run, manner.rate, means.actors)
        with (
            live_view(run.plan, silent=manner.quiet, lang=means.lang, records=run.records()) as progress,
            routing(means, run, manner) as hands,
        ):
            return await run_durably(run.plan, run, ports(means, run, progress, hands), run.state_url or means.state)
    except (Interrupted, Superseded):
        raise  # the canary goes on: users' outage goes on too, and whoever goes on with the run wants it measured
    except OSError as error:
        raise _stalled(run, error) from error
    except BaseException as error:
        canary.stop(run.path / "canary")
        history = run.history()
        if isinstance(error, DrctlError) and not history.begun and history.closed is None:
            give_up(run, error.message)  # nothing was begun: it must not stand in the way of the next run
        raise
    finally:
        renew_threads()


def _stalled(run: Run, error: OSError) -> DrctlError:
    """Our own disk does not take what must be written down; foreign errors never come so far."""
    if not run.history().begun:
        return Refused(f"run {run.id} cannot begin: {error}", hint=f"free space, then `drctl runs resume {run.id}`")
    return PartialState(f"run {run.id} has stopped: {error}", hint=f"free space, then `drctl runs resume {run.id}`")


async def _conclude(means: Means, run: Run, state: RunState, manner: Manner) -> Outcome:
    """What comes after a run's end; where it does not come about, that does not mean that nothing was changed.

    Raises:
        Findings, RolledBack, PartialState: the run ended so, and its evidence is not complete.
    """
    try:
        return await finish(means, run, state, manner)
    except Superseded:
        raise
    except (Refused, Unreadable, OSError) as error:
        told = verdict_of(run.id, state, run.history().missing, run.plan.mode)
        how = type(told) if told else Findings
        raise how(
            f"run {run.id} ended as {state.value}, and its evidence is not complete: {error}",
            hint=f"mend the cause, then `drctl runs resume {run.id}`",
        ) from error


def renew_threads() -> None:
    """Give the loop a pool of threads again: DBOS takes the loop's own with it when it ends."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor())


async def begin_canary(run: Run, rate: float, driven: Collection[str]) -> None:
    """Start the canary on every entry of the topology, and wait until it is at work.

    Every entry of a kind that is `driven` (a bare network link answers no user), not only those of the plan: that the
    others' users see nothing is part of the result.

    Raises:
        Unreadable: it does not get going; nothing was changed.
    """
    entries = [
        canary.Target(system=v.system, entry=i.id, url=f"http://{i.address}")
        for v in run.topology.services()
        for i in v.instances
        if v.nature is Nature.ROUTE and i.address and v.kind in driven
    ]
    folder = run.path / "canary"
    resumed = any(folder.glob("*.jsonl")) or bool(run.history().begun)  # begun elsewhere: users wait, do not warm up
    config = canary.CanaryConfig(
        run=run.id,
        boot=boot_id(),
        folder=folder.resolve(),
        targets=tuple(entries),
        rate=rate,
        owner_lock=(run.path / "owner.lock").resolve(),
    )
    canary.start(config)
    with suppress(TimeoutError):
        async with asyncio.timeout(0 if resumed else WARM_WITHIN_S):
            while not canary.warm(folder, [t.system for t in entries], warm_lines(rate)):
                await asyncio.sleep(0.05)
            return
    if not resumed:
        raise Unreadable("the canary does not get through the entries", hint=f"see {folder / 'canary.log'}")


def warm_lines(rate: float) -> int:
    """Operations of a ledger that show users being served: a second of them at a low rate, one at the least."""
    return max(1, min(WARM_WRITES, int(rate)))


@contextmanager
def routing(means: Means, run: Run, manner: Manner) -> Iterator[Mapping[str, Actor]]:
    """The hands of this run: a rehearsal's only write down; with workers those of the instances' centres act."""
    if run.plan.mode not in TOUCHING:
        yield means.recorders
        return
    if not (manner.via_workers and run.state_url):
        yield means.actors
        return
    from orchestrator.queues import ALIVE_S, Dispatcher, Routed
    from orchestrator.team.observers import worker_lives

    url = run.state_url
    dispatcher = Dispatcher(url, lambda centre: worker_lives(url, centre, ALIVE_S))
    try:
        yield {kind: Routed(actor, dispatcher) for kind, actor in means.actors.items()}
    finally:
        dispatcher.close()


def ports(means: Means, run: Run, progress: Callable[[Record], None], hands: Mapping[str, Actor]) -> Ports:
    """The executor's hands and eyes for this run."""
    from orchestrator.checks.conditions import judge
    from orchestrator.checks.evidence import Evidence
    from orchestrator.execution.runclock import run_clock

    time_of_run = run_clock(run.records())

    def weigh(condition: Condition, now: Snapshot, before: Snapshot, fenced: frozenset[str], epoch: int) -> Finding:
        evidence = Evidence(
            topology=run.topology,
            now=replace(now, taken_at=time_of_run()),
            before=before,
            fenced=fenced,
            epoch=epoch,
            attested=frozenset(run.plan.attested),
        )
        return judge(condition, evidence)

    async def answer(step: Step) -> Answer:
        while (given := run.answer_of(step.id)) is None:
            await asyncio.sleep(ANSWER_POLL_S)
        return given

    return Ports(
        observe=means.observe,
        actor=lambda kind: hands[kind],
        judge=weigh,
        ask=answer,
        inject=lambda fault: asyncio.to_thread(_injector(means, run.plan).inject, fault),
        heal=lambda: asyncio.to_thread(_injector(means, run.plan).heal),
        progress=progress,
        control=run.control,
    )


def _injector(means: Means, plan: Plan) -> Injector:
    if means.injector is None or not plan.lab:
        raise Refused(f"{plan.estate} is no lab: no fault is injected into it")
    return means.injector


async def finish(means: Means, run: Run, state: RunState, manner: Manner) -> Outcome:
    """Look again, prove, measure, seal; the outcome with its exit code."""
    from orchestrator.reports.publish import publish

    measured, proofs = None, None
    if run.plan.mode is not Mode.TABLETOP:
        after = await means.observe(within_s=LAST_LOOK_S)
        write(run.path / "after.json", after)
        if run.plan.mode is Mode.LIVE:
            canary.stop(run.path / "canary")
            proofs = await prove(means, run)
            write(run.path / "proofs.json", proofs)
            measured = await conclude(run, after, means.canary_rows)
    run.journal.check_epoch()
    bundle = publish(run.path, key_file=manner.key or means.home / KEY_FILE)
    error = verdict_of(run.id, state, run.history().missing, run.plan.mode)
    return Outcome(
        run=run.id,
        state=state,
        exit_code=exit_code(error, measured, proofs),
        folder=str(run.path),
        bundle=str(bundle),
        message=error.message if error else "",
        hint=error.hint if error else "",
        missing=run.history().missing,
        proven=None if proofs is None else proof_ok(proofs),
        measurements=measured,
    )


async def prove(means: Means, run: Run) -> tuple[ServiceProof, ...]:
    """That every copy of the systems concerned holds what its primary holds."""
    from orchestrator.verification.estate import verify
    from orchestrator.verification.options import Options

    services = [v for s in run.plan.systems for v in run.topology.system_by_id[s].services]
    replicated = [v for v in services if v.nature is Nature.REPLICATED]
    return await verify(replicated, run.topology, means.readers, Options(parts=PROVEN))


def exit_code(error: DrctlError | None, measured: Measurements | None, proofs: Collection[ServiceProof] | None) -> int:
    """The code of the state of the world; a run that ended well still has findings where a target was missed."""
    if error:
        return error.exit_code
    missed = measured is not None and any(m.rto_met is False or m.rpo_met is False for m in measured.systems)
    return FINDINGS if missed or (proofs is not None and not proof_ok(proofs)) else 0
