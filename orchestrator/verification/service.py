"""Proves the replication of one service: positions, canary rows, content. The entry of this package."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from orchestrator.errors import Unreadable
from orchestrator.model.observation import Verdict
from orchestrator.model.proof import (
    NOTHING,
    CanaryProof,
    ContentProof,
    DriftProof,
    Method,
    Part,
    PositionProof,
    Progress,
    ReplicaProof,
    Sameness,
    ServiceProof,
    StorageProof,
    TableProof,
)
from orchestrator.model.rows import Form, RowsUnreadable, Standing, Table
from orchestrator.model.topology import Instance, Service, Text
from orchestrator.verification import canary_row, catalogue
from orchestrator.verification.apart import ApartJob, Side, compare_apart, side_by_side
from orchestrator.verification.content import NEVER, prove_content
from orchestrator.verification.drift import prove_drift
from orchestrator.verification.ledger import Ledger
from orchestrator.verification.logical import Subscriber, logical_position, prove_logical
from orchestrator.verification.options import Options, Pace
from orchestrator.verification.pacing import Brake
from orchestrator.verification.positions import beside, inclusion
from orchestrator.verification.result import explain, table_proof, unknown
from orchestrator.verification.source import RowSource, RowView
from orchestrator.verification.storage import prove_storage

P = TypeVar("P")
LOOK_WITHIN_S = 5.0
PARTS = tuple(part for part in Part if part is not Part.NAMES)
LEADS = Text(en="it is a primary: leave --from away", zh="该实例为主库：请去掉 --from")
APART = Text(en="the copies do not follow each other", zh="两个副本之间没有复制关系")
WRITTEN = Text(
    en="a side that is written to meanwhile differs by those writes",
    zh="若比对期间仍有写入，差异中会包含这些写入",
)


async def verify_service(
    service: Service,
    sources: Mapping[str, RowSource],
    options: Options,
    progress: Progress | None = None,
    ledger: Ledger | None = None,
) -> ServiceProof:
    """Prove (or disprove) that every replica of a service holds what its primary holds.

    `sources` has one source per instance, by instance id; they are closed at the end. The primary is the one that is
    found writable now, whatever the topology declares; with `options.reference` a standby takes its place, and no
    primary is needed. Never raises for a bad world: what cannot be told is UNKNOWN.
    """
    begun = time.monotonic()
    options = msgspec.structs.replace(options, parts=tuple(p for p in options.parts if p in PARTS))
    kept = None if options.reference else ledger  # it speaks of proofs against the primary
    frame = Frame(options, Pace(service.id, progress), begun, kept)
    try:
        looks = await asyncio.gather(*(_look(source) for source in sources.values()))
        proof = await _prove(service, sources, dict(zip(sources, looks, strict=True)), frame)
    finally:
        await asyncio.gather(*(source.close() for source in sources.values()))
    return msgspec.structs.replace(proof, took_s=time.monotonic() - begun)


async def _look(source: RowSource) -> Standing | RowsUnreadable:
    try:
        return await source.standing(LOOK_WITHIN_S)
    except RowsUnreadable as error:
        return error


Looks = Mapping[str, Standing | RowsUnreadable]


@dataclass(frozen=True)
class Frame:
    """What every part of one service's proof is given."""

    options: Options
    pace: Pace
    begun: float
    """By time.monotonic()."""
    ledger: Ledger | None = None


