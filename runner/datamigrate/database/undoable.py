"""What the undo log has to know of a table before the first row is kept."""

import re
from collections.abc import Collection

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from datamigrate.database.named import CLASSES, IS_NAMED, names_of

_SCHEMA = f"SELECT n.nspname {CLASSES} WHERE {IS_NAMED}"

# INSERT ... ON CONFLICT, by which a deleted row is put back, works with neither
_AGAINST_INSERTS = f"""
SELECT 'the deferrable constraint ' || k.conname {CLASSES} JOIN pg_constraint k ON k.conrelid = c.oid
WHERE k.contype IN ('p', 'u', 'x') AND k.condeferrable AND {IS_NAMED}
UNION ALL
SELECT 'the rule ' || r.rulename {CLASSES} JOIN pg_rewrite r ON r.ev_class = c.oid
WHERE r.ev_type IN ('2', '3') AND c.relkind IN ('r', 'p') AND {IS_NAMED}
ORDER BY 1
"""

# the casts that came with the database, whose numbers are lower, tell every value as itself; a text that is read as JSON
# would be a string of it
_CAST_BY_FUNCTIONS = f"""
WITH RECURSIVE typed AS (
    SELECT a.attname, a.atttypid AS kind {CLASSES} JOIN pg_attribute a ON a.attrelid = c.oid
    WHERE a.attnum > 0 AND NOT a.attisdropped AND {IS_NAMED}
    UNION ALL
    SELECT typed.attname, t.typbasetype FROM typed JOIN pg_type t ON t.oid = typed.kind WHERE t.typtype = 'd'
)
SELECT DISTINCT typed.attname::text FROM typed JOIN pg_cast k ON k.castmethod = 'f' AND k.oid >= 16384
AND typed.kind NOT IN ('pg_catalog.json'::regtype, 'pg_catalog.jsonb'::regtype)
AND (k.castsource, k.casttarget) IN ((typed.kind, 'pg_catalog.text'::regtype), ('pg_catalog.text'::regtype, typed.kind))
"""


async def schema_of(connection: AsyncConnection, table: sa.TableClause) -> str | None:
    """The schema in which the table is found now: another search path may lead to another table of that name."""
    found: str | None = await connection.scalar(sa.text(_SCHEMA), names_of(table))
    return found


async def cast_by_functions(connection: AsyncConnection, table: sa.TableClause) -> frozenset[str]:
    """The columns of types that somebody's own functions cast to text, or from it."""
    return frozenset(await connection.scalars(sa.text(_CAST_BY_FUNCTIONS), names_of(table)))


async def in_the_way_of_inserts(connection: AsyncConnection, table: sa.TableClause) -> list[str]:
    """What keeps deleted rows from being put back, in words."""
    return list(await connection.scalars(sa.text(_AGAINST_INSERTS), names_of(table)))


_UNIQUE_ON_SQLITE = """
SELECT c.name FROM pragma_index_list(:name) i JOIN pragma_index_info(i.name) c WHERE i."unique"
UNION SELECT name FROM pragma_table_info(:name) WHERE pk > 0
"""
_NO_WORDS = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|`[^`]*`|\[[^\]]*\]|--[^\n]*|/\*.*?\*/", re.DOTALL)
# of a column that is NOT NULL it says that NULL becomes its default, in the same row
_REPLACING = re.compile(r"(?<!\bNOT NULL )\bON CONFLICT REPLACE\b", re.IGNORECASE)


async def replaces_rows(
    connection: AsyncConnection, table: sa.TableClause, written: Collection[str] | None
) -> bool:
    """Whether SQLite makes way for what is written by deleting other rows, by the table's own ON CONFLICT REPLACE.

    `written` are the columns that are, None for all of them.
    """
    made = sa.text("SELECT sql FROM sqlite_master WHERE type = 'table' AND lower(name) = lower(:name)")
    named = {"name": table.name}
    text = " ".join(_NO_WORDS.sub(" x ", await connection.scalar(made, named) or "").split())
    if not _REPLACING.search(text):
        return False
    unique = set(await connection.scalars(sa.text(_UNIQUE_ON_SQLITE), named))
    return written is None or not unique.isdisjoint(written)
