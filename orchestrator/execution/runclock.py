"""The time of day of one run: its beginning's, plus what the monotonic clock says has passed since.

What was seen before a loss counts for so long and is not of the future (checks/evidence.stale). A machine's clock that
is set in the middle of an outage must not shut the gate of a promotion by that, nor open it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from orchestrator.evidence.journal import REAL, Clock
from orchestrator.model.run import Record


def run_clock(records: Sequence[Record], clock: Clock = REAL) -> Callable[[], str]:
    """Tells the time as UTC, RFC 3339; the machine's own where the monotonic clock began anew since (a reboot).

    Args:
        records: the run's journal so far.
        clock: the machine's.
    """
    if not records or records[0].boot != clock.boot():
        return clock.utc
    begun, since = datetime.fromisoformat(records[0].at), records[0].mono_s

    def told() -> str:
        return (begun + timedelta(seconds=clock.monotonic() - since)).isoformat()

    return told
