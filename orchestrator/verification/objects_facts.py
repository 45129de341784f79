"""What listings do not show: metadata, tags and locks, by HEAD at a sample of keys whose listings are equal."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from orchestrator.model.objects import Facts
from orchestrator.model.proof import ColumnDifference, DifferenceKind, RowDifference
from orchestrator.model.rows import RowsUnreadable, Trouble
from orchestrator.verification.objects_judge import facts_differ
from orchestrator.verification.objects_settle import AT_ONCE, Case, shown

Tags = tuple[tuple[str, str], ...]
Seen = tuple[Facts, Tags, Facts, Tags]


async def compare_facts(case: Case, keys: Sequence[bytes]) -> list[RowDifference]:
    """Keys whose HEADs (or tags, where there are any) do not agree, and still say the same after the declared lag.

    Raises:
        RowsUnreadable: one of the copies could not be asked.
    """
    first = await _unequal(case, keys)
    if not first:
        return []
    await asyncio.sleep(case.patience_s)
    again = await _unequal(case, list(first))
    lasting = [(key, seen) for key, seen in again.items() if seen == first[key]]
    return [
        RowDifference(
            kind=DifferenceKind.CHANGED,
            key=shown(key),
            columns=tuple(ColumnDifference(name=n) for n in names(seen)),
        )
        for key, seen in lasting
    ]


def names(seen: Seen) -> tuple[str, ...]:
    """What the two do not agree on; nothing where they are not the same version."""
    left, mine, right, its = seen
    if left.etag != right.etag:
        return ()
    return facts_differ(left, right) or (() if mine == its else ("tags",))


async def _unequal(case: Case, keys: Sequence[bytes]) -> dict[bytes, Seen]:
    free = asyncio.Semaphore(AT_ONCE)

    async def one(key: bytes) -> Seen | None:
        async with free:
            try:
                return await _seen(case, key)
            except RowsUnreadable as error:
                if error.trouble is not Trouble.DENIED:
                    raise
                return None  # an object of another owner; its listing is all that is compared

    found = await asyncio.gather(*(one(key) for key in keys))
    return {key: seen for key, seen in zip(keys, found, strict=True) if seen is not None and names(seen)}


async def _seen(case: Case, key: bytes) -> Seen | None:
    left, right = await asyncio.gather(case.primary.facts(key, ""), case.copy.facts(key, ""))
    if left is None or right is None:
        return None  # it came or went since it was listed
    mine, its = await asyncio.gather(_tags(case, key, left, True), _tags(case, key, right, False))
    return left, mine, right, its


async def _tags(case: Case, key: bytes, facts: Facts, ours: bool) -> Tags:
    return await (case.primary if ours else case.copy).tags(key, "") if facts.tags else ()
