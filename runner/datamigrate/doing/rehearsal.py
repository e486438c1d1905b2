"""A dry run that executes: what batches of one migration have shown before they are rolled back."""

from dataclasses import dataclass, field, replace

import anyio

from datamigrate.authoring.forms import EachBatch
from datamigrate.authoring.reach import reaches_past
from datamigrate.authoring.script import Script
from datamigrate.database.database import Database
from datamigrate.database.dialects.base import COUNTED, Estimate, Lock
from datamigrate.database.rewriting import rewriting
from datamigrate.database.surroundings import around
from datamigrate.doing.failing import cause_of, failed_batch, told
from datamigrate.doing.guarding import slow_batch, slow_look
from datamigrate.doing.outbound import Outbound
from datamigrate.doing.places import IN_ORDER
from datamigrate.doing.rows_work import RowsWork
from datamigrate.doing.sampling import Failure, RehearsalLimits, Sample, Sampler
from datamigrate.doing.settings import for_script
from datamigrate.doing.work import Work
from datamigrate.thought.costs import Forecast, forecast
from datamigrate.thought.pacing import first_pace
from datamigrate.thought.plans import Slow
from datamigrate.words.errors import BatchFailed, DatamigrateError

POSTGRESQL_PORT = 5432


@dataclass(frozen=True)
class Rehearsal:
    """What trying one migration has shown.

    `error` is what would stop it, `failures` where and at which row; `notes` is what stands around its
    table, `slow` what its statements would read from end to end, `ahead` what the rest will take, and
    `sockets` where its script has gone outside of the database. One that has no batches is tried
    `as_a_whole`. A `refusal` is what the database says to whoever may only read.
    """

    name: str
    estimate: Estimate | None
    samples: tuple[Sample, ...] = ()
    error: DatamigrateError | None = None
    cut_off: bool = False
    notes: tuple[str, ...] = ()
    slow: tuple[Slow, ...] = ()
    failures: tuple[Failure, ...] = ()
    ahead: Forecast | None = None
    sockets: tuple[str, ...] = ()
    as_a_whole: bool = False
    refusal: str = ""

    @property
    def only_read(self) -> bool:
        """Whether new values were selected, because writing was refused."""
        return bool(self.refusal)

    @property
    def is_steady(self) -> bool:
        """Whether every second pass found nothing to do."""
        return all(sample.again == 0 for sample in self.samples)

    @property
    def is_tried_twice(self) -> bool:
        """Whether there was a second pass to tell by."""
        return not self.only_read and any(not sample.once for sample in self.samples)

    @property
    def locks(self) -> tuple[Lock, ...]:
        """The locks that a batch holds until its end."""
        return tuple(dict.fromkeys(lock for sample in self.samples for lock in sample.traces.locks))

    @property
    def written_per_row(self) -> float | None:
        """Bytes of write-ahead log for each row."""
        written = [(s.written_bytes, s.rows) for s in self.samples if s.written_bytes is not None and s.rows]
        return sum(b for b, _ in written) / sum(r for _, r in written) if written else None

    @property
    def heap_only(self) -> float | None:
        """The share of the updates that touched no index."""
        shares = [s.traces.heap_only for s in self.samples if s.traces.heap_only is not None]
        return sum(shares) / len(shares) if shares else None

    @property
    def bloat(self) -> int | None:
        """Bytes of dead rows that all of it will leave in the table."""
        sizes = [s.traces.row_bytes for s in self.samples if s.traces.row_bytes and s.rows]
        if not sizes or self.estimate is None:
            return None
        return round(self.estimate.rows * sum(sizes) / len(sizes))


async def rehearse(database: Database, script: Script, work: Work, limits: RehearsalLimits) -> Rehearsal:
    """Try batches from the beginning, the middle and the end of what is pending. Nothing is kept."""
    if past := _reach(script):
        return Rehearsal(script.name, None, error=_not_tried(script, past))
    attempt = _Attempt(database, script, work, limits)
    error: DatamigrateError | None = None
    refusal = ""
    try:
        if limits.exact:
            await attempt.count()
    except Exception as raised:
        return Rehearsal(
            script.name, None, error=failed_batch(database.dialect, script.migration, raised, kept=0)
        )
    with anyio.move_on_after(limits.time) as clock:
        try:
            await attempt.look_around()
            await attempt.try_places()
        except Exception as raised:
            if database.dialect.is_refusal(cause_of(raised)):
                refusal = told(cause_of(raised), masked=False)
            else:
                error = failed_batch(database.dialect, script.migration, raised, kept=0)
        if refusal:
            await attempt.only_look()
    return attempt.result(error, clock.cancelled_caught, refusal)


