"""A step that is tried again while its faults pass; after a lost connection, only once it is known where we are."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

import stamina

from datamigrate.database.database import fault_of
from datamigrate.database.faults import Fault
from datamigrate.doing.effort import Workplace
from datamigrate.doing.failing import cause_of
from datamigrate.words import events
from datamigrate.words.secrets import redacted

T = TypeVar("T")


@dataclass(eq=False)
class Persistence:
    """A worker's, on the migration of this name, with so many `attempts` as are allowed now.

    It is `in_doubt` between a lost connection and the `look` at the ledger that tells what it had kept.
    """

    place: Workplace
    name: str
    attempts: Callable[[], int]
    look: Callable[[], Awaitable[None]]
    in_doubt: bool = field(default=False, init=False)

    async def retried(self, step: Callable[[], Awaitable[T]]) -> T:
        """The step's result. Raises what it fails with at last, or at once if that will not pass."""
        async for attempt in stamina.retry_context(
            on=self._is_worth_another_try,
            attempts=self.attempts(),
            timeout=None,
            wait_initial=0.1,
            wait_max=10.0,
            wait_jitter=0.5,
        ):
            with attempt:
                await self.look_if_in_doubt()
                return await step()
        raise AssertionError("a retried step ends with a result or an error")

    async def look_if_in_doubt(self) -> None:
        """Find out what the ledger has kept, if the connection was lost since the last look."""
        if self.in_doubt:
            await self.look()
            self.in_doubt = False

    def fault_of(self, raised: Exception) -> Fault:
        """What kind of fault is behind it."""
        return fault_of(self.place.database, cause_of(raised))

    def tell(self, raised: Exception, fault: Fault) -> None:
        """Tell that the step is tried again, and after what."""
        error = cause_of(raised)
        said = str(getattr(error, "orig", None) or error).partition("\n")[0].rpartition(">: ")[2]
        self.place.publish(events.Retrying(self.name, redacted(f"{said} ({fault.value})")))

    def _is_worth_another_try(self, raised: Exception) -> bool:
        fault = self.fault_of(raised)
        if fault in (Fault.LASTING, Fault.TIMEOUT):
            return False
        self.in_doubt = self.in_doubt or fault is Fault.LOST
        self.tell(raised, fault)
        return True
