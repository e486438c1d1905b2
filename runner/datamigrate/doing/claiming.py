"""Standing in line for a range of a migration: claim a free one, cut one that somebody has, or wait."""

from dataclasses import dataclass, field

from datamigrate.database.ledger.ranges import Range
from datamigrate.database.ledger.store import Held
from datamigrate.doing.effort import Outcome
from datamigrate.doing.owner import is_gone, is_same_process
from datamigrate.doing.stint import Stint
from datamigrate.thought.lifecycle import Standing
from datamigrate.words import events
from datamigrate.words.claim import Claim, person
from datamigrate.words.errors import ClaimHeld, GivenUp
from datamigrate.words.migration import Bounds

WAIT_STEP = 0.5
WAIT_STEP_AMONG_US = 0.05


@dataclass(frozen=True, eq=False)
class Claimant:
    """A worker that wants a range for its stint. One that `leads` waits for what others hold. Ranges that were
    `too_short` to be cut only get shorter, and are not looked at again."""

    stint: Stint
    too_short: set[tuple[int, int]] = field(default_factory=set, init=False)

    async def claim(self) -> Claim | Outcome:
        """A range, or why there is none: all is done, it stops, or nothing is free for one that does not lead.

        Raises ClaimHeld when another process is at work and nobody wants to wait.
        """
        stint, effort, place = self.stint, self.stint.effort, self.stint.place
        ledger, gone, told = place.ledger, frozenset[str](), None
        seconds = WAIT_STEP_AMONG_US
        while True:
            if effort.began is not None and (why := stint.why_stop):
                return stint.stopped(why)
            alone = not place.wait and effort.began is None
            durable = stint.settings.durable_batches
            async with place.database.writing(durable=durable) as connection:
                await ledger.enrol(connection, stint.script.migration)
                got = await ledger.claim(
                    connection, stint.script.migration, stint.settings.claim_expiry, gone, alone
                )
                if effort.failed:
                    # whoever failed has just said so in the ledger: a claim of ours would unsay it
                    raise GivenUp("another worker has failed")
                if got is None:
                    effort.quarantined = await ledger.quarantine(stint.name).count(connection)
            if isinstance(got, Claim):
                return got
            if isinstance(got, Standing):
                effort.halted = got
                return stint.stopped(str(got))
            if got is None:
                effort.tell_end(place.publish, events.FoundDone(stint.name))
                return Outcome.DONE
            if newly := {owner for owner in got.owners if is_gone(owner, ledger.owner)} - gone:
                gone |= newly
                continue
            others = tuple(owner for owner in got.owners if not is_same_process(owner, ledger.owner))
            if others and not place.wait:
                raise ClaimHeld(
                    f"{stint.name} is being run by {person(others[0])}.",
                    "Leave it to that run, or run without --no-wait to wait for it.",
                )
            if place.wait and await self._shared(got):
                continue
            if not stint.leads:
                return Outcome.NOTHING_FREE
            if others and others != told:
                place.publish(events.Waiting(stint.name, person(others[0])))
                told = others
            await effort.news(WAIT_STEP if others else seconds)
            seconds = min(WAIT_STEP, 1.5 * seconds)
            if why := stint.why_stop:
                return stint.stopped(why)

    async def _shared(self, held: Held) -> bool:
        """Cut the largest range that somebody else is working on; whether there is something free now."""
        stint, options = self.stint, []
        database, ledger = stint.place.database, stint.place.ledger
        for it in held.ranges:
            if it.bounds is None or (it.number, it.generation) in self.too_short:
                continue
            async with database.looking() as connection:
                division = await stint.work.divide(connection, it.bounds, 2, 2 * self._batch_of(it))
            if division.points:
                options.append((division.rows, it, division.points))
            else:
                self.too_short.add((it.number, it.generation))
        if not options:
            return False
        _, largest, points = max(options, key=lambda option: option[0])
        async with database.writing() as connection:
            now = await ledger.held_still(connection, stint.name, largest)
            if now is None:
                return False
            # the batch that its owner has under way by now is to stay his
            left = Bounds(now.cursor, points[0])
            if await stint.work.has_rows(connection, left, self._batch_of(now) + 1):
                return await ledger.cut(connection, stint.name, now, points)
        return False

    def _batch_of(self, it: Range) -> int:
        return max(it.size, it.span, self.stint.settings.first_rows)
