"""Every kind of table and type that PostgreSQL has: equal where equal, and a planted difference in each is found."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from orchestrator.model.observation import Verdict
from orchestrator.model.proof import ContentProof, DifferenceKind, Method, Sameness
from orchestrator.model.topology import Role
from orchestrator.providers.postgresql_rows import PostgresRows
from orchestrator.verification.options import Options
from orchestrator.verification.service import compare_against
from tests.integration.verify_pair import Pair, pair
from tests.integration.verify_tools import apart, content, of, prove

BUILD = """
CREATE SCHEMA "Ämter"; CREATE TYPE colour AS ENUM ('red', 'blue'); CREATE DOMAIN doc AS json;
CREATE TYPE pair AS (x int, y text);
CREATE COLLATION public.unicode_like (provider = builtin, locale = 'C.UTF-8');
CREATE TABLE numbers (id numeric PRIMARY KEY, n numeric, f float8, r real);
INSERT INTO numbers VALUES (1, 1.0, 'NaN', 1.1), (2, 'NaN', '-0', 'Infinity'), (3.50, 1e30, 0.1, NULL);
CREATE TABLE texts (a text, b uuid, v text, PRIMARY KEY (a, b));
INSERT INTO texts SELECT 'ä' || g, gen_random_uuid(), md5(g::text) FROM generate_series(1, 2000) g;
CREATE TABLE odd (id int PRIMARY KEY, j json, d doc, x jsonpath, p point, b bit(4), c colour, arr int[], comp pair,
                  rng int4range, ts tsvector, jb jsonb, raw bytea, i interval, ip inet, lsn pg_lsn, boxes box[]);
INSERT INTO odd SELECT g, '{"a":1}', '{"b": 2}', '$.a', '(1,2)', B'1010', 'red', '{1,2}', '(1,z)', '[1,5)', 'a b',
  '{"k":[1]}',
  '\\x00ff', '1 month', '10.0.0.1', '0/1', '{(1,1),(0,0)}' FROM generate_series(1, 300) g;
CREATE TABLE nokey (a int, b text); INSERT INTO nokey SELECT g % 3, 'same' FROM generate_series(1, 3000) g;
CREATE TABLE uniq (a int NOT NULL UNIQUE, b text); INSERT INTO uniq SELECT g, 'u' || g FROM generate_series(1, 50) g;
CREATE TABLE "Quoted ""Name" ("The Key" int PRIMARY KEY, "select" text); INSERT INTO "Quoted ""Name" VALUES (1, 'x');
CREATE TABLE "Ämter"."Büro" (id int PRIMARY KEY); INSERT INTO "Ämter"."Büro" VALUES (1);
CREATE TABLE parted (id int, at date, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE parted_2 PARTITION OF parted DEFAULT;
INSERT INTO parted SELECT g, '2024-06-01'::date + g FROM generate_series(1, 1000) g;
CREATE TABLE generated (id int PRIMARY KEY, twice int GENERATED ALWAYS AS (id * 2) STORED,
                        thrice int GENERATED ALWAYS AS (id * 3) VIRTUAL);
INSERT INTO generated SELECT generate_series(1, 100);
CREATE UNLOGGED TABLE volatile (id int); INSERT INTO volatile SELECT generate_series(1, 10);
CREATE TABLE empty (id int PRIMARY KEY); CREATE TABLE nothing (); INSERT INTO nothing DEFAULT VALUES;
CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child () INHERITS (parent);
INSERT INTO parent VALUES (1); INSERT INTO child VALUES (2);
CREATE TABLE moments (id int PRIMARY KEY, at timestamptz, plain timestamp, t timetz, d date, i interval);
INSERT INTO moments VALUES (1, 'infinity', '-infinity', '12:00+08', 'infinity', '-1 mon'), (2, now(), now(), now(),
  now(), '1 day');
CREATE TABLE huge (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), body text STORAGE EXTERNAL, small bytea);
INSERT INTO huge (body, small) SELECT repeat(md5(g::text), 60000), decode(md5(g::text), 'hex')
  FROM generate_series(1, 3) g;
CREATE TABLE collated (a text COLLATE "C", b text COLLATE pg_c_utf8, c text COLLATE public.unicode_like,
                       PRIMARY KEY (b, a));
