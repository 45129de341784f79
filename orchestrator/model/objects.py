"""What verification and the providers say to each other about buckets and objects. Pure; contents stay where they are.

Keys are bytes: listings are sorted by the UTF-8 bytes of the key. An *entry* is one version of one object, as a listing
shows it; a *block* is an entry as the server wrote it: equal blocks are equal entries, and are compared unread.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple, Protocol

from orchestrator.model.topology import Frozen, Service, Setting


class Versioning(StrEnum):
    """Whether a bucket keeps old versions."""

    ENABLED = "enabled"
    SUSPENDED = "suspended"
    OFF = "off"

    @property
    def kept(self) -> bool:
        """There may be more than one version of a key."""
        return self is not Versioning.OFF


class BucketStanding(Frozen, kw_only=True):
    """How one copy of a bucket stands, read now. None: could not be told (the technology, or our rights)."""

    instance: str
    primary: bool | None
    """Its zone takes the writes of users, by its own view."""
    versioning: Versioning
    lock: bool
    """Object Lock is on: versions can be held against deletion."""
    retained: bool
    """New objects are held by default."""
    lineage: str = ""
    """Agreement of all zones on who is the master: the same text at each of them, or they disagree."""


class Entry(NamedTuple):
    """One version of one object, as listed."""

    key: bytes
    version: str
    latest: bool
    marker: bool
    """A delete marker: the object counts as deleted."""
    etag: str
    size: int
    modified_s: float
    """Seconds since 1970, by the server that took the write; 0: it does not say."""

    def same(self, other: Entry) -> bool:
        """Whether both listings say the same of it; who wrote it and when is not compared."""
        return self[:6] == other[:6]


class Ends(NamedTuple):
    """Where a page begins and ends."""

    first: bytes
    last: bytes
    version: str
    """Of the last block; empty where it has none."""


class Page(Protocol):
    """A part of a listing, in order."""

    @property
    def count(self) -> int:
        """Number of blocks."""
        ...

    @property
    def blocks(self) -> list[bytes]: ...

    @property
    def more(self) -> bool:
        """There is more behind the last block."""
        ...

    def join(self, other: Page) -> bool:
        """Whether both hold the same blocks byte for byte; they are then kept, counted and read once for both."""
        ...

    @property
    def ends(self) -> Ends:
        """The first and the last key; there must be a block."""
        ...

    def key(self, number: int) -> bytes:
        """The key of a block."""
        ...

    def some_key(self, first: int, last: int, chance: float) -> bytes:
        """The key of any block from `first` to before `last`, one as likely as another for a `chance` from 0 to below 1
        that is (but for how long they are).
        """
        ...

    def entry(self, number: int) -> Entry:
        """A block, read."""
        ...


class Facts(Frozen, kw_only=True):
    """What the server says of one version beside the listing (HEAD)."""

    size: int
    etag: str
    parts: int | None = None
    encrypted: str = ""
    """How (`AES256`, `aws:kms`, `customer`); empty: not, or not told. Its ETag is then no hash of the content."""
    checksums: tuple[Setting, ...] = ()
    """Checksums that were stored with the object, by algorithm."""
    metadata: tuple[Setting, ...] = ()
    """The user's own metadata and the content headers, sorted by name."""
    lock: str = ""
    """Mode and end of its retention, and legal hold; empty: free."""
    tags: int = 0
    replication: str = ""
    """Replication status as the server states it."""


class NameColumn(Frozen, kw_only=True):
    """The column of a database whose values are keys of a bucket."""

    schema: str
    table: str
    name: str

    @property
    def full_name(self) -> str:
        """As an operator writes it: schema.table.column."""
        return f"{self.schema}.{self.table}.{self.name}"


NAMED_BY = "named_by"
"""The parameter of a bucket that says which column of which service names its objects."""


def named_by(bucket: Service) -> tuple[str, NameColumn] | None:
    """Id of the service and its column that name a bucket's objects; None: nothing is said of it.

    Raises:
        ValueError: it is not `SERVICE schema.table.column`.
    """
    if not (said := bucket.param(NAMED_BY)):
        return None
    service, _, place = said.partition(" ")
    parts = place.strip().split(".")
    if len(parts) != len(("schema", "table", "column")) or not all(parts):
        raise ValueError(f"`{said}` is not SERVICE schema.table.column")
    column = NameColumn(schema=parts[0], table=parts[1], name=parts[2])
    return service if "/" in service else f"{bucket.system}/{service}", column


MD5_HEX = 32


def plain_md5(etag: str) -> bool:
    """Whether an ETag looks like the MD5 of one whole upload (a multipart one ends with `-` and its parts)."""
    return len(etag) == MD5_HEX and all(c in "0123456789abcdef" for c in etag)


def parts_of(etag: str) -> int | None:
    """Number of parts by a multipart ETag; None where it is none."""
    _, dash, count = etag.rpartition("-")
    return int(count) if dash and count.isdigit() else None
