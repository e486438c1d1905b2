"""Where batches are tried: at the beginning, in the middle and at the end of what is pending."""

from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection

from datamigrate.database.keyset import last_before, last_pending, nth_key
from datamigrate.doing.choosing import first_key
from datamigrate.doing.rows_work import RowsWork
from datamigrate.words.migration import Bounds, Key

IN_ORDER = ("beginning", "middle", "end")

QUICKEST_FIRST = ("beginning", "end", "middle")

# beyond it the middle is looked for by key, and no longer by counting rows
MOST_COUNTED = 200_000


@dataclass(frozen=True, eq=False)
class Places:
    """The places in a table up to the key `upper`, of which so many rows are thought to be `pending`."""

    connection: AsyncConnection
    work: RowsWork
    upper: Key
    pending: int

    async def before(self, place: str, rows: int) -> Key | None:
        """The key behind which a batch of so many pending rows is to begin there; None for the very first."""
        if place == "end":
            query = last_pending(self.work.keyset, self.work.form.pending, rows + 1)
            return await first_key(self.connection, query)
        first = await self._nth_pending(None, 1)
        if place == "middle" and first is not None:
            first = await self._middle(first) or first
        return (
            None if first is None else await first_key(self.connection, last_before(self.work.keyset, first))
        )

    async def _middle(self, first: Key) -> Key | None:
        found = None
        if self.pending > MOST_COUNTED and (halfway := await self._halfway(first)) is not None:
            found = await self._nth_pending(halfway, 1)
        return found or await self._nth_pending(None, max(1, self.pending // 2 + 1))

    async def _halfway(self, first: Key) -> Key | None:
        if len(first) == 1 and type(first[0]) is int:
            return ((first[0] + self.upper[0]) // 2,)
        parts = await self.work.divide(self.connection, Bounds(first, self.upper), 2, 1)
        return parts.points[0] if parts.points else None

    async def _nth_pending(self, lower: Key | None, n: int) -> Key | None:
        bounds = Bounds(lower, self.upper)
        return await first_key(self.connection, nth_key(self.work.keyset, bounds, n, self.work.form.pending))