async def _prove(service: Service, sources: Mapping[str, RowSource], looks: Looks, frame: Frame) -> ServiceProof:
    options = frame.options
    primaries = [name for name, look in looks.items() if isinstance(look, Standing) and look.primary]
    logical = _logical(looks, primaries)
    primaries = [name for name in primaries if name not in logical]
    centres = options.centres
    replicas = [i.id for i in service.instances if i.id not in primaries and (not centres or i.centre in centres)]
    if options.reference:
        replicas = [name for name in replicas if name != options.reference and name not in logical]
        primaries, wrong = _reference(service, options, looks)
        if wrong is not None:
            return wrong
    if len(primaries) != 1:
        return _no_primary(service, options, looks, primaries)
    primary = sources[primaries[0]]
    readable = [sources[n] for n in replicas if isinstance(looks[n], Standing) and n not in logical]
    errors = {name: error for name in replicas if isinstance(error := looks[name], RowsUnreadable)}
    found = {name: _dark(name, options, error) for name, error in errors.items()}
    for replica in await _parts(primary, readable, frame):
        found[replica.instance] = replica
    for name in (n for n in replicas if n in logical):
        found[name] = await _logical_parts(Subscriber(primary, sources[name], logical[name], options.within_s), frame)
    return ServiceProof(
        service=service.id,
        primary=primary.instance,
        asked=options.parts,
        replicas=tuple(found[name] for name in replicas),
        reason=NOTHING if replicas else Text(en="it has no replica there", zh="在所选范围内没有副本"),
    )


def _reference(service: Service, options: Options, looks: Looks) -> tuple[list[str], ServiceProof | None]:
    """The standby that takes the primary's place, or why it cannot."""
    look = looks[options.reference]
    if isinstance(look, Standing) and not look.primary:
        return [options.reference], None
    reason = explain(look) if isinstance(look, RowsUnreadable) else LEADS
    readable = any(isinstance(other, Standing) for other in looks.values())
    return [], ServiceProof(service=service.id, primary="", asked=options.parts, reason=reason, readable=readable)


