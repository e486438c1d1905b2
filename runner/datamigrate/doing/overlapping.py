"""Doing the next thing's first half while this one's second half is under way."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

import anyio

T = TypeVar("T")
U = TypeVar("U")


async def overlapping(
    this: Callable[[], Awaitable[T]], ahead: Callable[[], Awaitable[U]]
) -> tuple[T, U | None]:
    """Do both at once and give both results.

    An error of `this` ends what is done ahead and is raised. An error of what is done `ahead` is passed
    over, with None for its result: it will be met again when its turn comes.
    """
    results: list[T] = []
    early: list[U] = []
    failures: list[Exception] = []

    async def begin_early() -> None:
        with suppress(Exception):
            early.append(await ahead())

    async with anyio.create_task_group() as group:
        group.start_soon(begin_early)
        try:
            results.append(await this())
        except Exception as error:
            failures.append(error)
            group.cancel_scope.cancel()
    if failures:
        raise failures[0]
    return results[0], early[0] if early else None
