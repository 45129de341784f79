"""The SQL that reads what stands around the rows of PostgreSQL: schema, extensions, roles, settings. Runs none.

Each statement gives (kind, name, value). Secrets are never read: of passwords only whether there is one.
"""

from __future__ import annotations

USERS = "n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)'"
SCHEMA = f"""
SELECT 'tables', format('%s.%s %s', n.nspname, c.relname, a.attname),
       concat_ws(' ', c.relkind, c.relpersistence, format_type(a.atttypid, a.atttypmod), a.attnum, a.attnotnull,
                 a.attgenerated, a.attidentity, a.attcollation::regcollation, pg_get_expr(d.adbin, d.adrelid),
                 c.relrowsecurity, c.relreplident, c.reloptions)
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
  LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
 WHERE c.relkind IN ('r', 'p', 'f', 'm', 'v') AND c.relpersistence <> 't' AND {USERS}
UNION ALL
SELECT 'indexes', format('%s.%s', n.nspname, c.relname),
       concat_ws(' ', pg_get_indexdef(c.oid), i.indisvalid, i.indisready, i.indisunique)
  FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relpersistence <> 't' AND {USERS}
UNION ALL
SELECT 'constraints', format('%s.%s %s', n.nspname, c.relname, k.conname),
       concat_ws(' ', pg_get_constraintdef(k.oid), k.convalidated)
  FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relpersistence <> 't' AND {USERS}
UNION ALL
SELECT 'views', format('%s.%s', n.nspname, c.relname), md5(pg_get_viewdef(c.oid))
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('v', 'm') AND {USERS}
UNION ALL
SELECT 'triggers', format('%s.%s %s', n.nspname, c.relname, t.tgname),
       concat_ws(' ', t.tgenabled, pg_get_triggerdef(t.oid))
  FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE NOT t.tgisinternal AND {USERS}
UNION ALL
SELECT 'functions', format('%s.%s(%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)),
       md5(concat_ws('|', p.prosrc, p.probin, p.prolang, p.provolatile, p.prosecdef, p.proconfig, p.proacl))
  FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE {USERS}
UNION ALL
SELECT 'policies', format('%s %s', polrelid::regclass, polname),
       concat_ws(' ', polcmd, polpermissive, pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid))
  FROM pg_policy
UNION ALL
SELECT 'grants', format('%s.%s', n.nspname, c.relname), c.relacl::text
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relacl IS NOT NULL AND {USERS}
UNION ALL
SELECT 'extensions', extname, extversion FROM pg_extension
UNION ALL
SELECT 'extensions', e.extname || ' (files of the server)', coalesce(a.default_version, 'missing')
  FROM pg_extension e LEFT JOIN pg_available_extensions a ON a.name = e.extname
"""
"""Of one database. The files of an extension are the server's own: without them a replica fails once it is promoted."""

CLUSTER = """
SELECT 'roles', rolname::text, concat_ws(' ', rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin,
       rolreplication, rolbypassrls, rolconnlimit, rolvaliduntil, rolpassword IS NOT NULL) FROM pg_roles
UNION ALL
SELECT 'roles', format('%s in %s', m.member::regrole, m.roleid::regrole), m.admin_option::text FROM pg_auth_members m
UNION ALL
SELECT 'roles', format('settings of %s in %s', setrole::regrole, coalesce(d.datname, '*')), setconfig::text
  FROM pg_db_role_setting s LEFT JOIN pg_database d ON d.oid = s.setdatabase
UNION ALL
SELECT 'databases', datname::text, concat_ws(' ', pg_encoding_to_char(encoding), datcollate, datctype, datallowconn,
       datconnlimit, datacl) FROM pg_database
UNION ALL
SELECT 'collations', datname::text, concat_ws(' ', datcollversion, pg_database_collation_actual_version(oid))
  FROM pg_database
UNION ALL
SELECT 'settings', name, current_setting(name)
  FROM pg_settings WHERE name IN (
    'server_version', 'block_size', 'wal_block_size', 'wal_segment_size', 'data_checksums', 'server_encoding',
    'max_connections', 'max_prepared_transactions', 'max_locks_per_transaction', 'max_worker_processes',
    'max_wal_senders', 'wal_level', 'wal_log_hints', 'fsync', 'full_page_writes', 'password_encryption',
    'shared_preload_libraries', 'session_preload_libraries', 'default_transaction_isolation',
    'default_text_search_config', 'lc_messages', 'lc_monetary', 'lc_numeric', 'lc_time', 'ssl',
    'default_tablespace', 'temp_tablespaces', 'log_timezone', 'timezone_abbreviations')
"""
"""Of the whole server: settings that a replica must share to take its primary's place, none that name it."""

SUBSCRIBED = """
SELECT format('%s.%s', n.nspname, c.relname), s.subslotname::text, r.srsubstate IN ('r', 's')
FROM pg_subscription_rel r JOIN pg_subscription s ON s.oid = r.srsubid
JOIN pg_class c ON c.oid = r.srrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE s.subenabled AND s.subslotname IS NOT NULL ORDER BY 1
"""
CONFIRMED = """
SELECT count(*), min(confirmed_flush_lsn - '0/0'::pg_lsn) FROM pg_replication_slots WHERE slot_name = ANY(%s)
"""
FILTERED = """
SELECT DISTINCT format('%s.%s', n.nspname, c.relname) FROM pg_publication_rel p
JOIN pg_class c ON c.oid = p.prrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE p.prqual IS NOT NULL OR p.prattrs IS NOT NULL
"""
