"""A run's home on a simulated disk, and the processes that live and die carrying the run out."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from contextvars import copy_context
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import msgspec

from orchestrator.checks.conditions import judge
from orchestrator.checks.evidence import Evidence
from orchestrator.errors import Refused
from orchestrator.evidence.journal import Clock, genesis, parse_journal
from orchestrator.execution.conversation import Control
from orchestrator.execution.history import Answer, History
from orchestrator.execution.ports import Ports
from orchestrator.execution.runstore import Owner, Run
from orchestrator.executor import execute
from orchestrator.model.observation import Finding, Snapshot
from orchestrator.model.plan import TOUCHING, Condition, Plan, Step, Verb
from orchestrator.model.run import Event, Record, RunState
from orchestrator.providers.base import Actor, Order, Outcome
from orchestrator.providers.recording import Recording
from orchestrator.simulation.clock import SimClock
from orchestrator.simulation.disk import Dead, SimDurable, SimFile, SimJournal, SimStore, full
from orchestrator.simulation.estates import KINDS
from orchestrator.simulation.loop import PROCESS, VirtualLoop
from orchestrator.simulation.providers import SimProvider, observe
from orchestrator.simulation.world import SimWorld

if TYPE_CHECKING:
    from tests.simulation.situations import Situation

PATH = Path("/simulated/runs/run")
LASTING = frozenset({Event.EFFECT_STARTED, Event.UNDO_STARTED})
"""Records that an effect rests on."""
PHASED = LASTING | {Event.STEP_STARTED}
SCRATCH = Path("/tmp")


class Home:
    """What outlives every process: the journal, the epoch, who owns the run, what the operator asks."""

    def __init__(self, plan: Plan) -> None:
        self.file = SimFile()
        self.first = genesis(plan.sha256, PATH.name)
        self.epoch = 0
        self.owner: Owner | None = None
        self.locked_by = 0
        self.control = Control.GO
        self.stores: dict[int, SimStore] = {}
        self.full = False
        self.store_gone = False
        self._read: tuple[bytes, tuple[Record, ...]] = (b"", ())

    def records(self) -> tuple[Record, ...]:
        """The journal as it is on disk."""
        content = bytes(self.file.content)
        if content != self._read[0]:
            self._read = content, parse_journal(content, PATH, self.first)
        return self._read[1]


class SimRun(Run):
    """The shipped run on a simulated disk: the same rules for epochs and ownership, other bytes."""

    def __init__(self, home: Home, situation: Situation, process: Process) -> None:
        super().__init__(PATH.parent, PATH, situation.plan, situation.states.ground.topology, situation.before)
        self._home, self._process = home, process

    def records(self) -> tuple[Record, ...]:
        return self._home.records()

    def owner(self) -> Owner | None:
        return self._home.owner

    def owner_alive(self) -> bool:
        return bool(self._home.locked_by)

    def artifacts(self, step: str) -> Path:
        return SCRATCH

    def control(self) -> Control:
        return self._home.control

    def clear_control(self) -> None:
        if self._process.alive:
            self._home.control = Control.GO

    def take_answer(self, step: str) -> None:
        """Answers are given by word of mouth here."""

    def own(self, *, takeover: bool, clock: Clock) -> None:
        """`Run.acquire` with other bytes.

        Raises:
            Refused: another live process owns it.
        """
        home = self._home
        if home.locked_by and not takeover:
            raise Refused("run is in the hands of another live process")
        home.locked_by = self._process.id
        home.epoch = self.epoch = self._next_epoch()
        home.owner = Owner(pid=self._process.id, host="sim", boot="sim", epoch=self.epoch, since=clock.utc())
        if takeover:
            old = home.file
            home.file = SimFile(bytes(old.content))
        self._journal = self._open_journal(clock, None)
        if home.control is Control.PAUSE:
            home.control = Control.GO

    def _next_epoch(self) -> int:
        return max(self._home.epoch, self._epoch_floor()) + 1

    def _open_journal(self, clock: Clock, elsewhere: object) -> SimJournal:
        home = self._home
        self._process.journal = SimJournal(
            PATH,
            run=self.id,
            first_prev=home.first,
            epoch=self.epoch,
            epoch_now=lambda: home.owner.epoch if home.owner else 0,
            clock=clock,
            file=home.file,
            gate=self._process.gate,
        )
        return self._process.journal

    def release(self) -> None:
        if self._home.locked_by == self._process.id:
            self._home.locked_by = 0
        self._journal = None


class Death(msgspec.Struct, frozen=True, kw_only=True):
    """When a process is killed."""

    operation: int = 0
    """At this operation on the journal (1 is the first); 0: not there."""
    how: str = "before"
    """`before` it, `torn` in the middle of a write, or `after` it."""
    act: int = 0
    """At this action: killed when the order is out."""
    power: bool = True
    """The machine loses its power: what was not synced may be gone."""


NEVER = Death()


class Process:
    """One executor's process."""

    def __init__(self, number: int, home: Home, world: SimWorld, situation: Situation, death: Death) -> None:
        self.id, self.alive = number, True
        self._home, self._world, self._situation, self._death = home, world, situation, death
        self._operations = self._acts = 0
        self._disk = Random(number + world.chance.seed)
        self.clock = SimClock(world.loop)
        self.run = SimRun(home, situation, self)
        self.journal: SimJournal
        self.task: asyncio.Task[RunState] | None = None
        self._starts: dict[str, int] = {}
        self._file = home.file
        self.superseded_s = float("inf")
        """When another one took over."""
        self.last_step = ""
        self.undoing = False
        self.protected_s: dict[str, float] = {}
        """System → when the confirmation that it is protected began."""
        self.hand = ""
        """A verb; somebody will undo by hand what the next step of this verb rests on."""
        self._undone: set[str] = set()
        self._judged: set[str] = set()

    def start(self, *, takeover: bool = False) -> asyncio.Task[RunState]:
        """Own the run and carry it out.

        Raises:
            Refused: another live process owns it.
        """
        loop = self._world.loop
        assert isinstance(loop, VirtualLoop)
        self.run.own(takeover=takeover, clock=self.clock.clock())
        self._file = self._home.file
        known = self._situation.plan.step_by_id
        self._undone = {known[r.step].system for r in self.journal.records if r.event is Event.UNDO_STARTED}
        context = copy_context()
        context.run(PROCESS.set, self.id)
        self._world.note(f"process {self.id} owns the run (epoch {self.run.epoch})")
        self.task = loop.create_task(self._live(), context=context)
        return self.task

    async def _live(self) -> RunState:
        past = History(self._situation.plan, self.run.journal.records)
        attempt = past.attempt + (past.closed is not None)
        store = self._home.stores.setdefault(attempt, SimStore())
        store.gone = self._home.store_gone
        durable = SimDurable(store, lambda: self.alive and self.run.epoch == self._home.epoch)
        try:
            return await execute(self._situation.plan, self.run, self.ports(), durable)
        finally:
            if self.alive:
                self.run.release()

    def kill(self, *, power: bool) -> None:
        """It is gone, between two instructions."""
        if not self.alive:
            return
        self._world.note(f"process {self.id} is killed{' with its machine' if power else ''}")
        self._die(power=power)
        if self.task is not None:
            self.task.cancel()

    def _die(self, *, power: bool) -> None:
        self.alive = False
        if self._home.locked_by == self.id:
            self._home.locked_by = 0
        if power and self._home.file is self._file:
            self._file.crash(self._disk)

    def gate(self, what: str, content: bytes) -> None:
        """Asked before each operation on the journal."""
        if not self.alive:
            raise Dead
        if self._home.full and what == "write":
            raise full()
        self._operations += 1
        if self._operations != self._death.operation:
            return
        how = self._death.how
        self._world.note(f"process {self.id} is killed at a {what} of its journal ({how})")
        if what == "write" and how != "before":
            upto = len(content) if how == "after" else self._disk.randrange(len(content))
            self._file.content += content[:upto]
        if what == "sync" and how == "after":
            self._file.synced = len(self._file.content)
        self._die(power=self._death.power)
        raise Dead

    def ports(self) -> Ports:
        """Hands and eyes."""
        world, topology = self._world, self._situation.states.ground.topology
        touching = self._situation.plan.mode in TOUCHING

        async def look(names: Collection[str], within_s: float) -> Snapshot:
            self._must_live()
            found = await observe(world, names, within_s, self.clock.utc)
            self._must_live()
            return found

        def weigh(c: Condition, now: Snapshot, before: Snapshot, fenced: frozenset[str], epoch: int) -> Finding:
            return judge(c, Evidence(topology=topology, now=now, before=before, fenced=fenced, epoch=epoch))

        def hands(kind: str) -> Actor:
            return Hands(self, SimProvider(world, KINDS[kind])) if touching else Recording(KINDS[kind])

        return Ports(
            observe=look,
            actor=hands,
            judge=weigh,
            ask=self._ask,
            inject=self._inject,
            heal=self._heal,
            progress=self._told,
            control=self.run.control,
            clock=self.clock.clock(),
        )

    def _must_live(self) -> None:
        if not self.alive:
            raise Dead

    def _told(self, record: Record) -> None:
        if record.event in PHASED:
            self.last_step, self.undoing = record.step, record.event is Event.UNDO_STARTED
        if record.event is Event.STEP_STARTED:
            self._begins(self._situation.plan.step_by_id[record.step])
        if record.event is Event.GATE_JUDGED:
            self._judged.add(record.step)
        if record.event is Event.UNDO_STARTED:
            self._world.looked_s[record.step] = 0.0  # a way back rests on no look: it puts back what was right then
            self._in_reverse(record.step)
            self._undone.add(self._situation.plan.step_by_id[record.step].system)
        if record.event in LASTING:
            self._starts[record.step] = record.seq
        self._world.note(f"journal {record.seq} {record.event.value} {record.step} {record.detail}")

    def _begins(self, step: Step) -> None:
        if step.system in self._undone:
            self._world.violate("what-is-undone-stays-undone", f"{step.id} begins after {step.system} was undone")
        if step.id.endswith(":protected"):
            self.protected_s[step.system] = self._world.now_s
        self._judged.discard(step.id)
        self._world.looked_s[step.id] = self._world.now_s
        if self.hand == step.verb.value and step.gates:
            self.hand = ""
            if step.verb is Verb.REDIRECT:
                self._world.stopped_by_hand(step.towards[0])
                return
            old = next((i for g in step.gates for i in (g.instance, *g.others) if i != step.instance), "")
            if old:
                self._world.by_hand(old, step.instance)

    def _in_reverse(self, step: str) -> None:
        """What was begun later is undone before."""
        history = History(self._situation.plan, self.journal.records)
        known = self._situation.plan.step_by_id
        if known[step].verb is Verb.INJECT or step not in history.begun:
            return
        later = history.begun[history.begun.index(step) + 1 :]
        due = [
            s
            for s in later
            if s in known
            and known[s].system == known[step].system
            and known[s].undo is not None
            and s not in history.undone | set(history.undo_failed)
        ]
        if due:
            self._world.violate("undone-in-reverse", f"{step} is undone before {', '.join(due)}, which came after it")

    def before_effect(self, step: str) -> None:
        """What must be so before anything is done: the intention is on disk, and the run is still ours."""
        self._must_live()
        if self._starts.get(step, 1 << 60) > self.journal.synced_seq:
            self._world.violate("journal-before-effect", f"{step} is begun and its start is not on disk")
        known = self._situation.plan.step_by_id.get(step)
        if known is not None and known.gates and not self.undoing and step not in self._judged:
            self._world.violate("gates-are-judged-anew", f"{step} is begun and nobody looked at its gates")
        if self._world.now_s > self.superseded_s:
            self._world.violate("one-executor", f"{step} is begun by an executor that was superseded")

    def after_order(self) -> None:
        """Perhaps killed now."""
        self._acts += 1
        if self._acts == self._death.act:
            self._world.trouble.next_is_late = self._disk.random() < 0.5
            self._world.loop.call_soon(lambda: self.kill(power=self._death.power))

    async def _ask(self, step: Step) -> Answer:
        await asyncio.sleep(3.0)
        return Answer(answer="yes" if step.verb is Verb.ASK else "again", name="Li Wei")

    async def _inject(self, fault: str) -> None:
        self._must_live()
        self._world.later(0.3, self._world.inject, fault)
        await asyncio.sleep(0.35)
        self._must_live()

    async def _heal(self) -> None:
        self._must_live()
        self._world.later(2.0, self._world.heal)
        await asyncio.sleep(2.05)
        self._must_live()

    def history(self) -> History:
        """By the journal on disk."""
        return History(self._situation.plan, self._home.records())


class Hands:
    """The actor that a process holds: its orders are watched."""

    def __init__(self, process: Process, provider: SimProvider) -> None:
        self._process, self._provider = process, provider
        self.kind = provider.kind

    async def act(self, verb: Verb, order: Order) -> Outcome:
        """Pass an order on."""
        self._process.before_effect(order.step)
        self._process.after_order()
        outcome = await self._provider.act(verb, order)
        if not self._process.alive:
            raise Dead
        return outcome
