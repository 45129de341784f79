"""`drctl verify` as an operator runs it, on a real pair described by a topology file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.cli.main import run
from tests.integration.verify_pair import Pair, pair
from tests.integration.verify_tools import Heap, settle_to_disk

TOPOLOGY = """
estate: pair
name: {{en: A pair, zh: 一对}}
sites:
  chongqing: {{en: Chongqing, zh: 重庆}}
  remote: {{en: Remote, zh: 异地}}
centres:
  a: {{site: chongqing, role: production, name: {{en: A, zh: 甲}}}}
  b: {{site: remote, role: remote, name: {{en: B, zh: 乙}}}}
links:
  a-b: {{ends: [a, b], rtt_max: 5ms, name: {{en: A-B, zh: 甲乙}}}}
systems:
  legal-person:
    name: {{en: Legal persons, zh: 法人库}}
    tier: 1
    owner: {{en: Bureau, zh: 局}}
    filing: PLACEHOLDER-1
    centre_loss: {{rto: 60s, rpo: 60s}}
    site_loss: {{rto: 5m, rpo: 60s}}
    services:
      db:
        kind: postgresql
        roles: {{a: primary, b: standby}}
        params: {{user: postgres, database: app}}
        replications: [{{from: a, to: b, mode: async, lag_max: 30s}}]
        instances:
          a: {{address: "127.0.0.1:{a}"}}
          b: {{address: "127.0.0.1:{b}"}}
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Pair, list[str]]]:
    folder = tmp_path_factory.mktemp("estate")
    with pair() as made:
        made.a.sql("CREATE TABLE person (id int PRIMARY KEY, name text) WITH (autovacuum_enabled = false)")
        made.a.sql("INSERT INTO person SELECT g, 'row-' || g || '-here' FROM generate_series(1, 2000) g")
        yield made, words(folder, made.a.port, made.b.port)


def words(folder: Path, a: int, b: int) -> list[str]:
    (folder / "topology.yaml").write_text(TOPOLOGY.format(a=a, b=b), encoding="utf-8")
    return ["--estate", str(folder), "--home", str(folder / "home"), "--lang", "en"]


def test_a_proven_pair_ends_with_0(world: tuple[Pair, list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*world[1], "verify", "--samples", "5"]) == 0
    shown = capsys.readouterr().out
    for text in ("legal-person/db@a → b", "1 equal", "consistent cut", "1 of 1 replicas proven"):
        assert text in shown


def test_json_is_one_document(world: tuple[Pair, list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*world[1], "verify", "--only", "content", "--no-locks", "--output", "json"]) == 0
    [proof] = json.loads(capsys.readouterr().out)
    [replica] = proof["replicas"]
    assert (proof["primary"], proof["asked"]) == ("legal-person/db@a", ["content"])
    assert replica["content"]["method"] == "lock-free recheck"
    assert [t["sameness"] for t in replica["content"]["tables"]] == ["equal"]
    assert replica["position"] is None


@pytest.mark.parametrize(
    ("more", "code"),
    [
        (["--system", "legal-persn"], 2),
        (["--centre", "x"], 2),
        (["--samples", "0"], 2),
        (["--only", "everything"], 2),
        (["--against", "legal-person/db@z"], 2),
        (["--table", "nothing_like_this"], 3),
        (["--centre", "b", "--only", "positions"], 0),
        (["--centre", "a", "--only", "positions"], 3),
        (["--against", "legal-person/db@b"], 0),
    ],
)
def test_words_and_codes(
    world: tuple[Pair, list[str]], more: list[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*world[1], "verify", *more]) == code
    if code == 2:
        assert "Traceback" not in capsys.readouterr().err


def test_nobody_there_ends_with_6(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*words(tmp_path, 1, 2), "verify"]) == 6
    assert "error: no instance of any service could be read" in capsys.readouterr().err
    assert run([*words(tmp_path, 1, 2), "verify", "--against", "legal-person/db@b"]) == 6


def test_a_standby_takes_the_primarys_place_only_where_that_has_a_meaning(
    world: tuple[Pair, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    _, before = world
    for words_, told in (
        (["--from", "legal-person/db@x"], "no instance 'legal-person/db@x'"),
        (["--from", "legal-person/db@b", "--incremental"], "--from goes with none of --system"),
        (["--from", "legal-person/db@b", "--max-load", "20"], "--from goes with none of --system"),
        (["--from", "legal-person/db@b", "--system", "legal-person"], "--from goes with none of --system"),
        (["--from", "legal-person/db@b", "--only", "canary"], "--from proves neither canary rows nor names"),
        (["--from", "legal-person/db@b", "--against", "legal-person/db@b"], "is no other copy of legal-person/db"),
    ):
        assert run([*before, "verify", *words_]) == 2
        assert told in capsys.readouterr().err
    assert run([*before, "verify", "--from", "legal-person/db@a"]) == 3
    assert "it is a primary: leave --from away" in capsys.readouterr().out
    assert run([*before, "verify", "--from", "legal-person/db@b"]) == 3  # it is the only standby
    assert "it has no replica there" in capsys.readouterr().out
    assert run([*before, "verify", "--against", "legal-person/db@a", "--from", "legal-person/db@b"]) == 0
    assert "legal-person/db@b → legal-person/db@a" in capsys.readouterr().out


def test_a_difference_is_shown_by_table_key_and_column_and_ends_with_3(
    world: tuple[Pair, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    """Last in this file: it edits the standby's storage."""
    made, before = world
    settle_to_disk(made, made.b)
    heap = Heap(made.b, "person")
    made.b.stop()
    heap.flip(b"row-777-here", b"row-777-gone")
    made.b.start()
    assert run([*before, "verify", "--only", "content"]) == 3
    shown = capsys.readouterr().out
    assert "legal-person/db@b app.public.person: different, 1 rows" in shown
    assert "changed: id = 777 (name)" in shown
    assert "row-777" not in shown
    assert run([*before, "verify", "--against", "legal-person/db@b", "--show-values"]) == 3
    assert "name: 'row-777-here' ≠ 'row-777-gone'" in capsys.readouterr().out
