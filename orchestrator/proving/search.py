"""Every way that a run can take, breadth first, so that the first one that goes wrong is a shortest one. Pure.

A state is a world and a course. What moves it: the executor (a step begins, its order lands, its proof comes, it is
given up, it is undone), the world (one fault, what was frozen goes on, what was lost comes back), and what is late.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from itertools import pairwise

from orchestrator.execution.history import UNTOUCHING
from orchestrator.machine.faults import Fault
from orchestrator.model.observation import Verdict
from orchestrator.model.plan import Condition, Verb
from orchestrator.model.run import RunState
from orchestrator.proving.course import Back, Begin, Course, Courses, Menu
from orchestrator.proving.moves import (
    ABORTS,
    ANSWER,
    CRASH,
    CRASHES,
    FAULT,
    TROUBLES,
    Found,
    Label,
    Move,
    Next,
    Rules,
    Start,
    Struck,
    Wrong,
)
from orchestrator.proving.worlds import HANGS, ON_REDIRECT, Worlds

_COURSE, _WORLD = 3, 35
_USED, _MASK = 7, (1 << 32) - 1
_LESS = tuple(sum(1 << less for less in range(8) if less & ~used == 0) for used in range(8))
"""For what has gone wrong: a bit for each part of it."""


class Search:
    """The states of one plan on some services."""

    def __init__(self, worlds: Worlds, courses: Courses, rules: Rules) -> None:
        """
        Args:
            worlds: of the services.
            courses: of the plan.
            rules: what may go wrong.
        """
        self.worlds, self.courses, self.faults = worlds, courses, rules.faults
        self.returns = tuple((r,) for r in rules.returns)
        self._allowed, self._aborts = frozenset(rules.troubles), rules.aborts
        self._steps = courses.steps
        self._gates: dict[tuple[int, int, int], tuple[bool, Wrong | None]] = {}
        self._proofs: dict[tuple[int, int, int], bool] = {}
        self._world_moves: dict[int, tuple[Struck, ...]] = {}
        self._own_moves: dict[int, tuple[Struck, ...]] = {}
        self._lives: dict[int, int] = {}
        self._simple: dict[int, bool] = {}
        self._parents: dict[int, int] = {}
        """A state is a number: its world, its course, and in the lowest bits what has gone wrong so far."""
        self._seen: dict[int, int] = {}
        self._names: dict[int, str] = {}
        self._endings = Counter[RunState]()
        self._tallied = 0
        self._todo: list[deque[int]] = [deque[int]() for _ in range(TROUBLES + 1)]
        self._finished = -1

    def run(self, starts: Sequence[Start], states_max: int, most: int = TROUBLES) -> Found:
        """Visit every state: first where nothing goes wrong, then one thing, then two, then all three.

        So the way that is found is one on which as little as possible goes wrong, and a shortest of these. A state that
        was met with less gone wrong needs no second visit: whatever may follow it, may follow the other.
        Called again with a higher `most`, it goes on where it stopped.

        Args:
            starts: the first states.
            states_max: bound; where it is reached, `Found.troubles` tells what was finished before.
            most: how many things may go wrong together.
        """
        if not self._names and (found := self._start(starts)):
            return found
        while self._finished < most:
            queue = self._todo[self._finished + 1]
            while queue:
                if found := self._visit(queue.popleft(), self._todo):
                    return found
                if len(self._parents) > states_max:
                    return self._found()
            self._finished += 1
        return self._found()

    def _start(self, starts: Sequence[Start]) -> Found | None:
        first = self.courses.number(Course())
        for start in reversed(starts):
            self._names[_key(start.world, first)] = start.name
        self._todo[0].extend(self._names)
        for state in self._names:
            self._meet(state, -1)
            if wrong := self._wrong_world(state >> _WORLD):
                return self._story(state, None, wrong)
        return None

    def _visit(self, state: int, todo: list[deque[int]]) -> Found | None:
        """Put what comes next in its queue; the story, where something breaks."""
        used = state & _USED
        if wrong := self._end(state):
            return self._story(state, None, wrong)
        for world, course, cost, label, wrong in self.nexts(state):
            now = used | cost
            if now not in self._allowed:
                continue
            self._tallied += 1
            if wrong is not None:
                return self._story(state, label, wrong)
            after = self._after(world, course, now)
            if self._meet(after, state):
                todo[now.bit_count()].append(after)
        return None

    def _found(self) -> Found:
        return Found(len(self._parents), self._tallied, dict(self._endings), self._finished)

    def stranded(self, wrong: Wrong) -> Found:
        """After a search in which no run ended well: the story of the run that came farthest."""
        ends = [s for s in self._parents if self.courses.menu(_course(s)).closed is not None]
        done = {s: self.courses.course(_course(s)).done for s in ends}
        last = max(ends, key=lambda s: done[s].bit_count(), default=next(iter(self._names)))
        missing = [s.id for n, s in enumerate(self._steps) if not done.get(last, 0) >> n & 1]
        return self._story(last, None, Wrong(wrong.rule, f"never done: {', '.join(missing)}"))

    def _meet(self, state: int, parent: int) -> bool:
        """Whether a state is to be visited; False where it, or one with less gone wrong, was met before."""
        key, used = state >> _COURSE, state & _USED
        met = self._seen.get(key, 0)
        if met & _LESS[used]:
            return False
        self._seen[key] = met | 1 << used
        self._parents[state] = parent
        return True

    def _after(self, world: int, course: int, used: int) -> int:
        """The state that a move leads to, told as simply as it can be."""
        simple = self._simple.get(course)
        if simple is None:
            simple = self._simple[course] = not self.courses.course(course).late
        if not simple:
            course = self._live(world, course)
            if self.courses.course(course).epoch > 1:
                return _key(world, course) | used
        return _key(self.worlds.young(world), course) | used

    def _live(self, world: int, course: int) -> int:
        """Late orders whose receiver has seen a later epoch are refused for ever: as good as none."""
        key = world << _WORLD | course
        found = self._lives.get(key)
        if found is None:
            late = self.courses.course(course).late
            kept = tuple(d for d in late if not self.worlds.outdated(world, d))
            found = self._lives[key] = course if kept == late else self.courses.with_late(course, kept)
        return found

    def _end(self, state: int) -> Wrong | None:
        closed = self.courses.menu(_course(state)).closed
        if closed is None:
            return None
        self._endings[closed] += 1
        if closed is not RunState.DONE or state & FAULT:
            return None
        wrong = self.worlds.wrong_when_done(state >> _WORLD)
        return Wrong(*wrong) if wrong else None

    def nexts(self, state: int) -> list[Next]:
        """Every state that may come next."""
        world, number, used = state >> _WORLD, _course(state), state & _USED
        menu = self.courses.menu(number)
        if menu.closed is not None:
            number = menu.ended
            menu = self.courses.menu(number)
        found: list[Next] = []
        self._executor(world, number, used, menu, found)
        moved = bool(found)
        for wait in menu.waits:
            if not self._proven(world, number, wait.step):
                if not moved or self.courses.course(number).aborting:
                    found.append((world, wait.given_up, 0, Label(Move.GIVE_UP, wait.step), None))
                elif not used & ANSWER:
                    found.append((world, wait.given_up, ANSWER, Label(Move.SLOW, wait.step), None))
        self._trouble(world, number, used, menu, found)
        return found

    def _executor(self, world: int, number: int, used: int, menu: Menu, found: list[Next]) -> None:
        for begin in menu.begins:
            self._begin(world, number, begin, found)
        for step, deed, landed, refused, hung in menu.flights:
            after = self.worlds.apply(world, deed)
            if after >= 0:
                wrong = self._landing(world, after, used, deed)
                found.append((after, landed, 0, Label(Move.LAND, step, deed), wrong))
                if not used & ANSWER:
                    found.append((world, hung, ANSWER, Label(Move.UNANSWERED, step, deed), None))
            elif after == HANGS:
                found.append((world, hung, 0, Label(Move.HANG, step, deed), None))
            else:
                found.append((world, refused, 0, Label(Move.REFUSE, step, deed), None))
        for step, done, failed in menu.frees:
            if self._proven(world, number, step):
                found.append((world, done, 0, Label(Move.DONE, step), None))
            found.append((world, failed, 0, Label(Move.FAILED, step), None))
        for wait in menu.waits:
            if self._proven(world, number, wait.step):
                found.append((world, wait.proven, 0, Label(Move.PROVE, wait.step), None))
        for back in menu.backs:
            self._back(world, used, back, found)

    def _begin(self, world: int, number: int, begin: Begin, found: list[Next]) -> None:
        step, opened, shut = begin
        opens, wrong = (False, None) if opened < 0 else self._gate(world, number, step)
        if not opens:
            found.append((world, shut, 0, Label(Move.SHUT, step), None))
            return
        move = Move.CONFIRM if self._steps[step].verb in UNTOUCHING else Move.BEGIN
        found.append((world, opened, 0, Label(move, step), wrong))
        found.append((world, shut, ANSWER, Label(Move.BLIND, step), None))

    def _back(self, world: int, used: int, back: Back, found: list[Next]) -> None:
        step, deed = back.step, back.deed
        if deed < 0:
            found.append((world, back.landed, 0, Label(Move.KEEP, step), None))
            return
        after = self.worlds.apply(world, deed)
        if after >= 0:
            wrong = self._landing(world, after, used, deed, undo=True)
            found.append((after, back.landed, 0, Label(Move.UNDONE, step, deed), wrong))
            if not used & ANSWER:
                found.append((world, back.unanswered, ANSWER, Label(Move.UNANSWERED, step, deed), None))
        else:
            on = back.hung if after == HANGS else back.refused
            found.append((world, on, 0, Label(Move.STUCK, step, deed), None))

    def _trouble(self, world: int, number: int, used: int, menu: Menu, found: list[Next]) -> None:
        """What nobody asked for: late orders, crashes, aborts, and the world itself."""
        for deed, without in menu.late:
            after = self.worlds.apply(world, deed, late=True)
            if after >= 0 and after != world:
                wrong = self._landing(world, after, used, deed)
                found.append((after, without, 0, Label(Move.LATE, deed=deed), wrong))
        if not used & CRASH:
            found.extend((world, crashed, CRASH, CRASHES, None) for crashed in menu.crashed)
        if self._aborts and menu.aborted >= 0 and not used & ANSWER:
            found.append((world, menu.aborted, ANSWER, ABORTS, None))
        found.extend((after, number, 0, label, wrong) for after, label, wrong in self._by_itself(world))
        if not used & FAULT:
            found.extend((after, number, FAULT, label, wrong) for after, label, wrong in self._by_fault(world))

    def _by_itself(self, world: int) -> tuple[Struck, ...]:
        found = self._own_moves.get(world)
        if found is None:
            wakes = ((Move.WAKE, (Fault(name="thaw-centre", place=c),)) for c in self.worlds.frozen_centres(world))
            moves = [*wakes, *((Move.RETURN, r) for r in self.returns)]
            found = self._own_moves[world] = self._struck(world, moves)
        return found

    def _by_fault(self, world: int) -> tuple[Struck, ...]:
        found = self._world_moves.get(world)
        if found is None:
            found = self._world_moves[world] = self._struck(world, [(Move.FAULT, f) for f in self.faults])
        return found

    def _struck(self, world: int, moves: Sequence[tuple[Move, tuple[Fault, ...]]]) -> tuple[Struck, ...]:
        """Where each leads; those that change nothing, or lead where another does, are left out."""
        found: dict[int, Label] = {}
        for move, faults in moves:
            after = self.worlds.strike(world, faults)
            if after != world:
                found.setdefault(after, Label(move, faults=faults))
        return tuple((after, label, self._wrong_world(after)) for after, label in found.items())

    def _gate(self, world: int, number: int, step: int) -> tuple[bool, Wrong | None]:
        """Whether a step's gates open (for one that only confirms: and its proof is there), and what that breaks."""
        key = (world, self.courses.course(number).fenced, step)
        found = self._gates.get(key)
        if found is None:
            found = self._gates[key] = self._judge_gate(world, number, step)
        return found

    def _judge_gate(self, world: int, number: int, step: int) -> tuple[bool, Wrong | None]:
        what = self._steps[step]
        asked = (*what.gates, *what.verify) if what.verb is Verb.CONFIRM else what.gates
        if not self._all_pass(world, number, asked):
            return False, None
        deed = self.courses.deed(what, 1) if what.verb is Verb.REDIRECT else -1
        wrong = self.worlds.wrong_act(world, deed) if deed >= 0 else None
        return True, Wrong(*wrong) if wrong else None

    def _proven(self, world: int, number: int, step: int) -> bool:
        key = (world, self.courses.course(number).fenced, step)
        found = self._proofs.get(key)
        if found is None:
            found = self._proofs[key] = self._all_pass(world, number, self._steps[step].verify)
        return found

    def _all_pass(self, world: int, number: int, conditions: Sequence[Condition]) -> bool:
        return all(self.worlds.verdict(world, c, self.courses.fenced(number, c)) is Verdict.PASS for c in conditions)

    def _landing(self, world: int, after: int, used: int, deed: int, undo: bool = False) -> Wrong | None:
        """What an effect breaks, where it takes effect or by what it leads to.

        A redirect is judged where its gates open. Where it lands it is judged only as long as the world did nothing:
        a primary that has died meanwhile is no fault of the plan. A way back leads users where they were before.
        """
        wrong = self.worlds.wrong_act(world, deed)
        if wrong and wrong[0] == ON_REDIRECT and (undo or used & FAULT):
            wrong = None
        return Wrong(*wrong) if wrong else self._wrong_world(after)

    def _wrong_world(self, world: int) -> Wrong | None:
        wrong = self.worlds.wrong(world)
        return Wrong(*wrong) if wrong else None

    def _story(self, last: int, label: Label | None, wrong: Wrong) -> Found:
        """The way to a state, and the move that breaks an invariant there (None: the state itself does)."""
        states = [last]
        while (parent := self._parents[states[-1]]) >= 0:
            states.append(parent)
        states.reverse()
        way = [self._between(a, b) for a, b in pairwise(states)]
        told = (*way, *([label] if label else []))
        return self._found()._replace(wrong=wrong, start=self._names[states[0]], way=told)

    def _between(self, one: int, other: int) -> Label:
        used = one & _USED
        return next(n[3] for n in self.nexts(one) if self._after(n[0], n[1], used | n[2]) == other)


def _key(world: int, course: int) -> int:
    return world << _WORLD | course << _COURSE


def _course(state: int) -> int:
    return state >> _COURSE & _MASK
