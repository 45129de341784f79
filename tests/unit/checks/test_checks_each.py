"""Each check: what fails it, what leaves it unknown, and what it tells."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from orchestrator.model.observation import Downstream, Reach, Verdict
from orchestrator.model.topology import Role
from tests.unit.checks.each_world import DB, FAIL, PASS, UNKNOWN, one
from tests.unit.checks.world import (
    APP_A,
    APP_C,
    COPIES,
    HEALTHY,
    PEOPLE,
    TOPOLOGY,
    A,
    B,
    C,
    change,
    findings,
    gone,
    moved,
    verdicts,
)

# reachable


@pytest.mark.parametrize(
    ("reach", "verdict", "word"),
    [
        (Reach.REFUSED, FAIL, "nobody listens"),
        (Reach.DENIED, FAIL, "lets us not in"),
        (Reach.SILENT, FAIL, "cannot be told which"),
        (Reach.UNKNOWN, UNKNOWN, "could not be probed: no address"),
    ],
)
def test_reachable(reach: Reach, verdict: Verdict, word: str) -> None:
    error = "no address" if reach is Reach.UNKNOWN else ""
    seen, reason = one("reachable", A, gone(HEALTHY, A, reach, error=error))
    assert seen is verdict
    assert word in reason


# roles


def test_roles_after_a_failover_differ_from_declared_and_say_where_the_primary_is() -> None:
    found = findings("roles", moved())
    assert found[A].verdict is FAIL
    assert "differs from declared: is standby, declared primary; primary is in b" in found[A].reason.en
    assert "epoch 1" in found[B].reason.en
    assert "failback" in found[A].advice.en
    assert (found[C].verdict, found[APP_A].verdict) == (PASS, PASS)


def test_roles_an_app_that_serves_where_it_should_wait() -> None:
    seen, reason = one("roles", APP_C, change(HEALTHY, APP_C, role=Role.PRIMARY))
    assert (seen, "primary is in" in reason) == (FAIL, False)


def test_roles_a_superseded_primary() -> None:
    world = change(moved(), A, role=Role.PRIMARY, writable=True, epoch=0)
    seen, reason = one("roles", A, world)
    assert seen is FAIL
    assert "superseded: it claims primary with epoch 0, b is primary with epoch 1" in reason
    assert "superseded" not in one("roles", B, world)[1]


def test_roles_a_higher_epoch_of_what_does_not_answer_or_is_standby_supersedes_nobody() -> None:
    assert one("roles", A, change(HEALTHY, B, epoch=9))[0] is PASS
    assert one("roles", A, change(HEALTHY, B, epoch=9, role=Role.PRIMARY, reach=Reach.DENIED))[0] is PASS


def test_roles_unknown() -> None:
    assert one("roles", A, change(HEALTHY, A, role=None))[0] is UNKNOWN
    assert one("roles", A, gone(HEALTHY, A))[0] is UNKNOWN


# one_primary


def test_two_primaries_are_a_failure_even_where_the_third_is_unseen() -> None:
    world = gone(change(moved(), A, role=Role.PRIMARY, writable=True, epoch=0), C)
    seen, reason = one("one_primary", DB, world)
    assert seen is FAIL
    assert "2 take writes: a (epoch 0) and b (epoch 1)" in reason
    assert "split brain" in findings("one_primary", world)[DB].advice.en


@pytest.mark.parametrize("reach", [Reach.SILENT, Reach.DENIED, Reach.UNKNOWN])
def test_an_unseen_instance_could_be_a_second_primary(reach: Reach) -> None:
    world = change(gone(HEALTHY, C, reach), B, downstreams=())
    seen, reason = one("one_primary", DB, world)
    assert seen is UNKNOWN
    assert "a (epoch 0) takes writes; whether c does" in reason


def test_an_unseen_instance_that_its_source_sees_streaming_is_a_standby() -> None:
    assert one("one_primary", DB, gone(HEALTHY, C))[0] is PASS
    stale = change(gone(HEALTHY, C), B, downstreams=(Downstream(centre="c", sync=False, streaming=False),))
    assert one("one_primary", DB, stale)[0] is UNKNOWN
    unread = change(gone(HEALTHY, C), B, reach=Reach.DENIED)
    assert one("one_primary", DB, unread)[0] is UNKNOWN


def test_nobody_listening_is_nobody_writing() -> None:
    assert one("one_primary", DB, change(gone(HEALTHY, C, Reach.REFUSED), B, downstreams=()))[0] is PASS
    seen, reason = one("one_primary", DB, gone(HEALTHY, A, Reach.REFUSED))
    assert (seen, reason) == (FAIL, "nobody takes writes")


def test_a_demoted_primary_is_named() -> None:
    seen, reason = one("one_primary", DB, change(HEALTHY, A, writable=False))
    assert (seen, reason) == (FAIL, "nobody takes writes; a is primary and read-only")


def test_no_primary_seen_and_one_instance_unseen_is_unknown() -> None:
    seen, reason = one("one_primary", DB, gone(HEALTHY, A))
    assert seen is UNKNOWN
    assert "nobody takes writes; whether a does could not be told" in reason
    assert one("one_primary", DB, change(HEALTHY, B, writable=None))[0] is UNKNOWN


# sync


def test_silently_degraded_is_a_failure() -> None:
    seen, reason = one("sync", B, change(HEALTHY, A, sync_required=()))
    assert seen is FAIL
    assert "silently degraded: a acknowledges without b (it asks nobody)" in reason
    assert "it asks c" in one("sync", B, change(HEALTHY, A, sync_required=("c",)))[1]


def test_a_required_standby_that_is_absent_makes_writes_wait() -> None:
    for downstreams in ((), (Downstream(centre="b", sync=True, streaming=False),)):
        seen, reason = one("sync", B, change(HEALTHY, A, downstreams=downstreams))
        assert seen is FAIL
        assert "writes wait" in reason


@pytest.mark.parametrize(
    "fields",
    [
        {"sync_required": None},
        {"reach": Reach.SILENT},
        {"downstreams": (Downstream(centre="b", sync=False, streaming=True),)},
    ],
)
def test_sync_unknown(fields: dict[str, Any]) -> None:
    assert one("sync", B, change(HEALTHY, A, **fields))[0] is UNKNOWN


def test_sync_turns_round_with_the_primary() -> None:
    assert verdicts("sync", moved()) == {A: PASS}
    assert verdicts("sync", change(moved(), B, sync_required=())) == {A: FAIL}


def test_sync_where_the_primary_is_in_a_third_centre() -> None:
    world = change(HEALTHY, A, writable=False)
    world = change(world, C, role=Role.PRIMARY, writable=True)
    seen, reason = one("sync", B, world)
    assert seen is FAIL
    assert "the primary is in c" in reason


def test_async_replications_are_not_asked_to_be_sync() -> None:
    assert set(verdicts("sync", HEALTHY)) == {B}


# lag


@pytest.mark.parametrize(
    ("instance", "lag_s", "verdict", "word"),
    [
        (C, 4.9, PASS, "within the declared lag of 5 s (RPO 60 s)"),
        (C, 5.1, FAIL, "above the declared lag of 5 s (RPO 60 s)"),
        (B, 29.0, PASS, "within the RTO of 30 s"),
        (B, 31.0, FAIL, "above the RTO of 30 s"),
    ],
)
def test_lag_limits(instance: str, lag_s: float, verdict: Verdict, word: str) -> None:
    seen, reason = one("lag", instance, change(HEALTHY, instance, lag_s=lag_s))
    assert seen is verdict
    assert word in reason


def test_lag_is_held_against_the_rpo_where_that_is_tighter() -> None:
    copies = (COPIES[0], replace(COPIES[1], lag_max_s=600))
    system = replace(PEOPLE, services=(replace(PEOPLE.services[0], replications=copies), *PEOPLE.services[1:]))
    topology = replace(TOPOLOGY, systems=(system, TOPOLOGY.systems[1]))
    found = findings("lag", change(HEALTHY, C, lag_s=61.0), topology)[C]
    assert (found.verdict, "above the RPO of 60 s" in found.reason.en) == (FAIL, True)


def test_lag_of_a_standby_that_nobody_waits_for_is_held_against_the_centre_rpo() -> None:
    world = change(change(HEALTHY, A, sync_required=()), B, lag_s=0.5)
    seen, reason = one("lag", B, world)
    assert seen is FAIL
    assert "above the RPO of 0 s" in reason


def test_lag_where_the_primary_does_not_tell_goes_by_the_declaration() -> None:
    assert one("lag", B, gone(change(HEALTHY, B, lag_s=0.5), A))[0] is PASS


def test_lag_where_nobody_sends() -> None:
    seen, reason = one("lag", C, change(HEALTHY, C, receiving=False, last_heard_s=42.0))
    assert (seen, "receives from nobody (42.0 s)" in reason) == (FAIL, True)
    assert one("lag", C, change(HEALTHY, C, receiving=False, last_heard_s=None))[0] is FAIL


def test_a_stream_cut_without_a_word_looks_alive_and_is_not_believed() -> None:
    quiet = change(HEALTHY, C, last_heard_s=20.0)
    assert one("lag", C, quiet) == (
        FAIL,
        "last heard its source 20.0 s ago and is 10 B behind, above the declared lag of 5 s (RPO 60 s)",
    )
    assert one("lag", C, change(quiet, C, position=1000))[0] is PASS  # level with the primary: nothing to send
    assert one("lag", C, change(quiet, C, position=None))[0] is UNKNOWN
    assert one("lag", C, gone(quiet, A))[0] is UNKNOWN
    assert one("lag", C, change(HEALTHY, C, last_heard_s=5.0))[0] is PASS


@pytest.mark.parametrize("fields", [{"lag_s": None}, {"receiving": None}, {"reach": Reach.SILENT}])
def test_lag_unknown(fields: dict[str, Any]) -> None:
    assert one("lag", C, change(HEALTHY, C, **fields))[0] is UNKNOWN


def test_lag_in_bytes_where_it_is_not_told_in_seconds() -> None:
    reason = "2.0 KiB received and not replayed, and it does not tell for how long"
    assert one("lag", C, change(HEALTHY, C, lag_s=None, position=3038)) == (UNKNOWN, reason)
    for fields in ({"replayed": None}, {"position": None}, {"replayed": 990}):
        assert "did not tell" in one("lag", C, change(HEALTHY, C, lag_s=None, **fields))[1]


def test_lag_skips_primaries_and_follows_a_move() -> None:
    assert set(verdicts("lag", HEALTHY)) == {B, C}
    assert set(verdicts("lag", moved())) == {A, C}
    assert "RTO" in one("lag", A, moved())[1]  # now the synchronous standby of b
    assert set(verdicts("lag", change(HEALTHY, A, role=None))) == {B, C}
