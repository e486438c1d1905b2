"""One data migration from its claim to its end: walk in batches, look again, finish."""

import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import partial
from typing import TypeVar

import anyio
import stamina

from datamigrate.authoring.script import Script
from datamigrate.database.database import Database, fault_of
from datamigrate.database.faults import Fault
from datamigrate.database.ledger.store import Held, Ledger
from datamigrate.doing.failing import cause_of, failed_batch, show_keys
from datamigrate.doing.heartbeat import with_heartbeat
from datamigrate.doing.owner import is_gone
from datamigrate.doing.settings import Settings
from datamigrate.doing.stopping import Stop
from datamigrate.doing.work import Change, Work
from datamigrate.thought.codec import show_key
from datamigrate.thought.lifecycle import Cause
from datamigrate.thought.pacing import Pace, after_timeout, first_pace, is_smallest, next_pace
from datamigrate.words import events
from datamigrate.words.claim import Claim, person
from datamigrate.words.errors import ClaimHeld, Fenced, KeepsComing
from datamigrate.words.migration import Key

WAIT_STEP = 0.5

T = TypeVar("T")


class Outcome(Enum):
    """How the work on one migration ended, when nothing failed."""

    DONE = "done"
    STOPPED = "stopped"


@dataclass(frozen=True, eq=False)
class Workplace:
    """What all migrations of a run share. Without `wait`, a claim that is held is an error; without
    `allow_slow`, so is work whose every batch would read or sort a large table."""

    database: Database
    ledger: Ledger
    stop: Stop
    publish: events.Publish
    wait: bool = True
    allow_slow: bool = False


