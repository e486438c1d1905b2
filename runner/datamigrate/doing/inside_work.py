"""`compute_rows` where the database can call Python: a quick function is called from within one UPDATE."""

import time
from dataclasses import dataclass, field
from functools import cached_property

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from datamigrate.authoring.forms import ComputeRows
from datamigrate.database import changes
from datamigrate.database.keyset import Keyset, slice_parameters
from datamigrate.database.repeated import Repeated
from datamigrate.doing.calling import Caller
from datamigrate.doing.compute_work import ComputeWork
from datamigrate.doing.failing import cause_of
from datamigrate.doing.work import Change, Look, Portion, Unprepared
from datamigrate.thought.pacing import Pace
from datamigrate.words.claim import Claim
from datamigrate.words.migration import Bounds

MOST_ARGUMENTS = 100
"""Of a function: what SQLite allows, unless it was built to allow more (https://www.sqlite.org/limits.html)."""

SHORT = 0.1
"""Seconds; an UPDATE that takes less says nothing of the function."""


@dataclass(frozen=True, eq=False)
class InsideWork(ComputeWork):
    """A synchronous function of a row, on a database in our own process.

    The first batch is read, computed and written one after another; it tells how quick the function is. One
    that is not quick is called beforehand, while the write lock is free; and so is, from there on, one that leaves a
    row alone, for the UPDATE writes all it finds, or with which something goes wrong inside: the database cannot
    tell what has failed at which row.
    """

    _callers: dict[sa.Dialect, Caller] = field(default_factory=dict, init=False)

    async def prepare(self, look: Look, claim: Claim, pace: Pace) -> Portion:
        """Nothing, once the function is known to be quick."""
        if not self.holds_rows:
            return Portion(claim, pace)
        portion = await super().prepare(look, claim, pace)
        if portion.computed is not None and portion.computed.left_alone:
            self.manner.stays_outside = True
        return portion

    async def apply(self, connection: AsyncConnection, portion: Portion, thorough: bool) -> Change:
        """Write what was computed, or have the database compute and write it at once. Raises Unprepared."""
        if portion.computed is not None:
            return await super().apply(connection, portion, thorough)
        chosen = await self._slice_of(connection, portion)
        try:
            async with self.changing(connection, chosen.bounds, thorough):
                rows = await self._update(connection, chosen.bounds)
        except Exception as error:
            # what a function ran out of comes out by itself, and names no row
            if not isinstance(cause_of(error), DBAPIError | MemoryError):
                raise
            self.manner.stays_outside = True
            raise Unprepared from error
        return Change(chosen.bounds.upper, chosen.is_last, rows, found=rows)

    @property
    def holds_rows(self) -> bool:
        """Not while the function is called from within the database."""
        return not self.manner.is_quick or self.manner.stays_outside

    @property
    def is_overdue(self) -> bool:
        """While a call of the function has not ended that should have."""
        return any(caller.is_overdue for caller in self._callers.values())

    async def _update(self, connection: AsyncConnection, bounds: Bounds) -> int:
        caller, began = self._caller(connection.dialect), time.monotonic()
        await self.dialect.lend_functions(connection, caller.functions)
        with caller.at_work():
            changed = await connection.execute(self._updates.of(bounds), slice_parameters(bounds))
        if (seconds := time.monotonic() - began) > SHORT:
            self.manner.learn(seconds, changed.rowcount)
        return changed.rowcount

    def _caller(self, dialect: sa.Dialect) -> Caller:
        if dialect not in self._callers:
            self._callers[dialect] = Caller(self.form, self.types, len(self.keyset.names), dialect)
        return self._callers[dialect]

    @cached_property
    def _updates(self) -> Repeated[sa.Update]:
        return Repeated(lambda bounds: changes.update_inside(self.form, self.keyset, bounds))


def may_be_called_inside(form: ComputeRows, keyset: Keyset, dialect: sa.Dialect) -> bool:
    """Whether the function can be handed the values as the database has them, and the database those that it
    gives: not where SQL of an author's type is around them, or another column has a value by itself for each row."""
    kinds = [column.type.dialect_impl(dialect) for column in (*form.reads, *form.writes)]
    is_plain = all(
        kind.column_expression(sa.column("c", kind)) is None
        and kind.bind_expression(sa.bindparam("c", type_=kind)) is None
        for kind in kinds
    )
    by_itself = (getattr(column, "onupdate", None) for column in form.table.columns)
    is_plain = is_plain and not any(value is not None and not value.is_clause_element for value in by_itself)
    return is_plain and len(keyset.names) + len(form.reads) <= MOST_ARGUMENTS
