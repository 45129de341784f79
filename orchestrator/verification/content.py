"""The content of every table of a service at the primary and at each replica."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from orchestrator.model.proof import NOTHING, ContentProof, Method, Sameness, TableProof
from orchestrator.model.rows import Form, RowsUnreadable, Table, Trouble
from orchestrator.model.topology import Text
from orchestrator.verification import catalogue
from orchestrator.verification.ground import HOLD_SPARE_S, LAG_LIMIT_S, LOCK_WAIT_S, Ground, cut, live
from orchestrator.verification.options import Options, Pace
from orchestrator.verification.positions import Follower
from orchestrator.verification.result import explain, table_proof
from orchestrator.verification.rows import compare_table
from orchestrator.verification.source import RowSource
from orchestrator.verification.spans import Job

NEVER = Text(en="no table was compared", zh="没有比对任何表")
UNOPENED = Text(en="the replica could not be read", zh="备库无法读取")
RETRY = frozenset({Trouble.CONFLICT.value, Trouble.LATE.value})


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

    def take(self, proof: TableProof) -> None:
        """Keep the result of a table; a later one replaces it."""
        self.proofs[proof.database, proof.table] = proof

    def lacks(self, table: Table) -> bool:
        """No result of the table yet."""
        return (table.database, table.full_name) not in self.proofs


@dataclass
class Comparison:
    """Everything that one comparison works with."""

    primary: RowSource
    copies: dict[str, Copy]
    options: Options
    pace: Pace
    deadline: float
    """By time.monotonic()."""

    @property
    def form(self) -> Form:
        return Form.TEXT if self.options.text else Form.RECORD

    def followers(self, names: Iterable[str]) -> dict[str, Follower]:
        return {name: self.copies[name].follower for name in names}


async def prove_content(
    primary: RowSource, replicas: Sequence[RowSource], options: Options, pace: Pace
) -> Mapping[str, ContentProof]:
    """Compare every table of every database at each replica of a primary; never raises for copies it cannot read."""
    begun = time.monotonic()
    copies = {r.instance: Copy(Follower(primary, r, options.within_s)) for r in replicas}
    run = Comparison(primary, copies, options, pace, begun + options.timeout_s)
    try:
        await asyncio.gather(*(_measure_lag(copy) for copy in copies.values()))
        for database in await primary.databases():
            await _database(run, database)
    except RowsUnreadable as error:
        for copy in copies.values():
            copy.reason = copy.reason if copy.reason.en else explain(error)
    took_s = time.monotonic() - begun
    return {name: _proof(copy, took_s, pace.rows_per_s) for name, copy in copies.items()}


def _proof(copy: Copy, took_s: float, rows_per_s: float) -> ContentProof:
    proof = ContentProof(
        method=copy.method,
        why=copy.why,
        position=copy.position,
        held_s=copy.held_s,
        took_s=took_s,
        rows_per_s=rows_per_s,
        tables=tuple(copy.proofs.values()),
        reason=copy.reason,
    )
    told = proof.count(Sameness.EQUAL) + proof.count(Sameness.DIFFERENT)
    return proof if told or copy.reason.en else msgspec.structs.replace(proof, reason=NEVER)


async def _measure_lag(copy: Copy) -> None:
    try:
        await copy.follower.measure_lag(LAG_LIMIT_S)
    except RowsUnreadable as error:
        copy.reason = explain(error)


async def _database(run: Comparison, database: str) -> None:
    names = [name for name, copy in run.copies.items() if not copy.reason.en]
    try:
        tables = catalogue.chosen(await run.primary.tables(database), run.options.tables)
    except RowsUnreadable as error:
        for name in names:
            run.copies[name].take(_whole(database, error))
        return
    run.pace.rows_total += sum(t.rows_estimate for t in tables if t.skip is None)
    await asyncio.gather(*(_catalogues(run, name, database, tables) for name in names))
    wanted = [t for t in tables if t.skip is None]
    await _on_a_cut(run, database, [t for t in wanted if t.lockable], names)
    await _live(run, database, wanted, names)
    for name in names:
        for table in filter(run.copies[name].lacks, wanted):
            run.copies[name].take(table_proof(table, Sameness.UNKNOWN, UNOPENED, Method.RECHECK))


def _whole(database: str, error: RowsUnreadable) -> TableProof:
    return TableProof(database=database, table="*", sameness=Sameness.UNKNOWN, reason=explain(error))


async def _catalogues(run: Comparison, name: str, database: str, tables: Sequence[Table]) -> None:
    """What can be told of a replica without reading a row: skipped tables, wrong shapes, sequences."""
    copy = run.copies[name]
    for table in tables:
        if table.skip is not None:
            copy.take(catalogue.skipped(table, copy.method))
    try:
        theirs = catalogue.chosen(await copy.follower.replica.tables(database), run.options.tables)
        for table in catalogue.mismatched(tables, theirs):
            proof = await catalogue.shape_differs(copy.follower, table)
            if proof is not None:
                copy.take(proof)
        for proof in await _sequences(run, copy.follower, database):
            copy.take(proof)
    except RowsUnreadable as error:
        copy.take(_whole(database, error))


async def _sequences(run: Comparison, follower: Follower, database: str) -> tuple[TableProof, ...]:
    proofs = await catalogue.compare_sequences(follower, database, run.options.tables)
    if all(proof.sameness is Sameness.EQUAL for proof in proofs):
        return proofs
    return await catalogue.compare_sequences(follower, database, run.options.tables)


async def _on_a_cut(run: Comparison, database: str, tables: Sequence[Table], names: Sequence[str]) -> None:
    """Compare on a consistent cut where the lag allows it; says why where it does not."""
    near = [name for name in names if run.options.locks and run.copies[name].follower.lag_s <= LAG_LIMIT_S]
    for name in names:
        if not run.copies[name].why.en and name not in near:
            run.copies[name].why = _why_live(run, name)
    if not near or not tables:
        return
    hold_s = 2 * max(run.copies[name].follower.lag_s for name in near) + HOLD_SPARE_S
    run.pace.say(_announce(database, len(tables), hold_s))
    try:
        ground = await cut(database, run.primary, run.followers(near), tables, hold_s)
    except RowsUnreadable as error:
        for name in near:
            run.copies[name].why = _no_cut(error)
        return
    try:
        _note_cut(run, ground, near)
        await _tables(run, ground, tables, list(ground.views))
    finally:
        await ground.close()
    for name in ground.views:
        _forget(run.copies[name], tables)


def _note_cut(run: Comparison, ground: Ground, near: Sequence[str]) -> None:
    for name in near:
        copy = run.copies[name]
        if name not in ground.views:
            copy.why = Text(en="it did not reach the cut in time", zh="未能及时到达一致性切点")
            continue
        copy.method, copy.position = Method.CUT, ground.position
        copy.held_s = max(copy.held_s, ground.held_s)
        copy.why = Text(
            en=f"its lag is {copy.follower.lag_s * 1000:.0f} ms", zh=f"其延迟为 {copy.follower.lag_s * 1000:.0f} 毫秒"
        )


def _forget(copy: Copy, tables: Sequence[Table]) -> None:
    """Drop results that a standby's replay has prevented; the live way reads them again, in small pieces."""
    for table in tables:
        proof = copy.proofs.get((table.database, table.full_name))
        if proof and proof.sameness is Sameness.UNKNOWN and proof.trouble in RETRY:
            del copy.proofs[table.database, table.full_name]


