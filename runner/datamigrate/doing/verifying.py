"""After the last range: a fresh look at every row, and the record that all is done, or another sweep."""

from contextlib import nullcontext
from dataclasses import dataclass, replace

from sqlalchemy.ext.asyncio import AsyncConnection

from datamigrate.database.database import PATIENT
from datamigrate.doing.failing import show_keys
from datamigrate.doing.stint import Stint
from datamigrate.doing.work import Alone
from datamigrate.thought.lifecycle import Cause
from datamigrate.words import events
from datamigrate.words.errors import KeepsComing
from datamigrate.words.migration import Key
from datamigrate.words.rows import human_rows

MOST_COMPARED = 100_000
"""Rows left alone that are read again while a write lock is held: of more, their number must do."""


@dataclass(frozen=True, eq=False)
class Verification:
    """Of one migration, by the worker that has the claim on all of it."""

    stint: Stint

    async def verified(self) -> tuple[Key, ...]:
        """A fresh look, for which nobody who writes has to wait where reading keeps nobody from that anyway, and the record of
        it when nothing is left; else some keys that are pending.

        Rows that the script leaves alone stay pending: it is asked about every one of them once more, and
        then none may have been added or changed. Where the application changes them all the time, it is asked twice, and
        then their number must do.
        """
        leftover = await self._recorded_as_done(Alone())
        for by_number in (False, True):
            alone = await self._left_alone(leftover) if leftover else None
            if alone is None:
                break
            leftover = await self._recorded_as_done(alone, by_number)
        return leftover

    async def begin_sweep(self, leftover: tuple[Key, ...]) -> None:
        """Begin again at the first row. Raises KeepsComing when that has been done often enough."""
        stint, most = self.stint, self.stint.settings.max_sweeps
        stint.effort.sweeps += 1
        if stint.effort.sweeps > most:
            async with stint.place.database.looking() as connection:
                rows = await stint.in_line.count(connection)
            raise KeepsComing(
                f"{stint.name}: after {most} sweeps {human_rows(rows)} pending again "
                f"(keys {show_keys(leftover)}): the application still writes the old form.",
                f"Deploy the version that writes the new form, then `datamigrate run {stint.name}`. "
                "Everything done so far is kept. If nobody writes these rows, a trigger, a rule or a policy leaves them "
                "as they are.",
            )
        claim = stint.mine
        stint.claim = replace(
            claim,
            cursor=None,
            upper=None,
            exhausted=False,
            sweep=claim.sweep + 1,
            tally=replace(claim.tally, left_alone=0),
        )
        stint.effort.done, stint.found = stint.claim.tally, leftover
        stint.place.publish(events.Sweeping(stint.name, stint.claim.sweep, show_keys(leftover)))

    async def _left_alone(self, leftover: tuple[Key, ...]) -> Alone | None:
        """The pending rows, if the script leaves each of them alone; None when it would do others, or one fails: a sweep then
        finds out which, and does with it what is to be done with such rows."""
        stint, isolation = self.stint, self.stint.isolation
        look = stint.place.database.looking
        async with look() as connection:
            work = await stint.in_line.only(connection, leftover)
        try:
            return await work.left_alone(look)
        except Exception as error:
            if isolation and isolation.is_called_for(error):
                return None
            raise

    async def _recorded_as_done(self, alone: Alone, by_number: bool = False) -> tuple[Key, ...]:
        """Record it, if no rows are pending but those that are left alone, and those in quarantine; else some keys
        that are. Raises Fenced, when rows have been let out of quarantine meanwhile."""
        database, leftover = self.stint.place.database, None
        async with database.looking(PATIENT) as connection:
            if await database.dialect.reads_apart(connection):
                leftover = await self._pending_but(connection, alone, by_number)
        if leftover:
            return leftover
        async with database.writing() as connection:
            if leftover is None:
                # who writes waits for who reads anyway: ourselves, too, who have to say that we are alive
                by_number = by_number or alone.rows > MOST_COMPARED
                leftover = await self._pending_but(connection, alone, by_number)
            if not leftover:
                await self._record(connection, alone)
        return leftover

    async def _pending_but(
        self, connection: AsyncConnection, alone: Alone, by_number: bool
    ) -> tuple[Key, ...]:
        await self.stint.leave_aside(connection)
        leftover = await self._look(connection)
        is_all = leftover and await self._are_left_alone(connection, leftover, alone, by_number)
        return () if is_all else leftover

    async def _record(self, connection: AsyncConnection, alone: Alone) -> None:
        stint, ledger = self.stint, self.stint.place.ledger
        await ledger.hold_still(connection, stint.name)
        stint.effort.quarantined = await self._left_in_quarantine(connection)
        stint.claim = replace(stint.mine, tally=replace(stint.mine.tally, left_alone=alone.rows))
        await ledger.checkpoint(connection, stint.mine, 0.0)
        if await ledger.leave(connection, stint.mine, Cause.VERIFIED) in ledger.course.halts:
            stint.heed(await ledger.orders(connection, stint.name))

    async def _look(self, connection: AsyncConnection) -> tuple[Key, ...]:
        """With what help there is, unless others are to have room."""
        work, found = self.stint.in_line, None
        if not self.stint.settings.nice:
            async with self.stint.place.database.dialect.helped(connection):
                found = await work.look(connection)
        return await work.look(connection) if found is None else found

    async def _are_left_alone(
        self, connection: AsyncConnection, leftover: tuple[Key, ...], alone: Alone, by_number: bool
    ) -> bool:
        """Whether those left alone are pending and no other, each as it was when the script was asked."""
        in_line = self.stint.in_line
        if by_number or not alone.rows:
            return alone.rows > 0 and await in_line.count(connection) == alone.rows
        work = await in_line.only(connection, leftover)
        return await work.left_alone(lambda: nullcontext(connection), ask=False) == alone

    async def _left_in_quarantine(self, connection: AsyncConnection) -> int:
        stint = self.stint
        if (isolation := stint.isolation) and stint.in_line is not stint.work:
            return await isolation.let_mended_out(connection)
        return await stint.place.ledger.quarantine(stint.name).count(connection)
