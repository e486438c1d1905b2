"""How many rows a query would give on SQLite, which keeps no statistics of that: counted, but not for long."""

import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from datamigrate.database.dialects.base import COUNTED, Estimate

COUNT_TIMEOUT = 2.0

STEPS = 10_000
"""Instructions of SQLite's machine between two looks at the clock."""


async def counted_shortly(connection: AsyncConnection, query: sa.Select[Any]) -> Estimate | None:
    """A count when that is quick; else, as the most that it can be, how many rows the table has. None for a
    large table without rowids."""
    try:
        async with _for_at_most(COUNT_TIMEOUT, connection):
            count = await connection.scalar(sa.select(sa.func.count()).select_from(query.subquery()))
        return Estimate(int(count or 0), COUNTED)
    except DBAPIError as error:
        if getattr(error.orig, "sqlite_errorcode", None) != sqlite3.SQLITE_INTERRUPT:
            raise
    try:
        return Estimate(await _size(connection, query.get_final_froms()[0]), "the table's size, at most")
    except DBAPIError:
        return None


async def _size(connection: AsyncConnection, table: sa.FromClause) -> int:
    # the two ends of the table's tree, each found at once
    rowid = sa.literal_column("rowid", sa.Integer)
    first = await connection.scalar(sa.select(sa.func.min(rowid)).select_from(table))
    last = await connection.scalar(sa.select(sa.func.max(rowid)).select_from(table))
    return 0 if first is None or last is None else int(last) - int(first) + 1


@asynccontextmanager
async def _for_at_most(seconds: float, connection: AsyncConnection) -> AsyncIterator[None]:
    """Interrupt a statement that takes longer; its transaction goes on."""
    driver: Any = (await connection.get_raw_connection()).driver_connection
    end = time.monotonic() + seconds
    await driver.set_progress_handler(lambda: time.monotonic() > end, STEPS)
    try:
        yield
    finally:
        with suppress(ValueError):  # closed already
            await driver.set_progress_handler(None, STEPS)
