"""What the undo log has to know of a table on PostgreSQL before the first row is kept."""

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

_OF_TABLE = """
c.relname = :name
AND CASE WHEN CAST(:schema AS text) IS NULL THEN pg_table_is_visible(c.oid) ELSE n.nspname = :schema END
"""

_SCHEMA = f"SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {_OF_TABLE}"

# INSERT ... ON CONFLICT, by which a deleted row is put back, works with neither
_AGAINST_INSERTS = f"""
SELECT 'the deferrable constraint ' || k.conname FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE k.contype IN ('p', 'u', 'x') AND k.condeferrable AND {_OF_TABLE}
UNION ALL
SELECT 'the rule ' || r.rulename FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE r.ev_type IN ('2', '3') AND c.relkind IN ('r', 'p') AND {_OF_TABLE}
ORDER BY 1
"""


async def schema_of(connection: AsyncConnection, table: sa.TableClause) -> str | None:
    """The schema in which the table is found now: another search path may lead to another table of that name."""
    found: str | None = await connection.scalar(sa.text(_SCHEMA), _names(table))
    return found


async def in_the_way_of_inserts(connection: AsyncConnection, table: sa.TableClause) -> list[str]:
    """What keeps deleted rows from being put back, in words."""
    return list(await connection.scalars(sa.text(_AGAINST_INSERTS), _names(table)))


def _names(table: sa.TableClause) -> dict[str, str | None]:
    return {"name": table.name, "schema": table.schema}
