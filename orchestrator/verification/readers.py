"""Who reads the copies of a service. By itself, so that a command that verifies nothing loads nothing of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.model.topology import Instance
    from orchestrator.verification.names_source import NameSource
    from orchestrator.verification.objects_source import ObjectSource
    from orchestrator.verification.source import RowSource


@dataclass(frozen=True)
class Readers:
    """Who reads one copy of a service, by the service's kind. A kind holds either rows or objects."""

    rows: Mapping[str, Callable[[Instance], RowSource]]
    objects: Mapping[str, Callable[[Instance], ObjectSource]]
    names: Mapping[str, Callable[[Instance], NameSource]]
