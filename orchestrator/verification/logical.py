"""A replica that is given changes row by row: rows lie elsewhere there, and only some tables are copied.

Positions are the primary's, up to which the replica has confirmed to have applied everything; rows are compared by
their keys. On a *cut* writers of the copied tables are held at the primary until the replica has confirmed the position
(bounded as for any cut), and both sides take their snapshots. *Without locks* the primary takes its snapshot, the
replica its own once it has everything of it, and the rows that differ are read again (see `settle`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import msgspec

from orchestrator.model.observation import Verdict
from orchestrator.model.proof import NOTHING, ContentProof, Method, PositionProof, Sameness, TableProof
from orchestrator.model.rows import Address, Form, RowsUnreadable, Subscribed, Table, Trouble
from orchestrator.model.topology import Text
from orchestrator.verification import catalogue
from orchestrator.verification.apart import ApartJob, Side, Swept, apart_proof, compare_apart, side_by_side, sweep_apart
from orchestrator.verification.copies import NEVER
from orchestrator.verification.ground import LAG_LIMIT_S, SLOW, Ground, cut, live, why_live
from orchestrator.verification.options import Options, Pace
from orchestrator.verification.pacing import Brake
from orchestrator.verification.positions import Follower
from orchestrator.verification.result import explain, table_proof, unknown
from orchestrator.verification.rows import MOST, Found, batches, restless
from orchestrator.verification.settle import settle
from orchestrator.verification.source import RowSource
from orchestrator.verification.spans import Job

WHY = Text(en="a logical replica: rows are compared by key", zh="逻辑副本：按主键比对行")
NOT_TAKEN = Text(en="the replica does not subscribe to it", zh="该副本未订阅此表")
COPYING = Text(en="its first copy is still under way", zh="其初始复制仍在进行")
FILTERED = Text(en="published with a row filter or a column list", zh="发布时带有行过滤或列清单")
OTHER_COLUMNS = Text(en="the columns differ", zh="列不同")
NAMELESS = Text(
    en="rows differ that may have been changed meanwhile, and without a key they cannot be read again",
    zh="存在差异的行可能正被修改，且无主键，无法再次读取",
)
TOO_MANY = Text(en=f"more than {MOST:,} rows differ or were changed meanwhile", zh=f"超过 {MOST:,} 行不同或正被修改")


class Subscriber(Follower):
    """A logical replica beside its primary: it has what the readers of its streams have confirmed to have applied."""

    def __init__(self, primary: RowSource, replica: RowSource, streams: tuple[str, ...], within_s: float) -> None:
        super().__init__(primary, replica, within_s)
        self._streams = streams

    async def has(self, position: int) -> bool:
        """Whether it has applied everything up to a position."""
        self.replayed = await self.primary.confirmed(self._streams)
        if not self.replayed:
            raise RowsUnreadable(Trouble.LATE, self.replica.instance, "has no slot at the primary")
        return self.replayed >= position


async def logical_position(follower: Subscriber) -> PositionProof:
    """Take a fresh position and time until the replica has applied everything before it."""
    target = 0
    try:
        target = await follower.mark()
        took_s = await follower.reach(target)
    except RowsUnreadable as error:
        verdict = Verdict.FAIL if error.trouble is Trouble.LATE else Verdict.UNKNOWN
        return PositionProof(verdict=verdict, target=target, reason=explain(error))
    return PositionProof(
        verdict=Verdict.PASS, target=target, received=target, replayed=target, received_s=took_s, replayed_s=took_s
    )


async def prove_logical(follower: Subscriber, options: Options, pace: Pace) -> ContentProof:
    """Compare every table that the replica subscribes to; never raises for a copy that cannot be read."""
    begun = time.monotonic()
    run = _Run(follower, options, pace, begun + options.timeout_s)
    reason = NOTHING
    try:
        await follower.measure_lag(LAG_LIMIT_S)
        for database in await follower.replica.databases():
            taken = await follower.replica.subscribed(database)
            if taken:
                await run.database(database, {t.table: t for t in taken})
    except RowsUnreadable as error:
        reason = explain(error)
    told = any(t.sameness in {Sameness.EQUAL, Sameness.DIFFERENT} for t in run.proofs)
    return ContentProof(
        method=run.method,
        why=run.why,
        position=run.position or None,
        held_s=run.held_s,
        took_s=time.monotonic() - begun,
        rows_per_s=pace.rows_per_s,
        tables=tuple(run.proofs),
        reason=reason if reason.en or told else NEVER,
    )


class _Run:
    """One comparison."""

    def __init__(self, follower: Subscriber, options: Options, pace: Pace, deadline: float) -> None:
        self._follower, self._options, self._pace = follower, options, pace
        self._name = follower.replica.instance
        self._deadline, self._brake = deadline, Brake(options.max_load)
        self.proofs: list[TableProof] = []
        self.method, self.why = Method.CUT, WHY
        self.held_s = 0.0
        self.position = 0

    async def database(self, database: str, taken: Mapping[str, Subscribed]) -> None:
        """One database of both."""
        primary, replica = self._follower.primary, self._follower.replica
        filtered = await primary.filtered(database)
        theirs = {t.full_name: t for t in await replica.tables(database)}
        pairs: list[tuple[Table, Table]] = []
        for table in catalogue.chosen(await primary.tables(database), self._options.tables):
            other = theirs.get(table.full_name)
            left_out = _left_out(table, other, taken.get(table.full_name), table.full_name in filtered)
            if left_out is not None:
                self.proofs.append(left_out)
            elif other is not None:
                pairs.append(side_by_side(table, other))
        if pairs:
            await self._compare(database, pairs)

    async def _compare(self, database: str, pairs: Sequence[tuple[Table, Table]]) -> None:
        left_to_do = [left for left, _ in pairs]
        try:
            ground = await self._cut(database, left_to_do)
            if isinstance(ground, Text):
                self.method, self.why = Method.RECHECK, Text(en=f"{WHY.en}; {ground.en}", zh=f"{WHY.zh}；{ground.zh}")
                ground = await self._without_locks(database)
            self.position, self.held_s = ground.position, max(self.held_s, ground.held_s)
            try:
                form = await self._form()
                for left, right in pairs:
                    sides = Side(left, ground.primary), Side(right, ground.views[self._name])
                    job = ApartJob(*sides, form, self._pace, self._options.show_values, self._brake)
                    self.proofs.append(await self._table(job, ground))
                    left_to_do.remove(left)
            finally:
                await ground.close()
        except RowsUnreadable as error:
            self.proofs += [unknown(left, error, self.method) for left in left_to_do]

    async def _cut(self, database: str, tables: Sequence[Table]) -> Ground | Text:
        """Both snapshots at one position, with writers of these tables held until then; or why that cannot be."""
        if why := why_live(self._options.locks, self._follower.lag_s):
            return why
        followers = {self._name: self._follower}
        ground = await cut(database, self._follower.primary, followers, tables, self._pace.say)
        if isinstance(ground, Text) or self._name in ground.views:
            return ground
        await ground.close()
        return SLOW

    async def _without_locks(self, database: str) -> Ground:
        """The primary's snapshot, and one of the replica that holds all of it, and more."""
        ground = Ground(Method.RECHECK, await self._follower.primary.view(database), {self._name: self._follower})
        try:
            ground.views[self._name] = await self._follower.replica.view(database)
            await ground.primary.freeze()
            ground.position = await self._follower.mark()
            await self._follower.reach(ground.position)
            await ground.views[self._name].freeze()
        except BaseException:
            await ground.close()
            raise
        return ground

    async def _form(self) -> Form:
        sides = (self._follower.primary, self._follower.replica)
        ours, theirs = [await side.standing(self._options.within_s) for side in sides]
        return Form.RECORD if ours.version == theirs.version and not self._options.text else Form.TEXT

    async def _table(self, job: ApartJob, ground: Ground) -> TableProof:
        table = job.left.table
        try:
            async with asyncio.timeout(max(0.0, self._deadline - time.monotonic())):
                if ground.frozen:
                    proof = await compare_apart(job, self._options.named)
                else:
                    proof = await self._again(job, await sweep_apart(job, MOST))
        except TimeoutError:
            return table_proof(table, Sameness.UNKNOWN, catalogue.OVERDUE, ground.method)
        if await self._follower.primary.mark_of(table) != table.mark:
            return catalogue.altered(table, ground.method)
        return msgspec.structs.replace(proof, method=ground.method, position=ground.position)

    async def _again(self, job: ApartJob, swept: Swept) -> TableProof:
        """What the snapshots showed, once the rows that differ there have been read again."""
        table = job.left.table
        if not swept.differs:
            return apart_proof(table, Sameness.EQUAL, swept, swept.found)
        if not table.key:
            return apart_proof(table, Sameness.UNKNOWN, swept, Found(), NAMELESS)
        rows = (row for pair in swept.found.pairs for row in (pair.left, pair.right) if row)
        found = await self._settled(job, {row.key for row in rows})
        if found.differing:
            more = found.more or swept.found.more or found.undecided > 0
            return apart_proof(table, Sameness.DIFFERENT, swept, replace(found, more=more))
        if swept.found.more or found.undecided:
            reason = TOO_MANY if swept.found.more else restless(found)
            return apart_proof(table, Sameness.UNKNOWN, swept, found, reason)
        return apart_proof(table, Sameness.EQUAL, swept, found)

    async def _settled(self, job: ApartJob, keys: Iterable[str]) -> Found:
        found, table = Found(keep=self._options.named), job.left.table
        followers = {self._name: self._follower}
        ground = await live(table.database, self._follower.primary, followers)
        try:
            again = Job(ground=ground, table=table, form=job.form, pace=self._pace, show=job.show)
            for batch in batches(sorted(keys)):
                settled = await settle(again, self._name, Address.KEY, batch, own_versions=True)
                found.add(settled.pairs)
                found.undecided += len(settled.undecided)
                found.rounds = max(found.rounds, settled.rounds)
        finally:
            await ground.close()
        return found


def _left_out(table: Table, other: Table | None, taken: Subscribed | None, filtered: bool) -> TableProof | None:
    """The result of a table that is not compared; None: it is."""
    if table.skip is not None:
        return catalogue.skipped(table, Method.CUT)
    if taken is None or filtered:
        return table_proof(table, Sameness.SKIPPED, FILTERED if filtered else NOT_TAKEN, Method.CUT)
    if not taken.ready:
        return table_proof(table, Sameness.UNKNOWN, COPYING, Method.CUT)
    if other is None or {(c.name, c.type) for c in table.columns} != {(c.name, c.type) for c in other.columns}:
        return table_proof(table, Sameness.DIFFERENT, OTHER_COLUMNS, Method.CUT)
    return None
