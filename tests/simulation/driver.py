"""One seed: a situation, its weather, and the shipped executor living, dying and resuming in it, judged all the while.

Liveness is part of it: when everything is over, the run stands closed, within a bound of virtual time.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable

import msgspec

from orchestrator.errors import Interrupted, Refused
from orchestrator.evidence.journal import JournalFailed, Superseded
from orchestrator.execution.conversation import Control
from orchestrator.execution.decisions import undo_of
from orchestrator.machine.faults import FAULTS, parse
from orchestrator.model.plan import Mode, Phase, Verb
from orchestrator.model.run import RunState
from orchestrator.simulation.chance import Chance
from orchestrator.simulation.disk import Dead
from orchestrator.simulation.loop import Stuck, VirtualLoop, virtual_loop
from orchestrator.simulation.states import State
from orchestrator.simulation.world import SimWorld
from tests.simulation.lives import Home, Process
from tests.simulation.situations import Situation, situations
from tests.simulation.weather import Blow, Weather, as_fault, weather_of

LIMIT_S = 20_000.0
"""Virtual time after which a run that is not closed never will be."""
LIVES = 14
OPEN = frozenset({RunState.DEGRADED, RunState.PARTIAL})
WEIGHTS = {
    "centre-lost": 8,
    "site-lost": 2,
    "switchover": 4,
    "system-switchover": 1,
    "failback": 2,
    "restore": 2,
    "isolated": 1,
}


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What one seed came to."""

    seed: int
    situation: str
    scenario: str
    outcome: str
    lives: int
    virtual_s: float
    violations: tuple[tuple[str, str], ...]
    trace: tuple[tuple[float, str], ...]
    reached: dict[tuple[str, str], int]
    struck: dict[tuple[str, str], int]
    drawn: bool = False
    """The seed's number alone says everything."""

    @property
    def digest(self) -> str:
        """The same for the same course of events."""
        return hashlib.sha256(repr(self.trace).encode()).hexdigest()


class Driver:
    """Runs seeds, one after the other, on one loop."""

    def __init__(self) -> None:
        self._loop = virtual_loop()
        self.course: Course
        """Of the last seed."""
        by_scenario: dict[str, list[Situation]] = {}
        for one in situations():
            by_scenario.setdefault(one.words.scenario, []).append(one)
        self._by_scenario = by_scenario
        self._scenarios = [s for s, n in WEIGHTS.items() for _ in range(n)]

    def seed(self, seed: int) -> Result:
        """One seed, from its number alone."""
        chance = Chance(seed)
        source = chance.of("situation")
        where = source.choice(self._by_scenario[source.choice(self._scenarios)])
        topology = where.states.ground.topology
        result = self.play(where, weather_of(chance, topology, len(where.plan.steps)), chance)
        return msgspec.structs.replace(result, drawn=True)

    def play(self, where: Situation, weather: Weather, chance: Chance) -> Result:
        """One situation in one weather."""
        self._loop.reset()
        where.states.tidy()
        course = self.course = Course(self._loop, where, weather, chance, where.states.of(where.begin.world))
        try:
            outcome = self._loop.run_until(course.run(), LIMIT_S)
        except Stuck as error:
            outcome = "stuck"
            course.world.violate("liveness", str(error))
        return course.result(outcome)


