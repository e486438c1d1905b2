"""One batch tried out: done twice in a transaction that is rolled back, and looked at before and after."""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from datamigrate.authoring.script import Script
from datamigrate.database.changes import images
from datamigrate.database.database import Database, fault_of
from datamigrate.database.dialects.base import Timeouts, Traces
from datamigrate.database.faults import Fault
from datamigrate.doing.failing import cause_of, failed_batch
from datamigrate.doing.narrowing import failing_row
from datamigrate.doing.outbound import Outbound, listening
from datamigrate.doing.places import QUICKEST_FIRST, Places
from datamigrate.doing.rows_work import RowsWork
from datamigrate.doing.settings import Settings
from datamigrate.doing.work import Portion, Work
from datamigrate.thought.codec import show_key
from datamigrate.thought.costs import Timing
from datamigrate.thought.pacing import Pace
from datamigrate.words.claim import NOBODY, Claim
from datamigrate.words.errors import BatchFailed, DatamigrateError
from datamigrate.words.migration import Bounds, Key

# wide enough to find a sample's rows where few are pending
SPAN_OF_ROWS = 1000

LOCK_TIMEOUT = 1.0
"""Seconds to wait for a lock; the lock_timeout of a run if that is shorter."""

MOST_COMPARED = 1_000
"""Rows of a sample, at most, that are looked at before and after."""


@dataclass(frozen=True)
class RehearsalLimits:
    """At most `rows` rows in a sample, `shown` of them shown; `time` seconds for one migration.

    `settings` and `batch_size` are those of the run that is foreseen. With `exact` the pending rows are
    counted first, however long that takes. With `beginning_only` no rows further on are tried.
    """

    rows: int = 200
    shown: int = 5
    time: float = 5.0
    timeouts: Timeouts = field(default_factory=lambda: Timeouts(LOCK_TIMEOUT, RehearsalLimits.time))
    settings: Settings = field(default_factory=Settings)
    batch_size: int | None = None
    exact: bool = False
    beginning_only: bool = False


def limits_of(settings: Settings, time: float | None, **wished: Any) -> RehearsalLimits:
    """The limits for a run with these settings: no wait for a lock is longer than there, and no statement
    takes more than all of the time."""
    time = time or RehearsalLimits.time
    lock = min(LOCK_TIMEOUT, settings.timeouts.lock or LOCK_TIMEOUT)
    return RehearsalLimits(time=time, timeouts=Timeouts(lock, time), settings=settings, **wished)


@dataclass(frozen=True)
class RowChange:
    """One row, with the columns that changed; `after` is None when the row is gone."""

    key: str
    before: dict[str, Any]
    after: dict[str, Any] | None


@dataclass(frozen=True)
class Sample:
    """One batch, tried twice: `again` rows were changed by the second pass, in the columns `unsteady`.

    Of a form that has no batches, `rows` and `again` are the rows that it wrote in any table; one that does
    a part with each call is tried `once`. `written` are the table's columns that the first pass changed.

    `seconds` are those of the first pass, `idle` those of the second, when it found nothing to do.
    """

    place: str
    rows: int
    left_alone: int
    changes: tuple[RowChange, ...]
    again: int
    unsteady: tuple[str, ...]
    seconds: float
    idle: float = 0.0
    written_bytes: int | None = None
    traces: Traces = field(default_factory=Traces)
    once: bool = False
    written: tuple[str, ...] = ()

    @property
    def timing(self) -> Timing:
        """What it says of the time that the rest will take."""
        return Timing(self.rows, self.seconds, 0.0 if self.again else min(self.idle, self.seconds))


@dataclass(frozen=True)
class Failure:
    """A batch that would fail, and the key of the first row that fails by itself, where one does."""

    name: str
    place: str
    key: str | None
    error: DatamigrateError

    @property
    def said(self) -> str:
        """What went wrong, in a sentence."""
        return self.error.message.partition("\n")[0].removeprefix(f"{self.name}: ")


