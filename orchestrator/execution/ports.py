"""What the executor needs of the outside, as values that a caller hands in: real, recording or simulated alike."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from pathlib import Path

import msgspec

from orchestrator.evidence.journal import REAL, Clock
from orchestrator.execution.conversation import Control
from orchestrator.execution.history import Answer
from orchestrator.model.observation import Finding, Snapshot
from orchestrator.model.plan import Condition, Plan, Step
from orchestrator.model.run import Record
from orchestrator.model.topology import Topology
from orchestrator.providers.base import Actor


class Ports(msgspec.Struct, frozen=True, kw_only=True):
    """The executor's hands and eyes."""

    observe: Callable[[Collection[str], float], Awaitable[Snapshot]]
    """Look at these instances at once, each bounded by so many seconds."""
    actor: Callable[[str], Actor]
    """The actor of a kind of service."""
    judge: Callable[[Condition, Snapshot, Snapshot, frozenset[str], int], Finding]
    """condition, now, before, instances fenced by this run, the run's epoch → finding. Readings that carry an earlier
    epoch of the same run are shown with the present one."""
    ask: Callable[[Step], Awaitable[Answer]]
    """A person answers the step's question; cancelled where the run is stopped meanwhile."""
    inject: Callable[[str], Awaitable[None]]
    """Put a fault in force (lab only); idempotent."""
    heal: Callable[[], Awaitable[None]]
    """Take every fault away (lab only); idempotent."""
    progress: Callable[[Record], None]
    """Told of every record; what it raises is ignored."""
    control: Callable[[], Control]
    """What the operator asks now; read before each step."""
    clock: Clock = REAL


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """Where a plan is carried out."""

    plan: Plan
    topology: Topology
    before: Snapshot
    run: str
    epoch: int
    artifacts: Callable[[str], Path]
    """Folder of a step's own."""
    forget_answer: Callable[[str], None]
    """A step's answer is in the journal by now: the next question to it is asked anew."""
