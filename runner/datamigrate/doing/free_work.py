"""The free form: a batch is one call of the script's function."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from sqlalchemy.ext.asyncio import AsyncConnection

from datamigrate.authoring.forms import FreeForm
from datamigrate.database.dialects.base import Estimate
from datamigrate.doing.dividing import Division
from datamigrate.doing.lending import lend_session
from datamigrate.doing.work import Alone, Change, Look, Portion
from datamigrate.thought.pacing import Pace
from datamigrate.words.claim import Claim
from datamigrate.words.errors import BatchFailed, StillPending
from datamigrate.words.migration import Bounds, Key


@dataclass(frozen=True, eq=False)
class FreeWork:
    """`async def migrate(session)`: one range without bounds."""

    form: FreeForm

    holds_rows = False
    is_overdue = False
    has_slices = False

    async def find_upper(self, connection: AsyncConnection) -> Key | None:
        """A free form has no keys; the empty one stands for all of its work."""
        return ()

    async def prepare(self, look: Look, claim: Claim, pace: Pace) -> Portion:
        """Nothing."""
        return Portion(claim, pace)

    async def apply(self, connection: AsyncConnection, portion: Portion, thorough: bool) -> Change:
        """Call the function, unless its `remaining` says that nothing is left."""
        before = await self._remaining(connection)
        if before != 0:
            async with lend_session(connection) as session:
                await self.form.function(session)
        after = await self._remaining(connection)
        if before is not None and after is not None and after >= before > 0:
            raise StillPending(
                f"migrate() has run, and remaining() says {after:,}; before, it said {before:,}.",
                "Let migrate() do the rows that remaining() counts, or mend remaining().",
            )
        return Change(None, exhausted=not after, rows=(before or 0) - (after or 0))

    async def look(self, connection: AsyncConnection) -> tuple[Key, ...]:
        """What `remaining` says; without one, having run is all there is to know."""
        return ((),) if await self._remaining(connection) else ()

    async def only(self, connection: AsyncConnection, found: Sequence[Key]) -> Self:
        """A free form knows no rows."""
        return self

    async def left_alone(self, look: Look, ask: bool = True) -> Alone | None:
        """A free form has no way to say so."""
        return None

    async def divide(self, connection: AsyncConnection, bounds: Bounds, parts: int, least: int) -> Division:
        """A free form cannot be cut."""
        return Division()

    async def has_rows(self, connection: AsyncConnection, bounds: Bounds, rows: int = 1) -> bool:
        """A free form has no slices."""
        return False

    async def count(self, connection: AsyncConnection) -> int:
        """What `remaining` says."""
        return await self._remaining(connection) or 0

    async def estimate(self, connection: AsyncConnection) -> Estimate | None:
        """What `remaining` says."""
        rows = await self._remaining(connection)
        return None if rows is None else Estimate(rows, "remaining()")

    async def _remaining(self, connection: AsyncConnection) -> int | None:
        if self.form.remaining is None:
            return None
        async with lend_session(connection) as session:
            answer = await self.form.remaining(session)
        if isinstance(answer, bool) or not isinstance(answer, int):
            raise BatchFailed(f"remaining() returned {answer!r}.", "Let it return a number of rows.")
        return answer
