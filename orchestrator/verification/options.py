"""What an operator may choose about a verification, and the pace that is reported."""

from __future__ import annotations

import time
from collections.abc import Callable

from orchestrator.model.proof import Part, Progress, ProofProgress
from orchestrator.model.topology import Frozen, Text

TELL_EVERY_S = 0.25
DEFAULT_PARTS = (Part.POSITIONS, Part.CANARY, Part.CONTENT, Part.DRIFT, Part.NAMES)


class Options(Frozen):
    """How to verify. Bounds are in seconds and above zero."""

    parts: tuple[Part, ...] = DEFAULT_PARTS
    centres: tuple[str, ...] = ()
    """Only replicas in these centres; empty: everywhere."""
    reference: str = ""
    """The standby with which the others are compared; empty: the primary."""
    samples: int = 20
    """Canary rows; at least 1."""
    within_s: float = 10.0
    """Bound of each wait: for a position, and for one canary row."""
    timeout_s: float = 600.0
    """Bound of a service's content; tables not compared by then are unknown."""
    tables: tuple[str, ...] = ()
    """Patterns (`table`, `schema.table`, `database.schema.table`, with * and ?); empty: every table."""
    show_values: bool = False
    locks: bool = True
    """Writers may be held for a moment (consistent cut); else always lock-free."""
    named: int = 20
    """Differing rows that are named per table."""
    text: bool = False
    """Compare by text even where hashes by type would do."""
    max_load: float = 1.0
    """Share of the time that servers are read at most; above 0, at most 1."""
    watch: bool = False
    """Time small commits at the primary, to tell what the comparison does to it."""
    resume: bool = False
    """Go on with an interrupted run."""
    incremental: bool = False
    """Read only what has changed since the last proof, where that is sound."""
    budget_s: float | None = None
    """Rolling: tables with the oldest proof first, until so many seconds are over."""
    snapshot_s: float = 300.0
    """A snapshot is given up after so long and another one taken: it keeps the primary from cleaning."""


class Pace:
    """Counts rows of a service's comparison and tells of it, at most four times a second."""

    def __init__(self, service: str, tell: Progress | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._service, self._tell, self._clock = service, tell, clock
        self._begun = clock()
        self._told = 0.0
        self.rows = 0
        self.rows_total = 0

    def say(self, text: Text) -> None:
        """Tell now."""
        self._told = self._clock()
        if self._tell is not None:
            self._tell(self._note(text))

    def add(self, rows: int, table: str) -> None:
        """Rows of `table` have been compared."""
        self.rows += rows
        if self._clock() - self._told >= TELL_EVERY_S:
            self.say(Text(en=f"comparing {table}", zh=f"正在比对 {table}"))

    @property
    def rows_per_s(self) -> float:
        """Rows a second since the start."""
        return self.rows / max(self._clock() - self._begun, 1e-6)

    def _note(self, text: Text) -> ProofProgress:
        left = self.rows_total - self.rows
        known = self.rows > 0 and self.rows_total > 0
        return ProofProgress(
            service=self._service,
            text=text,
            rows=self.rows,
            rows_total=self.rows_total,
            rows_per_s=self.rows_per_s,
            eta_s=max(0.0, left / self.rows_per_s) if known else None,
        )
