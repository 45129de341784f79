"""Reports of realistic runs: what stands in them, that nothing escapes them, that they stay small."""

from __future__ import annotations

import itertools
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest

from orchestrator.errors import BadFile, Refused, Tampered
from orchestrator.evidence.journal import read_journal
from orchestrator.evidence.verifier import verify_bundle
from orchestrator.model.plan import Approval, Mode, Phase, Plan
from orchestrator.model.run import Measurements
from orchestrator.model.topology import Text
from orchestrator.reports.charts import phase_seconds, segments
from orchestrator.reports.dossier import read_dossier
from orchestrator.reports.html import render, report_html
from orchestrator.reports.judgement import Light, judge
from orchestrator.reports.markup import Markup, el, join
from orchestrator.reports.publish import evidence_of, publish, report_file, write_report
from orchestrator.reports.results import results_of
from orchestrator.reports.sections import CHINESE, ENGLISH
from orchestrator.reports.timeline import Timeline
from orchestrator.reports.words import NAMES, Outcome, Words
from tests.unit.sample_run import Script, centre_lost, city_lost, make_plan, undone, write_run

SIZE_MAX = 1_000_000
VOID = frozenset({"meta", "br", "hr", "col", "link"})
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>&\u202e]]>"


@pytest.fixture(scope="module")
def lost(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("lost"), centre_lost())


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("city"), city_lost())


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("failed"), undone())


