"""Secrets must never reach an evidence bundle: find them, and take them out where text may be changed.

Pure text in, text out. Leaves out: which files may be changed and which must be refused (bundle). A pattern can
only know secrets by their form or by the name beside them; a bare random word is not found.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from orchestrator.model.topology import Frozen

REDACTED = "[redacted]"
"""Stands where a secret was."""

_WORD = (
    "passw(?:or)?d|passwd|passphrase|secret(?:[_-]?[a-z]*key)?|token|api[_-]?key|access[_-]?key|private[_-]?key"
    "|credentials?|_pass|pwd|口令|密码"
)
_NAMED = re.compile(
    rf"""(?P<name>{_WORD})
         (?P<join>(?:\\*["'])?\s*(?:=>|[:=\uff1a])\s*)
         (?P<value>(?P<slash>\\*)(?P<quote>["'])(?:\\.|(?!(?P=quote)).)*?(?P=slash)(?P=quote)|[^\s,;&"'\\<>)}}\]]+)""",
    re.IGNORECASE | re.VERBOSE,
)
_DSN = re.compile(r"(?P<head>://[^\s:/@\"'<>]{0,256}:)(?P<value>[^\s/@\"'<>]{1,512})(?=@)")
_HEADER = re.compile(
    r"(?P<head>(?:authorization|x-auth-token|x-subject-token|cookie)\\*[\"']?\s*[:=]\s*\\*[\"']?"
    r"(?:(?:bearer|basic|digest|token)\s+)?+)(?P<value>[A-Za-z0-9+/=._~-]{4,})",
    re.IGNORECASE,
)
_BEARER = re.compile(r"(?P<head>\bbearer\s+)(?P<value>[A-Za-z0-9+/=._~-]{12,})", re.IGNORECASE)
_SHAPES = re.compile(
    r"\b(?:(?:AKIA|ASIA)[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{30,}|github_pat_\w{30,}|glpat-[\w-]{18,}|xox[abprs]-[\w-]{10,}"
    r"|eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]+|gAAAAA[\w-]{60,}={0,2}|sk-[A-Za-z0-9_-]{24,}"
    r"|SCRAM-SHA-256\$\d+:[^\s\"']+)"
)
_KIND = r"(?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----"
_KEY_BEGIN = re.compile(rf"-----BEGIN {_KIND}")
_KEY = re.compile(rf"-----BEGIN {_KIND}.*?(?:-----END {_KIND}|\Z)", re.DOTALL)
_HARMLESS = re.compile(
    r"""^\\*["']?(?:|\[redacted\]?|<redacted>|\*+|x{3,}|null|none|true|false|yes|no|on|off|undefined|omit|prompt|-
        |VALUE_SPECIFIED_IN_NO_LOG_PARAMETER|\$\{?\w+\}?|\$\(.*|\{\{.*|%\(?\w+\)?s?|\d{1,3})\\*["']?$""",
    re.IGNORECASE | re.VERBOSE,
)
_HINTS = (
    *("passw", "passphrase", "secret", "token", "key", "credential", "pwd", "_pass", "口令", "密码", "private"),
    *("://", "authorization", "cookie", "bearer", "akia", "asia", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat"),
    *("glpat", "xox", "eyj", "gaaaaa", "sk-", "scram-sha"),
)


class Secret(Frozen, kw_only=True):
    """Where something that looks like a secret stands; never what it is."""

    line: int
    """1-based."""
    kind: str
    """What it looks like, for people: `private key`, `named secret`, `password in a URL` …"""


def _is_path(match: re.Match[str]) -> bool:
    """`PWD=/home/x` is a folder and no password."""
    return match["name"].lower().endswith("pwd") and match["value"].lstrip("\\\"'").startswith("/")


def _named(match: re.Match[str]) -> bool:
    return not _HARMLESS.match(match["value"]) and not _is_path(match)


def _valued(match: re.Match[str]) -> bool:
    return not _HARMLESS.match(match["value"])


def _without_named(match: re.Match[str]) -> str:
    if not _named(match):
        return match[0]
    edge = (match["slash"] or "") + (match["quote"] or "")
    return f"{match['name']}{match['join']}{edge}{REDACTED}{edge}"


def _without_value(match: re.Match[str]) -> str:
    return match["head"] + REDACTED if _valued(match) else match[0]


def redact(text: str) -> str:
    """The text with everything that `find_secrets` would find replaced by `[redacted]`; names and structure stay."""
    if not text:
        return text
    text = _KEY.sub(REDACTED, text)
    if not _may_hold(text):
        return text
    text = _DSN.sub(_without_value, text)
    text = _HEADER.sub(_without_value, text)
    text = _BEARER.sub(_without_value, text)
    text = _SHAPES.sub(REDACTED, text)
    return _NAMED.sub(_without_named, text)


def find_secrets(text: str) -> Iterator[Secret]:
    """Every line that holds something that looks like a secret, at most one finding a line."""
    if not _may_hold(text):
        return
    for number, line in enumerate(text.split("\n"), 1):
        kind = _kind(line) if _may_hold(line) else ""
        if kind:
            yield Secret(line=number, kind=kind)


def _kind(line: str) -> str:
    if _KEY_BEGIN.search(line):
        return "private key"
    if any(map(_valued, _DSN.finditer(line))):
        return "password in a URL"
    if any(_valued(m) for pattern in (_HEADER, _BEARER) for m in pattern.finditer(line)):
        return "authorization header"
    if _SHAPES.search(line):
        return "token or access key"
    return "named secret" if any(map(_named, _NAMED.finditer(line))) else ""


def _may_hold(text: str) -> bool:
    """A cheap look before the patterns: a canary ledger of megabytes holds none of these words."""
    low = text.lower()
    return any(hint in low for hint in _HINTS)
