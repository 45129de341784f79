"""What a valid topology file becomes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.app import kinds
from orchestrator.errors import BadFile
from orchestrator.loader import load_topology, notes, topology_schema
from orchestrator.model.topology import CopyMode, Kind, Nature, Objective, Role, Setting
from tests.unit.estates import KINDS, SMALL, changed, load

INVENTORIES = Path(__file__).resolve().parents[2] / "inventories"


def test_templates_groups_and_defaults_make_systems() -> None:
    topology = load()
    assert [s.id for s in topology.systems] == ["first", "second", "pool-east", "pool-west"]
    east, west = topology.system_by_id["pool-east"], topology.system_by_id["pool-west"]
    assert (east.name.en, east.name.zh, east.owner.en, east.filing) == (
        "East pool",
        "东资源池",
        "East office",
        "PLACEHOLDER-pool-east",
    )
    assert (east.tier, west.tier) == (2, 3), "the member's own word replaces the defaults'"
    assert east.centre_loss == Objective(rto_s=60, rpo_s=0) and west.centre_loss == Objective(rto_s=120, rpo_s=5)
    assert (east.group, topology.groups[0].name.zh) == ("pools", "资源池")


def test_a_group_in_depends_on_stands_for_its_members() -> None:
    assert load().system_by_id["second"].depends_on == ("first", "pool-east", "pool-west")


def test_a_layout_puts_the_primary_where_it_belongs() -> None:
    topology = load()
    first, second = (topology.service_by_id[f"{name}/db"] for name in ("first", "second"))
    assert first.primary is not None and first.primary.centre == "a"
    assert second.primary is not None and second.primary.centre == "b"
    assert [i.centre for i in second.instances] == ["a", "b", "c"], "in the order of the centres"
    assert [(r.source, r.target, r.mode, r.lag_max_s) for r in second.replications] == [
        ("b", "a", CopyMode.SYNC, 0.0),
        ("a", "c", CopyMode.ASYNC, 30.0),
    ]


def test_services_name_what_they_serve_and_where_they_are() -> None:
    topology = load()
    assert topology.service_by_id["first/app"].serves == "first/db"
    assert topology.service_by_id["first/entry"].serves == "first/app"
    assert topology.instance_by_id["second/db@c"].address == "second-db.c.test:5432"
    assert topology.instance_by_id["first/entry@edge"].role is Role.PRIMARY
    assert topology.service_by_id["first/app"].nature is Nature.ACTIVE


def test_links_are_read_in_ms() -> None:
    link = load().links[0]
    assert (link.id, link.ends, link.rtt_max_ms) == ("a-b", ("a", "b"), 2.0)


def test_the_nearest_layer_wins_key_by_key() -> None:
    text = changed(
        "    template: standard\n    layout: b-first\n",
        """\
    template: standard
    layout: b-first
    services:
      db:
        params: {database: app}
        instances:
          home: {address: "special:6000", params: {port: 6000}, seen_from: {c: "nat-of-b:6001"}}
""",
    )
    topology = load(text)
    home, peer = (topology.instance_by_id[f"second/db@{centre}"] for centre in "ba")
    assert home.address == "special:6000" and home.address_from("c") == "nat-of-b:6001"
    assert (home.param("port"), home.param("database")) == ("6000", "app")
    assert (peer.param("port"), peer.address) == ("5432", "second-db.a.test:5432")
    assert topology.service_by_id["second/db"].params == (
        Setting(name="port", value="5432"),
        Setting(name="database", value="app"),
    )
    assert topology.instance_by_id["first/db@a"].param("database") == ""


def test_params_of_a_service_reach_each_instance_with_its_centre() -> None:
    topology = load(changed("params: {port: 5432}", 'params: {pgdata: "/data/{system}/{centre}"}'))
    assert topology.instance_by_id["first/db@c"].param("pgdata") == "/data/first/c"
    assert topology.service_by_id["first/db"].params == (), "what differs by centre is no parameter of the service"


def test_braces_of_other_languages_stay_in_params() -> None:
    topology = load(changed("params: {port: 5432}", "params: {pgdata: \"awk '{print}' {{ x }}\", port: true}"))
    instance = topology.instance_by_id["first/db@a"]
    assert instance.param("pgdata") == "awk '{print}' {{ x }}" and instance.param("port") == "true"


def test_a_sync_copy_across_cities_with_a_reason() -> None:
    new = "{from: home, to: c, mode: sync, across_cities: true, reason: law demands it}"
    topology = load(changed("{from: peer, to: c, mode: async, lag_max: 30s}", new))
    copy = topology.service_by_id["first/db"].replications[1]
    assert (copy.target, copy.mode, copy.reason) == ("c", CopyMode.SYNC, "law demands it")


def test_kinds_that_come_later_fit_without_changing_the_model() -> None:
    text = (
        SMALL
        + """\
  mixed:
    name: {en: Mixed, zh: 混合}
    template: mixed
    members:
      only: {en: Only, zh: 唯一}
