"""How much there is on SQLite, which keeps no statistics of that, and looks that end when they take long."""

import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from datamigrate.database.dialects.base import Estimate

STEPS = 10_000
"""Instructions of SQLite's machine between two looks at the clock."""


async def size_of(connection: AsyncConnection, table: sa.FromClause) -> Estimate | None:
    """How many rows a table has at most, by the two ends of its tree, each found at once. None for one without
    rowids."""
    rowid = sa.literal_column("rowid", sa.Integer)
    try:
        first = await connection.scalar(sa.select(sa.func.min(rowid)).select_from(table))
        last = await connection.scalar(sa.select(sa.func.max(rowid)).select_from(table))
    except DBAPIError:
        return None
    rows = 0 if first is None or last is None else int(last) - int(first) + 1
    return Estimate(rows, "the table's size, at most")


@asynccontextmanager
async def for_at_most(seconds: float, connection: AsyncConnection) -> AsyncIterator[None]:
    """End a statement that takes longer, and raise nothing then."""
    driver: Any = (await connection.get_raw_connection()).driver_connection
    end = time.monotonic() + seconds
    try:
        # here, for who is cancelled meanwhile has set it all the same
        await driver.set_progress_handler(lambda: time.monotonic() > end, STEPS)
        yield
    except DBAPIError as error:
        if getattr(error.orig, "sqlite_errorcode", None) != sqlite3.SQLITE_INTERRUPT:
            raise
    finally:
        with suppress(ValueError), anyio.CancelScope(shield=True):  # closed already
            await driver.set_progress_handler(None, STEPS)
