"""Reading many rows at once."""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection


async def fetch(
    connection: AsyncConnection, query: sa.Select[Any], parameters: Mapping[str, Any]
) -> list[Sequence[Any]]:
    """All rows, with their values converted by the types of the query's columns, as SQLAlchemy does it.

    They are the driver's own rows wherever nothing is to be converted: making SQLAlchemy's of them takes
    as long as everything else that is done with a row.
    """
    result = await connection.execute(query, parameters)
    assert result.cursor is not None
    rows: list[Sequence[Any]] = result.cursor.fetchall()
    sent = [column[1] for column in result.cursor.description or ()]
    result.close()
    kinds = [column.type.dialect_impl(connection.dialect) for column in query.selected_columns]
    converters = [kind.result_processor(connection.dialect, s) for kind, s in zip(kinds, sent, strict=True)]
    if not any(converters):
        return rows
    return [[v if c is None else c(v) for c, v in zip(converters, row, strict=True)] for row in rows]
