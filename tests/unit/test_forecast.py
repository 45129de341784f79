"""The forecast of a plan: percentiles, the path that decides, what people and slow links add, and what breaks."""

from __future__ import annotations

import math
from random import Random

import msgspec
import pytest

from orchestrator.model.plan import USERS_FIRST_S, Mode, Phase, Plan, Step, Verb
from orchestrator.model.request import Timings
from orchestrator.planner import plan
from orchestrator.simulation.forecast import Durations, Forecast, WhatIf, forecast
from tests.unit.build import estate, full_system, lab, request, runbook

TOPOLOGY = lab()
EXACT: Durations = {}


def made(scenario: str = "centre-lost", **words: object) -> Plan:
    found = {"lost": ("a",)} if scenario == "centre-lost" else {}
    return plan(TOPOLOGY, None, runbook(scenario), request(Mode.TABLETOP, **{**found, **words}), Timings())


def told(made_: Plan, durations: Durations = EXACT, **conditions: object) -> Forecast:
    return forecast(made_, TOPOLOGY, durations, runs=60, what_if=WhatIf(**conditions))  # type: ignore[arg-type]


def steps_of(*steps: Step) -> Plan:
    """A plan of these steps alone."""
    return msgspec.structs.replace(made(), steps=steps, systems=("legal-person",))


def step(name: str, verb: Verb = Verb.CONFIRM, *needs: str, phase: Phase = Phase.VERIFY, instance: str = "") -> Step:
    whole = made().steps[0]
    return msgspec.structs.replace(
        whole, id=name, verb=verb, system="legal-person", instance=instance, towards=(), needs=needs, phase=phase
    )


def every(seconds: float, verb: Verb = Verb.CONFIRM, kind: str = "") -> Durations:
    """Measured: always so long."""
    return {(verb, kind): (seconds,) * 5}


def test_the_same_seed_gives_the_same_forecast() -> None:
    assert told(made()) == told(made())
    other = forecast(made(), TOPOLOGY, EXACT, runs=60, seed=2)
    assert other.rto != told(made()).rto


def test_percentiles_are_in_order_and_the_plan_takes_as_long_as_its_last_system() -> None:
    found = told(made())
    assert 0 < found.rto.p50_s <= found.rto.p95_s <= found.rto.p99_s < 10
    assert found.rto.p99_s < found.total.p99_s
    assert max(s.rto.p99_s for s in found.systems) == found.rto.p99_s
    assert {s.system for s in found.systems} == {"legal-person", "sharing", "open-data"}
    assert found.measured == 0.0
    assert not any(s.missed for s in found.systems)


def test_a_chain_adds_up_and_what_stands_beside_it_does_not() -> None:
    beside = step("beside")
    found = told(steps_of(step("one"), step("two", Verb.CONFIRM, "one"), beside), every(10.0))
    assert found.rto.p50_s == pytest.approx(20.0, rel=0.06)
    assert [p.step for p in found.critical_path] == ["one", "two"]
    assert found.measured == 1.0


def test_the_riskiest_step_is_the_one_that_varies() -> None:
    history = {
        (Verb.CONFIRM, ""): (10.0,) * 5,
        (Verb.FENCE, ""): (1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 9.0),
    }
    found = told(steps_of(step("steady"), step("fence", Verb.FENCE, "steady")), history)
    assert found.riskiest == "fence"
    assert found.riskiest_adds_s > 5


def test_people_wait_for_a_team() -> None:
    asked = steps_of(*(step(f"ask {n}", Verb.ASK) for n in range(4)))
    answers = every(60.0, Verb.ASK)
    assert told(asked, answers).rto.p50_s == pytest.approx(60.0, rel=0.06)
    assert told(asked, answers, teams=2).rto.p50_s == pytest.approx(120.0, rel=0.06)
    assert told(asked, answers, teams=1).rto.p50_s == pytest.approx(240.0, rel=0.06)


def test_protection_waits_for_users_but_not_for_ever() -> None:
    copy = step("copy", Verb.REJOIN, phase=Phase.PROTECT)
    history = {**every(7.0), **every(1.0, Verb.REJOIN)}
    assert told(steps_of(step("serve"), copy), history).total.p50_s == pytest.approx(8.0, rel=0.08)
    history = {**every(100.0), **every(90.0, Verb.REJOIN)}
    found = told(steps_of(step("serve"), copy), history)
    assert found.total.p50_s == pytest.approx(USERS_FIRST_S + 90.0, rel=0.06)


def test_a_slow_link_slows_what_crosses_it() -> None:
    before, after = told(made()), told(made(), slow=(("a", "b", 0.2),))
    assert after.total.p50_s > before.total.p50_s + 2.0, "a comes back as a copy of b"
    elsewhere = told(made(), slow=(("x", "y", 0.2),))
    assert elsewhere == before


def test_a_centre_that_is_not_there_blocks_what_needs_it() -> None:
    found = told(made("switchover", target="c"), without=("b",))
    by_id = {s.system: s for s in found.systems}
    assert math.isinf(by_id["open-data"].rto.p50_s)
    assert by_id["open-data"].missed == 1.0
    assert by_id["open-data"].breaks == "open-data/db@b:demote"
    assert "open-data/db@b:demote" in found.blocked
    assert by_id["legal-person"].missed == 0.0
    assert found.systems[0].system == "open-data", "the worst comes first"


def test_a_target_that_is_missed_names_the_step() -> None:
    history = {(Verb.PROMOTE, "postgresql"): (0.2, 0.2, 0.2, 90.0, 90.0)}
    found = told(made(), history)
    worst = found.systems[0]
    assert 0.1 < worst.missed < 1.0
    assert worst.breaks.endswith(":promote")
    assert worst.rto.p99_s > 60 > worst.rto.p50_s or worst.rto.p50_s > 60


def test_few_measurements_give_a_middle_with_a_spread() -> None:
    few = {(Verb.CONFIRM, ""): (30.0, 30.0)}
    found = told(steps_of(step("one")), few)
    assert 20 < found.rto.p50_s < 45
    assert found.rto.p95_s > found.rto.p50_s * 1.2


def test_progress_is_told_after_each_run() -> None:
    seen: list[int] = []
    forecast(made(), TOPOLOGY, EXACT, runs=3, progress=seen.append)
    assert seen == [1, 2, 3]


def test_a_large_estate_is_linear() -> None:
    """One run of some hundred systems: every step ends, none before what it needs."""
    many = estate([full_system(f"s{n}", depends_on=[f"s{n - 1}"] if n % 7 > 1 else []) for n in range(1, 150)])
    big = plan(many, None, runbook("centre-lost"), request(Mode.TABLETOP, lost=("a",)), Timings())
    found = forecast(big, many, EXACT, runs=2, seed=Random(1).randrange(9))
    assert len(found.systems) == 149
    assert all(0 < s.rto.p50_s < 30 for s in found.systems)
