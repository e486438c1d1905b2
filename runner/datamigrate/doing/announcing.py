"""What is counted and told of the work on a migration: that it begins, each batch, and that it is done."""

import time
from contextlib import suppress
from dataclasses import replace

import anyio
from sqlalchemy.ext.asyncio import AsyncConnection

from datamigrate.database.dialects.base import COUNTED, SHORTLY, Estimate
from datamigrate.doing.effort import Outcome
from datamigrate.doing.rows_work import RowsWork
from datamigrate.doing.stint import Stint
from datamigrate.doing.work import Change
from datamigrate.thought.codec import show_key
from datamigrate.words import events
from datamigrate.words.claim import Tally

LONGEST_COUNT = 2 * SHORTLY
"""Seconds that a count, which itself is to end after half of them, may take with what is around it."""


async def announce(stint: Stint) -> None:
    """Tell that the work begins, with what is done and, where that is found at once, how much is expected; once for all
    workers."""
    effort, ledger, name = stint.effort, stint.place.ledger, stint.name
    if effort.began is not None:
        return
    began = time.monotonic()
    async with stint.place.database.looking() as connection:
        estimate = await _expected_at_once(stint, connection)
        effort.done = await ledger.tally(connection, name)
        effort.before = effort.done.rows
        stint.heed(await ledger.orders(connection, name))
    if estimate is not None:
        await _expect(stint, estimate, effort.done)
    effort.began = began
    stint.place.publish(
        events.Started(
            name,
            effort.done.rows,
            estimate.rows if estimate else None,
            estimate.source if estimate else "",
            effort.done.batches > 0,
        )
    )


async def _expected_at_once(stint: Stint, connection: AsyncConnection) -> Estimate | None:
    """How much is expected; in a large table that can be read meanwhile it is left to be counted beside the work, unless
    the pending rows are so few that they are listed."""
    work, claim, effort = stint.work, stint.mine, stint.effort
    effort.is_uncounted = False
    if not isinstance(work, RowsWork) or not await work.is_large(connection):
        return await work.estimate(connection)
    # several workers share a table sooner than a list
    if claim.upper is None and stint.settings.workers == 1:
        stint.found = await work.pending_if_few(connection)
        if stint.found is not None:
            return Estimate(len(stint.found), COUNTED)
    effort.is_uncounted = await stint.place.database.dialect.reads_apart(connection)
    return None if effort.is_uncounted else await work.estimate(connection)


async def counting(stint: Stint) -> None:
    """Beside the work, count what it has to do, and tell, if nobody has yet. When that fails, progress has no end to tell
    of, and the work goes on; when the work ends first, it waits for that, so that also who does a batch a night knows."""
    if not stint.effort.is_uncounted:
        return
    stint.effort.is_uncounted = False
    with suppress(Exception), anyio.move_on_after(LONGEST_COUNT, shield=True):
        await _count(stint)


async def _count(stint: Stint) -> None:
    effort, database = stint.effort, stint.place.database
    async with database.looking() as connection:
        await database.dialect.at_one_moment(connection)
        done = await stint.place.ledger.tally(connection, stint.name)
        estimate = await stint.work.estimate(connection)
    if estimate is None:
        return
    if not effort.told:
        by_now = effort.done.rows
        left = max(0, done.rows + estimate.rows - by_now)
        stint.place.publish(events.Counted(stint.name, by_now, left, estimate.source))
    await _expect(stint, estimate, done)


async def _expect(stint: Stint, estimate: Estimate, done: Tally) -> None:
    async with stint.noting() as connection:
        expected = replace(estimate, rows=estimate.rows + done.rows)
        await stint.place.ledger.expect(connection, stint.name, expected)


def count_batch(stint: Stint, change: Change, seconds: float) -> None:
    """One more batch is done, which took so many seconds."""
    effort, claim = stint.effort, stint.mine
    stint.place.stop.count_batch()
    done = effort.done
    effort.done = done = Tally(done.rows + change.rows, done.left_alone + change.left_alone, done.batches + 1)
    stint.place.publish(
        events.BatchDone(
            stint.name,
            done.batches,
            change.rows,
            change.left_alone,
            seconds,
            done.rows,
            claim.size,
            show_key(claim.cursor) if claim.cursor else "",
            claim.number,
            effort.at_work,
        )
    )


def finished(stint: Stint) -> Outcome:
    """Tell that the migration is done, and verified."""
    effort, tally = stint.effort, stint.mine.tally
    seconds = time.monotonic() - (effort.began or 0.0)
    told = events.Finished(
        stint.name, tally.rows, tally.left_alone, seconds, effort.quarantined, effort.before
    )
    effort.tell_end(stint.place.publish, told)
    return Outcome.DONE
