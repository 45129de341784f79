"""Differences planted into a real streaming replica (its storage is edited while it is down) are found and named."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from orchestrator.model.observation import Verdict
from orchestrator.model.proof import ContentProof, DifferenceKind, Method, Part, Sameness, TableProof
from tests.integration.verify_pair import Pair, Writer, pair
from tests.integration.verify_tools import Heap, content, of, prove, settle_to_disk

ROWS = 40_000
AT_ONCE = 5
NEVER_VACUUMED = "WITH (autovacuum_enabled = false)"
HALF = 0x1BADCAFE
TRADED = """
WITH r(id, tag) AS (SELECT g, 'n' || lpad(g::text, 4, '0') FROM generate_series(1, 1000) g),
     sums AS (SELECT a.id AS one, b.id AS two,
                     hash_record_extended(a, 0)::numeric + hash_record_extended(b, 0) AS before,
                     hash_record_extended(ROW(a.id, b.tag), 0)::numeric
                       + hash_record_extended(ROW(b.id, a.tag), 0) AS traded
              FROM r a JOIN r b ON b.id = a.id + 1)
INSERT INTO traded SELECT r.* FROM r, (SELECT * FROM sums WHERE before = traded ORDER BY one LIMIT 1) s
WHERE r.id IN (s.one, s.two)
"""
"""Two rows whose record hashes have the same sum when they exchange their tags: most neighbours are such."""


def twice(half: int) -> bytes:
    """A bigint of two equal halves, as it is stored; PostgreSQL's hash of all of these is one and the same."""
    return struct.pack("<q", half << 32 | half)


@pytest.fixture(scope="module")
def planted() -> Iterator[Pair]:
    """`b` differs from `a`; `c` does not."""
    with pair(("b", "c")) as made:
        build(made)
        settle_to_disk(made, made.b)
        tags = [tag.encode() for (tag,) in made.a.sql("SELECT tag FROM traded ORDER BY id")]
        heaps = {t: Heap(made.b, t) for t in ("person", "licence", "note", "keyed", "large", "traded", "packed")}
        made.b.stop()
        heaps["person"].flip(b"row-777-here", b"row-777-gone")
        heaps["licence"].hide(b"licence-to-lose")
        heaps["licence"].raise_dead(b"licence-withdrawn")
        heaps["note"].flip(b"a note without key", b"a note without kex")
        heaps["keyed"].flip(b"key-number-five", b"key-number-fife")
        heaps["large"].flip(b"the-needle", b"the-noodle")
        for old, new in ((tags[0], b"-----"), (tags[1], tags[0]), (b"-----", tags[1])):
            heaps["traded"].flip(old, new)
        heaps["packed"].flip(twice(HALF), twice(HALF + 1))
        made.b.start()
        made.catch_up()
        yield made


def build(made: Pair) -> None:
    sql = made.a.sql
    sql(f"CREATE TABLE person (id bigint PRIMARY KEY, name text, visits int) {NEVER_VACUUMED}")
    sql(f"INSERT INTO person SELECT g, 'row-' || g || '-here', 0 FROM generate_series(1, {ROWS}) g")
    sql(f"CREATE TABLE licence (office text, no int, holder text, PRIMARY KEY (office, no)) {NEVER_VACUUMED}")
    sql("INSERT INTO licence SELECT 'o' || g % 10, g, 'licence ' || g FROM generate_series(1, 3000) g")
    sql("INSERT INTO licence VALUES ('north', 1, 'licence-to-lose'), ('south', 2, 'licence-withdrawn')")
    sql("DELETE FROM licence WHERE office = 'south'")
    sql(f"CREATE TABLE note (what text) {NEVER_VACUUMED}")
    sql("INSERT INTO note SELECT 'note ' || g % 50 FROM generate_series(1, 3000) g")
    sql("INSERT INTO note VALUES ('a note without key')")
    sql(f"CREATE TABLE keyed (code text PRIMARY KEY, n int) {NEVER_VACUUMED}")
    sql("INSERT INTO keyed SELECT 'k' || g, g FROM generate_series(1, 100) g")
    sql("INSERT INTO keyed VALUES ('key-number-five', 5)")
    sql(f"CREATE TABLE large (id int PRIMARY KEY, body text STORAGE EXTERNAL) {NEVER_VACUUMED}")
    sql("INSERT INTO large SELECT g, repeat('x', 3000) FROM generate_series(1, 20) g")
    sql("INSERT INTO large VALUES (99, 'the-needle')")
    sql("CREATE TABLE same (id int PRIMARY KEY); INSERT INTO same SELECT generate_series(1, 100)")
    sql(f"CREATE TABLE traded (id int PRIMARY KEY, tag text) {NEVER_VACUUMED}")
    sql(TRADED)
    sql(f"CREATE TABLE packed (id int PRIMARY KEY, at bigint) {NEVER_VACUUMED}")
    sql("INSERT INTO packed VALUES (1, %s)", HALF << 32 | HALF)


