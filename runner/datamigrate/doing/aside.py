"""Calling what may never return: in a thread of its own, for which no process waits in the end, as it does for those
of a pool."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextvars import copy_context
from threading import Thread
from typing import TypeVar

T = TypeVar("T")


async def aside(function: Callable[[], T]) -> T:
    """What the function returns or raises. Who is cancelled waits no more, and the function goes on by itself."""
    return await asyncio.wrap_future(_begun(function))


def once_at_a_time(function: Callable[[], T]) -> Callable[[], Awaitable[T]]:
    """The function called aside, and not again before it has answered."""
    under_way: list[Future[T]] = []

    async def called() -> T:
        if not under_way or under_way[0].done():
            under_way[:] = [_begun(function)]
        return await asyncio.wrap_future(under_way[0])

    return called


def _begun(function: Callable[[], T]) -> Future[T]:
    answer: Future[T] = Future()
    answer.set_running_or_notify_cancel()  # from here on nobody who waits can cancel it
    Thread(target=copy_context().run, args=(_answer_in, answer, function), daemon=True).start()
    return answer


def _answer_in(answer: Future[T], function: Callable[[], T]) -> None:
    try:
        answer.set_result(function())
    except StopIteration as error:
        # no future takes that one
        answer.set_exception(RuntimeError(f"{type(error).__name__}: {error}"))
    except BaseException as error:
        answer.set_exception(error)
