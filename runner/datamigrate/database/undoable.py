"""What the undo log has to know of a table on PostgreSQL before the first row is kept."""

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


async def schema_of(connection: AsyncConnection, table: sa.TableClause) -> str | None:
    """The schema in which the table is found now: another search path may lead to another table of that name."""
    found: str | None = await connection.scalar(sa.text(_SCHEMA), names_of(table))
    return found


async def in_the_way_of_inserts(connection: AsyncConnection, table: sa.TableClause) -> list[str]:
    """What keeps deleted rows from being put back, in words."""
    return list(await connection.scalars(sa.text(_AGAINST_INSERTS), names_of(table)))
