"""What was proven when, and how far an interrupted comparison had come: one file per service in the operator's home.

Nothing here is evidence: a file that is lost or damaged costs a comparison from the start, and nothing else. An entry
counts only for the very table (its mark), the very copies (lineage, timeline, and when their files were made).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from orchestrator.diskfile import read, write
from orchestrator.errors import BadFile, Refused
from orchestrator.model.rows import Digest, Span, Standing, Table
from orchestrator.model.topology import Frozen
from orchestrator.verification.spans import Sweep

SAVE_EVERY_S = 1.0
MOST_SPANS = 4096
"""A table that differs in more parts is not remembered half-way."""


class Proven(Frozen, kw_only=True):
    """A table that a replica held as the primary did."""

    instance: str
    database: str
    table: str
    mark: str
    copies: str
    position: int
    since: int = 0
    """Position of the oldest part, where it was proven in parts."""
    at: str
    """ISO 8601, UTC."""
    on_cut: bool
    """With every writer held: no change was under way at that position."""
    rows: int


class Half(Frozen, kw_only=True):
    """A table that was being compared."""

    instance: str
    database: str
    table: str
    mark: str
    copies: str
    next_page: int
    left: Digest
    right: Digest
    differing: tuple[Span, ...]
    since: int
    at: str


class Page(Frozen, kw_only=True):
    """The file."""

    begun: str = ""
    """When the newest run began."""
    ended: bool = True
    proven: tuple[Proven, ...] = ()
    half: tuple[Half, ...] = ()


Key = tuple[str, str, str]
"""Instance, database, schema.table."""


def now() -> str:
    """The time as entries write it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def copies_of(primary: Standing, replica: Standing) -> str:
    """What must be the same for an entry to count; empty where it cannot be told."""
    if not (primary.birth and replica.birth):
        return ""
    return f"{primary.lineage}/{primary.timeline}/{primary.birth}/{replica.birth}"


class Ledger:
    """The file of one service. `None` for a path: nothing is remembered."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._saved = time.monotonic()
        page = _load(path)
        self.interrupted = page.begun if not page.ended else ""
        """When the run began that did not come to its end; empty: it did."""
        self._begun = page.begun
        self._ended = page.ended
        self._proven: dict[Key, Proven] = {_key(p): p for p in page.proven}
        self._half: dict[Key, Half] = {_key(h): h for h in page.half}

    @property
    def kept(self) -> bool:
        """Anything is remembered at all."""
        return self._path is not None

    def begin(self, *, go_on: bool) -> None:
        """A run begins; without `go_on` what was half done is forgotten."""
        self._ended = False
        if not go_on:
            self._half.clear()
        if not (go_on and self.interrupted):
            self._begun = now()
        self.save()

    def end(self, *, whole: bool) -> None:
        """The run is over; not `whole`: there is something to go on with."""
        self._ended = whole
        self.save()

    def proven(self, instance: str, table: Table, copies: str) -> Proven | None:
        """The last proof of this very table."""
        found = self._proven.get((instance, table.database, table.full_name))
        return found if found and copies and (found.mark, found.copies) == (table.mark, copies) else None

    def done_before(self, instance: str, table: Table, copies: str) -> Proven | None:
        """Its proof, if the interrupted run had come so far."""
        found = self.proven(instance, table, copies)
        return found if found and self.interrupted and found.at >= self.interrupted else None

    def last(self, instance: str, table: Table) -> str:
        """When it was last proven, whatever has become of it since; empty: never."""
        found = self._proven.get((instance, table.database, table.full_name))
        return found.at if found else ""

    def oldest(self) -> str:
        """When the table was proven whose proof is the oldest; empty: there is none."""
        return min((p.at for p in self._proven.values()), default="")

    def half(self, instance: str, table: Table, copies: str) -> Sweep | None:
        """How far the comparison of this very table had come."""
        found = self._half.get((instance, table.database, table.full_name))
        if not found or not copies or (found.mark, found.copies) != (table.mark, copies):
            return None
        return Sweep(
            left=found.left,
            right=found.right,
            differing=list(found.differing),
            next_page=found.next_page,
            since=found.since,
            resumed=1,
        )

    def note_proven(self, proven: Proven) -> None:
        """A table was proven."""
        self._half.pop(_key(proven), None)
        self._proven[_key(proven)] = proven
        self._save_now_and_then()

    def forget(self, instance: str, database: str, table: str) -> None:
        """A table was found to be different: it stands on no proof any more."""
        key = (instance, database, table)
        self._half.pop(key, None)
        self._proven.pop(key, None)

    def note_half(self, instance: str, table: Table, copies: str, sweep: Sweep) -> None:
        """A table has been compared up to a page."""
        if self._path is None or len(sweep.differing) > MOST_SPANS or sweep.damaged:
            return
        self._half[instance, table.database, table.full_name] = Half(
            instance=instance,
            database=table.database,
            table=table.full_name,
            mark=table.mark,
            copies=copies,
            next_page=sweep.next_page,
            left=sweep.left,
            right=sweep.right,
            differing=tuple(sweep.differing),
            since=sweep.since,
            at=now(),
        )
        self._save_now_and_then()

    def _save_now_and_then(self) -> None:
        if time.monotonic() - self._saved > SAVE_EVERY_S:
            self.save()

    def save(self) -> None:
        """Write the file; a disk that is full costs only the memory of this run."""
        self._saved = time.monotonic()
        if self._path is None:
            return
        page = Page(
            begun=self._begun,
            ended=self._ended,
            proven=tuple(self._proven.values()),
            half=tuple(self._half.values()),
        )
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write(self._path, page)
        except (OSError, Refused):
            self._path = None


def _load(path: Path | None) -> Page:
    try:
        return read(path, Page) if path else Page()
    except BadFile:
        return Page()


def _key(entry: Proven | Half) -> Key:
    return entry.instance, entry.database, entry.table


def ledger_of(folder: Path | None, service: str) -> Ledger:
    """The ledger of a service."""
    return Ledger(folder / f"{service.replace('/', '_')}.json" if folder else None)


def oldest_first(ledgers: Mapping[str, Ledger]) -> list[str]:
    """Services in the order in which a rolling run takes them: never proven first, then the oldest proof."""
    return sorted(ledgers, key=lambda name: ledgers[name].oldest())
