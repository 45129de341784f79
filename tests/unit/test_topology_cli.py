"""`drctl topology`: the real command line on real files."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from orchestrator.cli.main import run
from tests.unit.estates import SMALL, changed

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def no_lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lab that happens to be up must not give its addresses."""
    monkeypatch.setenv("DRCTL_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("DRCTL_LAB", raising=False)


def drctl(*words: str) -> int:
    return run(["--lang", "en", *words])


def small(tmp_path: Path, text: str = SMALL) -> str:
    (tmp_path / "topology.yaml").write_text(text, encoding="utf-8")
    return str(tmp_path)


def test_validate_says_how_much_there_is(capsys: Captured) -> None:
    assert drctl("topology", "validate", "chongqing") == 0
    out = capsys.readouterr().out
    assert "inventories/chongqing/topology.yaml: valid" in out
    assert "2 cities, 3 centres · 130 systems, 389 services, 907 instances" in out
    assert "note: 130 systems have no filing number yet" in out


def test_validate_json(capsys: Captured) -> None:
    assert drctl("topology", "validate", "lab", "--output", "json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["estate"], found["valid"], found["systems"], found["notes"]) == ("lab", True, 3, [])


def test_validate_a_folder(tmp_path: Path, capsys: Captured) -> None:
    assert drctl("topology", "validate", small(tmp_path)) == 0
    assert "4 systems" in capsys.readouterr().out


def test_validate_names_the_mistake_and_exits_with_4(tmp_path: Path, capsys: Captured) -> None:
    folder = small(tmp_path, changed("kind: postgresql", "kind: postgres"))
    assert drctl("topology", "validate", folder) == 4
    seen = capsys.readouterr()
    line = next(n for n, words in enumerate(SMALL.splitlines(), 1) if "kind: postgresql" in words)
    assert seen.out == ""
    assert seen.err == (
        f"error: {folder}/topology.yaml:{line}:15: unknown kind `postgres`\nhint: did you mean `postgresql`?\n"
    )


def test_every_command_refuses_a_wrong_file_with_4(tmp_path: Path, capsys: Captured) -> None:
    folder = small(tmp_path, "estate: [")
    for words in (["validate"], ["show"], ["graph"], ["graph", "--format", "svg"]):
        assert drctl("--estate", folder, "topology", *words) == 4
        assert "not YAML" in capsys.readouterr().err


def test_an_unknown_estate_is_a_wrong_word(capsys: Captured) -> None:
    assert drctl("topology", "validate", "chonqing") == 2
    assert "did you mean 'chongqing'?" in capsys.readouterr().err


def test_show_begins_with_the_summary(capsys: Captured) -> None:
    assert drctl("--estate", "lab", "topology", "show") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "lab: Lab: three centres on one machine"
    assert lines[1].startswith("2 cities, 3 centres · 3 systems, 9 services, 21 instances")
    table = "\n".join(lines)
    assert "a ⇒ b → c" in table and "b ⇒ a → c" in table and "legal-person" in table
    assert "legal-person/db@a" not in table, "instances only where asked for"
    assert not any(line.endswith(" ") for line in lines)


def test_show_one_system_with_its_instances(capsys: Captured) -> None:
    assert drctl("--estate", "chongqing", "topology", "show", "--system", "sharing", "--centre", "c") == 0
    out = capsys.readouterr().out
    assert "sharing/db@c" in out and "sharing.c.cq.internal:5432" in out and "b, async ≤ 60 s" not in out
    assert "b, async ≤ 1 min" in out
    assert "sharing/db@a" not in out and "open-data" not in out


def test_show_in_chinese(capsys: Captured) -> None:
    assert run(["--lang", "zh", "--estate", "chongqing", "topology", "show", "--group", "base"]) == 0
    out = capsys.readouterr().out
    assert "基础数据库" in out and "自然人基础数据库" in out and "级别" in out and "2 地 3 中心" in out


def test_show_json_is_the_topology(capsys: Captured) -> None:
    assert drctl("--estate", "lab", "topology", "show", "--system", "sharing", "--output", "json") == 0
    found = json.loads(capsys.readouterr().out)
    assert [s["id"] for s in found["systems"]] == ["sharing"]
    assert found["systems"][0]["centre_loss"] == {"rto_s": 60.0, "rpo_s": 0.0}


@pytest.mark.parametrize(
    ("option", "value", "hint"),
    [("--system", "sharng", "'sharing'"), ("--centre", "d", "there are: a, b, c"), ("--group", "bas", "none")],
)
def test_a_misspelt_filter_shows_nothing(option: str, value: str, hint: str, capsys: Captured) -> None:
    assert drctl("--estate", "lab", "topology", "show", option, value) == 2
    assert hint in capsys.readouterr().err


def test_graph_as_mermaid_is_the_default(capsys: Captured) -> None:
    assert drctl("--estate", "lab", "topology", "graph") == 0
    assert capsys.readouterr().out.startswith("flowchart LR\n")


def test_graph_as_svg_into_a_file(tmp_path: Path, capsys: Captured) -> None:
    out = tmp_path / "picture.svg"
    assert drctl("--estate", "lab", "topology", "graph", "--format", "svg", "-o", str(out)) == 0
    assert capsys.readouterr().out == f"wrote {out}\n"
    assert ET.parse(out).getroot().tag == "{http://www.w3.org/2000/svg}svg"


def test_graph_of_one_group(capsys: Captured) -> None:
    assert drctl("--estate", "chongqing", "topology", "graph", "--format", "svg", "--group", "base") == 0
    out = capsys.readouterr().out
    assert "legal-person/db@a" in out and "dept-01" not in out


def test_graph_into_a_folder_that_is_not_there(tmp_path: Path, capsys: Captured) -> None:
    assert drctl("--estate", "lab", "topology", "graph", "-o", str(tmp_path / "no" / "x.svg")) == 2
    assert "cannot write" in capsys.readouterr().err


def test_schema_is_json(capsys: Captured) -> None:
    assert drctl("topology", "schema") == 0
    schema = json.loads(capsys.readouterr().out)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert "postgresql" in schema["$defs"]["ServiceFile"]["properties"]["kind"]["enum"]
