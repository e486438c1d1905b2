"""A step that is tried again while its faults pass; after a lost connection, only once it is known where we are.

The waits between tries are our own, and not a library's: a stop that is asked for meanwhile ends them.
"""

import random
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

import anyio

from datamigrate.database.database import fault_of
from datamigrate.database.faults import Fault, said_by
from datamigrate.doing.effort import Workplace
from datamigrate.doing.failing import cause_of
from datamigrate.words import events
from datamigrate.words.errors import GivenUp
from datamigrate.words.secrets import redacted

T = TypeVar("T")

SHORTEST, LONGEST = 0.1, 10.0
"""Seconds before another try: twice as long each time, up to the longest, and up to half a second more, so that
those who met each other do not meet again."""

LOOK_ROUND = 0.25
"""Seconds of such a wait after which a stop is heard."""


@dataclass(eq=False)
class Persistence:
    """A worker's, on the migration of this name, with so many `attempts` as are allowed now.

    It is `in_doubt` between a lost connection and the `look` at the ledger that tells what it had kept. `why_stop`
    is asked between two tries.
    """

    place: Workplace
    name: str
    attempts: Callable[[], int]
    look: Callable[[], Awaitable[None]]
    why_stop: Callable[[], str | None]
    in_doubt: bool = field(default=False, init=False)

    async def retried(self, step: Callable[[], Awaitable[T]]) -> T:
        """The step's result. Raises what it fails with at last, or at once if that will not pass; GivenUp when a
        stop is asked for before another try."""
        attempts, tries = self.attempts(), 0
        waits = _waits(attempts)
        while True:
            tries += 1
            try:
                await self.look_if_in_doubt()
                return await step()
            except Exception as error:
                if not self._may_pass(error) or (seconds := next(waits, None)) is None:
                    raise
                failure = error
            self.tell(failure, self.fault_of(failure), f", {tries} of {attempts}")
            await self._wait(seconds, failure)

    async def look_if_in_doubt(self) -> None:
        """Find out what the ledger has kept, if the connection was lost since the last look."""
        if self.in_doubt:
            await self.look()
            self.in_doubt = False

    def fault_of(self, raised: Exception) -> Fault:
        """What kind of fault is behind it."""
        return fault_of(self.place.database, cause_of(raised))

    def tell(self, raised: Exception, fault: Fault, which: str = "") -> None:
        """Tell that the step is tried again, and after what; `which` of so many tries that was."""
        self.place.publish(events.Retrying(self.name, redacted(f"{_said(raised)} ({fault.value}{which})")))

    def _may_pass(self, raised: Exception) -> bool:
        fault = self.fault_of(raised)
        self.in_doubt = self.in_doubt or fault is Fault.LOST
        return fault in (Fault.PASSING, Fault.LOCKED, Fault.LOST)

    async def _wait(self, seconds: float, raised: Exception) -> None:
        waking = time.monotonic() + seconds
        while not (why := self.why_stop()):
            if (left := waking - time.monotonic()) <= 0:
                return
            await anyio.sleep(min(left, LOOK_ROUND))
        raise GivenUp(f"{why}, before another try after: {_said(raised).rstrip('.')}") from raised


def _waits(attempts: int) -> Iterator[float]:
    for number in range(attempts - 1):
        seconds = min(LONGEST, SHORTEST * 2**number)
        # as long, and a bit longer by chance
        yield seconds + random.uniform(0, min(seconds, 0.5))


def _said(raised: Exception) -> str:
    return said_by(cause_of(raised))
