"""Reading YAML safely, and holding it against types."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta, field

from orchestrator.errors import BadFile
from orchestrator.model.topology import Frozen
from orchestrator.yamlfile import MAX_SHOWN, Problems, did_you_mean, parse_yaml, read_yaml
from orchestrator.yamltypes import Duration, Identifier, convert, seconds, spell

HERE = Path("x.yaml")


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Inner(Frozen, kw_only=True):
    name: Identifier
    wait: Duration = "1s"


class Outer(Frozen, kw_only=True):
    count: Annotated[int, Meta(ge=1, lt=10)] = 1
    ratio: float = 0.5
    on: bool = False
    colour: Colour = Colour.RED
    word: Literal["yes", "no"] = "no"
    items: tuple[Inner, ...] = ()
    pair: tuple[str, str] = ("a", "b")
    table: dict[Identifier, Inner] = field(default_factory=dict)
    either: str | Inner | None = None
    maybe: Inner | None = None
    few: Annotated[list[str], Meta(min_length=1, max_length=2)] = field(default_factory=lambda: ["x"])


def read(text: str) -> Outer:
    return convert(parse_yaml(text, HERE), Outer)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("1:30", "1:30"),
        ("2026-01-02", "2026-01-02"),
        ("0o17", "0o17"),
        ("1_000", "1_000"),
        ("010", 10),
        ("-7", -7),
        ("1.5e3", 1500.0),
        ("1e999", "1e999"),
        (".nan", ".nan"),
        ("9" * 5000, "9" * 5000),
        ("true", True),
        ("null", None),
        ("~", None),
        ("'true'", "true"),
        ('"7"', "7"),
        ("|\n  a\n  b\n", "a\nb\n"),
    ],
)
def test_scalars_follow_the_core_schema_of_yaml_1_2(text: str, value: object) -> None:
    data = parse_yaml(f"k: {text}", HERE).data
    assert data == {"k": value}
    assert isinstance(data, dict) and type(data["k"]) is type(value)


def test_keys_are_always_text() -> None:
    assert parse_yaml("1: a\nno: b\n? null\n: c\n", HERE).data == {"1": "a", "no": "b", "null": "c"}


def test_positions_of_values_keys_and_what_is_missing() -> None:
    source = parse_yaml("a:\n  - b: 1\n    c: [x, y]\n", HERE)
    assert source.position(("a", 0, "c", 1)) == (3, 12)
    assert source.position(("a", 0, "c"), of_key=True) == (3, 5)
    assert source.position(("a", 0, "nothing", "deeper")) == (2, 5), "the nearest place around it"
    assert source.place(()) == "x.yaml:1:1"


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "bom.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert read_yaml(path).data == {"a": 1}


def test_the_bound_is_counted_in_bytes(tmp_path: Path) -> None:
    path = tmp_path / "long.yaml"
    path.write_text("a: 1\n")
    assert read_yaml(path, max_bytes=5).data == {"a": 1}
    with pytest.raises(BadFile, match="larger than 4 bytes"):
        read_yaml(path, max_bytes=4)


def test_what_fits_is_converted() -> None:
    found = read(
        "count: 3\nratio: 1\ncolour: blue\nitems: [{name: a, wait: 2m}]\npair: [x, y]\ntable: {k: {name: b}}\n"
    )
    assert (found.count, found.ratio, found.colour, found.pair) == (3, 1.0, Colour.BLUE, ("x", "y"))
    assert seconds(found.items[0].wait) == 120 and found.table["k"].name == "b"
    assert read("either: text").either == "text" and read("either: {name: n}").either == Inner(name="n")
    assert read("maybe: ").maybe is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("count: 0", "x.yaml:1:8: `count`: expected at least 1, got `0`"),
        ("count: 10", "`count`: expected less than 10, got `10`"),
        ("count: 1.5", "`count`: expected a whole number, got `1.5`"),
        ("count: true", "`count`: expected a whole number, got `true`"),
        ("ratio: x", "`ratio`: expected a number, got `x`"),
        ("on: yes", "`on`: expected true or false, got `yes`"),
        ("colour: rde", "`colour`: unknown value `rde`"),
        ("colour: [red]", "`colour`: unknown value a list"),
        ("word: maybe", "`word`: unknown value `maybe`"),
        ("items: {}", "`items`: expected a list, got a mapping"),
        ("items: [3]", "expected a mapping with keys such as `name`, `wait`, got `3`"),
        ("pair: [x]", "`pair`: expected a list of 2 values, got a list"),
        ("table: []", "`table`: expected a mapping, got a list"),
        ("table: {UP: {name: a}}", "`UP`: expected lower-case letters"),
        ("either: 3", "`either`: expected text or a mapping or nothing, got `3`"),
        ("either: {nam: 3}", "unknown key `nam`"),
        ("maybe: 3", "`maybe`: expected a mapping"),
        ("few: []", "`few`: expected at least one entry"),
        ("few: [a, b, c]", "expected at most 2 items, got 3"),
        ("few: [1]", "expected text (put it into quotes), got `1`"),
        ("items: [{name: ok, wait: 30}]", "`wait`: expected a duration with its unit, got `30`"),
        ("items: [{name: ok, wait: 30 s}]", "`wait`: expected a duration with its unit (ms, s, m, h, d)"),
    ],
)
def test_what_does_not_fit_is_named(text: str, message: str) -> None:
    with pytest.raises(BadFile) as caught:
        read(text)
    assert message in caught.value.message and caught.value.message.startswith("x.yaml:1:")


def test_a_bare_number_gets_a_hint_with_units() -> None:
    with pytest.raises(BadFile) as caught:
        read("items: [{name: ok, wait: 30}]")
    assert caught.value.hint == "write `30s` or `30m`: a bare number does not tell its unit"


def test_a_part_of_a_file_is_converted_in_its_place() -> None:
    source = parse_yaml("list:\n  - name: good\n  - nome: bad\n", HERE)
    assert convert(source, Inner, ("list", 0)) == Inner(name="good")
    with pytest.raises(BadFile, match=r"x\.yaml:3:5: "):
        convert(source, Inner, ("list", 1))


class Judged(Frozen, kw_only=True):
    low: int
    high: int

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError("low is above high")


class Holder(Frozen, kw_only=True):
    ranges: list[Judged]


def test_what_a_type_itself_refuses_has_a_position_too() -> None:
    with pytest.raises(BadFile, match=r"x\.yaml:3:3: low is above high"):
        convert(parse_yaml("ranges:\n- {low: 1, high: 2}\n- {low: 3, high: 2}\n", HERE), Holder)


def test_many_problems_are_shown_up_to_a_bound_and_counted() -> None:
    with pytest.raises(BadFile) as caught:
        read("few: [" + ", ".join("1" * 60) + "]")
    lines = caught.value.message.splitlines()
    assert len(lines) == MAX_SHOWN + 1 and lines[-1] == f"... and {61 - MAX_SHOWN} more"


def test_one_problem_is_noted_once() -> None:
    problems = Problems(parse_yaml("a: 1", HERE))
    problems.add(("a",), "wrong")
    problems.add(("a",), "wrong")
    assert (len(problems.found), problems.noted) == (1, 2)


def test_a_hint_is_near_or_lists_what_there_is() -> None:
    assert did_you_mean("promot", ["promote", "demote"]) == "did you mean `promote`?"
    assert did_you_mean("zzz", ["b", "a"]) == "expected one of `a`, `b`"
    assert did_you_mean("zzz", []) == ""
    assert did_you_mean("zzz", [str(n) for n in range(50)]).startswith("expected one of 50, such as ")


@pytest.mark.parametrize(
    ("text", "value"), [("250ms", 0.25), ("30s", 30), ("1.5m", 90), ("2h", 7200), ("1d", 86400), ("0s", 0)]
)
def test_durations(text: str, value: float) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["30", "s", "5 m", "-1s", "1e3s", "1w", "01s", "", "1s ", "1.s", "٣s"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        seconds(text)


@given(st.integers(0, 10**7))
def test_a_spelled_duration_reads_back(value: int) -> None:
    assert seconds(spell(value)) == value


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        parse_yaml(text, HERE)
    except BadFile as error:
        told = error.message
    else:
        return
    assert told.startswith("x.yaml:")


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(raw)
    try:
        read_yaml(path)
    except BadFile as error:
        told = error.message
    else:
        return
    assert told.startswith(str(path))
