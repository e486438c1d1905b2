"""Between two batches: the pause that others are let in by, and whatever holds the work back."""

import time
from collections.abc import Awaitable
from dataclasses import dataclass
from functools import partial

import anyio

from datamigrate.database.ledger.records import Orders
from datamigrate.doing.persisting import Persistence
from datamigrate.doing.stint import Stint
from datamigrate.doing.waiting import Standstill

LOOK_UP = 1.0
"""Seconds of a pause between two batches after which a worker looks for an operator's word."""

LET_IN = 0.01
LET_IN_SHARE = 0.02
"""Seconds between two batches, and the share of a shorter one, for those who wait for the only write lock."""


@dataclass(frozen=True, eq=False)
class Rest:
    """A worker's, which a stop or an operator's word ends."""

    stint: Stint
    persistence: Persistence

    async def after(self, seconds: float) -> None:
        """Sleep until it is time for the next batch, behind one that took so many seconds."""
        stint = self.stint
        waking = time.monotonic() + self._pause_after(seconds)
        while (left := waking - time.monotonic()) > 0 and not stint.why_stop:
            await anyio.sleep(min(left, LOOK_UP))
            if left > LOOK_UP:
                await self._look_up()

    async def while_held_back(self) -> bool:
        """Wait for as long as anything says so. Whether it waited."""
        stint = self.stint
        return await Standstill(stint.place, stint.name, stint.effort, self._keep, self._look_up).wait()

    def _pause_after(self, seconds: float) -> float:
        settings = self.stint.settings
        if self.stint.place.database.dialect.reads_while_writing:
            return settings.pause_after(seconds)
        # with one writer at a time, others look for the lock now and then, an operator's word among them
        return max(settings.pause_after(seconds), min(LET_IN, LET_IN_SHARE * seconds))

    def _keep(self, why: str | None) -> Awaitable[None]:
        return self.persistence.retried(partial(self._keep_waiting, why))

    async def _keep_waiting(self, why: str | None) -> None:
        async with self.stint.place.database.writing() as connection:
            await self.stint.place.ledger.wait(connection, self.stint.name, why)

    async def _look_up(self) -> None:
        self.stint.heed(await self.persistence.retried(self._orders))

    async def _orders(self) -> Orders:
        async with self.stint.place.database.looking() as connection:
            return await self.stint.place.ledger.orders(connection, self.stint.name)
