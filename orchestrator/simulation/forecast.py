"""How long a plan will take: its graph of steps, run many times with durations drawn from what was measured. Pure.

A discrete-event simulation of the plan and not of the executor: no gate is judged and nothing fails, so what comes out
is the course of a plan that works. Steps run as soon as what they need is done; protection waits for users, as in the
executor; a question to a person takes one of the teams. Steps that cannot be done at all (their centre is not there)
are blocked, and so is what needs them.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from random import Random

from orchestrator.model.plan import USERS_FIRST_S, Fact, Phase, Plan, Step, Verb
from orchestrator.model.topology import Frozen, Topology

Durations = Mapping[tuple[Verb, str], Sequence[float]]
"""(verb, kind of service) → seconds that such steps took, from past runs."""

ENOUGH = 5
"""So many measured durations are drawn from as they are; fewer give a middle, with an assumed spread."""
SPREAD = 1.5
"""Assumed: two of three durations lie within this factor of the middle."""
TALKS: Mapping[Verb, int] = {
    Verb.FENCE: 10,
    Verb.UNFENCE: 10,
    Verb.REJOIN: 12,
    Verb.RUN_PLAYBOOK: 10,
    Verb.START: 6,
    Verb.STOP: 6,
}
"""Round trips that an action makes; over a slow link each takes longer. Others make four (connect, look, act, look)."""
TALKS_ELSE = 4
SERVING = frozenset({Phase.DETECT, Phase.DECIDE, Phase.FENCE, Phase.PROMOTE, Phase.REDIRECT, Phase.VERIFY})
TAIL = 0.95


class WhatIf(Frozen, kw_only=True):
    """The conditions under which a plan is imagined."""

    without: tuple[str, ...] = ()
    """Centres that are not there."""
    slow: tuple[tuple[str, str, float], ...] = ()
    """(centre, centre, seconds that a round trip takes longer)."""
    teams: int = 0
    """People's teams that answer at once; 0: as many as are asked."""


class Spread(Frozen, kw_only=True):
    """A distribution, in seconds; infinite where it never comes to an end."""

    p50_s: float
    p95_s: float
    p99_s: float


class SystemForecast(Frozen, kw_only=True):
    """When the users of one system are served again."""

    system: str
    target_s: float
    rto: Spread
    missed: float
    """Share of the runs in which the target was missed."""
    breaks: str = ""
    """Where it is missed: the step that this comes from most often."""


class PathStep(Frozen, kw_only=True):
    """A step that users wait for."""

    step: str
    share: float
    """Share of the runs in which it lay on the critical path."""
    middle_s: float


class Forecast(Frozen, kw_only=True):
    """What many imagined runs of a plan came to."""

    scenario: str
    runs: int
    seed: int
    rto: Spread
    """Until the users of the last system are served."""
    total: Spread
    """Until protection is restored."""
    systems: tuple[SystemForecast, ...]
    """Those that miss their target most often come first."""
    critical_path: tuple[PathStep, ...]
    riskiest: str
    """The step that makes the slowest runs slow."""
    riskiest_adds_s: float
    """What it takes longer in those runs than in the middle."""
    blocked: tuple[str, ...]
    """Steps that cannot be done at all, in the order of the plan; not those that only wait for them."""
    loses: tuple[str, ...]
    """Services of which the plan may lose more than their budget, with the reason."""
    measured: float
    """Share of the steps whose duration rests on past runs."""


