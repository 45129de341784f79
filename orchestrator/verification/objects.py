"""Proves that copies of a bucket hold what the primary's holds: canary objects, then all objects in one pass.

Result words are those of tables. Positions are left out: a bucket has none; `lineage` takes their place, for copies
whose zones do not agree on who is the master are no copies, whatever each says of itself.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from orchestrator.model.objects import BucketStanding
from orchestrator.model.observation import Verdict
from orchestrator.model.proof import (
    BUCKET,
    NOTHING,
    CanaryProof,
    ContentProof,
    Method,
    NamesProof,
    Part,
    Progress,
    ReplicaProof,
    RowDifference,
    Sameness,
    ServiceProof,
    TableProof,
)
from orchestrator.model.rows import RowsUnreadable
from orchestrator.model.topology import Service, Text
from orchestrator.verification import objects_canary, objects_settle
from orchestrator.verification.names import Naming, prove_names
from orchestrator.verification.objects_facts import compare_facts
from orchestrator.verification.objects_settle import Case, Settled, settle, shown
from orchestrator.verification.objects_source import ObjectSource
from orchestrator.verification.objects_sweep import Sweep, Swept
from orchestrator.verification.options import Options, Pace
from orchestrator.verification.result import OVERDUE, explain

LOOK_WITHIN_S = 5.0
PARTS = (Part.CANARY, Part.CONTENT)
LISTED = Text(
    en="listings of all copies are merged in one pass; what differs is looked at again after the declared lag",
    zh="各副本清单一次归并比对；差异在声明的延迟之后复核",
)


async def verify_bucket(
    service: Service,
    sources: Mapping[str, ObjectSource],
    options: Options,
    progress: Progress | None = None,
    naming: Naming | None = None,
) -> ServiceProof:
    """Prove (or disprove) that every copy of a bucket holds what the primary's holds, and what its database names.

    The primary is the one whose zone takes writes now; where no copy can tell, the declared one. Never raises for a bad
    world. Sources are closed at the end, those of `naming` too.
    """
    begun = time.monotonic()
    try:
        looks = await asyncio.gather(*(_look(s) for s in sources.values()))
        proof = await _prove(service, sources, dict(zip(sources, looks, strict=True)), options, progress)
        if naming is not None:
            told = await _names(service, proof.primary, sources, options, naming)
            proof = msgspec.structs.replace(proof, names=told)
    finally:
        readers = [*sources.values(), *(naming.sources.values() if naming else ())]
        await asyncio.gather(*(reader.close() for reader in readers))
    return msgspec.structs.replace(proof, took_s=time.monotonic() - begun)


async def _names(
    service: Service, primary: str, sources: Mapping[str, ObjectSource], options: Options, naming: Naming
) -> tuple[NamesProof, ...]:
    chosen = {i.centre: sources[i.id] for i in service.instances if not options.centres or i.centre in options.centres}
    source = primary or (service.primary.id if service.primary else "")
    least = objects_settle.LEAST_LAG_S
    lags = {c: max(least, lag_s(service, source, s.instance), naming.lags_s.get(c, 0.0)) for c, s in chosen.items()}
    return await prove_names(naming, chosen, lags, options)


async def _look(source: ObjectSource) -> BucketStanding | RowsUnreadable:
    try:
        return await source.standing(LOOK_WITHIN_S)
    except RowsUnreadable as error:
        return error


Looks = Mapping[str, BucketStanding | RowsUnreadable]


async def _prove(
    service: Service, sources: Mapping[str, ObjectSource], looks: Looks, options: Options, progress: Progress | None
) -> ServiceProof:
    asked = tuple(p for p in options.parts if p in PARTS)
    stands = {n: look for n, look in looks.items() if isinstance(look, BucketStanding)}
    primary, why = primary_of(service, looks)
    proof = ServiceProof(service=service.id, primary=primary, asked=asked, readable=bool(stands), reason=why)
    if not primary or not asked:
        return proof
    ours = stands[primary]
    names = [i.id for i in service.instances if i.id != primary]
    chosen = [n for n in names if not options.centres or n.rpartition("@")[2] in options.centres]
    found = {n: _dark(n, asked, options, error) for n in chosen if isinstance(error := looks[n], RowsUnreadable)}
    copies = [n for n in chosen if n in stands]
    pace = Pace(service.id, progress)
    canaries: Mapping[str, CanaryProof] = {}
    contents: Mapping[str, ContentProof] = {}
    if Part.CANARY in asked and copies:
        pace.say(Text(en=f"timing {options.samples} canary objects", zh=f"测量 {options.samples} 个探针对象"))
        canaries = await _canaries(ours, sources, copies, options)
    if Part.CONTENT in asked and copies:
        contents = await _content(_Job(service, ours, sources, options, pace), [stands[n] for n in copies])
    for name in copies:
        found[name] = ReplicaProof(instance=name, canary=canaries.get(name), content=contents.get(name))
    reason = why if chosen else Text(en="it has no replica there", zh="在所选范围内没有副本")
    return msgspec.structs.replace(proof, replicas=tuple(found[n] for n in chosen), reason=reason)


def primary_of(service: Service, looks: Looks) -> tuple[str, Text]:
    """The copy that the others are held against, and what speaks against any proof. Pure."""
    stands = [look for look in looks.values() if isinstance(look, BucketStanding)]
    writers = [s.instance for s in stands if s.primary]
    if len(writers) > 1:
        names = ", ".join(writers)
        return "", Text(en=f"more than one zone takes writes: {names}", zh=f"多个区域同时可写：{names}")
    if not writers:
        declared = service.primary
        told = next((s for s in stands if declared and s.instance == declared.id), None)
        if told is None or told.primary is False:
            errors = [look for look in looks.values() if isinstance(look, RowsUnreadable)]
            why = explain(errors[0]) if errors else Text(en="no zone takes writes", zh="没有可写区域")
            return "", Text(en=f"no primary could be read: {why.en}", zh=f"没有可读取的主区域：{why.zh}")
        writers = [told.instance]
    return writers[0], _disagreement(stands)


def _disagreement(stands: Sequence[BucketStanding]) -> Text:
    told = {s.instance: s.lineage for s in stands if s.lineage}
    if len(set(told.values())) <= 1:
        return NOTHING
    words = "; ".join(f"{name}: {lineage}" for name, lineage in told.items())
    return Text(
        en=f"the zones act by different periods, one of them missed a failover ({words})",
        zh=f"各区域所依据的 period 不一致，有区域错过了切换（{words}）",
    )


def _dark(name: str, asked: Sequence[Part], options: Options, error: RowsUnreadable) -> ReplicaProof:
    why = explain(error)
    canary = CanaryProof(verdict=Verdict.UNKNOWN, samples=options.samples, unseen=options.samples, reason=why)
    content = ContentProof(method=Method.RECHECK, why=LISTED, position=None, reason=why)
    return ReplicaProof(
        instance=name,
        canary=canary if Part.CANARY in asked else None,
        content=content if Part.CONTENT in asked else None,
    )


async def _canaries(
    ours: BucketStanding, sources: Mapping[str, ObjectSource], copies: Sequence[str], options: Options
) -> Mapping[str, CanaryProof]:
    if ours.retained:
        refused = CanaryProof(verdict=Verdict.UNKNOWN, samples=0, unseen=0, reason=objects_canary.RETAINED)
        return dict.fromkeys(copies, refused)
    primary, others = sources[ours.instance], [sources[n] for n in copies]
    return await objects_canary.measure(primary, others, options.samples, options.within_s)


@dataclass(frozen=True)
class _Job:
    """One bucket, its primary's copy, and how to go about it."""

    service: Service
    ours: BucketStanding
    sources: Mapping[str, ObjectSource]
    options: Options
    pace: Pace


