"""Courses with the same future, told as one: what nothing asks for any more is told as simply as can be. Pure.

Two courses are told as one only where every move that one may take the other may take too, to courses that again are
told as one, and where both end alike. Why each rule keeps that stands at it; that nothing is lost by them is tested
against the search without them (`tests/unit/test_prover_reductions.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from orchestrator.execution.history import History
from orchestrator.model.plan import Plan, ScenarioKind, Verb

ENDED = -1
"""`done` of a run that is over: only what is late may still take effect, so that nothing else of it matters."""


class Course(NamedTuple):
    """The state of a run."""

    done: int = 0
    failed: int = 0
    flight: int = 0
    """Begun, and the order is not answered."""
    effected: int = 0
    """The order is answered, its proof is waited for."""
    begun: int = 0
    order: tuple[int, ...] = ()
    """Steps begun, as long as they may be undone: by the piece that they act on, and oldest first in each.

    Which piece is undone before which does not matter: an undo has no gate, touches its own piece alone, and the
    invariant that holds in every state reads each piece alone. So states that differ in that alone are one state."""
    undoing: int = 0
    undone: int = 0
    stuck: int = 0
    """Steps that could not be undone."""
    fenced: int = 0
    """Steps that fence: whose instances a fence of this run holds."""
    late: tuple[int, ...] = ()
    """Orders that nobody waits for any more, and which may yet take effect."""
    epoch: int = 1
    """Told apart only as long as an order of an earlier epoch is late: nothing else asks for it."""
    aborting: bool = False


class Simple:
    """The simplest forms of the courses of one plan."""

    def __init__(self, plan: Plan, needs: Sequence[int], aborts: bool) -> None:
        """
        Args:
            plan: its steps are numbered in their order.
            needs: of each step, the bits of those that it needs.
            aborts: whether an operator may abort.
        """
        self._aborts = aborts
        self._steps, self._needs, self._failover = plan.steps, needs, plan.kind is ScenarioKind.FAILOVER
        history = History(plan)
        self._all = (1 << len(plan.steps)) - 1
        self._tolerated = sum(1 << n for n, s in enumerate(plan.steps) if history.tolerated(s))
        self._systems = {
            name: sum(1 << n for n, s in enumerate(plan.steps) if s.system == name)
            for name in dict.fromkeys(s.system for s in plan.steps)
        }
        promotions = sum(1 << n for n, s in enumerate(plan.steps) if s.verb is Verb.PROMOTE)
        self._past = 0 if plan.kind is ScenarioKind.EXERCISE else promotions
        self._system_of = [self._systems[s.system] for s in plan.steps]
        self._dependents = [sum(1 << m for m, need in enumerate(needs) if need >> n & 1) for n in range(len(needs))]
        self._fences = {s.instance: n for n, s in enumerate(plan.steps) if s.verb is Verb.FENCE}
        self._asks = [self._asked(n) for n in range(len(plan.steps))]

    def _asked(self, n: int) -> int:
        """The fences that a step's conditions ask for."""
        step = self._steps[n]
        named = {self._fences[c.instance] for c in (*step.gates, *step.verify) if c.instance in self._fences}
        return sum(1 << f for f in named)

    def form(self, c: Course) -> Course:
        """The simplest form of a course."""
        if c.done == ENDED:
            return c
        c = self._all_served(self._past_return(c))
        if c.aborting:
            c = self._aborting(c)
        else:
            c = self._failed(c)
            c = self._outcome(c)
        return self._fence_bits(c)

    def _past_return(self, c: Course) -> Course:
        """Of a system past the point of no return nothing is undone, and then nothing of the whole estate is: what
        else was begun there, and in which order, does not matter."""
        if not c.begun & self._past:
            return c
        gone = sum(mask for name, mask in self._systems.items() if not name or mask & c.begun & self._past)
        begun = c.begun & ~gone | c.begun & self._past
        return c._replace(begun=begun, order=tuple(n for n in c.order if not gone >> n & 1))

    def _all_served(self, c: Course) -> Course:
        """Where everything is done that users wait for and nobody aborts, nothing is undone any more."""
        matters = self._all & ~self._tolerated
        if self._aborts or c.aborting or c.undoing or not c.begun or matters & ~(c.done & ~c.undone):
            return c
        return c._replace(begun=0, order=())

    @staticmethod
    def _aborting(c: Course) -> Course:
        """No step begins any more, everything that was begun is undone, and the end is told by what stands."""
        begun = c.begun & ~c.undone
        order = tuple(n for n in c.order if begun >> n & 1)
        return c._replace(done=0, failed=0, undoing=0, undone=0, begun=begun, order=order)

    def _failed(self, c: Course) -> Course:
        """What cannot be done any more has failed; of a system that goes back, that is everything but what is on its
        way.

        A step of a system in which a step that matters has failed, or one that is tolerated, makes nothing worse by
        having failed too. In a system that failed before its point of no return nothing begins any more, all that
        was begun is undone, and what was undone is as if it never was.
        """
        broken = c.failed & ~self._tolerated
        for name, mask in self._systems.items():
            if name and broken & mask and not c.begun & self._past & mask:
                c = self._going_back(c, mask)
        broken = c.failed & ~self._tolerated
        failed, moving = c.failed, c.flight | c.effected
        for n, needs in enumerate(self._needs):
            bit = 1 << n
            if (c.done | failed | moving | c.undone | c.undoing) & bit or not needs & failed:
                continue
            if self._tolerated & bit or broken & self._system_of[n]:
                failed |= bit
        return c if failed == c.failed else c._replace(failed=failed)

    def _going_back(self, c: Course, mask: int) -> Course:
        moving = c.flight | c.effected
        standing = c.done & ~c.undone
        kept = sum(1 << n for n in _bits(standing & mask) if self._dependents[n] & ~mask)
        failed = mask & ~moving & ~kept
        gone = c.undone & mask
        return c._replace(
            done=c.done & ~mask | kept,
            failed=c.failed | failed,
            undoing=c.undoing & ~mask,
            undone=c.undone & ~mask,
            begun=c.begun & ~gone,
            order=tuple(n for n in c.order if not gone >> n & 1),
        )

    def _outcome(self, c: Course) -> Course:
        """Where a run cannot end as done any more, what is done and needed by nothing that may still begin has failed
        as well: its worst failure alone tells how it ends."""
        if not c.failed:
            return c
        open_steps = self._all & ~(c.done | c.failed | c.undone)
        broken = c.failed & ~self._tolerated
        failed = 0
        for n in _bits(c.done & ~c.undone & ~c.undoing):
            bit = 1 << n
            if not self._dependents[n] & open_steps and (self._tolerated & bit or broken & self._system_of[n]):
                failed |= bit
        return c._replace(done=c.done & ~failed, failed=c.failed | failed) if failed else c

    def _fence_bits(self, c: Course) -> Course:
        """Whether a fence of this run holds is asked for by conditions alone."""
        if not c.fenced:
            return c
        may = c.flight | c.effected
        if not c.aborting:
            may |= self._all & ~(c.done | c.failed | c.undone)
        asked = 0
        for n in _bits(may):
            asked |= self._asks[n]
        return c if not c.fenced & ~asked else c._replace(fenced=c.fenced & asked)


def _bits(mask: int) -> list[int]:
    return [n for n in range(mask.bit_length()) if mask >> n & 1]
