"""What a run's history decides: which step may begin, what is undone and in which order, how the run has ended. Pure.

The executor asks these while it runs, and the prover for every state that a run can come to: one set of rules.
"""

from __future__ import annotations

from orchestrator.execution.history import History
from orchestrator.model.plan import EXERCISES, Plan, ScenarioKind, Step, Undo, Verb
from orchestrator.model.run import RunState


def may_start(plan: Plan, history: History, step: Step) -> bool:
    """Whether a step whose needs are done may begin, by what has failed so far."""
    if history.aborting or step.id in history.failed:
        return False
    if any(s.system == step.system for s in plan.steps if s.id in history.undoing):
        return False
    broken = history.broken
    if not broken or step.system in history.promoted:
        return True
    return plan.kind is ScenarioKind.FAILOVER and step.system not in {s.system for s in broken}


def way_back(plan: Plan, history: History) -> tuple[Step, ...]:
    """Steps to undo now, in the order of undoing; empty where nothing has failed (or everything is past return).

    A way back that a resumed run finds begun is gone to its end: such a system cannot go forward any more.
    """
    midway = {s.system for s in plan.steps if s.id in history.undoing and s.id not in history.undone}
    failing = bool(history.broken or history.aborting)
    if not (failing or midway):
        return ()
    kept = set(history.promoted)
    if not failing:
        kept |= {s.system for s in plan.steps} - midway - {""}
    elif not history.aborting and (plan.kind is ScenarioKind.FAILOVER or kept):
        kept |= {s.system for s in plan.steps} - history.incomplete - midway - {""}
    back = [s for s in history.changed if s.system and s.system not in kept]
    if not any(s.system in kept for s in history.changed):
        back = [s for s in history.changed if not s.system or s.system not in kept]
    ordered = [s for s in reversed(back) if undo_of(s) is not None or s.verb is not Verb.HEAL]
    # The fault is taken away first: what is put back meets a world that works.
    return tuple(sorted(ordered, key=lambda s: s.verb is not Verb.INJECT))


def conclude(plan: Plan, history: History) -> tuple[RunState, tuple[str, ...]]:
    """The state that a run has come to, and what is missing or where it stands, in words."""
    if plan.mode in EXERCISES:
        return _conclude_exercise(history)
    open_steps = [s for s in plan.steps if s.id not in history.done or s.id in history.undone]
    lacking = tuple(_lacking(s, history) for s in open_steps)
    left = [s for s in history.changed if s.verb is not Verb.HEAL]
    if history.aborting:
        return (RunState.PARTIAL, _standing(plan, history)) if left else (RunState.ABORTED, ())
    if history.broken or any(not history.tolerated(s) for s in open_steps):
        if left:
            return RunState.PARTIAL, _standing(plan, history)
        return RunState.UNDONE, tuple(f"{s.id}: {history.failed[s.id]}" for s in history.broken) or lacking
    return (RunState.DEGRADED, lacking) if open_steps else (RunState.DONE, ())


def _conclude_exercise(history: History) -> tuple[RunState, tuple[str, ...]]:
    failures = tuple(f"{step}: {reason}" for step, reason in history.failed.items())
    if history.aborting:
        return RunState.ABORTED, ()
    return (RunState.DEGRADED, failures) if failures else (RunState.DONE, ())


def _lacking(step: Step, history: History) -> str:
    standing = "undone" if step.id in history.undone else "not done, because of a step that it needs"
    reason = history.failed.get(step.id) or standing
    return f"{step.id}: {reason}"


def _standing(plan: Plan, history: History) -> tuple[str, ...]:
    """What is where: for each system the last change that stands, and what is not done."""
    lines: list[str] = []
    for system in dict.fromkeys(s.system for s in plan.steps):
        stands = [s for s in history.changed if s.system == system]
        steps = [s for s in plan.steps if s.system == system]
        name = system or plan.estate
        if stands:
            lines.append(f"{name}: stands changed by {', '.join(s.id for s in stands)}")
        elif any(s.id in history.undone for s in steps):
            lines.append(f"{name}: undone")
        lines += [
            f"{s.id}: cannot be undone: {history.undo_failed[s.id]}" for s in steps if s.id in history.undo_failed
        ]
        lines += [_lacking(s, history) for s in steps if s.id not in history.done and s.id not in history.undone]
    return tuple(lines)


def undo_of(step: Step) -> Undo | None:
    """The way back of a step; None where it has none."""
    if step.undo is None and step.verb is Verb.INJECT:
        return Undo(verb=Verb.HEAL, instance="")
    return step.undo
