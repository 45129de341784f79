"""Reads an operator's YAML file: safely, with positions, and into strict types. Every reader of YAML goes through here.

YAML is taken by the core schema of YAML 1.2.2 (https://yaml.org/spec/1.2.2/#103-core-schema): only `true` and `false`
are booleans, `no`, `on`, `1:30` and dates stay text, and the key of a mapping is always text. Refused, because a file
that is able to fence a data centre must read the same to every person and program: tags, anchors with aliases, merge
keys, several documents, duplicate keys, control characters, deep nesting, and more than MAX_BYTES or MAX_NODES.

    source = read_yaml(path)                    # BadFile with file:line:column
    file = convert(source, RunbookFile)         # BadFile with every mistake found
    problems = Problems(source)                 # what only the caller can judge
    problems.add(("steps", 3, "do"), "unknown verb `promot`", did_you_mean("promot", VERBS))
    problems.raise_if_any()
"""

from __future__ import annotations

import difflib
import math
import re
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

import yaml

from orchestrator.errors import BadFile

MAX_BYTES: Final = 8 * 1024 * 1024
MAX_NODES: Final = 200_000
MAX_DEPTH: Final = 40
MAX_SHOWN: Final = 25
"""Problems shown at once; the rest is counted."""
MAX_PROBLEMS: Final = 1000

Where = tuple[str | int, ...]
"""A place in the data: keys and indexes from the root, such as ("steps", 3, "do")."""

T = TypeVar("T")

_INT = re.compile(r"[-+]?[0-9]{1,18}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]")
_BIDI = re.compile("[\u202a-\u202e\u2066-\u2069]")
_WORDS: Final = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
_PARSER: Final[type] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Spot:
    """Where a value stands (1-based line and column), and where the values within it stand."""

    __slots__ = ("column", "keys", "line", "within")

    def __init__(self, position: tuple[int, int]) -> None:
        self.line, self.column = position
        self.within: dict[str | int, Spot] = {}
        self.keys: dict[str | int, tuple[int, int]] = {}


class Problem(NamedTuple):
    """One mistake in a file: position (1-based), what is wrong, and what was expected or meant."""

    line: int
    column: int
    message: str
    hint: str = ""


class Source:
    """A parsed file: plain data (dict, list, str, int, float, bool, None) and where each value stands."""

    def __init__(self, path: Path, data: object, root: Spot) -> None:
        self.path = path
        self.data = data
        self._root = root

    def position(self, where: Where, *, of_key: bool = False) -> tuple[int, int]:
        """Line and column of a place; of the nearest place around it where it is not in the file.

        With `of_key`, the position of the key that leads there instead of its value's.
        """
        spot = self._root
        for depth, part in enumerate(where):
            inner = spot.within.get(part)
            if inner is None:
                return spot.line, spot.column
            if of_key and depth == len(where) - 1 and part in spot.keys:
                return spot.keys[part]
            spot = inner
        return spot.line, spot.column

    def place(self, where: Where) -> str:
        """`file:line:column` of a place in the data."""
        line, column = self.position(where)
        return f"{self.path}:{line}:{column}"


class Problems:
    """Collects the mistakes of one file, so that the operator sees all of them at once."""

    def __init__(self, source: Source, *, one_per_place: bool = False) -> None:
        """With `one_per_place`, only the first mistake at a position is kept: a template's would repeat per system."""
        self.source = source
        self._one_per_place = one_per_place
        self._places: set[tuple[int, int]] = set()
        self._found: dict[Problem, None] = {}
        self.noted = 0
        """How often a mistake was noted, repetitions included: unchanged means that nothing was wrong."""

    @property
    def found(self) -> list[Problem]:
        """The mistakes noted so far, each once."""
        return list(self._found)

    def add(self, where: Where, message: str, hint: str = "", *, of_key: bool = False) -> None:
        """Note a mistake at a place in the data (at its key, for a key that should not be there).

        The same one is noted once, and none above MAX_PROBLEMS, so that a hostile file costs no time.
        """
        self.noted += 1
        place = self.source.position(where, of_key=of_key)
        if len(self._found) < MAX_PROBLEMS and not (self._one_per_place and place in self._places):
            self._places.add(place)
            self._found[Problem(*place, message, hint)] = None

    def raise_if_any(self) -> None:
        """Raise BadFile with every mistake noted so far; nothing where there is none."""
        if self._found:
            raise bad_file(self.source.path, self.found)


