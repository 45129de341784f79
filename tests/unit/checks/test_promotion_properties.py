"""The safety core under worlds that nobody thought of: taking evidence away never opens a gate."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from orchestrator.checks.conditions import Evidence, judge
from orchestrator.model.observation import Finding, Reach, Reading, Snapshot
from orchestrator.model.plan import Condition
from orchestrator.model.topology import Role
from tests.unit.checks.promotion_cases import CANNOT_ACK, EPOCH, HOLDS_ALL, PASS, WAS, copy
from tests.unit.checks.world import HEALTHY, TOPOLOGY, A, B, change

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