@dataclass(eq=False)
class Executor:
    """Works on one migration. The claim and the pace change with every batch; all else is fixed.

    `in_doubt` is true between a lost connection and the look at the ledger that tells what it had kept.
    """

    place: Workplace
    script: Script
    work: Work
    settings: Settings
    claim: Claim | None = field(default=None, init=False)
    pace: Pace = field(default=Pace(1, 1), init=False)
    in_doubt: bool = field(default=False, init=False)
    last_sign: float = field(default=0.0, init=False)

    async def run(self) -> Outcome:
        """Claim it, work, verify, give it back. Raises what stopped it, after the ledger knows."""
        while True:
            self.claim = None
            got = await self._retried(self._claimed)
            if not isinstance(got, Claim):
                return got
            self.claim, self.in_doubt = got, False
            try:
                return await with_heartbeat(
                    self._beat, self.settings.claim_expiry / 3, self._walk_until_verified
                )
            except Fenced:
                # another run has it now, or our last word arrived although its answer was lost: stand in
                # line again, and see what there is left
                continue
            except Exception as error:
                raise await self._failed(error) from error
            except BaseException:
                await self._leave_if_we_can(Cause.STOP, "interrupted")
                raise

    # claiming ---------------------------------------------------------------------------------------

    async def _claimed(self) -> Claim | Outcome:
        evict, told = None, None
        while True:
            async with self.place.database.writing() as connection:
                await self.place.ledger.enrol(connection, self.script.migration)
                got = await self.place.ledger.claim(
                    connection, self.script.migration, self.settings.claim_expiry, evict
                )
            if got is None:
                self.place.publish(events.FoundDone(self.script.name))
                return Outcome.DONE
            if isinstance(got, Claim):
                return got
            if is_gone(got.owner, self.place.ledger.owner):
                evict = got.owner
                continue
            self._wait_or_give_up(got, told)
            told = got
            await anyio.sleep(WAIT_STEP)
            if self.place.stop.why():
                return Outcome.STOPPED

    def _wait_or_give_up(self, held: Held, told: Held | None) -> None:
        holder = person(held.owner)
        if not self.place.wait:
            raise ClaimHeld(
                f"{self.script.name} is being run by {holder}.",
                "Leave it to that run, or run without --no-wait to wait for it.",
            )
        if held != told:
            self.place.publish(events.Waiting(self.script.name, holder))

    # walking ----------------------------------------------------------------------------------------

    async def _walk_until_verified(self) -> Outcome:
        began, sweeps = time.monotonic(), 0
        await self._retried(self._announce)
        while True:
            if why := await self._walk():
                await self._retried(partial(self._leave, Cause.STOP, why))
                self.place.publish(events.Stopped(self.script.name, self._mine.tally.rows, why))
                return Outcome.STOPPED
            self.place.publish(events.Verifying(self.script.name))
            leftover = await self._retried(self._verified)
            if not leftover:
                tally, seconds = self._mine.tally, time.monotonic() - began
                self.place.publish(events.Finished(self.script.name, tally.rows, tally.left_alone, seconds))
                return Outcome.DONE
            sweeps += 1
            await self._begin_sweep(sweeps, leftover)

    async def _walk(self) -> str | None:
        """Batch after batch until the range is exhausted, or the reason to stop before."""
        self.pace = self._first_pace()
        if self._mine.upper is None and not self._mine.exhausted:
            await self._retried(self._fix_upper)
        while not self._mine.exhausted:
            if why := self.place.stop.why():
                return why
            began = time.monotonic()
            change = await self._retried(self._batch)
            self.place.stop.count_batch()
            self.place.publish(self._batch_done(change, time.monotonic() - began))
            if self.settings.pause:
                await anyio.sleep(self.settings.pause)
        return None

    async def _fix_upper(self) -> None:
        async with self.place.database.looking() as connection:
            upper = await self.work.find_upper(connection)
        self.claim = replace(self._mine, upper=upper, exhausted=upper is None)

    async def _batch(self) -> Change:
        claim, settings = self._mine, self.settings
        if claim.exhausted:
            # the commit that seemed lost had arrived, and it was the last one
            return Change(claim.cursor, exhausted=True, full=False, rows=0)
        began = time.monotonic()
        thorough = claim.sweep > 0 or claim.cursor is None
        portion = await self.work.prepare(self.place.database.looking, claim, self.pace)
        async with self.place.database.writing(settings.timeouts, settings.durable_batches) as connection:
            change = await self.work.apply(connection, portion, thorough)
            seconds = time.monotonic() - began
            pace = next_pace(self.pace, seconds, change.full, settings.limits)
            claim = claim.after(change.cursor, change.exhausted, change.rows, change.left_alone)
            claim = replace(claim, size=pace.rows, span=pace.span)
            await self.place.ledger.checkpoint(connection, claim, seconds)
        self.claim, self.pace, self.last_sign = claim, pace, time.monotonic()
        return change

    # verifying --------------------------------------------------------------------------------------

    async def _verified(self) -> tuple[Key, ...]:
        """A fresh look and, when nothing is left, the record of it, in one transaction.

        Rows that the script leaves alone stay pending: it is asked about every one of them once more, and
        then none may have been added.
        """
        database = self.place.database
        async with database.looking() as connection:
            leftover = await self.work.look(connection)
        alone = await self.work.left_alone(database.looking) if leftover else 0
        if alone is None:
            return leftover
        async with database.writing() as connection:
            leftover = await self.work.look(connection)
            if not leftover or await self.work.count(connection) == alone:
                self.claim = replace(self._mine, tally=replace(self._mine.tally, left_alone=alone))
                await self.place.ledger.checkpoint(connection, self._mine, 0.0)
                await self.place.ledger.leave(connection, self._mine, Cause.VERIFIED)
                return ()
        return leftover

    async def _begin_sweep(self, sweeps: int, leftover: tuple[Key, ...]) -> None:
        if sweeps > self.settings.max_sweeps:
            async with self.place.database.looking() as connection:
                rows = await self.work.count(connection)
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
        error = cause_of(raised)
        fault = fault_of(self.place.database, error)
        if fault is Fault.LASTING:
            return False
        if fault is Fault.TIMEOUT and (not self.work.has_slices or is_smallest(self.pace)):
            return False
        if fault is Fault.TIMEOUT:
            self.pace = after_timeout(self.pace, self.settings.limits)
        self.in_doubt = self.in_doubt or fault is Fault.LOST
        said = str(getattr(error, "orig", None) or error).partition("\n")[0].rpartition(">: ")[2]
        self.place.publish(events.Retrying(self.script.name, f"{said} ({fault.value})"))
        return True

    async def _look_where_we_are(self, claim: Claim) -> None:
        """Was the commit kept that was under way when the connection broke? The ledger's cursor tells."""
        async with self.place.database.writing() as connection:
            found = await self.place.ledger.reclaim(connection, claim)
        # a walk whose first batch was lost has left nothing in the ledger yet
        is_first = found.tally.batches == claim.tally.batches
        self.claim = replace(claim, generation=found.generation) if is_first else found
        self.in_doubt = False

    async def _failed(self, error: Exception) -> Exception:
        failure = failed_batch(self.script.migration, error, self._mine.tally.rows)
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
        if time.monotonic() - self.last_sign < self.settings.claim_expiry / 3:
            return
        async with self.place.database.writing(self.settings.timeouts) as connection:
            await self.place.ledger.heartbeat(connection, self._mine)

    # small things -----------------------------------------------------------------------------------

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
        async with self.place.database.looking() as connection:
            estimate = await self.work.estimate(connection)
        if estimate is not None:
            async with self.place.database.writing() as connection:
                await self.place.ledger.expect(
                    connection,
                    self.script.name,
                    replace(estimate, rows=estimate.rows + self._mine.tally.rows),
                )
        self.place.publish(
            events.Started(
                self.script.name,
                self._mine.tally.rows,
                estimate.rows if estimate else None,
                estimate.source if estimate else "",
                self._mine.tally.batches > 0,
            )
        )

    def _batch_done(self, change: Change, seconds: float) -> events.BatchDone:
        claim = self._mine
        return events.BatchDone(
            self.script.name,
            claim.tally.batches,
            change.rows,
            change.left_alone,
            seconds,
            claim.tally.rows,
            claim.size,
            show_key(claim.cursor) if claim.cursor else "",
        )
