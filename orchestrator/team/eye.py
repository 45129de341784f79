"""Looks at the store's own instances with the provider that drives them, from any thread."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import msgspec

from orchestrator.model.observation import Snapshot
from orchestrator.model.topology import Topology
from orchestrator.observer import observe
from orchestrator.providers.base import Prober
from orchestrator.team.address import StoreAddress

WITHIN_S = 1.0


class StoreEye:
    """Keeps one loop, because the provider keeps its connections by loop."""

    def __init__(self, address: StoreAddress, probers: Mapping[str, Prober]) -> None:
        self.topology: Topology = address.topology()
        self._probers = probers
        self._loop: asyncio.AbstractEventLoop | None = None

    def __call__(self) -> str:
        """A look, as JSON; for a thread without a loop of its own, always the same one."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
        return msgspec.json.encode(self._loop.run_until_complete(self.look())).decode()

    async def look(self, within_s: float = WITHIN_S) -> Snapshot:
        """A look from the running loop."""
        return await observe(self.topology, self._probers, None, within_s)
