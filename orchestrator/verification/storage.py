"""What a replica's own server says of its storage: cheaper than comparing rows, and less.

It finds broken pages, tables and indexes at the replica. It does not find rows that are whole and wrong.
"""

from __future__ import annotations

import time

from orchestrator.model.observation import Verdict
from orchestrator.model.proof import NOTHING, StorageProof
from orchestrator.model.rows import RowsUnreadable, Storage
from orchestrator.model.topology import Text
from orchestrator.verification import catalogue
from orchestrator.verification.options import Options
from orchestrator.verification.result import explain
from orchestrator.verification.source import RowSource

UNCHECKED = Text(
    en="neither page checksums nor a checker of tables and indexes (amcheck): nothing is known of its storage",
    zh="既无页校验和，也无表与索引的检查工具（amcheck）：其存储状况未知",
)
ONLY_SUMS = Text(
    en="no checker of tables and indexes (CREATE EXTENSION amcheck at the primary): only what was read so far is known",
    zh="没有表与索引的检查工具（在主库执行 CREATE EXTENSION amcheck）：仅知已读取的页",
)


async def prove_storage(replica: RowSource, options: Options) -> StorageProof:
    """Ask the replica of every database; never raises for one that cannot be asked."""
    end = time.monotonic() + options.timeout_s
    found: list[tuple[int, Storage]] = []
    try:
        for database in await replica.databases():
            tables = catalogue.chosen(await replica.tables(database), options.tables)
            wanted = tuple(t for t in tables if t.skip is None and t.lockable)
            left_s = max(1.0, end - time.monotonic())
            found.append((len(wanted), await replica.storage(database, wanted, left_s)))
    except RowsUnreadable as error:
        return _judge(found, explain(error))
    return _judge(found, NOTHING)


def _judge(found: list[tuple[int, Storage]], reason: Text) -> StorageProof:
    """`found`: of each database, how many tables there were to check, and what came of it."""
    stored = [one for _, one in found]
    broken = tuple(text for one in stored for text in one.broken)
    failures = sum(one.failures for one in stored)
    sums = bool(stored) and all(one.checksums for one in stored)
    unchecked = any(wanted and not one.checker for wanted, one in found)
    if not reason.en and (unchecked or not any(one.tables for one in stored)):
        reason = ONLY_SUMS if sums else UNCHECKED
    verdict = Verdict.UNKNOWN if reason.en else Verdict.PASS
    return StorageProof(
        verdict=Verdict.FAIL if broken or failures else verdict,
        checksums=sums,
        failures=failures,
        tables=sum(one.tables for one in stored),
        indexes=sum(one.indexes for one in stored),
        broken=broken,
        reason=reason,
    )
