"""`drctl plan` and `drctl approve` as an operator types them; tabletop, so nothing is contacted."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from orchestrator.approvals import approvals_path, approve, read_approvals, read_plan
from orchestrator.cli.main import run
from orchestrator.errors import BadFile, Refused, Usage
from orchestrator.model.plan import Approval, Mode, Plan

AT = "2026-01-05T08:00:00Z"
LOST_A = ("plan", "centre-lost", "--lost", "a", "--mode", "tabletop")


def drctl(home: Path, *words: str) -> int:
    return run(["--home", str(home), "--lang", "en", *words])


def test_the_scenarios_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert drctl(tmp_path, "plan") == 0
    table = capsys.readouterr().out
    assert "centre-lost" in table
    assert drctl(tmp_path, "plan", "--list", "--output", "json") == 0
    assert {r["id"] for r in msgspec.json.decode(capsys.readouterr().out)} >= {"site-lost", "isolated"}


def test_a_plan_is_shown_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "plan.json"
    assert drctl(tmp_path, *LOST_A, "-o", str(file)) == 0
    told = capsys.readouterr().out
    found = read_plan(file)
    assert hashlib.sha256(file.read_bytes()).hexdigest() == found.sha256
    for words in ("Critical path: ", "Forecast: ", "Nothing acknowledged is lost", found.sha256, f"drill run {file}"):
        assert words in told
    assert found.mode is Mode.TABLETOP


def test_json_is_the_plan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert drctl(tmp_path, *LOST_A, "--output", "json") == 0
    found = msgspec.json.decode(capsys.readouterr().out, type=Plan)
    assert found.lost == ("a",)


def test_chinese(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--home", str(tmp_path), "--lang", "zh", *LOST_A]) == 0
    assert "关键路径" in capsys.readouterr().out


def test_a_plan_whose_playbook_is_not_there_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    isolated = ("--estate", "lab-buckets", "plan", "isolated", "--to", "c", "--mode", "tabletop")
    assert drctl(tmp_path, *isolated) == 5
    told = capsys.readouterr().err
    assert "clone_s3-bucket_bubble.yml (legal-person/files@c:clone)" in told
    assert "--system" in told
    assert drctl(tmp_path, *isolated, "--system", "sharing") == 0


def test_a_large_plan_is_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert drctl(tmp_path, "--estate", "chongqing", *LOST_A, "--accept-loss") == 0
    told = capsys.readouterr().out
    assert "promote ×" in told
    assert "may lose" in told


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("plan", "centre-los"), 2, "did you mean 'centre-lost'"),
        (("plan", "centre-lost", "--lost", "x", "--mode", "tabletop"), 5, "no centre 'x'"),
        (("plan", "site-lost", "--lost", "a", "--lost", "b", "--mode", "tabletop"), 5, "add --accept-loss"),
        (("plan", "centre-lost", "--mode", "maybe"), 2, "maybe"),
        (("plan", "centre-lost", "--lost", "a", "--mode", "rehearsal"), 6, "not one instance could be read"),
        ((*LOST_A, "-o", "/nowhere/plan.json"), 2, "cannot write"),
        (("approve", "missing.json", "--name", "Li Wei"), 4, "missing"),
    ],
)
def test_refusals(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], code: int, message: str
) -> None:
    assert drctl(tmp_path, *words) == code
    assert message in capsys.readouterr().err


def filed(tmp_path: Path, *words: str) -> Path:
    file = tmp_path / "plan.json"
    given = words or ("site-lost", "--lost", "a", "--lost", "b", "--accept-loss")
    assert drctl(tmp_path, "plan", *given, "--mode", "tabletop", "-o", str(file)) == 0
    return file


@pytest.mark.parametrize("command", [("prove",), ("lint", "--dark", "a"), ("drill", "run")])
def test_a_plan_of_another_estate_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    file = filed(tmp_path)
    assert drctl(tmp_path, "--estate", "chongqing", *command, str(file)) == 5
    assert "not the one that the plan was made for" in capsys.readouterr().err


def test_two_people_approve(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = filed(tmp_path)
    assert drctl(tmp_path, "approve", str(file), "--name", "Li Wei", "--accept-loss") == 0
    assert drctl(tmp_path, "approve", str(file), "--name", "Chen Yu", "--accept-loss", "--output", "json") == 0
    written = msgspec.json.decode(approvals_path(file).read_bytes(), type=tuple[Approval, ...])
    assert [a.name for a in written] == ["Li Wei", "Chen Yu"]
    assert {a.plan_sha256 for a in written} == {read_plan(file).sha256}
    assert all(a.accepts_loss for a in written)
    assert "approved by Li Wei" in capsys.readouterr().out


@pytest.mark.parametrize("again", ["Li Wei", "li wei", "  LI   WEI "])
def test_nobody_approves_twice(tmp_path: Path, again: str) -> None:
    file = filed(tmp_path)
    approve(file, "Li Wei", AT, accepts_loss=True)
    with pytest.raises(Refused, match="approved this plan already"):
        approve(file, again, AT, accepts_loss=True)
    assert len(read_approvals(file, read_plan(file))) == 1


def test_a_loss_is_accepted_by_word(tmp_path: Path) -> None:
    file = filed(tmp_path)
    with pytest.raises(Refused, match="may lose data") as caught:
        approve(file, "Li Wei", AT, accepts_loss=False)
    assert "--accept-loss" in caught.value.hint
    assert not approvals_path(file).exists()


def test_an_approval_is_bound_to_its_plan(tmp_path: Path) -> None:
    file = filed(tmp_path)
    approve(file, "Li Wei", AT, accepts_loss=True)
    filed(tmp_path, "centre-lost", "--lost", "a")
    assert read_approvals(file, read_plan(file)) == ()
    assert len(approve(file, "Li Wei", AT, accepts_loss=False)) == 1


@pytest.mark.parametrize("name", ["", "   ", "x" * 200, "a\x00b"])
def test_a_name_is_a_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(Usage):
        approve(filed(tmp_path), name, AT, accepts_loss=True)


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b"\xff"])
def test_what_is_no_plan(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "plan.json"
    file.write_bytes(content)
    with pytest.raises(BadFile) as caught:
        approve(file, "Li Wei", AT, accepts_loss=True)
    assert "drctl plan" in caught.value.hint


@pytest.mark.parametrize(
    ("changes", "needed"),
    [
        ({"mode": Mode.LIVE, "lab": False}, True),
        ({"mode": Mode.LIVE, "lab": True}, True),
        ({"mode": Mode.LIVE, "lab": True, "losses": ()}, False),
        ({"mode": Mode.REHEARSAL, "lab": False}, False),
        ({"mode": Mode.ISOLATED, "lab": False, "losses": ()}, False),
    ],
)
def test_who_must_approve(tmp_path: Path, changes: dict[str, Any], needed: bool) -> None:
    found = msgspec.structs.replace(read_plan(filed(tmp_path)), **changes)
    assert found.needs_two is needed
