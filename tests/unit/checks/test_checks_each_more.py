"""Every check on the cases that decide it: slots, timelines, copies, capacity, disk, clock, apps and entries."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from orchestrator.model.observation import Downstream, Reach, Snapshot, Verdict
from orchestrator.model.topology import CopyMode, Replication, Role, Setting
from tests.unit.checks.each_world import DB, FAIL, PASS, UNKNOWN, one
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
