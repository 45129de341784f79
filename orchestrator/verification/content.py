"""The content of every table of a service at the primary and at each replica."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

import msgspec

from orchestrator.model.proof import ContentProof, Method, Sameness, TableProof
from orchestrator.model.rows import RowsUnreadable, Table, Trouble
from orchestrator.model.topology import Text
from orchestrator.verification import catalogue
from orchestrator.verification.copies import NEVER, Comparison, Copy, left_out
from orchestrator.verification.ground import LAG_LIMIT_S, SLOW, Ground, cut, live, why_live
from orchestrator.verification.increment import Increment, increment, resting
from orchestrator.verification.ledger import Ledger
from orchestrator.verification.options import Options, Pace
from orchestrator.verification.pacing import Brake
from orchestrator.verification.positions import Follower, beside
from orchestrator.verification.result import explain, table_proof
from orchestrator.verification.rows import compare_table
from orchestrator.verification.source import RowSource
from orchestrator.verification.spans import Job

__all__ = ["NEVER", "in_time", "prove_content"]

UNOPENED = Text(en="the replica could not be read", zh="备库无法读取")
RETRY = frozenset({Trouble.CONFLICT.value, Trouble.LATE.value, Trouble.LOST.value, Trouble.AGED.value})
AGAIN = frozenset({Trouble.LOST.value, Trouble.AGED.value})
RESUMES = 3
"""Times that a comparison goes on after a connection was lost."""
BACK_EVERY_S = 0.1
MOST_CUTS = 10_000


async def prove_content(
    primary: RowSource, replicas: Sequence[RowSource], options: Options, pace: Pace, ledger: Ledger | None = None
) -> Mapping[str, ContentProof]:
    """Compare every table of every database at each replica of a primary; never raises for copies it cannot read.

    `ledger` remembers what was proven, and how far an interrupted comparison has come.
    """
    begun = time.monotonic()
    copies = {r.instance: Copy(beside(primary, r, options)) for r in replicas}
    run = Comparison(primary, copies, options, pace, begun + options.timeout_s, ledger or Ledger(None))
    run.brake = Brake(options.max_load)
    run.ledger.begin(go_on=options.resume or options.budget_s is not None)
    async with _watched(run):
        try:
            await asyncio.gather(run.recall(), *(_measure_lag(copy) for copy in copies.values()))
            for database in await primary.databases():
                await _database(run, database)
        except RowsUnreadable as error:
            for copy in copies.values():
                copy.reason = copy.reason if copy.reason.en else explain(error)
        finally:
            run.ledger.save()
    took_s = time.monotonic() - begun
    proofs = {name: copy.proof(took_s, pace.rows_per_s, run.brake) for name, copy in copies.items()}
    run.ledger.end(whole=not any(p.count(Sameness.UNKNOWN) or p.reason.en for p in proofs.values()))
    return proofs


@asynccontextmanager
async def _watched(run: Comparison) -> AsyncIterator[None]:
    """Time small commits at the primary before, during and after, where it was asked for."""
    if not (run.options.watch or run.brake.gentle):
        yield
        return
    await run.brake.alone(run.primary)
    watching = asyncio.create_task(run.brake.watch(run.primary))
    try:
        yield
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    await run.brake.alone(run.primary)


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
    if run.options.resume or run.options.budget_s is not None:
        run.resume(tables, names)
    wanted = run.in_order([t for t in tables if t.skip is None], names)
    await _on_cuts(run, database, [t for t in wanted if t.lockable], names)
    await _live(run, database, wanted, names)
    for name in names:
        for table in filter(run.copies[name].lacks, wanted):
            run.copies[name].take(_nothing(run, name, table))


def _nothing(run: Comparison, name: str, table: Table) -> TableProof:
    if run.options.budget_s is not None and run.over:
        return left_out(table, run.ledger.last(name, table))
    return table_proof(table, Sameness.UNKNOWN, UNOPENED, Method.RECHECK)


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


async def _on_cuts(run: Comparison, database: str, tables: Sequence[Table], names: Sequence[str]) -> None:
    """Compare on a consistent cut; on another one, from where it was, when its snapshot is too old."""
    for _ in range(MOST_CUTS):
        wanted = [t for t in tables if any(run.copies[name].lacks(t) for name in names)]
        if not wanted or run.over or not await _on_a_cut(run, database, wanted, names):
            return


async def _on_a_cut(run: Comparison, database: str, tables: Sequence[Table], names: Sequence[str]) -> bool:
    """Compare on a consistent cut where the lag allows it; says why where it does not. True: another cut is wanted."""
    far = {name: why for name in names if (why := why_live(run.options.locks, run.copies[name].follower.lag_s))}
    for name, why in far.items():
        if not run.copies[name].why.en:
            run.copies[name].why = why
    near = [name for name in names if name not in far]
    if not near or not tables:
        return False
    ground = await cut(database, run.primary, run.followers(near), tables, run.pace.say)
    if isinstance(ground, Text):
        for name in near:
            run.copies[name].why = ground
        return False
    try:
        _note_cut(run, ground, near)
        extent = await increment(run, ground, database, tables)
        await _tables(run, ground, tables, list(ground.views), extent)
    finally:
        await ground.close()
    forgotten = [trouble for name in ground.views for trouble in _forget(run.copies[name], tables, RETRY)]
    return Trouble.AGED.value in forgotten


def _note_cut(run: Comparison, ground: Ground, near: Sequence[str]) -> None:
    for name in near:
        copy = run.copies[name]
        if name not in ground.views:
            copy.why = SLOW
            continue
        copy.method, copy.position = Method.CUT, ground.position
        copy.held_s = max(copy.held_s, ground.held_s)
        copy.why = Text(
            en=f"its lag is {copy.follower.lag_s * 1000:.0f} ms", zh=f"其延迟为 {copy.follower.lag_s * 1000:.0f} 毫秒"
        )


def _forget(copy: Copy, tables: Sequence[Table], troubles: frozenset[str]) -> list[str]:
    """Drop results that a standby's replay or a lost connection has prevented; what was compared is kept, and gone on
    with. The troubles that were dropped.
    """
    found = []
    for table in tables:
        proof = copy.proofs.get((table.database, table.full_name))
        if proof and proof.sameness is Sameness.UNKNOWN and proof.trouble in troubles:
            found.append(proof.trouble)
            del copy.proofs[table.database, table.full_name]
    return found


async def _live(run: Comparison, database: str, tables: Sequence[Table], names: Sequence[str]) -> None:
    """Compare without locks whatever has no result yet, and go on where a connection was lost."""
    for remaining in reversed(range(RESUMES + 1)):
        open_names = [name for name in names if any(map(run.copies[name].lacks, tables))]
        if not open_names or run.over:
            return
        error = await _live_once(run, database, tables, open_names)
        if error is not None and (not remaining or error.trouble is not Trouble.LOST):
            for name in open_names:
                run.copies[name].take(_whole(database, error))
            return
        if remaining:
            lost = [name for name in open_names if _forget(run.copies[name], tables, AGAIN)]
            if error is None and not lost:
                return
            await _back(run, lost)


async def _live_once(
    run: Comparison, database: str, tables: Sequence[Table], names: Sequence[str]
) -> RowsUnreadable | None:
    try:
        ground = await live(database, run.primary, run.followers(names))
    except RowsUnreadable as error:
        return error
    try:
        await _tables(run, ground, tables, list(ground.views), resting())
    finally:
        await ground.close()
    return None


async def _back(run: Comparison, names: Sequence[str]) -> None:
    """Wait until the primary and those replicas answer again, at most as long as any wait."""
    end = min(run.deadline, time.monotonic() + run.options.within_s)
    for source in (run.primary, *(run.copies[name].follower.replica for name in names)):
        while time.monotonic() < end:
            try:
                await source.standing(run.options.within_s)
                break
            except RowsUnreadable:
                await asyncio.sleep(BACK_EVERY_S)


async def _tables(
    run: Comparison, ground: Ground, tables: Sequence[Table], names: Sequence[str], extent: Increment
) -> None:
    for table in tables:
        wanting = [name for name in names if run.copies[name].lacks(table)]
        if wanting and not (run.options.budget_s is not None and run.over):
            await _table(run, ground, table, wanting, extent)


async def _table(run: Comparison, ground: Ground, table: Table, names: Sequence[str], extent: Increment) -> None:
    def note(name: str, swept: object) -> None:
        copy = run.copies[name]
        run.ledger.note_half(name, table, copy.copies, copy.sweeps[table.database, table.full_name])

    job = Job(
        ground=ground,
        table=table,
        form=run.form,
        pace=run.pace,
        show=run.options.show_values,
        brake=run.brake,
        snapshot_s=run.options.snapshot_s,
        note=note if extent.whole(table) else lambda name, swept: None,
        pages=extent.pages(table),
    )
    begun = {name: run.copies[name].sweep(table, ground) for name in names}
    proofs = await in_time(run.deadline, lambda: compare_table(job, names, run.options.named, begun))
    for name in names:
        copy = run.copies[name]
        proof = (proofs or {}).get(name) or _overdue(run, name, table, ground)
        proof = extent.note(table, await catalogue.unaltered(copy.follower, table, proof))
        _keep(copy, table, proof, begun[name].resumed)
        run.remember(copy, table, copy.proofs[table.database, table.full_name], ground)


def _overdue(run: Comparison, name: str, table: Table, ground: Ground) -> TableProof:
    if run.options.budget_s is not None:
        return left_out(table, run.ledger.last(name, table))
    return table_proof(table, Sameness.UNKNOWN, catalogue.OVERDUE, ground.method)


def _keep(copy: Copy, table: Table, proof: TableProof, resumed: int) -> None:
    """Take a result; what an interruption left open is gone on with later."""
    sweep = copy.sweeps[table.database, table.full_name]
    if proof.sameness is Sameness.UNKNOWN and proof.trouble in RETRY:
        sweep.resumed += 1
    else:
        del copy.sweeps[table.database, table.full_name]
    if resumed:
        proof = msgspec.structs.replace(proof, resumed=resumed, since=sweep.since)
    copy.take(_with_note(proof, table))
    copy.position = max(copy.position or 0, proof.position) or None


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
