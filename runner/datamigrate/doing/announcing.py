"""What is counted and told of the work on a migration: that it begins, each batch, and that it is done."""

import time
from dataclasses import replace

from datamigrate.doing.effort import Outcome
from datamigrate.doing.rows_work import FEW
from datamigrate.doing.stint import Stint
from datamigrate.doing.work import Change
from datamigrate.thought.codec import show_key
from datamigrate.words import events
from datamigrate.words.claim import Tally


async def announce(stint: Stint) -> None:
    """Tell that the work begins, with what is done and how much is expected; once for all workers."""
    effort, ledger, name = stint.effort, stint.place.ledger, stint.name
    if effort.began is not None:
        return
    effort.began = time.monotonic()
    async with stint.place.database.looking() as connection:
        estimate = await stint.work.estimate(connection)
        are_few = estimate is not None and estimate.is_counted and estimate.rows < FEW
        # several workers share a table sooner than a list
        if are_few and stint.mine.upper is None and stint.settings.workers == 1:
            stint.found = await stint.work.look(connection)
        effort.done = await ledger.tally(connection, name)
        effort.before = effort.done.rows
        stint.heed(await ledger.orders(connection, name))
    if estimate is not None:
        async with stint.noting() as connection:
            expected = replace(estimate, rows=estimate.rows + effort.done.rows)
            await ledger.expect(connection, name, expected)
    stint.place.publish(
        events.Started(
            name,
            effort.done.rows,
            estimate.rows if estimate else None,
            estimate.source if estimate else "",
            effort.done.batches > 0,
        )
    )


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
