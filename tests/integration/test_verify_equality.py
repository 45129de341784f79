"""Values that a server calls equal and that look another way: 'a' and 'A' of citext, or of an ICU collation."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.model.proof import ContentProof, Sameness
from orchestrator.model.topology import Role
from tests.integration import verify_pair
from tests.integration.verify_pair import Pair, pair
from tests.integration.verify_tools import apart, content, of

CITEXT = """
CREATE EXTENSION citext; CREATE DOMAIN inner_word AS citext; CREATE DOMAIN word AS inner_word;
CREATE TYPE labelled AS (label citext, n int); CREATE TYPE words AS RANGE (subtype = citext);
CREATE TABLE loose (id int PRIMARY KEY, plain citext, many citext[], nested labelled, span words, twice word,
                    listed labelled[]);
INSERT INTO loose SELECT g, 'a', '{a}', '(a,1)', '[a,b)', 'a', '{"(a,1)"}' FROM generate_series(1, 7) g;
"""
ICU = """
CREATE COLLATION blind (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE TYPE labelled AS (label text COLLATE blind, n int);
CREATE TYPE words AS RANGE (subtype = text, collation = blind);
CREATE DOMAIN word AS varchar(9) COLLATE blind;
CREATE TABLE loose (id int PRIMARY KEY, plain text COLLATE blind, many text[] COLLATE blind, nested labelled,
                    span words, twice word, listed labelled[]);
INSERT INTO loose SELECT g, 'a', '{a}', '(a,1)', '[a,b)', 'a', '{"(a,1)"}' FROM generate_series(1, 7) g;
CREATE TABLE keyed (id text COLLATE "zh-x-icu" PRIMARY KEY, n int);
INSERT INTO keyed VALUES ('重', 1), ('庆', 2), ('A', 3), ('a', 4);
"""
PLANT = """
UPDATE loose SET plain = 'A' WHERE id = 1; UPDATE loose SET many = '{A}' WHERE id = 2;
UPDATE loose SET nested = '(A,1)' WHERE id = 3; UPDATE loose SET span = '[A,b)' WHERE id = 4;
UPDATE loose SET twice = 'A' WHERE id = 5; UPDATE loose SET listed = '{"(A,1)"}' WHERE id = 6;
"""
BLIND = """
CREATE COLLATION blind (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
ALTER TABLE tags ALTER many TYPE text[] COLLATE blind;
"""
"""From then on this copy calls other values equal than its primary does."""
FOUND = {("1", "plain"), ("2", "many"), ("3", "nested"), ("4", "span"), ("5", "twice"), ("6", "listed")}


def built_with_icu() -> str:
    """Programs of an installed server that has ICU; the lab's has not."""
    return next((str(p) for p in sorted(Path("/usr/lib/postgresql").glob("*/bin")) if (p / "initdb").exists()), "")


def parted(made: Pair, text: bool) -> ContentProof:
    """The primary and the promoted standby, compared by key."""
    return apart(made.a.instance(Role.PRIMARY), made.b.instance(Role.STANDBY), made.service(), text=text)


def named(proof: ContentProof, table: str) -> set[tuple[str, str]]:
    return {(d.key, " ".join(c.name for c in d.columns)) for d in of(proof, table).differences}


def test_what_an_extension_calls_equal_is_compared_as_it_looks() -> None:
    with pair() as made:
        made.a.sql(CITEXT)
        made.catch_up()
        made.b.sql("SELECT pg_promote()")
        made.b.sql(PLANT)
        for text in (False, True):
            assert named(parted(made, text), "public.loose") == FOUND


def test_what_a_collation_calls_equal_is_compared_as_it_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    programs = built_with_icu()
    if not programs:
        pytest.skip("no PostgreSQL of the system's own here, and the lab's has no ICU")
    monkeypatch.setattr(verify_pair, "OTHER", programs)
    with pair() as made:
        [[icu]] = made.a.sql("SELECT count(*) FROM pg_collation WHERE collprovider = 'i'")
        if not icu:
            pytest.skip(f"{programs} has no ICU")
        made.a.sql(ICU)
        made.a.sql("CREATE DATABASE other")
        made.a.sql("CREATE TABLE tags (id int PRIMARY KEY, many text[], n int)", database="other")
        made.a.sql("INSERT INTO tags SELECT g, '{a}', g FROM generate_series(1, 9) g", database="other")
        made.catch_up()
        for locks in (True, False):
            assert {t.sameness.value for t in content(made, locks=locks).tables} == {"equal"}
        made.b.sql("SELECT pg_promote()")
        made.b.sql(BLIND, database="other")
        made.b.sql(PLANT + "UPDATE keyed SET n = 5 WHERE id = '庆'; DELETE FROM keyed WHERE id = 'a'")
        for text in (False, True):
            assert named(parted(made, text), "public.loose") == FOUND
            assert named(parted(made, text), "public.keyed") == {("庆", "n"), ("a", "")}
            assert of(parted(made, text), "public.tags").sameness is Sameness.EQUAL


def test_columns_in_another_order_are_no_difference() -> None:
    with pair() as made:
        made.a.sql("CREATE TABLE wide (id int PRIMARY KEY, a int, b text)")
        made.a.sql("INSERT INTO wide SELECT g, g * 2, 'b' || g FROM generate_series(1, 5000) g")
        made.catch_up()
        made.b.sql("SELECT pg_promote()")
        made.b.sql("ALTER TABLE wide ADD COLUMN c int; UPDATE wide SET c = a; ALTER TABLE wide DROP COLUMN a")
        made.b.sql("ALTER TABLE wide RENAME COLUMN c TO a")
        for text in (False, True):
            assert of(parted(made, text), "public.wide").sameness is Sameness.EQUAL
        made.b.sql("UPDATE wide SET a = 0 WHERE id = 42")
        for text in (False, True):
            assert named(parted(made, text), "public.wide") == {("42", "a")}
