"""The topology as SVG and Mermaid: well-formed, complete, safe, and true to a snapshot."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from orchestrator.app import kinds
from orchestrator.loader import load_topology
from orchestrator.model.observation import Downstream, Reach, Reading, Snapshot
from orchestrator.model.topology import Nature, Role, Topology
from orchestrator.reports.drawing import fitted, text_width
from orchestrator.reports.mermaid import topology_mermaid
from orchestrator.reports.topology_frame import ACCENT, PAINTS
from orchestrator.reports.topology_look import Flow, Look, arrows, face, span
from orchestrator.reports.topology_svg import ROWS_MAX, topology_svg
from tests.unit.estates import SMALL, changed, load

INVENTORIES = Path(__file__).resolve().parents[2] / "inventories"
SVG = "{http://www.w3.org/2000/svg}"


def lab() -> Topology:
    return load_topology(INVENTORIES / "lab", kinds())


def chongqing() -> Topology:
    return load_topology(INVENTORIES / "chongqing", kinds())


def after_failover(topology: Topology) -> Snapshot:
    """Centre A silent, B the primary of everything, C streaming from B, users in B."""
    readings = []
    for service in topology.services():
        for instance in service.instances:
            if instance.centre == "a":
                reading = Reading(instance=instance.id, reach=Reach.SILENT, took_s=1.0)
            elif service.nature is Nature.ROUTE:
                reading = Reading(
                    instance=instance.id, reach=Reach.ANSWERED, took_s=0.01, answers=True, routes_to=("b",)
                )
            elif service.nature is Nature.ACTIVE:
                serves = instance.centre == "b"
                upstream = "b" if serves else ""
                reading = Reading(
                    instance=instance.id,
                    reach=Reach.ANSWERED,
                    took_s=0.01,
                    answers=serves,
                    writable=serves,
                    upstream=upstream,
                )
            elif instance.centre == "b":
                reading = Reading(
                    instance=instance.id,
                    reach=Reach.ANSWERED,
                    took_s=0.01,
                    role=Role.PRIMARY,
                    writable=True,
                    downstreams=(Downstream(centre="c", sync=False, streaming=True),),
                )
            else:
                reading = Reading(
                    instance=instance.id,
                    reach=Reach.ANSWERED,
                    took_s=0.01,
                    role=Role.STANDBY,
                    upstream="b",
                    receiving=True,
                    lag_s=0.04,
                )
            readings.append(reading)
    return Snapshot(estate=topology.id, taken_at="2026-11-23T01:02:03Z", took_s=1.0, readings=tuple(readings))


def words(svg: str) -> list[str]:
    """All drawn text."""
    return ["".join(node.itertext()) for node in ET.fromstring(svg).iter(f"{SVG}text")]


def titles(svg: str) -> list[str]:
    return ["".join(node.itertext()) for node in ET.fromstring(svg).iter(f"{SVG}title")]


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("estate", [lab, chongqing])
def test_the_picture_names_every_centre_and_system(estate: object, lang: str) -> None:
    topology = lab() if estate is lab else chongqing()
    svg = topology_svg(topology, lang=lang)
    drawn, hovers = words(svg), "\n".join(titles(svg))
    for centre in topology.centres:
        assert centre.name.of(lang) in drawn
    for system in topology.systems:
        assert system.name.of(lang) in hovers or system.name.of(lang) in drawn


def test_every_instance_is_drawn_once() -> None:
    topology = lab()
    found = Counter(title.partition(" · ")[0] for title in titles(topology_svg(topology, lang="en")))
    assert {i.id: 1 for i in topology.instances()} == {k: v for k, v in found.items() if "@" in k}


def test_many_systems_become_one_tile_per_centre() -> None:
    topology = chongqing()
    tiles = [t for t in titles(topology_svg(topology, lang="zh")) if "@" in t]
    assert len(topology.systems) > ROWS_MAX and len(tiles) == 3 * len(topology.systems)
    assert "同步 35" in words(topology_svg(topology, lang="zh"))


def test_some_systems_alone() -> None:
    svg = topology_svg(chongqing(), lang="en", systems={"sharing", "legal-person"})
    assert "Natural persons base database" not in svg and "sharing/db@a" in svg


def test_an_empty_choice_is_a_picture_without_systems() -> None:
    svg = topology_svg(lab(), lang="en", systems=())
    ET.fromstring(svg)
    assert "0 systems" in svg


def test_the_picture_is_self_contained_and_described() -> None:
    svg = topology_svg(lab(), lang="en")
    root = ET.fromstring(svg)
    assert root.get("role") == "img" and root.get("aria-label")
    first = [child.tag for child in root][:2]
    assert first == [f"{SVG}title", f"{SVG}desc"]
    assert "db (a: primary, b: sync standby, c: async standby)" in svg
    for banned in ("<script", "<style", "href", "url(", "@import", "<image", "<foreignObject"):
        assert banned not in svg
    assert not re.search(r"\bid=", svg), "no ids: two pictures must not disturb each other in one page"
    assert svg.count("http") == svg.count("http://www.w3.org/2000/svg") + svg.count("http-app")


def test_names_cannot_break_out() -> None:
    evil = "</text><script>alert(1)</script>\" onload='x' & #quot;]"
    topology = load(
        changed("name: {en: First, zh: 第一}", f"name: {{en: '{evil.replace(chr(39), chr(39) * 2)}', zh: 第一}}")
    )
    svg = topology_svg(topology, lang="en")
    root = ET.fromstring(svg)
    assert not list(root.iter(f"{SVG}script"))
    chart = topology_mermaid(topology, lang="en")
    assert "<script" not in chart and all(line.count('"') % 2 == 0 for line in chart.splitlines())


def test_instances_systems_and_centres_can_be_highlighted() -> None:
    for topology in (lab(), chongqing()):
        plain = topology_svg(topology, lang="en").count(ACCENT)
        marked = topology_svg(topology, lang="en", highlight={"legal-person/db@b", "sharing", "c"}).count(ACCENT)
        assert plain == 0 and marked >= 3


def test_a_system_without_data_and_one_that_stands_in_one_centre() -> None:
    alone = """\
  alone:
    name: {en: Alone, zh: 孤}
    services:
      app: {kind: http-app, roles: {b: primary}}
