"""What walks a table: it chooses a slice, changes its rows, and looks again."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any, Self

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from datamigrate.authoring.forms import RowsForm
from datamigrate.database import changes
from datamigrate.database.dialects import Dialect
from datamigrate.database.dialects.base import Estimate
from datamigrate.database.keyset import Keyset, first_found, last_before, none_of, one_of, pending_keys
from datamigrate.doing.choosing import Choosing, Slice, find_upper, first_key
from datamigrate.doing.dividing import Division, divide
from datamigrate.doing.failing import in_slice, show_keys
from datamigrate.doing.keeping import NOTHING_KEPT, Keeping
from datamigrate.doing.work import Alone, Change, Look, Portion
from datamigrate.thought.pacing import Pace
from datamigrate.words.claim import Claim
from datamigrate.words.errors import StillPending
from datamigrate.words.migration import Bounds, Key

FEW = 1_000
"""Pending rows, of which all keys are kept in mind instead of walking a table to find them one after another ..."""

MANY = 100_000
"""... if it has so many rows."""


@dataclass(frozen=True, eq=False)
class RowsWork(ABC):
    """What the four forms have in common that walk a table; `columns` are all of the table's, and `keeping` is what is kept of the
    rows for an undo. Where its rows are `few` among many, these are their keys, in order."""

    form: RowsForm
    keyset: Keyset
    dialect: Dialect
    columns: tuple[str, ...]
    keeping: Keeping = field(default=NOTHING_KEPT, kw_only=True)
    few: tuple[Key, ...] | None = field(default=None, kw_only=True)

    has_slices = True

    @property
    def holds_rows(self) -> bool:
        """Not if the database does it all."""
        return False

    @property
    def is_overdue(self) -> bool:
        """The database ends what takes too long."""
        return False

    @cached_property
    def choosing(self) -> Choosing:
        """Finds the batches."""
        return Choosing(self.keyset, self.form.pending, self.few)

    @abstractmethod
    async def prepare(self, look: Look, claim: Claim, pace: Pace) -> Portion:
        """What can be done before the transaction, so that the transaction stays short."""

    @abstractmethod
    async def apply(self, connection: AsyncConnection, portion: Portion, thorough: bool) -> Change:
        """The batch, in the transaction that also keeps its checkpoint."""

    async def find_upper(self, connection: AsyncConnection) -> Key | None:
        """The largest key there is now."""
        if self.few is not None:
            return self.few[-1] if self.few else None
        return await find_upper(connection, self.keyset)

    async def look(self, connection: AsyncConnection) -> tuple[Key, ...]:
        """Stops at the first few: one pending row is enough to go on."""
        found = await connection.execute(first_found(self.keyset, self.form.pending, FEW))
        return tuple(tuple(row) for row in found)

    async def is_large(self, connection: AsyncConnection) -> bool:
        """Whether there are so many rows that a look at each takes its time, as it does when that takes its time already."""
        async with self.dialect.shortly(connection):
            upper = await self.find_upper(connection)
            if upper is None or not await self.has_rows(connection, Bounds(None, upper), MANY):
                return False
        return True

    async def pending_if_few(self, connection: AsyncConnection) -> tuple[Key, ...] | None:
        """The keys of all pending rows, if a short look shows that they are few."""
        found = None
        async with self.dialect.shortly(connection), self.dialect.helped(connection):
            found = await self.look(connection)
        return found if found is not None and len(found) < FEW else None

    async def only(self, connection: AsyncConnection, found: Sequence[Key]) -> Self:
        """The work on these rows, if they are all that a look has found, and few in a large table."""
        if len(found) >= FEW or not await self.is_large(connection):
            return self
        pending = sa.and_(self.form.pending, one_of(self.keyset, found))
        return replace(self, form=replace(self.form, pending=pending), few=tuple(found))

    async def divide(self, connection: AsyncConnection, bounds: Bounds, parts: int, least: int) -> Division:
        """By a sample of the keys."""
        if self.few is not None:
            return Division()
        return await divide(connection, self.dialect, self.keyset, bounds, parts, least)

    async def has_rows(self, connection: AsyncConnection, bounds: Bounds, rows: int = 1) -> bool:
        """By the key, as far as that number."""
        return await self.choosing.has(connection, bounds, rows)

    async def count(self, connection: AsyncConnection) -> int:
        """Over the whole table."""
        query = sa.select(sa.func.count()).select_from(self.form.table).where(self.form.pending)
        return int(await connection.scalar(query) or 0)

    async def estimate(self, connection: AsyncConnection) -> Estimate | None:
        """The database's own guess where it has one."""
        return await self.dialect.estimate(connection, pending_keys(self.keyset, self.form.pending))

    async def left_alone(self, look: Look, ask: bool = True) -> Alone | None:
        """Only a computed row can be left alone."""
        return None

    async def _slice_of(self, connection: AsyncConnection, portion: Portion) -> Slice:
        if portion.slice is not None:
            return portion.slice
        return await self.choosing.behind(connection, reach_of(portion.claim), portion.pace)

    async def foresee(
        self, look: Look, claim: Claim, pace: Pace, keys: Sequence[Key]
    ) -> dict[Key, dict[str, Any]]:
        """What it would write to these rows, found by reading alone; nothing where that cannot be known."""
        return {}

    def apart_from(self, keys: Sequence[Key]) -> Self:
        """The same work without the rows that have these keys."""
        if not keys:
            return self
        pending = sa.and_(self.form.pending, none_of(self.keyset, keys))
        return replace(self, form=replace(self.form, pending=pending))

    async def keys_in(
        self, connection: AsyncConnection, bounds: Bounds, most: int | None = None
    ) -> list[Key]:
        """The keys of the pending rows in a slice, in order."""
        query = pending_keys(self.keyset, changes.rows_of(self.form, self.keyset, bounds), limit=most)
        return [tuple(row) for row in await connection.execute(query.order_by(*self.keyset.columns))]

    async def pending_among(self, connection: AsyncConnection, keys: Sequence[Key]) -> frozenset[Key]:
        """Those of the keys whose rows are pending."""
        which = sa.and_(self.form.pending, one_of(self.keyset, keys))
        return frozenset(tuple(row) for row in await connection.execute(pending_keys(self.keyset, which)))

    async def slice_of(self, connection: AsyncConnection, key: Key) -> Bounds:
        """The slice that holds this row alone."""
        return Bounds(await first_key(connection, last_before(self.keyset, key)), key)

    async def image(self, connection: AsyncConnection, key: Key) -> dict[str, Any]:
        """A row as it is now, column by column; empty when it is gone."""
        row = (await connection.execute(changes.images(self.keyset, self.columns, (key,)))).first()
        return dict(zip(self.columns, row[len(key) :], strict=True)) if row else {}

    @asynccontextmanager
    async def changing(
        self,
        connection: AsyncConnection,
        bounds: Bounds,
        thorough: bool,
        among: Callable[[], Iterable[Key]] | None = None,
    ) -> AsyncIterator[set[Key]]:
        """Around a change of all rows of a slice, or of those `among` the keys: a thorough one compares which of them
        are pending before and after, in the same transaction, apart from the keys that are put into the set it
        gives."""
        excused: set[Key] = set()
        with in_slice(bounds):
            before = await self._pending(connection, bounds) if thorough else frozenset()
            before = before if among is None else before.intersection(among())
            rows = partial(changes.rows_of, self.form, self.keyset, bounds)
            async with self.keeping.around(connection, rows):
                yield excused
            if before and (
                stuck := sorted(before & await self._pending(connection, bounds) - excused, key=repr)
            ):
                raise StillPending(
                    f"{len(stuck):,} of {len(before):,} rows are still pending after the script has done them "
                    f"(keys {show_keys(stuck)}).",
                    "Its `pending` must not select a row that it has done: for example, NULL in a source "
                    "column makes the new value NULL; use coalesce, or leave those rows out of `pending`.",
                )

    async def _pending(self, connection: AsyncConnection, bounds: Bounds) -> frozenset[Key]:
        rows = changes.rows_of(self.form, self.keyset, bounds)
        found = await connection.execute(pending_keys(self.keyset, rows))
        return frozenset(tuple(row) for row in found)


def reach_of(claim: Claim) -> Bounds:
    """What is left of a claim whose end is fixed."""
    assert claim.upper is not None
    return Bounds(claim.cursor, claim.upper)
