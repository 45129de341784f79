"""What verification and the providers say to each other about rows. Pure and frozen; values of users never stand here
unless an operator asked for them.

Positions are bytes in the primary's log. A *span* is a part of a table in storage order; a *print* is a 64-bit hash
of a row taken in the server; a *place* is where a row version lies, a *version* changes whenever the row is written.
"""

from __future__ import annotations

from enum import StrEnum

from orchestrator.errors import Unreadable
from orchestrator.model.topology import Frozen, Text


class Trouble(StrEnum):
    """Why rows could not be read."""

    LOST = "lost"
    """The connection is gone, or could not be made."""
    DENIED = "denied"
    """No permission, or a server that would not let us in."""
    LATE = "late"
    """No answer within the bound."""
    LOCKED = "locked"
    """A lock was not granted within the bound."""
    CONFLICT = "conflict"
    """A standby cancelled the read for the sake of replay."""
    DAMAGED = "damaged"
    """The server says that what it stores is broken (a checksum, a page, an out-of-line value)."""
    AGED = "aged"
    """We gave a snapshot up, so that it would not keep the primary from cleaning."""
    GONE = "gone"
    """A table, column or database is no longer what the catalogue said."""
    OTHER = "other"


class RowsUnreadable(Unreadable):
    """Rows of an instance could not be read; whatever was to be told from them could not be told."""

    def __init__(self, trouble: Trouble, instance: str, message: str) -> None:
        super().__init__(f"{instance}: {message}")
        self.trouble = trouble
        self.instance = instance


class Standing(Frozen):
    """How one copy stands, read now."""

    instance: str
    primary: bool
    """Not in recovery."""
    writable: bool
    version: int
    """Major version; prints of different ones do not compare."""
    lineage: str
    """Equal for copies of one another (system identifier)."""
    timeline: int | None
    position: int
    """Written (primary), or received and flushed (standby)."""
    replayed: int
    """What reads see; equals `position` at a primary."""
    receiving: bool = False
    """A standby with a live stream."""
    subscribes: tuple[str, ...] = ()
    """Streams of changes that it takes from others row by row (a logical replica), by the names they have there."""
    birth: str = ""
    """Changes when the copy's files are made anew; empty where it may not be read."""


class Column(Frozen):
    """A stored column."""

    name: str
    type: str
    hash: str
    """What the server hashes the type with, by its equality; empty where it cannot: then its text form is hashed."""


class Table(Frozen):
    """A relation that holds rows of users, as one copy's catalogue describes it."""

    database: str
    schema: str
    name: str
    mark: str
    """Changes when the table is altered, rewritten or emptied; equal on a physical copy."""
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    """Columns of the primary key, or of a unique key without nulls; empty where there is none."""
    pages: int
    rows_estimate: int
    lockable: bool = True
    """Its writers can be held."""
    skip: Text | None = None
    """Why its content is not compared."""

    @property
    def full_name(self) -> str:
        """`schema.table`, as people write it."""
        return f"{self.schema}.{self.name}"


class Form(StrEnum):
    """How a row becomes a print."""

    RECORD = "record"
    """Column by column, by the equality of their types (1.0 = 1.00); one major version only."""
    TEXT = "text"
    """By its text form; across versions."""


class Span(Frozen):
    """Pages `first` … `last` - 1 of a table; no `last`: to the end, wherever it is by then."""

    first: int
    last: int | None = None


class Digest(Frozen):
    """Rows of a span: how many, and the sum of their prints; order does not matter, duplicates count."""

    rows: int
    total: int
    position: int = 0
    """A primary's position at or after what was read; 0 where it was read in a snapshot."""

    def same(self, other: Digest) -> bool:
        """Whether both describe the same multiset of rows."""
        return (self.rows, self.total) == (other.rows, other.total)

    def plus(self, other: Digest) -> Digest:
        """Both spans together."""
        return Digest(rows=self.rows + other.rows, total=self.total + other.total)


class BucketDigest(Frozen):
    """The digest of those rows of a span whose key falls into one bucket."""

    bucket: int
    digest: Digest


class RowPrint(Frozen):
    """One row, without its content."""

    place: str
    key: str
    """Text of its key; empty where the table has none."""
    print: int


class Address(StrEnum):
    """By what rows are looked up."""

    PLACE = "place"
    KEY = "key"


class Cell(Frozen):
    """One column of one row: always a hash of its text, the text itself only where asked for."""

    name: str
    print: int | None
    """None: the value is null."""
    text: str | None = None


class Row(Frozen):
    """One row that is looked at closely."""

    asked: str
    """The place or key that it was asked by."""
    place: str
    key: str
    version: str
    print: int
    cells: tuple[Cell, ...]


class Sequence(Frozen):
    """A sequence as one copy shows it."""

    schema: str
    name: str
    last_value: int | None
    """None: never used."""
    increment: int
    cache: int
    cycles: bool


class Fact(Frozen):
    """Something that stands around the rows, as one copy shows it."""

    kind: str
    """Such as `indexes` or `settings`."""
    name: str
    value: str


class Subscribed(Frozen):
    """A table that a logical replica takes from its primary."""

    table: str
    """`schema.table`, the same at both."""
    stream: str
    ready: bool
    """It follows; else its first copy is under way."""


class Storage(Frozen):
    """What a copy's own server says of how it stores a database."""

    checksums: bool
    failures: int
    """Broken pages that it has met since it counts."""
    checker: bool
    """It can check tables and indexes."""
    tables: int = 0
    indexes: int = 0
    broken: tuple[str, ...] = ()


class CanarySeen(Frozen):
    """A canary row as a copy shows it."""

    number: int
    content: str