async def _content(job: _Job, stands: Sequence[BucketStanding]) -> Mapping[str, ContentProof]:
    """All copies in one pass; where one breaks it, each is compared alone, so that the others are still proven."""
    try:
        return await _together(job, stands)
    except (RowsUnreadable, TimeoutError) as error:
        if len(stands) == 1:
            why = explain(error) if isinstance(error, RowsUnreadable) else OVERDUE
            return {stands[0].instance: ContentProof(method=Method.RECHECK, why=LISTED, position=None, reason=why)}
    found: dict[str, ContentProof] = {}
    for stand in stands:
        found |= await _content(job, [stand])
    return found


async def _together(job: _Job, stands: Sequence[BucketStanding]) -> Mapping[str, ContentProof]:
    begun, service, ours, sources, options = time.monotonic(), job.service, job.ours, job.sources, job.options
    primary, copies = sources[ours.instance], [sources[s.instance] for s in stands]
    versions = ours.versioning.kept
    sweep = Sweep([primary, *copies], versions, tell=lambda count: job.pace.add(count, service.name))
    async with asyncio.timeout(options.timeout_s):
        await sweep.run()
        rate = sweep.listed / max(time.monotonic() - begun, 1e-6)
        lags = (lag_s(service, primary.instance, c.instance) for c in copies)
        cases = [Case(primary, c, versions, lag, options.within_s) for c, lag in zip(copies, lags, strict=True)]
        settled = await asyncio.gather(
            *(settle(case, swept.suspects) for case, swept in zip(cases, sweep.found, strict=True))
        )
        facts = await asyncio.gather(*(compare_facts(case, sweep.sample) for case in cases))
    took_s = time.monotonic() - begun
    found: dict[str, ContentProof] = {}
    for stand, swept, answer, more in zip(stands, sweep.found, settled, facts, strict=True):
        answer.differences += more
        found[stand.instance] = ContentProof(
            method=Method.RECHECK, why=LISTED, position=None, took_s=took_s, rows_per_s=rate,
            tables=(settings(ours, stand), _table(service, sweep.listed, swept, answer, options)),
        )  # fmt: skip
    return found


