"""Standing still between two batches for as long as something says so: an unwell database, a closed window."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import anyio

from datamigrate.doing.effort import Effort, Workplace
from datamigrate.words import events

LOOK_ROUND = 0.25
"""Seconds between two looks at what is waited for; a stop is heard as quickly."""

LOOK_UP = 1.0
"""Seconds between two looks for an operator's word."""

TELL_AGAIN = 10.0
"""Seconds after which it is told again what is waited for, with how it stands by then."""


@dataclass(frozen=True, eq=False)
class Standstill:
    """A worker on a migration that may have to wait. Of several in one process one speaks for all: it
    `keep`s in the ledger why they wait (None: they go on), and looks there for an operator's word."""

    place: Workplace
    name: str
    effort: Effort
    keep: Callable[[str | None], Awaitable[None]]
    look_up: Callable[[], Awaitable[None]]

    async def wait(self) -> bool:
        """Wait for as long as anything says so; a stop or an operator's word ends it too. Whether it waited."""
        if self._why() is None:
            return False
        while self._why():
            if self.effort.waiting is None:
                await self._wait_and_speak()
            else:
                await anyio.sleep(LOOK_ROUND)
        return True

    def _why(self) -> str | None:
        why = self.place.why_wait(self.name)
        return None if why is None or self.effort.why_stop(self.place.stop) else why

    async def _wait_and_speak(self) -> None:
        began = looked = time.monotonic()
        told: float | None = None
        try:
            while why := self._why():
                self.effort.waiting = why
                now = time.monotonic()
                if told is None or now - told >= TELL_AGAIN:
                    seconds = 0.0 if told is None else now - began
                    told = now
                    await self.keep(why)
                    self.place.publish(events.HeldBack(self.name, why, seconds))
                await anyio.sleep(LOOK_ROUND)
                if time.monotonic() - looked >= LOOK_UP:
                    await self.look_up()
                    looked = time.monotonic()
            await self.keep(None)
        finally:
            self.effort.waiting = None
        if not self.effort.why_stop(self.place.stop):
            self.place.publish(events.WentOn(self.name, time.monotonic() - began))
