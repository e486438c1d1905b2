"""How much there is to do is counted beside the work where that takes its time."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from datamigrate.database.database import Database
from datamigrate.database.ledger.store import Ledger
from datamigrate.doing import rows_work
from datamigrate.doing.rows_work import RowsWork
from datamigrate.words.errors import DatabaseUnavailable
from datamigrate.words.events import BatchDone, Counted, Event, Started, Stopped
from workbench import ANN, BATCH, FORMS, NAME, Bench, opened, with_settings

pytestmark = pytest.mark.anyio

ROWS = 60


@pytest.fixture
def in_a_large_table(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """One whose rows are many, and of those pending too many for a list; where there is a log, who reads keeps nobody
    from writing."""
    monkeypatch.setattr(rows_work, "MANY", 1)
    monkeypatch.setattr(rows_work, "FEW", 10)
    if bench.database.dialect == "sqlite":
        bench.database.script("PRAGMA journal_mode = wal")
    bench.table(rows=((i,) for i in range(ROWS)))
    return bench


@dataclass
class UntilCounted:
    """Lets a batch or two be done before it is counted, and no other before that is told."""

    batches: int = 0
    told: list[Counted] = field(default_factory=list)
    may_count: anyio.Event = field(default_factory=anyio.Event)

    def __call__(self, _name: str) -> str | None:
        if self.batches >= 2:
            self.may_count.set()
        return None if self.told or self.batches < 2 else "not counted yet"

    def hear(self, event: Event) -> None:
        self.batches += isinstance(event, BatchDone)
        if isinstance(event, Counted):
            self.told.append(event)


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> UntilCounted:
    """It is counted behind the second batch."""
    door, estimate = UntilCounted(), RowsWork.estimate

    async def later(work: RowsWork, connection: AsyncConnection) -> Any:
        await door.may_count.wait()
        return await estimate(work, connection)

    monkeypatch.setattr(RowsWork, "estimate", later)
    return door


async def expected(bench: Bench) -> tuple[int | None, str | None]:
    async with opened(bench.database, read_only=True) as database, database.looking() as connection:
        record = (await Ledger(ANN).view(connection)).migrations[NAME]
    return record.estimate, record.estimate_source


@pytest.mark.parametrize("form", ["update", "compute"])
async def test_work_on_a_large_table_begins_before_its_rows_are_counted(
    in_a_large_table: Bench, late: UntilCounted, form: str
) -> None:
    bench = in_a_large_table
    ran = await bench.run(bench.script(FORMS[form]), brakes=(late,), listen=late.hear)
    assert ran.outcome == "done", ran.result
    assert ran.of(Started) == [Started(NAME, 0, None, "", resumed=False)]
    [told] = ran.of(Counted)
    # done by now, and still pending: all in all as many as there are, whenever it was counted
    assert told.rows >= 2 * BATCH
    assert (told.rows + told.estimate, told.estimate_source) == (ROWS, "counted")
    assert await expected(bench) == (ROWS, "counted")
    bench.assert_done(ROWS)


async def test_a_run_that_goes_on_counts_what_is_left(in_a_large_table: Bench, late: UntilCounted) -> None:
    bench = in_a_large_table
    late.may_count.set()
    await bench.run(bench.script(FORMS["update"]), max_batches=3)
    late.batches, late.told = 0, []
    ran = await bench.run(bench.script(FORMS["update"]), brakes=(late,), listen=late.hear)
    assert ran.outcome == "done", ran.result
    assert ran.of(Started) == [Started(NAME, 3 * BATCH, None, "", resumed=True)]
    assert [told.rows + told.estimate for told in ran.of(Counted)] == [ROWS]
    assert await expected(bench) == (ROWS, "counted")


async def test_of_several_workers_one_counts(postgres_bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench, late = postgres_bench, UntilCounted()
    monkeypatch.setattr(rows_work, "MANY", 1)
    bench.table(rows=((i,) for i in range(10 * ROWS)))
    bench.database.execute("ANALYZE")
    settings = with_settings(workers=3)
    ran = await bench.run(bench.script(FORMS["update"]), settings=settings, brakes=(late,), listen=late.hear)
    assert ran.outcome == "done", ran.result
    assert [told.rows + told.estimate for told in ran.of(Counted)] == [10 * ROWS]


async def test_work_that_ends_before_its_rows_are_counted_waits_for_that(
    in_a_large_table: Bench, late: UntilCounted
) -> None:
    bench = in_a_large_table

    def stopped(event: Event) -> None:
        if isinstance(event, Stopped):
            late.may_count.set()

    ran = await bench.run(bench.script(FORMS["update"]), max_batches=1, listen=stopped)
    assert ran.outcome == "stopped", ran.result
    # that it has stopped is the last that is told; the ledger knows
    assert ran.of(Counted) == []
    assert await expected(bench) == (ROWS, "counted")


async def test_work_that_ends_waits_for_a_count_no_longer_than_one_may_take(
    in_a_large_table: Bench, late: UntilCounted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datamigrate.doing.announcing.LONGEST_COUNT", 0.1)
    bench = in_a_large_table
    ran = await bench.run(bench.script(FORMS["update"]))
    assert not late.may_count.is_set()
    assert ran.outcome == "done", ran.result
    assert await expected(bench) == (None, None)


async def test_rows_that_cannot_be_counted_are_done_all_the_same(
    in_a_large_table: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused(*_: Any) -> None:
        raise PermissionError("nobody counts here")

    monkeypatch.setattr(RowsWork, "estimate", refused)
    bench = in_a_large_table
    ran = await bench.run(bench.script(FORMS["update"]))
    assert ran.outcome == "done", ran.result
    assert ran.of(Counted) == []


async def test_where_who_reads_keeps_others_from_writing_it_is_counted_first(
    sqlite_bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = sqlite_bench
    monkeypatch.setattr(rows_work, "MANY", 1)
    monkeypatch.setattr(rows_work, "FEW", 10)
    bench.table(rows=((i,) for i in range(ROWS)))
    ran = await bench.run(bench.script(FORMS["update"]))
    assert ran.of(Started) == [Started(NAME, 0, ROWS, "counted", resumed=False)]
    assert ran.of(Counted) == []


async def test_a_connection_lost_before_it_is_told_that_work_begins_is_made_again_and_it_is_told(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.table(rows=((i,) for i in range(ROWS)))
    lost: list[Database] = []
    looking = Database.looking

    def failing(self: Database, *given: Any) -> Any:
        if not lost and any(frame.function == "announce" for frame in inspect.stack()):
            lost.append(self)
            raise DatabaseUnavailable("The connection is gone.", "Wait.")
        return looking(self, *given)

    monkeypatch.setattr(Database, "looking", failing)
    ran = await bench.run(bench.script(FORMS["update"]))
    assert lost
    assert ran.outcome == "done", ran.result
    assert [started.estimate for started in ran.of(Started)] == [ROWS]
