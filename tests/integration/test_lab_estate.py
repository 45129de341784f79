"""The lab as it comes up: real databases that replicate as declared, apps, entries, delay, and the topology file."""

from __future__ import annotations

import json
import time

import pytest

from orchestrator.app import ROOT, kinds
from orchestrator.lab import control, layout, state
from orchestrator.loader import load_topology
from orchestrator.model.topology import EDGE, CopyMode, Role
from tests.integration.labs import Lab, wait_for

pytestmark = pytest.mark.lab
SYSTEMS = [s.id for s in layout.SYSTEMS]


@pytest.mark.parametrize("system", layout.SYSTEMS, ids=SYSTEMS)
def test_three_copies_replicate_as_declared(lab: Lab, system: layout.LabSystem) -> None:
    def db(centre: str) -> str:
        return f"{system.id}/db@{centre}"

    sent = "SELECT application_name, state, sync_state FROM pg_stat_replication"
    assert lab.sql(db(system.primary), sent) == [(system.sync, "streaming", "quorum")]
    assert lab.sql(db(system.sync), sent) == [(system.cascade, "streaming", "async")]
    assert lab.sql(db(system.cascade), sent) == []
    assert lab.one(db(system.primary), "SHOW synchronous_standby_names") == f"ANY 1 ({system.sync})"
    for centre in layout.CENTRES:
        assert lab.one(db(centre), "SELECT pg_is_in_recovery()") is (centre != system.primary)
        slots = lab.sql(db(centre), "SELECT slot_name, active FROM pg_replication_slots")
        assert slots == {system.primary: [(system.sync, True)], system.sync: [(system.cascade, True)]}.get(centre, [])


def test_settings_of_the_databases(lab: Lab) -> None:
    wanted = {
        "wal_log_hints": "on", "fsync": "on", "hot_standby_feedback": "on", "max_slot_wal_keep_size": "512MB",
        "dynamic_shared_memory_type": "mmap", "cluster_name": "open-data/db@c",
    }  # fmt: skip
    for name, value in wanted.items():
        assert lab.one("open-data/db@c", f"SHOW {name}") == value
    assert int(lab.one("open-data/db@c", "SHOW server_version_num")) >= 180000


def test_systems_are_databases_of_their_own_with_the_same_data_in_every_lab(lab: Lab) -> None:
    ids = {lab.one(f"{s}/db@c", "SELECT system_identifier FROM pg_control_system()") for s in SYSTEMS}
    assert len(ids) == 3
    assert lab.one("legal-person/db@c", "SELECT count(*) FROM legal_person") == 20000
    assert lab.one("sharing/db@c", "SELECT count(*) FROM exchange_log") == 20000
    assert lab.one("open-data/db@c", "SELECT count(*) FROM download") == 20000
    digest = "SELECT md5(string_agg(l::text, '' ORDER BY id)) FROM licence l"
    assert lab.one("legal-person/db@c", digest) == "82e420bc6352b86a57e785393b167976"


def test_the_lab_and_the_topology_file_describe_the_same_estate(lab: Lab) -> None:
    topology = load_topology(ROOT / "inventories" / "lab", kinds(), lab.dir / "endpoints.json")
    assert {i.id for i in topology.instances()} == {p.id for p in layout.places()}
    assert {frozenset(link.ends) for link in topology.links} == {frozenset(link.ends) for link in layout.LINKS}
    for link in topology.links:
        delay_ms = next(x.delay_ms for x in layout.LINKS if set(x.ends) == set(link.ends))
        assert 2 * delay_ms < link.rtt_max_ms
    for system in layout.SYSTEMS:
        declared = topology.system_by_id[system.id]
        assert declared.depends_on == system.depends_on
        database, app = (topology.service_by_id[f"{system.id}/{name}"] for name in ("db", "app"))
        assert database.primary is not None
        assert database.primary.centre == system.primary
        copies = {(r.source, r.target, r.mode) for r in database.replications}
        assert copies == {
            (system.primary, system.sync, CopyMode.SYNC),
            (system.sync, system.cascade, CopyMode.ASYNC),
        }
        assert tuple(i.centre for i in app.instances if i.role is Role.PRIMARY) == system.serving
    for instance in topology.instances():
        assert instance.address
        if instance.service.endswith("/db"):
            assert {v.centre for v in instance.seen_from} == set(layout.CENTRES) - {instance.centre}


