"""What bucket verification asks of a copy of a bucket. A technology implements this protocol and needs nothing else.

Contract: every call returns within its bound or raises `RowsUnreadable` with the trouble named; nothing else is raised.
"""

from __future__ import annotations

from typing import Protocol

from orchestrator.model.objects import BucketStanding, Entry, Facts, Page


class ObjectSource(Protocol):
    """One copy of a bucket."""

    @property
    def instance(self) -> str: ...

    async def standing(self, within_s: float) -> BucketStanding:
        """Role, versioning and locks now."""
        ...

    async def page(self, after: bytes, version: str, versions: bool, *, lean: bool = False, most: int = 1000) -> Page:
        """Up to `most` entries after a key (after one version of it, where given), in order.

        `versions`: every version and delete marker instead of what is current. `lean`: blocks hold nothing but what
        `Entry.same` compares, where servers word the rest each in its own way.
        """
        ...

    async def look(self, key: bytes, versions: bool) -> tuple[Entry, ...]:
        """The current version of a key, or all of them; empty where there is none."""
        ...

    async def facts(self, key: bytes, version: str) -> Facts | None:
        """What a HEAD says; None where there is no such object."""
        ...

    async def digest(self, key: bytes, version: str) -> str:
        """SHA-256 of the content, read through; memory stays bounded."""
        ...

    async def tags(self, key: bytes, version: str) -> tuple[tuple[str, str], ...]:
        """The object's tags, sorted."""
        ...

    async def now_s(self) -> float:
        """The server's clock, seconds since 1970."""
        ...

    async def put(self, key: bytes, body: bytes) -> str:
        """Write an object; its version."""
        ...

    async def get(self, key: bytes) -> bytes | None:
        """The content of a small object; None where there is none."""
        ...

    async def delete(self, key: bytes, version: str) -> None:
        """Delete an object (that version of it, where given, for good)."""
        ...

    async def close(self) -> None:
        """Free everything; never raises."""
        ...
