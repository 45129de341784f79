"""The SQL that reads rows of PostgreSQL for verification. Builds statements; runs none.

Rows are addressed by ctid: a physical copy holds every row version at the same place, so spans of pages compare without
any key, without an index (which might itself be wrong) and at the speed of a sequential read.
"""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import sql

from orchestrator.model.rows import Address, Column, Form, Table

NOTHING = sql.SQL("")
CATALOGUE = """
SELECT n.nspname, c.relname, c.relkind::text, c.relpersistence::text,
       coalesce(pg_relation_size(c.oid), 0) / current_setting('block_size')::bigint, c.reltuples::bigint, {mark},
       coalesce((SELECT json_agg(json_build_array(a.attname, format_type(a.atttypid, a.atttypmod)) ORDER BY a.attnum)
                 FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
                   AND a.attgenerated <> 'v'), '[]'::json),
       coalesce((SELECT (SELECT json_agg(a.attname ORDER BY k.place)
                         FROM unnest(i.indkey::smallint[]) WITH ORDINALITY AS k(number, place)
                         JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.number
                         WHERE k.place <= i.indnkeyatts)
                 FROM pg_index i
                 WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indimmediate
                   AND i.indpred IS NULL AND i.indexprs IS NULL
                   AND NOT EXISTS (SELECT FROM unnest(i.indkey::smallint[]) WITH ORDINALITY AS k(number, place)
                                   JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.number
                                   WHERE k.place <= i.indnkeyatts AND NOT a.attnotnull)
                 ORDER BY i.indisprimary DESC, i.indnkeyatts, i.indexrelid LIMIT 1), '[]'::json)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE (c.oid = 'pg_largeobject'::regclass AND pg_relation_size(c.oid) > 0)
   OR (c.relkind IN ('r', 'm', 'f') AND c.relpersistence <> 't'
       AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)')
ORDER BY 1, 2
"""
MARK = """
md5(concat_ws('|', c.oid, pg_relation_filenode(c.oid), c.relpersistence, c.relkind, c.relname, c.relnamespace,
  (SELECT string_agg(concat_ws(' ', a.attnum, a.attname, a.atttypid, a.atttypmod, a.attisdropped, a.attgenerated), ','
                     ORDER BY a.attnum)
   FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0)))
"""
"""Changes with ALTER (columns), TRUNCATE and every rewrite; the file's number is read past any snapshot."""

SEQUENCES = """
SELECT n.nspname, c.relname, pg_sequence_last_value(c.oid), s.seqincrement, s.seqcache, s.seqcycle
FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relpersistence = 'p' ORDER BY 1, 2
"""
STANDING = """
SELECT r.standby, NOT r.standby AND current_setting('default_transaction_read_only') = 'off',
       current_setting('server_version_num')::int / 10000, (SELECT system_identifier::text FROM pg_control_system()),
       CASE WHEN r.standby THEN coalesce((SELECT received_tli FROM pg_stat_wal_receiver WHERE status = 'streaming'),
                                         nullif((SELECT min_recovery_end_timeline FROM pg_control_recovery()), 0))
            ELSE ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int END,
       CASE WHEN r.standby THEN greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())
            ELSE pg_current_wal_flush_lsn() END - '0/0'::pg_lsn,
       CASE WHEN r.standby THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END - '0/0'::pg_lsn,
       EXISTS (SELECT FROM pg_stat_wal_receiver WHERE status = 'streaming'),
       ARRAY(SELECT subslotname::text FROM pg_subscription WHERE subenabled AND subslotname IS NOT NULL ORDER BY 1)
FROM (SELECT pg_is_in_recovery() AS standby) r
"""