def bad_file(path: Path, problems: Iterable[Problem]) -> BadFile:
    """One BadFile for all problems: a line `file:line:column: message` each, in the order of the file."""
    ordered = sorted(problems, key=lambda p: (p.line, p.column))
    if len(ordered) == 1:
        only = ordered[0]
        return BadFile(f"{path}:{only.line}:{only.column}: {only.message}", hint=only.hint)
    lines = [f"{path}:{p.line}:{p.column}: {p.message}" + (f" ({p.hint})" if p.hint else "") for p in ordered]
    more = len(lines) - MAX_SHOWN
    shown = [*lines[:MAX_SHOWN], f"... and {more} more"] if more > 0 else lines
    return BadFile("\n".join(shown), hint=f"{len(lines)} problems in {path}; the first may be the cause of others")


def did_you_mean(word: object, choices: Iterable[str]) -> str:
    """The hint `did you mean ...?` for a near miss, else the choices where they are few; empty where neither helps."""
    known = sorted(set(choices))
    near = difflib.get_close_matches(str(word)[:100], known, n=1, cutoff=0.6)
    if near:
        return f"did you mean `{near[0]}`?"
    if not known:
        return ""
    shown = ", ".join(f"`{k}`" for k in known[:12])
    return f"expected one of {shown}" if len(known) <= 12 else f"expected one of {len(known)}, such as {shown}"