def lag_s(service: Service, source: str, target: str) -> float:
    """Seconds by which the copy `target` may be behind `source`, by what is declared along the way between them.

    A way counts in both directions: after a switchover the data flows the other way round.
    """
    found = {source.rpartition("@")[2]: 0.0}
    for _ in service.replications:
        for way in service.replications:
            for here, there in ((way.source, way.target), (way.target, way.source)):
                if here in found:
                    found.setdefault(there, found[here] + way.lag_max_s)
    return found.get(target.rpartition("@")[2], 0.0)


def settings(ours: BucketStanding, theirs: BucketStanding) -> TableProof:
    """Whether both copies keep versions and lock objects alike: a promoted one would behave otherwise."""
    names = [n for n in ("versioning", "lock", "retained") if getattr(ours, n) != getattr(theirs, n)]
    words = ", ".join(names)
    reason = Text(en=f"they differ in {words}", zh=f"设置不同：{words}") if names else NOTHING
    sameness = Sameness.DIFFERENT if names else Sameness.EQUAL
    return TableProof(database=BUCKET, table="settings", sameness=sameness, method=Method.RECHECK, reason=reason)


def _table(service: Service, listed: int, swept: Swept, answer: Settled, options: Options) -> TableProof:
    differing = sorted(answer.differences, key=lambda d: d.key)
    unread = len(answer.unknown) + (swept.more if not differing else 0)
    sameness = Sameness.DIFFERENT if differing else Sameness.UNKNOWN if unread else Sameness.EQUAL
    return TableProof(
        database=BUCKET,
        table=service.name,
        key=("key",),
        sameness=sameness,
        rows_left=listed,
        rows_right=swept.listed,
        differences=tuple(_named(d, options.show_values) for d in differing[: options.named]),
        differing=len(differing),
        more=bool(swept.more or answer.unknown),
        rounds=answer.rounds,
        method=Method.RECHECK,
        reason=_reason(swept, answer),
    )


def _named(difference: RowDifference, show: bool) -> RowDifference:
    if show:
        return difference
    columns = tuple(msgspec.structs.replace(c, left=None, right=None) for c in difference.columns)
    return msgspec.structs.replace(difference, columns=columns)


def _reason(swept: Swept, answer: Settled) -> Text:
    """Why something could not be told, and how far behind the copy is."""
    en, zh = [], []
    if answer.unknown:
        key, why = answer.unknown[0]
        en.append(f"{len(answer.unknown)} keys could not be told, such as {shown(key)}: {why.en}")
        zh.append(f"{len(answer.unknown)} 个键无法判定，例如 {shown(key)}：{why.zh}")
    if swept.more:
        en.append(f"{swept.more} keys more differed and were not looked at again")
        zh.append(f"另有 {swept.more} 个键存在差异，未复核")
    if answer.behind_s:
        en.append(f"the oldest object that is not there was written {answer.behind_s:.1f} s ago")
        zh.append(f"尚未到达的最早对象写入于 {answer.behind_s:.1f} 秒之前")
    return Text(en="; ".join(en), zh="；".join(zh))
