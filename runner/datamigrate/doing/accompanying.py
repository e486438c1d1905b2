"""Work with something going on beside it that ends with it, or ends it."""

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import anyio

T = TypeVar("T")


Companion = Callable[[], Coroutine[Any, Any, None]]


async def accompanied(work: Callable[[], Awaitable[T]], *by: Companion) -> T:
    """The work's result, or what it raises, as it is. What goes on beside it is cancelled then; what that raises
    cancels the work, and is raised instead."""
    results: list[T] = []
    failures: list[Exception] = []

    async def beside(companion: Companion) -> None:
        try:
            await companion()
        except Exception as error:
            failures.append(error)
            group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        for companion in by:
            group.start_soon(beside, companion)
        try:
            results.append(await work())
        except Exception as error:
            failures.append(error)
        group.cancel_scope.cancel()
    if failures:
        raise failures[0]
    return results[0]
