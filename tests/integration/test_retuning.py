"""A pace that an operator sets while it runs, from anywhere, through the ledger."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
import sqlalchemy as sa

from datamigrate.database.ledger.store import Ledger
from datamigrate.database.ledger.tables import ledger_tables
from datamigrate.thought.lifecycle import Cause
from datamigrate.thought.tuning import Tuning, tuning_kept
from datamigrate.words.events import BatchDone, Event, Retuned
from workbench import BATCH, BOB, FORMS, Bench, doubling, migration, opened, with_settings

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
    is_ahead = form == "compute" and bench.database.dialect == "postgresql" and rows > BATCH
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
    bench = postgres_bench
    fill(bench, 400 * BATCH)
    many, one = Tuning(workers=3), Tuning(workers=1)
    hire, dismiss = tune_after(bench, 2, many), tune_after(bench, 200, one)

    def listen(event: Event) -> None:
        hire(event)
        dismiss(event)

    ran = await bench.run(bench.form(doubling()), settings=with_settings(workers=1), listen=listen)
    assert ran.outcome == "done", ran.result
    ranges = [batch.range for batch in ran.of(BatchDone)]
    assert set(ranges[:2]) == {0}
    assert len(set(ranges[2:200])) >= 2
    # one after another, each range is finished by the only worker
    alone = ranges[220:]
    assert sum(a != b for a, b in pairwise(alone)) <= 6
    bench.assert_done(400 * BATCH)
