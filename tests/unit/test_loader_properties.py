"""Whatever happens to a topology file, it loads or is refused: there is no third way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.errors import BadFile
from orchestrator.model.topology import Nature, Role, Topology
from orchestrator.yamlfile import parse_yaml
from tests.unit.estates import SMALL, load

LINES = SMALL.splitlines()
WORDS = sorted({word for line in LINES for word in line.replace(",", " ").replace("{", " ").split()})
SCRAPS = [
    "",
    "[]",
    "{}",
    "null",
    "0",
    "-1",
    "1e9",
    "true",
    "a",
    "c",
    "edge",
    "home",
    "5s",
    "0s",
    "&x",
    "*x",
    "!t",
    '"',
    "{x}",
]


def attempt(text: str) -> Topology | None:
    """The topology, or None where it is refused as it should be."""
    try:
        return load(text)
    except BadFile as error:
        told = error.message
    assert all(line.startswith(("t.yaml:", "... and ")) for line in told.splitlines())
    return None


def hold(topology: Topology) -> None:
    """What a loaded topology promises to all that read it."""
    assert topology.systems
    for service in topology.services():
        centres = [i.centre for i in service.instances]
        assert centres and len(set(centres)) == len(centres)
        assert not service.serves or service.serves in topology.service_by_id
        if service.nature is Nature.REPLICATED:
            assert [i.role for i in service.instances].count(Role.PRIMARY) == 1
            assert {r.target for r in service.replications} == {
                i.centre for i in service.instances if i.role is Role.STANDBY
            }
    for system in topology.systems:
        assert set(system.depends_on) <= set(topology.system_by_id) - {system.id}
        assert system.centre_loss.rto_s > 0 and system.site_loss.rto_s > 0


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.data())
def test_lines_moved_dropped_and_doubled(data: st.DataObject) -> None:
    lines = list(LINES)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(lines) - 1))
        what = data.draw(st.sampled_from(["drop", "double", "move", "indent"]))
        line = lines.pop(at)
        if what == "double":
            lines[at:at] = [line, line]
        elif what == "move":
            lines.insert(data.draw(st.integers(0, len(lines))), line)
        elif what == "indent":
            lines.insert(at, "  " + line)
    found = attempt("\n".join(lines) + "\n")
    if found is not None:
        hold(found)


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.data())
def test_words_exchanged(data: st.DataObject) -> None:
    text = SMALL
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text) - 1))
        length = data.draw(st.integers(0, 12))
        text = text[:at] + data.draw(st.sampled_from(WORDS + SCRAPS)) + text[at + length :]
    found = attempt(text)
    if found is not None:
        hold(found)


def places(value: Any, at: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Every place in plain data."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(place for key, part in inner for place in places(part, (*at, key)))]


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
    | st.sampled_from(WORDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.data())
def test_values_of_any_shape(data: st.DataObject) -> None:
    tree: Any = parse_yaml(SMALL, Path("t.yaml")).data
    place = data.draw(st.sampled_from(places(tree)[1:]))
    inner = tree
    for key in place[:-1]:
        inner = inner[key]
    if data.draw(st.booleans()):
        inner[place[-1]] = data.draw(VALUES)
    elif isinstance(inner, dict):
        inner[data.draw(st.text(max_size=8))] = inner.pop(place[-1])
    else:
        inner.pop(place[-1])
    found = attempt(json.dumps(tree, ensure_ascii=False))
    if found is not None:
        hold(found)
