"""A batch that fails because of a row: everything before that row is done and kept, and the row itself stops
the work or is set aside."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from sqlalchemy.ext.asyncio import AsyncConnection

from datamigrate.authoring.script import Script
from datamigrate.database.database import Database, fault_of
from datamigrate.database.faults import Fault
from datamigrate.doing.blaming import blames_rows
from datamigrate.doing.failing import InSlice, cause_of, script_line, told
from datamigrate.doing.narrowing import failing_row
from datamigrate.doing.rows_work import RowsWork
from datamigrate.thought.codec import show_key
from datamigrate.thought.pacing import Pace
from datamigrate.words.claim import Claim
from datamigrate.words.migration import Bounds, Key
from datamigrate.words.quarantine import Failing

WHOLE = Pace(10**9, 10**9)
"""The pace at which a batch ends where its slice does."""

Do = Callable[[Key], Awaitable[None]]
"""Does what lies between the cursor and this key as a batch of its own, with its checkpoint."""


@dataclass(frozen=True)
class Poison:
    """A row that fails by itself, and its error."""

    key: Key
    error: Exception


@dataclass(frozen=True, eq=False)
class Isolation:
    """Looks for the row of one migration at which a batch fails."""

    database: Database
    script: Script
    work: RowsWork

    def is_called_for(self, raised: Exception) -> bool:
        """Whether some row is at fault."""
        return blames_rows(self.database.dialect, cause_of(raised))

    async def poison_in(self, claim: Claim, pace: Pace, raised: Exception, do: Do) -> Poison | None:
        """The first row behind the claim's cursor that fails by itself; None when there is none any more.

        All before it have been done then. Raises what no row is to blame for.
        """
        assert claim.upper is not None
        upper = raised.bounds.upper if isinstance(raised, InSlice) else claim.upper
        most = None if isinstance(raised, InSlice) else pace.rows
        async with self.database.looking() as connection:
            keys = await self.work.keys_in(connection, Bounds(claim.cursor, upper), most)
        found = await failing_row(partial(self._error_in, do), claim.cursor, keys, raised)
        return None if found is None else Poison(*found)

    async def _error_in(self, do: Do, bounds: Bounds) -> Exception | None:
        try:
            await do(bounds.upper)
        except Exception as error:
            if self.is_called_for(error) or self.is_timeout(error):
                return error
            raise
        return None

    def is_timeout(self, raised: Exception) -> bool:
        """Whether a statement took too long, which says nothing of the row."""
        return fault_of(self.database, cause_of(raised)) is Fault.TIMEOUT

    async def described(self, connection: AsyncConnection, poison: Poison, attempts: int = 2) -> Failing:
        """What is kept of such a row: never a masked column, and its values only where the script asks."""
        migration, error = self.script.migration, cause_of(poison.error)
        held = await self._held(connection, poison.key) if migration.options.quarantine_values else None
        said = told(error, bool(migration.options.mask)).removeprefix(f"Row {show_key(poison.key)}: ")
        at = f" at {line}" if (line := script_line(error, migration.file)) else ""
        return Failing(poison.key, f"{said.rstrip('.')}{at}", attempts, held)

    async def _held(self, connection: AsyncConnection, key: Key) -> str | None:
        image = await self.work.image(connection, key)
        shown = {
            name: value for name, value in image.items() if name not in self.script.migration.options.mask
        }
        return json.dumps(shown, default=str) if shown else None
