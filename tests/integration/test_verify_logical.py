"""A logical replica, on two real servers: its tables are compared by key at a position that it has confirmed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import psycopg
import pytest

from orchestrator.model.observation import Verdict
from orchestrator.model.proof import ContentProof, DifferenceKind, Method, Part, Sameness, ServiceProof
from tests.integration.verify_pair import Pair, Writer, pair, wait_for
from tests.integration.verify_tools import of, prove

ROWS = 20_000
TABLES = """
CREATE TABLE person (id bigint PRIMARY KEY, name text, visits int, at timestamptz DEFAULT now());
CREATE TABLE licence (office text, no int, holder text, PRIMARY KEY (office, no));
CREATE TABLE nameless (what text); ALTER TABLE nameless REPLICA IDENTITY FULL;
CREATE TABLE partial (id int PRIMARY KEY, secret text); CREATE TABLE private (id int PRIMARY KEY);
"""
FILL = f"""
INSERT INTO person SELECT g, md5(g::text), 0 FROM generate_series(1, {ROWS}) g;
INSERT INTO licence SELECT 'o' || g % 10, g, 'licence ' || g FROM generate_series(1, 2000) g;
INSERT INTO nameless SELECT 'w' || g FROM generate_series(1, 100) g;
INSERT INTO partial SELECT g, 's' FROM generate_series(1, 10) g; INSERT INTO private VALUES (1);
"""
OTHER_ORDER = TABLES.replace("office text, no int, holder text", "holder text, no int, office text")
SLOW = """
CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.3); RETURN NEW; END';
CREATE TRIGGER slow BEFORE INSERT ON licence FOR EACH ROW EXECUTE FUNCTION slow();
ALTER TABLE licence ENABLE REPLICA TRIGGER slow
"""
BACKLOG = 5
"""Rows that wait to be applied, 0.3 s each: a lag of 1.2 s at least, which a client on a busy machine keeps up, too."""
MOST_BEHIND = 64 * 1024
"""Bytes of log that clients let the replica be behind: some 300 updates."""
SETTINGS = ("wal_level=logical",)


@pytest.fixture(scope="module")
def logical() -> Iterator[Pair]:
    """`b` is a cluster of its own that subscribes to `a`."""
    with pair((), settings=SETTINGS) as made:
        b = made.cluster("b")
        made.a.sql(TABLES)
        b.sql(OTHER_ORDER)
        made.a.sql(FILL)
        made.a.sql("CREATE PUBLICATION copies FOR TABLE person, licence, nameless, partial WHERE (id < 5)")
        b.sql(
            f"CREATE SUBSCRIPTION copies CONNECTION 'host=127.0.0.1 port={made.a.port} user=postgres dbname=app' "
            "PUBLICATION copies WITH (synchronous_commit = on)"  # else it confirms 0.2–0.6 s late
        )
        ready = "SELECT bool_and(srsubstate = 'r') FROM pg_subscription_rel"
        wait_for(lambda: b.sql(ready) == [(True,)], 60, "the first copy")
        yield made


def write(connection: psycopg.Connection[Any], number: int) -> None:
    keep_up(connection)
    row = number * 7919 % ROWS + 1
    connection.execute("UPDATE person SET visits = visits + 1, at = now() WHERE id BETWEEN %s AND %s", (row, row + 4))
    if number % 10 == 0:
        connection.execute("INSERT INTO licence VALUES ('new', %s, 'n') ON CONFLICT DO NOTHING", (10_000 + number,))


def keep_up(connection: psycopg.Connection[Any]) -> None:
    """Clients that are as quick as the replica: on a busy machine it applies less than they could write, for ever."""
    behind = "SELECT pg_current_wal_insert_lsn() - confirmed_flush_lsn < %s FROM pg_replication_slots"
    wait_for(lambda: connection.execute(behind, (MOST_BEHIND,)).fetchone() == (True,), 60, "the replica to apply")


def proven_on_a_cut(logical: Pair, work: Callable[[psycopg.Connection[Any], int], None]) -> Iterator[ServiceProof]:
    """Proofs while `work` is done, until one was made on a cut: a replica that hangs for a moment is no such case."""
    with Writer(logical.a, work) as writer:
        for _ in range(20):
            proof = prove(logical)
            yield proof
            if of_b(proof).method is Method.CUT:
                assert writer.done > 100
                return
    raise AssertionError(f"no cut in twenty: {of_b(proof).why.en}")


def of_b(proof: ServiceProof) -> ContentProof:
    [replica] = proof.replicas
    assert replica.content is not None
    return replica.content


def test_a_logical_replica_is_proven_while_the_primary_is_written_to(logical: Pair) -> None:
    for _ in range(3):
        for proof in proven_on_a_cut(logical, write):
            assert proof.ok, msgspec.json.encode(proof).decode()
            assert proof.primary == "legal-person/db@a"
    found = of_b(proof)
    assert found.position and 0 < found.held_s < 1
    assert of(found, "public.person").rows_left == of(found, "public.person").rows_right == ROWS
    told = {t.table: (t.sameness, t.reason.en) for t in found.tables}
    assert told["public.partial"][0] is told["public.private"][0] is Sameness.SKIPPED
    assert "row filter" in told["public.partial"][1] and "not subscribe" in told["public.private"][1]


def test_no_writer_is_held_where_that_is_not_wanted(logical: Pair) -> None:
    with Writer(logical.a, write) as writer:
        for _ in range(50):
            proof = prove(logical, Part.CONTENT, locks=False)
            assert proof.ok, msgspec.json.encode(proof).decode()
            if writer.done > 100 and of(of_b(proof), "public.person").rounds:
                break
        else:
            raise AssertionError("no row was caught in between, and agreed upon")
    found = of_b(proof)
    assert (found.method, found.held_s) == (Method.RECHECK, 0.0)
    assert "no locks were wanted" in found.why.en
    assert of(found, "public.person").rows_left == ROWS


def test_a_logical_replica_that_lags_is_proven_without_locks(logical: Pair) -> None:
    start = logical.a.sql("SELECT count(*) FROM licence")[0][0]

    def fill(connection: psycopg.Connection[Any], number: int) -> None:
        wait_for(lambda: written() - applied() < BACKLOG, 20, "the replica to apply")
        connection.execute("INSERT INTO licence VALUES ('lag', %s, 'n')", (number,))
        write(connection, number * 10 + 1)

    def written() -> int:
        return int(logical.a.sql("SELECT count(*) FROM licence")[0][0] - start)

    def applied() -> int:
        return int(logical.b.sql("SELECT count(*) FROM licence")[0][0] - start)

    logical.b.sql(SLOW)
    with Writer(logical.a, fill):
        wait_for(lambda: written() - applied() >= BACKLOG, 20, "the replica to lag")
        proof = prove(logical, Part.CONTENT)
        still_behind = written() - applied()
    logical.b.sql("DROP TRIGGER slow ON licence")
    assert still_behind > BACKLOG // 2
    found = of_b(proof)
    assert proof.ok, msgspec.json.encode(proof).decode()
    assert (found.method, found.held_s) == (Method.RECHECK, 0.0)
    assert "is above 0.5 s" in found.why.en


def test_a_logical_replica_that_does_not_apply_is_never_ok(logical: Pair) -> None:
    logical.b.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'logical replication apply worker'"
    )
    with logical.b.connect() as blocking:
        blocking.execute("BEGIN; LOCK TABLE licence IN ACCESS EXCLUSIVE MODE")
        logical.a.sql("INSERT INTO licence VALUES ('late', 1, 'x')")
        proof = prove(logical, Part.POSITIONS, Part.CONTENT, within_s=0.5)
        blocking.execute("ROLLBACK")
    [replica] = proof.replicas
    assert replica.verdict(Part.POSITIONS) is Verdict.FAIL
    assert replica.verdict(Part.CONTENT) is Verdict.UNKNOWN
    assert not proof.ok


def test_what_changes_at_every_look_or_has_no_key_could_not_be_told_without_locks(logical: Pair) -> None:
    logical.b.sql("INSERT INTO nameless VALUES ('only here')")
    with Writer(logical.b, restless):
        found = of_b(prove(logical, Part.CONTENT, locks=False))
    logical.b.sql("DELETE FROM nameless WHERE what = 'only here'")
    logical.b.sql("UPDATE person SET name = md5('50') WHERE id = 50")
    assert found.verdict is Verdict.UNKNOWN
    person, nameless = of(found, "public.person"), of(found, "public.nameless")
    assert (person.sameness, nameless.sameness) == (Sameness.UNKNOWN, Sameness.UNKNOWN)
    assert "1 rows were changed at every one of" in person.reason.en
    assert "without a key" in nameless.reason.en
    again = of_b(prove(logical, Part.CONTENT, locks=False))
    assert {of(again, f"public.{t}").sameness for t in ("person", "nameless")} == {Sameness.EQUAL}


def restless(connection: psycopg.Connection[Any], number: int) -> None:
    connection.execute("UPDATE person SET name = %s WHERE id = 50", (f"never the same {number}",))


def test_planted_differences_are_named(logical: Pair) -> None:
    """Last in this file: it writes at the replica."""
    logical.b.sql("UPDATE person SET name = 'other' WHERE id = 42; DELETE FROM person WHERE id = 43")
    logical.b.sql("INSERT INTO licence (office, no, holder) VALUES ('zz', 1, 'only here')")
    for proof in proven_on_a_cut(logical, elsewhere):
        assert_names_planted(of_b(proof))
    with Writer(logical.a, elsewhere):
        found = of_b(prove(logical, Part.CONTENT, locks=False))
    assert_names_planted(found)
    assert found.method is Method.RECHECK


def assert_names_planted(found: ContentProof) -> None:
    named = {(d.kind, d.key) for t in found.tables for d in t.differences}
    assert named == {
        (DifferenceKind.CHANGED, "42"),
        (DifferenceKind.MISSING, "43"),
        (DifferenceKind.EXTRA, "(zz, 1)"),
    }
    assert found.verdict is Verdict.FAIL


def elsewhere(connection: psycopg.Connection[Any], number: int) -> None:
    """Writes that leave the planted rows alone: a missing one would stop the replica."""
    keep_up(connection)
    connection.execute("UPDATE person SET visits = visits + 1 WHERE id = %s", (100 + number * 7919 % (ROWS - 100),))
