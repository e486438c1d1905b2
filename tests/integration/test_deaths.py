"""A row at which the process dies each time is found by halving, and is told or set aside, not met for ever."""

from __future__ import annotations

from dataclasses import replace

import pytest

from datamigrate.authoring.batch import Batch
from datamigrate.authoring.script import Script
from datamigrate.database.database import Database
from datamigrate.doing.settings import Settings
from datamigrate.words.events import Quarantined, Retrying
from datamigrate.words.migration import Options
from workbench import (
    BATCH,
    DOUBLED,
    ITEM,
    Bench,
    Ran,
    at_every_step,
    doubling,
    each_batch,
    opened,
    with_settings,
)

pytestmark = pytest.mark.anyio

ROWS = 5 * BATCH
FATAL = 2 * BATCH + 3
TWICE = with_settings(max_deaths=2)


class Killed(BaseException):
    """Stands for SIGKILL: nobody handles it, and the database is not heard of after it."""


class Mortal:
    """A process that dies at one row, and is started again."""

    def __init__(self, bench: Bench, quarantines: bool) -> None:
        self.bench, self.dead, self.deaths, self.sizes = bench, False, 0, list[int]()
        script = bench.form(each_batch(self.migrate))
        options = Options(quarantines=quarantines)
        self.script = Script(replace(script.migration, options=options), script.form)

    async def migrate(self, batch: Batch) -> None:
        keys = [
            key
            for (key,) in await batch.execute(ITEM.select().with_only_columns(ITEM.c.id).where(batch.rows))
        ]
        if FATAL in keys:
            self.sizes.append(len(keys))
            self.dead = True
            raise Killed
        await batch.execute(DOUBLED.where(batch.rows))

    def die(self, _step: str) -> None:
        if self.dead:
            raise Killed

    async def live(self, database: Database, settings: Settings = TWICE) -> Ran:
        """Run until it ends in another way than by death."""
        while self.deaths < 20:
            self.dead = False
            try:
                return await self.bench.run_on(database, self.script, settings=settings)
            except BaseException as error:
                if not isinstance(error, Killed | BaseExceptionGroup):
                    raise
                self.deaths += 1
        raise AssertionError(f"it never ends: {self.sizes}")


async def test_a_fatal_row_is_told_after_a_few_deaths_with_everything_before_it_kept(bench: Bench) -> None:
    bench.table(rows=((i,) for i in range(1, ROWS + 1)))
    async with opened(bench.database) as database:
        process = Mortal(bench, quarantines=False)
        at_every_step(database, process.die)
        ran = await process.live(database)
    assert ran.outcome == "failed"
    error = ran.result.error
    assert error is not None
    assert f"Row {FATAL}: the process that works on it dies" in error.message
    assert f"what was done before it is kept: {FATAL - 1} rows" in error.message
    assert "out of memory" in error.hint
    # three lives with whole batches, since the first begins behind a checkpoint; then half, then one row
    assert process.sizes == [4, 4, 4, 2, 1]
    assert bench.written() == list(range(FATAL - 1))


async def test_a_fatal_row_is_set_aside_where_the_script_says_so(bench: Bench) -> None:
    bench.table(rows=((i,) for i in range(1, ROWS + 1)))
    async with opened(bench.database) as database:
        process = Mortal(bench, quarantines=True)
        at_every_step(database, process.die)
        ran = await process.live(database)
    assert ran.outcome == "done", ran.result
    assert [event.key for event in ran.of(Quarantined)] == [str(FATAL)]
    bench.assert_done(ROWS - 1, (i for i in range(ROWS) if i + 1 != FATAL))


async def test_of_two_workers_that_die_together_each_range_finds_its_own_way(postgres_bench: Bench) -> None:
    bench = postgres_bench
    bench.table(rows=((i,) for i in range(1, 8 * ROWS + 1)))
    async with opened(bench.database) as database:
        process = Mortal(bench, quarantines=True)
        at_every_step(database, process.die)
        ran = await process.live(database, with_settings(max_deaths=2, workers=2))
    assert ran.outcome == "done", ran.result
    bench.assert_done(8 * ROWS - 1, (i for i in range(8 * ROWS) if i + 1 != FATAL))


async def test_a_clean_stop_is_no_death(bench: Bench) -> None:
    bench.table(rows=((i,) for i in range(1, ROWS + 1)))
    script = bench.form(doubling())
    for _ in range(3):
        ran = await bench.run(script, max_batches=1, settings=with_settings(max_deaths=1))
        assert ran.outcome == "stopped"
        assert ran.of(Retrying) == []
        assert bench.database.scalar("SELECT attempts FROM datamigrate_range") == 0
