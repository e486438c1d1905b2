"""A batch that gets done although something is wrong: halved where the database cuts it off or the process dies
at it, led around a row that fails by itself."""

import time
from dataclasses import dataclass, field
from functools import partial

from datamigrate.database.faults import Fault
from datamigrate.doing.announcing import count_batch
from datamigrate.doing.batching import Batching
from datamigrate.doing.deaths import BATCHES, Caution, fatal, is_fatal, smaller, why_smaller
from datamigrate.doing.failing import too_slow
from datamigrate.doing.persisting import Persistence
from datamigrate.doing.poison import Poison, Search
from datamigrate.doing.stint import Stint
from datamigrate.doing.work import Change
from datamigrate.thought.pacing import after_timeout, is_smallest
from datamigrate.words import events
from datamigrate.words.claim import Claim
from datamigrate.words.errors import Cut
from datamigrate.words.migration import Key


@dataclass(frozen=True, eq=False)
class Overcoming:
    """What a worker does about batches that fail. Behind these cursors it has looked `in_vain` for a row at fault."""

    stint: Stint
    batching: Batching
    persistence: Persistence
    in_vain: set[Key | None] = field(default_factory=set, init=False)

    async def batch_that_fits(self) -> Change:
        """A batch, halved until the database lets it finish; the ledger keeps the smaller size at once."""
        stint = self.stint
        while True:
            try:
                return await self.persistence.retried(self.batching.next)
            except Exception as error:
                if (search := stint.search) and search.is_called_for(error):
                    return await self._past_poison(search, error)
                if not stint.work.has_slices or self.persistence.fault_of(error) is not Fault.TIMEOUT:
                    raise
                if is_smallest(stint.pace):
                    timeouts = stint.settings.timeouts
                    raise too_slow(stint.script.migration, error, stint.mine, timeouts) from error
                self.persistence.tell(error, Fault.TIMEOUT)
            await self.persistence.retried(self._halve)
            if stint.why_stop:
                return Change(stint.mine.cursor, stint.mine.exhausted, rows=0)

    async def beware(self) -> None:
        """Where too many processes have died, go on with half the batch, or without its only row."""
        stint, claim, most = self.stint, self.stint.mine, self.stint.settings.max_deaths
        self.batching.caution = Caution()
        if not is_fatal(claim, most):
            return
        isolation = stint.isolation
        if isolation is None:
            raise fatal(claim)
        if pace := smaller(claim, stint.settings.first_rows):
            self.batching.caution = Caution(BATCHES, most)
            await self.persistence.retried(partial(self.batching.resize, pace))
            stint.place.publish(events.Retrying(stint.name, why_smaller(claim, pace)))
        else:
            kept = stint.effort.done.rows
            stint.claim = await self.persistence.retried(lambda: isolation.past_fatal_row(stint.mine, kept))

    async def _halve(self) -> None:
        await self.batching.resize(after_timeout(self.stint.pace, self.stint.limits))

    async def _past_poison(self, search: Search, raised: Exception) -> Change:
        """Do what is before the row that fails, then set it aside, or raise what it failed with."""
        stint, self.batching.ahead = self.stint, None
        start, end = stint.mine.cursor, stint.mine.upper
        poison = await search.poison_in(stint.mine, stint.pace, raised, partial(self._do_up_to, end))
        if poison is not None:
            await search.refuse(poison, stint.effort.done.rows)
            stint.claim = await self.persistence.retried(partial(self._set_aside, end, search, poison))
        elif start == stint.mine.cursor:
            if start in self.in_vain:
                raise raised
            # the row may have been mended meanwhile; the next time it was none of them
            self.in_vain.add(start)
        return Change(stint.mine.cursor, stint.mine.exhausted, rows=0)

    async def _do_up_to(self, end: Key | None, key: Key) -> None:
        began = time.monotonic()
        change = await self.persistence.retried(partial(self._up_to, end, key))
        count_batch(self.stint, change, time.monotonic() - began)

    async def _up_to(self, end: Key | None, key: Key) -> Change:
        self._must_end_at(end)
        return await self.batching.up_to(key)

    async def _set_aside(self, end: Key | None, search: Search, poison: Poison) -> Claim:
        self._must_end_at(end)
        return await search.set_aside(self.stint.mine, poison)

    def _must_end_at(self, end: Key | None) -> None:
        # the keys were read when the range ended there: some of them may belong to somebody else by now
        if self.stint.mine.upper != end:
            raise Cut(
                f"{self.stint.name}: another worker has taken the rest of range {self.stint.mine.number}."
            )
