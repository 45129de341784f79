"""Tables and seeded data of the lab's systems, as SQL for single-user mode: a statement ends with an empty line.

The data is made by arithmetic from row numbers, so that every lab holds the same; no person or company is real.
"""

from __future__ import annotations

from orchestrator.lab import layout

CREATE_DATABASE = (
    "ALTER DATABASE template0 RENAME TO app;\n\n"
    "ALTER DATABASE app IS_TEMPLATE false;\n\n"
    "ALTER DATABASE app ALLOW_CONNECTIONS true;\n\n"
)
"""The pristine template becomes the database: nine times 300 files and 7 MB less to make, copy and remove.

template1 stays: pg_rewind starts single-user mode on it, and CREATE DATABASE copies it.
"""

CANARY = """
CREATE TABLE drctl_canary (
  id text PRIMARY KEY, value text NOT NULL, entry text NOT NULL, centre text NOT NULL,
  written_at timestamptz NOT NULL DEFAULT clock_timestamp());
"""
ROLE = f"""
CREATE ROLE {layout.APP_USER} LOGIN IN ROLE pg_read_all_data, pg_write_all_data;
"""

EXTENSIONS = (
    "DO $$ DECLARE x name; BEGIN FOR x IN SELECT name FROM pg_available_extensions"
    " WHERE name IN ('amcheck', 'pg_walinspect') LOOP EXECUTE format('CREATE EXTENSION %I', x); END LOOP; END $$;\n"
)
"""What `drctl verify --only storage` and `--incremental` ask, where the server's build has it."""

LEGAL_PERSON = f"""
CREATE TABLE legal_person (
  id bigint PRIMARY KEY, uscc char(18) NOT NULL UNIQUE, name text NOT NULL, kind text NOT NULL,
  capital_cny numeric(16,2) NOT NULL, registered_on date NOT NULL, status text NOT NULL);

CREATE TABLE address (
  legal_person_id bigint PRIMARY KEY REFERENCES legal_person, district text NOT NULL, street text NOT NULL,
  postcode char(6) NOT NULL);

CREATE TABLE attachment (key text PRIMARY KEY);

INSERT INTO attachment VALUES {", ".join(f"('{key}')" for key in layout.SCANS)};

CREATE TABLE licence (
  id bigint PRIMARY KEY, legal_person_id bigint NOT NULL REFERENCES legal_person, subject text NOT NULL,
  issued_on date NOT NULL, valid_until date);

INSERT INTO legal_person
SELECT i, '91500000' || upper(substr(md5('uscc' || i), 1, 10)), '测试企业' || lpad(i::text, 6, '0'),
       (ARRAY['有限责任公司','股份有限公司','个体工商户','事业单位'])[1 + i % 4],
       (i * 7919 % 100000) * 100.00, date '2000-01-01' + (i * 37 % 9000),
       CASE WHEN i % 17 = 0 THEN '注销' ELSE '存续' END
FROM generate_series(1, 20000) AS i;

INSERT INTO address
SELECT i, (ARRAY['渝中区','江北区','渝北区','南岸区','九龙坡区','万州区'])[1 + i % 6], '测试路' || (i % 900) || '号',
       lpad((400000 + i % 9000)::text, 6, '0')
FROM generate_series(1, 20000) AS i;

INSERT INTO licence
SELECT i, 1 + i * 3 % 20000, (ARRAY['食品经营','道路运输','医疗器械','建筑施工'])[1 + i % 4],
       date '2015-01-01' + (i * 11 % 3000), CASE WHEN i % 5 = 0 THEN NULL ELSE date '2026-01-01' + (i % 2000) END
FROM generate_series(1, 12000) AS i;
"""

SHARING = """
CREATE TABLE catalogue (
  id bigint PRIMARY KEY, code text NOT NULL UNIQUE, name text NOT NULL, department text NOT NULL, level text NOT NULL);

CREATE TABLE exchange_log (
  id bigint PRIMARY KEY, catalogue_id bigint NOT NULL REFERENCES catalogue, consumer text NOT NULL,
  row_count integer NOT NULL, digest text NOT NULL, exchanged_at timestamptz NOT NULL);

INSERT INTO catalogue
SELECT i, 'CQ-' || lpad(i::text, 5, '0'), '数据目录' || i, '部门' || (1 + i % 76),
       (ARRAY['无条件共享','有条件共享','不予共享'])[1 + i % 3]
FROM generate_series(1, 2666) AS i;

INSERT INTO exchange_log
SELECT i, 1 + i * 13 % 2666, '区县' || (1 + i % 38), i * 31 % 5000, md5('exchange' || i),
       timestamptz '2025-01-01 00:00:00+08' + i * interval '97 seconds'
FROM generate_series(1, 20000) AS i;
"""

OPEN_DATA = """
CREATE TABLE dataset (
  id bigint PRIMARY KEY, title text NOT NULL, domain text NOT NULL, licence text NOT NULL, published_on date NOT NULL);

CREATE TABLE download (
  id bigint PRIMARY KEY, dataset_id bigint NOT NULL REFERENCES dataset, format text NOT NULL,
  size_bytes bigint NOT NULL, downloaded_at timestamptz NOT NULL);

INSERT INTO dataset
SELECT i, '开放数据集' || i, (ARRAY['交通','教育','卫生','气象','城管'])[1 + i % 5], 'CC-BY-4.0',
       date '2021-01-01' + (i % 1500)
FROM generate_series(1, 1500) AS i;

INSERT INTO download
SELECT i, 1 + i * 7 % 1500, (ARRAY['csv','json','xlsx'])[1 + i % 3], (i * 4099 % 900000) + 1024,
       timestamptz '2025-01-01 00:00:00+08' + i * interval '61 seconds'
FROM generate_series(1, 20000) AS i;
"""

BUSINESS = {"legal-person": LEGAL_PERSON, "sharing": SHARING, "open-data": OPEN_DATA}

LOOKUPS = {
    "legal-person": "SELECT name FROM legal_person WHERE id = $1::bigint",
    "sharing": "SELECT name FROM catalogue WHERE id = $1::bigint",
    "open-data": "SELECT title FROM dataset WHERE id = $1::bigint",
}
"""What `GET /lookup/{id}` of a system's app reads."""


def seed(system: str) -> str:
    """Everything that a system's database holds when the lab comes up, for `postgres --single -j`."""
    tables = ROLE + EXTENSIONS + CANARY + BUSINESS[system] if system in BUSINESS else ""
    statements = [s.strip() for s in tables.split(";\n")]
    wanted = [s for s in statements if s]
    return "".join(f"{s};\n\n" for s in (*wanted, "VACUUM (FREEZE, ANALYZE)"))