def write(connection: psycopg.Connection[Any], number: int) -> None:
    """Rows of pages far from those that were edited: what is written again is repaired by its page's image."""
    rows = [20_001 + (number * 7919 + n * 104_729) % (ROWS - 20_000) for n in range(AT_ONCE)]
    connection.execute("UPDATE person SET visits = visits + 1 WHERE id = ANY(%s)", (rows,))


def named(table: TableProof) -> list[tuple[DifferenceKind, str, list[str]]]:
    return [(d.kind, d.key, [c.name for c in d.columns]) for d in table.differences]


@pytest.mark.parametrize("locks", [True, False])
@pytest.mark.parametrize("text", [False, True])
def test_every_planted_difference_is_named_and_no_other(planted: Pair, locks: bool, text: bool) -> None:
    with Writer(planted.a, write) as writer:
        proof = prove(planted, Part.CONTENT, locks=locks, text=text)
        assert writer.rate * AT_ONCE >= 500
    b, c = (r.content for r in proof.replicas)
    assert b is not None and c is not None
    assert b.method is (Method.CUT if locks else Method.RECHECK)
    assert b.verdict is Verdict.FAIL
    assert_names(b)
    assert c.verdict is Verdict.PASS, [t for t in c.tables if t.sameness is not Sameness.EQUAL]
    assert not proof.ok


def assert_names(b: ContentProof) -> None:
    assert named(of(b, "public.person")) == [(DifferenceKind.CHANGED, "777", ["name"])]
    assert of(b, "public.person").key == ("id",)
    assert named(of(b, "public.licence")) == [
        (DifferenceKind.MISSING, "(north, 1)", []),
        (DifferenceKind.EXTRA, "(south, 2)", []),
    ]
    assert (of(b, "public.licence").rows_left, of(b, "public.licence").rows_right) == (3001, 3001)
    [(kind, key, columns)] = named(of(b, "public.note"))
    assert (kind, columns) == (DifferenceKind.CHANGED, ["what"])
    assert key.startswith("place (")
    assert named(of(b, "public.large")) == [(DifferenceKind.CHANGED, "99", ["body"])]
    assert [d[::2] for d in named(of(b, "public.traded"))] == [(DifferenceKind.CHANGED, ["tag"])] * 2
    assert named(of(b, "public.packed")) == [(DifferenceKind.CHANGED, "1", ["at"])]
    kinds = {kind for kind, _, _ in named(of(b, "public.keyed"))}
    assert kinds <= {DifferenceKind.MISSING, DifferenceKind.EXTRA, DifferenceKind.CHANGED} and kinds
    assert all(key in {"key-number-five", "key-number-fife"} for _, key, _ in named(of(b, "public.keyed")))
    assert of(b, "public.same").sameness is Sameness.EQUAL
    assert {t.sameness for t in b.tables} == {Sameness.EQUAL, Sameness.DIFFERENT}


def test_values_are_shown_only_where_asked_for(planted: Pair) -> None:
    [hidden] = of(content(planted, tables=("person",)), "public.person").differences
    [shown] = of(content(planted, tables=("person",), show_values=True), "public.person").differences
    assert (hidden.columns[0].left, hidden.columns[0].right) == (None, None)
    assert (shown.columns[0].left, shown.columns[0].right) == ("row-777-here", "row-777-gone")


def test_broken_storage_of_a_replica_is_a_difference() -> None:
    """With checksums the server notices the broken page and refuses to read it."""
    with pair(checksums=True) as made:
        made.a.sql(f"CREATE TABLE person (id int PRIMARY KEY, name text) {NEVER_VACUUMED}")
        made.a.sql("INSERT INTO person SELECT g, 'row-' || g || '-here' FROM generate_series(1, 5000) g")
        made.a.sql("CREATE TABLE same (id int PRIMARY KEY); INSERT INTO same SELECT generate_series(1, 100)")
        settle_to_disk(made, made.b)
        unknown = prove(made, Part.STORAGE).replicas[0].storage
        assert unknown is not None
        assert (unknown.verdict, unknown.checksums, unknown.failures) == (Verdict.UNKNOWN, True, 0)
        assert "amcheck" in unknown.reason.en
        heap = Heap(made.b, "person")
        made.b.stop()
        heap.flip(b"row-777-here", b"row-777-gone")
        made.b.start()
        for locks in (True, False):
            found = content(made, locks=locks)
            broken = of(found, "public.person")
            assert broken.sameness is Sameness.DIFFERENT
            assert "damaged" in broken.reason.en and "invalid page in block" in broken.reason.en
            assert found.verdict is Verdict.FAIL
            assert of(found, "public.same").sameness is Sameness.EQUAL
        counted = prove(made, Part.STORAGE).replicas[0].storage
        assert counted is not None
        assert (counted.verdict, counted.failures > 0) == (Verdict.FAIL, True)
        with pytest.raises(psycopg.errors.DataCorrupted):
            made.b.sql("SELECT count(name) FROM person")
