"""Whose a cancellation is: one that was asked for, or one that comes out of the author's code alone, which has
awaited what somebody else had cancelled."""

import asyncio
import math
from collections.abc import Iterator
from contextlib import contextmanager

import anyio

BY_ITSELF = "It awaited a task or a future that had been cancelled: look for what cancels it, or for a client that is closed."
"""What to do about one that nobody has asked for."""


def is_asked_for() -> bool:
    """Whether this task is being cancelled by whoever runs it."""
    task = asyncio.current_task()
    return is_in_cancelled_scope() or (task is not None and task.cancelling() > 0)


def is_in_cancelled_scope() -> bool:
    """The same for a task of our own making, which is cancelled through its scopes and in no other way."""
    return anyio.current_effective_deadline() == -math.inf


@contextmanager
def taken_back() -> Iterator[None]:
    """Around the author's code in a task of ours: the cancellations that it leaves behind are taken back.

    A TaskGroup of Python 3.11 forgets the one by which it has woken us, when one of its tasks fails; and anyio takes
    it for one of the whole program, and forgets what has failed.
    """
    task, is_cancelled = asyncio.current_task(), False
    before = task.cancelling() if task else 0
    try:
        yield
    except asyncio.CancelledError:
        is_cancelled = True
        raise
    finally:
        while task and task.cancelling() > before and not (is_cancelled or is_in_cancelled_scope()):
            task.uncancel()
