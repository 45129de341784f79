"""How far a run has come, as its journal and its orders in flight tell it; and what may happen next. Pure.

Which step may begin, what is undone and how a run has ended is decided by `execution.decisions`, which the executor
asks too. Sets of steps are bits of a number, step `i` of the plan being bit `1 << i`.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from orchestrator.execution.decisions import conclude, may_start, undo_of, way_back
from orchestrator.execution.history import UNTOUCHING, History
from orchestrator.machine.faults import parse
from orchestrator.machine.table import act_of
from orchestrator.model.plan import Condition, Plan, ScenarioKind, Step, Undo, Verb
from orchestrator.model.run import RunState
from orchestrator.proving.simple import ENDED, Course, Simple
from orchestrator.proving.worlds import Deed, Worlds

IN_FLIGHT_MAX = 4
"""So many orders that are given side by side may be on their way when the executor dies; of more, every single one."""


class Begin(NamedTuple):
    """A step with gates whose needs are done."""

    step: int
    opened: int
    """The course where its gates open; -1 where it may not act at all."""
    shut: int
    """Where they do not, or the look at them does not come in time."""


class Free(NamedTuple):
    """A step that acts on what is not in this view: it may end well or not, at any time."""

    step: int
    done: int
    """A promotion is begun first: from then on its system is past the point of no return, however it ends."""
    failed: int


class Flight(NamedTuple):
    """An order in flight; one without a gate is given and takes effect at once."""

    step: int
    deed: int
    landed: int
    refused: int
    hung: int
    """Where it is not answered: by what is frozen or dark, or because its answer is late or lost."""


class Wait(NamedTuple):
    """A proof that is waited for."""

    step: int
    proven: int
    given_up: int


class Back(NamedTuple):
    """The way back of a step."""

    step: int
    deed: int
    """-1: it has none, or it is not gone."""
    landed: int
    refused: int = -1
    hung: int = -1
    unanswered: int = -1


class Menu(NamedTuple):
    """What may happen next, by the course alone."""

    begins: tuple[Begin, ...]
    frees: tuple[Free, ...]
    flights: tuple[Flight, ...]
    waits: tuple[Wait, ...]
    backs: tuple[Back, ...]
    late: tuple[tuple[int, int], ...]
    crashed: tuple[int, ...]
    aborted: int
    closed: RunState | None
    ended: int
    """Of a closed course: the one that keeps of it only what may still take effect."""


class Decisions(NamedTuple):
    """What the history decides."""

    may: int
    back: tuple[int, ...]
    state: RunState


class Courses:
    """The courses of one plan; numbers stand for what was met before."""

    def __init__(
        self,
        worlds: Worlds,
        plan: Plan,
        *,
        alone: bool,
        free: Collection[str] = (),
        unsure: Collection[str] = (),
        aborts: bool = True,
        simply: bool = True,
    ) -> None:
        """
        Args:
            worlds: of the services that the steps act on.
            plan: only the steps that act on them, and those of the whole estate.
            alone: whether the real plan holds no other system, whose success would keep the fault from being healed.
            free: ids of steps that act on what is not in `worlds`, or of which not every condition is about these.
            unsure: ids of steps of which some gates are about what is not in `worlds`: they may be shut.
            aborts: whether an operator may abort.
            simply: whether courses with the same future are told as one (`proving.simple`).
        """
        self.worlds, self.plan, self.steps, self.alone = worlds, plan, plan.steps, alone
        self._aborts = aborts
        self._of = {s.id: n for n, s in enumerate(plan.steps)}
        self.needs = tuple(sum(1 << self._of[n] for n in s.needs) for s in plan.steps)
        self._fences = {s.instance: n for n, s in enumerate(plan.steps) if s.verb is Verb.FENCE}
        self.simply = simply
        self._simple = Simple(plan, self.needs, aborts) if simply else None
        # An order without a gate is given and takes effect at once: to give it later is the same as to wait for it.
        self._gated = tuple(
            bool(s.gates) or s.id in unsure or s.verb in UNTOUCHING or s.verb is Verb.PROMOTE for s in plan.steps
        )
        self._free = tuple(s.id in free for s in plan.steps)
        self.unsure = tuple(s.id in unsure for s in plan.steps)
        self._returnless = [s.verb is Verb.PROMOTE and plan.kind is not ScenarioKind.EXERCISE for s in plan.steps]
        self._blank = History(plan)
        self._courses: list[Course] = []
        self._no: dict[Course, int] = {}
        self._menus: dict[int, Menu] = {}
        self._decided: dict[tuple[object, ...], Decisions] = {}

    def __len__(self) -> int:
        return len(self._courses)

    def number(self, course: Course) -> int:
        """The number of a course."""
        found = self._no.get(course)
        if found is None:
            simple = self._simple.form(course) if self._simple else course
            found = self._no.get(simple)
            if found is None:
                found = self._no[simple] = len(self._courses)
                self._courses.append(simple)
            self._no[course] = found
        return found

    def course(self, number: int) -> Course:
        """The course of a number."""
        return self._courses[number]

    def fenced(self, number: int, condition: Condition) -> bool:
        """Whether a fence of this run is done on the condition's instance, as the journal says."""
        step = self._fences.get(condition.instance)
        return step is not None and bool(self._courses[number].fenced >> step & 1)

    def with_late(self, number: int, late: tuple[int, ...]) -> int:
        """The course in which only these orders are late."""
        course = self._courses[number]
        return self.number(course._replace(late=late, epoch=course.epoch if late else 1))

    def menu(self, number: int) -> Menu:
        """What may happen next."""
        found = self._menus.get(number)
        if found is None:
            found = self._menus[number] = self._menu(self._courses[number])
        return found

    def deed(self, step: Step | Undo, epoch: int) -> int:
        """The number of what an order does."""
        return self.worlds.deed(self._deed(step, epoch))

    def _deed(self, step: Step | Undo, epoch: int) -> Deed:
        if step.verb is Verb.INJECT:
            fault = next((s.value for s in step.params if s.name == "fault"), "") or self.plan.fault
            return Deed(None, parse(fault))
        if step.verb is Verb.HEAL:
            return Deed(None)
        if step.verb is Verb.RUN_PLAYBOOK or not step.instance:
            return Deed(None, idle=True)
        loss = any(s.name == "loss" and s.value == "accepted" for s in step.params)
        return Deed(act_of(self.worlds.ground, step, epoch), loss_accepted=loss)

    def _menu(self, c: Course) -> Menu:
        late = tuple((d, self.number(c._replace(late=_less(c.late, d)))) for d in c.late)
        if c.done == ENDED:
            return Menu((), (), (), (), (), late, (), -1, None, self.number(c))
        decided = self._decide(c)
        every = self._ready(c, decided.may)
        ready = [n for n in every if not self._free[n]]
        frees = tuple(self._let(c, n) for n in (*every, *_bits(c.flight)) if self._free[n])
        at_once = [n for n in ready if not self._gated[n]]
        begins = tuple(self._begin(c, n) for n in ready if self._gated[n])
        given = tuple(self._flight(self._begun(c, n), n) for n in at_once)
        flights = tuple(self._flight(c, n) for n in _bits(c.flight) if not self._free[n]) + given
        waits = tuple(self._wait(c, n) for n in _bits(c.effected))
        forward = bool(begins or frees or flights or waits)
        backs = () if forward else self._backs(c, decided.back)
        closed = None if forward or backs else decided.state
        return Menu(
            begins=begins,
            frees=frees,
            flights=flights,
            waits=waits,
            backs=backs,
            late=late,
            crashed=() if closed else self._crashes(c, at_once, backs),
            aborted=-1 if closed or c.aborting or not self._aborts else self.number(c._replace(aborting=True)),
            closed=closed,
            ended=self.number(Course(done=ENDED, late=c.late)) if closed else -1,
        )

    def _ready(self, c: Course, may: int) -> list[int]:
        settled = c.done | c.failed | c.flight | c.effected | c.undone
        standing = c.done & ~c.undone
        every = range(len(self.steps))
        return [n for n in every if may >> n & 1 and not settled >> n & 1 and not self.needs[n] & ~standing]

    def _begun(self, c: Course, n: int) -> Course:
        order = (*(m for m in c.order if m != n), n)
        placed = tuple(sorted(order, key=lambda n: self.worlds.place.get(self.steps[n].instance, 0)))
        return c._replace(begun=c.begun | 1 << n, order=placed, flight=c.flight | 1 << n)

    def _let(self, c: Course, n: int) -> Free:
        bit = 1 << n
        if self._returnless[n] and not c.flight & bit:
            on = c._replace(begun=c.begun | bit, flight=c.flight | bit)
        else:
            on = c._replace(done=c.done | bit, flight=c.flight & ~bit)
        return Free(n, self.number(on), self.number(c._replace(failed=c.failed | bit, flight=c.flight & ~bit)))

    def _begin(self, c: Course, n: int) -> Begin:
        step, bit = self.steps[n], 1 << n
        shut = self.number(c._replace(failed=c.failed | bit))
        if step.verb in UNTOUCHING:
            lacking = step.verb is Verb.CONFIRM and not step.verify
            return Begin(n, -1 if lacking else self.number(c._replace(done=c.done | bit)), shut)
        bare = not step.gates and not self.unsure[n]
        if step.verb is Verb.PROMOTE and bare and self.plan.kind is not ScenarioKind.EXERCISE:
            return Begin(n, -1, shut)  # the stepper refuses it
        return Begin(n, self.number(self._begun(c, n)), shut)

    def _flight(self, c: Course, n: int) -> Flight:
        step, bit = self.steps[n], 1 << n
        deed = self.deed(step, c.epoch)
        on = c._replace(flight=c.flight & ~bit)
        fenced = self._fenced_after(c.fenced, step.verb, step.instance)
        if step.verify:
            landed = on._replace(effected=c.effected | bit, fenced=fenced)
        else:
            landed = on._replace(done=c.done | bit, fenced=fenced)
        refused = on._replace(failed=c.failed | bit)
        hung = refused._replace(late=self._more(c.late, deed))
        return Flight(n, deed, self.number(landed), self.number(refused), self.number(hung))

    def _fenced_after(self, fenced: int, verb: Verb, instance: str) -> int:
        fence = self._fences.get(instance)
        if fence is None:
            return fenced
        if verb is Verb.FENCE:
            return fenced | 1 << fence
        return fenced & ~(1 << fence) if verb in {Verb.UNFENCE, Verb.REJOIN} else fenced

    def _wait(self, c: Course, n: int) -> Wait:
        bit = 1 << n
        on = c._replace(effected=c.effected & ~bit)
        # An abort ends the waiting: the step has neither ended nor failed.
        given_up = on if c.aborting else on._replace(failed=c.failed | bit)
        return Wait(n, self.number(on._replace(done=c.done | bit)), self.number(given_up))

    def _backs(self, c: Course, way: tuple[int, ...]) -> tuple[Back, ...]:
        n = next((m for m in way if not (c.undone | c.stuck) >> m & 1), -1)
        if n < 0:
            return ()
        step, bit = self.steps[n], 1 << n
        kept = Back(n, -1, self.number(c._replace(stuck=c.stuck | bit)))
        undo = undo_of(step)
        if undo is None:
            return (kept,)
        fence = self._fences.get(step.instance) if step.verb is Verb.FENCE else None
        fenced = c.fenced if fence is None else c.fenced & ~(1 << fence)
        on, deed = c._replace(undoing=c.undoing | bit, fenced=fenced), self.deed(undo, c.epoch)
        # A lost answer: it is tried once more, while the first order may still be on its way.
        again = on._replace(late=self._more(c.late, deed))
        stuck = on._replace(stuck=c.stuck | bit)
        back = Back(
            step=n,
            deed=deed,
            landed=self.number(on._replace(undone=c.undone | bit)),
            refused=self.number(stuck),
            hung=self.number(stuck._replace(late=again.late)),
            unanswered=self.number(again),
        )
        # Where another system has succeeded, what was done for the whole estate stays.
        return (back,) if step.system or self.alone else (back, kept)

    def _crashes(self, c: Course, at_once: list[int], backs: tuple[Back, ...]) -> tuple[int, ...]:
        """A crash now, with any of the orders that are given at once already on their way.

        One that meets nothing on its way is left out: another executor goes on from the journal as the first would.
        """
        courses = [c]
        for n in at_once[:IN_FLIGHT_MAX]:
            courses += [self._begun(one, n) for one in courses]
        courses += [self._begun(c, n) for n in at_once[IN_FLIGHT_MAX:]]
        found = [self._crash(one) for one in courses if one.flight or one.effected]
        found += [self._crash(self.course(back.unanswered)) for back in backs if back.unanswered >= 0]
        return tuple(dict.fromkeys(found))

    def _crash(self, c: Course) -> int:
        """The executor is gone and another goes on: orders in flight may still land, waiting steps begin anew."""
        late = c.late
        for n in _bits(c.flight):
            if not self._free[n]:
                late = self._more(late, self.deed(self.steps[n], c.epoch))
        epoch = c.epoch + 1 if late else 1
        return self.number(c._replace(flight=0, effected=0, stuck=0, late=late, epoch=epoch))

    def _more(self, late: tuple[int, ...], deed: int) -> tuple[int, ...]:
        """Faults are put in and taken out by the executor itself: they do not land after its death."""
        what = self.worlds.deeds[deed]
        return late if what.act is None or deed in late else tuple(sorted((*late, deed)))

    def _decide(self, c: Course) -> Decisions:
        key = (c.done, c.failed, c.begun, c.undoing, c.undone, c.aborting, c.order)
        found = self._decided.get(key)
        if found is None:
            found = self._decided[key] = self._asked(c)
        return found

    def _asked(self, c: Course) -> Decisions:
        history, ids = self._blank, [s.id for s in self.steps]
        history.done = {ids[n]: "" for n in _bits(c.done)}
        history.failed = {ids[n]: "" for n in _bits(c.failed)}
        history.begun = [ids[n] for n in (*c.order, *(n for n in _bits(c.begun) if n not in c.order))]
        history.undoing = {ids[n] for n in _bits(c.undoing)}
        history.undone = {ids[n] for n in _bits(c.undone)}
        history.aborting = c.aborting
        may = sum(1 << n for n, s in enumerate(self.steps) if may_start(self.plan, history, s))
        back = tuple(self._of[s.id] for s in way_back(self.plan, history))
        return Decisions(may, back, conclude(self.plan, history)[0])


def _bits(mask: int) -> list[int]:
    return [n for n in range(mask.bit_length()) if mask >> n & 1]


def _less(late: tuple[int, ...], deed: int) -> tuple[int, ...]:
    return tuple(d for d in late if d != deed)
