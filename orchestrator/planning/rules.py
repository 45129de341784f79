"""What no plan may lack, whatever its runbook says: the least that keeps an edited runbook from doing harm. Pure.

Leaves out the proof over every interleaving and every crash (prover).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from orchestrator.model.plan import Fact, Step, Verb
from orchestrator.planning.graph import closure
from orchestrator.planning.situation import DataMove

Rule = Callable[[Mapping[str, Step], Mapping[str, DataMove]], Iterator[str]]


def broken(steps: Sequence[Step], moves: Sequence[DataMove], attested: Collection[str] = ()) -> tuple[str, ...]:
    """Every rule that the steps break, with the step; empty where none is.

    A primary in an `attested` centre needs no step that disarms it before: the gates rest on people's word.
    """
    by_id = {s.id: s for s in steps}
    by_service = {m.service.id: m for m in moves}
    found = tuple(reason for rule in RULES for reason in rule(by_id, by_service))
    off = {m.service.id for m in moves if m.standing.primary in attested}
    return (*found, *_unarmed(by_id, by_service, off))


def _promotions(steps: Mapping[str, Step], moves: Mapping[str, DataMove]) -> Iterator[str]:
    for step in _of(steps, Verb.PROMOTE):
        move = moves.get(step.service)
        if move is None or move.loss is None:
            yield f"{step.id}: promotes where no primary is to move"
            continue
        old = f"{move.service.id}@{move.standing.primary}"
        gates = {(g.fact, g.instance): g.others for g in step.gates}
        if (Fact.CANNOT_ACK, old) not in gates:
            yield f"{step.id}: no gate `cannot_ack` on {old}"
        if move.loss.proven_zero and old not in gates.get((Fact.HOLDS_ALL, step.instance), ()):
            yield f"{step.id}: no gate `holds_all` against {old}, and no loss is accepted"


def _unarmed(steps: Mapping[str, Step], moves: Mapping[str, DataMove], off: Collection[str]) -> Iterator[str]:
    for step in _of(steps, Verb.PROMOTE):
        move = moves.get(step.service)
        if move is None or move.loss is None or step.service in off:
            continue
        old, zero = f"{move.service.id}@{move.standing.primary}", move.loss.proven_zero
        before = closure(steps, step.id, within=step.system)
        if not any(_disarms(steps[b], old, step.instance, zero) for b in before):
            yield f"{step.id}: nothing before it fences, demotes or cuts off {old}"


def _disarms(step: Step, old: str, candidate: str, sync: bool) -> bool:
    """Whether a step keeps the old primary from acknowledging; the loss of a standby does, while it waits for that."""
    if step.instance == old:
        return step.verb in {Verb.FENCE, Verb.DEMOTE}
    return sync and step.instance == candidate and step.verb is Verb.REPOINT and not step.towards


def _every_move_promotes(steps: Mapping[str, Step], moves: Mapping[str, DataMove]) -> Iterator[str]:
    promoted = {s.service for s in _of(steps, Verb.PROMOTE)}
    for service in sorted(s for s, m in moves.items() if m.moves and s not in promoted):
        yield f"{service}: its primary is to move, and no step promotes one"


def _redirections(steps: Mapping[str, Step], moves: Mapping[str, DataMove]) -> Iterator[str]:
    systems = {m.service.system for m in moves.values()}
    promotions = {s.system: s.id for s in _of(steps, Verb.PROMOTE)}
    for step in _of(steps, Verb.REDIRECT):
        facts = {g.fact for g in step.gates}
        if step.system in systems and Fact.WRITABLE_PRIMARY not in facts:
            yield f"{step.id}: no gate `writable_primary` on what its users will write to"
        if not facts:
            yield f"{step.id}: no gate on what it leads to"
        if not step.towards:
            yield f"{step.id}: leads to nobody"
        promotion = promotions.get(step.system)
        if promotion and promotion not in closure(steps, step.id, within=step.system):
            yield f"{step.id}: does not wait for {promotion}"


def _protection(steps: Mapping[str, Step], moves: Mapping[str, DataMove]) -> Iterator[str]:
    rejoined = {s.instance for s in _of(steps, Verb.REJOIN)}
    confirmed = {c.instance for s in _of(steps, Verb.CONFIRM) for c in s.verify}
    for step in _of(steps, Verb.PROMOTE):
        move = moves.get(step.service)
        if move is None:
            continue
        old = f"{move.service.id}@{move.standing.primary}"
        if old not in rejoined:
            yield f"{step.id}: {old} never comes back (no `rejoin`)"
        missing = sorted(i.id for i in move.service.instances if i.id not in confirmed)
        if missing:
            yield f"{step.id}: nothing confirms at the end {', '.join(missing)}"


def _healing(steps: Mapping[str, Step], _: Mapping[str, DataMove]) -> Iterator[str]:
    fences = {s.id for s in _of(steps, Verb.FENCE)}
    for step in _of(steps, Verb.HEAL):
        for fence in sorted(fences - closure(steps, step.id)):
            yield f"{step.id}: would wake an old primary before {fence}"


def _of(steps: Mapping[str, Step], verb: Verb) -> Iterator[Step]:
    return (s for s in steps.values() if s.verb is verb)


RULES: tuple[Rule, ...] = (_promotions, _every_move_promotes, _redirections, _protection, _healing)
