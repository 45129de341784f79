"""Reports of runs that are odd: broken files, empty journals, whole estates, other machines."""

from __future__ import annotations

import itertools
import json
import re
import shutil
from pathlib import Path

import msgspec
import pytest

from orchestrator.errors import BadFile, Refused, Tampered
from orchestrator.evidence.verifier import verify_bundle
from orchestrator.model.plan import Approval, Mode, Phase, Plan
from orchestrator.model.topology import Text
from orchestrator.reports.charts import phase_seconds, segments
from orchestrator.reports.dossier import read_dossier
from orchestrator.reports.html import render, report_html
from orchestrator.reports.judgement import Light, judge
from orchestrator.reports.publish import evidence_of, publish, report_file, write_report
from orchestrator.reports.results import results_of
from orchestrator.reports.timeline import Timeline
from orchestrator.reports.words import Outcome
from tests.unit.html_page import SIZE_MAX, Page
from tests.unit.sample_run import make_plan, write_run
from tests.unit.sample_script import centre_lost, city_lost, undone
from tests.unit.sample_steps import Script


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


def test_one_statement_over_a_database_and_its_bucket_stands_beside_the_copies(lost: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(lost, tmp_path / "run"))
    proofs = json.loads((folder / "proofs.json").read_text())
    told = {"bucket": "sharing/files@b", "database": "sharing/db@b", "column": "public.files.key", "stored": 4999}
    whole = told | {"named": 4999}
    lacking = told | {"named": 5001, "missing": ["../up", "文/件"], "missing_count": 2}
    proofs[0]["names"] = [whole, lacking]
    (folder / "proofs.json").write_text(json.dumps(proofs))
    words = Page(report_html(folder, "en")).words
    assert "5,001 named, 4,999 stored, 2 missing, 0 that no row names ../up, 文/件" in words
    assert "sharing/db@b public.files.key → sharing/files@b pass 4,999 named" in words
