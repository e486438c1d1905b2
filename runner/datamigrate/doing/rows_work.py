"""The four forms that walk a table: choose a slice, change its rows, and look again."""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Self

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from datamigrate.authoring.forms import ComputeRows, DeleteRows, EachBatch, RowsForm, UpdateRows
from datamigrate.database import changes
from datamigrate.database.dialects import Dialect
from datamigrate.database.dialects.base import Estimate, RowsToWrite, Writer
from datamigrate.database.fetching import fetch
from datamigrate.database.keyset import Keyset, last_before, none_of, one_of, pending_keys, slice_parameters
from datamigrate.database.repeated import Repeated
from datamigrate.doing.choosing import Choosing, Slice, find_upper, first_key
from datamigrate.doing.computing import Computed, compute
from datamigrate.doing.dividing import Division, divide
from datamigrate.doing.elsewhere import Elsewhere
from datamigrate.doing.failing import in_slice, show_keys
from datamigrate.doing.keeping import NOTHING_KEPT, Keeping
from datamigrate.doing.lending import lend_batch
from datamigrate.doing.work import Change, Look, Portion
from datamigrate.thought.pacing import Pace
from datamigrate.words.claim import NOBODY, Claim
from datamigrate.words.errors import StillPending
from datamigrate.words.migration import Bounds, Key

SAMPLE = 20

QUICK = 50e-6
"""Seconds per row."""

PAGE = Pace(rows=2_000, span=200_000)


@dataclass(frozen=True, eq=False)
class RowsWork:
    """What the four have in common; `columns` are all of the table's, and `keeping` is what is kept of the
    rows for an undo."""

    form: RowsForm
    keyset: Keyset
    dialect: Dialect
    columns: tuple[str, ...]
    keeping: Keeping = field(default=NOTHING_KEPT, kw_only=True)

    computes = False
    has_slices = True

    @cached_property
    def choosing(self) -> Choosing:
        """Finds the batches."""
        return Choosing(self.keyset, self.form.pending)

    async def find_upper(self, connection: AsyncConnection) -> Key | None:
        """The largest key there is now."""
        return await find_upper(connection, self.keyset)

    async def look(self, connection: AsyncConnection) -> tuple[Key, ...]:
        """Stops at the first few: one pending row is enough to go on."""
        found = await connection.execute(pending_keys(self.keyset, self.form.pending, limit=SAMPLE))
        return tuple(tuple(row) for row in found)

    async def divide(self, connection: AsyncConnection, bounds: Bounds, parts: int, least: int) -> Division:
        """By a sample of the keys."""
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

    async def left_alone(self, look: Look) -> int | None:
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
        query = pending_keys(self.keyset, self.form.pending, bounds, most)
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
        self, connection: AsyncConnection, bounds: Bounds, thorough: bool, among: Iterable[Key] | None = None
    ) -> AsyncIterator[set[Key]]:
        """Around a change of all rows of a slice, or of those `among` the keys: a thorough one compares which of them
        are pending before and after, in the same transaction, apart from the keys that are put into the set it
        gives."""
        excused: set[Key] = set()
        with in_slice(bounds):
            before = await self._pending(connection, bounds) if thorough else frozenset()
            before = before if among is None else before.intersection(among)
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
        found = await connection.execute(pending_keys(self.keyset, self.form.pending, bounds))
        return frozenset(tuple(row) for row in found)


@dataclass(frozen=True, eq=False)
class SetWork(RowsWork):
    """`update_rows`, `delete_rows` and `each_batch`: all that is done is done in the batch's transaction."""

    form: UpdateRows | DeleteRows | EachBatch

    async def prepare(self, look: Look, claim: Claim, pace: Pace) -> Portion:
        """Choose the slice, where that can be done while another one is worked on."""
        if not self.dialect.reads_while_writing:
            return Portion(claim, pace)
        async with look() as connection:
            return Portion(claim, pace, await self.choosing.behind(connection, reach_of(claim), pace))

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


@dataclass(eq=False)
class Manner:
    """What is known by now of a function: whether calling it costs less than what is around it (None before the first
    batch), and whether it is not to be called from within the database."""

    is_quick: bool | None = None
    stays_outside: bool = False

    def learn(self, seconds: float, rows: int) -> None:
        """How long the last batch took."""
        if rows:
            self.is_quick = seconds / rows < QUICK


