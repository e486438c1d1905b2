"""Transactions on PostgreSQL: what is to hold in one is said in the same breath with its BEGIN."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar

import asyncpg

T = TypeVar("T")


async def connect(*arguments: Any, **options: Any) -> "Connection":
    """A new connection of the driver."""
    connection: Connection = await _to_its_end(asyncpg.connect(*arguments, **options), _give_up)
    return connection


async def _to_its_end(work: Awaitable[T], give_up: Callable[[asyncio.Future[T]], None]) -> T:
    """Who waits for it may be cancelled; the driver itself, cancelled while it connects, would leave an error behind
    that nobody asks for."""
    attempt = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(attempt)
    except asyncio.CancelledError:
        attempt.add_done_callback(give_up)
        raise


def _give_up(attempt: "asyncio.Future[Connection]") -> None:
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result().terminate()


def _forget(request: "asyncio.Future[None]") -> None:
    if not request.cancelled():
        request.exception()


class Connection(asyncpg.Connection):  # type: ignore[misc] # untyped there
    """A connection of the driver. Its `settings` go with the next BEGIN, and with that one only."""

    __slots__ = ("settings",)

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.settings = ""

    async def _cancel(self, *arguments: Any, **options: Any) -> None:
        # it connects, too, and is cancelled when this connection breaks meanwhile
        with suppress(asyncio.CancelledError):
            await _to_its_end(super()._cancel(*arguments, **options), _forget)
        self._cancellations.discard(asyncio.current_task())

    async def set_locally(self, settings: str) -> None:
        """Have these settings hold in the transaction that is open, or in the one that begins next."""
        if self.is_in_transaction():
            await self.execute(settings)
        else:
            self.settings = settings

    async def execute(self, query: str, *arguments: Any, **options: Any) -> str:
        """One statement, or several without arguments."""
        if self.settings and query.startswith("BEGIN"):
            query, self.settings = f"{query} {self.settings}", ""
        status: str = await super().execute(query, *arguments, **options)
        return status