class _Graph:
    """A plan as numbers."""

    def __init__(self, plan: Plan, topology: Topology, durations: Durations, what_if: WhatIf) -> None:
        steps = plan.steps
        index = {s.id: n for n, s in enumerate(steps)}
        self.steps = steps
        self.needs = [tuple(index[x] for x in s.needs) for s in steps]
        self.followers: list[list[int]] = [[] for _ in steps]
        for n, needs in enumerate(self.needs):
            for need in needs:
                self.followers[need].append(n)
        self.serving = [s.phase in SERVING for s in steps]
        self.waits_for_users = [s.phase is Phase.PROTECT for s in steps]
        self.human = [s.verb is Verb.ASK for s in steps]
        self.zero = [n for n, s in enumerate(steps) if s.verb is Verb.INJECT]
        self.blocked = [_blocked(s, topology, what_if) for s in steps]
        self.draws: list[Callable[[Random], float]] = []
        self.measured = 0
        for step in steps:
            past = durations.get((step.verb, _kind(step, topology)), ())
            self.measured += bool(past)
            self.draws.append(_draw(step, past, _slower(step, topology, what_if)))
        self.systems: dict[str, list[int]] = {s: [] for s in plan.systems}
        for n, step in enumerate(steps):
            if step.system in self.systems and self.serving[n]:
                self.systems[step.system].append(n)


class _Course:
    """One imagined run."""

    def __init__(self, graph: _Graph, source: Random, teams: int) -> None:
        self.took = [draw(source) for draw in graph.draws]
        self.ends = [math.inf] * len(graph.steps)
        self.after = [-1] * len(graph.steps)
        """The step whose end let this one begin."""
        self._graph, self._teams = graph, teams or len(graph.steps)
        self._asked: deque[tuple[int, int]] = deque()
        self._go()
        self.zero = max((self.ends[n] for n in graph.zero if self.ends[n] < math.inf), default=0.0)

    def _go(self) -> None:
        graph = self._graph
        open_needs = [len(n) for n in graph.needs]
        unserved = sum(not w for w in graph.waits_for_users)
        events: list[tuple[float, int, int]] = []
        """(time, kind, step): a step ends (0), or has waited long enough for users (1)."""
        held: list[tuple[int, int]] = []
        self._events = events
        for n, needs in enumerate(open_needs):
            if not needs:
                self._ready(n, -1, 0.0, unserved, held)
        while events:
            now, kind, n = heapq.heappop(events)
            if kind:
                held = self._release([h for h in held if h[0] == n], held, now)
                continue
            self.ends[n] = now
            if graph.human[n]:
                self._teams += 1
                self._answer(now)
            if not graph.waits_for_users[n]:
                unserved -= 1
            for follower in graph.followers[n]:
                open_needs[follower] -= 1
                if not open_needs[follower]:
                    self._ready(follower, n, now, unserved, held)
            if not unserved and held:
                held = self._release(held, held, now)

    def _release(self, some: list[tuple[int, int]], held: list[tuple[int, int]], now: float) -> list[tuple[int, int]]:
        for n, last in some:
            self._begin(n, last, now)
        gone = set(some)
        return [h for h in held if h not in gone]

    def _ready(self, n: int, last: int, now: float, unserved: int, held: list[tuple[int, int]]) -> None:
        if self._graph.blocked[n]:
            return
        if self._graph.waits_for_users[n] and unserved:
            held.append((n, last))
            heapq.heappush(self._events, (now + USERS_FIRST_S, 1, n))
        else:
            self._begin(n, last, now)

    def _begin(self, n: int, last: int, now: float) -> None:
        if self._graph.human[n]:
            self._asked.append((n, last))
            self._answer(now)
        else:
            self.after[n] = last
            heapq.heappush(self._events, (now + self.took[n], 0, n))

    def _answer(self, now: float) -> None:
        while self._asked and self._teams:
            n, last = self._asked.popleft()
            self._teams -= 1
            self.after[n] = last
            heapq.heappush(self._events, (now + self.took[n], 0, n))

    def end_of(self, steps: Sequence[int]) -> float:
        """When the last of some steps ends, counted from the fault."""
        return max((self.ends[n] for n in steps), default=self.zero) - self.zero

    def path_to(self, steps: Sequence[int]) -> list[int]:
        """The chain of steps that decides when the last of some ends; of blocked ones, the chain up to the block."""
        at = max(steps, key=lambda n: self.ends[n], default=-1)
        path: list[int] = []
        while at >= 0:
            path.append(at)
            if self.ends[at] == math.inf:
                at = next((n for n in self._graph.needs[at] if self.ends[n] == math.inf), -1)
            else:
                at = self.after[at]
        return path[::-1]


