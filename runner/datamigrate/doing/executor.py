"""One data migration from its claim to its end: walk in batches, look again, finish."""

import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

import anyio
import stamina
from sqlalchemy.ext.asyncio import AsyncConnection

from datamigrate.authoring.script import Script
from datamigrate.database.database import PATIENT, fault_of
from datamigrate.database.dialects.base import Timeouts
from datamigrate.database.faults import Fault
from datamigrate.database.ledger.records import Orders
from datamigrate.doing.claiming import Claimant
from datamigrate.doing.deaths import BATCHES, Caution, fatal, is_fatal, smaller, why_smaller
from datamigrate.doing.effort import Effort, Outcome, Workplace
from datamigrate.doing.failing import cause_of, failed_batch, show_keys, too_slow
from datamigrate.doing.heartbeat import with_heartbeat
from datamigrate.doing.overlapping import overlapping
from datamigrate.doing.poison import WHOLE, Isolation
from datamigrate.doing.rows_work import WalkingWork
from datamigrate.doing.settings import Settings
from datamigrate.doing.waiting import Standstill
from datamigrate.doing.work import Change, Portion, Work
from datamigrate.thought.codec import show_key
from datamigrate.thought.lifecycle import Cause, State
from datamigrate.thought.pacing import Pace, after_timeout, first_pace, fitted, is_smallest, next_pace
from datamigrate.thought.tuning import UNTUNED, Tuning
from datamigrate.words import events
from datamigrate.words.claim import Claim, Tally
from datamigrate.words.errors import BatchFailed, Cut, Fenced, KeepsComing
from datamigrate.words.migration import Bounds, Key
from datamigrate.words.secrets import redacted

SIGN_OF_LIFE = 3.0
"""Seconds between two signs of life, by which a worker also learns that it has been fenced out."""

LOOK_UP = 1.0
"""Seconds of a pause between two batches after which a worker looks for an operator's word."""

LET_IN = 0.01
LET_IN_SHARE = 0.02
"""Seconds between two batches, and the share of a shorter one, for those who wait for the only write lock."""

SURPLUS = "fewer workers are wanted"

T = TypeVar("T")


