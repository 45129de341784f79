"""The dead-site lint: what it must find, and that silence of the file is never a pass."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from msgspec.structs import replace

from orchestrator.cli.main import run
from orchestrator.deadsite import lint
from orchestrator.errors import BadFile
from orchestrator.model.observation import Finding, Verdict
from orchestrator.model.plan import Mode, Plan, Verb
from orchestrator.model.request import Request, Timings
from orchestrator.model.topology import Part, PlatformPart, Quorum, Topology
from orchestrator.planner import plan
from tests.unit.build import AT, lab, runbook
from tests.unit.estates import SMALL, changed, load

EVERYWHERE = tuple(PlatformPart(part=part, centres=("a", "b", "c")) for part in Part)


def planned(topology: Topology, *lost: str, attested: tuple[str, ...] = ()) -> Plan:
    words = Request(
        mode=Mode.TABLETOP, lost=lost, accept_loss=True, attested=attested, created_at=AT, topology_sha256="0" * 64
    )
    return plan(topology, None, runbook("site-lost" if len(lost) > 1 else "centre-lost"), words, Timings())


def judged(topology: Topology, *dark: str, made: Plan | None = None) -> dict[str, list[Finding]]:
    found: dict[str, list[Finding]] = {}
    for finding in lint(topology, frozenset(dark), made or planned(topology, *dark)):
        found.setdefault(finding.check, []).append(finding)
    return found


def verdicts(findings: list[Finding]) -> dict[str, str]:
    return {f.subject: f.verdict.value for f in findings}


def test_nothing_depends_on_a_centre_that_everything_survives() -> None:
    found = judged(replace(lab(), platform=EVERYWHERE), "a")
    assert {f.verdict for findings in found.values() for f in findings} == {Verdict.PASS}
    assert set(found) == {"platform", "names", "steps", "entries"}


@pytest.mark.parametrize(
    ("centres", "quorum", "dark", "verdict"),
    [
        (("a",), Quorum.ANY, ("a",), "fail"),
        (("a", "b"), Quorum.ANY, ("a",), "pass"),
        (("a", "b"), Quorum.MAJORITY, ("a",), "fail"),
        (("a", "b", "c"), Quorum.MAJORITY, ("a",), "pass"),
        (("a", "b", "c"), Quorum.MAJORITY, ("a", "b"), "fail"),
        (("a", "b", "c"), Quorum.ALL, ("a",), "fail"),
        (("edge",), Quorum.ALL, ("a", "b"), "pass"),
    ],
)
def test_a_part_of_the_platform(centres: tuple[str, ...], quorum: Quorum, dark: tuple[str, ...], verdict: str) -> None:
    topology = replace(lab(), platform=(PlatformPart(part=Part.STATE, centres=centres, quorum=quorum),))
    assert verdicts(judged(topology, *dark)["platform"])["state"] == verdict


def test_what_the_topology_does_not_say_is_unknown() -> None:
    platform = judged(lab(), "a")["platform"]
    assert verdicts(platform) == dict.fromkeys(("controller", "state", "evidence", "secrets", "identity"), "unknown")


def test_names_matter_only_where_a_survivor_is_called_by_one() -> None:
    named = load(SMALL)
    assert [f.verdict.value for f in judged(named, "a")["names"]] == ["unknown"]
    in_a = replace(named, platform=(PlatformPart(part=Part.NAMES, centres=("a",)),))
    assert [f.verdict.value for f in judged(in_a, "a")["names"]] == ["fail"]
    assert [f.verdict.value for f in judged(in_a, "b")["names"]] == ["pass"]


def test_a_fence_in_the_dark_is_found_where_users_wait_for_it() -> None:
    """With the power of a city gone its hosts do not answer: nobody can see that a fence holds."""
    found = judged(lab(), "a", "b")["steps"]
    told = {f.subject: f.reason.en for f in found}
    assert "fence acts at legal-person/db@a" in told["legal-person/db@a:fence"]
    assert "fenced of legal-person/db@b needs an answer" in told["legal-person/db@c:promote-accepting-loss"]
    assert {f.verdict for f in found} == {Verdict.FAIL}


def test_peoples_word_stands_for_what_nobody_can_see() -> None:
    topology = lab()
    (found,) = judged(topology, "a", "b", made=planned(topology, "a", "b", attested=("a", "b")))["steps"]
    assert found.verdict is Verdict.PASS
    assert "on two people's word that a, b is off" in found.reason.en
    half = judged(topology, "a", "b", made=planned(topology, "a", "b", attested=("a",)))["steps"]
    assert {f.verdict for f in half} == {Verdict.FAIL}


def test_a_step_towards_the_dark_is_found() -> None:
    topology = lab()
    made = planned(topology, "a")
    steps = tuple(
        replace(s, towards=("legal-person/app@a",)) if s.verb is Verb.REDIRECT and s.system == "legal-person" else s
        for s in made.steps
    )
    told = {f.subject: f.reason.en for f in judged(topology, "a", made=replace(made, steps=steps))["steps"]}
    assert told == {"legal-person/entry@edge:redirect": "redirect goes towards legal-person/app@a"}


def test_an_only_way_in_that_stands_in_the_dark_is_found() -> None:
    topology = lab()
    entry = topology.service_by_id["legal-person/entry"]
    moved = replace(entry, instances=tuple(replace(i, centre="a") for i in entry.instances))
    systems = tuple(
        replace(s, services=tuple(moved if v.id == moved.id else v for v in s.services)) for s in topology.systems
    )
    made = planned(topology, "a")
    assert verdicts(judged(replace(topology, systems=systems), "a", made=made)["entries"]) == {
        "legal-person/entry": "fail"
    }


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("platform: {stat: {at: [a]}}", "stat"),
        ("platform: {state: {at: [x]}}", "unknown centre `x`"),
        ("platform: {state: {at: []}}", "at"),
        ("platform: {state: {at: [a], needs: most}}", "most"),
    ],
)
def test_a_wrong_platform_is_refused(wrong: str, told: str) -> None:
    with pytest.raises(BadFile, match=told):
        load(changed("layouts:", f"{wrong}\nlayouts:"))


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def drctl(*words: str) -> int:
        return run(["--home", str(tmp_path), "--lang", "en", "lint", *words])

    assert drctl("--dark", "centre-a") == 0
    assert "8 pass, 0 fail, 0 unknown" in capsys.readouterr().out
    assert drctl("--dark", "a", "--dark", "b") == 0
    assert "on two people's word" in " ".join(capsys.readouterr().out.split())
    assert drctl("--dark", "a", "--dark", "b", "--no-attest", "--output", "json") == 3
    found = json.loads(capsys.readouterr().out)
    assert {f["verdict"] for f in found if f["check"] == "steps"} == {"fail"}
    assert drctl("--dark", "centre-x") == 2
    assert "there are: a, b, c" in capsys.readouterr().err
    assert drctl() == 2
