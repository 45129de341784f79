"""The commands: what they print, and that their exit codes tell the state of the evidence."""

from __future__ import annotations

import json
import shutil
import stat
from pathlib import Path

import pytest

from orchestrator.cli.main import run
from orchestrator.evidence.signing import create_key, public_file
from orchestrator.reports.publish import publish
from tests.unit.sample_run import write_run
from tests.unit.sample_script import centre_lost, undone


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    for script in (centre_lost(), undone()):
        publish(write_run(home, script), key_file=home / "keys" / "ed25519.pem")
    return home


def drctl(home: Path, *words: str) -> int:
    return run(["--home", str(home), "--lang", "en", *words])


@pytest.mark.parametrize("word", ["last", "20261123-0400", "20261123-040000-switchover-b-q2w3"])
def test_a_run_is_found_by_what_people_type(home: Path, word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert drctl(home, "evidence", "verify", word) == 0
    said = capsys.readouterr().out
    assert "It holds" in said and "switchover" in said and "which you have not pinned" in said


def test_a_bundle_and_a_run_folder_are_accepted(home: Path) -> None:
    folder = next((home / "runs").iterdir())
    assert drctl(home, "evidence", "verify", str(folder)) == 0
    assert drctl(home, "evidence", "verify", str(folder / "bundle")) == 0


def test_the_expected_key_is_told_apart(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected = public_file(home / "keys" / "ed25519.pem")
    assert drctl(home, "evidence", "verify", "last", "--key", str(expected)) == 0
    assert "(the expected key)" in capsys.readouterr().out
    create_key(tmp_path / "other.pem")
    assert drctl(home, "evidence", "verify", "last", "--key", str(tmp_path / "other.pub.pem")) == 9
    assert "not by the expected" in capsys.readouterr().out


def test_tampering_is_named_and_ends_with_9(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = tmp_path / "bundle"
    shutil.copytree(home / "runs" / "20261123-040000-switchover-b-q2w3" / "bundle", copy)
    (copy / "after.json").unlink()
    (copy / "extra").write_text("x")
    assert drctl(home, "evidence", "verify", str(copy)) == 9
    told = capsys.readouterr()
    assert "removed  after.json" in told.out and "added  extra" in told.out and "2 deviations" in told.err
    assert drctl(home, "evidence", "verify", str(copy), "--output", "json") == 9
    found = json.loads(capsys.readouterr().out)
    assert found["holds"] is False
    assert {(p["kind"], p["subject"]) for p in found["verification"]["problems"]} == {
        ("removed", "after.json"),
        ("added", "extra"),
    }


def test_what_is_no_bundle_ends_with_4_and_an_unknown_run_with_2(home: Path, tmp_path: Path) -> None:
    assert drctl(home, "evidence", "verify", str(tmp_path)) == 4
    assert drctl(home, "evidence", "verify", "nothing") == 2
    assert drctl(home, "evidence", "verify", "2026") == 2
    assert drctl(tmp_path, "evidence", "verify", "last") == 2
    assert drctl(home, "evidence", "verify", "last", "--key", str(tmp_path / "none.pem")) == 4


def test_verification_reads_nothing_but_the_bundle(home: Path, tmp_path: Path) -> None:
    """The run's own files may be gone or broken, and the bundle may lie anywhere."""
    folder = tmp_path / "elsewhere"
    shutil.copytree(home / "runs" / "20261123-040000-switchover-b-q2w3", folder)
    for path in folder.iterdir():
        if path.is_file():
            path.unlink()
    assert drctl(tmp_path / "no-home", "evidence", "verify", str(folder)) == 0


def test_keygen_makes_a_private_key_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert drctl(tmp_path, "evidence", "keygen") == 0
    path = tmp_path / "keys" / "ed25519.pem"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and (tmp_path / "keys" / "ed25519.pub.pem").exists()
    assert "fingerprint" in capsys.readouterr().out
    before = path.read_bytes()
    assert drctl(tmp_path, "evidence", "keygen") == 5
    assert path.read_bytes() == before


def test_seal_seals_once(tmp_path: Path) -> None:
    folder = write_run(tmp_path, undone())
    assert drctl(tmp_path, "evidence", "verify", "last") == 4
    assert drctl(tmp_path, "evidence", "seal", "last") == 0
    assert (folder / "bundle" / "report.zh.html").exists()
    assert drctl(tmp_path, "evidence", "seal", "last") == 5
    assert drctl(tmp_path, "evidence", "verify", "last") == 0


def test_report_writes_a_page_and_prints_the_summary(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "drill.html"
    assert drctl(home, "report", "last", "--lang", "zh", "-o", str(target)) == 0
    assert "失败，已全部回退" in target.read_text() and "失败，已全部回退" in capsys.readouterr().out
    assert drctl(home, "report", "last", "-o", str(tmp_path / "no" / "such" / "folder.html")) != 0


def test_report_gives_figures_to_programs(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert drctl(home, "report", "20261123-0230", "--format", "json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["state"] == "done" and found["objectives_met"] == 6
    assert found["measurements"]["systems"][0]["rto_met"] is True
