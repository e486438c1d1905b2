"""Batches: each is read, then written with its checkpoint while the next one begins, and sets the pace."""

import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial

from anyio.abc import TaskGroup
from sqlalchemy.ext.asyncio import AsyncConnection

from datamigrate.database.database import fault_of
from datamigrate.database.faults import Fault
from datamigrate.database.ledger.records import Orders
from datamigrate.doing.deaths import Caution
from datamigrate.doing.failing import cause_of
from datamigrate.doing.poison import WHOLE
from datamigrate.doing.stint import Stint
from datamigrate.doing.turns import Turn
from datamigrate.doing.work import Change, Portion, Unprepared
from datamigrate.thought.lifecycle import State
from datamigrate.thought.pacing import Batch, Pace, alike, fitted, next_pace
from datamigrate.words.claim import Claim
from datamigrate.words.errors import BatchFailed, Cut
from datamigrate.words.migration import Bounds, Key


@dataclass(eq=False)
class Batching:
    """A worker's batches, each from the claim's cursor on, in tasks of the `group`. `ahead` is the turn that has begun
    for the next one; `last` is what the last one was like, and `since` when it ended, or whatever held the next one
    back."""

    stint: Stint
    group: TaskGroup
    ahead: Turn | None = field(default=None, init=False)
    last: Batch | None = field(default=None, init=False)
    caution: Caution = field(default=Caution(), init=False)
    since: float = field(default_factory=time.monotonic, init=False)

    async def next(self) -> Change:
        """The next batch, of the size that the pace says. Raises Fenced, Cut, BatchFailed."""
        claim = self.stint.mine
        if claim.exhausted:
            # the commit that seemed lost had arrived, and it was the last one
            return Change(claim.cursor, exhausted=True, rows=0)
        turn = await self._begun_already(claim) or self._begin(claim, self.stint.pace)
        turn.go()
        change = await turn.outcome(lambda: self.stint.why_stop is None)
        self.ahead = turn.behind
        return change or Change(claim.cursor, claim.exhausted, rows=0)

    async def up_to(self, key: Key) -> Change:
        """All up to this key in one batch, whatever the pace."""
        claim = self.stint.mine
        if claim.cursor == key:  # the commit that seemed lost had arrived
            return Change(key, claim.exhausted, rows=0)
        turn = Turn(replace(claim, upper=key), WHOLE, self.stint.limits)
        turn.go()
        return await self._take(turn)

    async def resize(self, pace: Pace) -> None:
        """Go on at another pace, which the ledger keeps at once for whoever comes after."""
        claim = replace(self.stint.mine, size=pace.rows, span=pace.span)
        async with self.stint.noting() as connection:
            await self.stint.place.ledger.resize(connection, claim)
        self.stint.claim, self.stint.pace = claim, pace

    async def let_go(self) -> None:
        """Break off what has begun for the next batch."""
        turn, self.ahead = self.ahead, None
        if turn is not None:
            await turn.drop()

    # turns ------------------------------------------------------------------------------------------

    def _begin(self, claim: Claim, pace: Pace) -> Turn:
        turn = Turn(claim, pace, self.stint.limits)
        self.group.start_soon(turn.live, self._take)
        return turn

    async def _begun_already(self, claim: Claim) -> Turn | None:
        turn = self.ahead
        if turn is None:
            return None
        failure = turn.failure_ahead
        is_next = (turn.claim.cursor, turn.claim.sweep) == (claim.cursor, claim.sweep)
        is_good = turn.may_change or self._is_up_to_date(turn)
        if failure is None and is_next and is_good and self._fits(turn, self.stint.pace):
            self.ahead = None
            return turn
        await self.let_go()
        if failure is None or fault_of(self.stint.place.database, cause_of(failure)) is Fault.LASTING:
            # what is wrong with rows is told of their own batch
            return None
        raise failure

    def _is_up_to_date(self, turn: Turn) -> bool:
        # what was prepared for another end may belong to somebody else by now
        return turn.claim.upper == self.stint.mine.upper and turn.limits == self.stint.limits

    def _fits(self, turn: Turn, pace: Pace) -> bool:
        # after a timeout the batch is to be smaller than what was begun for it
        return turn.pace.rows <= min(2 * pace.rows, self.stint.limits.most)

    def _begin_behind(self, claim: Claim, portion: Portion) -> Turn | None:
        """A turn for what follows, if that can be prepared while this batch is worked on."""
        may = self.stint.place.database.dialect.reads_while_writing and not self.caution
        if not may or portion.is_last or portion.pace == WHOLE:
            return None
        behind = claim.after(portion.end, exhausted=False, rows=0, left_alone=0)
        return self._begin(behind, self._pace_ahead(portion))

    def _let_it_change(self, behind: Turn | None, pace: Pace) -> None:
        """Where nobody can tell, the next batch changes its rows while this one is kept."""
        stint = self.stint
        if behind is None or not stint.in_line.is_rowwise or stint.settings.pause_after(1.0):
            return
        if self._is_up_to_date(behind) and self._fits(behind, pace):
            behind.let_change()

    def _pace_ahead(self, portion: Portion) -> Pace:
        """The pace of the batch behind the one that is under way, while the time that one takes is not known."""
        return self._pace_behind(alike(self.last, portion.pace)) if self.last else self.stint.pace

    # one batch --------------------------------------------------------------------------------------

    async def _take(self, turn: Turn) -> Change:
        portion = await self._prepared(turn.claim, turn.pace)
        turn.portion = portion
        await turn.until_it_may_change()
        with suppress(Unprepared):
            return await self._applied(turn, portion)
        # not while that is handled: what may be raised now has nothing to do with it
        pace = turn.pace if turn.pace == WHOLE else fitted(turn.pace, self.stint.limits)
        return await self._applied(turn, await self._prepared(turn.claim, pace))

    async def _prepared(self, claim: Claim, pace: Pace) -> Portion:
        began = time.monotonic()
        look = partial(self.stint.place.database.looking, self.stint.settings.timeouts)
        portion = await self.stint.in_line.prepare(look, claim, pace)
        return replace(portion, seconds=time.monotonic() - began)

    async def _applied(self, turn: Turn, portion: Portion) -> Change:
        stint, began = self.stint, time.monotonic()
        turn.behind = self._begin_behind(turn.claim, portion)
        thorough = turn.claim.sweep > 0 or turn.claim.cursor is None
        async with stint.noting(stint.settings.timeouts) as connection:
            change = await stint.in_line.apply(connection, portion, thorough)
            batch = Batch(portion.pace, max(time.monotonic() - began, portion.seconds), change.found)
            self.last = None if portion.pace == WHOLE else batch
            await turn.until_it_may_keep()
            pace = self._pace_behind(batch)
            self._let_it_change(turn.behind, pace)
            claim = stint.mine
            if turn.claim.upper != claim.upper:
                is_last = turn.pace != WHOLE and await self._reaches(connection, change.cursor, claim.upper)
                change = replace(change, exhausted=is_last)
            claim = claim.after(change.cursor, change.exhausted, change.rows, change.left_alone)
            caution = self.caution.after_batch()
            claim = replace(claim, size=pace.rows, span=pace.span, attempts=caution.attempts)
            claim, orders = await self._kept(connection, claim)
        self.since = time.monotonic()
        stint.claim, stint.pace, stint.last_sign = claim, pace, self.since
        self.caution = caution
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
            is_last = await self._reaches(connection, claim.cursor, end)
        claim = replace(claim, upper=end, exhausted=is_last)
        return claim, await ledger.checkpoint(connection, claim, seconds)

    async def _reaches(self, connection: AsyncConnection, cursor: Key | None, end: Key | None) -> bool:
        """Whether a batch that ends at this cursor is the last one before the end. Raises Cut for one that goes
        beyond."""
        assert end is not None
        if cursor != end and not await self.stint.in_line.has_rows(connection, Bounds(cursor, end)):
            claim = self.stint.mine
            raise Cut(f"{claim.migration}: another worker has taken the rest of range {claim.number}.")
        return cursor == end

    def _pace_behind(self, batch: Batch) -> Pace:
        if batch.pace == WHOLE or self.caution:
            return self.stint.pace
        limits = self.stint.limits
        pace = next_pace(batch, limits)
        # what was read ahead may be of a size that was wanted before
        return fitted(pace, limits) if self.stint.pace.rows >= limits.min_rows else pace