@dataclass(frozen=True, eq=False)
class Sampler:
    """Tries batches of one migration; `pending` rows are thought to be there."""

    database: Database
    script: Script
    work: Work
    limits: RehearsalLimits
    outbound: Outbound
    pending: int = 0

    @property
    def places(self) -> tuple[str, ...]:
        """Where to try, what is found quickest first."""
        several = isinstance(self.work, RowsWork) and self.pending > self.limits.rows
        return QUICKEST_FIRST if several and not self.limits.beginning_only else QUICKEST_FIRST[:1]

    async def try_at(self, place: str) -> Sample | Failure | None:
        """Try a batch there; None where nothing is pending. Raises what forbids to write at all."""
        claim = await self.claim_at(place)
        if claim is None:
            return None
        try:
            return await self._sample(place, claim)
        except Exception as raised:
            if self.database.dialect.is_refusal(cause_of(raised)):
                raise
            return await self._failure(place, claim, raised)

    async def foresee_at(self, place: str) -> Sample | Failure | None:
        """What `update_rows` and `compute_rows` would write there, selected instead of written."""
        claim = await self.claim_at(place)
        if claim is None or not isinstance(self.work, RowsWork):
            return None
        try:
            async with self.database.looking(self.limits.timeouts) as connection:
                keys = await self._keys(connection, claim, self.limits.shown)
                before = await self._images(connection, keys)
                with listening(self.outbound):
                    after = await self.work.foresee(lambda: _same(connection), claim, self._pace, keys)
        except Exception as raised:
            return self._failed(place, raised, None)
        changes = tuple(
            RowChange(show_key(key), {n: before[key][n] for n in after[key]}, after[key])
            for key in keys
            if key in after
        )
        return Sample(place, len(after), 0, changes, 0, (), 0.0) if after else None

    async def claim_at(self, place: str) -> Claim | None:
        """A claim on one batch there, that nobody holds; None for an empty table."""
        async with self.database.looking() as connection:
            upper = await self.work.find_upper(connection)
            if upper is None or not isinstance(self.work, RowsWork):
                return None if upper is None else Claim("", 0, 0, NOBODY, upper=upper)
            places = Places(connection, self.work, upper, self.pending)
            reach = Bounds(await places.before(place, self.limits.rows), upper)
            chosen = await self.work.choosing.behind(connection, reach, self._pace)
        return Claim("", 0, 0, NOBODY, cursor=reach.lower, upper=chosen.bounds.upper)

    # trying -----------------------------------------------------------------------------------------

    async def _sample(self, place: str, claim: Claim) -> Sample:
        began = time.monotonic()
        with listening(self.outbound):
            portion = await self.work.prepare(self.database.looking, claim, self._pace)
        prepared = time.monotonic() - began
        async with self.database.rehearsing(self.limits.timeouts) as connection:
            dialect = self.database.dialect
            keys = await self._keys(connection, claim, min(self.limits.rows, MOST_COMPARED))
            before = await self._images(connection, keys)
            mark = await dialect.written(connection)
            first = await self._apply(connection, portion)
            written = await dialect.written(connection)
            table = self.work.form.table if isinstance(self.work, RowsWork) else None
            traces = await dialect.traces(connection, table)
            after = await self._images(connection, keys)
            once = not (self.work.has_slices or first.exhausted)
            began = time.monotonic()
            second = _Pass() if once else await self._again(connection, claim)
            idle = time.monotonic() - began
            unsteady = _differing(after, await self._images(connection, keys)) if second.rows else ()
        return Sample(
            place,
            first.rows,
            first.left_alone,
            tuple(_row_change(key, before[key], after.get(key)) for key in keys[: self.limits.shown]),
            second.rows,
            unsteady,
            prepared + first.seconds,
            idle,
            None if mark is None or written is None else written - mark,
            traces,
            once,
            _differing(before, after),
        )

    async def _apply(self, connection: AsyncConnection, portion: Portion) -> "_Pass":
        mark = None if self.work.has_slices else await self.database.dialect.touched(connection)
        began = time.monotonic()
        with listening(self.outbound):
            change = await self.work.apply(connection, portion, thorough=False)
        seconds = time.monotonic() - began
        rows = change.rows if mark is None else await self.database.dialect.touched(connection) - mark
        await check_deferred(connection)
        return _Pass(rows, change.left_alone, seconds, change.exhausted)

    async def _again(self, connection: AsyncConnection, claim: Claim) -> "_Pass":
        with listening(self.outbound):
            portion = await self.work.prepare(lambda: _same(connection), claim, self._pace)
        return await self._apply(connection, portion)

    # failing ----------------------------------------------------------------------------------------

    async def _failure(self, place: str, claim: Claim, raised: Exception) -> Failure:
        error, key = cause_of(raised), None
        is_lasting = fault_of(self.database, error) is Fault.LASTING
        if is_lasting and not isinstance(error, DatamigrateError) and isinstance(self.work, RowsWork):
            async with self.database.looking() as connection:
                keys = await self._keys(connection, claim, self.limits.rows)
            if found := await failing_row(self._error_in, claim.cursor, keys):
                key, raised = found
        return self._failed(place, raised, key)

    def _failed(self, place: str, raised: Exception, key: Key | None) -> Failure:
        error = cause_of(raised)
        if isinstance(error, BatchFailed):
            key = error.key or key
        said = failed_batch(self.database.dialect, self.script.migration, raised, kept=0)
        return Failure(self.script.name, place, None if key is None else show_key(key), said)

    async def _error_in(self, bounds: Bounds) -> Exception | None:
        claim = Claim("", 0, 0, NOBODY, cursor=bounds.lower, upper=bounds.upper)
        try:
            with listening(self.outbound):
                portion = await self.work.prepare(self.database.looking, claim, self._pace)
            async with self.database.rehearsing(self.limits.timeouts) as connection:
                await self._apply(connection, portion)
        except Exception as error:
            return error
        return None

    # looking ----------------------------------------------------------------------------------------

    async def _keys(self, connection: AsyncConnection, claim: Claim, most: int) -> list[Key]:
        if not isinstance(self.work, RowsWork):
            return []
        assert claim.upper is not None
        bounds = Bounds(claim.cursor, claim.upper)
        return await self.work.keys_in(connection, bounds, most)

    async def _images(self, connection: AsyncConnection, keys: Sequence[Key]) -> dict[Key, dict[str, Any]]:
        if not keys or not isinstance(self.work, RowsWork):
            return {}
        width, columns = len(self.work.keyset.names), self.work.columns
        found = await connection.execute(images(self.work.keyset, columns, keys))
        return {tuple(r[:width]): dict(zip(columns, r[width:], strict=True)) for r in found}

    @property
    def _pace(self) -> Pace:
        return Pace(self.limits.rows, self.limits.rows * SPAN_OF_ROWS)


@dataclass(frozen=True)
class _Pass:
    """The rows that it changed, those that it left alone, the seconds that it took, and whether that was all."""

    rows: int = 0
    left_alone: int = 0
    seconds: float = 0.0
    exhausted: bool = True


async def check_deferred(connection: AsyncConnection) -> None:
    """Have the constraints looked at that PostgreSQL puts off to the commit, of which there will be none."""
    if connection.dialect.name == "postgresql":
        async with connection.begin_nested() as savepoint:
            await connection.execute(sa.text("SET CONSTRAINTS ALL IMMEDIATE"))
            # from here on they are put off again
            await savepoint.rollback()


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
