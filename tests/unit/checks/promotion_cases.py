"""Worlds of a failover that the cases of the safety core start from."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from orchestrator.checks.conditions import Evidence, judge
from orchestrator.model.observation import Downstream, Snapshot, Verdict
from orchestrator.model.plan import Condition, Fact
from orchestrator.model.topology import Role
from tests.unit.checks.world import BEFORE, HEALTHY, TOPOLOGY, A, B, change, gone

PASS, FAIL, UNKNOWN = Verdict.PASS, Verdict.FAIL, Verdict.UNKNOWN
EPOCH = 5
CANNOT_ACK = Condition(fact=Fact.CANNOT_ACK, instance=A, others=(B,))
HOLDS_ALL = Condition(fact=Fact.HOLDS_ALL, instance=B, others=(A,))
WAS = replace(HEALTHY, taken_at=BEFORE)
"""A healthy look, one minute before."""
OLD = replace(HEALTHY, taken_at="2026-11-22T00:00:00Z")
"""A healthy look, more than a day before."""


def detached(world: Snapshot, instance: str = B, **fields: Any) -> Snapshot:
    """`repoint(instance → nobody)` was done by this run."""
    return change(world, instance, upstream="", receiving=False, epoch=EPOCH, **fields)


def without_b(world: Snapshot) -> Snapshot:
    """The old primary's own view once b has left it."""
    return change(world, A, downstreams=())


def promoted(world: Snapshot, epoch: int = EPOCH, **fields: Any) -> Snapshot:
    """b was promoted by the run with `epoch`."""
    return change(
        world, B, **{"role": Role.PRIMARY, "writable": True, "upstream": "", "timeline": 2, "epoch": epoch} | fields
    )


LOST = detached(gone(HEALTHY, A))
"""Centre a is silent, b is detached from it."""


def evidence(now: Snapshot, before: Snapshot | None = WAS, **fields: Any) -> Evidence:
    return Evidence(topology=TOPOLOGY, now=now, before=before, **{"epoch": EPOCH} | fields)


def seen(condition: Condition, now: Snapshot, before: Snapshot | None = WAS, **fields: Any) -> Verdict:
    return judge(condition, evidence(now, before, **fields)).verdict


def copy(**fields: Any) -> tuple[Downstream, ...]:
    defaults: dict[str, Any] = {"centre": "b", "sync": True, "streaming": True, "position": 1000}
    return (Downstream(**defaults | fields),)
