"""What the proof of names asks of a database copy: which objects its rows name.

Contract: every call returns within its bound or raises `RowsUnreadable` with the trouble named; nothing else is raised.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from orchestrator.model.objects import NameColumn


class NameSource(Protocol):
    """One copy of a database whose rows name objects of a bucket."""

    @property
    def instance(self) -> str: ...

    def names(self, column: NameColumn) -> AsyncIterator[Sequence[bytes]]:
        """Every name once, as UTF-8, in the order of its bytes; all of one moment. Rows without a name are left out."""
        ...

    async def still(self, column: NameColumn, names: Sequence[bytes]) -> frozenset[bytes]:
        """Which of these names a row holds now."""
        ...

    async def close(self) -> None:
        """Free everything; never raises."""
        ...
