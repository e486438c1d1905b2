"""A batch that fails because of a row: everything before that row is done and kept, and the row itself stops
the work or is set aside."""

import json
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncConnection

from datamigrate.authoring.script import Script
from datamigrate.database.database import fault_of
from datamigrate.database.dialects.base import Timeouts
from datamigrate.database.faults import Fault
from datamigrate.database.ledger.quarantine import Quarantine
from datamigrate.doing.blaming import blames_rows
from datamigrate.doing.deaths import fatal
from datamigrate.doing.effort import Workplace
from datamigrate.doing.failing import InSlice, cause_of, failed_batch, script_line, show_keys, told
from datamigrate.doing.narrowing import failing_row
from datamigrate.doing.rows_work import RowsWork
from datamigrate.thought.codec import encode_key, show_key
from datamigrate.thought.pacing import Pace
from datamigrate.words import events
from datamigrate.words.claim import Claim
from datamigrate.words.errors import BatchFailed, DatamigrateError
from datamigrate.words.migration import Bounds, Key
from datamigrate.words.quarantine import Failing
from datamigrate.words.secrets import redacted

WHOLE = Pace(10**9, 10**9)
"""The pace at which a batch ends where its slice does."""

Do = Callable[[Key], Awaitable[None]]
"""Does what lies between the cursor and this key as a batch of its own, with its checkpoint."""


@dataclass(frozen=True)
class Poison:
    """A row that fails by itself, and its error."""

    key: Key
    error: Exception


class Listed(Protocol):
    """Work that can tell its rows apart."""

    async def keys_in(
        self, connection: AsyncConnection, bounds: Bounds, most: int | None = None
    ) -> list[Key]:
        """The keys of the pending rows in a slice, in order."""


@dataclass(frozen=True, eq=False)
class Search(ABC):
    """Looks for the row of one migration at which a batch fails, among those `in_line`."""

    place: Workplace
    script: Script
    in_line: Listed

    def is_called_for(self, raised: Exception) -> bool:
        """Whether some row is at fault."""
        return blames_rows(self.place.database.dialect, cause_of(raised))

    async def poison_in(self, claim: Claim, pace: Pace, raised: Exception, do: Do) -> Poison | None:
        """The first row behind the claim's cursor that fails by itself; None when there is none any more.

        All before it have been done then. Raises what no row is to blame for.
        """
        assert claim.upper is not None
        upper = raised.bounds.upper if isinstance(raised, InSlice) else claim.upper
        most = None if isinstance(raised, InSlice) else pace.rows
        async with self.place.database.looking() as connection:
            keys = await self.in_line.keys_in(connection, Bounds(claim.cursor, upper), most)
        try:
            found = await failing_row(partial(self._error_in, do), claim.cursor, keys, raised)
        except Exception as other:
            if isinstance(cause_of(other), BatchFailed):
                # the script fails in another way with fewer rows: what it failed with first tells more
                raise raised from other
            raise
        return None if found is None else Poison(*found)

    async def _error_in(self, do: Do, bounds: Bounds) -> Exception | None:
        try:
            await do(bounds.upper)
        except Exception as error:
            if self.is_called_for(error) or self._is_timeout(error):
                return error
            raise
        return None

    def _is_timeout(self, raised: Exception) -> bool:
        return fault_of(self.place.database, cause_of(raised)) is Fault.TIMEOUT

    # what becomes of it -----------------------------------------------------------------------------

    @abstractmethod
    async def refuse(self, poison: Poison, kept: int) -> None:
        """Raise what the row failed with, unless it may be set aside."""

    @abstractmethod
    async def set_aside(self, claim: Claim, poison: Poison, attempts: int = 2) -> Claim:
        """Let the row be as it is, and go on behind it; the claim then."""


@dataclass(frozen=True, eq=False)
class Isolation(Search):
    """Puts such a row into quarantine; the `work` is on all rows."""

    in_line: RowsWork
    work: RowsWork
    timeouts: Timeouts

    @property
    def quarantine(self) -> Quarantine:
        """Of this migration."""
        ledger = self.place.ledger
        return ledger.quarantine(self.script.name)

    async def refuse(self, poison: Poison, kept: int) -> None:
        """Raise what the row failed with, unless it may be set aside: a timeout says nothing of the row."""
        if not self.script.migration.options.quarantines or self._is_timeout(poison.error):
            raise self._failed(poison.error, kept, poison.key) from poison.error

    async def set_aside(self, claim: Claim, poison: Poison, attempts: int = 2) -> Claim:
        """Put the row into quarantine and the cursor behind it, in one transaction; the claim then.

        Raises TooManyQuarantined, Fenced, Cut.
        """
        if claim.cursor == poison.key:  # the commit that seemed lost had arrived
            return claim
        after = claim.after(poison.key, poison.key == claim.upper, 0, 0)
        most = self.script.migration.options.max_quarantined
        async with self.place.database.writing(self.timeouts) as connection:
            row = await described(connection, self.script, self.work, poison, attempts)
            total = await self.quarantine.admit(connection, row, most)
            await self.place.ledger.checkpoint(connection, after, 0.0)
        self.place.publish(events.Quarantined(self.script.name, show_key(row.key), row.error, total))
        return after

    async def past_fatal_row(self, claim: Claim, kept: int) -> Claim:
        """Set the next row aside, since the process dies at it; raise that, where it may not be."""
        assert claim.upper is not None
        reach = Bounds(claim.cursor, claim.upper)
        async with self.place.database.looking() as connection:
            keys = await self.in_line.keys_in(connection, reach, 1)
        if not keys:
            raise self._failed(InSlice(reach, fatal(claim)), kept)
        poison = Poison(keys[0], fatal(claim, keys[0]))
        await self.refuse(poison, kept)
        return await self.set_aside(claim, poison, claim.attempts - 1)

    def _failed(self, raised: Exception, kept: int, key: Key | None = None) -> DatamigrateError:
        dialect, verb = self.place.database.dialect, self.place.ledger.course.verb
        return failed_batch(dialect, self.script.migration, raised, kept, key, verb)

    # the quarantine ---------------------------------------------------------------------------------

    async def without_quarantined(self, connection: AsyncConnection) -> RowsWork:
        """The work on the rows that are not in quarantine now."""
        return self.work.apart_from(await self.quarantine.keys(connection))

    async def let_mended_out(self, connection: AsyncConnection) -> int:
        """Let out rows that are no longer pending, since somebody else has mended or deleted them; how many
        are left."""
        keys = await self.quarantine.keys(connection)
        # as the ledger writes them: a NaN is not equal to itself
        pending = set(map(encode_key, await self.work.pending_among(connection, keys))) if keys else set()
        if mended := tuple(key for key in keys if encode_key(key) not in pending):
            await self.quarantine.release(connection, mended)
            self.place.publish(events.Released(self.script.name, len(mended), show_keys(mended)))
        return len(pending)


async def described(
    connection: AsyncConnection, script: Script, work: RowsWork, poison: Poison, attempts: int
) -> Failing:
    """What is kept of such a row: never a masked column, and its values only where the script asks."""
    migration, error, held = script.migration, cause_of(poison.error), None
    said = told(error, bool(migration.options.mask)).removeprefix(f"Row {show_key(poison.key)}: ")
    at = f" at {line}" if (line := script_line(error, migration.file)) else ""
    if migration.options.quarantine_values:
        image = await work.image(connection, poison.key)
        shown = {name: value for name, value in image.items() if name not in migration.options.mask}
        held = json.dumps(shown, default=str) if shown else None
    return Failing(poison.key, redacted(f"{said.rstrip('.')}{at}"), attempts, held)
