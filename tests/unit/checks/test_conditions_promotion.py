"""The safety core: what licenses a promotion. Each guard has a case here that fails without it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from orchestrator.checks.conditions import Evidence, judge, judge_all_conditions, opens, remember
from orchestrator.model.observation import Downstream, Finding, Reach, Reading, Snapshot, Verdict
from orchestrator.model.plan import Condition, Fact
from orchestrator.model.topology import Role
from tests.unit.checks.world import BEFORE, HEALTHY, NOW, TOPOLOGY, A, B, C, change, gone

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


def copy(**fields: Any) -> tuple[Downstream, ...]:
    defaults: dict[str, Any] = {"centre": "b", "sync": True, "streaming": True, "position": 1000}
    return (Downstream(**defaults | fields),)


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

HIDEABLE = ["role", "writable", "epoch", "timeline", "position", "upstream", "receiving", "sync_required", "barred"]
ODD: dict[str, list[Any]] = {
    "role": [Role.PRIMARY, Role.STANDBY, Role.DETACHED, None],
    "writable": [True, False, None],
    "epoch": [0, EPOCH, EPOCH + 1, None],
    "timeline": [1, 2, None],
    "position": [900, 1000, 1100, None],
    "upstream": ["", "a", "b", None],
    "receiving": [True, False, None],
    "sync_required": [(), ("b",), ("b", "c"), ("c",), None],
    "barred": [True, False, None],
    "reach": [Reach.ANSWERED, Reach.ANSWERED, Reach.ANSWERED, *Reach],
    "downstreams": [(), copy(), copy(sync=False), copy(streaming=False), copy(position=None), copy(position=1100)],
}


@st.composite
def readings(draw: st.DrawFn, instance: str) -> Reading:
    """Any reading at all, sensible or not."""
    fields = {name: draw(st.sampled_from(values)) for name, values in ODD.items()}
    return Reading(instance=instance, took_s=0.1, **fields)


@st.composite
def worlds(draw: st.DrawFn) -> Evidence:
    """Any world: close to healthy or far from it, with or without a fence and a look before."""
    now = replace(HEALTHY, readings=(draw(readings(A)), draw(readings(B))))
    before = draw(st.sampled_from([WAS, change(WAS, A, sync_required=()), None]))
    if draw(st.booleans()):
        before = replace(WAS, readings=(draw(readings(A)), draw(readings(B))))
    return Evidence(
        topology=TOPOLOGY,
        now=now,
        before=before,
        fenced=draw(st.sampled_from([frozenset(), frozenset({A})])),
        epoch=EPOCH,
    )


def hide(snapshot: Snapshot, instance: str, names: set[str]) -> Snapshot:
    """The snapshot with some fields of one reading unknown; a copy's position too."""
    reading = snapshot.of(instance)
    fields: dict[str, Any] = dict.fromkeys(names & set(HIDEABLE))
    if "downstreams" in names:
        fields["downstreams"] = tuple(replace(d, position=None) for d in reading.downstreams)
    return change(snapshot, instance, **fields)


NAMES = st.sets(st.sampled_from([*HIDEABLE, "downstreams"]), min_size=1)


@settings(max_examples=400, deadline=None)
@given(worlds(), st.sampled_from([CANNOT_ACK, HOLDS_ALL]), st.sampled_from([A, B]), NAMES, st.booleans())
def test_hiding_what_was_read_never_opens_a_gate(
    found: Evidence, condition: Condition, instance: str, names: set[str], before: bool
) -> None:
    was_open = judge(condition, found).verdict is PASS
    if before and found.before is not None:
        less = replace(found, before=hide(found.before, instance, names))
    else:
        less = replace(found, now=hide(found.now, instance, names))
    assert was_open or judge(condition, less).verdict is not PASS


@settings(max_examples=200, deadline=None)
@given(worlds(), st.sampled_from([CANNOT_ACK, HOLDS_ALL]), st.sampled_from([Reach.SILENT, Reach.UNKNOWN]))
def test_a_candidate_that_falls_silent_never_opens_a_gate(found: Evidence, condition: Condition, reach: Reach) -> None:
    was_open = judge(condition, found).verdict is PASS
    less = replace(found, now=change(found.now, B, reach=reach))
    assert was_open or judge(condition, less).verdict is not PASS


@settings(max_examples=200, deadline=None)
@given(worlds(), st.sampled_from([CANNOT_ACK, HOLDS_ALL]))
def test_taking_evidence_away_never_opens_a_gate(found: Evidence, condition: Condition) -> None:
    was_open = judge(condition, found).verdict is PASS
    for less in (replace(found, before=None), replace(found, fenced=frozenset())):
        assert was_open or judge(condition, less).verdict is not PASS


def licensed(found: Evidence) -> bool:
    """The licence of CANNOT_ACK for a silent old primary, told again in other words from the design."""
    candidate, was = found.now.of(B), found.before.of(A) if found.before else None
    if candidate.reach is not Reach.ANSWERED:
        return False
    if candidate.role is Role.PRIMARY and candidate.epoch == found.epoch:
        return True
    mute = candidate.role is Role.PRIMARY or (
        candidate.role is not None and candidate.upstream == "" and candidate.receiving is False
    )
    return (
        mute
        and candidate.epoch is not None
        and candidate.epoch <= found.epoch
        and was is not None
        and was.reach is Reach.ANSWERED
        and was.role is Role.PRIMARY
        and was.epoch is not None
        and was.epoch <= found.epoch
        and was.sync_required == ("b",)
    )


@settings(max_examples=400, deadline=None)
@given(worlds())
def test_silence_of_the_old_primary_is_never_what_licenses(found: Evidence) -> None:
    """An old primary that falls silent is licensed by its standby alone, and by nothing that silence could mean."""
    silent = replace(found, now=change(found.now, A, reach=Reach.SILENT))
    assert (judge(CANNOT_ACK, silent).verdict is PASS) is licensed(silent)


@settings(max_examples=400, deadline=None)
@given(worlds())
def test_an_old_primary_that_answers_is_licensed_by_its_own_words(found: Evidence) -> None:
    old = replace(found.now.of(A), reach=Reach.ANSWERED)
    verdict = judge(CANNOT_ACK, replace(found, now=change(found.now, A, reach=Reach.ANSWERED))).verdict
    if verdict is PASS:
        assert old.epoch is not None and old.epoch <= EPOCH
        assert old.writable is False or old.sync_required == ("b",)
    if old.writable is not False and not old.sync_required:
        assert verdict is not PASS


@settings(max_examples=400, deadline=None)
@given(worlds())
def test_holds_all_never_passes_a_candidate_that_is_behind(found: Evidence) -> None:
    candidate, old = found.now.of(B), found.now.of(A)
    finding: Finding = judge(HOLDS_ALL, found)
    if finding.verdict is not PASS or candidate.role is Role.PRIMARY:
        return
    assert candidate.reach is Reach.ANSWERED and candidate.position is not None and candidate.timeline is not None
    if old.reach is Reach.ANSWERED and old.writable is False:
        assert old.position is not None and candidate.position >= old.position
        assert candidate.timeline == old.timeline
    else:
        sources = [old, found.before.of(A)] if found.before else [old]
        proofs = [d for s in sources for d in s.downstreams if d.centre == "b" and d.sync and d.streaming]
        assert any(d.position is not None and candidate.position >= d.position for d in proofs)