def shown(value: object) -> str:
    """A value as an error quotes it: short, on one line."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if value is None:
        return "nothing"
    text = str(value).lower() if isinstance(value, bool) else str(value)
    text = text.replace("\n", "\\n")
    return f"`{text if len(text) <= 60 else text[:57] + '...'}`"


def read_yaml(path: Path, *, max_bytes: int = MAX_BYTES) -> Source:
    """Parse one YAML document.

    Raises:
        BadFile: it is missing, not a regular file, unreadable, larger than `max_bytes` bytes (nothing is parsed then),
            not UTF-8, empty, not YAML, or uses what this module refuses.
    """
    text = read_text(path, max_bytes=max_bytes)
    if not text.strip():
        raise bad_file(path, [Problem(1, 1, "the file is empty")])
    return parse_yaml(text, path)


def parse_yaml(text: str, path: Path) -> Source:
    """Parse text as `read_yaml` does; `path` is what errors name.

    Raises:
        BadFile: as read_yaml, apart from what concerns the file itself.
    """
    builder = _Builder(path)
    try:
        for event in yaml.parse(text, Loader=_PARSER):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        what = " ".join(part for part in (error.context, error.problem) if part)
        raise bad_file(path, [Problem(line, column, f"not YAML: {what}", _syntax_hint(text, line))]) from error
    except yaml.reader.ReaderError as error:
        line, column = _line_column(text, error.position)
        problem = Problem(line, column, "a control character is not allowed", "this looks like a binary file")
        raise bad_file(path, [problem]) from error
    return builder.finish()


def _bytes(path: Path, max_bytes: int) -> bytes:
    hint = "give the path of a YAML file"
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise BadFile(f"{path}: this is a folder", hint=hint)
        if not stat.S_ISREG(mode):
            raise BadFile(f"{path}: this is not a regular file", hint=hint)
        with path.open("rb") as file:
            raw = file.read(max_bytes + 1)
    except FileNotFoundError as error:
        raise BadFile(f"{path}: no such file", hint=hint) from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a path"
        raise BadFile(f"{path}: cannot be read: {reason}", hint="check its permissions") from error
    if len(raw) > max_bytes:
        raise BadFile(f"{path}: larger than {max_bytes} bytes", hint="templates and groups keep an estate small")
    return raw


def read_text(path: Path, *, max_bytes: int = MAX_BYTES) -> str:
    """The text of a regular UTF-8 file.

    Raises:
        BadFile: it is missing, a folder or device, unreadable, larger than `max_bytes` bytes, or not UTF-8.
    """
    raw = _bytes(path, max_bytes)
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line, column = _line_column(raw[: error.start].decode("utf-8", "replace"), error.start)
        problem = Problem(line, column, "not UTF-8 text", "save the file as UTF-8")
        raise bad_file(path, [problem]) from error


def _line_column(text: str, position: int) -> tuple[int, int]:
    before = text[:position]
    return before.count("\n") + 1, len(before) - before.rfind("\n")


def _syntax_hint(text: str, line: int) -> str:
    lines = text.splitlines()
    near = lines[line - 1] if line <= len(lines) else ""
    return "YAML is indented by spaces, never by tabs" if "\t" in near else "check indentation, quotes and colons here"


def scalar(text: str, *, plain: bool) -> str | int | float | bool | None:
    """The value of a scalar by the core schema of YAML 1.2; quoted ones (`plain` false) are text."""
    if not plain:
        return text
    if text in _NULLS:
        return None
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        return int(text)
    if len(text) <= 40 and _FLOAT.fullmatch(text):
        number = float(text)
        return number if math.isfinite(number) else text
    return text


def _position(event: yaml.Event) -> tuple[int, int]:
    mark = event.start_mark
    return (mark.line + 1, mark.column + 1) if mark else (1, 1)


class _Open:
    """A mapping or list that is still being read."""

    __slots__ = ("data", "key", "key_at", "spot")

    def __init__(self, data: dict[str, object] | list[object], spot: Spot) -> None:
        self.data = data
        self.spot = spot
        self.key: str | None = None
        self.key_at = (1, 1)


class _Builder:
    """Makes plain data of the parser's events, without recursion, and counts as it goes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problems: list[Problem] = []
        self.stack: list[_Open] = []
        self.root: tuple[object, Spot] | None = None
        self.nodes = 0

    def take(self, event: yaml.Event) -> None:
        """One event of the parser."""
        if isinstance(event, yaml.ScalarEvent):
            self._node(event)
            self._scalar(event)
        elif isinstance(event, yaml.CollectionStartEvent):
            self._node(event)
            data: dict[str, object] | list[object] = {} if isinstance(event, yaml.MappingStartEvent) else []
            self._open(event, data)
        elif isinstance(event, yaml.CollectionEndEvent):
            self.stack.pop()
        elif isinstance(event, yaml.AliasEvent):
            self._stop(event, f"aliases are not allowed: `*{event.anchor}`", "write it out, or use a template")
        elif isinstance(event, yaml.DocumentStartEvent) and self.root is not None:
            self._stop(event, "a second document begins here", "keep one document per file")

    def finish(self) -> Source:
        """What was read."""
        if self.problems:
            raise bad_file(self.path, self.problems)
        if self.root is None or self.root[0] is None:
            raise bad_file(self.path, [Problem(1, 1, "the file is empty", "it holds comments alone")])
        return Source(self.path, *self.root)

    def _node(self, event: yaml.ScalarEvent | yaml.CollectionStartEvent) -> None:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            self._stop(event, f"more than {MAX_NODES} values", "templates and groups keep an estate small")
        if event.tag is not None:
            self._stop(event, f"tags are not allowed: {shown(event.tag)}", "write the plain value")

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        if _CONTROL.search(event.value) or _BIDI.search(event.value):
            self._stop(event, "a control character is not allowed in a text", "")
        top = self.stack[-1] if self.stack else None
        if top is not None and isinstance(top.data, dict) and top.key is None:
            self._key(top, event)
            return
        self._put(scalar(event.value, plain=event.implicit[0]), Spot(_position(event)))

    def _key(self, top: _Open, event: yaml.ScalarEvent) -> None:
        key = event.value
        if key in top.data:
            first = top.spot.keys[key][0]
            self._note(event, f"duplicate key {shown(key)}", f"it stands first in line {first}")
        top.key, top.key_at = key, _position(event)

    def _open(self, event: yaml.CollectionStartEvent, data: dict[str, object] | list[object]) -> None:
        top = self.stack[-1] if self.stack else None
        if top is not None and isinstance(top.data, dict) and top.key is None:
            self._stop(event, "a key must be text", "expected `key: value`; quote text that begins with { or [")
        if len(self.stack) >= MAX_DEPTH:
            self._stop(event, f"nested deeper than {MAX_DEPTH} levels", "")
        spot = Spot(_position(event))
        self._put(data, spot)
        self.stack.append(_Open(data, spot))

    def _put(self, value: object, spot: Spot) -> None:
        if not self.stack:
            self.root = (value, spot)
            return
        top = self.stack[-1]
        where: str | int
        if isinstance(top.data, dict):
            assert top.key is not None
            where = top.key
            top.data[top.key] = value
            top.spot.keys[top.key] = top.key_at
            top.key = None
        else:
            where = len(top.data)
            top.data.append(value)
        top.spot.within[where] = spot

    def _note(self, event: yaml.Event, message: str, hint: str) -> None:
        self.problems.append(Problem(*_position(event), message, hint))

    def _stop(self, event: yaml.Event, message: str, hint: str) -> None:
        self._note(event, message, hint)
        raise bad_file(self.path, self.problems)