@dataclass(frozen=True, eq=False)
class ComputeWork(RowsWork):
    """`compute_rows`: read and computed while nothing is held, then written where nothing has changed.

    One that is not quick is called `elsewhere`, if it can be.
    """

    form: ComputeRows
    types: tuple[sa.types.TypeEngine[Any], ...]
    file: Path
    elsewhere: Elsewhere | None = None
    manner: Manner = field(default_factory=Manner)

    computes = True

    async def prepare(self, look: Look, claim: Claim, pace: Pace) -> Portion:
        """Read the slice's pending rows and compute what to write."""
        return await self.computed(look, claim, pace)

    async def computed(self, look: Look, claim: Claim, pace: Pace) -> Portion:
        """A slice's pending rows and what is to be written to them."""
        async with look() as connection:
            chosen = await self.choosing.behind(connection, reach_of(claim), pace)
            query = self._queries.of(chosen.bounds)
            rows = await fetch(connection, query, slice_parameters(chosen.bounds))
        with in_slice(chosen.bounds):
            elsewhere = self.elsewhere if self.manner.is_quick is False else None
            width = len(self.keyset.names)
            computed = await compute(self.form, width, len(self._version), rows, self.file, elsewhere)
        self.manner.learn(computed.seconds, computed.asked)
        return Portion(claim, pace, chosen, computed)

    async def apply(self, connection: AsyncConnection, portion: Portion, thorough: bool) -> Change:
        """Write what was computed to the rows that nobody has changed since."""
        chosen, computed = portion.slice, portion.computed
        assert chosen is not None
        assert computed is not None
        keys = list(zip(*computed.columns[: len(self.keyset.names)], strict=True))
        # rows that have come into the slice since it was read are a later sweep's
        async with self.changing(connection, chosen.bounds, thorough, among=keys) as excused:
            rows = await self._write(connection, chosen.bounds, computed)
            if rows < len(computed):
                # the application has changed some of them meanwhile: a later sweep reads them again
                excused.update(keys)
        alone = len(computed.left_alone)
        return Change(chosen.bounds.upper, chosen.is_last, rows, alone, found=len(computed) + alone)

    async def left_alone(self, look: Look) -> int | None:
        """Asked of every pending row, a page at a time."""
        async with look() as connection:
            upper = await self.find_upper(connection)
        claim, alone = Claim("", 0, 0, NOBODY, upper=upper, exhausted=upper is None), 0
        while not claim.exhausted:
            portion = await self.computed(look, claim, PAGE)
            assert portion.slice is not None
            assert portion.computed is not None
            if len(portion.computed):
                return None
            alone += len(portion.computed.left_alone)
            claim = replace(claim, cursor=portion.slice.bounds.upper, exhausted=portion.slice.is_last)
        return alone

    async def foresee(
        self, look: Look, claim: Claim, pace: Pace, keys: Sequence[Key]
    ) -> dict[Key, dict[str, Any]]:
        """The values that the function computes."""
        portion = await self.computed(look, claim, pace)
        assert portion.computed is not None
        width, count = len(self.keyset.names), len(self.form.written)
        computed = {row[:width]: row[-count:] for row in zip(*portion.computed.columns, strict=True)}
        return {
            key: dict(zip(self.form.written, computed[key], strict=True)) for key in keys if key in computed
        }

    async def _write(self, connection: AsyncConnection, bounds: Bounds, computed: Computed) -> int:
        if not len(computed):
            return 0
        writer = self._writers.of(bounds)
        return await writer.write(connection, computed.columns, slice_parameters(bounds))

    @cached_property
    def _version(self) -> tuple[sa.ColumnElement[Any], ...]:
        return tuple(self.dialect.version_of_row(self.form.table, self.form.reads))

    @cached_property
    def _queries(self) -> Repeated[sa.Select[Any]]:
        return Repeated(lambda bounds: changes.read(self.form, self.keyset, bounds, self._version))

    @cached_property
    def _writers(self) -> Repeated[Writer]:
        return Repeated(lambda bounds: self.dialect.writer_of(self._rows(bounds)))

    def _rows(self, bounds: Bounds) -> RowsToWrite:
        batch = changes.rows_of(self.form, self.keyset, bounds)
        return RowsToWrite(
            table=self.form.table,
            key=self.keyset.columns,
            key_types=self.keyset.types,
            version=self._version,
            names=self.form.written,
            types=self.types,
            within=batch,
            # whoever changes a row meanwhile is seen by its version
            keeping=lambda update: self.keeping.of_update(update, batch, locks=False),
        )


WalkingWork = SetWork | ComputeWork
"""All that walks a table."""


def reach_of(claim: Claim) -> Bounds:
    """What is left of a claim whose end is fixed."""
    assert claim.upper is not None
    return Bounds(claim.cursor, claim.upper)
