"""One batch: read, then written with its checkpoint while the next one is read ahead, which sets the next pace."""

import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial

import anyio
from sqlalchemy.ext.asyncio import AsyncConnection

from datamigrate.database.database import fault_of
from datamigrate.database.faults import Fault
from datamigrate.database.ledger.records import Orders
from datamigrate.doing.accompanying import accompanied
from datamigrate.doing.deaths import Caution
from datamigrate.doing.overlapping import LOOK_ROUND, overlapping
from datamigrate.doing.poison import WHOLE
from datamigrate.doing.stint import Stint
from datamigrate.doing.work import Change, Portion, Unprepared
from datamigrate.thought.lifecycle import State
from datamigrate.thought.pacing import Batch, Pace, alike, fitted, next_pace
from datamigrate.words.claim import Claim
from datamigrate.words.errors import BatchFailed, Cut, GivenUp
from datamigrate.words.migration import Bounds, Key


@dataclass(eq=False)
class Batching:
    """A worker's batches, each from the claim's cursor on. `ahead` is what has been read for the next one, or why it
    could not be; `last` is what the last one was like, and `since` when it ended, or whatever held the next one
    back."""

    stint: Stint
    ahead: Portion | Exception | None = field(default=None, init=False)
    last: Batch | None = field(default=None, init=False)
    caution: Caution = field(default=Caution(), init=False)
    since: float = field(default_factory=time.monotonic, init=False)

    async def next(self) -> Change:
        """The next batch, of the size that the pace says. Raises Fenced, Cut, BatchFailed."""
        claim = self.stint.mine
        if claim.exhausted:
            # the commit that seemed lost had arrived, and it was the last one
            return Change(claim.cursor, exhausted=True, rows=0)
        portion = self._read_already(claim) or await self._prepared(claim, self.stint.pace)
        if not self._may_read_ahead or portion.is_last:
            return await accompanied(partial(self._done, claim, portion), self._give_up_what_is_overdue)
        behind = claim.after(portion.end, exhausted=False, rows=0, left_alone=0)
        change, self.ahead = await overlapping(
            partial(self._applied, claim, portion),
            lambda: self._prepared(behind, self._pace_ahead(portion)),
            lambda: self.stint.why_stop is None,
        )
        return change

    async def up_to(self, key: Key) -> Change:
        """All up to this key in one batch, whatever the pace."""
        claim = self.stint.mine
        if claim.cursor == key:  # the commit that seemed lost had arrived
            return Change(key, claim.exhausted, rows=0)
        return await self._done(claim, await self._prepared(replace(claim, upper=key), WHOLE))

    async def resize(self, pace: Pace) -> None:
        """Go on at another pace, which the ledger keeps at once for whoever comes after."""
        claim = replace(self.stint.mine, size=pace.rows, span=pace.span)
        async with self.stint.noting() as connection:
            await self.stint.place.ledger.resize(connection, claim)
        self.stint.claim, self.stint.pace, self.ahead = claim, pace, None

    # reading ----------------------------------------------------------------------------------------

    async def _prepared(self, claim: Claim, pace: Pace) -> Portion:
        began = time.monotonic()
        look = partial(self.stint.place.database.looking, self.stint.settings.timeouts)
        portion = await self.stint.in_line.prepare(look, claim, pace)
        return replace(portion, seconds=time.monotonic() - began)

    def _read_already(self, claim: Claim) -> Portion | None:
        ahead, self.ahead = self.ahead, None
        if isinstance(ahead, Exception):
            if fault_of(self.stint.place.database, ahead) is Fault.TIMEOUT:
                # to look for as much again would take as long again
                raise ahead
            return None
        fits = ahead is not None and _reach(ahead.claim) == _reach(claim)
        # after a timeout the batch is to be smaller than what was read for it
        most = min(2 * self.stint.pace.rows, self.stint.limits.most)
        return ahead if fits and ahead and ahead.pace.rows <= most else None

    @property
    def _may_read_ahead(self) -> bool:
        # whoever rests anyway need not keep two of the database's cores busy at the same time
        hurries = not (self.caution or self.stint.settings.nice)
        return self.stint.place.database.dialect.reads_while_writing and hurries

    def _pace_ahead(self, portion: Portion) -> Pace:
        """The pace of the batch behind the one that is under way, while the time that one takes is not known."""
        return self._pace_behind(alike(self.last, portion.pace)) if self.last else self.stint.pace

    # writing ----------------------------------------------------------------------------------------

    async def _done(self, claim: Claim, portion: Portion) -> Change:
        with suppress(Unprepared):
            return await self._applied(claim, portion)
        if why := self.stint.why_stop:
            raise GivenUp(why)
        # not while that is handled: what may be raised now has nothing to do with it
        pace = portion.pace if portion.pace == WHOLE else fitted(portion.pace, self.stint.limits)
        return await self._applied(claim, await self._prepared(portion.claim, pace))

    async def _give_up_what_is_overdue(self) -> None:
        # a stop waits for the end of the batch, if there is to be one
        while True:
            await anyio.sleep(LOOK_ROUND)
            if self.stint.in_line.is_overdue and (why := self.stint.why_stop):
                raise GivenUp(f"{why}, while a call of the script's function does not end")

    async def _applied(self, claim: Claim, portion: Portion) -> Change:
        stint, began = self.stint, time.monotonic()
        thorough = claim.sweep > 0 or claim.cursor is None
        async with stint.noting(stint.settings.timeouts) as connection:
            change = await stint.in_line.apply(connection, portion, thorough)
            seconds = time.monotonic() - began
            batch = Batch(portion.pace, max(seconds, portion.seconds), change.found, _numbers(claim, change))
            pace = self._pace_behind(batch)
            if portion.claim.upper != claim.upper:
                change = replace(change, exhausted=False)
            claim = claim.after(change.cursor, change.exhausted, change.rows, change.left_alone)
            caution = self.caution.after_batch()
            claim = replace(claim, size=pace.rows, span=pace.span, attempts=caution.attempts)
            claim, orders = await self._kept(connection, claim)
        self.since = time.monotonic()
        stint.claim, stint.pace, stint.last_sign = claim, pace, self.since
        self.caution, self.last = caution, None if portion.pace == WHOLE else batch
        stint.heed(orders)
        if orders.standing.state is State.FAILED and not stint.effort.failed:
            raise BatchFailed(
                f"{claim.migration}: a worker of another run has failed on it.",
                f"`datamigrate show {claim.migration}` tells why.",
            )
        return change

    async def _kept(self, connection: AsyncConnection, claim: Claim) -> tuple[Claim, Orders]:
        """The checkpoint. Where another worker has taken the rest of the range meanwhile, and the batch does not
        reach into that, it is kept all the same. Raises Fenced, Cut."""
        ledger, seconds = self.stint.place.ledger, time.monotonic() - self.since
        try:
            return claim, await ledger.checkpoint(connection, claim, seconds)
        except Cut:
            end = (await ledger.reread(connection, claim)).upper
            assert end is not None
            is_last = claim.cursor == end
            if not is_last and not await self.stint.in_line.has_rows(connection, Bounds(claim.cursor, end)):
                raise
        claim = replace(claim, upper=end, exhausted=is_last)
        return claim, await ledger.checkpoint(connection, claim, seconds)

    def _pace_behind(self, batch: Batch) -> Pace:
        if batch.pace == WHOLE or self.caution:
            return self.stint.pace
        limits = self.stint.limits
        pace = next_pace(batch, limits)
        # what was read ahead may be of a size that was wanted before
        return fitted(pace, limits) if self.stint.pace.rows >= limits.min_rows else pace


def _numbers(claim: Claim, change: Change) -> int | None:
    return None if change.cursor is None else Bounds(claim.cursor, change.cursor).numbers


def _reach(claim: Claim) -> tuple[Key | None, Key | None, int]:
    # what was read ahead for another end may belong to somebody else by now
    return claim.cursor, claim.upper, claim.sweep
