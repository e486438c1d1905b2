"""What is done again when the connection is lost: looking, and what is the same however often it is done."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

from datamigrate.words.errors import ConnectionLost, DatabaseUnavailable

T = TypeVar("T")

WAITS = (0.1, 0.2, 0.4, 0.8)
"""Seconds before another try."""


async def again_if_lost(step: Callable[[], Awaitable[T]]) -> T:
    """The step's result. A database that was there a moment ago is asked again, one that never was is not.

    Raises what the last try failed with.
    """
    was_there = False
    for seconds in WAITS:
        try:
            return await step()
        except DatabaseUnavailable as error:
            was_there = was_there or isinstance(error, ConnectionLost)
            if not was_there:
                raise
        await anyio.sleep(seconds)
    return await step()
