"""One walk through a range: batch after batch from its first row to its last, with a rest between any two."""

import time
from dataclasses import dataclass, replace

from datamigrate.doing.announcing import count_batch
from datamigrate.doing.batching import Batching
from datamigrate.doing.overcoming import Overcoming
from datamigrate.doing.persisting import Persistence
from datamigrate.doing.resting import Rest
from datamigrate.doing.stint import Stint
from datamigrate.words.claim import Claim
from datamigrate.words.errors import Cut
from datamigrate.words.migration import Bounds, Key

SURPLUS = "fewer workers are wanted"


@dataclass(frozen=True, eq=False)
class Walking:
    """A worker's way through the range that it has claimed."""

    stint: Stint
    persistence: Persistence

    async def walk(self) -> str | None:
        """Batch after batch until the range is exhausted, or the reason to stop before."""
        stint, retried = self.stint, self.persistence.retried
        batching, rest = Batching(stint), Rest(stint, self.persistence)
        overcoming = Overcoming(stint, batching, self.persistence)
        stint.begin_at_a_pace()
        await retried(self._begin)
        stint.effort.is_divided = True
        await overcoming.beware()
        while not stint.mine.exhausted:
            if why := self._why_leave():
                return why
            if await rest.while_held_back():
                batching.ahead, batching.since = None, time.monotonic()
                continue
            stint.mind_others()
            began = time.monotonic()
            try:
                change = await overcoming.batch_that_fits()
            except Cut:
                stint.claim, batching.ahead = await retried(self._reread), None
                continue
            count_batch(stint, change, time.monotonic() - began)
            await rest.after(time.monotonic() - began)
        return None

    def _why_leave(self) -> str | None:
        stint = self.stint
        is_surplus = not stint.leads and stint.effort.at_work > stint.settings.workers
        return stint.why_stop or (SURPLUS if is_surplus else None)

    async def _begin(self) -> None:
        stint, claim = self.stint, self.stint.mine
        parts = stint.settings.workers
        points: tuple[Key, ...] = ()
        async with stint.place.database.looking() as connection:
            await stint.leave_aside(connection)
            if claim.upper is not None or claim.exhausted:
                return
            if stint.found is not None:
                stint.in_line = await stint.in_line.only(connection, stint.found)
            upper = await stint.in_line.find_upper(connection)
            if upper is not None and parts > 1:
                bounds, least = Bounds(claim.cursor, upper), 2 * stint.settings.first_rows
                points = (await stint.in_line.divide(connection, bounds, parts, least)).points
        claim = replace(claim, upper=upper, exhausted=upper is None)
        async with stint.noting() as connection:
            claim = await stint.place.ledger.begin_walk(connection, claim, points)
        stint.claim, stint.found = claim, None

    async def _reread(self) -> Claim:
        async with self.stint.place.database.looking() as connection:
            return await self.stint.place.ledger.reread(connection, self.stint.mine)
