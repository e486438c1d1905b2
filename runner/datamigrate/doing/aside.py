"""Calling what may never return: in a thread for which no process waits in the end, as it does for those of a pool.

A thread is used again: a new one for every batch would each leave some memory behind.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from queue import SimpleQueue
from threading import Thread
from typing import TypeVar

T = TypeVar("T")


async def aside(function: Callable[[], T]) -> T:
    """What the function returns or raises. Who is cancelled waits no more, and the function goes on by itself."""
    return await _begun(function)


def once_at_a_time(function: Callable[[], T]) -> Callable[[], Awaitable[T]]:
    """The function called aside, and not again before it has answered."""
    under_way: list[asyncio.Future[T]] = []

    async def called() -> T:
        if not under_way or under_way[0].done():
            under_way[:] = [_begun(function)]
        # who is cancelled cancels it for nobody else
        return await asyncio.shield(under_way[0])

    return called


def _begun(function: Callable[[], T]) -> asyncio.Future[T]:
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()

    def tell(result: T | None, error: BaseException | None) -> None:
        if answer.done():
            return
        if error is None:
            answer.set_result(result)  # type: ignore[arg-type] # it is one then
        else:
            answer.set_exception(error)

    def call() -> None:
        result: T | None = None
        failure: BaseException | None = None
        try:
            result = function()
        except StopIteration as error:
            # no future takes that one
            failure = RuntimeError(f"{type(error).__name__}: {error}")
        except BaseException as error:
            failure = error
        with suppress(RuntimeError):  # the loop may be gone by now
            loop.call_soon_threadsafe(tell, result, failure)

    _hand_over(partial(copy_context().run, call))
    return answer


_idle: deque[SimpleQueue[Callable[[], None]]] = deque()


def _hand_over(call: Callable[[], None]) -> None:
    try:
        calls = _idle.pop()
    except IndexError:
        calls = SimpleQueue()
        Thread(target=_serve, args=(calls,), daemon=True).start()
    calls.put(call)


def _serve(calls: SimpleQueue[Callable[[], None]]) -> None:
    while True:
        calls.get()()
        _idle.append(calls)
