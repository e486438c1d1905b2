"""Standing in line for a range of a migration: claim a free one, cut one that somebody has, or wait."""

from collections.abc import Callable
from dataclasses import dataclass

import anyio

from datamigrate.authoring.script import Script
from datamigrate.database.ledger.store import Held
from datamigrate.doing.effort import Effort, Outcome, Workplace
from datamigrate.doing.owner import is_gone, is_same_process
from datamigrate.doing.settings import Settings
from datamigrate.doing.work import Work
from datamigrate.thought.lifecycle import Standing
from datamigrate.words import events
from datamigrate.words.claim import Claim, person
from datamigrate.words.errors import ClaimHeld

WAIT_STEP = 0.5
WAIT_STEP_AMONG_US = 0.05


@dataclass(frozen=True, eq=False)
class Claimant:
    """A worker that wants a range. One that `leads` waits for what others hold."""

    place: Workplace
    script: Script
    work: Work
    settings: Callable[[], Settings]
    effort: Effort
    leads: bool

    async def claim(self) -> Claim | Outcome:
        """A range, or why there is none: all is done, it stops, or nothing is free for one that does not lead.

        Raises ClaimHeld when another process is at work and nobody wants to wait.
        """
        ledger, gone, told = self.place.ledger, frozenset[str](), None
        while True:
            if self.effort.began is not None and (why := self.effort.why_stop(self.place.stop)):
                return self._stopped(why)
            alone = not self.place.wait and self.effort.began is None
            durable = self.settings().durable_batches
            async with self.place.database.writing(durable=durable) as connection:
                await ledger.enrol(connection, self.script.migration)
                got = await ledger.claim(
                    connection, self.script.migration, self.settings().claim_expiry, gone, alone
                )
                if got is None:
                    self.effort.quarantined = await ledger.quarantine(self.script.name).count(connection)
            if isinstance(got, Claim):
                return got
            if isinstance(got, Standing):
                self.effort.halted = got
                return self._stopped(str(got))
            if got is None:
                self.effort.tell_end(self.place.publish, events.FoundDone(self.script.name))
                return Outcome.DONE
            if newly := {owner for owner in got.owners if is_gone(owner, ledger.owner)} - gone:
                gone |= newly
                continue
            others = tuple(owner for owner in got.owners if not is_same_process(owner, ledger.owner))
            if others and not self.place.wait:
                raise ClaimHeld(
                    f"{self.script.name} is being run by {person(others[0])}.",
                    "Leave it to that run, or run without --no-wait to wait for it.",
                )
            if self.place.wait and await self._shared(got):
                continue
            if not self.leads:
                return Outcome.NOTHING_FREE
            if others and others != told:
                self.place.publish(events.Waiting(self.script.name, person(others[0])))
                told = others
            await anyio.sleep(WAIT_STEP if others else WAIT_STEP_AMONG_US)
            if why := self.effort.why_stop(self.place.stop):
                return self._stopped(why)

    async def _shared(self, held: Held) -> bool:
        """Cut the largest range that somebody else is working on; whether there is something free now."""
        database, options = self.place.database, []
        async with database.looking() as connection:
            for it in held.ranges:
                if it.bounds is not None:
                    least = 2 * max(it.size, it.span, self.settings().first_rows)
                    division = await self.work.divide(connection, it.bounds, 2, least)
                    options.append((division.rows, it, division.points))
        if not options:
            return False
        _, largest, points = max(options, key=lambda option: option[0])
        if not points:
            return False
        async with database.writing() as connection:
            await self.place.ledger.cut(connection, self.script.name, largest, points)
        # when its owner has got on meanwhile, the next look tells how far
        return True

    def _stopped(self, why: str) -> Outcome:
        return self.effort.stopped(self.script.name, self.place.publish, why, self.place.ledger.course)
