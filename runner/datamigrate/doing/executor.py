"""One data migration from its claim to its end: walk in batches, look again, finish."""

import time
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

import anyio

from datamigrate.database.ledger.reading import reset_within
from datamigrate.doing.accompanying import accompanied
from datamigrate.doing.announcing import announce, counting, finished
from datamigrate.doing.claiming import Claimant
from datamigrate.doing.effort import Outcome
from datamigrate.doing.failing import failed_batch
from datamigrate.doing.heartbeat import beating
from datamigrate.doing.persisting import Persistence
from datamigrate.doing.stint import Stint
from datamigrate.doing.tending import tending
from datamigrate.doing.verifying import Verification
from datamigrate.doing.walking import SURPLUS, Walking
from datamigrate.thought.lifecycle import Cause, Standing
from datamigrate.words import events
from datamigrate.words.claim import Claim
from datamigrate.words.errors import Fenced, GivenUp

SIGN_OF_LIFE = 3.0
"""Seconds between two signs of life, by which a worker also learns that it has been fenced out."""


@dataclass(eq=False)
class Executor:
    """One worker on one migration, through one claim after the other."""

    stint: Stint
    persistence: Persistence = field(init=False)

    def __post_init__(self) -> None:
        stint = self.stint
        self.persistence = Persistence(
            stint.place,
            stint.name,
            lambda: stint.settings.max_attempts,
            stint.look_where_we_are,
            lambda: stint.why_stop,
        )

    async def run(self) -> Outcome:
        """Claim range after range, work, verify when it was the last. Raises what stopped it, after the
        ledger knows."""
        stint = self.stint
        try:
            while True:
                stint.claim = stint.found = None
                got = await self.persistence.retried(Claimant(stint).claim)
                if not isinstance(got, Claim):
                    return got
                stint.claim = got
                try:
                    outcome = await self._work_on_it()
                finally:
                    stint.effort.tell_news()
                if outcome:
                    return outcome
        except GivenUp as given_up:
            await self._leave_if_we_can(Cause.STOP, given_up.message)
            return stint.stopped(given_up.message)

    async def _work_on_it(self) -> Outcome | None:
        """As far as the claim leads; None when there may be another one to have."""
        began = time.monotonic()
        try:
            return await accompanied(
                self._announced,
                partial(beating, self._beat, self._beats),
                partial(tending, self.stint.place.database),
            )
        except Fenced:
            # an operator has sent everybody away; or another run has it now, or our last word arrived although
            # its answer was lost: then stand in line again, and see what there is left
            self.stint.claim = None
            word = await self.persistence.retried(partial(self._reset_since, began))
            if word is None:
                return None
            self.stint.effort.halted = word
            return self.stint.stopped(str(word))
        except GivenUp:
            raise
        except Exception as error:
            failure = await self._failed(error)
            raise failure from (error.__cause__ if failure is error else error)
        except BaseException:
            await self._leave_if_we_can(Cause.STOP, "interrupted")
            raise

    async def _reset_since(self, began: float) -> Standing | None:
        stint = self.stint
        async with stint.place.database.looking() as connection:
            tables, elapsed = stint.place.ledger.tables, time.monotonic() - began
            return await connection.run_sync(reset_within, tables, stint.name, elapsed)

    async def _announced(self) -> Outcome | None:
        """The walk, once it is told that it begins, while what is expected is counted."""
        await self.persistence.retried(partial(announce, self.stint))
        return await accompanied(self._walk_until_verified, partial(counting, self.stint))

    async def _walk_until_verified(self) -> Outcome | None:
        """Done, or stopped, or None when this range is finished and others are not."""
        stint, retried = self.stint, self.persistence.retried
        walking, verification = Walking(stint, self.persistence), Verification(stint)
        while True:
            if why := await walking.walk():
                await retried(partial(stint.leave, Cause.STOP, why))
                return Outcome.NOTHING_FREE if why is SURPLUS else stint.stopped(why)
            last = await retried(self._range_finished)
            if last is None:
                return None
            stint.claim = last
            stint.place.publish(events.Verifying(stint.name))
            leftover = await retried(verification.verified)
            if not leftover:
                return stint.stopped(str(halted)) if (halted := stint.effort.halted) else finished(stint)
            await verification.begin_sweep(leftover)

    async def _range_finished(self) -> Claim | None:
        async with self.stint.noting() as connection:
            return await self.stint.place.ledger.finish_range(connection, self.stint.mine)

    # signs of life, and the last word ---------------------------------------------------------------

    async def _beat(self) -> None:
        if time.monotonic() - self.stint.last_sign < self._beats:
            return
        async with self.stint.noting(self.stint.settings.timeouts) as connection:
            await self.stint.place.ledger.heartbeat(connection, self.stint.mine)

    @property
    def _beats(self) -> float:
        return min(self.stint.settings.claim_expiry / 3, SIGN_OF_LIFE)

    async def _failed(self, error: Exception) -> Exception:
        stint = self.stint
        stint.effort.failed = True
        verb = stint.place.ledger.course.verb
        dialect, migration = stint.place.database.dialect, stint.script.migration
        failure = failed_batch(dialect, migration, error, stint.effort.done.rows, verb=verb)
        await self._leave_if_we_can(Cause.ERROR, failure.message)
        stint.place.publish(events.Failed(stint.name, failure.message))
        return failure

    async def _leave_if_we_can(self, cause: Cause, reason: str) -> None:
        # with the database gone the claim is left to expire
        with anyio.CancelScope(shield=True), suppress(Exception), anyio.move_on_after(10):
            if self.stint.claim is not None:
                await self.persistence.look_if_in_doubt()
                await self.stint.leave(cause, reason)