class Course:
    """The course of one run through all lives of its executor."""

    def __init__(self, loop: VirtualLoop, where: Situation, weather: Weather, chance: Chance, begin: State) -> None:
        self.where, self.weather, self.chance = where, weather, chance
        self.world = SimWorld(loop, where.states, chance, begin)
        self.home = Home(where.plan)
        self.lives = 0
        self.current: Process | None = None
        self._superseded: list[Process] = []
        self._calm = asyncio.Event()
        self._pending = 0
        self._jump_s = 0.0
        self.refused = False
        self._hand = ""
        self.struck: dict[tuple[str, str], int] = {}
        """(fault, where the run stood) → how often."""
        self._ended: asyncio.Future[None] | None = None
        """Done when the present process has ended, or is to be taken over."""

    async def run(self) -> str:
        """Until the run is closed for good."""
        self._schedule()
        state = await self._until_closed()
        first = state
        if state in OPEN:
            await self._calm.wait()
            self.world.heal()
            self._jump_s = 0.0
            for _ in range(2):
                state = await self._until_closed()
                if state not in OPEN:
                    break
        await self._all_ended()
        self._judge_end(first, state)
        closed = "refused" if self.refused else state.value
        return closed if first is state else f"{first.value}, resumed: {closed}"

    # Lives

    async def _until_closed(self) -> RunState:
        while self.lives < LIVES:
            self.lives += 1
            landed = self.world.landed
            process = self.current = Process(
                self.lives, self.home, self.world, self.where, self.weather.death(self.lives)
            )
            process.clock.jump_s = self._jump_s
            process.hand, self._hand = self._hand, ""
            try:
                task = process.start(takeover=self.lives > 1 and bool(self.home.locked_by))
                for older in self._superseded:
                    older.superseded_s = min(older.superseded_s, self.world.now_s)
                state = await self._end_of(process, task)
            except (Dead, asyncio.CancelledError):
                state = None
            except (Interrupted, JournalFailed, Superseded) as error:
                self.world.note(f"process {process.id} ends: {error}")
                state = None
            except Refused as error:
                return self._refused(process, error, landed)
            if state is not None:
                self.world.note(f"the run is closed: {state.value}")
                return state
            await asyncio.sleep(self.weather.resumed_s or self.chance.of("operator").choice((0.05, 1.0, 10.0)))
            while self.home.full:
                await asyncio.sleep(5.0)
        self.world.violate("liveness", f"the run is not closed after {LIVES} lives of its executor")
        return RunState.RUNNING

    async def _end_of(self, process: Process, task: asyncio.Task[RunState]) -> RunState | None:
        """Wait for the end of a process, or until another one takes over."""
        ended = self._ended = asyncio.get_running_loop().create_future()
        task.add_done_callback(lambda _: None if ended.done() else ended.set_result(None))
        await ended
        if not task.done():
            return None
        try:
            return task.result()
        except (Dead, asyncio.CancelledError, Interrupted, JournalFailed, Refused):
            raise
        except BaseException as error:
            self.world.violate("no-bug", f"the executor ended by {type(error).__name__}: {error}")
            raise Dead from error

    def _refused(self, process: Process, error: Refused, landed: int) -> RunState:
        """It touched nothing; the run stays as it was closed, or is given up."""
        self.world.note(f"process {process.id} is refused: {error}")
        if self.world.landed > landed:
            self.world.violate("refused-touches-nothing", f"{error}, and actions took effect")
        state = process.history().state
        self.refused = state is RunState.RUNNING
        return state

    async def _all_ended(self) -> None:
        for process in self._superseded:
            if process.task is not None:
                await asyncio.wait({process.task})
                error = None if process.task.cancelled() else process.task.exception()
                if error is not None and not isinstance(error, Refused | Dead | Interrupted | JournalFailed):
                    self.world.violate("no-bug", f"a superseded executor ended by {type(error).__name__}: {error}")

    # Weather

    def _schedule(self) -> None:
        for fault in parse(self.where.words.befallen):
            self.world.in_force.append(fault)
            if self.weather.befallen_s:
                self.world.loop.call_later(self.weather.befallen_s, self.world.lift, fault)
        self._pending = len(self.weather.blows)
        for blow in self.weather.blows:
            self.world.loop.call_later(blow.at_s, self._strike, blow)
        if not self._pending:
            self._calm.set()

    def _stage(self) -> str:
        """Where the run stands: the phase of the step that was begun last, or what its executor does."""
        process = self.current
        if process is None or process.task is None or process.task.done() or not process.alive:
            return "nobody runs"
        if process.undoing:
            return "undo"
        step = self.where.plan.step_by_id.get(process.last_step)
        return step.phase.value if step else "open"

    def _strike(self, blow: Blow) -> None:
        stage = self._stage()
        self.struck[blow.kind, stage] = self.struck.get((blow.kind, stage), 0) + 1
        if blow.kind in FAULTS:
            fault = as_fault(blow)
            self.world.strike(fault)
            self._end(blow, lambda: self.world.lift(fault))
        else:
            self.world.note(f"fault: {blow.kind} {blow.place} {blow.size:.3f} for {blow.lasts_s:.1f} s")
            self._end(blow, _BLOWS[blow.kind](self, blow))

    def _end(self, blow: Blow, end: Callable[[], object]) -> None:
        def over() -> None:
            end()
            self._pending -= 1
            if not self._pending:
                self._calm.set()

        self.world.loop.call_later(blow.lasts_s, over)

    def _lie(self, blow: Blow) -> Callable[[], object]:
        self.world.begin_lie(blow.place)
        return lambda: self.world.trouble.lying.pop(blow.place, None)

    def _loss(self, blow: Blow) -> Callable[[], object]:
        self.world.trouble.lossy[blow.place] = 0.2 + 0.7 * blow.size
        return lambda: self.world.trouble.lossy.pop(blow.place, None)

    def _slow(self, blow: Blow) -> Callable[[], object]:
        self.world.trouble.slow[blow.place] = 1 + 200 * blow.size
        return lambda: self.world.trouble.slow.pop(blow.place, None)

    def _answers(self, blow: Blow) -> Callable[[], object]:
        self.world.trouble.lost_answers = 0.3 + 0.6 * blow.size

        def end() -> None:
            self.world.trouble.lost_answers = 0.0

        return end

    def _clock(self, blow: Blow) -> Callable[[], object]:
        self._jump_s += blow.size
        if self.current is not None:
            self.current.clock.jump_s = self._jump_s
        return _nothing

    def _full(self, _: Blow) -> Callable[[], object]:
        self.home.full = True

        def end() -> None:
            self.home.full = False

        return end

    def _store(self, _: Blow) -> Callable[[], object]:
        self.home.store_gone = True
        for store in self.home.stores.values():
            store.gone = True
        return _nothing

    def _pause(self, _: Blow) -> Callable[[], object]:
        self.home.control = Control.PAUSE
        return _nothing

    def _abort(self, _: Blow) -> Callable[[], object]:
        self.home.control = Control.ABORT
        return _nothing

    def _by_hand(self, blow: Blow) -> Callable[[], object]:
        self._hand = (Verb.PROMOTE if blow.size < 0.6 else Verb.REDIRECT).value
        if self.current is not None:
            self.current.hand = self._hand
        return _nothing

    def _kill(self, blow: Blow) -> Callable[[], object]:
        if self.current is not None:
            self.current.kill(power=blow.size < 0.6)
        return _nothing

    def _freeze(self, blow: Blow) -> Callable[[], object]:
        """SIGSTOP; somebody takes over meanwhile, more often than not; then it wakes up."""
        process = self.current
        if process is None or process.task is None or process.task.done():
            return _nothing
        self.world.loop.freeze(process.id)
        if blow.size < 0.8:
            self.world.loop.call_later(blow.lasts_s * blow.size, self._take_over, process)
        return lambda: self._thaw(process)

    def _take_over(self, process: Process) -> None:
        if process is self.current and process.task is not None and not process.task.done() and process.alive:
            self.world.note(f"process {process.id} hangs: it is taken over")
            self._superseded.append(process)
            if self._ended is not None and not self._ended.done():
                self._ended.set_result(None)

    def _thaw(self, process: Process) -> None:
        self.world.note(f"process {process.id} wakes up")
        self.world.loop.thaw(process.id)

    # Judgement

    def _judge_end(self, first: RunState, state: RunState) -> None:
        world = self.world
        world.flow()
        for service, logs in world.logs.items():
            lacking = logs.missing(logs.head)
            if lacking:
                world.violate("acknowledged-writes-stay", f"{service}: {lacking} acknowledged writes are lost")
        if state in OPEN and self._touching and not world.tampered and (why := self._no_way_out()):
            world.violate("a-resume-goes-on", why)
        protected = self.current.protected_s if self.current is not None else {}
        quiet = [s for s, at in protected.items() if world.faulted_s < at]  # nothing befell it since it was confirmed
        seen = self._touching and not world.trouble.lied  # who is lied to may believe that all is well
        if state is RunState.DONE and seen and (missing := world.state.three_copies(quiet)):
            world.violate("done-means-three-copies", missing)

    @property
    def _touching(self) -> bool:
        return self.where.words.mode is Mode.LIVE

    def _no_way_out(self) -> str:
        """Why a run that was resumed in a world without faults is still open; empty where it is a person's turn."""
        assert self.current is not None
        history = self.current.history()
        steps = self.where.plan.step_by_id
        if any(steps[s].phase is Phase.DETECT for s in history.failed if s in steps):
            return ""  # what was lost is back before its turn came: the plan does not fit the world any more
        if not history.undoing:
            return f"resumed with everything well, and not at its end: {'; '.join(history.missing)}"
        stuck = [s for s in history.undo_failed if undo_of(steps[s]) is not None]
        return f"resumed with everything well, and its way back is not gone: {', '.join(stuck)}" if stuck else ""

    def result(self, outcome: str) -> Result:
        """What it came to."""
        words = self.where.words
        return Result(
            seed=self.chance.seed,
            situation=repr(words),
            scenario=words.name,
            outcome=outcome,
            lives=self.lives,
            virtual_s=self.world.now_s,
            violations=tuple(self.world.violations),
            trace=tuple(self.world.trace),
            reached=self.world.reached,
            struck=self.struck,
        )


def _nothing() -> None:
    """It ends by itself."""


_BLOWS: dict[str, Callable[[Course, Blow], Callable[[], object]]] = {
    "lie": Course._lie,
    "loss": Course._loss,
    "slow": Course._slow,
    "answers": Course._answers,
    "clock": Course._clock,
    "full": Course._full,
    "store": Course._store,
    "pause": Course._pause,
    "abort": Course._abort,
    "kill": Course._kill,
    "hand": Course._by_hand,
    "freeze": Course._freeze,
}