def _logical(looks: Looks, primaries: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
    """Those of several writable instances that are logical replicas, with their streams: they subscribe, and are no
    copies of the others' files.
    """
    standings = {name: look for name in primaries if isinstance(look := looks[name], Standing)}
    lineages = [look.lineage for look in standings.values() if not look.subscribes]
    return {n: look.subscribes for n, look in standings.items() if look.subscribes and look.lineage not in lineages}


async def _logical_parts(follower: Subscriber, frame: Frame) -> ReplicaProof:
    """Positions and content; a canary row and the catalogue are not part of logical replication."""
    options = frame.options
    position = content = None
    if Part.POSITIONS in options.parts:
        position = await logical_position(follower)
    if Part.CONTENT in options.parts:
        content = await prove_logical(follower, options, frame.pace)
    return ReplicaProof(
        instance=follower.replica.instance,
        position=position,
        content=content,
        not_meant=(Part.CANARY, Part.DRIFT, Part.STORAGE),
    )


def _no_primary(service: Service, options: Options, looks: Looks, primaries: Sequence[str]) -> ServiceProof:
    errors = [look for look in looks.values() if isinstance(look, RowsUnreadable)]
    if primaries:
        names = ", ".join(primaries)
        reason = Text(en=f"more than one primary: {names}", zh=f"存在多个主库：{names}")
    elif errors:
        why = explain(errors[0])
        reason = Text(en=f"no primary could be read: {why.en}", zh=f"没有可读取的主库：{why.zh}")
    else:
        reason = Text(en="no instance is a primary", zh="没有主库")
    return ServiceProof(
        service=service.id,
        primary="",
        asked=options.parts,
        reason=reason,
        readable=any(isinstance(look, Standing) for look in looks.values()),
    )


def _dark(name: str, options: Options, error: RowsUnreadable) -> ReplicaProof:
    """A replica that could not be read: every asked part is unknown."""
    why = explain(error)
    position = PositionProof(verdict=Verdict.UNKNOWN, target=0, reason=why)
    canary = CanaryProof(verdict=Verdict.UNKNOWN, samples=options.samples, unseen=options.samples, reason=why)
    content = ContentProof(method=Method.RECHECK, why=NOTHING, position=None, reason=why)
    return ReplicaProof(
        instance=name,
        position=position if Part.POSITIONS in options.parts else None,
        canary=canary if Part.CANARY in options.parts else None,
        content=content if Part.CONTENT in options.parts else None,
        drift=DriftProof(reason=why) if Part.DRIFT in options.parts else None,
        storage=StorageProof(verdict=Verdict.UNKNOWN, reason=why) if Part.STORAGE in options.parts else None,
    )


async def _parts(primary: RowSource, replicas: Sequence[RowSource], frame: Frame) -> Sequence[ReplicaProof]:
    """The asked parts, one after the other: each would disturb the times of the others."""
    options, pace = frame.options, frame.pace
    positions: dict[str, PositionProof] = {}
    canaries: Mapping[str, CanaryProof] = {}
    contents: Mapping[str, ContentProof] = {}
    if Part.POSITIONS in options.parts:
        pace.say(Text(en="waiting for positions", zh="等待位点"))
        proofs = await asyncio.gather(*(inclusion(beside(primary, r, options)) for r in replicas))
        positions = {r.instance: p for r, p in zip(replicas, proofs, strict=True)}
    if Part.CANARY in options.parts and not options.reference:
        pace.say(Text(en=f"timing {options.samples} canary rows", zh=f"测量 {options.samples} 个探针行"))
        canaries = await canary_row.measure(primary, replicas, options.samples, options.within_s)
    if Part.CONTENT in options.parts:
        contents = await prove_content(primary, replicas, options, pace, frame.ledger)
    drifts = await _each(Part.DRIFT, replicas, options, lambda replica: prove_drift(primary, replica, options))
    storages = await _each(Part.STORAGE, replicas, options, lambda replica: prove_storage(replica, options))
    return [
        ReplicaProof(
            instance=r.instance,
            position=positions.get(r.instance),
            canary=canaries.get(r.instance),
            content=contents.get(r.instance),
            drift=drifts.get(r.instance),
            storage=storages.get(r.instance),
            not_meant=(Part.CANARY,) if options.reference else (),
        )
        for r in replicas
    ]


async def _each(
    part: Part, replicas: Sequence[RowSource], options: Options, prove: Callable[[RowSource], Awaitable[P]]
) -> Mapping[str, P]:
    """One part of every replica at once; nothing where it was not asked for."""
    if part not in options.parts:
        return {}
    proofs = await asyncio.gather(*(prove(replica) for replica in replicas))
    return {replica.instance: proof for replica, proof in zip(replicas, proofs, strict=True)}


async def compare_against(
    service: Service,
    rows: Callable[[Instance], RowSource],
    against: str,
    options: Options,
    progress: Progress | None = None,
) -> tuple[str, ContentProof]:
    """Compare the primary (found among the other instances) with `against`, which may be a primary of its own by now.

    With `options.reference` that instance takes the primary's place, whatever it is.

    Raises:
        Unreadable: there is not exactly one other primary that can be read.
    """
    sources = {i.id: rows(i) for i in service.instances}
    if options.reference:
        proof = await compare(service, sources[options.reference], sources[against], options, progress)
        return options.reference, proof
    others = [source for name, source in sources.items() if name != against]
    looks = await asyncio.gather(*(_look(source) for source in others))
    primaries = [s for s, look in zip(others, looks, strict=True) if isinstance(look, Standing) and look.primary]
    if len(primaries) != 1:
        await asyncio.gather(*(source.close() for source in sources.values()))
        raise Unreadable(
            f"{service.id} has {len(primaries)} readable primaries beside {against}",
            hint="`drctl check` shows the roles",
        )
    proof = await compare(service, primaries[0], sources[against], options, progress)
    await asyncio.gather(*(source.close() for source in sources.values()))
    return primaries[0].instance, proof


async def compare(
    service: Service, left: RowSource, right: RowSource, options: Options, progress: Progress | None = None
) -> ContentProof:
    """Compare two copies that do not follow each other: one snapshot at each, without a common position.

    Both sources are closed at the end. Rows that only `right` holds are `extra`. Never raises for a bad world.
    """
    begun, pace = time.monotonic(), Pace(service.id, progress)
    tables: list[TableProof] = []
    reason = NOTHING
    try:
        ours, theirs = await asyncio.gather(left.standing(LOOK_WITHIN_S), right.standing(LOOK_WITHIN_S))
        form = Form.RECORD if ours.version == theirs.version and not options.text else Form.TEXT
        for database in await left.databases():
            tables += await _database_apart(left, right, database, form, Frame(options, pace, begun))
    except RowsUnreadable as error:
        reason = explain(error)
    finally:
        await asyncio.gather(left.close(), right.close())
    told = [t for t in tables if t.sameness in {Sameness.EQUAL, Sameness.DIFFERENT}]
    return ContentProof(
        method=Method.APART,
        why=Text(en=f"{APART.en}; {WRITTEN.en}", zh=f"{APART.zh}；{WRITTEN.zh}"),
        position=None,
        took_s=time.monotonic() - begun,
        rows_per_s=pace.rows_per_s,
        tables=tuple(tables),
        reason=reason if reason.en or told else NEVER,
    )


async def _database_apart(
    left: RowSource, right: RowSource, database: str, form: Form, frame: Frame
) -> list[TableProof]:
    options, pace = frame.options, frame.pace
    views: list[RowView] = []
    try:
        for source in (left, right):
            views.append(await source.view(database))
        await asyncio.gather(*(view.freeze() for view in views))
        ours = catalogue.chosen(await left.tables(database), options.tables)
        theirs = {t.full_name: t for t in catalogue.chosen(await right.tables(database), options.tables)}
        pace.rows_total += sum(t.rows_estimate for t in ours if t.skip is None)
        pairs = [(Side(t, views[0]), theirs.pop(t.full_name, None)) for t in ours]
        proofs = [await _table_apart(mine, other, (left, right, views[1]), form, frame) for mine, other in pairs]
        return [*proofs, *(_only_right(t) for t in theirs.values())]
    finally:
        for view in views:
            await view.close()


def _only_right(table: Table) -> TableProof:
    if table.skip is not None:
        return catalogue.skipped(table, Method.APART)
    reason = Text(en="only the compared copy has this table", zh="仅被比对的副本有该表")
    return table_proof(table, Sameness.DIFFERENT, reason, Method.APART)


Ends = tuple[RowSource, RowSource, RowView]


async def _table_apart(mine: Side, other: Table | None, ends: Ends, form: Form, frame: Frame) -> TableProof:
    options = frame.options
    table = mine.table
    if table.skip is not None:
        return catalogue.skipped(table, Method.APART)
    if other is None:
        reason = Text(en="the compared copy does not have this table", zh="被比对的副本没有该表")
        return table_proof(table, Sameness.DIFFERENT, reason, Method.APART)
    if _columns(table) != _columns(other):
        return table_proof(table, Sameness.DIFFERENT, _other_columns(table, other), Method.APART)
    ours, theirs = side_by_side(table, other)
    sides = Side(ours, mine.view), Side(theirs, ends[2])
    job = ApartJob(*sides, form, frame.pace, options.show_values, Brake(options.max_load))
    try:
        async with asyncio.timeout(max(0.0, frame.begun + options.timeout_s - time.monotonic())):
            proof = await compare_apart(job, options.named)
        marks = [await ends[0].mark_of(table), await ends[1].mark_of(other)]
    except RowsUnreadable as error:
        return unknown(table, error, Method.APART)
    except TimeoutError:
        return table_proof(table, Sameness.UNKNOWN, catalogue.OVERDUE, Method.APART)
    return proof if marks == [table.mark, other.mark] else catalogue.altered(table, Method.APART)


def _columns(table: Table) -> Iterable[tuple[str, str]]:
    return sorted((c.name, c.type) for c in table.columns)


def _other_columns(ours: Table, theirs: Table) -> Text:
    names = sorted({name for name, _ in set(_columns(ours)) ^ set(_columns(theirs))})
    listed = ", ".join(names)
    return Text(en=f"the columns differ: {listed}", zh=f"列不同：{listed}")
