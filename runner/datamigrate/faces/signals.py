"""SIGTERM and Ctrl-C: the first finishes the batch, a second Ctrl-C breaks it off."""

import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import anyio

from datamigrate.doing.accompanying import accompanied
from datamigrate.doing.stopping import Stop
from datamigrate.words.errors import Interrupted

T = TypeVar("T")


async def until_signalled(stop: Stop, work: Callable[[], Awaitable[T]], say: Callable[[str], None]) -> T:
    """The work's result. Raises Interrupted after a second Ctrl-C, when the batch was rolled back."""

    async def listen() -> None:
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async for received in signals:
                if received == signal.SIGINT and stop.reason:
                    raise Interrupted(
                        "Interrupted: the batch under way was rolled back, everything before it is kept.",
                        "`datamigrate run` goes on where it stopped.",
                    )
                stop.request(signal.Signals(received).name)
                say(f"{stop.reason}: finishing the batch; Ctrl-C breaks it off.")

    return await accompanied(work, listen)


@asynccontextmanager
async def unless_terminated() -> AsyncIterator[None]:
    """While something is only tried, Ctrl-C, SIGTERM and a lost terminal break it off in good order.

    Raises Interrupted when one of them came.
    """
    came: list[str] = []

    async def listen() -> None:
        # only for the first: a second one ends it at once, in whatever order
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
            async for received in signals:
                came.append(signal.Signals(received).name)
                group.cancel_scope.cancel()
                return

    failures: list[Exception] = []
    async with anyio.create_task_group() as group:
        group.start_soon(listen)
        try:
            yield
        except Exception as error:
            # as it is, and not in a group of one
            failures.append(error)
        group.cancel_scope.cancel()
    if came:
        who = "Ctrl-C" if came[0] == "SIGINT" else came[0]
        raise Interrupted(f"Interrupted by {who}: everything was rolled back, nothing was written.")
    if failures:
        raise failures[0]
