"""A replica that is given changes row by row: rows lie elsewhere there, and only some tables are copied.

The common position is the primary's, up to which the replica has confirmed to have applied everything. Writers of
the copied tables are held at the primary until it has (bounded as for any cut), both sides take their snapshots, and
rows are compared by their keys.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from orchestrator.model.observation import Verdict
from orchestrator.model.proof import NOTHING, ContentProof, Method, PositionProof, Sameness, TableProof
from orchestrator.model.rows import Form, RowsUnreadable, Subscribed, Table, Trouble
from orchestrator.model.topology import Text
from orchestrator.verification import catalogue
from orchestrator.verification.apart import ApartJob, Side, compare_apart
from orchestrator.verification.copies import NEVER
from orchestrator.verification.ground import HOLD_SPARE_S, LAG_LIMIT_S, LOCK_WAIT_S
from orchestrator.verification.options import Options, Pace
from orchestrator.verification.pacing import Brake
from orchestrator.verification.result import explain, table_proof, unknown
from orchestrator.verification.source import RowSource, RowView

LOOK_EVERY_S = 0.005
WHY = Text(en="a logical replica: rows are compared by key", zh="逻辑副本：按主键比对行")
NOT_TAKEN = Text(en="the replica does not subscribe to it", zh="该副本未订阅此表")
COPYING = Text(en="its first copy is still under way", zh="其初始复制仍在进行")
FILTERED = Text(en="published with a row filter or a column list", zh="发布时带有行过滤或列清单")
OTHER_COLUMNS = Text(en="the columns differ", zh="列不同")


@dataclass(frozen=True)
class Stream:
    """A primary, its logical replica, and the streams between them."""

    primary: RowSource
    replica: RowSource
    streams: tuple[str, ...]

    async def reach(self, position: int, within_s: float) -> float:
        """Wait until the replica has applied everything up to a position; the seconds it took.

        Raises:
            RowsUnreadable: not within the bound (LATE), or the primary does not know the streams.
        """
        begun = time.monotonic()
        while (confirmed := await self.primary.confirmed(self.streams)) < position:
            if time.monotonic() - begun > within_s:
                behind = f"is still {position - confirmed} bytes of log behind after {within_s:g} s"
                raise RowsUnreadable(Trouble.LATE, self.replica.instance, behind if confirmed else "has no slot there")
            await asyncio.sleep(LOOK_EVERY_S)
        return time.monotonic() - begun


async def logical_position(stream: Stream, within_s: float) -> PositionProof:
    """Take a fresh position and time until the replica has applied everything before it."""
    target = 0
    try:
        target = await stream.primary.mark()
        took_s = await stream.reach(target, within_s)
    except RowsUnreadable as error:
        verdict = Verdict.FAIL if error.trouble is Trouble.LATE else Verdict.UNKNOWN
        return PositionProof(verdict=verdict, target=target, reason=explain(error))
    return PositionProof(
        verdict=Verdict.PASS, target=target, received=target, replayed=target, received_s=took_s, replayed_s=took_s
    )


async def prove_logical(stream: Stream, options: Options, pace: Pace) -> ContentProof:
    """Compare every table that the replica subscribes to; never raises for a copy that cannot be read."""
    begun = time.monotonic()
    run = _Run(stream, options, pace, begun + options.timeout_s, Brake(options.max_load))
    reason = NOTHING
    try:
        run.lag_s = await stream.reach(await stream.primary.mark(), options.within_s)
        for database in await stream.replica.databases():
            taken = await stream.replica.subscribed(database)
            if taken:
                await run.database(database, {t.table: t for t in taken})
    except RowsUnreadable as error:
        reason = explain(error)
    told = any(t.sameness in {Sameness.EQUAL, Sameness.DIFFERENT} for t in run.proofs)
    return ContentProof(
        method=Method.CUT,
        why=WHY,
        position=run.position or None,
        held_s=run.held_s,
        took_s=time.monotonic() - begun,
        rows_per_s=pace.rows_per_s,
        tables=tuple(run.proofs),
        reason=reason if reason.en or told else NEVER,
    )


class _Run:
    """One comparison."""

    def __init__(self, stream: Stream, options: Options, pace: Pace, deadline: float, brake: Brake) -> None:
        self._stream, self._options, self._pace = stream, options, pace
        self._deadline, self._brake = deadline, brake
        self.proofs: list[TableProof] = []
        self.lag_s = 0.0
        self.held_s = 0.0
        self.position = 0

    async def database(self, database: str, taken: Mapping[str, Subscribed]) -> None:
        """One database of both."""
        primary, replica = self._stream.primary, self._stream.replica
        filtered = await primary.filtered(database)
        theirs = {t.full_name: t for t in await replica.tables(database)}
        pairs: list[tuple[Table, Table]] = []
        for table in catalogue.chosen(await primary.tables(database), self._options.tables):
            other = theirs.get(table.full_name)
            left_out = _left_out(table, other, taken.get(table.full_name), table.full_name in filtered)
            if left_out is not None:
                self.proofs.append(left_out)
            elif other is not None:
                pairs.append((table, other))
        if pairs:
            await self._compare(database, pairs)

    async def _compare(self, database: str, pairs: Sequence[tuple[Table, Table]]) -> None:
        views: list[RowView] = []
        left_to_do = [left for left, _ in pairs]
        try:
            for source in (self._stream.primary, self._stream.replica):
                views.append(await source.view(database))
            await self._freeze(database, [left for left, _ in pairs], views)
            form = await self._form()
            for left, right in pairs:
                self.proofs.append(await self._table(Side(left, views[0]), Side(right, views[1]), form))
                left_to_do.remove(left)
        except RowsUnreadable as error:
            self.proofs += [unknown(left, error, Method.CUT) for left in left_to_do]
        finally:
            for view in views:
                await view.close()

    async def _freeze(self, database: str, tables: Sequence[Table], views: Sequence[RowView]) -> None:
        """Both snapshots at one position, with the writers of these tables held until then."""
        if self.lag_s > LAG_LIMIT_S:
            message = f"its lag of {self.lag_s:.1f} s is above {LAG_LIMIT_S:g} s, and writers are not held so long"
            raise RowsUnreadable(Trouble.LATE, self._stream.replica.instance, message)
        hold_s = 2 * self.lag_s + HOLD_SPARE_S
        self._pace.say(_announce(database, len(tables), LOCK_WAIT_S + hold_s))
        hold = await self._stream.primary.hold(database, tuple(tables), LOCK_WAIT_S, hold_s)
        try:
            _, self.position = await asyncio.gather(views[0].freeze(), self._stream.primary.mark())
            await self._stream.reach(self.position, hold_s * 0.8)
            await views[1].freeze()
        finally:
            self.held_s = max(self.held_s, await hold.release())

    async def _form(self) -> Form:
        sides = (self._stream.primary, self._stream.replica)
        ours, theirs = [await side.standing(self._options.within_s) for side in sides]
        return Form.RECORD if ours.version == theirs.version and not self._options.text else Form.TEXT

    async def _table(self, left: Side, right: Side, form: Form) -> TableProof:
        job = ApartJob(left, right, form, self._pace, self._options.show_values, self._brake)
        try:
            async with asyncio.timeout(max(0.0, self._deadline - time.monotonic())):
                proof = await compare_apart(job, self._options.named)
        except TimeoutError:
            return table_proof(left.table, Sameness.UNKNOWN, catalogue.OVERDUE, Method.CUT)
        if await self._stream.primary.mark_of(left.table) != left.table.mark:
            return catalogue.altered(left.table, Method.CUT)
        return msgspec.structs.replace(proof, method=Method.CUT, position=self.position)


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


def _announce(database: str, tables: int, bound_s: float) -> Text:
    return Text(
        en=f"holding writers of {tables} tables of {database} for at most {bound_s:.2f} s",
        zh=f"暂停 {database} 中 {tables} 张表的写入，最多 {bound_s:.2f} 秒",
    )
