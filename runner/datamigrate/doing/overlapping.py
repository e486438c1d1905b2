"""Doing the next thing's first half while this one's second half is under way."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

T = TypeVar("T")
U = TypeVar("U")

LOOK_ROUND = 0.05
"""Seconds between two looks whether what is done ahead is wanted still."""


async def overlapping(
    this: Callable[[], Awaitable[T]], ahead: Callable[[], Awaitable[U]], is_wanted: Callable[[], bool]
) -> tuple[T, U | Exception | None]:
    """Do both at once and give both results.

    An error of `this` ends what is done ahead and is raised. What is done `ahead` is waited for as long as it
    `is_wanted`, else it is broken off with None for its result; an error of it is its result.
    """
    results: list[T] = []
    early: list[U | Exception] = []
    failures: list[Exception] = []
    done = anyio.Event()

    async def begin_early() -> None:
        try:
            early.append(await ahead())
        except Exception as error:
            early.append(error)
        done.set()

    async with anyio.create_task_group() as group:
        group.start_soon(begin_early)
        try:
            results.append(await this())
            while is_wanted() and not done.is_set():
                with anyio.move_on_after(LOOK_ROUND):
                    await done.wait()
        except Exception as error:
            failures.append(error)
        if not done.is_set():
            group.cancel_scope.cancel()
    if failures:
        raise failures[0]
    return results[0], early[0] if early else None