@pytest.mark.parametrize("system", SYSTEMS)
def test_users_write_and_read_through_the_entry_in_both_centres(lab: Lab, system: str) -> None:
    entry = f"{system}/entry@{EDGE}"
    assert {lab.write(entry, f"entry-{n}", f"value {n}") for n in range(4)} == {201}
    assert lab.http(entry, "GET", "/records/entry-2").json == {"id": "entry-2", "value": "value 2"}
    assert lab.http(entry, "GET", "/records/none").status == 404
    rows = lab.sql(f"{system}/db@a", "SELECT centre FROM drctl_canary WHERE id LIKE 'entry-%%'")
    wait_for(lambda: len(lab.sql(f"{system}/db@c", "SELECT 1 FROM drctl_canary WHERE id LIKE 'entry-%%'")) == 4, "at c")
    assert {centre for (centre,) in rows} <= {"a", "b"}


def test_an_app_says_what_it_is(lab: Lab) -> None:
    assert lab.http("open-data/app@a", "GET", "/health").json == {
        "system": "open-data", "centre": "a", "upstream": "b", "epoch": 0, "writable": True, "serving": True,
    }  # fmt: skip
    assert lab.http("open-data/app@c", "GET", "/health").json["serving"] is False
    assert lab.http("open-data/app@c", "GET", "/ready").status == 503
    assert lab.write("open-data/app@c", "nobody") == 503
    assert lab.http("open-data/app@a", "GET", "/nothing").status == 404
    assert lab.http("open-data/app@a", "PUT", "/records/x", {"worth": 1}).status == 400


def test_sharing_reads_legal_persons_through_their_entry(lab: Lab) -> None:
    assert lab.http("sharing/app@a", "GET", "/lookup/7").json["value"] == "数据目录7"
    assert lab.http("sharing/app@a", "GET", "/lookup/9999999").status == 404
    try:
        lab.inject("stop-service legal-person/entry@edge")
        assert lab.http("sharing/app@a", "GET", "/lookup/7").status == 503
    finally:
        lab.heal()
    assert lab.http("sharing/app@a", "GET", "/lookup/7").status == 200


def test_an_app_is_repointed_and_refuses_older_epochs(lab: Lab) -> None:
    app = "open-data/app@c"
    at_c = {"centre": "c", "address": lab.address("open-data/db@c"), "epoch": 5}
    assert lab.http(app, "POST", "/control/upstream", at_c).status == 200
    wait_for(lambda: lab.http(app, "GET", "/records/none").status == 404, "reads at c")
    assert lab.http(app, "GET", "/ready").status == 503
    assert lab.write(app, "standby") == 503
    assert lab.http(app, "POST", "/control/upstream", at_c | {"epoch": 4}).status == 409
    lab.inject(f"stop-service {app}")
    assert lab.http(app, "GET", "/health").status == 0
    lab.heal()
    assert lab.http(app, "GET", "/health").json["epoch"] == 5
    assert lab.http(app, "GET", "/health").json["upstream"] == "c"
    assert lab.http(app, "POST", "/control/upstream", {"centre": "", "address": "", "epoch": 5}).status == 200
    assert lab.http(app, "GET", "/health").json["serving"] is False


def test_links_delay_what_passes_them(lab: Lab) -> None:
    near = round_trip_ms(lab, "legal-person/db@a", "b")
    far = round_trip_ms(lab, "legal-person/db@a", "c")
    assert near >= 1.6
    assert far >= 29.6
    assert round_trip_ms(lab, "legal-person/db@a", "") < near


def round_trip_ms(lab: Lab, instance: str, viewer: str) -> float:
    """The fastest of some queries, as a centre sees the database."""
    with lab.connect(instance, viewer) as connection:
        times = []
        for _ in range(15):
            began = time.perf_counter()
            connection.execute("SELECT 1")
            times.append((time.perf_counter() - began) * 1000)
    return min(times)


def test_up_again_says_so_and_changes_nothing(lab: Lab) -> None:
    before = lab.started
    said: list[str] = []
    found = control.up(lab.dir, said.append, net=lab.net)
    assert "already up" in said[0]
    assert found == state.read(lab.dir)
    assert lab.started == before != set()


def test_bring_up_was_quick_and_all_is_well(lab: Lab) -> None:
    recorded = json.loads((lab.dir / "lab.json").read_text())
    assert recorded["took_s"] > 0
    seen = lab.status
    assert seen.faults == ()
    assert {i.condition for i in seen.instances} == {"running"}
    assert all(lab.started & set(i.pids) for i in seen.instances)
    roles = {i.instance: i.role for i in seen.instances}
    assert roles["open-data/db@b"] == "primary"
    assert roles["open-data/db@a"] == "standby"
    assert roles["sharing/entry@edge"] == "routes to a, b"
