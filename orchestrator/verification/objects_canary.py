"""Objects written at the primary and timed until each copy shows them: the lag of a bucket as it is.

One process, one monotonic clock; a lag counts from before the write was sent until the listing that showed the object
had returned and its content was read, so it is an upper bound. The objects are deleted for good at the end; a bucket
that holds new objects by default would keep them, and is not written to.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.model.observation import Verdict
from orchestrator.model.proof import CanaryProof
from orchestrator.model.rows import RowsUnreadable
from orchestrator.model.topology import Text
from orchestrator.verification.canary_row import rank
from orchestrator.verification.objects_source import ObjectSource
from orchestrator.verification.objects_sweep import CANARY
from orchestrator.verification.result import explain

LOOK_EVERY_S = 0.02
WRITE_EVERY_S = 0.1
RETAINED = Text(
    en="the bucket holds new objects by default: a canary could not be deleted",
    zh="存储桶默认保留新对象：探针对象将无法删除",
)


@dataclass
class _Ledger:
    """What was written at the primary: when it was sent, what it holds, and its version."""

    run: bytes
    """What all its keys begin with."""
    samples: int
    sent: dict[bytes, float] = field(default_factory=dict)
    content: dict[bytes, bytes] = field(default_factory=dict)
    version: dict[bytes, str] = field(default_factory=dict)
    write_s: list[float] = field(default_factory=list)
    over_at: float = 0.0


@dataclass
class _Seen:
    """What one copy showed, and when."""

    at: dict[bytes, float] = field(default_factory=dict)
    wrong: int = 0
    gap_s: float = 0.0
    trouble: RowsUnreadable | None = None


async def measure(
    primary: ObjectSource, copies: Sequence[ObjectSource], samples: int, within_s: float
) -> Mapping[str, CanaryProof]:
    """Write `samples` objects and watch every copy at once; each object is given `within_s` seconds to be seen.

    PASS only where every object was seen, with the content that was written.
    """
    ledger = _Ledger(run=CANARY + secrets.token_hex(8).encode() + b"/", samples=samples)
    seen = {copy.instance: _Seen() for copy in copies}
    watching = [asyncio.create_task(_watch(c, ledger, seen[c.instance])) for c in copies]
    try:
        await _write(primary, ledger, within_s)
        await asyncio.gather(*watching)
    except RowsUnreadable as error:
        proof = CanaryProof(verdict=Verdict.UNKNOWN, samples=samples, unseen=samples, reason=explain(error))
        return {copy.instance: proof for copy in copies}
    finally:
        for task in watching:
            task.cancel()
        await asyncio.gather(*watching, return_exceptions=True)
        for key, version in ledger.version.items():
            with contextlib.suppress(RowsUnreadable):
                await primary.delete(key, version)
    return {name: _proof(ledger, one, samples, within_s) for name, one in seen.items()}


async def _write(primary: ObjectSource, ledger: _Ledger, within_s: float) -> None:
    for number in range(ledger.samples):
        key, body = ledger.run + b"%06d" % number, secrets.token_bytes(32)
        ledger.content[key] = body
        ledger.sent[key] = time.monotonic()
        ledger.version[key] = await primary.put(key, body)
        ledger.write_s.append(time.monotonic() - ledger.sent[key])
        await asyncio.sleep(WRITE_EVERY_S)
    ledger.over_at = time.monotonic() + within_s


async def _watch(copy: ObjectSource, ledger: _Ledger, seen: _Seen) -> None:
    """Look until all was seen, or the time of the last one is over; a copy that cannot be read keeps its trouble."""
    last = time.monotonic()
    try:
        while len(seen.at) + seen.wrong < ledger.samples and not 0 < ledger.over_at < time.monotonic():
            page = await copy.page(ledger.run, "", False, most=min(ledger.samples, 1000))
            keys = [page.key(n) for n in range(page.count)]
            for key in keys:
                if key in ledger.sent and key not in seen.at:
                    body = await copy.get(key)
                    if body == ledger.content[key]:
                        seen.at[key] = time.monotonic() - ledger.sent[key]
                    elif body is not None:
                        seen.wrong += 1
            seen.gap_s = max(seen.gap_s, time.monotonic() - last)
            last = time.monotonic()
            await asyncio.sleep(LOOK_EVERY_S)
    except RowsUnreadable as error:
        seen.trouble = error


def _proof(ledger: _Ledger, seen: _Seen, samples: int, within_s: float) -> CanaryProof:
    if seen.trouble is not None:
        why = explain(seen.trouble)
        return CanaryProof(verdict=Verdict.UNKNOWN, samples=samples, unseen=samples - len(seen.at), reason=why)
    lags = sorted(seen.at.values())
    unseen = samples - len(lags)
    reason = Text(
        en=f"{unseen} of {samples} objects were not seen within {within_s:g} s" if unseen else "",
        zh=f"{samples} 个探针对象中有 {unseen} 个在 {within_s:g} 秒内未出现" if unseen else "",
    )
    return CanaryProof(
        verdict=Verdict.FAIL if unseen else Verdict.PASS,
        samples=samples,
        unseen=unseen,
        lag_p50_s=rank(lags, 50),
        lag_p95_s=rank(lags, 95),
        lag_max_s=max(lags, default=None),
        resolution_s=seen.gap_s,
        commit_p50_s=statistics.median(ledger.write_s) if ledger.write_s else None,
        lags_s=tuple(seen.at[key] for key in sorted(seen.at)),
        reason=reason,
    )
