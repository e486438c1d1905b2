"""Cutting a slice of the key space so that several can work on it at once."""

from dataclasses import dataclass, replace
from typing import cast

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from datamigrate.database.dialects import Dialect
from datamigrate.database.keyset import Keyset, spread_keys
from datamigrate.words.migration import Bounds, Key

MOST_KEYS = 2_000
"""As many as the sampled keys are thinned out to before they are sent: enough for parts that are alike."""


@dataclass(frozen=True)
class Division:
    """Where a slice of about so many `rows` may be cut: before the first row behind each of the `points`."""

    points: tuple[Key, ...] = ()
    rows: int = 0


async def divide(
    connection: AsyncConnection, dialect: Dialect, keyset: Keyset, bounds: Bounds, parts: int, least: int
) -> Division:
    """Cut the slice into at most so many parts with about the same number of rows, found by a sample of the
    table. No part gets less than `least` rows, so that there may be fewer parts, or no cut at all."""
    sampled = await dialect.sample_of(connection, keyset.table)
    if sampled is None:
        return Division()
    some, share = sampled
    among = replace(keyset, table=cast(sa.TableClause, some))
    found = list(await connection.execute(spread_keys(among, bounds, MOST_KEYS)))
    keys = [tuple(row[:-1]) for row in found]
    rows = round(found[0][-1] / share) if found else 0
    parts = min(parts, rows // max(1, least), len(keys))
    points = (keys[len(keys) * i // parts - 1] for i in range(1, parts))
    return Division(tuple(dict.fromkeys(points)), rows)
