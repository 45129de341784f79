"""What a comparison knows of each replica while it runs, and what it remembers of it for the next run."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import msgspec

from orchestrator.model.proof import NOTHING, ContentProof, Method, Sameness, TableProof
from orchestrator.model.rows import Form, RowsUnreadable, Table
from orchestrator.model.topology import Text
from orchestrator.verification.ground import Ground
from orchestrator.verification.ledger import Ledger, Proven, copies_of, now
from orchestrator.verification.options import Options, Pace
from orchestrator.verification.pacing import Brake
from orchestrator.verification.positions import Follower
from orchestrator.verification.result import table_proof
from orchestrator.verification.source import RowSource
from orchestrator.verification.spans import Sweep

NEVER = Text(en="no table was compared", zh="没有比对任何表")


@dataclass
class Copy:
    """One replica in the course of a comparison."""

    follower: Follower
    method: Method = Method.RECHECK
    why: Text = NOTHING
    position: int | None = None
    held_s: float = 0.0
    proofs: dict[tuple[str, str], TableProof] = field(default_factory=dict)
    reason: Text = NOTHING
    copies: str = ""
    """What must be the same for a remembered proof to count (`ledger.copies_of`)."""
    sweeps: dict[tuple[str, str], Sweep] = field(default_factory=dict)
    """Tables that are being compared, and how far."""

    @property
    def name(self) -> str:
        return self.follower.replica.instance

    def take(self, proof: TableProof) -> None:
        """Keep the result of a table; a later one replaces it."""
        self.proofs[proof.database, proof.table] = proof

    def lacks(self, table: Table) -> bool:
        """No result of the table yet."""
        return (table.database, table.full_name) not in self.proofs

    def sweep(self, table: Table, ground: Ground) -> Sweep:
        """How far the table has been compared; begins where it was not."""
        key = (table.database, table.full_name)
        if key not in self.sweeps:
            self.sweeps[key] = Sweep()
        found = self.sweeps[key]
        found.trouble = None
        found.since = found.since or ground.position or self.follower.replayed
        return found

    def proof(self, took_s: float, rows_per_s: float, brake: Brake) -> ContentProof:
        """All that was found."""
        proof = ContentProof(
            method=self.method,
            why=self.why,
            position=self.position,
            held_s=self.held_s,
            took_s=took_s,
            rows_per_s=rows_per_s,
            tables=tuple(self.proofs.values()),
            reason=self.reason,
            effect=brake.effect,
        )
        told = proof.count(Sameness.EQUAL) + proof.count(Sameness.DIFFERENT)
        return proof if told or self.reason.en else msgspec.structs.replace(proof, reason=NEVER)


@dataclass
class Comparison:
    """Everything that one comparison works with."""

    primary: RowSource
    copies: dict[str, Copy]
    options: Options
    pace: Pace
    deadline: float
    """By time.monotonic()."""
    ledger: Ledger = field(default_factory=lambda: Ledger(None))
    brake: Brake = field(default_factory=Brake)

    @property
    def form(self) -> Form:
        return Form.TEXT if self.options.text else Form.RECORD

    @property
    def over(self) -> bool:
        """Its time has passed."""
        return time.monotonic() > self.deadline

    def followers(self, names: Iterable[str]) -> dict[str, Follower]:
        return {name: self.copies[name].follower for name in names}

    async def recall(self) -> None:
        """Learn which copies these are, for what is remembered of them."""
        if not self.ledger.kept:
            return
        ours = await self.primary.standing(self.options.within_s)
        for copy in self.copies.values():
            try:
                copy.copies = copies_of(ours, await copy.follower.replica.standing(self.options.within_s))
            except RowsUnreadable:
                copy.copies = ""

    def resume(self, tables: Sequence[Table], names: Sequence[str]) -> None:
        """Take over what an interrupted run had proven, and how far it had come."""
        for copy in (self.copies[name] for name in names):
            for table in tables:
                done = self.ledger.done_before(copy.name, table, copy.copies)
                if done is not None and self.options.resume:
                    copy.take(before(table, done))
                elif (half := self.ledger.half(copy.name, table, copy.copies)) is not None:
                    copy.sweeps[table.database, table.full_name] = half

    def in_order(self, tables: Sequence[Table], names: Sequence[str]) -> Sequence[Table]:
        """As the catalogue has them; in a rolling run the oldest proof first, what is half done before it."""
        if self.options.budget_s is None:
            return tables

        def age(table: Table) -> tuple[bool, str]:
            half = any((table.database, table.full_name) in self.copies[name].sweeps for name in names)
            return not half, min((self.ledger.last(name, table) for name in names), default="")

        return sorted(tables, key=age)

    def remember(self, copy: Copy, table: Table, proof: TableProof, ground: Ground) -> None:
        """Write down what came of a table."""
        if proof.sameness is Sameness.DIFFERENT:
            self.ledger.forget(copy.name, table.database, table.full_name)
        if proof.sameness is not Sameness.EQUAL or not copy.copies:
            return
        self.ledger.note_proven(
            Proven(
                instance=copy.name,
                database=table.database,
                table=table.full_name,
                mark=table.mark,
                copies=copy.copies,
                position=proof.position,
                since=proof.since,
                at=now(),
                on_cut=ground.frozen and not proof.resumed,
                rows=proof.rows_left,
            )
        )


def before(table: Table, done: Proven) -> TableProof:
    """A table that an interrupted run had proven."""
    reason = Text(en=f"proven at {done.at}, before the interruption", zh=f"中断前已于 {done.at} 证明")
    return msgspec.structs.replace(
        table_proof(table, Sameness.EQUAL, reason, Method.CUT if done.on_cut else Method.RECHECK),
        rows_left=done.rows,
        rows_right=done.rows,
        position=done.position,
        since=done.since,
        proven_at=done.at,
    )


def unfitted(last: str) -> Text:
    """Why a rolling run says nothing of something, and when it was last proven (ISO 8601; empty: never)."""
    if not last:
        return Text(en="did not fit into the budget, and was never proven", zh="超出时间预算，且从未得到证明")
    return Text(en=f"did not fit into the budget; last proven at {last}", zh=f"超出时间预算；上次证明于 {last}")


def left_out(table: Table, last: str) -> TableProof:
    """A table that a rolling run did not come to: named with its last proof; without one it could not be told."""
    found = table_proof(table, Sameness.SKIPPED if last else Sameness.UNKNOWN, unfitted(last), Method.RECHECK)
    return msgspec.structs.replace(found, proven_at=last)
