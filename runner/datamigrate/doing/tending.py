"""What the database would do in the middle of a batch, done beside it."""

from contextlib import suppress
from pathlib import Path

import anyio

from datamigrate.database.database import Database

EVERY = 0.05
"""Seconds between two looks at the log."""

SHORT = 4 * 1024**2
"""Bytes of a log that is left to those who commit."""


async def tending(database: Database) -> None:
    """Copy what others have committed from the log to its place, again and again, until cancelled; nothing where
    the server does that. What fails is left to those who commit."""
    log, seen = database.dialect.log_of(database.address), 0
    while log is not None:
        await anyio.sleep(EVERY)
        if (written := _written(log)) == seen:
            continue
        with suppress(Exception):
            async with database.looking() as connection:
                await database.dialect.copy_log(connection)
            seen = written


def _written(log: Path) -> int:
    """When the log was written to, if there is much in it."""
    try:
        found = log.stat()
    except OSError:
        return 0
    return found.st_mtime_ns if found.st_size > SHORT else 0
