"""Which rows the next batch has."""

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from datamigrate.database.keyset import Keyset, last_key, nth_key
from datamigrate.thought.pacing import Pace
from datamigrate.words.migration import Bounds, Key


@dataclass(frozen=True)
class Slice:
    """The next piece of the key space."""

    bounds: Bounds
    is_last: bool


async def choose(
    connection: AsyncConnection, keyset: Keyset, pending: sa.ColumnElement[bool], reach: Bounds, pace: Pace
) -> Slice:
    """The slice behind `reach.lower` that ends with the pace's rows or its span, whichever comes first."""
    end = await first_key(connection, nth_key(keyset, reach, pace.span)) or reach.upper
    if pace.span > pace.rows:
        looked_at = Bounds(reach.lower, end)
        end = await first_key(connection, nth_key(keyset, looked_at, pace.rows, pending)) or end
    return Slice(Bounds(reach.lower, end), end == reach.upper)


async def find_upper(connection: AsyncConnection, keyset: Keyset) -> Key | None:
    """The largest key there is now, or None for an empty table."""
    return await first_key(connection, last_key(keyset))


async def first_key(connection: AsyncConnection, query: sa.Select[tuple[object, ...]]) -> Key | None:
    """The key that a query gives, or None when it gives no row."""
    row = (await connection.execute(query)).first()
    return None if row is None else tuple(row)
