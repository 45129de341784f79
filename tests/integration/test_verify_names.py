"""One statement over a database and a bucket, on a real PostgreSQL pair and listings over real HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.cli.main import run
from orchestrator.model.objects import NameColumn
from orchestrator.model.rows import RowsUnreadable, Trouble
from orchestrator.model.topology import Role
from orchestrator.providers.postgresql_names import PostgresNames
from tests.benchmarks.objects import DIFFERENCES, buckets, names
from tests.integration import test_verify_command as pairs
from tests.integration.verify_pair import Pair, pair

KEYS = 2500
BUCKET = """      files:
        kind: s3-bucket
        roles: {{a: primary, b: standby}}
        params: {{named_by: {named_by}}}
        replications: [{{from: a, to: b, mode: async, lag_max: 1s}}]
        instances:
          a: {{address: "{a}/files"}}
          b: {{address: "{b}/files"}}
"""
AWKWARD = ["../up", "Z", "a", "a b", "a+b", "ä", "a\x01", "文/件", "\U0001f5ff", "ﬀ"]


@pytest.fixture(scope="module")
def made() -> Iterator[Pair]:
    with pair() as both:
        both.a.sql("CREATE TABLE files (id int PRIMARY KEY, key text)")
        with both.a.connect() as connection, connection.cursor() as cursor:
            cursor.executemany("INSERT INTO files VALUES (%s, %s)", list(enumerate(_keys())))
        both.a.sql("INSERT INTO files VALUES (-1, NULL), (-2, %s)", _keys()[0])  # unnamed, and named twice
        both.catch_up()
        yield both


def _keys() -> list[str]:
    return [key.decode() for key in names(KEYS, "skewed")]


@pytest.fixture
def estate(made: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Words of an estate whose bucket in b lacks five of the objects that the database names."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "key")
    with buckets(KEYS, "skewed") as (whole, altered):
        words = pairs.words(tmp_path, made.a.port, made.b.port)
        declare(tmp_path, "db public.files.key", whole, altered)
        yield [*words, "verify", "--only", "names"]


def declare(folder: Path, named_by: str, a: str = "127.0.0.1:1", b: str = "127.0.0.1:2") -> None:
    topology = folder / "topology.yaml"
    text = topology.read_text(encoding="utf-8").partition("      files:")[0]
    topology.write_text(text + BUCKET.format(named_by=named_by, a=a, b=b), encoding="utf-8")


def test_what_the_database_names_and_the_bucket_lacks_is_told_for_each_centre(
    estate: list[str], made: Pair, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*estate, "--output", "json"]) == 3
    (proof,) = json.loads(capsys.readouterr().out)
    a, b = proof["names"]
    assert (a["named"], a["stored"], a["missing_count"], a["unnamed_count"]) == (KEYS, KEYS, 0, 0)
    assert (b["named"], b["missing_count"]) == (KEYS, DIFFERENCES // 2)
    assert set(b["missing"]) < set(_keys())
    made.a.sql("DELETE FROM files WHERE key = ANY(%s)", b["missing"])
    made.catch_up()
    try:
        assert run(estate) == 0
        told = capsys.readouterr().out
        assert "✓ legal-person/db@a (public.files.key) → legal-person/files@a: 2,495 named, 2,500 stored" in told
        assert "0 missing, 5 that no row names" in told
        assert "2 of 2 statements over a database and its bucket hold" in told
    finally:
        made.a.sql(
            "INSERT INTO files SELECT 100000 + n, k FROM unnest(%s::text[]) WITH ORDINALITY x(k, n)", b["missing"]
        )
        made.catch_up()


def test_a_wrong_declaration_is_refused_with_its_place(
    made: Pair, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*pairs.words(tmp_path, made.a.port, made.b.port), "topology", "validate"]
    for wrong, why in (("db files", "is not SERVICE schema.table.column"), ("dbb public.files.key", "unknown service")):
        declare(tmp_path, wrong)
        assert run(words) == 4
        told = capsys.readouterr().err
        assert why in told
        assert "topology.yaml:32:28" in told


async def test_names_come_in_the_order_of_their_bytes_from_primary_and_standby(made: Pair) -> None:
    made.a.sql("CREATE TABLE awkward (name text)")
    made.a.sql("INSERT INTO awkward SELECT unnest(%s::text[])", AWKWARD)
    made.catch_up()
    column = NameColumn(schema="public", table="awkward", name="name")
    for node, role in ((made.a, Role.PRIMARY), (made.b, Role.STANDBY)):
        source = PostgresNames(node.instance(role))
        found = [name async for batch in source.names(column) for name in batch]
        assert found == sorted(name.encode() for name in AWKWARD)
        held = await source.still(column, [b"../up", b"nobody", b"\xff", b"a\0"])
        assert held == {b"../up"}
        await source.close()


async def test_a_column_that_does_not_exist_is_trouble(made: Pair) -> None:
    source = PostgresNames(made.a.instance(Role.PRIMARY))
    with pytest.raises(RowsUnreadable) as raised:
        [b async for b in source.names(NameColumn(schema="public", table="files", name="none"))]
    assert raised.value.trouble is Trouble.GONE
    await source.close()
