"""The program with one safeguard broken at a time; the simulator must notice. `make sim-mutations` prints how soon.

A mutation replaces one function of the shipped code (or one rule that the world's instances keep) while seeds are run.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import sys
from collections.abc import Collection, Iterator
from typing import Any
from unittest import mock

import msgspec
from msgspec.structs import replace

from orchestrator import executor
from orchestrator.checks import conditions
from orchestrator.checks.base import Ruling, yes
from orchestrator.checks.evidence import Evidence
from orchestrator.evidence.journal import Journal
from orchestrator.execution import decisions, stepper
from orchestrator.execution.history import History
from orchestrator.execution.runlog import RunLog
from orchestrator.machine import table
from orchestrator.model.observation import Finding, Verdict
from orchestrator.model.plan import Condition, Fact, Plan, Step, Verb
from orchestrator.model.run import Event, Record
from tests.simulation import lives
from tests.simulation.driver import Driver
from tests.simulation.situations import ground_states, situations

ENOUGH = 20_000
"""A mutation that is not caught in so many seeds is not caught."""


class Mutation(msgspec.Struct, frozen=True, kw_only=True):
    """One broken safeguard."""

    name: str
    target: Any
    attribute: str
    replacement: Any


def _patched(mutation: Mutation) -> contextlib.AbstractContextManager[Any]:
    if isinstance(mutation.target, dict):
        return mock.patch.dict(mutation.target, {mutation.attribute: mutation.replacement})
    return mock.patch.object(mutation.target, mutation.attribute, mutation.replacement)


async def _no_gates(self: stepper.Stepper, step: Step) -> tuple[Finding, ...]:
    return ()


def _no_judgement(self: stepper.Stepper, step: Step, findings: Collection[Finding]) -> None:
    """Whatever was seen opens the gate."""
    with contextlib.suppress(stepper.StepFailed):
        _WRITE_JUDGEMENT(self, step, findings)


def _nothing_judged(self: stepper.Stepper, step: Step, findings: Collection[Finding]) -> None:
    """Not even written down."""


def _not_failed(findings: Collection[Finding]) -> bool:
    return all(f.verdict is not Verdict.FAIL for f in findings)


def _reversed_way_back(plan: Plan, history: History) -> tuple[Step, ...]:
    return tuple(reversed(decisions.way_back(plan, history)))


async def _unsynced(self: RunLog, *, must: bool = False) -> None:
    self._journal.check_epoch()


async def _no_wait(self: stepper.Stepper, step: Step) -> None:
    """The proof of an effect is not waited for."""


def _forget_fences(self: History, record: Record) -> None:
    _EFFECT_DONE(self, record)
    self.fenced.clear()


def _forget_promotions(self: History) -> frozenset[str]:
    return frozenset()


def _go_on_after_undo(plan: Plan, history: History, step: Step) -> bool:
    blind = History(plan)
    blind.__dict__.update({**history.__dict__, "undoing": set()})
    return _MAY_START(plan, blind, step)


def _same_epoch(self: lives.SimRun) -> int:
    return max(1, self._home.epoch, self._epoch_floor())


def _any_epoch(ground: Any, world: Any, act: Any) -> str:
    why = _REFUSAL(ground, world, act)
    return _REFUSAL(ground, world, replace(act, epoch=1 << 30)) if "has seen epoch" in why else why


def _deaf_to_takeover(self: Journal) -> None:
    """A superseded executor goes on."""


def _always(condition: Condition, evidence: Evidence) -> Ruling:
    return yes("never looked", "未观测")


async def _impatient(self: Any, step: Step) -> None:
    """Promotions and what follows begin at once, whatever they need; and nobody looks."""
    needless = replace(step, needs=()) if step.verb is Verb.PROMOTE else step
    await _DRIVE(self, needless)


def _nothing_done(self: History, record: Record) -> None:
    """A resumed run has forgotten what is done."""


def _undo_promoted(plan: Plan, history: History) -> tuple[Step, ...]:
    with mock.patch.object(History, "promoted", property(_forget_promotions)):
        return decisions.way_back(plan, history)


def _one_step_early(self: RunLog, event: Event, *args: Any, **more: Any) -> Record:
    """The start of an effect is not written down."""
    return _WRITE(self, Event.STEP_STARTED if event is Event.EFFECT_STARTED else event, *args, **more)


_EFFECT_DONE = History._effect_done
_MAY_START = decisions.may_start
_REFUSAL = table.refusal
_DRIVE = executor._Engine._drive
_WRITE = RunLog.write
_WRITE_JUDGEMENT = stepper.Stepper._write_judgement

MUTATIONS: tuple[Mutation, ...] = (
    Mutation(
        name="gates are not looked at again", target=stepper.Stepper, attribute="_open_gates", replacement=_no_gates
    ),
    Mutation(
        name="a shut gate does not stop a step",
        target=stepper.Stepper,
        attribute="_write_judgement",
        replacement=_no_judgement,
    ),
    Mutation(name="unknown passes", target=stepper, attribute="_all_pass", replacement=_not_failed),
    Mutation(name="no proof is waited for", target=stepper.Stepper, attribute="_prove", replacement=_no_wait),
    Mutation(
        name="undone in the order of doing", target=executor, attribute="way_back", replacement=_reversed_way_back
    ),
    Mutation(name="promotions are undone", target=executor, attribute="way_back", replacement=_undo_promoted),
    Mutation(name="steps begin after an undo", target=executor, attribute="may_start", replacement=_go_on_after_undo),
    Mutation(name="a promotion waits for no step", target=executor._Engine, attribute="_drive", replacement=_impatient),
    Mutation(name="the journal is not synced", target=RunLog, attribute="settle", replacement=_unsynced),
    Mutation(
        name="the start of an effect is not written", target=RunLog, attribute="write", replacement=_one_step_early
    ),
    Mutation(name="an epoch is used again", target=lives.SimRun, attribute="_next_epoch", replacement=_same_epoch),
    Mutation(name="instances take any epoch", target=table, attribute="refusal", replacement=_any_epoch),
    Mutation(name="a takeover is not noticed", target=Journal, attribute="check_epoch", replacement=_deaf_to_takeover),
    Mutation(name="fences are forgotten", target=History, attribute="_effect_done", replacement=_forget_fences),
    Mutation(name="what is done is forgotten", target=History, attribute="_done", replacement=_nothing_done),
    Mutation(name="holds-all always passes", target=conditions.JUDGES, attribute=Fact.HOLDS_ALL, replacement=_always),
    Mutation(name="cannot-ack always passes", target=conditions.JUDGES, attribute=Fact.CANNOT_ACK, replacement=_always),
    Mutation(
        name="writable-primary always passes",
        target=conditions.JUDGES,
        attribute=Fact.WRITABLE_PRIMARY,
        replacement=_always,
    ),
    Mutation(name="standby-of always passes", target=conditions.JUDGES, attribute=Fact.STANDBY_OF, replacement=_always),
    Mutation(name="calls always passes", target=conditions.JUDGES, attribute=Fact.CALLS, replacement=_always),
)
_RULED = {"_effect_done": Event.EFFECT_DONE, "_done": Event.STEP_DONE}


@contextlib.contextmanager
def broken(mutation: Mutation) -> Iterator[None]:
    """The program with this safeguard broken."""
    from orchestrator.execution import history
    from orchestrator.simulation import states

    with contextlib.ExitStack() as stack:
        stack.enter_context(_patched(mutation))
        if mutation.target is History and mutation.attribute in _RULED:
            rules = history._RULES
            assert isinstance(rules, dict)
            stack.enter_context(mock.patch.dict(rules, {_RULED[mutation.attribute]: mutation.replacement}))
        if mutation.target is table:
            stack.enter_context(mock.patch.object(states, "refusal", mutation.replacement))
        if mutation.attribute == "_open_gates":
            stack.enter_context(mock.patch.object(stepper.Stepper, "_write_judgement", _nothing_judged))
        _forget_states()
        try:
            yield
        finally:
            stack.close()
            _forget_states()


def _forget_states() -> None:
    for one in situations():
        ground_states(one.words.estate)._known.clear()


def seeds_until_caught(mutation: Mutation, most: int = ENOUGH) -> tuple[int, str]:
    """How many seeds it took, and the rule that was broken; (0, "") where none was in `most` seeds."""
    driver = Driver()
    with broken(mutation):
        for seed in range(most):
            result = driver.seed(seed)
            if result.violations:
                return seed + 1, result.violations[0][0]
    return 0, ""


def _timed(name: str) -> tuple[str, int, str]:
    mutation = next(m for m in MUTATIONS if m.name == name)
    return (name, *seeds_until_caught(mutation, _most[0]))


_most = [ENOUGH]


def main() -> int:
    """Print the table; 1 where a mutation lives."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.mutations", description=__doc__)
    parser.add_argument("--most", type=int, default=ENOUGH, help=f"seeds for each (default {ENOUGH})")
    _most[0] = parser.parse_args().most
    situations()
    alive = 0
    print(f"{'what is broken':<40}{'seeds':>7}  noticed by")
    with multiprocessing.get_context("fork").Pool() as pool:
        for name, seeds, rule in pool.imap(_timed, [m.name for m in MUTATIONS]):
            alive += not seeds
            print(f"{name:<40}{seeds or 'none':>7}  {rule or 'NOBODY'}", flush=True)
    return 1 if alive else 0


if __name__ == "__main__":
    sys.exit(main())
