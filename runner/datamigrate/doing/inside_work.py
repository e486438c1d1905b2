"""`compute_rows` where the database can call Python: a quick function is called from within one UPDATE."""

from dataclasses import dataclass, field
from functools import cached_property

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from datamigrate.database import changes
from datamigrate.database.keyset import slice_parameters
from datamigrate.database.repeated import Repeated
from datamigrate.doing.calling import Called, Caller
from datamigrate.doing.rows_work import ComputeWork
from datamigrate.doing.work import Change, Look, Portion
from datamigrate.thought.pacing import Pace
from datamigrate.words.claim import Claim
from datamigrate.words.migration import Bounds


@dataclass(frozen=True, eq=False)
class InsideWork(ComputeWork):
    """A synchronous function of a row, on a database in our own process.

    The first batch is read, computed and written one after another; it tells how quick the function is. One
    that is not quick is called beforehand always, while the write lock is free.
    """

    _callers: dict[sa.Dialect, Caller] = field(default_factory=dict, init=False)

    async def prepare(self, look: Look, claim: Claim, pace: Pace) -> Portion:
        """Nothing, once the function is known to be quick."""
        return Portion(claim, pace) if self.is_quick else await super().prepare(look, claim, pace)

    async def apply(self, connection: AsyncConnection, portion: Portion, thorough: bool) -> Change:
        """Write what was computed, or have the database compute and write it at once."""
        if portion.computed is not None:
            return await super().apply(connection, portion, thorough)
        chosen = await self._slice_of(connection, portion)
        async with self.changing(connection, chosen.bounds, thorough) as excused:
            called = await self._update(connection, chosen.bounds)
            excused.update(called.left_alone)
        alone = len(called.left_alone)
        return Change(chosen.bounds.upper, chosen.is_last, called.rows, alone, found=called.rows + alone)

    async def _update(self, connection: AsyncConnection, bounds: Bounds) -> Called:
        caller = self._caller(connection.dialect)
        await self.dialect.lend_functions(connection, caller.functions)
        with caller.at_work():
            try:
                changed = await connection.execute(self._updates.of(bounds), slice_parameters(bounds))
            except DBAPIError:
                # SQLite says only that a function of ours has failed
                caller.check()
                raise
            caller.check()
            return Called(changed.rowcount, tuple(caller.left_alone))

    def _caller(self, dialect: sa.Dialect) -> Caller:
        if dialect not in self._callers:
            width = len(self.keyset.names)
            self._callers[dialect] = Caller(self.form, self.types, width, self.file, dialect)
        return self._callers[dialect]

    @cached_property
    def _updates(self) -> Repeated[sa.Update]:
        return Repeated(lambda bounds: changes.update_inside(self.form, self.keyset, bounds))
