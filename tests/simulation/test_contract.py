"""The contract suite on the simulated provider, in real time: a fake that drifts from the real ones proves nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import cast

import pytest

from orchestrator.machine.faults import parse
from orchestrator.model.plan import Verb
from orchestrator.model.topology import Instance
from orchestrator.providers import recording
from orchestrator.providers.base import Order
from orchestrator.simulation import providers
from orchestrator.simulation.chance import Chance
from orchestrator.simulation.estates import ESTATES, KINDS
from orchestrator.simulation.loop import VirtualLoop
from orchestrator.simulation.providers import SimProvider
from orchestrator.simulation.states import States
from orchestrator.simulation.world import SimWorld
from tests.contract_providers import ActorContract, Case, ProberContract
from tests.simulation.situations import ground_states

EPOCH = 3
FAULTS = "stop-service one/{closed}; freeze-centre c"


def a_case(tmp_path: Path, name: str, verb: Verb, other: Verb, *towards: str) -> Case:
    """A case on one service: a is well, nobody listens at b, and c is frozen."""
    closed = f"{name}@b"
    topology = ESTATES["chain"]
    states: States = ground_states("chain")
    loop = cast(VirtualLoop, asyncio.get_running_loop())  # the world asks a loop for time and timers only
    world = SimWorld(loop, states, Chance(1), states.of(states.ground.declared()))
    world.logs.clear()  # real clocks do not begin at 0
    for fault in parse(FAULTS.format(closed=closed)):
        world.strike(fault)
    healthy = topology.instance_by_id[f"one/{name}@a"]
    service = topology.service_by_id[healthy.service]
    provider = SimProvider(world, KINDS[service.kind])

    def order(target: Instance, epoch: int, within_s: float) -> Order:
        return Order(
            run="r",
            step="s",
            epoch=epoch,
            service=service,
            instance=target,
            towards=tuple(topology.instance_by_id[f"one/{t}"] for t in towards),
            within_s=within_s,
            artifacts=tmp_path,
        )

    return Case(
        provider=provider,
        actor=provider,
        service=service,
        healthy=healthy,
        closed=topology.instance_by_id[f"one/{closed}"],
        silent=topology.instance_by_id[f"one/{name}@c"],
        garbage=None,
        homeless=None,
        order=order,
        verb=verb,
        other_verb=other,
        epoch=EPOCH,
    )


class TestData(ProberContract, ActorContract):
    @pytest.fixture
    async def case(self, tmp_path: Path) -> Case:
        return a_case(tmp_path, "db", Verb.PROMOTE, Verb.REDIRECT)


class TestApp(ProberContract, ActorContract):
    @pytest.fixture
    async def case(self, tmp_path: Path) -> Case:
        return a_case(tmp_path, "app", Verb.REPOINT, Verb.PROMOTE, "db@a")


def test_the_simulated_verbs_are_those_of_a_rehearsal() -> None:
    assert providers.VERBS == recording.VERBS