def _reach(script: Script) -> tuple[str, ...]:
    file = script.migration.file
    return reaches_past(file.read_text("utf-8")) if file.is_file() else ()


def _not_tried(script: Script, past: tuple[str, ...]) -> DatamigrateError:
    return BatchFailed(
        f"{script.name}: not tried, because it uses {', '.join(past)}: what it does past the connection it is "
        "lent, no dry run can undo.",
        "Let it work with its `session` or `batch` alone; or look at `datamigrate plan` and run it on a copy.",
    )


@dataclass(eq=False)
class _Attempt:
    """One migration being tried."""

    database: Database
    script: Script
    work: Work
    limits: RehearsalLimits
    estimate: Estimate | None = None
    found: list[Sample | Failure] = field(default_factory=list)
    surroundings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    slow: tuple[Slow, ...] = ()

    def __post_init__(self) -> None:
        url = self.database.engine.url
        self.outbound = Outbound((url.host, url.port or POSTGRESQL_PORT))
        self.settings = for_script(
            self.limits.settings.suited(self.database.dialect.most_rows),
            self.script.migration.options,
            self.limits.batch_size,
        )

    async def count(self) -> None:
        async with self.database.looking() as connection:
            self.estimate = Estimate(await self.work.count(connection), COUNTED)

    async def look_around(self) -> None:
        async with self.database.looking() as connection:
            if isinstance(self.work, RowsWork):
                pace = first_pace(self.settings.first_rows)
                self.slow = await slow_batch(connection, self.work, pace)
                self.surroundings = await connection.run_sync(around, self.work.form)
                self.notes = await slow_look(connection, self.work)
            if self.estimate is None:
                self.estimate = await self.work.estimate(connection)
            if isinstance(self.work, RowsWork) and self.estimate:
                self.notes += await rewriting(connection, self.work.form, self.estimate.rows)

    async def try_places(self) -> None:
        for place in self._sampler.places:
            if (found := await self._sampler.try_at(place)) is not None:
                self.found.append(found)
        if isinstance(self.work, RowsWork) and isinstance(self.work.form, EachBatch):
            # what its function writes is known only by now
            seen = {name for one in self.found if isinstance(one, Sample) for name in one.written}
            async with self.database.looking() as connection:
                self.surroundings = await connection.run_sync(around, self.work.form, seen)

    async def only_look(self) -> None:
        self.found.clear()
        for place in self._sampler.places:
            if (found := await self._sampler.foresee_at(place)) is not None:
                self.found.append(found)

    def result(self, error: DatamigrateError | None, cut_off: bool, refusal: str) -> Rehearsal:
        found = sorted(self.found, key=lambda one: IN_ORDER.index(one.place))
        samples = tuple(one for one in found if isinstance(one, Sample))
        failures = tuple(one for one in found if isinstance(one, Failure))
        return Rehearsal(
            self.script.name,
            self.estimate,
            samples,
            error or (failures[0].error if failures else None),
            cut_off,
            self.surroundings + self.notes,
            self.slow,
            failures,
            self._forecast(samples),
            self.outbound.places,
            not self.work.has_slices,
            refusal,
        )

    def _forecast(self, samples: tuple[Sample, ...]) -> Forecast | None:
        timings = [sample.timing for sample in samples]
        limits = self.settings.limits_for(self.work.holds_rows)
        rows = self.estimate.rows if self.estimate else 0
        if not self.work.has_slices:
            written = sum(sample.rows for sample in samples)
            rows = rows if any(sample.once for sample in samples) else written
            limits = replace(limits, min_rows=written, max_rows=written)
        return forecast(timings, rows, limits, self.settings.pause) if rows else None

    @property
    def _sampler(self) -> Sampler:
        pending = self.estimate.rows if self.estimate else 0
        return Sampler(self.database, self.script, self.work, self.limits, self.outbound, pending)