def _why_live(run: Comparison, name: str) -> Text:
    if not run.options.locks:
        return Text(en="no locks were wanted", zh="要求不加锁")
    lag_s = run.copies[name].follower.lag_s
    return Text(
        en=f"its lag of {lag_s:.1f} s is above {LAG_LIMIT_S:g} s", zh=f"延迟 {lag_s:.1f} 秒超过 {LAG_LIMIT_S:g} 秒"
    )


def _no_cut(error: RowsUnreadable) -> Text:
    why = explain(error)
    return Text(en=f"writers could not be held: {why.en}", zh=f"无法暂停写入：{why.zh}")


def _announce(database: str, tables: int, hold_s: float) -> Text:
    bound_s = LOCK_WAIT_S + hold_s
    return Text(
        en=f"holding writers of {tables} tables of {database} for at most {bound_s:.2f} s",
        zh=f"暂停 {database} 中 {tables} 张表的写入，最多 {bound_s:.2f} 秒",
    )


async def _live(run: Comparison, database: str, tables: Sequence[Table], names: Sequence[str]) -> None:
    """Compare without locks whatever has no result yet."""
    open_names = [name for name in names if any(map(run.copies[name].lacks, tables))]
    if not open_names:
        return
    try:
        ground = await live(database, run.primary, run.followers(open_names))
    except RowsUnreadable as error:
        for name in open_names:
            run.copies[name].take(_whole(database, error))
        return
    try:
        await _tables(run, ground, tables, list(ground.views))
    finally:
        await ground.close()


async def _tables(run: Comparison, ground: Ground, tables: Sequence[Table], names: Sequence[str]) -> None:
    for table in tables:
        wanting = [name for name in names if run.copies[name].lacks(table)]
        if not wanting:
            continue
        job = Job(ground=ground, table=table, form=run.form, pace=run.pace, show=run.options.show_values)
        proofs = await in_time(run.deadline, lambda job=job, to=wanting: compare_table(job, to, run.options.named))  # type: ignore[misc]
        for name in wanting:
            proof = (proofs or {}).get(name) or table_proof(table, Sameness.UNKNOWN, catalogue.OVERDUE, ground.method)
            proof = await catalogue.unaltered(run.copies[name].follower, table, proof)
            run.copies[name].take(_with_note(proof, table))
            run.copies[name].position = max(run.copies[name].position or 0, proof.position) or None


def _with_note(proof: TableProof, table: Table) -> TableProof:
    if table.key or proof.reason.en:
        return proof
    return msgspec.structs.replace(proof, reason=catalogue.NO_KEY)


Proofs = Mapping[str, TableProof]


async def in_time(deadline: float, work: Callable[[], Awaitable[Proofs]]) -> Proofs | None:
    """What `work` returns; None where the deadline (by time.monotonic) comes first."""
    try:
        async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
            return await work()
    except TimeoutError:
        return None