"""
    )
    template = """\
  mixed:
    site_loss: {rto: 1h, rpo: 1h}
    services:
      orders:
        kind: mysql
        roles: {home: primary, peer: standby, c: standby}
        replications: &copies
          - {from: home, to: peer, mode: sync}
          - {from: peer, to: c, mode: async, lag_max: 5m}
        params: {channel: drctl}
      files:
        kind: s3-bucket
        roles: {home: primary, peer: standby, c: standby}
        address: "rgw.{centre}.test:7480/{system}"
        replications:
          - {from: home, to: peer, mode: sync}
          - {from: home, to: c, mode: async, lag_max: 1h}
      disk:
        kind: block-volume
        roles: {home: primary, peer: standby, c: standby}
        params: {volume_type: ssd}
        replications:
          - {from: home, to: peer, mode: sync}
          - {from: peer, to: c, mode: async, lag_max: 1m}
      server:
        kind: openstack-server
        roles: {home: primary, peer: standby, c: standby}
        serves: disk
        params: {flavor: m1.small}
      name:
        kind: dns
        roles: {edge: primary}
        serves: server
        params: {zone: example.test., ttl: 30}
systems:
""".replace("&copies", "")
    topology = load(changed("systems:\n", template, text))
    natures = {v.name: v.nature for v in topology.system_by_id["only"].services}
    assert natures == {
        "orders": Nature.REPLICATED,
        "files": Nature.REPLICATED,
        "disk": Nature.REPLICATED,
        "server": Nature.ACTIVE,
        "name": Nature.ROUTE,
    }
    assert topology.instance_by_id["only/files@c"].address == "rgw.c.test:7480/only"
    assert topology.instance_by_id["only/name@edge"].param("ttl") == "30"


def test_the_lab_is_as_its_contract_says() -> None:
    lab = load_topology(INVENTORIES / "lab", kinds())
    assert lab.lab and [(c.id, c.site, c.role.value) for c in lab.centres] == [
        ("a", "chongqing", "production"),
        ("b", "chongqing", "metro"),
        ("c", "remote", "remote"),
    ]
    rows = {
        (s.id, v.primary.centre if v.primary else "", tuple((r.source, r.target, r.mode.value) for r in v.replications))
        for s in lab.systems
        for v in s.services
        if v.name == "db"
    }
    a_first, b_first = (("a", "b", "sync"), ("b", "c", "async")), (("b", "a", "sync"), ("a", "c", "async"))
    assert rows == {("legal-person", "a", a_first), ("sharing", "a", a_first), ("open-data", "b", b_first)}
    serving = {s.id: [i.centre for i in s.services[1].instances if i.role is Role.PRIMARY] for s in lab.systems}
    assert serving == {key: ["a", "b"] for key in ("legal-person", "sharing", "open-data")}
    assert lab.system_by_id["sharing"].depends_on == ("legal-person",)
    assert lab.system_by_id["legal-person"].centre_loss == Objective(rto_s=60, rpo_s=0)


def test_chongqing_holds_the_systems_of_the_real_estate() -> None:
    estate = load_topology(INVENTORIES / "chongqing", kinds())
    groups = {g.id: sum(s.group == g.id for s in estate.systems) for g in estate.groups}
    print(len(estate.systems), groups)
    assert len(estate.systems) == 130 and not estate.lab
    assert {k: groups[k] for k in ("exchange", "base", "departments", "districts", "themes")} == {
        "exchange": 2,
        "base": 4,
        "departments": 70,
        "districts": 40,
        "themes": 3,
    }
    assert all(s.filing.startswith("PLACEHOLDER") for s in estate.systems), "no filing number is public"
    primaries = [v.primary.centre for v in estate.services() if v.primary and v.nature is Nature.REPLICATED]
    assert 40 < primaries.count("a") < 90 and 40 < primaries.count("b") < 90 and not primaries.count("c")
    assert {"dept-70", "district-wansheng"} <= set(estate.system_by_id["legal-person"].depends_on)
    assert {"legal-person", "epidemic-control"} <= set(estate.system_by_id["sharing"].depends_on)
    channel = estate.service_by_id["china-singapore-channel/link"]
    assert (channel.kind, channel.nature) == ("network-link", Nature.ROUTE)


def test_every_host_of_chongqing_is_in_its_inventory() -> None:
    estate = load_topology(INVENTORIES / "chongqing", kinds())
    text = (INVENTORIES / "chongqing" / "hosts.yaml").read_text(encoding="utf-8")
    hosts = {line.strip().partition(":")[0] if "[" not in line else line.strip()[:-1] for line in text.splitlines()}
    for pattern in [h for h in hosts if "[01:70]" in h]:
        hosts |= {pattern.replace("[01:70]", f"{n:02}") for n in range(1, 71)}
    wanted = {i.param("inventory_host") for i in estate.instances()} - {""}
    assert len(wanted) == 390 and wanted <= hosts


def test_a_file_instead_of_a_folder() -> None:
    assert load_topology(INVENTORIES / "lab" / "topology.yaml", kinds()).id == "lab"


def lab_with(tmp_path: Path, overlay: object) -> Path:
    (tmp_path / "topology.yaml").write_text(changed("estate: small\n", "estate: small\nlab: true\n"), encoding="utf-8")
    (tmp_path / "endpoints.json").write_text(overlay if isinstance(overlay, str) else json.dumps(overlay))
    return tmp_path


def test_an_overlay_gives_addresses_and_params(tmp_path: Path) -> None:
    entry = {"address": "127.0.0.1:41001", "seen_from": {"b": "127.0.0.1:41051"}, "params": {"pgdata": "/x", "port": 1}}
    folder = lab_with(tmp_path, {"instances": {"first/db@a": entry}, "other": 1})
    instance = load_topology(folder, KINDS, folder / "endpoints.json").instance_by_id["first/db@a"]
    assert (instance.address, instance.address_from("b"), instance.address_from("c")) == (
        "127.0.0.1:41001",
        "127.0.0.1:41051",
        "127.0.0.1:41001",
    )
    assert (instance.param("pgdata"), instance.param("port")) == ("/x", "1")


def test_an_overlay_says_nothing_of_an_estate_that_is_no_lab(tmp_path: Path) -> None:
    folder = lab_with(tmp_path, {"instances": {"nobody/db@a": {"address": "127.0.0.1:1"}}})
    (folder / "topology.yaml").write_text(SMALL, encoding="utf-8")
    assert load_topology(folder, KINDS, folder / "endpoints.json").instance_by_id["first/db@a"].address.endswith("5432")


@pytest.mark.parametrize(
    ("overlay", "words"),
    [
        ("{", "endpoints.json"),
        ({"instances": {"frist/db@a": {"address": "x:1"}}}, "unknown instance `frist/db@a`"),
        ({"instances": {"first/db@a": {"address": "x:1", "seen_from": {"d": "y:1"}}}}, "unknown centre `d`"),
        ({"instances": {"first/db@a": {"address": "x:1", "params": {"pgdat": "y"}}}}, "unknown param `pgdat`"),
        ({"instances": {"first/db@a": {}}}, "address"),
    ],
)
def test_a_wrong_overlay_is_refused(tmp_path: Path, overlay: object, words: str) -> None:
    folder = lab_with(tmp_path, overlay)
    with pytest.raises(BadFile) as caught:
        load_topology(folder, KINDS, folder / "endpoints.json")
    assert "endpoints.json" in caught.value.message and words in caught.value.message


def test_notes_name_a_system_that_promises_more_than_what_it_depends_on() -> None:
    text = changed(
        "    depends_on: [first, pools]\n", "    depends_on: [pools]\n    centre_loss: {rto: 30s, rpo: 0s}\n"
    )
    found = [note.en for note in notes(load(text))]
    assert "second promises an RTO of 30s at centre loss, and depends on pool-west, which promises 2m" in found[0]
    assert len(notes(load_topology(INVENTORIES / "chongqing", kinds()))) == 1, "the estate's own targets are in order"


def test_the_schema_knows_the_kinds_and_their_params() -> None:
    schema = topology_schema(KINDS)
    service = schema["$defs"]["ServiceFile"]
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert service["properties"]["kind"]["enum"] == sorted(KINDS)
    assert service["additionalProperties"] is False
    rules = {rule["if"]["properties"]["kind"]["const"]: rule["then"] for rule in service["allOf"]}
    assert rules["dns"]["properties"]["params"]["propertyNames"]["enum"] == ["ttl", "zone"]
    rto = schema["$defs"]["ObjectiveFile"]["properties"]["rto"]
    assert rto["pattern"].endswith("(ms|s|m|h|d)$") and "30s" in rto["examples"] and rto["description"]


def test_a_kind_without_params_takes_none() -> None:
    bare = {**KINDS, "haproxy": Kind(name="haproxy", nature=Nature.ROUTE)}
    assert (
        "enum"
        in topology_schema(bare)["$defs"]["ServiceFile"]["allOf"][2]["then"]["properties"]["params"]["propertyNames"]
    )
