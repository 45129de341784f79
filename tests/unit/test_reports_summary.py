"""The summary fits one screen, whatever the run and however long its names."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from orchestrator.model.run import Measurements
from orchestrator.reports.publish import publish
from orchestrator.reports.summary import COLUMNS, LINES, render, width
from tests.unit.sample_run import write_run
from tests.unit.sample_script import centre_lost, city_lost, undone

SCRIPTS = {"lost": centre_lost, "city": city_lost, "failed": undone}


@pytest.mark.parametrize("name", SCRIPTS)
@pytest.mark.parametrize("lang", ["en", "zh"])
def test_it_fits_80_by_24(tmp_path: Path, name: str, lang: str) -> None:
    folder = write_run(tmp_path, SCRIPTS[name]())
    publish(folder, key_file=tmp_path / "k.pem")
    lines = render(folder, lang).split("\n")
    assert len(lines) <= LINES < 24
    assert [line for line in lines if width(line) > COLUMNS] == []
    assert any("bundle" in line for line in lines) and any(f"report.{lang}.html" in line for line in lines)


def test_it_says_what_matters(tmp_path: Path) -> None:
    folder = write_run(tmp_path, city_lost())
    measured = msgspec.json.decode((folder / "measurements.json").read_bytes(), type=Measurements)
    lost = sum(len(o.writes_lost) for o in measured.outages)
    text = render(folder, "en")
    assert f"{lost} of them lost" in text and "objectives met (6/6)" in text and "protection not restored" in text
    assert "0 of 3 services have all copies" in text and "db@a comes back: failed" in text
    assert "failed and undone" in render(write_run(tmp_path / "u", undone()), "en").split("\n")[3]


def test_a_long_name_in_both_widths_still_fits(tmp_path: Path) -> None:
    folder = write_run(tmp_path, centre_lost())
    topology = json.loads((folder / "topology.json").read_text())
    for system in topology["systems"]:
        system["name"] = {"en": "A very long name of a system " * 5 + "\x1b[2J\r\n", "zh": "非常长的业务系统名称" * 9}
    (folder / "topology.json").write_text(json.dumps(topology))
    for lang in ("en", "zh"):
        lines = render(folder, lang).split("\n")
        assert all(width(line) <= COLUMNS for line in lines) and len(lines) <= LINES
        assert not [line for line in lines if "\x1b[2J" in line or "\r" in line]


def test_many_systems_are_counted(tmp_path: Path) -> None:
    folder = write_run(tmp_path, centre_lost())
    measured = json.loads((folder / "measurements.json").read_text())
    measured["systems"] = [measured["systems"][0] | {"system": f"system-{n}", "rto_met": n != 77} for n in range(130)]
    (folder / "measurements.json").write_text(json.dumps(measured))
    lines = render(folder, "en").split("\n")
    assert len(lines) <= LINES and any("and 124 more in the report" in line for line in lines)
    assert any("system-77" in line and "missed" in line for line in lines)


def test_no_color_is_heeded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_run(tmp_path, centre_lost())
    assert "\x1b[" in render(folder, "en")
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in render(folder, "en")


def test_a_run_without_a_canary_has_a_summary(tmp_path: Path) -> None:
    folder = write_run(tmp_path, centre_lost())
    for name in ("measurements.json", "after.json"):
        (folder / name).unlink()
    assert "Nothing was measured" in render(folder, "en")
