"""A pace that an operator sets while it runs, from anywhere, through the ledger."""

from __future__ import annotations

from collections.abc import Callable

import anyio
import pytest
import sqlalchemy as sa

from datamigrate.authoring.batch import Batch
from datamigrate.database.ledger.store import Ledger
from datamigrate.database.ledger.tables import ledger_tables
from datamigrate.thought.lifecycle import Cause
from datamigrate.thought.tuning import Tuning, tuning_kept
from datamigrate.words.events import BatchDone, Event, Retuned
from workbench import BATCH, BOB, DOUBLED, FORMS, Bench, doubling, each_batch, migration, opened

pytestmark = pytest.mark.anyio

ROWS = 40 * BATCH


def fill(bench: Bench, rows: int = ROWS) -> None:
    bench.table(rows=((i,) for i in range(rows)))
    bench.database.execute("CREATE TABLE copied (serial INTEGER)")


def tune_after(bench: Bench, batches: int, tuning: Tuning) -> Callable[[Event], None]:
    """Set this pace between two batches."""
    seen = 0

    def listen(event: Event) -> None:
        nonlocal seen
        seen += isinstance(event, BatchDone)
        if isinstance(event, BatchDone) and seen == batches:
            with bench.database.engine.begin() as connection:
                connection.execute(sa.update(ledger_tables().migration).values(tuning=tuning_kept(tuning)))

    return listen


@pytest.mark.parametrize("form", ["update", "compute", "each batch", "delete"])
@pytest.mark.parametrize("rows", [1, 10])
async def test_another_batch_size_holds_from_the_batch_after_the_next(
    bench: Bench, form: str, rows: int
) -> None:
    fill(bench)
    ran = await bench.run(bench.script(FORMS[form]), listen=tune_after(bench, 3, Tuning(batch_size=rows)))
    assert ran.outcome == "done", ran.result
    assert [event.tuning for event in ran.of(Retuned)] == [f"batch size {rows}"]
    # a batch that was read ahead already is still done, unless it is too large now
    is_ahead = bench.database.dialect == "postgresql" and rows > BATCH
    before = [BATCH] * (5 if is_ahead else 4)
    assert [batch.rows for batch in ran.of(BatchDone)][: len(before) + 2] == [*before, rows, rows]
    bench.assert_done(ROWS)


async def test_a_pace_set_before_the_run_holds_from_its_first_batch_and_ends_with_it(bench: Bench) -> None:
    fill(bench)
    async with opened(bench.database) as database, database.writing() as connection:
        ledger = Ledger(BOB)
        await ledger.ensure(connection)
        assert await ledger.tune(connection, migration(), Tuning(batch_size=7), "easy") == Tuning(7)
    ran = await bench.run(bench.form(doubling()), batch_size=3)
    assert {batch.rows for batch in ran.of(BatchDone)[:-1]} == {7}
    assert bench.database.scalar("SELECT tuning FROM datamigrate_migration") is None
    assert bench.database.rows(
        "SELECT cause, reason, owner FROM datamigrate_transition ORDER BY id LIMIT 1"
    ) == [(Cause.TUNE, "batch size 7: easy", str(BOB))]


async def test_more_workers_are_hired_and_surplus_ones_leave(postgres_bench: Bench) -> None:
    bench, rows = postgres_bench, 400 * BATCH
    fill(bench, rows)
    heard: list[str] = []

    def at_work() -> int:
        return int(bench.database.scalar("SELECT count(*) FROM datamigrate_range WHERE owner IS NOT NULL"))

    async def until(wanted: int) -> None:
        with anyio.fail_after(40):
            while at_work() != wanted:  # noqa: ASYNC110 - the ledger sends no events
                await anyio.sleep(0.02)

    async def double(batch: Batch) -> None:
        await batch.execute(DOUBLED.where(batch.rows))
        if len(heard) == 1:
            await until(3)
        elif len(heard) == 2 and batch.upper[0] < rows // 8:  # the first worker's
            await until(1)

    hire, dismiss = tune_after(bench, 2, Tuning(workers=3)), tune_after(bench, 8, Tuning(workers=1))

    def listen(event: Event) -> None:
        hire(event)
        dismiss(event)
        if isinstance(event, Retuned):
            heard.append(event.tuning)

    ran = await bench.run(bench.form(each_batch(double)), owner=BOB, listen=listen)
    assert ran.outcome == "done", ran.result
    # a worker may tell late what it had read before another one heard of the next word
    assert list(dict.fromkeys(heard)) == ["workers 3", "workers 1"]
    assert len({batch.range for batch in ran.of(BatchDone)[:8]}) >= 2
    bench.assert_done(rows)
