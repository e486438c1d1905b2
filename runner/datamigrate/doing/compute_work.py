"""`compute_rows`: a batch is read and computed first, and then written."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from inspect import iscoroutinefunction
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from datamigrate.authoring.bare import Bare, bare_function
from datamigrate.authoring.forms import ComputeRows
from datamigrate.database import changes
from datamigrate.database.dialects.base import RowsToWrite, Writer
from datamigrate.database.fetching import fetch
from datamigrate.database.keyset import slice_parameters
from datamigrate.database.repeated import Repeated
from datamigrate.doing.choosing import Slice
from datamigrate.doing.computing import Computed, compute, computed_from
from datamigrate.doing.elsewhere import Elsewhere
from datamigrate.doing.failing import in_slice
from datamigrate.doing.mapping import Amiss, mapped
from datamigrate.doing.rows_work import RowsWork, reach_of
from datamigrate.doing.work import Alone, Change, Look, Portion
from datamigrate.thought.pacing import Pace
from datamigrate.words.claim import NOBODY, Claim
from datamigrate.words.migration import Bounds, Key

QUICK = 50e-6
"""Seconds per row."""

PAGE = Pace(rows=2_000, span=200_000)


@dataclass(eq=False)
class Manner:
    """What is known by now of a function: whether calling it costs less than what is around it (None before the first
    batch), whether it is not to be called from within the database, and whether something is amiss when it is called without
    a row."""

    is_quick: bool | None = None
    stays_outside: bool = False
    is_amiss: bool = False

    def learn(self, seconds: float, rows: int) -> None:
        """How long the last batch took."""
        if rows:
            self.is_quick = seconds / rows < QUICK


@dataclass(frozen=True, eq=False)
class ComputeWork(RowsWork):
    """`compute_rows`: read and computed while nothing is held, then written where nothing has changed.

    A function that is not quick is called `elsewhere`, if it can be.
    """

    form: ComputeRows
    types: tuple[sa.types.TypeEngine[Any], ...]
    file: Path
    elsewhere: Elsewhere | None = None
    manner: Manner = field(default_factory=Manner)

    @property
    def holds_rows(self) -> bool:
        """From when they are read until they are written."""
        return True

    async def prepare(self, look: Look, claim: Claim, pace: Pace) -> Portion:
        """Read the slice's pending rows and compute what to write."""
        return await self.computed(look, claim, pace)

    async def computed(self, look: Look, claim: Claim, pace: Pace) -> Portion:
        """A slice's pending rows and what is to be written to them."""
        chosen, rows = await self._read(look, claim, pace)
        try:
            computed = await self._computed(chosen.bounds, rows)
        except Amiss:
            # the usual way tells at which row; of what is read anew, for the function may have changed a mapping
            self.manner.is_amiss = True
            async with look() as connection:
                rows = await self._rows_in(connection, chosen.bounds)
            computed = await self._computed(chosen.bounds, rows)
        self.manner.learn(computed.seconds, computed.asked)
        return Portion(claim, pace, chosen, computed)

    async def apply(self, connection: AsyncConnection, portion: Portion, thorough: bool) -> Change:
        """Write what was computed to the rows that nobody has changed since."""
        chosen, computed = portion.slice, portion.computed
        assert chosen is not None
        assert computed is not None
        keys = partial(zip, *computed.columns[: len(self.keyset.names)], strict=True)
        # rows that have come into the slice since it was read are a later sweep's
        async with self.changing(connection, chosen.bounds, thorough, among=keys) as excused:
            rows = await self._write(connection, chosen.bounds, computed)
            if rows < len(computed):
                # the application has changed some of them meanwhile: a later sweep reads them again
                excused.update(keys())
        alone = len(computed.left_alone)
        return Change(chosen.bounds.upper, chosen.is_last, rows, alone, found=len(computed) + alone)

    async def left_alone(self, look: Look, ask: bool = True) -> Alone | None:
        """Asked of every pending row, a page at a time."""
        async with look() as connection:
            upper = await self.find_upper(connection)
        claim, alone = Claim("", 0, 0, NOBODY, upper=upper, exhausted=upper is None), Alone()
        width, read = len(self.keyset.names), len(self.form.reads)
        while not claim.exhausted:
            if ask:
                portion = await self.computed(look, claim, PAGE)
                assert portion.slice is not None
                assert portion.computed is not None
                if len(portion.computed):
                    return None
                chosen, alone = portion.slice, alone.among(portion.computed.left_alone)
            else:
                chosen, rows = await self._read(look, claim, PAGE)
                alone = alone.among((*row[:width], *row[len(row) - read :]) for row in rows)
            claim = replace(claim, cursor=chosen.bounds.upper, exhausted=chosen.is_last)
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

    async def _read(self, look: Look, claim: Claim, pace: Pace) -> tuple[Slice, list[Sequence[Any]]]:
        async with look() as connection:
            chosen = await self.choosing.behind(connection, reach_of(claim), pace)
            return chosen, await self._rows_in(connection, chosen.bounds)

    async def _rows_in(self, connection: AsyncConnection, bounds: Bounds) -> list[Sequence[Any]]:
        return await fetch(connection, self._queries.of(bounds), slice_parameters(bounds))

    async def _computed(self, bounds: Bounds, rows: Sequence[Sequence[Any]]) -> Computed:
        form, widths, manner = self.form, (len(self.keyset.names), len(self._version)), self.manner
        if rows and (bare := self._bare):
            columns, began = list(zip(*rows, strict=True)), time.perf_counter()
            answers = await mapped(bare, columns[-len(form.reads) :], iscoroutinefunction(form.function))
            with in_slice(bounds):
                return computed_from(form, *widths, columns, answers, time.perf_counter() - began)
        with in_slice(bounds):
            elsewhere = self.elsewhere if manner.is_quick is False else None
            return await compute(form, *widths, rows, self.file, elsewhere)

    @property
    def _bare(self) -> Bare | None:
        form, manner = self.form, self.manner
        return bare_function(form) if form.reads and manner.is_quick and not manner.is_amiss else None

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
        is_read = self.dialect.version_is_read(self.form.reads)
        return Repeated(lambda bounds: changes.read(self.form, self.keyset, bounds, self._version, is_read))

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
            pending=self.form.pending,
            # whoever changes a row meanwhile is seen by its version
            keeping=lambda update: self.keeping.of_update(update, batch, locks=False),
        )
