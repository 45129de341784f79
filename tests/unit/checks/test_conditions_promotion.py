"""The safety core: what licenses a promotion. Each guard has a case here that fails without it."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from orchestrator.checks.conditions import judge, judge_all_conditions, opens
from orchestrator.model.observation import Reach, Snapshot, Verdict
from orchestrator.model.plan import Condition, Fact
from orchestrator.model.topology import Role
from tests.unit.checks.promotion_cases import (
    CANNOT_ACK,
    EPOCH,
    FAIL,
    HOLDS_ALL,
    LOST,
    OLD,
    PASS,
    UNKNOWN,
    WAS,
    copy,
    detached,
    evidence,
    promoted,
    seen,
    without_b,
)
from tests.unit.checks.world import HEALTHY, NOW, A, B, C, change, gone


def test_the_licence_of_a_failover() -> None:
    """Centre a is lost: b is detached from it, was its synchronous standby, and has lost nothing since."""
    found = judge_all_conditions((CANNOT_ACK, HOLDS_ALL), evidence(LOST))
    assert opens(found)
    assert "asked the acknowledgement of b, which is detached" in found[0].reason.en
    assert "acknowledged nothing without people/db@b" in found[1].reason.en
    assert "(seen 60 s ago)" in found[1].reason.en
    assert all(f.reason.zh for f in found)


# CANNOT_ACK, the old primary does not answer


@pytest.mark.parametrize(
    ("why", "now"),
    [
        ("still attached", gone(HEALTHY, A)),
        ("still receives, though set to nobody", change(LOST, B, receiving=True)),
        ("set to a source, though no stream is up", change(LOST, B, upstream="a")),
    ],
)
def test_cannot_ack_while_the_standby_may_still_acknowledge(why: str, now: Snapshot) -> None:
    assert seen(CANNOT_ACK, now) is FAIL, why


@pytest.mark.parametrize(
    ("why", "now", "before"),
    [
        ("no look before", LOST, None),
        ("candidate silent", gone(LOST, B), WAS),
        ("candidate refuses", gone(LOST, B, Reach.REFUSED), WAS),
        ("candidate silent, and its old words still at hand", change(LOST, B, reach=Reach.SILENT), WAS),
        ("candidate silent, primary by its old words", change(promoted(LOST), B, reach=Reach.SILENT), WAS),
        ("candidate's upstream unknown", change(LOST, B, upstream=None), WAS),
        ("candidate's stream unknown", change(LOST, B, receiving=None), WAS),
        ("candidate's role unknown", change(LOST, B, role=None), WAS),
        ("candidate's epoch unknown", change(LOST, B, epoch=None), WAS),
        ("it asked nobody", LOST, change(WAS, A, sync_required=())),
        ("whom it asked is unknown", LOST, change(WAS, A, sync_required=None)),
        ("c may acknowledge too", LOST, change(WAS, A, sync_required=("b", "c"))),
        ("only c may acknowledge", LOST, change(WAS, A, sync_required=("c",))),
        ("anybody may acknowledge", LOST, change(WAS, A, sync_required=("*",))),
        ("it was a standby", LOST, change(WAS, A, role=Role.STANDBY)),
        ("its role was unknown", LOST, change(WAS, A, role=None)),
        ("it was silent before", LOST, change(WAS, A, reach=Reach.SILENT)),
        ("its epoch was unknown", LOST, change(WAS, A, epoch=None)),
        ("it was not looked at before", LOST, replace(WAS, readings=())),
        ("too old a look", LOST, replace(WAS, taken_at="2026-11-22T23:09:59Z")),
        ("a look of the future", LOST, replace(WAS, taken_at="2026-11-23T00:10:02Z")),
        ("a look without a time", LOST, replace(WAS, taken_at="yesterday")),
        ("a look without a zone", LOST, replace(WAS, taken_at="2026-11-23T00:09:00")),
        ("its own reading is carried over from too long ago", LOST, change(WAS, A, at="2026-11-22T20:00:00Z")),
    ],
)
def test_cannot_ack_unknown(why: str, now: Snapshot, before: Snapshot | None) -> None:
    assert seen(CANNOT_ACK, now, before) is UNKNOWN, why
    assert not opens([judge(CANNOT_ACK, evidence(now, before))])


@pytest.mark.parametrize("taken_at", ["2026-11-22T23:10:00Z", "2026-11-23T00:10:01Z", NOW])
def test_the_age_of_a_look_that_still_counts(taken_at: str) -> None:
    assert seen(CANNOT_ACK, LOST, replace(WAS, taken_at=taken_at)) is PASS
    assert seen(CANNOT_ACK, LOST, WAS, before_age_max_s=59.0) is UNKNOWN


def test_a_candidate_that_somebody_else_made_primary_cannot_acknowledge_for_the_old_one() -> None:
    assert seen(CANNOT_ACK, promoted(gone(HEALTHY, A), epoch=0)) is PASS


def test_every_standby_that_was_asked_must_be_ours_and_detached() -> None:
    both = replace(CANNOT_ACK, others=(B, C))
    before = change(WAS, A, sync_required=("b", "c"))
    assert seen(both, LOST, before) is FAIL
    assert seen(both, detached(LOST, C), before) is PASS
    assert seen(both, gone(LOST, C), before) is UNKNOWN
    assert seen(both, LOST) is PASS  # c was never asked


def test_without_a_candidate_only_a_fence_or_its_own_word_counts() -> None:
    alone = replace(CANNOT_ACK, others=())
    assert seen(alone, LOST) is UNKNOWN
    assert seen(alone, gone(LOST, A, Reach.REFUSED), fenced=frozenset({A})) is PASS


# CANNOT_ACK, fenced


@pytest.mark.parametrize(
    ("reach", "barred", "verdict"),
    [
        (Reach.REFUSED, None, PASS),
        (Reach.DENIED, True, PASS),
        (Reach.DENIED, False, UNKNOWN),
        (Reach.DENIED, None, UNKNOWN),
        (Reach.SILENT, None, UNKNOWN),
        (Reach.SILENT, True, UNKNOWN),
        (Reach.UNKNOWN, None, UNKNOWN),
    ],
)
def test_a_fence_counts_where_it_is_seen_to_hold(reach: Reach, barred: bool | None, verdict: Verdict) -> None:
    world = gone(HEALTHY, A, reach, barred=barred)  # b is still attached: the fence alone must carry it
    none = replace(WAS, readings=())
    assert seen(CANNOT_ACK, world, none, fenced=frozenset({A})) is verdict
    assert seen(CANNOT_ACK, world, none, fenced=frozenset({B})) is UNKNOWN
    assert seen(CANNOT_ACK, world, none) is UNKNOWN
    told = judge(CANNOT_ACK, evidence(world, none, fenced=frozenset({A}))).reason.en
    assert ("fenced by this run" in told) is (verdict is PASS)
    assert ("cannot be seen to hold" in told) is (verdict is UNKNOWN)


def test_a_fenced_instance_that_answers_and_writes_is_not_fenced() -> None:
    assert seen(CANNOT_ACK, change(HEALTHY, A, sync_required=()), fenced=frozenset({A})) is FAIL


# CANNOT_ACK, the old primary answers


@pytest.mark.parametrize(
    ("why", "now", "verdict"),
    [
        ("demoted", change(HEALTHY, A, writable=False), PASS),
        ("a standby", change(HEALTHY, A, writable=False, role=Role.STANDBY), PASS),
        ("b is attached", HEALTHY, FAIL),
        ("b is detached, and it asks b", without_b(detached(HEALTHY)), PASS),
        ("somebody emptied it", change(without_b(detached(HEALTHY)), A, sync_required=()), FAIL),
        ("c may acknowledge", change(without_b(detached(HEALTHY)), A, sync_required=("b", "c")), FAIL),
        ("whom it asks is unknown", change(without_b(detached(HEALTHY)), A, sync_required=None), UNKNOWN),
        ("writable unknown, asks nobody", change(detached(HEALTHY), A, sync_required=(), writable=None), UNKNOWN),
        ("writable unknown, asks b", change(without_b(detached(HEALTHY)), A, writable=None), PASS),
        ("thawed after b was promoted", without_b(promoted(HEALTHY)), PASS),
        ("thawed, and asks nobody", change(without_b(promoted(HEALTHY)), A, sync_required=()), FAIL),
        ("thawed, whom it asks is unknown", change(promoted(HEALTHY), A, sync_required=None), UNKNOWN),
        ("a later run changed it", change(HEALTHY, A, writable=False, epoch=EPOCH + 1), FAIL),
        ("this run changed it", change(HEALTHY, A, writable=False, epoch=EPOCH), PASS),
        ("its epoch is unknown", change(HEALTHY, A, writable=False, epoch=None), UNKNOWN),
        ("a later run changed b", change(without_b(detached(HEALTHY)), B, epoch=EPOCH + 1), FAIL),
    ],
)
def test_cannot_ack_of_one_that_answers_goes_by_what_it_says_now(why: str, now: Snapshot, verdict: Verdict) -> None:
    assert seen(CANNOT_ACK, now) is verdict, why


def test_outside_a_run_epochs_are_not_compared() -> None:
    assert seen(CANNOT_ACK, change(HEALTHY, A, writable=False, epoch=99), epoch=0) is PASS
    assert seen(CANNOT_ACK, change(HEALTHY, A, writable=False, epoch=None), epoch=0) is PASS


# both, resumed after a crash in the middle of a promotion


@pytest.mark.parametrize("condition", [CANNOT_ACK, HOLDS_ALL])
def test_a_promotion_of_this_run_opens_its_own_gate_again(condition: Condition) -> None:
    world = promoted(gone(HEALTHY, A))
    none = replace(WAS, readings=())
    assert seen(condition, world, none) is PASS
    assert seen(condition, promoted(world, writable=False), none) is PASS  # interrupted before it took writes
    assert seen(condition, promoted(world, epoch=EPOCH - 1), none) is UNKNOWN
    assert seen(condition, promoted(world, epoch=EPOCH + 1), none) is not PASS
    assert seen(condition, promoted(world, role=Role.STANDBY), none) is UNKNOWN
    assert seen(condition, promoted(world, reach=Reach.SILENT), none) is UNKNOWN
    assert seen(condition, promoted(world, epoch=0), none, epoch=0) is UNKNOWN  # no run: nothing is its own


def test_on_resume_a_thawed_old_primary_that_acknowledges_alone_keeps_the_gate_shut() -> None:
    assert seen(CANNOT_ACK, change(promoted(HEALTHY), A, sync_required=(), downstreams=())) is FAIL


# HOLDS_ALL by position


def stands(position: int | None, **fields: Any) -> Snapshot:
    """a is demoted and stands at `position`; b is at 1000."""
    return change(HEALTHY, A, **{"writable": False, "position": position} | fields)


@pytest.mark.parametrize(
    ("why", "now", "verdict"),
    [
        ("level", stands(1000), PASS),
        ("ahead", stands(999), PASS),
        ("behind", stands(1001), FAIL),
        ("old position unknown", stands(None), UNKNOWN),
        ("own position unknown", change(stands(1000), B, position=None), UNKNOWN),
        ("another timeline", stands(1000, timeline=2), UNKNOWN),
        ("own timeline unknown", change(stands(1000), B, timeline=None), UNKNOWN),
        ("both timelines unknown", change(stands(1000, timeline=None), B, timeline=None), UNKNOWN),
        ("writable unknown", stands(900, writable=None), UNKNOWN),
        ("a later run changed the old one", stands(1000, epoch=EPOCH + 1), FAIL),
        ("its epoch is unknown", stands(1000, epoch=None), UNKNOWN),
        ("a later run changed the candidate", change(stands(1000), B, epoch=EPOCH + 1), FAIL),
        ("the candidate's epoch is unknown", change(stands(1000), B, epoch=None), UNKNOWN),
        ("the candidate is silent", gone(stands(1000), B), UNKNOWN),
        ("the candidate's role is unknown", change(stands(1000), B, role=None), UNKNOWN),
        ("somebody else promoted it", change(stands(1000), B, role=Role.PRIMARY), UNKNOWN),
        ("detached by role", change(stands(1000), B, role=Role.DETACHED), PASS),
    ],
)
def test_holds_all_by_position(why: str, now: Snapshot, verdict: Verdict) -> None:
    none = replace(WAS, readings=())
    assert seen(HOLDS_ALL, now, none) is verdict, why


def test_behind_is_told_in_bytes() -> None:
    found = judge(HOLDS_ALL, evidence(stands(3048)))
    assert "people/db@b is 2.0 KiB behind what people/db@a had (1000 < 3048)" in found.reason.en
    assert "two people" in found.advice.en


def test_holds_all_of_nobody_is_unknown() -> None:
    assert seen(replace(HOLDS_ALL, others=()), stands(0)) is UNKNOWN


def test_holds_all_of_several_takes_the_worst() -> None:
    several = replace(HOLDS_ALL, others=(A, C))
    assert seen(several, stands(1000)) is PASS
    assert seen(several, gone(stands(1000), C)) is UNKNOWN
    assert seen(several, gone(stands(1001), C)) is FAIL
    assert seen(replace(HOLDS_ALL, others=(C, A)), gone(stands(1001), C)) is FAIL
    assert seen(several, change(stands(1000), C, position=1001)) is FAIL


# HOLDS_ALL by synchronous replication, the old primary does not answer


@pytest.mark.parametrize(
    ("why", "before", "verdict"),
    [
        ("synchronous", WAS, PASS),
        ("more was written than flushed at b, and so not acknowledged", change(WAS, A, position=2000), PASS),
        ("it asked nobody", change(WAS, A, sync_required=()), UNKNOWN),
        ("it asked nobody and had more", change(WAS, A, sync_required=(), position=1001), FAIL),
        ("c could acknowledge instead", change(WAS, A, sync_required=("b", "c")), UNKNOWN),
        ("whom it asked is unknown", change(WAS, A, sync_required=None), UNKNOWN),
        ("b was not there", change(WAS, A, downstreams=()), UNKNOWN),
        ("b was there as somebody else", change(WAS, A, downstreams=copy(centre="c")), UNKNOWN),
        ("b was not streaming", change(WAS, A, downstreams=copy(streaming=False)), UNKNOWN),
        ("b was not synchronous", change(WAS, A, downstreams=copy(sync=False)), UNKNOWN),
        ("b's position is unknown", change(WAS, A, downstreams=copy(position=None)), UNKNOWN),
        ("b had more than it has now", change(WAS, A, downstreams=copy(position=1001)), FAIL),
        ("another timeline", change(WAS, A, timeline=2), UNKNOWN),
        ("timeline unknown", change(WAS, A, timeline=None), UNKNOWN),
        ("a was a standby", change(WAS, A, role=Role.STANDBY), UNKNOWN),
        ("a was silent", change(WAS, A, reach=Reach.SILENT), UNKNOWN),
        ("a later run had changed a", change(WAS, A, epoch=EPOCH + 1), FAIL),
        ("a's epoch unknown", change(WAS, A, epoch=None), UNKNOWN),
        ("no look", None, UNKNOWN),
        ("an old look", OLD, UNKNOWN),
    ],
)
def test_holds_all_of_a_silent_one_goes_by_the_look_before(why: str, before: Snapshot | None, verdict: Verdict) -> None:
    assert seen(HOLDS_ALL, LOST, before) is verdict, why


@pytest.mark.parametrize(
    ("why", "fields", "verdict"),
    [
        ("rewound", {"position": 999}, FAIL),
        ("position unknown", {"position": None}, UNKNOWN),
        ("timeline moved on", {"timeline": 2}, UNKNOWN),
        ("timeline unknown", {"timeline": None}, UNKNOWN),
        ("primary by somebody else", {"role": Role.PRIMARY}, UNKNOWN),
        ("silent", {"reach": Reach.SILENT}, UNKNOWN),
    ],
)
def test_holds_all_needs_a_candidate_that_has_not_fallen_back(
    why: str, fields: dict[str, Any], verdict: Verdict
) -> None:
    assert seen(HOLDS_ALL, change(LOST, B, epoch=0, **fields)) is verdict, why


def test_an_asynchronous_replica_never_holds_all_of_a_lost_primary() -> None:
    remote = Condition(fact=Fact.HOLDS_ALL, instance=C, others=(A,))
    assert seen(remote, gone(HEALTHY, A)) is FAIL  # 990 < 1000 that a was seen to have
    assert seen(remote, change(gone(HEALTHY, A), C, position=5000)) is UNKNOWN
    assert seen(remote, change(gone(HEALTHY, A), C, position=5000), change(WAS, A, position=None)) is UNKNOWN


# HOLDS_ALL, the old primary answers and takes writes


@pytest.mark.parametrize(
    ("why", "now", "before", "verdict"),
    [
        ("synchronous now", HEALTHY, None, PASS),
        ("writes more than it acknowledges", change(HEALTHY, A, position=2000), None, PASS),
        ("fell back behind what it acknowledged", change(HEALTHY, B, position=999), None, FAIL),
        ("detached by us, still required", without_b(detached(HEALTHY)), WAS, PASS),
        ("detached, and no look before", without_b(detached(HEALTHY)), None, UNKNOWN),
        (
            "detached, and an old look",
            without_b(detached(HEALTHY)),
            replace(WAS, taken_at="2026-11-22T00:00:00Z"),
            UNKNOWN,
        ),
        ("detached, was not streaming before", without_b(detached(HEALTHY)), change(WAS, A, downstreams=()), UNKNOWN),
        ("catching up, was not before", change(HEALTHY, A, downstreams=copy(sync=False)), without_b(WAS), UNKNOWN),
        ("catching up, was there before", change(HEALTHY, A, downstreams=copy(sync=False)), WAS, PASS),
        ("stopped, was there before", change(HEALTHY, A, downstreams=copy(streaming=False)), WAS, PASS),
        ("stopped, was not before", change(HEALTHY, A, downstreams=copy(streaming=False)), without_b(WAS), UNKNOWN),
        ("not required any more", change(without_b(detached(HEALTHY)), A, sync_required=()), WAS, UNKNOWN),
        ("not required, and behind", change(detached(HEALTHY), A, sync_required=(), position=1001), WAS, FAIL),
        ("not required, position unknown", change(HEALTHY, A, sync_required=(), position=None), WAS, UNKNOWN),
        ("requirement unknown", change(without_b(detached(HEALTHY)), A, sync_required=None), WAS, UNKNOWN),
        ("another may acknowledge", change(HEALTHY, A, sync_required=("b", "c")), WAS, UNKNOWN),
    ],
)
def test_holds_all_of_one_that_writes(why: str, now: Snapshot, before: Snapshot | None, verdict: Verdict) -> None:
    assert seen(HOLDS_ALL, now, before) is verdict, why


# the memory of the last answer
