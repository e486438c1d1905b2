"""Finding a table in PostgreSQL's catalogue as a script names it: in its schema, or where the search path leads."""

from collections.abc import Mapping

import sqlalchemy as sa

CLASSES = "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
"""All relations, as `c`, with their schemas, as `n`."""

IS_NAMED = (
    "c.relname = :name AND CASE WHEN CAST(:schema AS text) IS NULL THEN pg_table_is_visible(c.oid) "
    "ELSE n.nspname = :schema END"
)
"""Of these the one that is named by the parameters that `names_of` gives."""


def names_of(table: sa.TableClause) -> Mapping[str, str | None]:
    """The parameters `name` and `schema`."""
    return {"name": table.name, "schema": table.schema}
