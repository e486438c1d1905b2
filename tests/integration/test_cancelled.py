"""A cancellation that comes out of the author's code, and that nobody has asked for, is an error like any other."""

from __future__ import annotations

import asyncio

import anyio
import pytest

from datamigrate.database.guard import script_at_work
from datamigrate.words.errors import BatchFailed, RowFailed
from datamigrate.words.events import BatchDone
from workbench import BATCH, HOME, Bench, opened

pytestmark = pytest.mark.anyio

ROWS = 5 * BATCH

AWAITED = """
import asyncio

async def call_service():
    answer = asyncio.get_running_loop().create_future()
    answer.cancel()
    await answer
"""
OWN_TASK = """
import asyncio

async def call_service():
    asyncio.current_task().cancel()
    await asyncio.sleep(0)
"""
BY_ROW = """
@compute_rows(item, pending=pending, reads=[item.c.serial, item.c.old], writes=[item.c.new]{options})
async def migrate(row):
    if row.serial == {at}:
        await call_service()
    return {{"new": row.old * 2}}
"""
BY_ROW_IN_TURN = """
@compute_rows(item, pending=pending, reads=[item.c.serial, item.c.old], writes=[item.c.new]{options})
def migrate(row):
    if row.serial == {at}:
        raise asyncio.CancelledError
    return {{"new": row.old * 2}}
"""
BY_BATCH = """
@compute_rows(item, pending=pending, reads=[item.c.serial, item.c.old], writes=[item.c.new]{options})
async def migrate(rows):
    if any(row.serial == {at} for row in rows):
        await call_service()
    return [{{"new": row.old * 2}} for row in rows]
"""
EACH_BATCH = """
@each_batch(item, pending=pending{options})
async def migrate(batch):
    found = await batch.execute(sa.select(item.c.serial).where(batch.rows))
    if {at} in found.scalars().all():
        await call_service()
    await batch.execute(sa.update(item).where(batch.rows).values(new=item.c.old * 2))
"""
FREE = """
async def migrate(session):
    await call_service()
"""
FORMS = {
    "compute by row": BY_ROW,
    "compute by batch": BY_BATCH,
    "each batch": EACH_BATCH,
    "free": FREE,
}
QUARANTINE = ', on_row_error="quarantine"'


def text(form: str, service: str = AWAITED, at: int = 9, options: str = QUARANTINE) -> str:
    return HOME + service + form.format(at=at, options=options)


@pytest.mark.parametrize("service", [AWAITED, OWN_TASK], ids=["what it awaits", "its own task"])
@pytest.mark.parametrize("name", FORMS)
async def test_code_that_is_cancelled_by_itself_fails_and_no_row_is_left_alone_or_set_aside(
    bench: Bench, name: str, service: str
) -> None:
    bench.table(rows=((i,) for i in range(ROWS)))
    ran = await bench.run(bench.script(text(FORMS[name], service)))
    assert ran.outcome == "failed"
    error = ran.result.error
    assert isinstance(error, BatchFailed)
    assert not isinstance(error, RowFailed)
    assert "cancelled" in error.message
    assert "look for what cancels it" in error.hint
    done = 0 if name == "free" else 2 * BATCH
    assert sum(batch.rows for batch in ran.of(BatchDone)) == done
    assert bench.pending() == ROWS - done
    assert bench.database.rows("SELECT key FROM datamigrate_quarantine") == []
    assert bench.standing().left_alone == 0
    assert bench.standing().owner is None

    again = await bench.run(bench.script(text(FORMS[name], "async def call_service(): pass")))
    assert again.outcome == "done", again.result


async def test_the_row_at_which_a_function_is_cancelled_is_named(bench: Bench) -> None:
    bench.table(rows=((i,) for i in range(ROWS)))
    ran = await bench.run(bench.script(text(BY_ROW)))
    assert "Row 9: migrate() was cancelled at " in str(ran.result.error)
    assert "20260101_0000_job.py:" in str(ran.result.error)


async def test_a_cancellation_that_a_synchronous_function_raises_is_told_with_its_row(bench: Bench) -> None:
    bench.table(rows=((i,) for i in range(ROWS)))
    ran = await bench.run(bench.script(text(BY_ROW_IN_TURN, at=2)))
    assert "Row 2: migrate() was cancelled" in str(ran.result.error)
    assert bench.pending() == ROWS


NEVER_ANSWERS = """
import asyncio

async def call_service():
    await asyncio.Event().wait()
"""


@pytest.mark.parametrize("name", FORMS)
async def test_a_cancellation_that_was_asked_for_ends_a_run_as_ever(bench: Bench, name: str) -> None:
    bench.table(rows=((i,) for i in range(ROWS)))
    with anyio.move_on_after(1) as scope:
        await bench.run(bench.script(text(FORMS[name], NEVER_ANSWERS)))
    assert scope.cancelled_caught
    assert bench.standing().state == "stopped"
    assert bench.standing().owner is None


async def test_a_cancellation_by_whoever_calls_us_is_no_failure_of_the_script(bench: Bench) -> None:
    begun = asyncio.Event()

    async def work() -> None:
        async with (
            opened(bench.database) as database,
            database.writing() as connection,
            script_at_work(connection),
        ):
            begun.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await begun.wait()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
