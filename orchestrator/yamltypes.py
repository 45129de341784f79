"""Holds the plain data of a YAML file against msgspec types, strictly, and names every mistake with its position.

msgspec itself stops at the first mistake and suggests nothing; here every one is found, then msgspec converts.
Leaves out tagged unions and renamed constructors: an operator's file has neither.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import Annotated, Any, Final, TypeVar

import msgspec
from msgspec import inspect as mi

from orchestrator.yamlfile import Problems, Source, Where, did_you_mean, shown

T = TypeVar("T")

_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
DURATION_PATTERN: Final = r"^(0|[1-9][0-9]{0,8})(\.[0-9]{1,3})?(ms|s|m|h|d)$"

Duration = Annotated[
    str,
    msgspec.Meta(
        pattern=DURATION_PATTERN,
        description="A duration with its unit: ms, s, m, h or d.",
        examples=["30s", "5m", "2h", "1d"],
        extra={"expected": "a duration with its unit (ms, s, m, h, d), such as `30s` or `5m`"},
    ),
]
"""Text such as `30s`; a bare number is refused, since nobody can tell its unit."""

Identifier = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$",
        description="An identifier: lower-case letters, digits and hyphens.",
        extra={"expected": "lower-case letters, digits and hyphens, such as `legal-person`"},
    ),
]


def seconds(duration: str) -> float:
    """Seconds of a valid Duration ("5m" -> 300.0).

    Raises:
        ValueError: it is not a duration with a unit.
    """
    found = re.fullmatch(r"([0-9.]+)(ms|s|m|h|d)", duration)
    if found is None or not re.fullmatch(DURATION_PATTERN, duration):
        raise ValueError(f"not a duration: {duration}")
    return round(float(found[1]) * _UNITS[found[2]], 6)


def spell(duration_s: float) -> str:
    """A duration in the largest unit that holds it exactly (300.0 -> "5m"), for people and for files."""
    for unit in ("d", "h", "m", "s"):
        if duration_s >= _UNITS[unit] and (duration_s / _UNITS[unit]).is_integer():
            return f"{int(duration_s / _UNITS[unit])}{unit}"
    return f"{duration_s * 1000:g}ms" if 0 < duration_s < 1 else f"{duration_s:g}s"


def convert(source: Source, kind: type[T], at: Where = ()) -> T:
    """The part of a file at `at`, as a value of `kind`.

    Raises:
        BadFile: with every unknown key, missing key, wrong type and broken pattern, each at its position.
    """
    value: object = source.data
    for part in at:
        value = value[part]  # type: ignore[index]
    problems = Problems(source)
    examine(problems, value, kind, at)
    problems.raise_if_any()
    try:
        return msgspec.convert(value, kind, strict=True)
    except msgspec.ValidationError as error:
        message, where = _from_msgspec(str(error))
        problems.add((*at, *where), message)
    problems.raise_if_any()
    raise AssertionError("unreachable")


def examine(problems: Problems, value: object, kind: Any, at: Where = ()) -> bool:
    """Note every way in which `value` is not a `kind`; True where it is one."""
    before = problems.noted
    _examine(problems, value, _info(kind), at, "")
    return problems.noted == before


@cache
def _info(kind: Any) -> mi.Type:
    return mi.type_info(kind)


def _examine(problems: Problems, value: object, info: mi.Type, at: Where, expected: str) -> None:
    if isinstance(info, mi.Metadata):
        _examine(problems, value, info.type, at, str((info.extra or {}).get("expected", expected)))
        return
    judge = _JUDGES.get(type(info))
    if judge is not None:
        judge(problems, value, info, at, expected)


def _wrong(problems: Problems, value: object, at: Where, expected: str) -> None:
    problems.add(at, f"{_of(at)}expected {expected}, got {shown(value)}")


def _of(at: Where) -> str:
    """The key that a mistake concerns, as the beginning of a message."""
    return f"{shown(at[-1])}: " if at and isinstance(at[-1], str) else ""


def _struct(problems: Problems, value: object, info: mi.StructType, at: Where, expected: str) -> None:
    fields = {f.encode_name: f for f in info.fields}
    if not isinstance(value, dict):
        known = ", ".join(f"`{name}`" for name in list(fields)[:6])
        _wrong(problems, value, at, expected or f"a mapping with keys such as {known}")
        return
    for name, inner in value.items():
        if name in fields:
            _examine(problems, inner, fields[name].type, (*at, name), "")
        elif info.forbid_unknown_fields:
            unused = [k for k in fields if k not in value]
            problems.add((*at, name), f"unknown key {shown(name)}", did_you_mean(name, unused or fields), of_key=True)
    missing = [n for n, f in fields.items() if f.required and n not in value]
    if missing:
        names = ", ".join(f"`{m}`" for m in missing)
        of = f" of {shown(at[-1])}" if at and isinstance(at[-1], str) else ""
        problems.add(at, f"missing key{'s' if len(missing) > 1 else ''}{of}: {names}", of_key=True)


def _array(problems: Problems, value: object, info: Any, at: Where, expected: str) -> None:
    if not isinstance(value, list):
        _wrong(problems, value, at, expected or "a list")
        return
    _length(problems, value, info, at, "items")
    for index, inner in enumerate(value):
        _examine(problems, inner, info.item_type, (*at, index), "")


def _tuple(problems: Problems, value: object, info: mi.TupleType, at: Where, expected: str) -> None:
    if not isinstance(value, list) or len(value) != len(info.item_types):
        _wrong(problems, value, at, expected or f"a list of {len(info.item_types)} values")
        return
    for index, (inner, kind) in enumerate(zip(value, info.item_types, strict=True)):
        _examine(problems, inner, kind, (*at, index), "")


def _dict(problems: Problems, value: object, info: mi.DictType, at: Where, expected: str) -> None:
    if not isinstance(value, dict):
        _wrong(problems, value, at, expected or "a mapping")
        return
    _length(problems, value, info, at, "entries")
    for name, inner in value.items():
        before = problems.noted
        _examine(problems, name, info.key_type, (*at, name), "")
        if problems.noted == before:
            _examine(problems, inner, info.value_type, (*at, name), "")


def _length(problems: Problems, value: Any, info: Any, at: Where, unit: str) -> None:
    low, high = info.min_length, info.max_length
    if low is not None and len(value) < low:
        _wrong(problems, value, at, f"at least {low} {unit}") if value else _empty(problems, at)
    if high is not None and len(value) > high:
        problems.add(at, f"expected at most {high} {unit}, got {len(value)}")


def _empty(problems: Problems, at: Where) -> None:
    problems.add(at, f"{_of(at)}expected at least one entry")


def _str(problems: Problems, value: object, info: mi.StrType, at: Where, expected: str) -> None:
    if not isinstance(value, str):
        if isinstance(value, int | float) and not isinstance(value, bool) and info.pattern == DURATION_PATTERN:
            message = f"{_of(at)}expected a duration with its unit, got {shown(value)}"
            problems.add(at, message, f"write `{value}s` or `{value}m`: a bare number does not tell its unit")
            return
        quote = isinstance(value, int | float | bool) and not expected
        _wrong(problems, value, at, "text (put it into quotes)" if quote else expected or "text")
        return
    _length(problems, value, info, at, "characters")
    if info.pattern is not None and not re.search(info.pattern, value):
        _wrong(problems, value, at, expected or f"text like {info.pattern}")


def _number(problems: Problems, value: object, info: Any, at: Where, expected: str) -> None:
    whole = isinstance(info, mi.IntType)
    right = isinstance(value, int) if whole else isinstance(value, int | float)
    if isinstance(value, bool) or not right:
        _wrong(problems, value, at, expected or ("a whole number" if whole else "a number"))
        return
    bounds = (("at least", info.ge), ("more than", info.gt), ("at most", info.le), ("less than", info.lt))
    number: Any = value
    broken = {
        "at least": lambda b: number < b,
        "more than": lambda b: number <= b,
        "at most": lambda b: number > b,
        "less than": lambda b: number >= b,
    }
    for word, bound in bounds:
        if bound is not None and broken[word](bound):
            _wrong(problems, value, at, expected or f"{word} {bound}")


def _bool(problems: Problems, value: object, info: mi.BoolType, at: Where, expected: str) -> None:
    if not isinstance(value, bool):
        _wrong(problems, value, at, expected or "true or false")


def _none(problems: Problems, value: object, info: mi.NoneType, at: Where, expected: str) -> None:
    if value is not None:
        _wrong(problems, value, at, "nothing")


def _choice(problems: Problems, value: object, info: Any, at: Where, expected: str) -> None:
    choices = [m.value for m in info.cls] if isinstance(info, mi.EnumType) else list(info.values)
    if isinstance(value, dict | list) or value not in choices:
        problems.add(at, f"{_of(at)}unknown value {shown(value)}", did_you_mean(value, [str(c) for c in choices]))


def _union(problems: Problems, value: object, info: mi.UnionType, at: Where, expected: str) -> None:
    """Right where it fits one of the types; else judged by the one of its shape, or by none where no shape fits."""
    inner = [t.type if isinstance(t, mi.Metadata) else t for t in info.types]
    for kind in info.types:
        trial = Problems(problems.source)
        _examine(trial, value, kind, at, expected)
        if not trial.noted:
            return
    for kind, bare in zip(info.types, inner, strict=True):
        if isinstance(value, _SHAPES.get(type(bare), ())) and value is not None:
            _examine(problems, value, kind, at, expected)
            return
    real = [k for k, b in zip(info.types, inner, strict=True) if not isinstance(b, mi.NoneType)]
    if len(real) == 1:
        _examine(problems, value, real[0], at, expected)
        return
    _wrong(problems, value, at, expected or " or ".join(_NAMES.get(type(b), "a value") for b in inner))


def _from_msgspec(message: str) -> tuple[str, Where]:
    """Message and place of a msgspec error such as ``Expected `int`, got `str` - at `$.steps[3].do` ``."""
    text, _, path = message.partition(" - at `$")
    parts = re.findall(r"\.([^.\[\]`]+)|\[([0-9]+)\]", path)
    return text, tuple(name or int(index) for name, index in parts)


_JUDGES: Final[dict[type, Callable[[Problems, object, Any, Where, str], None]]] = {
    mi.StructType: _struct,
    mi.ListType: _array,
    mi.VarTupleType: _array,
    mi.SetType: _array,
    mi.FrozenSetType: _array,
    mi.TupleType: _tuple,
    mi.DictType: _dict,
    mi.StrType: _str,
    mi.IntType: _number,
    mi.FloatType: _number,
    mi.BoolType: _bool,
    mi.NoneType: _none,
    mi.EnumType: _choice,
    mi.LiteralType: _choice,
    mi.UnionType: _union,
}
_SHAPES: Final[dict[type, tuple[type, ...]]] = {
    mi.StructType: (dict,),
    mi.DictType: (dict,),
    mi.ListType: (list,),
    mi.VarTupleType: (list,),
    mi.StrType: (str,),
    mi.IntType: (int,),
    mi.FloatType: (float,),
    mi.BoolType: (bool,),
}
_NAMES: Final[dict[type, str]] = {
    mi.StructType: "a mapping",
    mi.DictType: "a mapping",
    mi.ListType: "a list",
    mi.VarTupleType: "a list",
    mi.StrType: "text",
    mi.IntType: "a whole number",
    mi.FloatType: "a number",
    mi.BoolType: "true or false",
    mi.NoneType: "nothing",
}
