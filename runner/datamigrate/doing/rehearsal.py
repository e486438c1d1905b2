"""A dry run that executes: real batches in a transaction that is rolled back, looked at before and after."""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import anyio
from sqlalchemy.ext.asyncio import AsyncConnection

from datamigrate.authoring.script import Script
from datamigrate.database.changes import images, statement_of
from datamigrate.database.database import Database
from datamigrate.database.dialects.base import Estimate, Timeouts
from datamigrate.database.keyset import last_pending, nth_key, pending_keys
from datamigrate.database.surroundings import around
from datamigrate.doing.choosing import choose, first_key
from datamigrate.doing.failing import cause_of, failed_batch
from datamigrate.doing.rows_work import RowsWork
from datamigrate.doing.work import Change, Work
from datamigrate.thought.codec import show_key
from datamigrate.thought.pacing import Pace
from datamigrate.thought.plans import Slow
from datamigrate.words.claim import NOBODY, Claim
from datamigrate.words.errors import DatamigrateError
from datamigrate.words.migration import Bounds, Key

# wide enough to find a sample's rows where few are pending
SPAN_OF_ROWS = 1000


@dataclass(frozen=True)
class RehearsalLimits:
    """At most `rows` rows in a sample, `shown` of them shown; `time` seconds for one migration."""

    rows: int = 200
    shown: int = 5
    time: float = 5.0
    timeouts: Timeouts = field(default_factory=lambda: Timeouts(lock=1.0, statement=5.0))


@dataclass(frozen=True)
class RowChange:
    """One row, with the columns that changed; `after` is None when the row is gone."""

    key: str
    before: dict[str, Any]
    after: dict[str, Any] | None


@dataclass(frozen=True)
class Sample:
    """One batch, tried twice: `again` rows were changed by the second pass, in the columns `unsteady`."""

    place: str
    rows: int
    left_alone: int
    changes: tuple[RowChange, ...]
    again: int
    unsteady: tuple[str, ...]
    seconds: float
    written_bytes: int | None = None


@dataclass(frozen=True)
class Rehearsal:
    """What trying one migration has shown; `error` is what would stop it, `notes` what stands around its
    table, `slow` what its statements would read from end to end."""

    name: str
    estimate: Estimate | None
    samples: tuple[Sample, ...] = ()
    error: DatamigrateError | None = None
    cut_off: bool = False
    only_read: bool = False
    notes: tuple[str, ...] = ()
    slow: tuple[Slow, ...] = ()

    @property
    def rate(self) -> float | None:
        """Rows per second, over all samples."""
        seconds = sum(sample.seconds for sample in self.samples)
        rows = sum(sample.rows for sample in self.samples)
        return rows / seconds if rows and seconds else None

    @property
    def is_steady(self) -> bool:
        """Whether every second pass found nothing to do."""
        return all(sample.again == 0 for sample in self.samples)


async def rehearse(database: Database, script: Script, work: Work, limits: RehearsalLimits) -> Rehearsal:
    """Try batches from the beginning, the middle and the end of what is pending. Nothing is kept."""
    columns = work.columns if isinstance(work, RowsWork) else ()
    attempt = _Attempt(database, work, columns, limits)
    error: DatamigrateError | None = None
    refused = False
    with anyio.move_on_after(limits.time) as clock:
        try:
            await attempt.look_around()
            await attempt.try_places()
        except Exception as raised:
            refused = database.dialect.is_refusal(cause_of(raised))
            if not refused:
                error = failed_batch(script.migration, raised, kept=0)
        if refused and isinstance(work, RowsWork):
            await attempt.only_look()
    return Rehearsal(
        script.name,
        attempt.estimate,
        tuple(attempt.samples),
        error,
        cut_off=clock.cancelled_caught,
        only_read=refused,
        notes=attempt.notes,
        slow=attempt.slow,
    )


