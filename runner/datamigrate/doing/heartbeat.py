"""Saying "alive" while working, so that a claim does not expire under a long batch."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

from datamigrate.words.errors import Fenced

T = TypeVar("T")


async def with_heartbeat(
    beat: Callable[[], Awaitable[None]], interval: float, work: Callable[[], Awaitable[T]]
) -> T:
    """Do the work, calling `beat` every `interval` seconds meanwhile.

    Raises what the work raises. When a beat raises Fenced the work is cancelled and Fenced is raised; any
    other error of a beat is passed over, since the work will meet the same fault and tell of it.
    """
    results: list[T] = []
    failures: list[Exception] = []

    async def beating() -> None:
        while True:
            await anyio.sleep(interval)
            try:
                await beat()
            except Fenced as error:
                failures.append(error)
                group.cancel_scope.cancel()
            except Exception:
                continue

    async with anyio.create_task_group() as group:
        group.start_soon(beating)
        try:
            results.append(await work())
        except Exception as error:
            failures.append(error)
        group.cancel_scope.cancel()
    if failures:
        raise failures[0]
    return results[0]
