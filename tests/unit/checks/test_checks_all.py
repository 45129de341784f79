"""The list of checks as a whole: a healthy world passes, unknown is never a pass, filters choose, docs agree."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from orchestrator.checks import CHECKS, judge_all, passes
from orchestrator.checks.base import size_words, span_words
from orchestrator.model.observation import Reach, Reading, Verdict
from tests.unit.checks.world import APP_A, ENTRY, HEALTHY, TOPOLOGY, A, B, C, gone

PASS, FAIL, UNKNOWN = Verdict.PASS, Verdict.FAIL, Verdict.UNKNOWN
ROOT = Path(__file__).parents[3]


def test_a_healthy_world_passes_every_check() -> None:
    found = judge_all(TOPOLOGY, HEALTHY)
    assert [f for f in found if f.verdict is not PASS] == []
    assert {f.check for f in found} == {c.id for c in CHECKS}
    assert passes(found)


def test_every_finding_speaks_both_languages_and_failures_say_what_to_do() -> None:
    worlds = [HEALTHY, *(gone(HEALTHY, i, r) for i in (A, B, C, APP_A, ENTRY) for r in Reach)]
    for world in worlds:
        for finding in judge_all(TOPOLOGY, world):
            assert finding.reason.en and finding.reason.zh
            assert finding.reason.en != finding.reason.zh
            assert bool(finding.advice.en) == bool(finding.advice.zh)
            if finding.verdict is FAIL:
                assert finding.advice.en, finding


def test_nothing_judged_is_no_pass() -> None:
    assert not passes(())
    assert judge_all(TOPOLOGY, HEALTHY, checks=[]) == ()
    assert not passes(judge_all(TOPOLOGY, HEALTHY, systems=["line"], kinds=["db-kind"]))


def test_an_instance_that_was_not_looked_at_is_unknown_everywhere() -> None:
    found = judge_all(TOPOLOGY, replace(HEALTHY, readings=()))
    assert found
    assert {f.verdict for f in found} == {UNKNOWN}


@pytest.mark.parametrize("reach", [Reach.SILENT, Reach.UNKNOWN, Reach.DENIED])
@pytest.mark.parametrize("instance", [A, B, C])
def test_an_unread_instance_passes_nothing_that_is_about_itself(instance: str, reach: Reach) -> None:
    own = [f for f in judge_all(TOPOLOGY, gone(HEALTHY, instance, reach)) if f.subject == instance]
    allowed = {"sync"}  # judged by what the source says
    assert {f.check for f in own if f.verdict is PASS} <= allowed


def test_filters() -> None:
    def subjects(**chosen: list[str]) -> set[str]:
        return {f.subject for f in judge_all(TOPOLOGY, HEALTHY, **chosen)}

    assert subjects(systems=["line"]) == {"line/link@edge"}
    assert subjects(kinds=["entry-kind"]) == {ENTRY, "line/link@edge"}
    assert subjects(centres=["edge"], systems=["people"]) == {ENTRY}
    assert subjects(centres=["c"], kinds=["db-kind"]) == {C, "people/db"}
    assert subjects(checks=["one_primary"]) == {"people/db"}
    assert subjects(checks=["app"], centres=["a"]) == {APP_A}


def test_kinds_without_the_notion_are_skipped() -> None:
    assert {f.check for f in judge_all(TOPOLOGY, HEALTHY, systems=["line"])} == {"reachable"}


BLANK = {
    name: getattr(Reading(instance="x", reach=Reach.ANSWERED, took_s=0.0), name)
    for name in Reading.__struct_fields__
    if name not in {"instance", "reach", "took_s"}
}


@settings(max_examples=100, deadline=None)
@given(
    st.integers(0, len(HEALTHY.readings) - 1),
    st.sets(st.sampled_from(sorted(BLANK))),
)
def test_a_field_that_could_not_be_read_fails_nothing(index: int, fields: set[str]) -> None:
    """Unknown is not down: a healthy world with holes in it has unknowns and no failure."""
    hidden = {f: None for f in fields if BLANK[f] is None}
    readings = list(HEALTHY.readings)
    readings[index] = replace(readings[index], **hidden)
    for finding in judge_all(TOPOLOGY, replace(HEALTHY, readings=tuple(readings))):
        assert finding.verdict is not FAIL, finding


def test_words() -> None:
    assert size_words(512) == "512 B"
    assert size_words(3 << 29) == "1.5 GiB"
    assert size_words(1 << 50) == "1024.0 TiB"
    assert span_words(0.0123) == "12 ms"
    assert span_words(12.34) == "12.3 s"


def test_the_guide_names_every_check() -> None:
    guide = (ROOT / "docs" / "checks.md").read_text()
    assert [c.id for c in CHECKS if f"`{c.id}`" not in guide] == []