@dataclass(eq=False)
class _Attempt:
    """One migration being tried."""

    database: Database
    work: Work
    columns: tuple[str, ...]
    limits: RehearsalLimits
    estimate: Estimate | None = None
    samples: list[Sample] = field(default_factory=list)
    notes: tuple[str, ...] = ()
    slow: tuple[Slow, ...] = ()

    async def look_around(self) -> None:
        async with self.database.looking() as connection:
            self.estimate = await self.work.estimate(connection)
            claim = await self._claim(connection, "beginning")
            if claim is not None and isinstance(self.work, RowsWork):
                form, keyset = self.work.form, self.work.keyset
                self.notes = await connection.run_sync(around, form)
                reach = Bounds(claim.cursor, claim.upper or ())
                chosen = await choose(connection, keyset, form.pending, reach, self._pace)
                statement = statement_of(form, keyset, chosen.bounds)
                self.slow = await self.database.dialect.slow_parts(connection, statement)

    async def try_places(self) -> None:
        for place in self._places():
            async with self.database.rehearsing(self.limits.timeouts) as connection:
                sample = await self._try(connection, place)
            if sample is not None:
                self.samples.append(sample)

    async def only_look(self) -> None:
        """What `update_rows` and `compute_rows` would write, selected instead of written."""
        assert isinstance(self.work, RowsWork)
        async with self.database.looking() as connection:
            claim = await self._claim(connection, "beginning")
            if claim is None:
                return
            reach = Bounds(claim.cursor, claim.upper or ())
            chosen = await choose(connection, self.work.keyset, self.work.form.pending, reach, self._pace)
            keys = await self._keys(connection, chosen.bounds)
            before = await self._images(connection, keys)
            after = await self.work.foresee(lambda: _same(connection), claim, self._pace, keys)
        changes = tuple(
            RowChange(show_key(key), {n: before[key][n] for n in new}, new) for key, new in after.items()
        )
        self.samples.append(Sample("beginning", len(after), 0, changes, 0, (), 0.0))

    async def _try(self, connection: AsyncConnection, place: str) -> Sample | None:
        claim = await self._claim(connection, place)
        if claim is None:
            return None
        keys, before = [], {}
        if isinstance(self.work, RowsWork):
            reach = Bounds(claim.cursor, claim.upper or ())
            chosen = await choose(connection, self.work.keyset, self.work.form.pending, reach, self._pace)
            claim = replace(claim, upper=chosen.bounds.upper)
            keys = await self._keys(connection, chosen.bounds)
            before = await self._images(connection, keys)
        mark, began = await self.database.dialect.written(connection), time.monotonic()
        first = await self._pass(connection, claim)
        seconds, written = time.monotonic() - began, await self.database.dialect.written(connection)
        after = await self._images(connection, keys)
        second = await self._pass(connection, claim)
        unsteady = _differing(after, await self._images(connection, keys)) if second.rows else ()
        return Sample(
            place,
            first.rows,
            first.left_alone,
            tuple(_row_change(key, image, after.get(key)) for key, image in before.items()),
            second.rows,
            unsteady,
            seconds,
            None if mark is None or written is None else written - mark,
        )

    async def _pass(self, connection: AsyncConnection, claim: Claim) -> Change:
        portion = await self.work.prepare(lambda: _same(connection), claim, self._pace)
        return await self.work.apply(connection, portion, thorough=False)

    async def _claim(self, connection: AsyncConnection, place: str) -> Claim | None:
        upper = await self.work.find_upper(connection)
        if upper is None:
            return None
        return Claim("", 0, 0, NOBODY, cursor=await self._lower(connection, place, upper), upper=upper)

    async def _lower(self, connection: AsyncConnection, place: str, upper: Key) -> Key | None:
        if place == "beginning" or not isinstance(self.work, RowsWork):
            return None
        keyset, pending = self.work.keyset, self.work.form.pending
        if place == "end":
            return await first_key(connection, last_pending(keyset, pending, self.limits.rows + 1))
        half = max(1, (self.estimate.rows if self.estimate else 0) // 2)
        return await first_key(connection, nth_key(keyset, Bounds(None, upper), half, pending))

    async def _keys(self, connection: AsyncConnection, bounds: Bounds) -> list[Key]:
        assert isinstance(self.work, RowsWork)
        query = pending_keys(self.work.keyset, self.work.form.pending, bounds, self.limits.shown)
        found = await connection.execute(query.order_by(*self.work.keyset.columns))
        return [tuple(row) for row in found]

    async def _images(self, connection: AsyncConnection, keys: Sequence[Key]) -> dict[Key, dict[str, Any]]:
        if not keys or not isinstance(self.work, RowsWork):
            return {}
        width = len(self.work.keyset.names)
        found = await connection.execute(images(self.work.keyset, self.columns, keys))
        return {tuple(r[:width]): dict(zip(self.columns, r[width:], strict=True)) for r in found}

    def _places(self) -> tuple[str, ...]:
        rows = self.estimate.rows if self.estimate else 0
        several = isinstance(self.work, RowsWork) and rows > self.limits.rows
        return ("beginning", "middle", "end") if several else ("beginning",)

    @property
    def _pace(self) -> Pace:
        return Pace(self.limits.rows, self.limits.rows * SPAN_OF_ROWS)


@asynccontextmanager
async def _same(connection: AsyncConnection) -> AsyncIterator[AsyncConnection]:
    yield connection


def _row_change(key: Key, before: dict[str, Any], after: dict[str, Any] | None) -> RowChange:
    if after is None:
        return RowChange(show_key(key), before, None)
    changed = [name for name, value in before.items() if value != after[name]]
    return RowChange(show_key(key), {n: before[n] for n in changed}, {n: after[n] for n in changed})


def _differing(one: dict[Key, dict[str, Any]], other: dict[Key, dict[str, Any]]) -> tuple[str, ...]:
    names = {n for key in one.keys() & other.keys() for n, v in one[key].items() if v != other[key][n]}
    return tuple(sorted(names))
