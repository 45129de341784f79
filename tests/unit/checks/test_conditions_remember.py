"""What is remembered of a primary that falls silent: its newest answer, with one exception."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from orchestrator.checks.conditions import remember
from orchestrator.model.topology import Role
from tests.unit.checks.promotion_cases import (
    CANNOT_ACK,
    HOLDS_ALL,
    LOST,
    PASS,
    UNKNOWN,
    WAS,
    copy,
    detached,
    seen,
    without_b,
)
from tests.unit.checks.world import BEFORE, HEALTHY, NOW, A, B, C, change, gone


def test_the_newest_answer_is_remembered_and_not_the_best() -> None:
    degraded = replace(change(HEALTHY, A, sync_required=()), taken_at="2026-11-23T00:09:30Z")
    kept = remember(remember(WAS, degraded), LOST)
    assert kept.of(A).sync_required == ()
    assert kept.of(A).at == "2026-11-23T00:09:30Z"
    assert kept.of(B) == LOST.of(B)
    assert kept.taken_at == LOST.taken_at
    assert seen(CANNOT_ACK, LOST, kept) is UNKNOWN  # it was seen to acknowledge alone: no licence
    assert seen(CANNOT_ACK, LOST, remember(remember(None, WAS), LOST)) is PASS


def test_a_primary_that_still_asks_for_a_standby_that_has_left_is_remembered_with_it() -> None:
    """It answers on after its standby was detached: that this one was synchronous is in the look before only."""
    left = replace(without_b(detached(HEALTHY)), taken_at="2026-11-23T00:09:30Z")
    kept = remember(WAS, left)
    assert kept.of(A).downstreams == WAS.of(A).downstreams
    assert kept.of(A).at == BEFORE
    assert seen(HOLDS_ALL, LOST, kept) is PASS
    assert seen(HOLDS_ALL, left, kept) is PASS
    assert remember(kept, replace(left, taken_at=NOW)).of(A).at == BEFORE


@pytest.mark.parametrize(
    "fields",
    [
        {"sync_required": ()},
        {"sync_required": None},
        {"sync_required": ("b", "c")},
        {"timeline": 2},
        {"timeline": None},
        {"epoch": 1},
        {"epoch": None},
        {"role": Role.STANDBY},
        {"role": None},
    ],
)
def test_a_primary_that_has_changed_is_remembered_as_it_is_now(fields: dict[str, Any]) -> None:
    left = replace(change(without_b(HEALTHY), A, **fields), taken_at="2026-11-23T00:09:30Z")
    assert remember(WAS, left).of(A) == left.of(A)


def test_an_answer_with_the_standby_there_replaces_the_one_before() -> None:
    later = replace(change(HEALTHY, A, position=1500, downstreams=copy(position=1500)), taken_at=NOW)
    assert remember(WAS, later).of(A).position == 1500
    never = change(WAS, A, sync_required=(), downstreams=())
    assert remember(never, replace(never, taken_at=NOW)).of(A).at == ""


def test_a_remembered_answer_keeps_its_own_time_over_many_looks() -> None:
    kept = remember(remember(WAS, LOST), replace(LOST, taken_at="2026-11-23T02:00:00Z"))
    assert kept.of(A).at == BEFORE
    assert seen(CANNOT_ACK, replace(LOST, taken_at="2026-11-23T02:00:00Z"), kept) is UNKNOWN  # two hours old


def test_what_never_answered_is_not_made_up_and_what_was_not_looked_at_is_kept() -> None:
    assert remember(gone(WAS, A), LOST).of(A) == LOST.of(A)
    assert remember(WAS, replace(LOST, readings=())).of(C).at == BEFORE


# monotonicity: knowing less never opens a gate
