"""Every mistake in a topology file is refused with its position, what was expected, and what was meant."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from orchestrator.errors import BadFile
from orchestrator.loader import load_topology
from orchestrator.yamlfile import MAX_BYTES
from tests.unit.estates import KINDS, SMALL, changed, load

SYNC = "          - {from: home, to: peer, mode: sync}\n"
ASYNC = "          - {from: peer, to: c, mode: async, lag_max: 30s}\n"
FIRST = "  first:\n    name: {en: First, zh: 第一}\n    template: standard\n"
DB_ROLES = "        kind: postgresql\n        roles: {home: primary, peer: standby, c: standby}\n"
DB = "        kind: postgresql\n        roles: "

MISTAKES = {
    "unknown key": ("  tier: 2\n", "  teir: 2\n", "unknown key `teir`", "did you mean `tier`?"),
    "unknown key in a service": ("serves: db", "servs: db", "unknown key `servs`", "did you mean `serves`?"),
    "unknown centre": ("to: c, mode: async", "to: d, mode: async", "unknown centre `d`", "expected one of"),
    "unknown centre in a layout": ("{home: b, peer: a}", "{home: b, peer: x}", "unknown centre `x`", "`a`"),
    "unknown centre in a link": ("ends: [a, b]", "ends: [a, bb]", "unknown centre `bb`", "`b`"),
    "unknown place": ("{edge: primary}", "{egde: primary}", "unknown centre `egde`", "did you mean `edge`?"),
    "place without a layout": ("  layout: a-first\n", "", "unknown centre `home`", "needs a `layout`"),
    "unknown layout": ("layout: a-first", "layout: a-frist", "unknown layout `a-frist`", "did you mean `a-first`?"),
    "unknown site": ("a: {site: near", "a: {site: naer", "unknown site `naer`", "did you mean `near`?"),
    "unknown system": ("[first, pools]", "[frist, pools]", "unknown system `frist`", "did you mean `first`?"),
    "unknown kind": ("kind: postgresql", "kind: postgres", "unknown kind `postgres`", "did you mean `postgresql`?"),
    "unknown param": ("{port: 5432}", "{prot: 5432}", "unknown param `prot` of `postgresql`", "did you mean `port`?"),
    "unknown template": (
        FIRST,
        FIRST.replace("standard", "standart"),
        "unknown template `standart`",
        "did you mean `standard`?",
    ),
    "unknown variable": ("{system}-{service}.{centre}.test:5432", "{sytem}:5432", "unknown variable `{sytem}`", "`{"),
    "two primaries": (
        DB_ROLES,
        DB + "{home: primary, peer: primary, c: standby}\n",
        "two primaries: `a` and `b`",
        "exactly one primary",
    ),
    "no primary": (
        "roles: {home: primary, peer: primary, c: standby}",
        "roles: {home: standby, peer: standby}",
        "`app` has no primary",
        "",
    ),
    "data at the edge": (
        DB_ROLES,
        DB + "{home: primary, peer: standby, c: standby, edge: standby}\n",
        "a `postgresql` holds data and must stand in a centre",
        "",
    ),
    "particulars of an unknown centre": (
        FIRST,
        FIRST + '    services: {db: {instances: {d: {address: "x:1"}}}}\n',
        "unknown centre `d`",
        "`a`",
    ),
    "no instance at all": ("roles: {edge: primary}", "roles: {}", "`entry` has no instance in any centre", "roles"),
    "unknown role": ("{edge: primary}", "{edge: leader}", "unknown value `leader`", "`primary`"),
    "dependency cycle": (
        FIRST,
        FIRST + "    depends_on: [second]\n",
        "dependency cycle: ",
        "too many",
    ),
    "depends on itself": (FIRST, FIRST + "    depends_on: [first]\n", "dependency cycle: first → first", ""),
    "replication cycle": (
        SYNC,
        "          - {from: c, to: peer, mode: async, lag_max: 1s}\n",
        "replication cycle: ",
        "primary outwards",
    ),
    "replication to itself": ("from: peer, to: c", "from: peer, to: peer", "replication from `b` to itself", ""),
    "two sources": (
        ASYNC,
        ASYNC + "          - {from: home, to: c, mode: async, lag_max: 30s}\n",
        "`c` receives from two centres: `b` and `a`",
        "one source",
    ),
    "standby that nobody feeds": (ASYNC, "", "no replication reaches the standby in `c`", ""),
    "replication into the primary": (
        ASYNC,
        "          - {from: c, to: home, mode: async, lag_max: 1s}\n",
        "replication into the primary in `a`",
        "",
    ),
    "sync from a standby": (
        "from: peer, to: c, mode: async, lag_max: 30s",
        "from: peer, to: c, mode: sync",
        "sync",
        "",
    ),
    "sync across cities": (
        ASYNC,
        "          - {from: home, to: c, mode: sync}\n",
        "sync replication across cities, from `a` to `c`",
        "`across_cities: true` and a `reason`",
    ),
    "across cities without a reason": (
        ASYNC,
        "          - {from: home, to: c, mode: sync, across_cities: true}\n",
        "`across_cities` needs a `reason`",
        "every write",
    ),
    "across cities where none is": (
        "mode: sync}",
        "mode: sync, across_cities: true, reason: because of it}",
        "for a sync replication between cities",
        "",
    ),
    "sync with a lag": ("mode: sync}", "mode: sync, lag_max: 1s}", "a sync replication has no `lag_max`", ""),
    "async without a lag": (", lag_max: 30s", "", "an async replication needs `lag_max`", "30s"),
    "unknown mode": ("mode: sync}", "mode: snyc}", "unknown value `snyc`", "did you mean `sync`?"),
    "rpo of a centre": (
        "peer, mode: sync}",
        "peer, mode: async, lag_max: 4s}",
        "`centre_loss` rpo of 0s cannot be given: the best copy of `db` in another centre (`b`) may be 4s behind",
        "4s or more",
    ),
    "rpo of a city": (
        "lag_max: 30s",
        "lag_max: 2m",
        "`site_loss` rpo of 1m cannot be given: the best copy of `db` in another city (`c`) may be 2m behind",
        "2m or more",
    ),
    "duplicate key": ("systems:\n", "estate: twice\nsystems:\n", "duplicate key `estate`", "first in line 1"),
    "duplicate system": ('"pool-{member}"', '"first"', "duplicate system id `first`", "it stands first at"),
    "group and system of one name": ("  first:\n", "  pools:\n", "`pools` is the id of a system too", ""),
    "bare number": ("rto: 1m, rpo: 0s}\n  site", "rto: 60, rpo: 0s}\n  site", "got `60`", "write `60s` or `60m`"),
    "wrong unit": ("rto: 5m, rpo: 60s", "rto: 5 minutes, rpo: 60s", "got `5 minutes`", "ms, s, m, h, d"),
    "negative": ("rto: 5m, rpo: 60s", "rto: 5m, rpo: -60s", "got `-60s`", "duration"),
    "rto of zero": ("rto: 5m", "rto: 0s", "expected more than zero", "`5m`"),
    "link without length": ("rtt_max: 2ms", "rtt_max: 0ms", "expected more than zero", ""),
    "bad yaml": ("{site: near, role: production", "{site: near role: production", "not YAML", "colons"),
    "a tab": ("  tier: 2\n", "\ttier: 2\n", "not YAML", "tabs"),
    "a tag": ("estate: small", "estate: !!python/name:os.system small", "tags are not allowed", "plain value"),
    "a custom tag": ("estate: small", "estate: !vault small", "tags are not allowed: `!vault`", ""),
    "an alias": (
        "  a-first: {home: a, peer: b}",
        "  a-first: &x {home: a, peer: b}\n  other: *x",
        "aliases are not allowed: `*x`",
        "template",
    ),
    "a merge key": ("  tier: 2\n", "  <<: {tier: 2}\n", "unknown key `<<`", ""),
    "a list for a mapping": ("defaults:\n", "defaults: []\nold:\n", "`defaults`: expected a mapping", ""),
    "a word for a number": ("tier: 2\n", "tier: two\n", "`tier`: expected a whole number, got `two`", ""),
    "tier out of range": ("tier: 2\n", "tier: 0\n", "`tier`: expected at least 1, got `0`", ""),
    "a number for text": ("owner: {en: Owner,", "owner: {en: 3,", "`en`: expected text", "quotes"),
    "missing key": ("estate: small\n", "", "missing key: `estate`", ""),
    "missing keys of a centre": (
        "role: metro, name: {en: B, zh: B中心}",
        "",
        "missing keys of `b`: `role`, `name`",
        "",
    ),
    "missing objective": ("  site_loss: {rto: 5m, rpo: 60s}\n", "", "has no `site_loss`", "defaults must give it"),
    "no service": (FIRST, FIRST.replace("    template: standard\n", ""), "`first` has no service", "`template`"),
    "replication without instance": (
        DB_ROLES,
        DB + "{home: primary, peer: standby}\n",
        "replication with `c`, which has no instance",
        "`a`, `b`",
    ),
    "app without its database": ("serves: db", "serves: bd", "`app` serves an unknown service `bd`", "`db`"),
    "app of an unknown system": (
        "serves: db",
        "serves: frist/db",
        "unknown service `frist/db`",
        "did you mean `first/db`?",
    ),
    "services that serve each other": ("serves: db", "serves: entry", "services that serve each other: ", ""),
    "entry without target": ("        serves: app\n", "", "entry `entry` has no target", "`serves`"),
    "shared address": (
        '"{system}-{service}.{centre}.test:8080"',
        '"app.{centre}.test:8080"',
        "`app.a.test:8080` is the address of `first/app@a` and of `second/app@a`",
        "{system}",
    ),
    "no address": ('"{system}-{service}.{centre}.test:8080"', "app without a port", "is not an address", "host:port"),
    "port out of range": (".test:8080", ".test:80800", "is not an address", "65535"),
    "place named as a centre": ("{home: b, peer: a}", "{c: b, peer: a}", "the place `c` has the name of a centre", ""),
    "edge as a centre": ("  c: {site: far", "  edge: {site: far", "`edge` means outside every centre", ""),
    "one centre twice": ("b-first: {home: b, peer: a}", "b-first: {home: b, peer: b}", "are the same centre", ""),
    "link to itself": ("ends: [a, b]", "ends: [a, a]", "a link from `a` to itself", ""),
    "member that is no identifier": ("      east:", "      East:", "`East`: expected lower-case letters", ""),
    "system id that is no identifier": ('"pool-{member}"', '"Pool {member}"', "is not an identifier", "lower-case"),
    "particulars of no instance": (
        FIRST,
        FIRST + '    services: {db: {instances: {edge: {address: "x:1"}}}}\n',
        "no instance in `edge`",
        "",
    ),
    "service that no template has": (
        FIRST,
        FIRST + "    services: {dbb: {params: {port: 1}}}\n",
        "service `dbb` has no `kind`",
        "did you mean `db`?",
    ),
    "seen from itself": (
        FIRST,
        FIRST + '    services: {db: {instances: {a: {seen_from: {a: "x:1"}}}}}\n',
        "where the instance itself stands",
        "",
    ),
    "replication of an app": (
        "        serves: db\n",
        "        serves: db\n        replications: [{from: a, to: b, mode: sync}]\n",
        "a `http-app` holds no data to replicate",
        "",
    ),
}


@pytest.mark.parametrize(("old", "new", "message", "hint"), MISTAKES.values(), ids=MISTAKES.keys())
def test_refused(old: str, new: str, message: str, hint: str) -> None:
    text = changed(old, new)
    with pytest.raises(BadFile) as caught:
        load(text)
    error = caught.value
    everything = f"{error.message}\n{error.hint}"
    assert error.exit_code == 4
    assert message in error.message
    assert hint in everything
    for line in error.message.splitlines():
        name, row, column, words = line.split(":", 3)
        assert name == "t.yaml" and words.strip()
        assert 1 <= int(row) <= text.count("\n") + 1 and int(column) >= 1


def test_the_position_is_that_of_the_mistake() -> None:
    with pytest.raises(BadFile) as caught:
        load(changed("to: c, mode: async", "to: d, mode: async"))
    line = next(n for n, words in enumerate(SMALL.splitlines(), 1) if "to: c, mode: async" in words)
    column = SMALL.splitlines()[line - 1].index("to: c") + len("to: ") + 1
    assert caught.value.message.startswith(f"t.yaml:{line}:{column}: unknown centre `d`")


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file() -> None:
    text = changed("  tier: 2\n", "  teir: 2\n", changed("rtt_max: 2ms", "rtt_max: 2", SMALL))
    with pytest.raises(BadFile) as caught:
        load(text)
    lines = caught.value.message.splitlines()
    assert ["`rtt_max`" in lines[0], "unknown key `teir`" in lines[1], len(lines)] == [True, True, 2]
    assert caught.value.hint.startswith("2 problems in t.yaml")


def test_a_mistake_in_a_template_is_told_once() -> None:
    with pytest.raises(BadFile) as caught:
        load(changed("kind: postgresql", "kind: postgres"))
    assert caught.value.message.count("unknown kind") == 1 and "\n" not in caught.value.message


def test_an_rpo_that_many_cannot_keep_is_told_once() -> None:
    with pytest.raises(BadFile) as caught:
        load(changed("lag_max: 30s", "lag_max: 2m"))
    assert "`first` and 3 more: `site_loss` rpo" in caught.value.message


def test_a_dependency_cycle_is_named() -> None:
    with pytest.raises(BadFile) as caught:
        load(changed(FIRST, FIRST + "    depends_on: [second]\n"))
    assert "first → second → first" in caught.value.message or "second → first → second" in caught.value.message


def test_a_replication_cycle_is_named() -> None:
    with pytest.raises(BadFile) as caught:
        load(changed(SYNC, "          - {from: c, to: peer, mode: async, lag_max: 1s}\n"))
    assert "b → c → b" in caught.value.message or "c → b → c" in caught.value.message


def test_no_copy_in_another_city() -> None:
    text = changed(ASYNC, "", changed(DB_ROLES, DB + "{home: primary, peer: standby}\n"))
    with pytest.raises(BadFile) as caught:
        load(text)
    assert "`site_loss` rpo cannot be given: `db` has no copy in another city" in caught.value.message


def test_nothing_to_protect() -> None:
    with pytest.raises(BadFile) as caught:
        load(SMALL[: SMALL.index("systems:\n")])
    assert "no system is described" in caught.value.message


def estate(tmp_path: Path, raw: bytes) -> Path:
    (tmp_path / "topology.yaml").write_bytes(raw)
    return tmp_path


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "topology.yaml:1:1: the file is empty"),
        (b" \n\n", "topology.yaml:1:1: the file is empty"),
        (b"# nothing but words\n", "topology.yaml:1:1: the file is empty"),
        (b"---\n", "topology.yaml:1:1: the file is empty"),
        (b"\x7fELF\x02\x01\x01\x00\x00\x00", "control character"),
        (b"estate: \xff\xfe\n", "topology.yaml:1:9: not UTF-8 text"),
        ("estate: 法人".encode("gbk"), "not UTF-8 text"),
        ("estate: x".encode("utf-16"), "not UTF-8 text"),
        (b"just words", "expected a mapping"),
        (b"- a\n- b\n", "expected a mapping"),
        (b"a: 1\n---\nb: 2\n", "topology.yaml:2:1: a second document"),
        (b'estate: "\\e[31m"\n', "control character"),
        ("estate: \u202egnp.exe\n".encode(), "control character"),
        (b"[" * 100_000, "nested deeper than"),
        (b"- " * 100_000, "nested deeper than"),
        (b"{a: " * 100_000, "nested deeper than"),
        (b"? " * 100_000, "a key must be text"),
        (b"a: [" + b"1," * 300_000 + b"]", "more than 200000 values"),
    ],
    ids=range(18),
)
def test_a_file_that_cannot_be_read(tmp_path: Path, raw: bytes, message: str) -> None:
    with pytest.raises(BadFile) as caught:
        load_topology(estate(tmp_path, raw), KINDS)
    assert message in caught.value.message and str(tmp_path) in caught.value.message


def test_an_alias_bomb_costs_nothing(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)]
    begin = time.monotonic()
    with pytest.raises(BadFile, match="aliases are not allowed"):
        load_topology(estate(tmp_path, "\n".join(lines).encode()), KINDS)
    assert time.monotonic() - begin < 2


def test_an_expansion_bomb_is_refused_before_it_expands() -> None:
    members = "".join(f"      m{n}: {{en: m, zh: m}}\n" for n in range(4000))
    services = "".join(f"      s{n}: {{kind: mysql}}\n" for n in range(4000))
    text = changed("templates:\n", f"templates:\n  many:\n    services:\n{services}", SMALL) + (
        f"  bomb:\n    name: {{en: b, zh: b}}\n    template: many\n    members:\n{members}"
    )
    begin = time.monotonic()
    with pytest.raises(BadFile, match="more than 200000 parts after expansion"):
        load(text)
    assert time.monotonic() - begin < 20


def test_an_enormous_file_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    with (tmp_path / "topology.yaml").open("wb") as file:
        file.truncate(3 * 1024**3)
    begin = time.monotonic()
    with pytest.raises(BadFile, match=f"larger than {MAX_BYTES} bytes"):
        load_topology(tmp_path, KINDS)
    assert time.monotonic() - begin < 5


def test_no_such_estate(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="no such file"):
        load_topology(tmp_path / "nowhere", KINDS)
    with pytest.raises(BadFile, match=r"topology\.yaml: no such file"):
        load_topology(tmp_path, KINDS)


def test_a_folder_where_the_file_should_be(tmp_path: Path) -> None:
    (tmp_path / "topology.yaml").mkdir()
    with pytest.raises(BadFile, match="this is a folder"):
        load_topology(tmp_path, KINDS)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "topology.yaml")
    with pytest.raises(BadFile, match="not a regular file"):
        load_topology(tmp_path, KINDS)


def test_a_path_with_a_zero_byte() -> None:
    with pytest.raises(BadFile, match="cannot be read"):
        load_topology(Path("a\0b"), KINDS)
