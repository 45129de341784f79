"""Reports of realistic runs: what stands in them, that nothing escapes them, that they stay small."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import msgspec
import pytest

from orchestrator.evidence.journal import read_journal
from orchestrator.model.plan import Phase
from orchestrator.model.run import Measurements
from orchestrator.reports.dossier import read_dossier
from orchestrator.reports.html import report_html
from orchestrator.reports.judgement import Light, judge
from orchestrator.reports.markup import Markup, el, join
from orchestrator.reports.sections import CHINESE, ENGLISH
from orchestrator.reports.timeline import Timeline
from orchestrator.reports.words import NAMES, Outcome, Words
from tests.unit.html_page import HOSTILE, SIZE_MAX, Page, change
from tests.unit.sample_run import write_run
from tests.unit.sample_script import centre_lost

# ---------------------------------------------------------------- what stands in it


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("which", ["lost", "city", "failed"])
def test_a_report_is_one_small_page_that_fetches_nothing(which: str, lang: str, request: pytest.FixtureRequest) -> None:
    html = report_html(request.getfixturevalue(which), lang)
    page = Page(html)
    assert len(html.encode()) <= SIZE_MAX
    assert not {"script", "link", "img", "iframe", "object", "base", "form", "foreignobject"} & set(page.tags)
    assert not [n for n, _ in page.attributes if n.startswith("on")]
    links = [v for n, v in page.attributes if n in {"href", "src", "xlink:href", "action"}]
    assert links and all(v.startswith("#") for v in links)
    assert "url(" not in html and "@import" not in html
    policies = [v for n, v in page.attributes if n == "content" and v.startswith("default-src")]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'"]
    urls = set(re.findall(r"https?://[^\"'\s<]+", html))
    assert urls <= {"http://www.w3.org/2000/svg"}


@pytest.mark.parametrize("which", ["lost", "city", "failed"])
@pytest.mark.parametrize("lang", ["en", "zh"])
def test_it_never_claims_compliance(which: str, lang: str, request: pytest.FixtureRequest) -> None:
    html = report_html(request.getfixturevalue(which), lang)
    assert "compliant" not in html.lower() and "合规" not in html


def test_the_same_evidence_gives_the_same_bytes(lost: Path, tmp_path: Path) -> None:
    twin = Path(shutil.copytree(lost, tmp_path / "elsewhere" / "x"))
    assert report_html(lost, "zh") == report_html(twin, "zh")


def test_headline_figures_are_the_measured_ones(lost: Path) -> None:
    measured = msgspec.json.decode((lost / "measurements.json").read_bytes(), type=Measurements)
    words = Page(report_html(lost, "en")).words
    worst = max(o.outage_ms for o in measured.outages)
    assert f"Longest outage seen by users {worst / 1000:.2f} s" in words
    acked = sum(o.writes_acked for o in measured.outages)
    assert f"Acknowledged writes lost 0 of {acked:,} acknowledged" in words
    assert "Objectives met 6 of 6 objectives met" in words
    for system in measured.systems:
        assert f"{system.rto_from_fault_s:.2f} s" in words and f"{system.rto_from_declaration_s:.2f} s" in words


def test_a_missed_objective_is_said_first(lost: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(lost, tmp_path / "run"))
    measured = json.loads((folder / "measurements.json").read_text())
    measured["systems"][1] |= {"rto_target_s": 0.5, "rto_met": False}
    (folder / "measurements.json").write_text(json.dumps(measured))
    english, chinese = Page(report_html(folder, "en")).words, Page(report_html(folder, "zh")).words
    assert "Objectives missed 5 of 6 objectives met" in english and "Data sharing system: RTO missed" in english
    assert "目标未达成 6 项目标中 5 项达成" in chinese and "共享系统：RTO 未达成" in chinese
    assert judge(read_dossier(folder)).light is Light.BAD


def test_lost_writes_are_named(city: Path) -> None:
    measured = msgspec.json.decode((city / "measurements.json").read_bytes(), type=Measurements)
    lost = [i for o in measured.outages for i in o.writes_lost]
    assert lost
    words = Page(report_html(city, "en")).words
    assert f"{len(lost)} are not in the surviving databases" in words
    for name in lost:
        head, _, tail = name.rpartition(".")
        assert f"{head}…" in words and f".{tail}" in words


def test_a_run_that_was_undone_says_so(failed: Path) -> None:
    words = Page(report_html(failed, "en")).words
    assert "failed and undone" in words and "Objectives met" not in words.split("Executive summary")[0]
    assert "not proven within 5 s" in words
    assert "失败，已全部回退" in Page(report_html(failed, "zh")).words


def test_deviations_are_listed_with_their_causes(city: Path) -> None:
    words = Page(report_html(city, "en")).words
    section = words.split("10 Deviations")[1].split("11 Findings")[0]
    assert "db@a comes back: failed" in section and "pg_rewind: the source has no log" in section
    assert "Protection is not restored" in section


def test_a_gate_that_could_not_be_told_is_a_deviation(lost: Path, tmp_path: Path) -> None:
    from orchestrator.model.plan import Condition, Fact

    dossier = read_dossier(lost)
    step = next(t for t in dossier.timeline.steps if t.gates)
    assert step not in dossier.timeline.deviating
    records = tuple(
        msgspec.structs.replace(
            r, data=tuple(msgspec.structs.replace(s, value="unknown") if s.name == "verdict" else s for s in r.data)
        )
        if r.step == step.step.id
        else r
        for r in dossier.records
    )
    deviating = Timeline(dossier.plan, records).deviating
    assert step.step.id in {t.step.id for t in deviating}
    assert isinstance(step.step.gates[0], Condition) and step.step.gates[0].fact is Fact.CANNOT_ACK


def test_sections_follow_the_order_of_each_language(lost: Path) -> None:
    for lang, order in (("en", ENGLISH), ("zh", CHINESE)):
        html = report_html(lost, lang)
        places = [html.index(f'<section id="{s.anchor}">') for s in order]
        assert places == sorted(places)
    anchors = [s.anchor for s in CHINESE]
    assert (
        anchors.index("approval") < anchors.index("objectives") < anchors.index("results") < anchors.index("evidence")
    )


def test_parts_for_people_are_marked(lost: Path) -> None:
    assert report_html(lost, "zh").count("由人员填写：") >= 8
    assert report_html(lost, "en").count("To be filled in by people: ") >= 7


def test_evidence_is_listed_with_hashes(lost: Path) -> None:
    import hashlib

    html = report_html(lost, "en")
    for name in ("plan.json", "journal.jsonl", "canary/legal-person.jsonl"):
        assert hashlib.sha256((lost / name).read_bytes()).hexdigest() in html
    assert read_journal(lost / "journal.jsonl")[-1].hash in html
    assert "owner.json" not in html


def test_both_pictures_of_the_topology_are_there(lost: Path) -> None:
    html = report_html(lost, "zh")
    assert html.count('class="map"') == 2 and html.count("<svg") >= 6


def test_every_word_has_both_languages() -> None:
    assert all(text.en and text.zh and text.en != text.zh for text in NAMES.values())
    assert Words("zh").name(Outcome.UNDONE) == "已回退"
    assert all(Words("en").name(phase) for phase in Phase)


# ---------------------------------------------------------------- hostile and broken input


def hostile_run(home: Path) -> Path:
    """Every name that a person chose tries to break out."""
    script = centre_lost()
    script.approvers = (HOSTILE,)
    script.fault = HOSTILE
    folder = write_run(home, script)
    topology = json.loads((folder / "topology.json").read_text())
    bad = {"en": HOSTILE, "zh": HOSTILE}
    topology["name"] = bad
    for site in topology["sites"] + topology["centres"] + topology["links"]:
        site["name"] = bad
    for system in topology["systems"]:
        system |= {"name": bad, "owner": bad, "filing": HOSTILE}
    (folder / "topology.json").write_text(json.dumps(topology))
    plan = json.loads((folder / "plan.json").read_text())
    plan["scenario"] = HOSTILE
    for step in plan["steps"]:
        step["text"] = bad
    (folder / "plan.json").write_text(json.dumps(plan))
    after = json.loads((folder / "after.json").read_text())
    after["readings"][0] |= {"error": HOSTILE, "reach": "denied"}
    (folder / "after.json").write_text(json.dumps(after))
    change(folder, "versions.json", host=HOSTILE, system=HOSTILE)
    measured = json.loads((folder / "measurements.json").read_text())
    measured["outages"][0] |= {"writes_lost": [HOSTILE], "reads_wrong": [HOSTILE], "entry": HOSTILE}
    (folder / "measurements.json").write_text(json.dumps(measured))
    return folder


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_hostile_names_stay_text(tmp_path: Path, lang: str) -> None:
    html = report_html(hostile_run(tmp_path), lang)
    page = Page(html)
    assert not {"script", "img"} & set(page.tags)
    assert not [n for n, _ in page.attributes if n.startswith("on")]
    assert "<script>alert(1)</script>" in page.words
    assert "\u202e" not in html


def test_markup_escapes_everything_but_markup() -> None:
    assert el("p", "<b>", title='"><x') == '<p title="&quot;&gt;&lt;x">&lt;b&gt;</p>'
    assert join((el("b", "1"), "<", None, ["&", Markup("<i>")])) == "<b>1</b>&lt;&amp;<i>"
    assert "\u202e" not in el("p", "a\u202eb") and "\x00" not in el("p", "a\x00b")