BIRTH = """
SELECT md5(concat_ws('|', (SELECT change FROM pg_stat_file('PG_VERSION')),
                     (SELECT modification FROM pg_stat_file('backup_label.old', true))))
"""
"""When the files of the copy were made: the change time of one that PostgreSQL never writes again, and that neither a
copy nor a restore can set."""
WALINSPECT = """
SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE extname = 'pg_walinspect'
"""
CHANGED = """
SELECT f.name, array_agg(b.page ORDER BY b.page)
FROM (SELECT format('%%s.%%s', n.nspname, c.relname) AS name, pg_relation_filenode(c.oid) AS file
      FROM json_array_elements(%s::json) j
      JOIN pg_namespace n ON n.nspname = j->>0
      JOIN pg_class c ON c.relname = j->>1 AND c.relnamespace = n.oid) f
JOIN (SELECT DISTINCT relfilenode AS file, relblocknumber AS page
      FROM {schema}.pg_get_wal_block_info('0/0'::pg_lsn + %s, '0/0'::pg_lsn + %s, false)
      WHERE relforknumber = 0
        AND reldatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
      LIMIT %s) b USING (file)
GROUP BY 1
"""


def changed(schema: str) -> sql.Composed:
    """Pages of tables that the log between two positions touches."""
    return sql.SQL(CHANGED).format(schema=sql.Identifier(schema))


def catalogue() -> sql.Composed:
    """Every relation with rows of users."""
    return sql.SQL(CATALOGUE).format(mark=sql.SQL(MARK))


def mark_of(table: Table) -> sql.Composed:
    """The mark of one table, as of now."""
    where = " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = {} AND c.relname = {}"
    return sql.SQL("SELECT " + MARK + where).format(sql.Literal(table.schema), sql.Literal(table.name))


def quoted(table: Table) -> str:
    """The table's name as `regclass` reads it."""
    return sql.Identifier(table.schema, table.name).as_string(None)


def relation(table: Table) -> sql.Composed:
    """The table without what inherits from it."""
    return sql.SQL("ONLY {}.{}").format(sql.Identifier(table.schema), sql.Identifier(table.name))


SPANS = """
unnest(%s::bigint[], %s::bigint[]) WITH ORDINALITY AS s(first, last, number), LATERAL (
  SELECT {columns} FROM {table} t
  WHERE t.ctid >= format('(%%s,0)', s.first)::tid AND t.ctid < format('(%%s,0)', s.last)::tid {more} OFFSET 0) x
"""
"""Parts of a table, each by a scan of its pages alone. OFFSET 0 keeps the planner from making one join of it."""


def digests(table: Table, form: Form, live: bool) -> sql.Composed:
    """Counts and sums of spans as two arrays (which travel shorter than rows), and the position, taken after the rows'
    snapshot.
    """
    position = sql.SQL(
        "CASE WHEN pg_is_in_recovery() THEN 0 ELSE pg_current_wal_insert_lsn() - '0/0'::pg_lsn END" if live else "0"
    )
    columns = sql.SQL("count(*) AS n, coalesce(sum({}), 0) AS total").format(fingerprint(table.columns, form))
    return sql.SQL("SELECT array_agg(x.n ORDER BY s.number), array_agg(x.total ORDER BY s.number), {} FROM {}").format(
        position, spans(table, columns)
    )


def spans(table: Table, columns: sql.Composable, more: sql.Composable = NOTHING) -> sql.Composed:
    """What a query over spans selects from: `columns` of each span's rows (`t`) as `x`, in the order of `s.number`."""
    return sql.SQL(SPANS).format(columns=columns, table=relation(table), more=more)


def buckets(table: Table, form: Form) -> sql.Composed:
    """Count and sum of a span by bucket."""
    return sql.SQL(
        "SELECT b & %s, count(*), sum(p) FROM (SELECT {bucket} AS b, {print} AS p FROM {table} t "
        "WHERE t.ctid >= %s::tid AND t.ctid < %s::tid OFFSET 0) x GROUP BY 1"
    ).format(bucket=bucket(table, form), print=fingerprint(table.columns, form), table=relation(table))


def prints(table: Table, form: Form) -> sql.Composed:
    """Every row of spans whose bucket is among those given."""
    columns = sql.SQL("t.ctid::text AS place, {key} AS key, {print} AS print").format(
        key=key_text(table), print=fingerprint(table.columns, form)
    )
    chosen = sql.SQL("AND (%s = 1 OR ({} & %s) = ANY(%s::bigint[]))").format(bucket(table, form))
    return sql.SQL("SELECT x.place, x.key, x.print FROM {}").format(spans(table, columns, chosen))


