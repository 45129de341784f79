"""Whether two versions that are listed differently hold the same: an ETag that is no MD5 is never held against another.

A multipart ETag is a hash of hashes whose cut is the client's choice; one of an encrypted object is no hash of the
content at all. There the sizes decide first, then stored checksums of the whole object, then the content itself, as
long as it is small enough to be read; beyond that it could not be told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from orchestrator.model.objects import Entry, Facts, plain_md5
from orchestrator.model.proof import ColumnDifference, Sameness
from orchestrator.model.topology import Frozen, Text
from orchestrator.verification.objects_source import ObjectSource

READ_MOST_BYTES = 64 << 20
"""Up to this size the content of a pair is read and hashed where nothing else decides."""


class Judgement(Frozen, kw_only=True):
    """The answer for one key."""

    sameness: Sameness
    columns: tuple[ColumnDifference, ...] = ()
    reason: Text = Text(en="", zh="")


SAME = Judgement(sameness=Sameness.EQUAL)


def different(*names: str) -> Judgement:
    """They differ, in these respects."""
    return Judgement(sameness=Sameness.DIFFERENT, columns=tuple(ColumnDifference(name=n) for n in names))


async def judge(
    ours: ObjectSource, theirs: ObjectSource, mine: Sequence[Entry], its: Sequence[Entry], versions: bool
) -> Judgement:
    """Judge one key by its versions at the primary and at a copy, neither of them empty."""
    if not versions:
        return await judge_pair(ours, theirs, mine[0], its[0], "")
    held = {e.version: e for e in its}
    if held.keys() != {e.version for e in mine}:
        return different("versions")
    answers = [
        await judge_pair(ours, theirs, e, held[e.version], e.version) for e in mine if not e.same(held[e.version])
    ]
    return worst(answers)


def worst(answers: Sequence[Judgement]) -> Judgement:
    """Different before unknown before equal."""
    for sameness in (Sameness.DIFFERENT, Sameness.UNKNOWN):
        found = [a for a in answers if a.sameness is sameness]
        if found:
            columns = {c.name: c for a in found for c in a.columns}
            return Judgement(sameness=sameness, columns=tuple(columns.values()), reason=found[0].reason)
    return SAME


async def judge_pair(ours: ObjectSource, theirs: ObjectSource, mine: Entry, its: Entry, version: str) -> Judgement:
    """Judge one version against its copy."""
    if mine.marker != its.marker:
        return different("deleted")
    if mine.size != its.size:
        return different("size")
    if mine.etag == its.etag:
        return SAME if mine.latest == its.latest else different("latest")
    left, right = await asyncio.gather(ours.facts(mine.key, version), theirs.facts(its.key, version))
    if left is None or right is None or (left.etag, right.etag) != (mine.etag, its.etag):
        words = Text(en="it changed while it was looked at", zh="核对期间对象发生变化")
        return Judgement(sameness=Sameness.UNKNOWN, reason=words)
    told = by_facts(left, right)
    if told is not None:
        return told
    if mine.size > READ_MOST_BYTES:
        return Judgement(sameness=Sameness.UNKNOWN, reason=untold(left, right))
    one, other = await asyncio.gather(ours.digest(mine.key, version), theirs.digest(its.key, version))
    return SAME if one == other else different("content")


def by_facts(left: Facts, right: Facts) -> Judgement | None:
    """What two HEADs with unequal ETags decide; None where they do not. Pure."""
    if left.size != right.size:
        return different("size")
    sums = {s.name: s.value for s in left.checksums}
    both = [(sums[s.name], s.value) for s in right.checksums if s.name in sums and "-" not in s.value + sums[s.name]]
    if both:
        return SAME if all(a == b for a, b in both) else different("checksum")
    if is_md5(left) and is_md5(right):
        return different("etag")
    return None


def is_md5(facts: Facts) -> bool:
    """Its ETag is the MD5 of its content: one part, and not encrypted by a key (SSE-S3 keeps the MD5)."""
    return plain_md5(facts.etag) and facts.encrypted in ("", "AES256") and facts.parts is None


def untold(left: Facts, right: Facts) -> Text:
    """Why unequal ETags say nothing."""
    names = " / ".join(f.encrypted or (f"{f.parts} parts" if f.parts else "MD5") for f in (left, right))
    size = f"{left.size / 2**20:.0f} MiB"
    return Text(
        en=f"its ETags cannot be compared ({names}), no checksum is stored, and {size} are too much to read",
        zh=f"ETag 不可比（{names}），未存校验和，且内容过大（{size}）未读取",
    )


def facts_differ(left: Facts, right: Facts) -> tuple[str, ...]:
    """What HEADs of two equal versions do not agree on. Pure."""
    unequal = {
        "size": left.size != right.size,
        "metadata": left.metadata != right.metadata,
        "lock": left.lock != right.lock,
        "tags": left.tags != right.tags,
    }
    return tuple(name for name, differs in unequal.items() if differs)
