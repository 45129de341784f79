"""docs/topology.md tells the truth: its example loads, and it names every key of the file."""

from __future__ import annotations

import re
from pathlib import Path

from orchestrator.app import kinds
from orchestrator.loader import notes, read_topology, topology_schema
from orchestrator.yamlfile import parse_yaml

DOCS = Path(__file__).resolve().parents[2] / "docs" / "topology.md"


def test_the_example_loads() -> None:
    text = DOCS.read_text(encoding="utf-8")
    block = re.search(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert block is not None
    topology = read_topology(parse_yaml(block[1], DOCS), kinds())
    assert [s.id for s in topology.systems] == ["legal-person", "district-wanzhou", "district-fuling"]
    assert topology.system_by_id["legal-person"].depends_on == ("district-wanzhou", "district-fuling")
    assert [note.en for note in notes(topology)] == ["3 systems have no filing number yet, such as legal-person"]


def test_every_key_is_described() -> None:
    text = DOCS.read_text(encoding="utf-8")
    keys = {key for part in topology_schema(kinds())["$defs"].values() for key in part.get("properties", {})}
    assert {key for key in keys if not re.search(rf"\b{key}\b", text)} == set()


def test_every_kind_is_described() -> None:
    text = DOCS.read_text(encoding="utf-8")
    assert {name for name in kinds() if f"`{name}`" not in text} == set()