def rows(table: Table, form: Form, by: Address, show: bool) -> sql.Composed:
    """Rows by place or key, with a hash (and the text, if asked) of every column."""
    texts = [text_of(column) for column in table.columns]
    hashes = [sql.SQL('hashtextextended({} COLLATE "C", 0)').format(text) for text in texts]
    shown = sql.SQL("ARRAY[{}]::text[]").format(sql.SQL(", ").join(texts)) if show else sql.SQL("NULL::text[]")
    return sql.SQL(
        "SELECT asked.id, t.ctid::text, {key}, {version}, {print}, ARRAY[{hashes}]::bigint[], {shown} "
        "FROM unnest(%s::text[]) AS asked(id) JOIN {table} t ON {match}"
    ).format(
        key=key_text(table),
        version=VERSION,
        print=fingerprint(table.columns, form),
        hashes=sql.SQL(", ").join(hashes),
        shown=shown,
        table=relation(table),
        match=sql.SQL("t.ctid = asked.id::tid") if by is Address.PLACE else key_match(table),
    )


VERSION = sql.SQL("t.ctid::text || '/' || t.xmin::text")


RECORD = "record"
"""For types with a hash that cannot be called by itself (arrays, enums, ranges, composites)."""
HASHES = """
SELECT format('%%I.%%I', n.nspname, p.proname)
FROM (SELECT CASE WHEN b = 'varchar'::regtype THEN 'text'::regtype::oid ELSE b END AS base
      FROM (SELECT coalesce(nullif(typbasetype, 0), oid) AS b FROM pg_type WHERE oid = %s::regtype) x) t
JOIN pg_opclass c ON c.opcintype = t.base AND c.opcdefault
JOIN pg_am m ON m.oid = c.opcmethod AND m.amname = 'hash'
JOIN pg_amproc f ON f.amprocfamily = c.opcfamily AND f.amproclefttype = c.opcintype AND f.amprocnum = 2
JOIN pg_proc p ON p.oid = f.amproc AND p.proargtypes[0] = t.base
JOIN pg_namespace n ON n.oid = p.pronamespace
"""
"""The function by which a type's own hash indexes hash, with a seed."""
LOOSE = """
WITH RECURSIVE part(oid) AS (
  SELECT %s::regtype::oid
  UNION
  SELECT x.oid FROM part JOIN pg_type t ON t.oid = part.oid CROSS JOIN LATERAL (
    SELECT t.typelem WHERE t.typlen = -1
    UNION ALL SELECT t.typbasetype
    UNION ALL SELECT rngsubtype FROM pg_range WHERE t.oid IN (rngtypid, rngmultitypid)
    UNION ALL SELECT atttypid FROM pg_attribute WHERE attrelid = t.typrelid AND attnum > 0 AND NOT attisdropped
  ) x(oid) WHERE x.oid <> 0)
SELECT EXISTS (
  SELECT FROM part JOIN pg_type t USING (oid)
  WHERE t.typtype = 'b' AND NOT (t.typlen = -1 AND t.typelem <> 0)
    AND (t.typnamespace <> 'pg_catalog'::regnamespace
         OR t.typcollation <> 0 AND EXISTS (SELECT FROM pg_collation WHERE NOT collisdeterministic)))
"""
"""Whether a type is made of others that have an equality of their own: an extension's, or that of a collation for which
'a' is 'A'. A record hashes its fields by it, where the text of a plain column is hashed by its bytes."""
_FOLDS = "pg_catalog.hashint8extended"
_COLLATED = frozenset({"pg_catalog.hashtextextended", "pg_catalog.hashbpcharextended"})


