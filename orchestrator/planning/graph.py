"""Order of a plan's steps: waves, forecasts, the critical path, what is beyond return. Pure; linear in the edges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from orchestrator.errors import Refused
from orchestrator.model.plan import Phase, Step, Verb

SERVING_PHASES = frozenset(
    {Phase.DETECT, Phase.DECIDE, Phase.FENCE, Phase.PROMOTE, Phase.REDIRECT, Phase.VERIFY},
)
"""Phases whose steps the users wait for."""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """Steps in topological order (by wave, then id), and when their ends are expected."""

    steps: tuple[Step, ...]
    rto_s: float
    total_s: float


def order(steps: Sequence[Step]) -> Order:
    """Set wave and critical path, and take the way back from what comes after a promotion of its system.

    The result does not depend on the order of `steps`. The critical path is that to the last step that users wait for,
    and that to the last step of all.

    Raises:
        Refused: the steps wait for each other in a circle.
    """
    by_id = {s.id: s for s in sorted(steps, key=lambda s: s.id)}
    waves = _waves(by_id)
    ids = sorted(by_id, key=lambda i: (waves[i], i))
    ends = _ends(by_id, ids)
    zero = max((ends[i] for i in ids if by_id[i].verb is Verb.INJECT), default=0.0)
    serving = [i for i in ids if by_id[i].phase in SERVING_PHASES]
    critical = _path(by_id, ends, serving) | _path(by_id, ends, ids)
    beyond = _beyond_return(by_id, ids)
    placed = tuple(
        msgspec.structs.replace(
            by_id[i], wave=waves[i], critical=i in critical, undo=None if i in beyond else by_id[i].undo
        )
        for i in ids
    )
    rto = max((ends[i] for i in serving), default=zero) - zero
    return Order(steps=placed, rto_s=round(rto, 3), total_s=round(max(ends.values(), default=0.0) - zero, 3))


def closure(steps: Mapping[str, Step], start: str, *, within: str | None = None) -> set[str]:
    """Ids of every step that must be done before `start`; with `within`, by ways through that system alone."""
    found: set[str] = set()
    todo = list(steps[start].needs)
    while todo:
        step = todo.pop()
        if step not in found and (within is None or steps[step].system == within):
            found.add(step)
            todo.extend(steps[step].needs)
    return found


def _waves(by_id: Mapping[str, Step]) -> dict[str, int]:
    """Depth of each step: the longest way to it from the start (Kahn)."""
    waiting = {i: len(s.needs) for i, s in by_id.items()}
    followers: dict[str, list[str]] = {i: [] for i in by_id}
    for step in by_id.values():
        for need in step.needs:
            followers[need].append(step.id)
    waves = dict.fromkeys((i for i, n in waiting.items() if n == 0), 0)
    todo = list(waves)
    for done in todo:
        for follower in followers[done]:
            waiting[follower] -= 1
            waves[follower] = max(waves.get(follower, 0), waves[done] + 1)
            if waiting[follower] == 0:
                todo.append(follower)
    if len(todo) < len(by_id):
        raise Refused(f"steps wait for each other: {_circle(by_id, waiting)}", hint="look at `after` in the runbook")
    return waves


def _circle(by_id: Mapping[str, Step], waiting: Mapping[str, int]) -> str:
    step = min(i for i, n in waiting.items() if n > 0)
    seen: list[str] = []
    while step not in seen:
        seen.append(step)
        step = min(n for n in by_id[step].needs if waiting[n] > 0)
    return " -> ".join([*reversed(seen[seen.index(step) :]), seen[-1]])


def _ends(by_id: Mapping[str, Step], ids: Sequence[str]) -> dict[str, float]:
    ends: dict[str, float] = {}
    for i in ids:
        ends[i] = by_id[i].forecast_s + max((ends[n] for n in by_id[i].needs), default=0.0)
    return ends


def _path(by_id: Mapping[str, Step], ends: Mapping[str, float], goals: Sequence[str]) -> set[str]:
    """The way that determines when the last of `goals` ends."""
    path: set[str] = set()
    at = max(goals, key=lambda i: ends[i], default="")
    while at:
        path.add(at)
        at = max(sorted(by_id[at].needs), key=lambda n: ends[n], default="")
    return path


def _beyond_return(by_id: Mapping[str, Step], ids: Sequence[str]) -> set[str]:
    """Steps after a promotion of the same system: clients may have written by then, so the only way is forward."""
    beyond: set[str] = set()
    for i in ids:
        step = by_id[i]
        before = (by_id[n] for n in step.needs)
        if any(b.system == step.system and (b.verb is Verb.PROMOTE or b.id in beyond) for b in before):
            beyond.add(i)
    return beyond
