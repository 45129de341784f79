"""Rows written at the primary and timed until each replica shows them: lag as it is, not as it is reported.

One process, one monotonic clock. A lag counts from before the commit was sent until the look that saw the row had
returned, so it is an upper bound: it contains the primary's own commit and at most one look (`resolution_s`).
"""

from __future__ import annotations

import asyncio
import random
import statistics
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from orchestrator.model.observation import Verdict
from orchestrator.model.proof import CanaryProof
from orchestrator.model.rows import RowsUnreadable
from orchestrator.model.topology import Text
from orchestrator.verification.result import explain
from orchestrator.verification.source import RowSource

LOOK_EVERY_S = 0.001
"""A replica is looked at this often where its answers come faster; at most 2 ms apart with the look itself on a LAN."""
WRITE_EVERY_S = (0.015, 0.035)
"""Writes are spread unevenly, so that they do not fall into step with looks or with the server's own cycles."""


@dataclass
class _Ledger:
    """What was committed at the primary."""

    sent: dict[int, float] = field(default_factory=dict)
    commit_s: list[float] = field(default_factory=list)
    content: dict[int, str] = field(default_factory=dict)
    over: bool = False


@dataclass
class _Seen:
    """What one replica showed."""

    at: dict[int, float] = field(default_factory=dict)
    content: dict[int, str] = field(default_factory=dict)
    gap_s: float = 0.0
    trouble: RowsUnreadable | None = None


async def measure(
    primary: RowSource, replicas: Sequence[RowSource], samples: int, within_s: float
) -> Mapping[str, CanaryProof]:
    """Write `samples` rows and watch every replica at once; each row is given `within_s` seconds to be seen.

    PASS only where every row was seen, with the content that was written.
    """
    run, ledger = str(uuid.uuid4()), _Ledger()
    seen = {replica.instance: _Seen() for replica in replicas}
    try:
        await primary.plant(run)
        watching = [asyncio.create_task(_watch(r, run, ledger, seen[r.instance], within_s)) for r in replicas]
        try:
            await _write(primary, run, samples, ledger)
            await asyncio.gather(*watching)
        finally:
            for task in watching:
                task.cancel()
            await asyncio.gather(*watching, return_exceptions=True)
            with suppress(RowsUnreadable):
                await primary.clear_canaries(run)
    except RowsUnreadable as error:
        proof = CanaryProof(verdict=Verdict.UNKNOWN, samples=samples, unseen=samples, reason=explain(error))
        return {replica.instance: proof for replica in replicas}
    return {name: _judge(ledger, found, samples, within_s) for name, found in seen.items()}


async def _write(primary: RowSource, run: str, samples: int, ledger: _Ledger) -> None:
    try:
        for number in range(1, samples + 1):
            await asyncio.sleep(random.uniform(*WRITE_EVERY_S))
            sent = time.monotonic()
            ledger.content[number] = await primary.write_canary(run, number)
            ledger.commit_s.append(time.monotonic() - sent)
            ledger.sent[number] = sent
    finally:
        ledger.over = True


async def _watch(replica: RowSource, run: str, ledger: _Ledger, seen: _Seen, within_s: float) -> None:
    """Look until every committed row was seen, or the last one has had its time."""
    looked = time.monotonic()
    newest = 0
    while not (ledger.over and _finished(ledger, seen, within_s)):
        try:
            rows = await replica.see_canaries(run, newest)
        except RowsUnreadable as error:
            seen.trouble = error
            return
        now = time.monotonic()
        if newest < len(ledger.sent):
            seen.gap_s = max(seen.gap_s, now - looked)
        looked = now
        for row in rows:
            seen.at[row.number] = now
            seen.content[row.number] = row.content
            newest = max(newest, row.number)
        await asyncio.sleep(LOOK_EVERY_S)


def _finished(ledger: _Ledger, seen: _Seen, within_s: float) -> bool:
    waiting = [sent for number, sent in ledger.sent.items() if number not in seen.at]
    return not waiting or time.monotonic() > max(waiting) + within_s


def _judge(ledger: _Ledger, seen: _Seen, samples: int, within_s: float) -> CanaryProof:
    lags = [seen.at[n] - sent for n, sent in ledger.sent.items() if n in seen.at]
    late = sum(lag > within_s for lag in lags)
    unseen = samples - len(lags)
    wrong = [n for n, content in seen.content.items() if ledger.content.get(n) != content]
    verdict, reason = Verdict.PASS, Text(en="", zh="")
    if seen.trouble is not None:
        verdict, reason = Verdict.UNKNOWN, explain(seen.trouble)
    elif wrong:
        verdict = Verdict.FAIL
        reason = Text(en=f"{len(wrong)} rows show another value", zh=f"{len(wrong)} 行的内容与写入不符")
    elif unseen or late or not lags:
        verdict = Verdict.FAIL
        reason = Text(
            en=f"{unseen + late} of {samples} rows not seen within {within_s:g} s",
            zh=f"{samples} 行中有 {unseen + late} 行未在 {within_s:g} 秒内可见",
        )
    return CanaryProof(
        verdict=verdict,
        samples=samples,
        unseen=unseen,
        lag_p50_s=rank(lags, 50),
        lag_p95_s=rank(lags, 95),
        lag_max_s=max(lags, default=None),
        resolution_s=seen.gap_s if lags else None,
        commit_p50_s=statistics.median(ledger.commit_s) if ledger.commit_s else None,
        lags_s=tuple(lags),
        reason=reason,
    )


def rank(values: Sequence[float], percent: int) -> float | None:
    """Nearest-rank percentile (the smallest value that `percent` % of all do not exceed); None for no value."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)] if ordered else None
