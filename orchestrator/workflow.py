"""The use cases, readable from top to bottom."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import msgspec

from orchestrator.model.observation import Snapshot
from orchestrator.model.topology import Instance, Topology

if TYPE_CHECKING:
    from orchestrator.planner import Timings
    from orchestrator.providers.base import Actor, Prober
    from orchestrator.verification.source import RowSource

OBSERVE_WITHIN_S = 2.0
"""Bound of one look; a dead centre costs this once, for all its instances at the same time."""


class Injector(Protocol):
    """Puts faults into the lab and takes them away; no other estate has one."""

    def inject(self, fault: str) -> None:
        """Put a fault in force."""
        ...

    def heal(self) -> None:
        """Take every fault away."""
        ...


@dataclass(frozen=True, kw_only=True)
class Context:
    """What the use cases work with: the estate, and the means that `app` chose."""

    topology: Topology
    topology_sha256: str
    estate: Path
    home: Path
    lab_dir: Path
    state: str
    lang: str
    probers: Mapping[str, Prober]
    actors: Mapping[str, Actor]
    recorders: Mapping[str, Actor]
    """Actors of a rehearsal: they write down, and have no way to a real one."""
    rows: Callable[[Instance], RowSource]
    injector: Injector | None

    async def observe(self, instances: Collection[str] | None = None, within_s: float = OBSERVE_WITHIN_S) -> Snapshot:
        """Look at every instance (or at some) at once; a look at all is kept as the last one known."""
        from orchestrator.observer import observe

        snapshot = await observe(self.topology, self.probers, instances, within_s)
        if instances is None:
            keep(self.home / "observations" / "last.json", snapshot)
        return snapshot

    def row_source(self, instance: Instance) -> RowSource:
        """Reads the content of one copy."""
        return self.rows(instance)

    def timings(self) -> Timings:
        """Forecasts of how long actions take."""
        from orchestrator.planner import Timings

        return Timings()


def keep(path: Path, value: object) -> None:
    """Write a value of the model as JSON, in one piece (a reader sees the old file or the new one)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_bytes(msgspec.json.format(msgspec.json.encode(value), indent=1))
    part.replace(path)