@dataclass(eq=False)
class Executor:
    """One worker on one migration. The claim and the pace change with every batch, the settings when an
    operator tunes them; all else is fixed.

    One that `leads` waits for what others hold, any other worker leaves when nothing is free, or when fewer
    are wanted; when more are wanted, they are asked for by `hire`. `in_doubt` is
    true between a lost connection and the look at the ledger that tells what it had kept. `in_line` is the
    work without the rows that are in quarantine.
    """

    place: Workplace
    script: Script
    work: Work
    tuned: Callable[[Tuning], Settings]
    effort: Effort
    hire: Callable[[int], None]
    leads: bool = True
    claim: Claim | None = field(default=None, init=False)
    pace: Pace = field(default=Pace(1, 1), init=False)
    in_doubt: bool = field(default=False, init=False)
    last_sign: float = field(default=0.0, init=False)
    ahead: Portion | None = field(default=None, init=False)
    tuning: Tuning = field(default=UNTUNED, init=False)
    in_line: Work = field(init=False)
    caution: Caution = field(default=Caution(), init=False)

    def __post_init__(self) -> None:
        self.in_line = self.work

    @property
    def settings(self) -> Settings:
        """What holds now."""
        return self.tuned(self.effort.tuning)

    @property
    def _claimant(self) -> Claimant:
        return Claimant(self.place, self.script, self.work, lambda: self.settings, self.effort, self.leads)

    async def run(self) -> Outcome:
        """Claim range after range, work, verify when it was the last. Raises what stopped it, after the
        ledger knows."""
        while True:
            self.claim = None
            got = await self._retried(self._claimant.claim)
            if not isinstance(got, Claim):
                return got
            self.claim, self.in_doubt = got, False
            try:
                outcome = await with_heartbeat(self._beat, self._beats, self._walk_until_verified)
            except Fenced:
                # another run has it now, or our last word arrived although its answer was lost: stand in
                # line again, and see what there is left
                continue
            except Exception as error:
                failure = await self._failed(error)
                raise failure from (error.__cause__ if failure is error else error)
            except BaseException:
                await self._leave_if_we_can(Cause.STOP, "interrupted")
                raise
            if outcome:
                return outcome

    def _stopped(self, why: str) -> Outcome:
        return self.effort.stopped(self.script.name, self.place.publish, why, self.place.ledger.course)

    def _why_too_many(self) -> str | None:
        if self.leads or self.effort.at_work <= self.settings.workers:
            return None
        return SURPLUS

    def _heed(self, orders: Orders) -> None:
        if orders.standing.state in self.place.ledger.course.halts:
            self.effort.halted = orders.standing
        if orders.tuning != self.effort.tuning:
            self.effort.tuning = orders.tuning
            self.hire(self.settings.workers)
            self.place.publish(events.Retuned(self.script.name, str(orders.tuning)))
        if orders.tuning != self.tuning:
            self.tuning, self.pace = orders.tuning, fitted(self.pace, self.settings.limits)

    # walking ----------------------------------------------------------------------------------------

    async def _walk_until_verified(self) -> Outcome | None:
        """Done, or stopped, or None when this range is finished and others are not."""
        await self._retried(self._announce)
        while True:
            if why := await self._walk():
                await self._retried(partial(self._leave, Cause.STOP, why))
                return Outcome.NOTHING_FREE if why is SURPLUS else self._stopped(why)
            last = await self._retried(self._range_finished)
            if last is None:
                return None
            self.claim = last
            self.place.publish(events.Verifying(self.script.name))
            leftover = await self._retried(self._verified)
            if not leftover and self.effort.halted:
                return self._stopped(str(self.effort.halted))
            if not leftover:
                tally, seconds = self._mine.tally, time.monotonic() - (self.effort.began or 0.0)
                aside = self.effort.quarantined
                finished = events.Finished(self.script.name, tally.rows, tally.left_alone, seconds, aside)
                self.effort.tell_end(self.place.publish, finished)
                return Outcome.DONE
            self.effort.sweeps += 1
            await self._begin_sweep(self.effort.sweeps, leftover)

    async def _walk(self) -> str | None:
        """Batch after batch until the range is exhausted, or the reason to stop before."""
        self.pace, self.tuning, self.ahead = self._first_pace(), self.effort.tuning, None
        await self._retried(self._begin_walk)
        await self._beware()
        while not self._mine.exhausted:
            if why := self.effort.why_stop(self.place.stop) or self._why_too_many():
                return why
            if await self._standstill.wait():
                self.ahead = None
                continue
            began = time.monotonic()
            try:
                change = await self._batch_that_fits()
            except Cut:
                self.claim, self.ahead = await self._retried(self._reread), None
                continue
            self._note(change, time.monotonic() - began)
            await self._rest(self._pause_after(time.monotonic() - began))
        return None

    def _note(self, change: Change, seconds: float) -> None:
        self.place.stop.count_batch()
        self._count(change)
        self.place.publish(self._batch_done(change, seconds))

    def _pause_after(self, seconds: float) -> float:
        if self.place.database.dialect.reads_while_writing:
            return self.settings.pause_after(seconds)
        # with one writer at a time, others look for the lock now and then, an operator's word among them
        return max(self.settings.pause_after(seconds), min(LET_IN, LET_IN_SHARE * seconds))

    async def _rest(self, seconds: float) -> None:
        """Sleep until it is time for the next batch; a stop or an operator's word ends it."""
        waking = time.monotonic() + seconds
        while (left := waking - time.monotonic()) > 0 and not self.effort.why_stop(self.place.stop):
            await anyio.sleep(min(left, LOOK_UP))
            if left > LOOK_UP:
                await self._look_up()

    @property
    def _standstill(self) -> Standstill:
        def keep(why: str | None) -> Awaitable[None]:
            return self._retried(partial(self._keep_waiting, why))

        return Standstill(self.place, self.script.name, self.effort, keep, self._look_up)

    async def _keep_waiting(self, why: str | None) -> None:
        async with self.place.database.writing() as connection:
            await self.place.ledger.wait(connection, self.script.name, why)

    async def _look_up(self) -> None:
        self._heed(await self._retried(self._orders))

    async def _orders(self) -> Orders:
        async with self.place.database.looking() as connection:
            return await self.place.ledger.orders(connection, self.script.name)

    async def _begin_walk(self) -> None:
        claim, parts = self._mine, self.settings.workers
        points: tuple[Key, ...] = ()
        async with self.place.database.looking() as connection:
            await self._leave_aside(connection)
            if claim.upper is not None or claim.exhausted:
                return
            upper = await self.work.find_upper(connection)
            if upper is not None and parts > 1:
                bounds, least = Bounds(claim.cursor, upper), 2 * self.settings.first_rows
                points = (await self.work.divide(connection, bounds, parts, least)).points
        claim = replace(claim, upper=upper, exhausted=upper is None)
        async with self._noting() as connection:
            claim = await self.place.ledger.begin_walk(connection, claim, points)
        self.claim = claim

    async def _range_finished(self) -> Claim | None:
        async with self._noting() as connection:
            return await self.place.ledger.finish_range(connection, self._mine)

    async def _reread(self) -> Claim:
        async with self.place.database.looking() as connection:
            return await self.place.ledger.reread(connection, self._mine)

    async def _batch_that_fits(self) -> Change:
        """A batch, halved until the database lets it finish; the ledger keeps the smaller size at once."""
        while True:
            try:
                return await self._retried(self._batch)
            except Exception as error:
                if (isolation := self._isolation) and isolation.is_called_for(error):
                    return await self._past_poison(isolation, error)
                if not self.work.has_slices or self._fault_of(error) is not Fault.TIMEOUT:
                    raise
                if is_smallest(self.pace):
                    claim, timeouts = self._mine, self.settings.timeouts
                    raise too_slow(self.script.migration, error, claim, timeouts) from error
                self._tell_retry(error, Fault.TIMEOUT)
            await self._retried(self._halve)

    async def _halve(self) -> None:
        await self._resize(after_timeout(self.pace, self.settings.limits))

    async def _resize(self, pace: Pace) -> None:
        claim = replace(self._mine, size=pace.rows, span=pace.span)
        async with self._noting() as connection:
            await self.place.ledger.resize(connection, claim)
        self.claim, self.pace, self.ahead = claim, pace, None

    async def _batch(self) -> Change:
        claim = self._mine
        if claim.exhausted:
            # the commit that seemed lost had arrived, and it was the last one
            return Change(claim.cursor, exhausted=True, rows=0)
        portion = self._read_already(claim) or await self._prepared(claim)
        if not self._may_read_ahead or portion.is_last:
            return await self._applied(claim, portion)
        behind = replace(claim, cursor=portion.end)
        change, self.ahead = await overlapping(
            partial(self._applied, claim, portion), partial(self._prepared, behind)
        )
        return change

    async def _prepared(self, claim: Claim, pace: Pace | None = None) -> Portion:
        began = time.monotonic()
        look = partial(self.place.database.looking, self.settings.timeouts)
        portion = await self.in_line.prepare(look, claim, pace or self.pace)
        return replace(portion, seconds=time.monotonic() - began)

    def _read_already(self, claim: Claim) -> Portion | None:
        ahead, self.ahead = self.ahead, None
        fits = ahead is not None and (ahead.claim.cursor, ahead.claim.sweep) == (claim.cursor, claim.sweep)
        # after a timeout the batch is to be smaller than what was read for it
        most = min(2 * self.pace.rows, self.settings.limits.max_rows)
        return ahead if fits and ahead and ahead.pace.rows <= most else None

    async def _applied(self, claim: Claim, portion: Portion) -> Change:
        settings, ledger, began = self.settings, self.place.ledger, time.monotonic()
        thorough = claim.sweep > 0 or claim.cursor is None
        async with self.place.database.writing(settings.timeouts, settings.durable_batches) as connection:
            change = await self.in_line.apply(connection, portion, thorough)
            seconds = time.monotonic() - began
            pace = self._pace_behind(portion, change, max(seconds, portion.seconds))
            if portion.claim.upper != claim.upper:
                change = replace(change, exhausted=False)
            claim = claim.after(change.cursor, change.exhausted, change.rows, change.left_alone)
            caution = self.caution.after_batch()
            claim = replace(claim, size=pace.rows, span=pace.span, attempts=caution.attempts)
            orders = await ledger.checkpoint(connection, claim, seconds)
        self.claim, self.pace, self.last_sign = claim, pace, time.monotonic()
        self.caution = caution
        self._heed(orders)
        if orders.standing.state is State.FAILED and not self.effort.failed:
            raise BatchFailed(
                f"{claim.migration}: a worker of another run has failed on it.",
                f"`datamigrate show {claim.migration}` tells why.",
            )
        return change

    def _pace_behind(self, portion: Portion, change: Change, seconds: float) -> Pace:
        if portion.pace == WHOLE or self.caution:
            return self.pace
        limits = self.settings.limits
        pace = next_pace(portion.pace, seconds, change.found, limits)
        # what was read ahead may be of a size that was wanted before
        return fitted(pace, limits) if self.pace.rows >= limits.min_rows else pace

    @property
    def _may_read_ahead(self) -> bool:
        reads_while_writing = self.place.database.dialect.reads_while_writing
        return self.work.computes and reads_while_writing and not self.caution

    # rows that fail ---------------------------------------------------------------------------------

    @property
    def _isolation(self) -> Isolation | None:
        if not isinstance(self.work, WalkingWork) or not isinstance(self.in_line, WalkingWork):
            return None
        return Isolation(self.place, self.script, self.work, self.in_line, self.settings.timeouts)

    async def _leave_aside(self, connection: AsyncConnection) -> None:
        if isolation := self._isolation:
            self.in_line = await isolation.without_quarantined(connection)

    async def _past_poison(self, isolation: Isolation, raised: Exception) -> Change:
        """Do what is before the row that fails, then set it aside, or raise what it failed with."""
        self.ahead = None
        poison = await isolation.poison_in(self._mine, self.pace, raised, self._do_up_to)
        if poison is not None:
            isolation.refuse(poison, self.effort.done.rows)
            self.claim = await self._retried(lambda: isolation.set_aside(self._mine, poison))
        return Change(self._mine.cursor, self._mine.exhausted, rows=0)

    async def _do_up_to(self, key: Key) -> None:
        began = time.monotonic()
        self._note(await self._retried(partial(self._slice, key)), time.monotonic() - began)

    async def _slice(self, upper: Key) -> Change:
        claim = self._mine
        if claim.cursor == upper:  # the commit that seemed lost had arrived
            return Change(upper, claim.exhausted, rows=0)
        return await self._applied(claim, await self._prepared(replace(claim, upper=upper), WHOLE))

    async def _beware(self) -> None:
        """Where too many processes have died, go on with half the batch, or without its only row."""
        claim, self.caution = self._mine, Caution()
        if not is_fatal(claim, self.settings.max_deaths):
            return
        isolation = self._isolation
        if isolation is None:
            raise fatal(claim)
        if pace := smaller(claim, self.settings.first_rows):
            self.caution = Caution(BATCHES, self.settings.max_deaths)
            await self._retried(partial(self._resize, pace))
            self.place.publish(events.Retrying(self.script.name, why_smaller(claim, pace)))
        else:
            kept = self.effort.done.rows
            self.claim = await self._retried(lambda: isolation.past_fatal_row(self._mine, kept))

    # verifying --------------------------------------------------------------------------------------

    async def _verified(self) -> tuple[Key, ...]:
        """A fresh look and, when nothing is left, the record of it, in one transaction.

        Rows that the script leaves alone stay pending: it is asked about every one of them once more, and
        then none may have been added.
        """
        leftover = await self._recorded_as_done(alone=0)
        alone = await self.in_line.left_alone(self.place.database.looking) if leftover else None
        return leftover if alone is None else await self._recorded_as_done(alone)

    async def _recorded_as_done(self, alone: int) -> tuple[Key, ...]:
        """Record it, if no more rows are pending than so many that are left alone, and those in quarantine; else
        some keys that are."""
        ledger = self.place.ledger
        async with self.place.database.writing() as connection:
            await self._leave_aside(connection)
            leftover = await self.in_line.look(connection)
            if not leftover or (alone and await self.in_line.count(connection) == alone):
                self.effort.quarantined = await self._left_in_quarantine(connection)
                self.claim = replace(self._mine, tally=replace(self._mine.tally, left_alone=alone))
                await ledger.checkpoint(connection, self._mine, 0.0)
                if await ledger.leave(connection, self._mine, Cause.VERIFIED) in ledger.course.halts:
                    self._heed(await ledger.orders(connection, self.script.name))
                return ()
        return leftover

    async def _left_in_quarantine(self, connection: AsyncConnection) -> int:
        if (isolation := self._isolation) and self.in_line is not self.work:
            return await isolation.let_mended_out(connection)
        return await self.place.ledger.quarantine(self.script.name).count(connection)

    async def _begin_sweep(self, sweeps: int, leftover: tuple[Key, ...]) -> None:
        if sweeps > self.settings.max_sweeps:
            async with self.place.database.looking() as connection:
                rows = await self.in_line.count(connection)
            raise KeepsComing(
                f"{self.script.name}: after {self.settings.max_sweeps} sweeps {rows:,} rows are pending again "
                f"(keys {show_keys(leftover)}): the application still writes the old form.",
                f"Deploy the version that writes the new form, then `datamigrate run {self.script.name}`. "
                "Everything done so far is kept.",
            )
        claim = self._mine
        self.claim = replace(
            claim,
            cursor=None,
            upper=None,
            exhausted=False,
            sweep=claim.sweep + 1,
            tally=replace(claim.tally, left_alone=0),
        )
        self.effort.done = self.claim.tally
        self.place.publish(events.Sweeping(self.script.name, self.claim.sweep, show_keys(leftover)))

    # faults -----------------------------------------------------------------------------------------

    async def _retried(self, step: Callable[[], Awaitable[T]]) -> T:
        """The step, tried again while its faults pass. A lost connection is first looked into."""
        async for attempt in stamina.retry_context(
            on=self._is_worth_another_try,
            attempts=self.settings.max_attempts,
            timeout=None,
            wait_initial=0.1,
            wait_max=10.0,
            wait_jitter=0.5,
        ):
            with attempt:
                if self.in_doubt and self.claim is not None:
                    await self._look_where_we_are(self.claim)
                return await step()
        raise AssertionError("a retried step ends with a result or an error")

    def _is_worth_another_try(self, raised: Exception) -> bool:
        fault = self._fault_of(raised)
        if fault in (Fault.LASTING, Fault.TIMEOUT):
            return False
        self.in_doubt = self.in_doubt or fault is Fault.LOST
        self._tell_retry(raised, fault)
        return True

    def _fault_of(self, raised: Exception) -> Fault:
        return fault_of(self.place.database, cause_of(raised))

    def _tell_retry(self, raised: Exception, fault: Fault) -> None:
        error = cause_of(raised)
        said = str(getattr(error, "orig", None) or error).partition("\n")[0].rpartition(">: ")[2]
        self.place.publish(events.Retrying(self.script.name, redacted(f"{said} ({fault.value})")))

    async def _look_where_we_are(self, claim: Claim) -> None:
        """Was the commit kept that was under way when the connection broke? The ledger's cursor tells."""
        async with self.place.database.writing() as connection:
            found = await self.place.ledger.reclaim(connection, claim)
        # a walk whose beginning was lost has left nothing in the ledger yet
        has_begun = found.sweep == claim.sweep and found.upper is not None
        self.claim = found if has_begun else replace(claim, generation=found.generation)
        self.in_doubt = False

    async def _failed(self, error: Exception) -> Exception:
        self.effort.failed = True
        verb = self.place.ledger.course.verb
        failure = failed_batch(self.script.migration, error, self.effort.done.rows, verb=verb)
        await self._leave_if_we_can(Cause.ERROR, failure.message)
        self.place.publish(events.Failed(self.script.name, failure.message))
        return failure

    # the claim --------------------------------------------------------------------------------------

    async def _leave(self, cause: Cause, reason: str) -> None:
        async with self.place.database.writing() as connection:
            await self.place.ledger.leave(connection, self._mine, cause, reason)

    async def _leave_if_we_can(self, cause: Cause, reason: str) -> None:
        # with the database gone the claim is left to expire
        with anyio.CancelScope(shield=True), suppress(Exception), anyio.move_on_after(10):
            if self.in_doubt:
                await self._look_where_we_are(self._mine)
            await self._leave(cause, reason)

    async def _beat(self) -> None:
        if time.monotonic() - self.last_sign < self._beats:
            return
        async with self._noting(self.settings.timeouts) as connection:
            await self.place.ledger.heartbeat(connection, self._mine)

    @property
    def _beats(self) -> float:
        return min(self.settings.claim_expiry / 3, SIGN_OF_LIFE)

    # small things -----------------------------------------------------------------------------------

    def _noting(self, timeouts: Timeouts = PATIENT) -> AbstractAsyncContextManager[AsyncConnection]:
        """A transaction that waits for the disk only where batches do: when the server crashes, what is
        forgotten of it is forgotten with all that came after."""
        return self.place.database.writing(timeouts, self.settings.durable_batches)

    @property
    def _mine(self) -> Claim:
        assert self.claim is not None
        return self.claim

    def _first_pace(self) -> Pace:
        limits = self.settings.limits
        if not self._mine.size:
            return first_pace(self.settings.first_rows)
        return Pace(max(limits.min_rows, min(self._mine.size, limits.max_rows)), self._mine.span)

    async def _announce(self) -> None:
        effort, ledger, name = self.effort, self.place.ledger, self.script.name
        if effort.began is not None:
            return
        effort.began = time.monotonic()
        async with self.place.database.looking() as connection:
            estimate = await self.work.estimate(connection)
            effort.done = await ledger.tally(connection, name)
            self._heed(await ledger.orders(connection, name))
        if estimate is not None:
            async with self._noting() as connection:
                expected = replace(estimate, rows=estimate.rows + effort.done.rows)
                await ledger.expect(connection, name, expected)
        self.place.publish(
            events.Started(
                name,
                effort.done.rows,
                estimate.rows if estimate else None,
                estimate.source if estimate else "",
                effort.done.batches > 0,
            )
        )

    def _count(self, change: Change) -> None:
        done = self.effort.done
        self.effort.done = Tally(
            done.rows + change.rows, done.left_alone + change.left_alone, done.batches + 1
        )

    def _batch_done(self, change: Change, seconds: float) -> events.BatchDone:
        claim, done = self._mine, self.effort.done
        return events.BatchDone(
            self.script.name,
            done.batches,
            change.rows,
            change.left_alone,
            seconds,
            done.rows,
            claim.size,
            show_key(claim.cursor) if claim.cursor else "",
            claim.number,
            self.effort.at_work,
        )
