"""Every way that a run can take, breadth first, so that the first one that goes wrong is a shortest one. Pure.

A state is a world and a course. What moves it: the executor (a step begins, its order lands, its proof comes, it is
given up, it is undone), the world (one fault, what was frozen goes on, what was lost comes back), and what is late.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from itertools import pairwise

from orchestrator.execution.history import UNTOUCHING
from orchestrator.machine.faults import Fault
from orchestrator.machine.world import World
from orchestrator.model.observation import Verdict
from orchestrator.model.plan import Condition, Verb
from orchestrator.model.run import RunState
from orchestrator.proving.course import Back, Begin, Courses, Menu
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
    Told,
    Wrong,
)
from orchestrator.proving.simple import Course
from orchestrator.proving.worlds import HANGS, ON_REDIRECT, Worlds

_COURSE, _NUMBER = 3, 32
_WORLD = _COURSE + _NUMBER
_USED, _MASK = (1 << _COURSE) - 1, (1 << _NUMBER) - 1
_COUNT = tuple(used.bit_count() for used in range(8))
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
        self._allowed = frozenset(rules.troubles)
        self._steps = courses.steps
        self._gates: dict[tuple[int, int, int], tuple[bool, Wrong | None]] = {}
        self._proofs: dict[tuple[int, int, int], bool] = {}
        self._world_moves: dict[int, tuple[Struck, ...]] = {}
        self._own_moves: dict[int, tuple[Struck, ...]] = {}
        self._places: dict[int, int] = {}
        """World and course → the same, told as simply as they can be."""
        self._parents: dict[int, int] = {}
        """A state is a number: its world, its course, and in the lowest bits what has gone wrong so far."""
        self._seen: dict[int, int] = {}
        self._names: dict[int, str] = {}
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
        for start in reversed(starts):
            # A run that took over from another has a later epoch than what that one may still have on its way.
            first = self.courses.number(Course(late=start.late, epoch=2 if start.late else 1))
            self._names[self._after(start.world, first, 0)] = start.name
        self._todo[0].extend(self._names)
        for state in self._names:
            self._seen[state >> _COURSE] = 1
            self._parents[state] = -1
            if wrong := self._wrong_world(state >> _WORLD):
                return self._story(state, None, wrong)
        return None

    def _visit(self, state: int, todo: list[deque[int]]) -> Found | None:
        """Put what comes next in its queue; the story, where something breaks."""
        used = state & _USED
        places, seen, parents, allowed = self._places, self._seen, self._parents, self._allowed
        for world, course, cost, label, wrong in self.nexts(state):
            now = used | cost
            if now not in allowed:
                continue
            self._tallied += 1
            if wrong is not None:
                return self._story(state, Label(*label), wrong)
            key = world << _NUMBER | course
            place = places.get(key)
            if place is None:
                place = places[key] = self._simplest(world, course)
            if place < 0:
                place = ~place
                if wrong := self._end(world, now):
                    return self._story(state, Label(*label), wrong)
            met = seen.get(place, 0)
            if not met & _LESS[now]:  # with less gone wrong, or as much, it was not met before
                seen[place] = met | 1 << now
                after = place << _COURSE | now
                parents[after] = state
                todo[_COUNT[now]].append(after)
        return None

    def _found(self) -> Found:
        return Found(len(self._parents), self._tallied, self._finished)

    def comes_to(self, start: Start, good: Collection[RunState]) -> bool:
        """Whether some run that nothing more befalls ends so: depth first, what goes well before what does not."""
        first = self.courses.number(Course())
        if self.courses.menu(first).closed in good:
            return True
        todo = [self._after(start.world, first, 0)]
        met = set(todo)
        while todo:
            moves = [n for n in self.nexts(todo.pop()) if not n[2]]
            if any(self.courses.menu(n[1]).closed in good for n in moves):
                return True
            nexts = [self._after(n[0], n[1], 0) for n in reversed(moves)]
            todo += [n for n in nexts if n not in met]
            met.update(nexts)
        return False

    def met(self) -> frozenset[World]:
        """Every world that was met, epochs aside."""
        return frozenset(self.worlds.world(self.worlds.young(s >> _WORLD)) for s in self._parents)

    def stranded(self, wrong: Wrong) -> Found:
        """After a search in which no run ended well: the story of the run that came farthest."""
        ends = [s for s in self._parents if self.courses.menu(_course(s)).closed is not None]
        done = {s: self.courses.course(_course(s)).done for s in ends}
        last = max(ends, key=lambda s: done[s].bit_count(), default=next(iter(self._names)))
        missing = [s.id for n, s in enumerate(self._steps) if not done.get(last, 0) >> n & 1]
        return self._story(last, None, Wrong(wrong.rule, f"never done: {', '.join(missing)}"))

    def _after(self, world: int, course: int, used: int) -> int:
        """The state that a move leads to."""
        place = self._simplest(world, course)
        return (place if place >= 0 else ~place) << _COURSE | used

    def _simplest(self, world: int, course: int) -> int:
        """Where a move leads to, told as simply as it can be: world and course; its inverse where a run is done."""
        closed = self.courses.menu(course).closed if self.courses.simply else None
        if closed is not None:
            course = self.courses.menu(course).ended  # of a run that is over only what is late matters
        if self.courses.course(course).late:
            course = self._live(world, course)
        if not self.courses.course(course).late or self.courses.course(course).epoch == 1:
            world = self.worlds.young(world)
        place = world << _NUMBER | course
        return ~place if closed is RunState.DONE else place

    def _live(self, world: int, course: int) -> int:
        """Late orders whose receiver has seen a later epoch are refused for ever: as good as none."""
        late = self.courses.course(course).late
        kept = tuple(d for d in late if not self.worlds.outdated(world, d))
        return course if kept == late else self.courses.with_late(course, kept)

    def _end(self, world: int, used: int) -> Wrong | None:
        """What is wrong where a run calls itself done and the world did nothing."""
        wrong = None if used & FAULT else self.worlds.wrong_when_done(world)
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
                    found.append((world, wait.given_up, 0, (Move.GIVE_UP, wait.step), None))
                elif not used & ANSWER:
                    found.append((world, wait.given_up, ANSWER, (Move.SLOW, wait.step), None))
        self._trouble(world, number, used, menu, found)
        return found

    def _executor(self, world: int, number: int, used: int, menu: Menu, found: list[Next]) -> None:
        for begin in menu.begins:
            self._begin(world, number, begin, found)
        for step, deed, landed, refused, hung in menu.flights:
            after = self.worlds.apply(world, deed)
            if after >= 0:
                wrong = self._landing(world, after, used, deed)
                if self.worlds.fails(world, deed):
                    found.append((after, refused, 0, (Move.IN_VAIN, step, deed), wrong))
                    continue
                found.append((after, landed, 0, (Move.LAND, step, deed), wrong))
                if not used & ANSWER:
                    found.append((world, hung, ANSWER, (Move.UNANSWERED, step, deed), None))
            elif after == HANGS:
                found.append((world, hung, 0, (Move.HANG, step, deed), None))
            else:
                found.append((world, refused, 0, (Move.REFUSE, step, deed), None))
        for step, done, failed in menu.frees:
            if self._proven(world, number, step):
                begun = self.courses.course(done).flight >> step & 1
                found.append((world, done, 0, (Move.BEGIN if begun else Move.DONE, step), None))
            found.append((world, failed, 0, (Move.FAILED, step), None))
        for wait in menu.waits:
            if self._proven(world, number, wait.step):
                found.append((world, wait.proven, 0, (Move.PROVE, wait.step), None))
        for back in menu.backs:
            self._back(world, used, back, found)

    def _begin(self, world: int, number: int, begin: Begin, found: list[Next]) -> None:
        step, opened, shut = begin
        opens, wrong = (False, None) if opened < 0 else self._gate(world, number, step)
        if not opens:
            found.append((world, shut, 0, (Move.SHUT, step), None))
            return
        move = Move.CONFIRM if self._steps[step].verb in UNTOUCHING else Move.BEGIN
        found.append((world, opened, 0, (move, step), wrong))
        if self.courses.unsure[step]:
            found.append((world, shut, 0, (Move.SHUT, step), None))
        else:
            found.append((world, shut, ANSWER, (Move.BLIND, step), None))

    def _back(self, world: int, used: int, back: Back, found: list[Next]) -> None:
        step, deed = back.step, back.deed
        if deed < 0:
            found.append((world, back.landed, 0, (Move.KEEP, step), None))
            return
        after = self.worlds.apply(world, deed)
        if after >= 0:
            wrong = self._landing(world, after, used, deed, undo=True)
            if self.worlds.fails(world, deed):
                found.append((after, back.refused, 0, (Move.STUCK, step, deed), wrong))
                return
            found.append((after, back.landed, 0, (Move.UNDONE, step, deed), wrong))
            if not used & ANSWER:
                found.append((world, back.unanswered, ANSWER, (Move.UNANSWERED, step, deed), None))
        else:
            on = back.hung if after == HANGS else back.refused
            found.append((world, on, 0, (Move.STUCK, step, deed), None))

    def _trouble(self, world: int, number: int, used: int, menu: Menu, found: list[Next]) -> None:
        """What nobody asked for: late orders, crashes, aborts, and the world itself."""
        for deed, without in menu.late:
            after = self.worlds.apply(world, deed, late=True)
            if after >= 0 and after != world:
                wrong = self._landing(world, after, used, deed)
                found.append((after, without, 0, (Move.LATE, -1, deed), wrong))
        if not used & CRASH:
            found += [(world, crashed, CRASH, CRASHES, None) for crashed in menu.crashed]
        if menu.aborted >= 0 and not used & ANSWER:
            found.append((world, menu.aborted, ANSWER, ABORTS, None))
        found += [(after, number, 0, label, wrong) for after, label, wrong in self._by_itself(world)]
        if not used & FAULT and used | FAULT in self._allowed:
            found += [(after, number, FAULT, label, wrong) for after, label, wrong in self._by_fault(world)]

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
        found: dict[int, Told] = {}
        for move, faults in moves:
            after = self.worlds.strike(world, faults)
            if after != world:
                found.setdefault(after, (move, -1, -1, faults))
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
        return next(Label(*n[3]) for n in self.nexts(one) if self._after(n[0], n[1], used | n[2]) == other)


def _course(state: int) -> int:
    return state >> _COURSE & _MASK