class Page(HTMLParser):
    """Tags, attributes and text of a page; fails where a tag is not closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


def change(folder: Path, name: str, **values: object) -> None:
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


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


@pytest.mark.parametrize("name", ["plan.json", "topology.json", "measurements.json", "after.json", "approvals.json"])
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe"])
def test_a_file_that_cannot_be_read_is_named(lost: Path, tmp_path: Path, name: str, content: bytes) -> None:
    if (name, content) == ("approvals.json", b"[]"):
        return
    folder = Path(shutil.copytree(lost, tmp_path / "run"))
    (folder / name).write_bytes(content)
    with pytest.raises(BadFile, match=name):
        report_html(folder, "en")


def test_a_broken_ledger_is_named_and_a_torn_end_is_none(lost: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(lost, tmp_path / "run"))
    ledger = folder / "canary" / "sharing.jsonl"
    whole = ledger.read_bytes()
    ledger.write_bytes(whole[:-20])
    assert len(read_dossier(folder).ledgers[2].operations) == whole.count(b"\n") - 2
    ledger.write_bytes(whole.replace(b'"k":"w"', b'"k":', 1))
    with pytest.raises(BadFile, match=r"sharing\.jsonl"):
        read_dossier(folder)


def test_a_tampered_journal_gives_no_report(lost: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(lost, tmp_path / "run"))
    journal = folder / "journal.jsonl"
    journal.write_bytes(journal.read_bytes().replace(b'"it holds"', b'"it h0lds"', 1))
    with pytest.raises(Tampered):
        report_html(folder, "en")


# ---------------------------------------------------------------- runs that have little to tell


@pytest.mark.parametrize("mode", list(Mode))
def test_a_run_with_nothing_but_plan_and_journal_has_a_report(tmp_path: Path, mode: Mode) -> None:
    folder = write_run(tmp_path, centre_lost())
    for name in ("measurements.json", "after.json", "proofs.json", "versions.json", "approvals.json"):
        (folder / name).unlink()
    shutil.rmtree(folder / "canary")
    plan = msgspec.json.decode((folder / "plan.json").read_bytes(), type=Plan)
    (folder / "plan.json").write_bytes(msgspec.json.encode(msgspec.structs.replace(plan, mode=mode)))
    for lang in ("en", "zh"):
        words = Page(report_html(folder, lang)).words
        assert ("not measured" if lang == "en" else "未测得") in words
    assert judge(read_dossier(folder)).light is Light.WARN


def test_an_empty_journal_has_a_report(tmp_path: Path) -> None:
    folder = write_run(tmp_path, centre_lost())
    (folder / "journal.jsonl").write_bytes(b"")
    assert "not finished" in Page(report_html(folder, "en")).words


def test_a_run_resumed_after_a_reboot_keeps_one_clock(lost: Path) -> None:
    dossier = read_dossier(lost)
    rebooted = tuple(
        msgspec.structs.replace(r, boot="another", mono_s=r.mono_s - 4900) if r.seq > 90 else r for r in dossier.records
    )
    moved, kept = Timeline(dossier.plan, rebooted), dossier.timeline
    for a, b in zip(moved.steps, kept.steps, strict=True):
        assert a.begin_s == pytest.approx(b.begin_s, abs=1e-3) and a.end_s == pytest.approx(b.end_s, abs=1e-3)


def big_plan(systems: int) -> Script:
    script = centre_lost()
    steps = list(script.timed)
    for number in range(systems):
        for step, begin, end in steps:
            other = msgspec.structs.replace(
                step,
                id=f"s{number}-{step.id}",
                text=Text(en=f"{step.text.en} of system {number} " * 3, zh=f"{step.text.zh}（系统 {number}）" * 3),
                critical=False,
            )
            script.step(other, begin, end, fails="a long reason " * 20 if number % 3 == 0 else "")
    return script


def test_a_plan_of_the_whole_estate_gives_a_page_that_can_be_sent(tmp_path: Path) -> None:
    script = big_plan(130)
    assert len(make_plan(script).steps) > 4000
    folder = write_run(tmp_path, script)
    for lang in ("en", "zh"):
        assert len(report_html(folder, lang).encode()) <= SIZE_MAX


# ---------------------------------------------------------------- figures behind the pictures


def test_segments_cover_the_time_until_service_without_gap_or_overlap(lost: Path) -> None:
    timeline = read_dossier(lost).timeline
    parts = segments(timeline)
    assert parts[0].begin_s == 0.0 and parts[-1].end_s == pytest.approx(timeline.service_end_s)
    assert all(a.end_s == b.begin_s for a, b in itertools.pairwise(parts))
    totals = dict(phase_seconds(parts))
    assert sum(totals.values()) == pytest.approx(timeline.service_end_s)
    assert totals[Phase.PROMOTE] == pytest.approx(0.17, abs=0.02)


def test_the_slow_fence_is_found_and_a_quick_step_is_not(lost: Path) -> None:
    slow = [t.step.id for t in read_dossier(lost).timeline.steps if t.slow]
    assert slow == ["sharing/db@a:fence"]


def test_a_chart_draws_every_bucket_and_failure(lost: Path) -> None:
    html = report_html(lost, "en")
    chart = html.split('id="results"')[1].split("</svg>")[1]
    assert re.search(r'<path d="(M\d+ \d+h0){20,}" class="bad"/>', chart)
    assert re.search(r'<path d="(M\d+ \d+h0){100,}" class="ok"/>', chart)
    assert 'class="out"' in chart


# ---------------------------------------------------------------- sealing with reports


def test_publishing_seals_the_reports_and_lays_them_out(tmp_path: Path) -> None:
    folder = write_run(tmp_path, city_lost())
    bundle = publish(folder, key_file=tmp_path / "keys" / "k.pem")
    assert verify_bundle(bundle).holds
    for lang in ("en", "zh"):
        assert report_file(folder, lang).read_bytes() == (bundle / f"report.{lang}.html").read_bytes()
        assert report_file(folder, lang).read_text() == report_html(bundle, lang)
    assert evidence_of(folder) == bundle
    with pytest.raises(Refused):
        publish(folder, key_file=tmp_path / "keys" / "k.pem")


def test_the_versions_in_a_sealed_report_are_those_of_the_bundle(tmp_path: Path) -> None:
    folder = write_run(tmp_path, undone())
    (folder / "versions.json").unlink()
    bundle = publish(folder, key_file=tmp_path / "k.pem")
    assert (bundle / "versions.json").exists() and "drctl 0." in report_file(folder, "en").read_text()


def test_a_report_can_go_anywhere(lost: Path, tmp_path: Path) -> None:
    target = tmp_path / "drill.html"
    assert write_report(lost, "zh", target) == target
    assert 'lang="zh-CN"' in target.read_text()


def test_results_for_programs_agree_with_the_page(city: Path) -> None:
    found = results_of(city)
    assert (found.objectives_met, found.objectives, found.state.value) == (6, 6, "degraded")
    assert found.verdict is Light.WARN and any("pg_rewind" in d.en for d in found.deviations)
    assert {s.outcome for s in found.steps} == {Outcome.DONE, Outcome.FAILED}
    assert [c.present for c in found.copies] == [1, 1, 1]


def test_an_approval_of_another_plan_is_said(lost: Path) -> None:
    dossier = read_dossier(lost)
    from dataclasses import replace

    other = Approval(plan_sha256="0" * 64, name="Wang Fang", at="2026-01-01T00:00:00Z")
    assert "another plan" in Page(render(replace(dossier, approvals=(other,)), "en")).words


def test_a_canary_that_stood_still_is_shown_and_said(lost: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(lost, tmp_path / "run"))
    ledger = folder / "canary" / "sharing.jsonl"
    header, *lines = ledger.read_bytes().splitlines(keepends=True)
    kept = [line for line in lines if not 5000.1 < json.loads(line)["s"] < 5003.1]
    ledger.write_bytes(b"".join([header, *kept]))
    measured = json.loads((folder / "measurements.json").read_text())
    measured["outages"][1] |= {"outage_begin_s": 0.0, "outage_ms": 3100.0}
    (folder / "measurements.json").write_text(json.dumps(measured))
    html = report_html(folder, "en")
    assert 'class="hush"' in html and "canary not at work" in html
    assert "The canary at sharing/entry@edge was not at work for 3.0" in Page(html).words
    assert 'class="hush"' not in report_html(lost, "en")


def test_differences_between_copies_are_named(lost: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(lost, tmp_path / "run"))
    proofs = json.loads((folder / "proofs.json").read_text())
    table = proofs[0]["replicas"][0]["content"]["tables"][1]
    table |= {"sameness": "different", "differing": 1, "differences": [{"kind": "missing", "key": "4711"}]}
    (folder / "proofs.json").write_text(json.dumps(proofs))
    words = Page(report_html(folder, "en")).words
    assert "1 rows differ: missing 4711" in words and "different" in words