def forecast(
    plan: Plan,
    topology: Topology,
    durations: Durations,
    *,
    runs: int = 200,
    seed: int = 1,
    what_if: WhatIf | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> Forecast:
    """Imagine a plan's course many times.

    Args:
        plan: its steps with their forecasts.
        topology: the estate, for kinds, centres and targets.
        durations: of past runs.
        runs: how often, at least 1.
        seed: the same seed gives the same result.
        what_if: conditions.
        progress: told how many runs are done.
    """
    what_if = what_if or WhatIf()
    graph = _Graph(plan, topology, durations, what_if)
    tally = _Tally(graph)
    source = Random(seed)
    for done in range(1, runs + 1):
        tally.take(_Course(graph, source, what_if.teams))
        progress(done)
    return tally.result(plan, topology, runs, seed)


class _Tally:
    """What the runs came to; keeps numbers and no runs, so that a large estate fits into memory."""

    def __init__(self, graph: _Graph) -> None:
        self._graph = graph
        self._served = [n for n, s in enumerate(graph.serving) if s]
        self.rto: list[float] = []
        self.total: list[float] = []
        self.systems: dict[str, list[float]] = {s: [] for s in graph.systems}
        self.last: dict[str, list[int]] = {s: [] for s in graph.systems}
        """System → of each run, the step on its path that took longest (the blocked one where one is)."""
        self.paths: list[list[tuple[int, float]]] = []

    def take(self, course: _Course) -> None:
        graph = self._graph
        self.rto.append(course.end_of(self._served))
        self.total.append(course.end_of(range(len(graph.steps))))
        self.paths.append([(n, course.took[n]) for n in course.path_to(self._served)])
        for system, steps in graph.systems.items():
            self.systems[system].append(course.end_of(steps))
            self.last[system].append(_heaviest(course, course.path_to(steps)))

    def result(self, plan: Plan, topology: Topology, runs: int, seed: int) -> Forecast:
        """Everything that is told of them."""
        steps = self._graph.steps
        whole_site = len(plan.lost) > 1
        systems = [self._system(s, topology, whole_site=whole_site) for s in self.systems]
        riskiest, adds = self._riskiest()
        return Forecast(
            scenario=plan.scenario,
            runs=runs,
            seed=seed,
            rto=_spread(self.rto),
            total=_spread(self.total),
            systems=tuple(sorted(systems, key=lambda s: (-s.missed, -s.rto.p95_s / max(s.target_s, 1e-9), s.system))),
            critical_path=self._path(),
            riskiest=steps[riskiest].id if riskiest >= 0 else "",
            riskiest_adds_s=adds,
            blocked=tuple(s.id for s, b in zip(steps, self._graph.blocked, strict=True) if b),
            loses=tuple(
                f"{loss.service}: {loss.reason.en}"
                for loss in plan.losses
                if not loss.proven_zero and (loss.seconds is None or loss.seconds > loss.budget_s)
            ),
            measured=self._graph.measured / max(1, len(steps)),
        )

    def _system(self, system: str, topology: Topology, *, whole_site: bool) -> SystemForecast:
        found = topology.system_by_id[system]
        target = (found.site_loss if whole_site else found.centre_loss).rto_s
        ends = self.systems[system]
        late = [n for end, n in zip(ends, self.last[system], strict=True) if end > target and n >= 0]
        missed = sum(end > target for end in ends) / max(1, len(ends))
        breaks = self._graph.steps[Counter(late).most_common(1)[0][0]].id if late else ""
        return SystemForecast(system=system, target_s=target, rto=_spread(ends), missed=missed, breaks=breaks)

    def _path(self) -> tuple[PathStep, ...]:
        """Of the run in the middle; how often each of its steps lay on the path at all."""
        order = sorted(range(len(self.rto)), key=lambda n: (self.rto[n], n))
        middle = self.paths[order[(len(order) - 1) // 2]]
        often = Counter(n for path in self.paths for n, _ in path)
        took: dict[int, list[float]] = {n: [] for n, _ in middle}
        for path in self.paths:
            for n, seconds in path:
                if n in took:
                    took[n].append(seconds)
        return tuple(
            PathStep(step=self._graph.steps[n].id, share=often[n] / len(self.paths), middle_s=_at(sorted(took[n]), 0.5))
            for n, _ in middle
        )

    def _riskiest(self) -> tuple[int, float]:
        """The step that takes most longer on the paths of the slowest runs than in the middle of all."""
        edge = _at(sorted(self.rto), TAIL)
        slowest = [p for p, end in zip(self.paths, self.rto, strict=True) if end >= edge]
        usual: dict[int, list[float]] = {}
        for path in self.paths:
            for n, seconds in path:
                usual.setdefault(n, []).append(seconds)
        middles = {n: _at(sorted(all_), 0.5) for n, all_ in usual.items()}
        adds: Counter[int] = Counter()
        for path in slowest:
            for n, seconds in path:
                adds[n] += seconds - middles[n]  # type: ignore[assignment]
        if not adds:
            return -1, 0.0
        worst = min(adds, key=lambda n: (-adds[n], n))
        return worst, adds[worst] / len(slowest)


def _heaviest(course: _Course, path: Sequence[int]) -> int:
    blocked = [n for n in path if course.ends[n] == math.inf]
    return blocked[0] if blocked else max(path, key=lambda n: course.took[n], default=-1)


def _kind(step: Step, topology: Topology) -> str:
    instance = topology.instance_by_id.get(step.instance)
    return topology.service_by_id[instance.service].kind if instance else ""


def _draw(step: Step, past: Sequence[float], more_s: float) -> Callable[[Random], float]:
    """How a step's duration is drawn."""
    if len(past) >= ENOUGH:
        known = tuple(past)
        return lambda source: source.choice(known) * source.uniform(0.95, 1.05) + more_s
    middle = sorted(past)[len(past) // 2] if past else step.forecast_s
    wide = math.log(SPREAD)
    return lambda source: middle * math.exp(source.gauss(0.0, wide)) + more_s


def _centres(step: Step, topology: Topology) -> frozenset[str]:
    """Centres that a step reaches; a sync standby is released at its source, and may itself be gone."""
    released = step.verb is Verb.DEMOTE and bool(step.towards)
    names = step.towards if released else (step.instance, *step.towards)
    return frozenset(i.centre for n in names if (i := topology.instance_by_id.get(n)))


def _slower(step: Step, topology: Topology, what_if: WhatIf) -> float:
    centres = _centres(step, topology)
    return sum(more_s * TALKS.get(step.verb, TALKS_ELSE) for a, b, more_s in what_if.slow if {a, b} <= centres)


def _blocked(step: Step, topology: Topology, what_if: WhatIf) -> bool:
    if step.verb is Verb.CONFIRM and step.verify and all(c.fact is Fact.NOT_SERVING for c in step.verify):
        return False  # what is not there serves nobody
    return bool(_centres(step, topology) & set(what_if.without))


def _spread(values: Sequence[float]) -> Spread:
    ordered = sorted(values)
    return Spread(p50_s=_at(ordered, 0.5), p95_s=_at(ordered, 0.95), p99_s=_at(ordered, 0.99))


def _at(ordered: Sequence[float], share: float) -> float:
    """The nearest-rank percentile of ordered values; 0 of none."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else 0.0
