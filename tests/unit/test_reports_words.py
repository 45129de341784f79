"""Figures and times as readers of each language write them."""

from __future__ import annotations

import pytest

from orchestrator.reports.words import Words

EN, ZH = Words("en"), Words("zh_CN")


@pytest.mark.parametrize(
    ("value", "en", "zh"),
    [
        (None, "not measured", "未测得"),
        (0.0, "0 s", "0 秒"),
        (0.6127, "0.61 s", "0.61 秒"),
        (9.996, "10.0 s", "10.0 秒"),
        (59.94, "59.9 s", "59.9 秒"),
        (59.97, "1 min", "1 分"),
        (118.4, "1 min 58 s", "1 分 58 秒"),
        (3 * 3600 + 61, "3 h 1 min", "3 小时 1 分"),
        (90_000, "1 d 1 h", "1 天 1 小时"),
        (-0.5, "−0.50 s", "−0.50 秒"),
    ],
)
def test_measured_durations(value: float | None, en: str, zh: str) -> None:
    assert (EN.seconds(value), ZH.seconds(value)) == (en, zh)


@pytest.mark.parametrize(
    ("value", "en"),
    [(0, "0 s"), (60, "60 s"), (90, "90 s"), (300, "5 min"), (14_400, "4 h"), (86_400, "1 d"), (3700, "1 h 1 min")],
)
def test_targets_as_they_were_set(value: float, en: str) -> None:
    assert EN.target(value) == en


def test_chinese_readers_get_beijing_time() -> None:
    text = "2026-11-23T18:30:15.204113Z"
    assert EN.moment(text, fraction=True) == "2026-11-23 18:30:15.204 UTC"
    assert ZH.moment(text) == "2026-11-24 02:30:15 北京时间"
    assert EN.moment("") == "–" and EN.moment("soon") == "soon"


def test_verdicts_and_sizes() -> None:
    assert [EN.met(v) for v in (True, False, None)] == ["met", "missed", "not measured"]
    assert [ZH.met(v) for v in (True, False, None)] == ["达成", "未达成", "未测得"]
    assert [EN.size(n) for n in (0, 999, 1_500, 2_500_000)] == ["0 B", "999 B", "1.5 KB", "2.5 MB"]


def test_a_new_fact_of_the_journal_is_shown_as_it_is() -> None:
    assert ZH.fact("cannot_ack") == "无法再确认写入" and ZH.fact("brand_new") == "brand new"
