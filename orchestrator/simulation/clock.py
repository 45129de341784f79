"""The clocks of a simulated machine: one goes on, the other may be set."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache

from orchestrator.evidence.journal import Clock
from orchestrator.simulation.loop import VirtualLoop

BEGAN_S = 1_767_600_000.0
"""UTC of virtual time 0, in seconds since 1970."""


class SimClock:
    """A machine's clocks: one goes on, the other may be set."""

    def __init__(self, loop: VirtualLoop, boot: str = "boot") -> None:
        self._loop, self._boot = loop, boot
        self.jump_s = 0.0

    def utc(self) -> str:
        """UTC as this machine believes it to be, RFC 3339."""
        return stamp(BEGAN_S + self._loop.time() + self.jump_s)

    def clock(self) -> Clock:
        """For the journal."""
        return Clock(monotonic=self._loop.time, utc=self.utc, boot=lambda: self._boot, simulated=True)


def stamp(seconds: float) -> str:
    """Seconds since 1970 as RFC 3339 with microseconds."""
    whole = int(seconds)
    return f"{_second(whole)}.{int((seconds - whole) * 1e6):06d}+00:00"


@lru_cache(maxsize=4096)
def _second(whole: int) -> str:
    return datetime.fromtimestamp(whole, UTC).strftime("%Y-%m-%dT%H:%M:%S")
