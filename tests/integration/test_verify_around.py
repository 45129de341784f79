"""What stands around the rows (schema, extensions, roles, settings) and under them (pages, indexes), on real servers.

A physical standby's catalogue can only be made to differ by editing its storage, its settings by its own files; so a
promoted copy plays the replica whose schema has drifted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from orchestrator.model.observation import Verdict
from orchestrator.model.proof import DriftProof, Part, Sameness, StorageProof
from orchestrator.model.topology import Role
from orchestrator.providers.postgresql_rows import PostgresRows
from orchestrator.verification.drift import judge
from tests.integration.verify_pair import Pair, pair
from tests.integration.verify_tools import Heap, prove, settle_to_disk

BUILD = """
CREATE EXTENSION amcheck; CREATE EXTENSION citext; CREATE ROLE clerk; CREATE ROLE auditor LOGIN; GRANT clerk TO auditor;
CREATE TABLE person (id int PRIMARY KEY, name citext CHECK (name <> ''), born date DEFAULT now());
INSERT INTO person SELECT g, 'row-' || g || '-here' FROM generate_series(1, 5000) g;
CREATE INDEX by_name ON person (name); CREATE VIEW names AS SELECT name FROM person;
CREATE FUNCTION one() RETURNS int LANGUAGE sql AS 'SELECT 1'; GRANT SELECT ON person TO clerk;
ALTER TABLE person ENABLE ROW LEVEL SECURITY; CREATE POLICY mine ON person USING (id > 0);
ALTER ROLE clerk SET work_mem = '8MB';
"""
DRIFT = {
    "DROP INDEX by_name": ("app", "indexes", "public.by_name"),
    "ALTER TABLE person ALTER born SET DEFAULT '2000-01-01'": ("app", "tables", "public.person born"),
    "ALTER TABLE person DROP CONSTRAINT person_name_check": ("app", "constraints", "public.person person_name_check"),
    "CREATE OR REPLACE VIEW names AS SELECT name FROM person WHERE id > 1": ("app", "views", "public.names"),
    "CREATE OR REPLACE FUNCTION one() RETURNS int LANGUAGE sql AS 'SELECT 2'": ("app", "functions", "public.one()"),
    "REVOKE SELECT ON person FROM clerk": ("app", "grants", "public.person"),
    "ALTER POLICY mine ON person USING (id > 1)": ("app", "policies", "public.person mine"),
    "CREATE EXTENSION pg_trgm": ("app", "extensions", "pg_trgm"),
    "ALTER ROLE auditor SUPERUSER": ("", "roles", "auditor"),
    "REVOKE clerk FROM auditor": ("", "roles", "auditor in clerk"),
    "ALTER ROLE clerk RESET work_mem": ("", "roles", "settings of clerk in *"),
    "ALTER DATABASE app CONNECTION LIMIT 5": ("", "databases", "app"),
}


@pytest.fixture(scope="module")
def around() -> Iterator[Pair]:
    with pair() as made:
        made.a.sql(BUILD)
        made.catch_up()
        yield made


def drift(around: Pair, **options: object) -> DriftProof:
    found = prove(around, Part.DRIFT, **options).replicas[0].drift  # type: ignore[arg-type]
    assert found is not None
    return found


def storage(around: Pair) -> StorageProof:
    found = prove(around, Part.STORAGE).replicas[0].storage
    assert found is not None
    return found


def test_a_faithful_replica_has_not_drifted(around: Pair) -> None:
    found = drift(around)
    assert found.verdict is Verdict.PASS, [g for g in found.groups if g.sameness is not Sameness.EQUAL]
    kinds = {(g.database, g.table) for g in found.groups if g.rows_left}
    assert {(database, kind) for database, kind, _ in DRIFT.values()} | {("", "settings")} <= kinds


def test_a_setting_that_differs_is_named(around: Pair) -> None:
    around.b.sql("ALTER SYSTEM SET fsync = off")
    around.b.sql("SELECT pg_reload_conf()")
    try:
        found = drift(around, show_values=True)
    finally:
        around.b.sql("ALTER SYSTEM RESET fsync")
        around.b.sql("SELECT pg_reload_conf()")
    assert found.verdict is Verdict.FAIL
    [group] = [g for g in found.groups if g.sameness is Sameness.DIFFERENT]
    [difference] = group.differences
    assert (group.table, difference.key) == ("settings", "fsync")
    assert (difference.columns[0].left, difference.columns[0].right) == ("on", "off")


def test_whole_storage_passes_and_says_what_was_checked(around: Pair) -> None:
    found = storage(around)
    assert found.verdict is Verdict.PASS, found
    assert (found.tables, found.indexes, found.checksums) == (1, 2, False)


def test_a_broken_table_of_the_replica_is_found_by_its_own_server(around: Pair) -> None:
    settle_to_disk(around, around.b)
    heap = Heap(around.b, "person")
    around.b.stop()
    before = heap.path.read_bytes()
    heap.break_tuple(b"row-777-here")
    around.b.start()
    try:
        found = storage(around)
    finally:
        around.b.stop()
        heap.path.write_bytes(before)
        around.b.start()
    assert found.verdict is Verdict.FAIL
    assert any("public.person, page" in text for text in found.broken), found


def test_every_kind_of_drift_is_named(around: Pair) -> None:
    """Last in this file: it promotes the standby."""
    around.b.sql("SELECT pg_promote()")
    for statement in DRIFT:
        around.b.sql(statement)

    async def look() -> set[tuple[str, str, str]]:
        service, named = around.service(), set()
        sources = [PostgresRows(service, n.instance(Role.PRIMARY)) for n in around.nodes]
        for database in ("", "app"):
            left, right = [await source.facts(database) for source in sources]
            named |= {(database, g.table, d.key) for g in judge(database, left, right, False) for d in g.differences}
        for source in sources:
            await source.close()
        return named

    named = asyncio.run(look())
    assert set(DRIFT.values()) <= named
    assert {kind for _, kind, _ in named} == {kind for _, kind, _ in DRIFT.values()}
