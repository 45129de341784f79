"""What a plan knows of a loss: who was primary, what is proven, what is estimated."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
import pytest

from orchestrator.model.observation import Snapshot
from orchestrator.model.plan import Mode, Verb
from orchestrator.model.request import Timings
from orchestrator.model.topology import Role
from orchestrator.planner import plan
from tests.unit.build import change, dark, healthy, request, runbook
from tests.unit.test_planner import KILL_AB, LAB, made


def test_site_lost_quantifies_what_may_be_lost() -> None:
    look = change(healthy(LAB), "legal-person/db@c", lag_s=3.5)
    found = made("site-lost", look=look, **KILL_AB)
    loss = next(x for x in found.losses if x.service == "legal-person/db")
    assert not loss.proven_zero
    assert loss.seconds == pytest.approx(3.5, abs=0.1)
    assert loss.budget_s == 30
    assert found.loses_data


@pytest.mark.parametrize(
    ("silent", "expected"),
    [(("b",), "b"), (("a", "b"), "b")],
    ids=["one silent, the others receive from it", "two silent, the last receives from one"],
)
def test_a_silent_primary_is_known_by_those_that_received_from_it(silent: Sequence[str], expected: str) -> None:
    moved = healthy(LAB, dict.fromkeys(("legal-person/db", "sharing/db", "open-data/db"), "b"))
    look = dark(moved, *silent)
    scenario = "centre-lost" if len(silent) == 1 else "site-lost"
    found = made(scenario, look=look, lost=tuple(silent), accept_loss=True)
    fences = {s.instance for s in found.steps if s.verb is Verb.FENCE}
    assert f"legal-person/db@{expected}" in fences
    assert {s.instance.rpartition("@")[2] for s in found.steps if s.verb is Verb.PROMOTE} == {
        "a" if len(silent) == 1 else "c"
    }


def test_a_real_loss_without_an_earlier_look_is_not_proven_and_fences_first() -> None:
    look = dark(healthy(LAB), "a")
    found = made("centre-lost", look=look, lost=("a",), accept_loss=True)
    promote = found.step_by_id["legal-person/db@b:promote-accepting-loss"]
    assert "legal-person/db@a:fence-first" in promote.needs
    assert promote.param("loss") == "accepted"
    assert next(x for x in found.losses if x.service == "legal-person/db").seconds == 2.0


def test_an_earlier_look_proves_the_sync_chain() -> None:
    earlier = healthy(LAB, at="2026-01-05T07:50:00Z")
    found = plan(
        LAB,
        dark(healthy(LAB), "a"),
        runbook("centre-lost"),
        request(Mode.LIVE, lost=("a",)),
        Timings(),
        before=earlier,
    )
    assert "legal-person/db@b:promote" in found.step_by_id
    assert not found.loses_data


@pytest.mark.parametrize(
    "spoil",
    [
        lambda s: change(s, "legal-person/db@a", sync_required=()),
        lambda s: change(s, "legal-person/db@a", sync_required=("b", "c")),
        lambda s: change(s, "legal-person/db@a", sync_required=None),
        lambda s: change(s, "legal-person/db@a", downstreams=()),
        lambda s: change(s, "legal-person/db@a", role=Role.STANDBY),
        lambda s: msgspec.structs.replace(s, taken_at="2026-01-05T01:00:00Z"),
        lambda s: msgspec.structs.replace(s, taken_at="yesterday"),
    ],
    ids=["no sync", "two may acknowledge", "unknown", "not streaming", "no primary", "too old", "no time"],
)
def test_an_earlier_look_that_shows_no_chain_proves_nothing(spoil: Callable[[Snapshot], Snapshot]) -> None:
    words = request(Mode.LIVE, lost=("a",), accept_loss=True, systems=("legal-person",))
    look = dark(healthy(LAB), "a")
    found = plan(LAB, look, runbook("centre-lost"), words, Timings(), before=spoil(healthy(LAB)))
    assert found.loses_data


def test_a_tabletop_takes_declarations_for_truth() -> None:
    found = made("centre-lost", mode=Mode.TABLETOP, lost=("a",))
    assert not found.loses_data
    remote = made("site-lost", mode=Mode.TABLETOP, lost=("a", "b"), accept_loss=True)
    assert {loss.seconds for loss in remote.losses} == {5.0}