"""
    many = "".join(f"  s{n}:\n    name: {{en: S{n}, zh: S{n}}}\n    template: standard\n" for n in range(20))
    for more in ("", many):
        topology = load(changed("groups:\n", alone + more + "groups:\n"))
        svg = topology_svg(topology, lang="en")
        hovers = [title for title in titles(svg) if "alone/app@" in title]
        assert len(hovers) == 1 and "serves users" in hovers[0]
        assert "Alone" in topology_mermaid(topology, lang="en") or more


def test_a_vip_stands_in_its_centres() -> None:
    text = changed("roles: {edge: primary}", "roles: {home: primary, peer: standby}")
    svg = topology_svg(load(text), lang="en")
    assert "first/entry@a" in svg and "first/entry@b" in svg
    assert "subgraph order" not in topology_mermaid(load(text), lang="en", systems={"first"})


def test_drawing_is_deterministic() -> None:
    assert topology_svg(chongqing(), lang="en") == topology_svg(chongqing(), lang="en")


def test_a_snapshot_shows_what_was_seen() -> None:
    topology = lab()
    snapshot = after_failover(topology)
    looks = {i.id: face(v, i, snapshot) for v in topology.services() for i in v.instances}
    assert looks["legal-person/db@a"].look is Look.UNREACHABLE and looks["legal-person/db@a"].caption.en == "silent"
    assert looks["legal-person/db@b"].look is Look.PRIMARY
    assert looks["legal-person/db@b"].caption.en == "now primary"
    assert looks["open-data/db@b"].caption.en == "primary"
    assert looks["legal-person/app@b"].look is Look.SERVING and looks["legal-person/app@c"].look is Look.IDLE
    svg = topology_svg(topology, lang="en", snapshot=snapshot, highlight={"a"})
    assert "seen at 2026-11-23T01:02:03Z" in svg and "async 40 ms" in words(svg) and "no stream" in words(svg)
    assert PAINTS[Look.UNREACHABLE].fill in svg and "silent" in words(svg)


def test_arrows_follow_what_was_seen() -> None:
    topology = lab()
    snapshot = after_failover(topology)
    found = [
        (a.flow, a.source, a.target)
        for v in topology.system_by_id["legal-person"].services
        for a in arrows(topology, v, snapshot)
    ]
    assert found == [
        (Flow.ASYNC, "legal-person/db@b", "legal-person/db@c"),
        (Flow.BROKEN, "legal-person/db@b", "legal-person/db@a"),
        (Flow.CALL, "legal-person/app@b", "legal-person/db@b"),
        (Flow.ROUTE, "legal-person/entry@edge", "legal-person/app@b"),
    ]


def test_a_standby_that_found_another_source_is_not_shown_as_interrupted() -> None:
    topology = lab()
    copies = list(arrows(topology, topology.service_by_id["open-data/db"], after_failover(topology)))
    assert [(a.flow, a.source, a.target) for a in copies] == [
        (Flow.ASYNC, "open-data/db@b", "open-data/db@c"),
        (Flow.BROKEN, "open-data/db@b", "open-data/db@a"),
    ]


def test_what_was_not_looked_at_is_unknown_and_not_down() -> None:
    topology = lab()
    nothing = Snapshot(estate="lab", taken_at="2026-11-23T00:00:00Z", took_s=0.0, readings=())
    looks = {face(v, i, nothing).look for v in topology.services() for i in v.instances}
    assert looks == {Look.UNKNOWN}
    ET.fromstring(topology_svg(topology, lang="zh", snapshot=nothing))


def test_two_primaries_are_both_shown() -> None:
    topology = lab()
    service = topology.service_by_id["sharing/db"]
    both = tuple(
        Reading(instance=f"sharing/db@{c}", reach=Reach.ANSWERED, took_s=0.1, role=Role.PRIMARY, writable=True)
        for c in "ab"
    )
    snapshot = Snapshot(estate="lab", taken_at="2026-11-23T00:00:00Z", took_s=0.0, readings=both)
    assert [face(service, i, snapshot).look for i in service.instances][:2] == [Look.PRIMARY, Look.PRIMARY]


def test_a_detached_standby_and_a_read_only_primary() -> None:
    topology = lab()
    service = topology.service_by_id["sharing/db"]
    readings = (
        Reading(instance="sharing/db@a", reach=Reach.ANSWERED, took_s=0.1, role=Role.PRIMARY, writable=False),
        Reading(
            instance="sharing/db@b", reach=Reach.ANSWERED, took_s=0.1, role=Role.STANDBY, receiving=False, upstream=""
        ),
        Reading(instance="sharing/db@c", reach=Reach.DENIED, took_s=0.1),
    )
    snapshot = Snapshot(estate="lab", taken_at="2026-11-23T00:00:00Z", took_s=0.0, readings=readings)
    captions = [face(service, i, snapshot).caption.en for i in service.instances]
    assert captions == ["primary, read-only", "now detached", "denied access"]


def test_colours_can_be_read() -> None:
    """Contrast of text on its box, by WCAG 2.2 (1.4.3): 4.5 to 1."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        red, green, blue = (p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    for look, paint in PAINTS.items():
        light, dark = sorted((luminance(paint.fill), luminance(paint.ink)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, look


def test_text_stays_in_its_box() -> None:
    assert fitted("short", 12, 200) == "short"
    cut = fitted("A very long name of a system that nobody can read in full", 12, 100)
    assert cut.endswith("…") and text_width(cut, 12) <= 100
    assert text_width("数据", 10) == 20


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 s"), (0.04, "40 ms"), (30, "30 s"), (90, "90 s"), (300, "5 min"), (3600, "1 h"), (86400, "1 d")],
)
def test_seconds_for_people(value: float, text: str) -> None:
    assert span(value) == text


def test_mermaid_shows_each_instance_and_each_copy() -> None:
    chart = topology_mermaid(lab(), lang="en")
    assert chart.startswith("flowchart LR\n")
    assert chart.count('(["') == 3 and chart.count('[("') == 9
    assert chart.count("==>") == 3 and chart.count("-.->") == 3
    assert chart.count("subgraph ") == chart.count("\n  end") + chart.count("\n    end")


def test_mermaid_of_many_systems_counts_them() -> None:
    chart = topology_mermaid(chongqing(), lang="zh")
    assert "部门数据资源池 (70)<br/>主: 35<br/>同步备: 35" in chart and '==>|"同步 35"|' in chart
    assert "o_departments --> o_base" in chart
    assert len(chart.splitlines()) < 150


def test_an_estate_without_groups_is_tiled_by_tier() -> None:
    many = "".join(f"  s{n}:\n    name: {{en: S{n}, zh: S{n}}}\n    template: standard\n" for n in range(20))
    text = SMALL[: SMALL.index("groups:\n")].replace("depends_on: [first, pools]", "depends_on: [first]") + many
    svg = topology_svg(load(text), lang="en")
    assert "Tier 2" in words(svg) and "22 systems · tier 2" in words(svg)
