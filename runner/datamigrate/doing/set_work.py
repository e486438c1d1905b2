"""`update_rows`, `delete_rows` and `each_batch`: what a batch does is done by statements in its transaction."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from datamigrate.authoring.forms import DeleteRows, EachBatch, UpdateRows
from datamigrate.database import changes
from datamigrate.database.keyset import slice_parameters
from datamigrate.database.repeated import Repeated
from datamigrate.doing.lending import lend_batch
from datamigrate.doing.rows_work import RowsWork, reach_of
from datamigrate.doing.work import Change, Look, Portion
from datamigrate.thought.pacing import Pace
from datamigrate.words.claim import Claim
from datamigrate.words.migration import Bounds, Key


@dataclass(frozen=True, eq=False)
class SetWork(RowsWork):
    """`update_rows`, `delete_rows` and `each_batch`: all that is done is done in the batch's transaction."""

    form: UpdateRows | DeleteRows | EachBatch

    async def prepare(self, look: Look, claim: Claim, pace: Pace) -> Portion:
        """Choose the slice, where that takes no look, or one while another slice is worked on."""
        reach = reach_of(claim)
        chosen = self.choosing.without_a_look(reach, pace)
        if chosen is not None or not self.dialect.reads_while_writing:
            return Portion(claim, pace, chosen)
        async with look() as connection:
            return Portion(claim, pace, await self.choosing.behind(connection, reach, pace))

    async def apply(self, connection: AsyncConnection, portion: Portion, thorough: bool) -> Change:
        """Change the rows of the slice, after choosing it where that could not be done before."""
        chosen = await self._slice_of(connection, portion)
        async with self.changing(connection, chosen.bounds, thorough):
            rows = await self._change(connection, chosen.bounds, portion.claim.tally.batches + 1)
        return Change(chosen.bounds.upper, chosen.is_last, rows, found=rows)

    async def foresee(
        self, look: Look, claim: Claim, pace: Pace, keys: Sequence[Key]
    ) -> dict[Key, dict[str, Any]]:
        """The values of `update_rows`, selected."""
        if not isinstance(self.form, UpdateRows):
            return {}
        width = len(self.keyset.names)
        async with look() as connection:
            found = await connection.execute(changes.foreseen(self.form, self.keyset, keys))
            return {tuple(r[:width]): dict(zip(self.form.written, r[width:], strict=True)) for r in found}

    @cached_property
    def _statements(self) -> Repeated[sa.Executable]:
        return Repeated(self._statement)

    def _statement(self, bounds: Bounds) -> sa.Executable:
        if isinstance(self.form, UpdateRows):
            batch = changes.rows_of(self.form, self.keyset, bounds)
            return self.keeping.of_update(changes.update(self.form, self.keyset, bounds), batch, locks=True)
        if isinstance(self.form, DeleteRows):
            return self.keeping.of_delete(changes.delete(self.form, self.keyset, bounds))
        return changes.count(self.form, self.keyset, bounds)

    async def _change(self, connection: AsyncConnection, bounds: Bounds, number: int) -> int:
        result = await connection.execute(self._statements.of(bounds), slice_parameters(bounds))
        if not isinstance(self.form, EachBatch):
            return result.rowcount
        rows = int(result.scalar_one())
        if rows:
            async with lend_batch(connection, self.form, self.keyset, bounds, number) as lent:
                await self.form.function(lent)
        return rows
