"""Each check: what fails it, what leaves it unknown, and what it tells."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from orchestrator.model.observation import Downstream, Reach, Snapshot, Verdict
from orchestrator.model.topology import CopyMode, Replication, Role, Setting
from tests.unit.checks.world import (
    APP_A,
    APP_B,
    APP_C,
    COPIES,
    ENTRY,
    GIB,
    HEALTHY,
    PEOPLE,
    SETTINGS,
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

PASS, FAIL, UNKNOWN = Verdict.PASS, Verdict.FAIL, Verdict.UNKNOWN
DB = "people/db"


def one(check: str, subject: str, world: Snapshot) -> tuple[Verdict, str]:
    found = findings(check, world)[subject]
    return found.verdict, found.reason.en


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


# slots


def test_slots() -> None:
    def told(**fields: Any) -> tuple[Verdict, str]:
        return one("slots", A, change(HEALTHY, A, **fields))

    assert told(slots_lost=("b",)) == (FAIL, "slots lost: b")
    assert told(wal_retained_bytes=5 * GIB)[0] is PASS
    assert told(wal_retained_bytes=5 * GIB + 1)[0] is FAIL
    assert "60% of the limit of 10.0 GiB" in told(wal_retained_bytes=6 * GIB)[1]
    assert told(wal_limit_bytes=None)[0] is PASS  # 1 of 50 GiB free
    assert told(wal_limit_bytes=None, wal_retained_bytes=26 * GIB)[0] is FAIL
    assert "no limit is set" in told(wal_limit_bytes=None, wal_retained_bytes=26 * GIB)[1]
    assert told(wal_limit_bytes=0)[0] is FAIL
    assert told(wal_limit_bytes=None, disk_free_bytes=None)[0] is PASS
    assert told(wal_retained_bytes=None)[0] is UNKNOWN
    assert told(reach=Reach.SILENT)[0] is UNKNOWN


def test_slots_skip_an_instance_that_feeds_nobody() -> None:
    assert set(verdicts("slots", HEALTHY)) == {A, B}
    fed = change(HEALTHY, C, downstreams=(Downstream(centre="b", sync=False, streaming=True),))
    assert verdicts("slots", fed)[C] is UNKNOWN


# timeline


def test_timelines() -> None:
    assert one("timeline", DB, HEALTHY) == (PASS, "all 3 on timeline 1")
    assert one("timeline", DB, change(HEALTHY, C, timeline=2)) == (FAIL, "different timelines: a: 1, b: 1, c: 2")
    assert one("timeline", DB, gone(HEALTHY, C)) == (UNKNOWN, "timeline of c not read (seen: a: 1, b: 1)")
    assert one("timeline", DB, change(HEALTHY, C, timeline=None))[0] is UNKNOWN
    assert one("timeline", DB, gone(change(HEALTHY, B, timeline=2), C))[0] is FAIL


# cascade


def test_cascade() -> None:
    assert verdicts("cascade", HEALTHY) == {B: PASS, C: PASS}
    seen, reason = one("cascade", C, change(HEALTHY, C, upstream="a"))
    assert (seen, reason) == (FAIL, "differs from declared: receives from a, declared b")
    assert one("cascade", C, change(HEALTHY, C, upstream=""))[0] is FAIL
    assert one("cascade", C, change(HEALTHY, C, upstream=None))[0] is UNKNOWN
    assert one("cascade", C, gone(HEALTHY, C))[0] is UNKNOWN
    assert verdicts("cascade", moved()) == {C: PASS}


# copies


def test_copies() -> None:
    assert one("copies", DB, HEALTHY) == (PASS, "3 of 3 copies")
    assert one("copies", DB, moved()) == (PASS, "3 of 3 copies")
    assert one("copies", DB, change(HEALTHY, C, receiving=False)) == (FAIL, "2 of 3 copies; missing: c")
    assert one("copies", DB, gone(HEALTHY, C, Reach.REFUSED))[0] is FAIL
    assert one("copies", DB, change(HEALTHY, C, receiving=None))[0] is UNKNOWN
    assert one("copies", DB, change(HEALTHY, C, upstream=None))[0] is UNKNOWN
    assert one("copies", DB, change(HEALTHY, C, upstream="x"))[0] is FAIL
    assert one("copies", DB, gone(HEALTHY, A))[0] is UNKNOWN


def test_a_break_in_the_chain_loses_what_is_behind_it() -> None:
    seen, reason = one("copies", DB, change(HEALTHY, B, receiving=False))
    assert (seen, reason) == (FAIL, "1 of 3 copies; missing: b, c")
    looped = change(change(HEALTHY, B, upstream="c"), C, upstream="b")
    assert one("copies", DB, looped) == (FAIL, "1 of 3 copies; missing: b, c")


def test_an_unseen_copy_counts_where_its_linked_source_sees_it_stream() -> None:
    assert one("copies", DB, gone(HEALTHY, C))[0] is PASS
    assert one("copies", DB, change(gone(HEALTHY, C), B, downstreams=()))[0] is UNKNOWN
    torn = change(gone(HEALTHY, C), B, receiving=False)
    assert one("copies", DB, torn) == (FAIL, "1 of 3 copies; missing: b")


# capacity


def test_capacity() -> None:
    def told(*changed: Setting) -> tuple[Verdict, str]:
        kept = tuple(s for s in SETTINGS if s.name not in {c.name for c in changed})
        return one("capacity", C, change(HEALTHY, C, settings=(*kept, *changed)))

    assert told(Setting(name="max_connections", value="200"))[0] is PASS
    assert told(Setting(name="max_connections", value="90")) == (
        FAIL,
        "below or unlike the primary's: max_connections 90 (a: 100)",
    )
    assert told(Setting(name="max_connections", value="1e"))[0] is FAIL
    assert told(Setting(name="version", value="18.2"))[0] is FAIL
    assert told(Setting(name="version", value="180.1"))[0] is FAIL
    assert told(Setting(name="wal_level", value=""))[0] is FAIL
    assert one("capacity", C, change(HEALTHY, C, settings=SETTINGS[:2])) == (UNKNOWN, "not told: wal_level")
    assert one("capacity", C, change(HEALTHY, C, settings=()))[0] is UNKNOWN
    assert one("capacity", C, change(HEALTHY, A, settings=()))[0] is UNKNOWN


def test_capacity_compares_with_whoever_is_primary() -> None:
    assert set(verdicts("capacity", HEALTHY)) == {B, C}
    assert set(verdicts("capacity", moved())) == {A, C}
    assert verdicts("capacity", change(HEALTHY, A, writable=False)) == {B: PASS, C: PASS}
    assert verdicts("capacity", gone(HEALTHY, A)) == {B: UNKNOWN, C: UNKNOWN}
    assert verdicts("capacity", gone(HEALTHY, B)) == {B: UNKNOWN, C: PASS}


# disk and clock


def test_disk() -> None:
    def told(free: int | None, total: int | None = 100 * GIB) -> Verdict:
        return one("disk", A, change(HEALTHY, A, disk_free_bytes=free, disk_total_bytes=total))[0]

    assert told(10 * GIB) is PASS
    assert told(10 * GIB - 1) is FAIL
    assert told(GIB, 5 * GIB) is PASS
    assert told(GIB - 1, 5 * GIB) is FAIL
    assert told(None) is told(GIB, None) is told(GIB, 0) is UNKNOWN
    assert set(verdicts("disk", HEALTHY)) == {A, B, C}
    assert verdicts("disk", change(HEALTHY, APP_A, disk_free_bytes=1, disk_total_bytes=2))[APP_A] is FAIL


def test_clock() -> None:
    def told(offset_s: float | None) -> Verdict:
        return one("clock", A, change(HEALTHY, A, clock_offset_s=offset_s))[0]

    assert told(0.5) is told(-0.5) is PASS
    assert told(0.51) is told(-0.51) is FAIL
    assert told(None) is UNKNOWN
    assert set(verdicts("clock", HEALTHY)) == {A, B, C}
    assert verdicts("clock", change(HEALTHY, APP_B, clock_offset_s=9.0))[APP_B] is FAIL


# app


@pytest.mark.parametrize(
    ("fields", "verdict", "word"),
    [
        ({"answers": False, "error": "503"}, FAIL, "gives users no right answer: 503"),
        ({"answers": None}, UNKNOWN, "whether it answers users"),
        ({"upstream": "b"}, FAIL, "calls b, and the writable primary is in a"),
        ({"upstream": ""}, FAIL, "calls nobody"),
        ({"upstream": None}, UNKNOWN, "whom it calls"),
        ({"reach": Reach.REFUSED}, FAIL, "does not run"),
        ({"reach": Reach.SILENT}, UNKNOWN, "not read"),
    ],
)
def test_app(fields: dict[str, Any], verdict: Verdict, word: str) -> None:
    seen, reason = one("app", APP_B, change(HEALTHY, APP_B, **fields))
    assert seen is verdict
    assert word in reason


def test_app_where_the_writable_primary_cannot_be_told() -> None:
    assert one("app", APP_B, gone(HEALTHY, A))[0] is UNKNOWN


def test_an_app_that_waits_need_not_answer_users_and_one_that_serves_must() -> None:
    assert one("app", APP_C, HEALTHY) == (PASS, "waits, as declared")
    assert one("app", APP_C, change(HEALTHY, APP_C, role=Role.PRIMARY))[0] is FAIL
    assert one("app", APP_C, change(HEALTHY, APP_C, role=None))[0] is UNKNOWN
    assert one("app", APP_C, gone(HEALTHY, APP_C, Reach.REFUSED))[0] is UNKNOWN
    assert one("app", APP_A, change(HEALTHY, APP_A, role=Role.STANDBY, answers=False))[0] is FAIL


# entry


@pytest.mark.parametrize(
    ("instance", "fields", "verdict", "word"),
    [
        (ENTRY, {"routes_to": ()}, FAIL, "sends users nowhere"),
        (ENTRY, {"routes_to": None}, UNKNOWN, "whom it sends users to"),
        (ENTRY, {"routes_to": ("a", "z")}, FAIL, "sends users to z: nothing is declared there"),
        (ENTRY, {"routes_to": ("a", "c")}, FAIL, "sends users to c: it gives no right answer"),
        (ENTRY, {"answers": False}, FAIL, "gives users no right answer"),
        (ENTRY, {"answers": None}, UNKNOWN, "whether users get an answer"),
        (ENTRY, {"reach": Reach.SILENT}, UNKNOWN, "not read"),
        (APP_B, {"upstream": "b"}, FAIL, "sends users to b: calls b, and the writable primary is in a"),
        (APP_B, {"reach": Reach.REFUSED}, FAIL, "sends users to b: nobody listens there"),
        (APP_B, {"reach": Reach.SILENT}, UNKNOWN, "sends users to b: not read"),
        (APP_B, {"answers": None}, UNKNOWN, "sends users to b"),
    ],
)
def test_entry(instance: str, fields: dict[str, Any], verdict: Verdict, word: str) -> None:
    seen, reason = one("entry", ENTRY, change(HEALTHY, instance, **fields))
    assert seen is verdict
    assert word in reason


def test_a_failing_target_is_told_before_an_unknown_one() -> None:
    world = change(change(HEALTHY, APP_A, reach=Reach.SILENT), APP_B, answers=False)
    assert one("entry", ENTRY, world)[0] is FAIL


def test_an_entry_right_before_a_database_wants_a_writable_one() -> None:
    services = (PEOPLE.services[0], replace(PEOPLE.services[2], serves=DB))
    topology = replace(TOPOLOGY, systems=(replace(PEOPLE, services=services),))

    def told(*centres: str, world: Snapshot = HEALTHY) -> Verdict:
        return findings("entry", change(world, ENTRY, routes_to=centres), topology)[ENTRY].verdict

    assert told("a") is PASS
    assert told("b") is FAIL
    assert told("a", "b") is FAIL
    assert told("a", world=change(HEALTHY, A, writable=None)) is UNKNOWN


def test_an_entry_without_a_service_behind_it_is_a_bare_link() -> None:
    assert set(verdicts("entry", HEALTHY)) == {ENTRY}


def test_a_sync_copy_declared_twice_is_judged_twice() -> None:
    copies = (*COPIES, Replication(source="a", target="c", mode=CopyMode.SYNC, lag_max_s=0))
    system = replace(PEOPLE, services=(replace(PEOPLE.services[0], replications=copies),))
    topology = replace(TOPOLOGY, systems=(system,))
    assert verdicts("sync", HEALTHY, topology) == {B: PASS, C: FAIL}


def test_an_app_without_a_database_behind_it_only_answers() -> None:
    topology = replace(TOPOLOGY, systems=(replace(PEOPLE, services=(replace(PEOPLE.services[1], serves=""),)),))
    assert findings("app", HEALTHY, topology)[APP_A].reason.en == "answers"


def test_a_service_of_one_instance_has_no_timelines_to_compare() -> None:
    database = replace(PEOPLE.services[0], instances=PEOPLE.services[0].instances[:1], replications=())
    topology = replace(TOPOLOGY, systems=(replace(PEOPLE, services=(database,)),))
    assert verdicts("timeline", HEALTHY, topology) == {}
    assert verdicts("copies", HEALTHY, topology) == {DB: PASS}


def test_a_sync_replication_from_a_centre_without_an_instance_is_unknown() -> None:
    database = replace(PEOPLE.services[0], instances=PEOPLE.services[0].instances[1:], replications=COPIES[:1])
    topology = replace(TOPOLOGY, systems=(replace(PEOPLE, services=(database,)),))
    assert verdicts("sync", HEALTHY, topology) == {B: UNKNOWN}
