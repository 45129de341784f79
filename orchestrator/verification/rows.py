"""Compares the rows of one table at the primary and at the replicas that stand on the same ground."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import msgspec

from orchestrator.model.proof import Sameness, TableProof
from orchestrator.model.rows import Address, RowPrint, RowsUnreadable, Span
from orchestrator.model.topology import Text
from orchestrator.verification.result import Pair, difference, explain, pair_rows, table_proof, unknown
from orchestrator.verification.settle import settle
from orchestrator.verification.source import RowView
from orchestrator.verification.spans import Job, Sweep, batches_of, narrow, sweep

BATCH = 500
"""Suspect rows that are looked at together."""
LEAVES = 64
"""Leaves that are listed together, with one wait for the replica."""
MOST = 10_000
"""After so many differing rows the rest of a table is not listed."""


@dataclass
class Found:
    """What is known of one table at one replica."""

    pairs: list[Pair] = field(default_factory=list)
    differing: int = 0
    undecided: int = 0
    rounds: int = 0
    position: int = 0
    more: bool = False
    keep: int = 20

    def add(self, pairs: Sequence[Pair]) -> None:
        """Count differing rows and keep the first ones."""
        self.differing += len(pairs)
        self.pairs += pairs[: max(0, self.keep - len(self.pairs))]
        self.more = self.more or self.differing >= MOST


async def compare_table(
    job: Job, replicas: Sequence[str], named: int, begun: Mapping[str, Sweep] = MappingProxyType({})
) -> Mapping[str, TableProof]:
    """Compare one table at every replica of the ground, from where what was `begun` has come to; a copy that cannot be
    read makes its result unknown, and what was compared before stays in `begun`.
    """
    first = min((begun[name].next_page if name in begun else 0 for name in replicas), default=0)
    swept = await sweep(job, batches_of(job.table, job.at_once, first, job.pages), replicas, begun)
    proofs = await asyncio.gather(*(_conclude(job, name, found, named) for name, found in swept.items()))
    return dict(zip(swept, proofs, strict=True))


async def _conclude(job: Job, replica: str, swept: Sweep, named: int) -> TableProof:
    found = Found(keep=named, position=job.ground.position)
    trouble = swept.trouble
    if trouble is None and swept.differing:
        try:
            trouble = await _look_closely(job, replica, swept, found)
        except RowsUnreadable as error:
            trouble = error
    if job.ground.followers[replica].replayed > found.position and not job.ground.frozen:
        found.position = job.ground.followers[replica].replayed
    return _proof(job, swept, found, trouble)


async def _look_closely(job: Job, replica: str, swept: Sweep, found: Found) -> RowsUnreadable | None:
    leaves = await narrow(job, swept.differing, replica)
    swept.damaged += leaves.damaged
    suspects: dict[str, set[str]] = {}
    for start in range(0, len(leaves.differing), LEAVES):
        suspects |= await _suspects(job, replica, leaves.differing[start : start + LEAVES])
        if len(suspects) >= BATCH:
            await _confirm(job, replica, suspects, found)
            suspects = {}
        if found.more:
            return leaves.trouble
    await _confirm(job, replica, suspects, found)
    return leaves.trouble


async def _suspects(job: Job, replica: str, leaves: Sequence[Span]) -> dict[str, set[str]]:
    """Places at which the copies show different rows, with the keys of those rows."""
    ours = await _prints(job, job.ground.primary, leaves)
    await job.ground.pass_by(replica, await job.ground.position_now(replica))
    theirs = await _prints(job, job.ground.views[replica], leaves)
    differing = {(row.place, row.print) for row in ours} ^ {(row.place, row.print) for row in theirs}
    suspects: dict[str, set[str]] = {place: set() for place, _ in differing}
    for row in (*ours, *theirs):
        if row.place in suspects:
            suspects[row.place].add(row.key)
    return suspects


async def _prints(job: Job, view: RowView, leaves: Sequence[Span]) -> list[RowPrint]:
    return list(await view.prints(job.table, job.form, tuple(leaves)))


async def _confirm(job: Job, replica: str, suspects: Mapping[str, set[str]], found: Found) -> None:
    """Keep of the suspects what is certain."""
    for batch in batches(list(suspects)):
        if job.ground.frozen:
            ours = await job.ground.primary.rows(job.table, job.form, Address.PLACE, batch, job.show)
            theirs = await job.ground.views[replica].rows(job.table, job.form, Address.PLACE, batch, job.show)
            found.add(pair_rows(ours, theirs))
        else:
            await _settle(job, replica, {place: suspects[place] for place in batch}, found)


async def _settle(job: Job, replica: str, suspects: Mapping[str, set[str]], found: Found) -> None:
    """By place first, since places need no index; rows that have left their place are followed by key."""
    by_place = await settle(job, replica, Address.PLACE, suspects)
    pairs, undecided, rounds = list(by_place.pairs), len(by_place.undecided), by_place.rounds
    named = {row.key for pair in pairs for row in (pair.left, pair.right) if row}
    moved = {key for place in (*by_place.gone, *by_place.undecided) for key in suspects[place]} - named
    if job.table.key and moved:
        by_key = await settle(job, replica, Address.KEY, moved)
        pairs += by_key.pairs
        undecided, rounds = len(by_key.undecided), rounds + by_key.rounds
    found.add(_merge(pairs))
    found.undecided += undecided
    found.rounds = max(found.rounds, rounds)


def _merge(pairs: Sequence[Pair]) -> tuple[Pair, ...]:
    """A row that both copies hold at different places is one difference, not a missing and an extra one."""
    return pair_rows((p.left for p in pairs if p.left), (p.right for p in pairs if p.right))


def batches(places: list[str]) -> list[tuple[str, ...]]:
    """So many as are looked at together."""
    return [tuple(places[start : start + BATCH]) for start in range(0, len(places), BATCH)]


def _proof(job: Job, swept: Sweep, found: Found, trouble: RowsUnreadable | None) -> TableProof:
    table, method = job.table, job.ground.method
    if found.differing or swept.damaged:
        proof = table_proof(table, Sameness.DIFFERENT, _damage(swept), method)
    elif trouble is not None:
        return unknown(table, trouble, method)
    elif found.undecided:
        proof = table_proof(table, Sameness.UNKNOWN, restless(found), method)
    else:
        proof = table_proof(table, Sameness.EQUAL, None, method)
    return msgspec.structs.replace(
        proof,
        rows_left=swept.left.rows,
        rows_right=swept.right.rows,
        differences=tuple(difference(pair) for pair in found.pairs),
        differing=found.differing,
        more=found.more or trouble is not None or bool(swept.damaged) or bool(found.undecided),
        rounds=found.rounds,
        position=found.position,
    )


def _damage(swept: Sweep) -> Text | None:
    return explain(swept.damaged[0]) if swept.damaged else None


def restless(found: Found) -> Text:
    """Why rows could not be told."""
    return Text(
        en=f"{found.undecided} rows were changed at every one of {found.rounds} looks",
        zh=f"{found.undecided} 行在 {found.rounds} 次读取中一直变化",
    )
