"""The two protocols that every technology implements, in the domain's own words.

Contract (one suite in tests runs it against every provider):
- a Prober never raises for a world that is bad: it returns a Reading whose `reach` says what happened;
- an Actor's verb is idempotent, carries the run's epoch, returns within `within_s` seconds or raises
  `ActionFailed`; foreign errors stop here and are kept as the cause;
- a verb that a technology does not have is `Unsupported`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

import msgspec

from orchestrator.errors import DrctlError
from orchestrator.model.observation import Reading
from orchestrator.model.plan import Verb
from orchestrator.model.topology import Instance, Kind, Service, Setting


class ActionFailed(DrctlError):
    """An action did not reach its end; the world may or may not have changed."""

    exit_code = 8


class Unsupported(ActionFailed):
    """This technology has no such verb."""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What an Actor is told to do."""

    run: str
    step: str
    epoch: int
    """Epoch of the run; an instance that has seen a higher one must refuse."""
    service: Service
    instance: Instance
    towards: tuple[Instance, ...] = ()
    params: tuple[Setting, ...] = ()
    within_s: float = 60.0
    artifacts: Path
    """Folder of this step's own; playbook output goes here and into the evidence."""

    def param(self, name: str, default: str = "") -> str:
        """The value of a parameter, or `default`."""
        return next((s.value for s in self.params if s.name == name), default)


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What an Actor says it did."""

    detail: str
    changed: bool = True
    facts: tuple[Setting, ...] = ()


class Prober(Protocol):
    """Reads one kind of service."""

    @property
    def kind(self) -> Kind: ...

    async def read(self, service: Service, instance: Instance, within_s: float) -> Reading:
        """One look at one instance, bounded by `within_s` seconds; never raises for a bad world."""
        ...


class Actor(Protocol):
    """Changes one kind of service."""

    @property
    def kind(self) -> Kind: ...

    async def act(self, verb: Verb, order: Order) -> Outcome:
        """Carry out one of the ten Actor verbs (fence … run_playbook).

        Raises:
            Unsupported: this technology has no such verb.
            ActionFailed: it did not reach its end.
        """
        ...


PlaybookRunner = Callable[[str, Order, tuple[Setting, ...]], Awaitable[Outcome]]
"""Runs playbooks/<name> against the order's instance with extra variables; see providers/playbook.py."""