def fingerprint(columns: tuple[Column, ...], form: Form) -> sql.Composable:
    """64-bit hash of some columns of a row.

    Not PostgreSQL's `hash_record_extended`, which is twice as slow, and which adds its columns up: two rows that have
    exchanged a value then have the sum that they had before. Here each column is hashed with a seed of its own, and
    what comes of all of them is hashed once more.
    """
    if not columns:
        return sql.SQL("0::bigint")
    if form is Form.TEXT:
        texts = sql.SQL(", ").join(map(text_of, columns))
        return sql.SQL('hashtextextended(ROW({})::text COLLATE "C", 0)').format(texts)
    hashes = [_seeded(column, number) for number, column in enumerate(columns, 1)]
    return sql.SQL("hashint4extended(0, {})").format(_mixed(hashes))


def _seeded(column: Column, seed: int) -> sql.Composable:
    """A column's hash; for NULL the seed, which no other column has."""
    value = hashed(field(column), column.hash, seed) if column.hash else _text_hash(text_of(column), seed)
    return sql.SQL("coalesce({}, {})").format(value, sql.SQL(str(seed)))


def hashed(value: sql.Composable, by: str, seed: int) -> sql.Composable:
    """A value's hash by its type's function, or as the only field of a record."""
    start: sql.Composable = sql.SQL(str(seed))
    if by == RECORD:
        return sql.SQL("hash_record_extended(ROW({}), {})").format(value, start)
    if by == _FOLDS:  # it makes 32 bits of 64: 5 << 32 | 5 and 6 << 32 | 6 would be the same
        start = sql.SQL("hashint4extended(({} >> 32)::int4, {})").format(value, start)
    collation = sql.SQL(' COLLATE "C"' if by in _COLLATED else "")
    return sql.SQL("{}({}{}, {})").format(sql.SQL(by), value, collation, start)


def _text_hash(text: sql.Composable, seed: int) -> sql.Composable:
    return sql.SQL('hashtextextended({} COLLATE "C", {})').format(text, sql.SQL(str(seed)))


def _mixed(hashes: Sequence[sql.Composable]) -> sql.Composable:
    """All of them, in a tree that is not deeper than the server's stack for a table of 1,600 columns."""
    if len(hashes) == 1:
        return hashes[0]
    half = len(hashes) // 2
    return sql.SQL("({} # {})").format(_mixed(hashes[:half]), _mixed(hashes[half:]))


def field(column: Column) -> sql.Composable:
    """The column of the row at hand."""
    return sql.SQL("t.{}").format(sql.Identifier(column.name))


def text_of(column: Column) -> sql.Composable:
    """The column's text; equal numbers have equal texts (1.0 and 1.00)."""
    inner = (
        sql.SQL("trim_scale({})")
        if column.type.split("(")[0] == "numeric" and "[" not in column.type
        else sql.SQL("{}")
    )
    return sql.SQL("{}::text").format(inner.format(field(column)))


def key_columns(table: Table) -> tuple[Column, ...]:
    """The columns of the table's key, in its order."""
    by_name = {column.name: column for column in table.columns}
    return tuple(by_name[name] for name in table.key)


def bucket(table: Table, form: Form) -> sql.Composable:
    """Hash that spreads rows over buckets: of the key, or of the whole row."""
    return fingerprint(key_columns(table) or table.columns, form)


def key_text(table: Table) -> sql.Composable:
    """The key as a JSON array of texts; empty where there is none."""
    if not table.key:
        return sql.SQL("''")
    texts = sql.SQL(", ").join(map(text_of, key_columns(table)))
    return sql.SQL("json_build_array({})::text").format(texts)


def key_match(table: Table) -> sql.Composable:
    """Equality of the row's key and the one asked for, in the key's own types so that its index serves."""
    parts = [
        sql.SQL("{} = (asked.id::json->>{})::{}").format(field(column), sql.Literal(number), sql.SQL(column.type))
        for number, column in enumerate(key_columns(table))
    ]
    return sql.SQL(" AND ").join(parts)


def lock(tables: tuple[Table, ...]) -> sql.Composed:
    """Wait for the writers of tables to end, and let no new one begin."""
    return sql.SQL("LOCK TABLE {} IN SHARE MODE").format(sql.SQL(", ").join(map(relation, tables)))
