"""Only what has changed since the last proof: sound where the log names every changed page, and only there.

It rests on a proof that was made on a consistent cut: every writer was held, so no change was under way at its
position, and whatever is shown otherwise today was written behind it in the log. It needs the same table (its mark),
the same copies (their files were not made anew), a log that is kept since then, and a server that reads it to us. What
it does not see is what no log tells: storage that rots, or an edit of files. A whole comparison sees that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from orchestrator.model.proof import Sameness, TableProof
from orchestrator.model.rows import RowsUnreadable, Table
from orchestrator.model.topology import Text
from orchestrator.verification.copies import Comparison
from orchestrator.verification.ground import Ground
from orchestrator.verification.ledger import Proven
from orchestrator.verification.result import explain


@dataclass(frozen=True)
class Increment:
    """Which pages of which tables are to be read."""

    changed: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    since: Mapping[str, int] = field(default_factory=dict)
    """Positions of the proofs that are rested on, by `schema.table`."""
    why_not: Mapping[str, Text] = field(default_factory=dict)
    """Why a table is read as a whole though only changes were asked for; of all tables: under the empty name."""

    def whole(self, table: Table) -> bool:
        """All of the table is to be read."""
        return table.full_name not in self.since

    def pages(self, table: Table) -> tuple[int, ...] | None:
        """The pages that have changed; None: all are to be read."""
        return None if self.whole(table) else self.changed.get(table.full_name, ())

    def note(self, table: Table, proof: TableProof) -> TableProof:
        """Say what the result rests on, or why all was read."""
        if not self.whole(table) and proof.sameness is Sameness.EQUAL:
            pages = len(self.changed.get(table.full_name, ()))
            text = Text(
                en=f"{pages} of {table.pages} pages were written since the last proof",
                zh=f"自上次证明以来 {table.pages} 页中有 {pages} 页被写入",
            )
            return msgspec.structs.replace(proof, since=self.since[table.full_name], reason=text)
        why = self.why_not.get(table.full_name) or self.why_not.get("")
        return msgspec.structs.replace(proof, read_whole=why) if why else proof


def resting() -> Increment:
    """Everything is read."""
    return Increment()


NO_BASE = Text(en="no earlier proof on a consistent cut", zh="此前没有基于一致性切点的证明")


async def increment(run: Comparison, ground: Ground, database: str, tables: Sequence[Table]) -> Increment:
    """What has changed since the proofs of the replicas of a cut; reads all where that cannot be told."""
    if not run.options.incremental:
        return resting()
    bases = {t.full_name: base for t in tables if (base := _base(run, ground, t)) is not None}
    lacking = {t.full_name: NO_BASE for t in tables if t.full_name not in bases}
    if not bases:
        return Increment(why_not=lacking)
    resting_on = tuple(t for t in tables if t.full_name in bases)
    try:
        first = min(base.position for base in bases.values())
        changed = await run.primary.changed(database, first, ground.position, resting_on)
    except RowsUnreadable as error:
        why = explain(error)
        return Increment(why_not={"": why})
    since = {name: base.since or base.position for name, base in bases.items()}
    return Increment(changed=changed, since=since, why_not=lacking)


def _base(run: Comparison, ground: Ground, table: Table) -> Proven | None:
    """The oldest proof of a table among the replicas of the cut, if every one of them has one."""
    found = [run.ledger.proven(name, table, run.copies[name].copies) for name in ground.views]
    proven = [p for p in found if p is not None and p.on_cut]
    return min(proven, key=lambda p: p.position) if len(proven) == len(found) and proven else None
