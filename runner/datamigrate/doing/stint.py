"""One worker's stint on one migration: on which claim, at what pace, and what it is told to do."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace

from sqlalchemy.ext.asyncio import AsyncConnection

from datamigrate.authoring.script import Script
from datamigrate.database.database import PATIENT
from datamigrate.database.dialects.base import Timeouts
from datamigrate.database.ledger.records import Orders
from datamigrate.doing.effort import Effort, Outcome, Workplace
from datamigrate.doing.obstacles import Obstacles
from datamigrate.doing.poison import Isolation, Search
from datamigrate.doing.revert_work import RevertWork
from datamigrate.doing.rows_work import RowsWork
from datamigrate.doing.settings import Settings
from datamigrate.doing.work import Work
from datamigrate.thought.lifecycle import Cause
from datamigrate.thought.pacing import Limits, Pace, first_pace, fitted
from datamigrate.thought.tuning import UNTUNED, Tuning
from datamigrate.words import events
from datamigrate.words.claim import Claim
from datamigrate.words.migration import Key


@dataclass(eq=False)
class Stint:
    """The claim and the pace change with every batch, the settings when an operator tunes them; all else is
    fixed.

    One that `leads` waits for what others hold, any other worker leaves when nothing is free, or when fewer
    are wanted; when more are wanted, they are asked for by `hire`. `in_line` is the work without the rows that
    are in quarantine, or on those alone that were `found` pending before this walk, where they are few; `last_sign` is when
    the ledger was last told that we are alive.
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
    tuning: Tuning = field(default=UNTUNED, init=False)
    in_line: Work = field(init=False)
    found: tuple[Key, ...] | None = field(default=None, init=False)
    last_sign: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self.in_line = self.work

    @property
    def name(self) -> str:
        """Of the migration."""
        return self.script.name

    @property
    def settings(self) -> Settings:
        """What holds now."""
        settings = self.tuned(self.effort.tuning)
        return settings.making_room if self.effort.makes_room else settings

    @property
    def limits(self) -> Limits:
        """Of a batch's size."""
        return self.settings.limits_for(self.in_line.holds_rows)

    @property
    def mine(self) -> Claim:
        """The claim, once there is one."""
        assert self.claim is not None
        return self.claim

    @property
    def why_stop(self) -> str | None:
        """Why to leave now, or None to go on."""
        return self.effort.why_stop(self.place.stop)

    def stopped(self, why: str) -> Outcome:
        """Tell that the work stops before its end."""
        return self.effort.stopped(self.name, self.place.publish, why, self.place.ledger.course)

    def noting(self, timeouts: Timeouts = PATIENT) -> AbstractAsyncContextManager[AsyncConnection]:
        """A transaction that waits for the disk only where batches do: when the server crashes, what is
        forgotten of it is forgotten with all that came after."""
        return self.place.database.writing(timeouts, self.settings.durable_batches)

    # an operator's word -----------------------------------------------------------------------------

    def heed(self, orders: Orders) -> None:
        """Do what an operator asks for now: halt, hire, or go on at another pace."""
        if orders.standing.state in self.place.ledger.course.halts:
            self.effort.halted = orders.standing
        if orders.tuning != self.effort.tuning:
            self.effort.tuning = orders.tuning
            self.hire(self.settings.workers)
            self.place.publish(events.Retuned(self.name, str(orders.tuning)))
        if orders.tuning != self.tuning:
            self.tuning, self.pace = orders.tuning, fitted(self.pace, self.limits)

    def mind_others(self) -> None:
        """Make room for others while they are at work in the database, unless somebody has said how much to rest."""
        effort = self.effort
        is_asked = self.tuned(effort.tuning).nice is None
        why = self.place.others(self.name) if is_asked else None
        if is_asked and bool(why) != effort.makes_room:
            self.place.publish(events.MadeRoom(self.name, why or ""))
        effort.makes_room = bool(why)
        if why and not self.limits.is_fixed:
            self.pace = fitted(self.pace, self.limits)

    def begin_at_a_pace(self) -> None:
        """The pace that whoever had the range before has found, else a small one."""
        self.pace, self.tuning = self._first_pace(), self.effort.tuning

    def _first_pace(self) -> Pace:
        limits = self.limits
        if not self.mine.size:
            return first_pace(min(self.settings.first_rows, limits.most))
        return Pace(max(limits.min_rows, min(self.mine.size, limits.most)), self.mine.span)

    # the claim --------------------------------------------------------------------------------------

    async def look_where_we_are(self) -> None:
        """Was the commit kept that was under way when the connection broke? The ledger's cursor tells."""
        if (claim := self.claim) is None:
            return
        async with self.place.database.writing() as connection:
            found = await self.place.ledger.reclaim(connection, claim)
        # a walk whose beginning was lost has left nothing in the ledger yet
        has_begun = found.sweep == claim.sweep and found.upper is not None
        self.claim = found if has_begun else replace(claim, generation=found.generation)

    async def leave(self, cause: Cause, reason: str) -> None:
        """Give the claim back."""
        async with self.place.database.writing() as connection:
            await self.place.ledger.leave(connection, self.mine, cause, reason)

    # rows at fault ----------------------------------------------------------------------------------

    @property
    def search(self) -> Search | None:
        """Finds rows at fault; None where the work knows no rows."""
        if isinstance(self.work, RevertWork):
            return Obstacles(self.place, self.script, self.work)
        return self.isolation

    @property
    def isolation(self) -> Isolation | None:
        """Finds rows at fault and sets them aside; None where the work knows none that may be."""
        if not isinstance(self.work, RowsWork) or not isinstance(self.in_line, RowsWork):
            return None
        return Isolation(self.place, self.script, self.in_line, self.work, self.settings.timeouts)

    async def leave_aside(self, connection: AsyncConnection) -> None:
        """Go on without the rows that are in quarantine now."""
        if isolation := self.isolation:
            self.in_line = await isolation.without_quarantined(connection)
