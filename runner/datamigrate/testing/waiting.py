"""Asynchronous work, waited for by a test that may itself be synchronous or not."""

import asyncio
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


def waited(work: Coroutine[Any, Any, T]) -> T:
    """The result of the work, done in a thread with a loop of its own: the test's loop, if any, is not
    touched."""
    with ThreadPoolExecutor(1, thread_name_prefix="datamigrate") as thread:
        return thread.submit(asyncio.run, work).result()