INSERT INTO collated VALUES ('a', 'Ä', 'ß'), ('A', 'ä', 'SS');
CREATE MATERIALIZED VIEW summary AS SELECT count(*) AS n FROM texts;
CREATE SEQUENCE counting; CREATE SEQUENCE downwards INCREMENT -3; CREATE SEQUENCE unused;
CREATE TABLE dropped (id int PRIMARY KEY, gone text, kept text); INSERT INTO dropped VALUES (1, 'g', 'k');
ALTER TABLE dropped DROP COLUMN gone; ALTER TABLE dropped ADD COLUMN added int DEFAULT 7;
"""
PLANT = """
UPDATE numbers SET n = 1.00 WHERE id = 1;
UPDATE numbers SET r = 2 WHERE id = 3.5;
UPDATE texts SET v = 'other' WHERE a = 'ä42'; DELETE FROM texts WHERE a = 'ä43';
INSERT INTO texts VALUES ('zz', '00000000-0000-0000-0000-000000000001', 'new');
UPDATE odd SET j = '{"a":2}' WHERE id = 1; UPDATE odd SET p = '(1,3)' WHERE id = 2;
UPDATE odd SET boxes = '{}' WHERE id = 3;
UPDATE odd SET x = '$.b', jb = '{}' WHERE id = 4;
DELETE FROM nokey WHERE ctid = (SELECT min(ctid) FROM nokey WHERE a = 1); INSERT INTO nokey VALUES (9, 'only here');
UPDATE uniq SET b = 'U' WHERE a = 7;
UPDATE "Quoted ""Name" SET "select" = 'y';
DELETE FROM "Ämter"."Büro";
INSERT INTO parted VALUES (5000, '2030-01-01');
INSERT INTO empty VALUES (1);
UPDATE moments SET at = at + interval '1 microsecond' WHERE id = 2;
UPDATE huge SET body = body || 'x' WHERE body LIKE md5('2') || '%';
UPDATE collated SET c = 'ss' WHERE a = 'A';
DROP TABLE uniq CASCADE; CREATE TABLE surplus (id int); ALTER TABLE dropped ADD COLUMN late int;
UPDATE dropped SET kept = 'K';
"""


@pytest.fixture(scope="module")
def kinds() -> Iterator[Pair]:
    with pair() as made:
        made.a.sql(BUILD)
        with made.a.connect() as connection:
            connection.execute("SELECT nextval('counting') FROM generate_series(1, 40)")
            connection.execute("SELECT nextval('downwards') FROM generate_series(1, 40)")
            connection.execute("SELECT lo_from_bytea(4242, decode(repeat('ab', 5000), 'hex'))")
        for setting in ("timezone = 'Asia/Shanghai'", "datestyle = 'SQL, DMY'", "bytea_output = 'escape'"):
            made.b.sql(f"ALTER SYSTEM SET {setting}")
        made.b.sql("ALTER SYSTEM SET extra_float_digits = -5")
        made.b.sql("SELECT pg_reload_conf()")
        made.catch_up()
        yield made


EQUAL = {
    "numbers", "texts", "odd", "nokey", "uniq", 'Quoted "Name', "parted_1", "parted_2", "generated", "empty", "nothing",
    "parent", "child", "moments", "huge", "collated",
    "summary", "dropped", "counting (sequence)", "downwards (sequence)", "unused (sequence)",
}  # fmt: skip


@pytest.mark.parametrize("locks", [True, False])
@pytest.mark.parametrize("text", [False, True])
def test_every_kind_of_table_is_equal(kinds: Pair, locks: bool, text: bool) -> None:
    found = content(kinds, locks=locks, text=text)
    results = {t.table: t.sameness for t in found.tables}
    expected = {f"public.{name}": Sameness.EQUAL for name in EQUAL}
    expected |= {"Ämter.Büro": Sameness.EQUAL, "pg_catalog.pg_largeobject": Sameness.EQUAL}
    assert results == expected | {"public.volatile": Sameness.SKIPPED}
    assert "not replicated" in of(found, "public.volatile").reason.en
    assert "no key" in of(found, "public.nokey").reason.en
    assert of(found, "public.parent").rows_left == of(found, "public.child").rows_left == 1
    assert of(found, "public.texts").rows_right == 2000
    assert found.verdict is Verdict.PASS


def test_a_database_of_its_own_without_tables_is_no_proof() -> None:
    with pair() as made:
        assert content(made).verdict is Verdict.UNKNOWN
        assert not prove(made, samples=2).ok


def test_a_copy_that_went_its_own_way_is_compared_by_key(kinds: Pair) -> None:
    """Last in this file: it promotes the standby."""
    kinds.b.sql("SELECT pg_promote()")
    service, a, b = kinds.service(), kinds.a.instance(Role.PRIMARY), kinds.b.instance(Role.STANDBY)
    same = apart(a, b, service)
    assert (same.verdict, same.method, same.position) == (Verdict.PASS, Method.APART, None)
    kinds.b.sql("VACUUM FULL texts")
    kinds.b.sql(PLANT)
    kinds.b.sql("CLUSTER texts USING texts_pkey")
    for text in (False, True):
        assert_found(apart(a, b, service, text=text))
    reported = asyncio.run(
        compare_against(service, lambda i: PostgresRows(service, i), service.instances[1].id, Options(show_values=True))
    )
    assert reported[0] == a.id
    [change] = [d for d in of(reported[1], "public.texts").differences if d.kind is DifferenceKind.CHANGED]
    assert change.columns[0].right == "other"
    assert "more than one primary" in prove(kinds).reason.en


def assert_found(found: ContentProof) -> None:
    def named(table: str) -> set[tuple[str, str, str]]:
        listed = of(found, table).differences
        return {(d.kind.value, d.key.split(",")[0].lstrip("("), " ".join(c.name for c in d.columns)) for d in listed}

    assert found.verdict is Verdict.FAIL
    assert named("public.numbers") == {("changed", "3.5", "r")}
    assert named("public.texts") == {("changed", "ä42", "v"), ("missing", "ä43", ""), ("extra", "zz", "")}
    assert named("public.odd") == {
        ("changed", "1", "j"), ("changed", "2", "p"), ("changed", "3", "boxes"), ("changed", "4", "x jb"),
    }  # fmt: skip
    assert {kind for kind, _, _ in named("public.nokey")} == {"missing", "extra"}
    assert of(found, "public.nokey").differing == 2
    assert named('public.Quoted "Name') == {("changed", "1", "select")}
    assert named("Ämter.Büro") == {("missing", "1", "")}
    assert named("public.parted_2") == {("extra", "5000", "")}
    assert named("public.moments") == {("changed", "2", "at")}
    assert {columns for _, _, columns in named("public.huge")} == {"body"}
    assert named("public.collated") == {("changed", "ä", "c")}
    assert named("public.empty") == {("extra", "1", "")}
    assert of(found, "public.uniq").sameness is Sameness.DIFFERENT
    assert of(found, "public.surplus").sameness is Sameness.DIFFERENT
    assert "late" in of(found, "public.dropped").reason.en
    for equal in ("public.parted_1", "public.generated", "public.child", "public.nothing", "pg_catalog.pg_largeobject"):
        assert of(found, equal).sameness is Sameness.EQUAL
