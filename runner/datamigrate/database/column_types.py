"""The types of a table's columns by the names that the database gives them."""

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from datamigrate.database.named import CLASSES, IS_NAMED


class TypeNamed(sa.types.UserDefinedType[Any]):
    """A type by the name that the database gives it."""

    cache_ok = True

    def __init__(self, name: str) -> None:
        self.name = name

    def get_col_spec(self, **_: Any) -> str:
        """The name as it is."""
        return self.name

    def bind_processor(self, dialect: sa.Dialect) -> Callable[[Any], Any]:
        """A composite that was read is written as a tuple: within an array the driver would take it for an array."""
        return _with_tuples


async def column_types(
    connection: AsyncConnection, table: str, schema: str | None
) -> dict[str, sa.types.TypeEngine[Any]]:
    """The table's columns that can be written, each with its type; on SQLite, where values have types of their
    own, that does not matter. Empty where there is no such table."""
    dialect = connection.dialect.name
    found = await connection.execute(sa.text(_COLUMNS[dialect]), {"name": table, "schema": schema})
    return {name: TypeNamed(kind) if dialect == "postgresql" else sa.types.NullType() for name, kind in found}


_COLUMNS = {
    "postgresql": f"""
SELECT a.attname::text, format_type(a.atttypid, a.atttypmod) {CLASSES} JOIN pg_attribute a ON a.attrelid = c.oid
WHERE a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
AND c.relkind IN ('r', 'p', 'v', 'f') AND {IS_NAMED}
ORDER BY a.attnum
""",
    "sqlite": """
SELECT name, type FROM pragma_table_xinfo(:name, coalesce(:schema, 'main')) WHERE hidden = 0 ORDER BY cid
""",
}


def _with_tuples(value: Any) -> Any:
    from asyncpg import Record  # imported by now, where there are values of such types

    if type(value) is list:
        return [_with_tuples(one) for one in value]
    return tuple(map(_with_tuples, value)) if type(value) in (Record, tuple) else value
