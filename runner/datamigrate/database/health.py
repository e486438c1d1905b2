"""Reading signals of a database's health, all of one look in one transaction that does nothing else."""

import time
from collections.abc import Collection

import anyio
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from datamigrate.database.database import Database
from datamigrate.database.dialects.base import Timeouts
from datamigrate.database.faults import said_by
from datamigrate.thought.health import LAG, POOL_WAIT, Reading
from datamigrate.words.secrets import redacted

Asked = tuple[str, sa.TableClause | None]
"""A signal, and the table that it is asked of."""

LOOKS = 5
"""How many answers' patience a whole look may take."""


async def read_signals(
    database: Database, asked: Collection[Asked], patience: float, lag_query: str | None = None
) -> dict[Asked, Reading]:
    """What each says now. One that cannot be read, or takes longer than `patience` seconds, says so itself."""
    readings: dict[Asked, Reading] = {}
    began = time.monotonic()
    try:
        with anyio.fail_after(LOOKS * patience):
            async with database.looking(Timeouts(patience, patience)) as connection:
                waited = time.monotonic() - began
                for signal, table in asked:
                    if signal == POOL_WAIT:
                        readings[signal, table] = Reading(waited)
                    else:
                        query = lag_query if signal == LAG else None
                        readings[signal, table] = await _read(database, connection, signal, table, query)
    except TimeoutError:
        return _no_answer(f"no answer within {LOOKS * patience:g} s", asked, readings)
    except Exception as error:
        # whatever it is, the work itself will meet it too and knows better what to make of it
        return _no_answer(_said(error), asked, readings)
    return readings


async def _read(
    database: Database,
    connection: AsyncConnection,
    signal: str,
    table: sa.TableClause | None,
    query: str | None,
) -> Reading:
    try:
        async with connection.begin_nested():
            if query is None:
                return await database.dialect.read_signal(connection, signal, table)
            value = (await connection.exec_driver_sql(query)).scalar()
            return Reading(None if value is None else float(value))
    except (DBAPIError, TypeError, ValueError) as error:
        return Reading(trouble=_said(error))


def _no_answer(
    trouble: str, asked: Collection[Asked], answered: dict[Asked, Reading]
) -> dict[Asked, Reading]:
    return {one: Reading(trouble=trouble) for one in asked} | answered


def _said(error: Exception) -> str:
    return redacted(said_by(error)) or type(error).__name__
