"""A database written out in full, in an order that depends on nothing but what is in it."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

Entry = tuple[Any, ...]
Dump = list[tuple[str, list[Entry]]]
"""The schema, and the rows of each table."""

_POSTGRES_SCHEMA = """
WITH mine AS (
    SELECT c.oid, n.nspname || '.' || c.relname AS name, c.relkind
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname NOT IN ('information_schema', 'pg_catalog') AND n.nspname NOT LIKE 'pg\\_%'
)
SELECT 'relation', name, relkind::text, pg_get_viewdef(oid) FROM mine WHERE relkind <> 'i'
UNION ALL SELECT 'index', name, NULL, pg_get_indexdef(oid) FROM mine WHERE relkind = 'i'
UNION ALL
SELECT 'column', name, attname,
       concat_ws(' ', format_type(atttypid, atttypmod), CASE WHEN attnotnull THEN 'NOT NULL' END,
                 pg_get_expr(adbin, adrelid))
FROM mine JOIN pg_attribute a ON a.attrelid = mine.oid AND attnum > 0 AND NOT attisdropped
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE relkind IN ('r', 'p', 'v', 'm', 'f')
UNION ALL SELECT 'constraint', name, conname, pg_get_constraintdef(c.oid)
FROM mine JOIN pg_constraint c ON c.conrelid = mine.oid
UNION ALL SELECT 'trigger', name, tgname, pg_get_triggerdef(t.oid)
FROM mine JOIN pg_trigger t ON t.tgrelid = mine.oid AND NOT tgisinternal
UNION ALL SELECT 'function', n.nspname || '.' || proname, NULL, pg_get_functiondef(p.oid)
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname NOT IN ('information_schema', 'pg_catalog') AND prokind IN ('f', 'p')
"""
_POSTGRES_TABLES = """
SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'm') AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%'
ORDER BY 1
"""
_SQLITE_SCHEMA = "SELECT type, name, tbl_name, sql FROM sqlite_master"


def dump(connection: Connection) -> Dump:
    """Schema and rows. What PostgreSQL's sequences stand at is left out: a rolled-back insert moves them too."""
    return [
        ("(schema)", schema_of(connection)),
        *((t, _sorted(connection, f"SELECT * FROM {t}")) for t in _tables(connection)),
    ]


def schema_of(connection: Connection) -> list[Entry]:
    """Whatever a revision could change: tables, columns, indexes, constraints, triggers, functions."""
    return _sorted(connection, _SQLITE_SCHEMA if _is_sqlite(connection) else _POSTGRES_SCHEMA)


def _tables(connection: Connection) -> list[str]:
    if _is_sqlite(connection):
        return [name for kind, name, _, _ in schema_of(connection) if kind == "table"]
    return list(connection.execute(sa.text(_POSTGRES_TABLES)).scalars())


def _sorted(connection: Connection, sql: str) -> list[Entry]:
    found = connection.execution_options(no_parameters=True).exec_driver_sql(sql)  # a % is just a %
    return sorted((tuple(row) for row in found), key=repr)


def _is_sqlite(connection: Connection) -> bool:
    return connection.dialect.name == "sqlite"
