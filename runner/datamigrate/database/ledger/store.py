"""Reading and writing the ledger. Each method is one step inside the caller's transaction.

Whatever a batch does and what the ledger says of it share a transaction, so every method takes the
connection. Every write that must find its row checks that it touched exactly one.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from datamigrate.database.dialects.base import Estimate
from datamigrate.database.ledger import commands, holding, steps
from datamigrate.database.ledger.checkpoint import (
    checkpoint_statement,
    checkpoint_values,
    orders_from,
    read_orders,
)
from datamigrate.database.ledger.clock import now
from datamigrate.database.ledger.locking import locked
from datamigrate.database.ledger.occurrences import keep_schedule, read_occurrences
from datamigrate.database.ledger.quarantine import Quarantine, release
from datamigrate.database.ledger.ranges import Range, cut, fold, held_still, occupy, read_claim, read_ranges
from datamigrate.database.ledger.reading import read_ledger, read_transitions
from datamigrate.database.ledger.records import (
    LedgerView,
    OccurrenceRecord,
    Orders,
    RunRecord,
    TransitionRecord,
)
from datamigrate.database.ledger.runs import begin_run, end_run, read_runs
from datamigrate.database.ledger.tables import Tables, ledger_tables
from datamigrate.database.ledger.upgrading import ensure_ledger
from datamigrate.thought.lifecycle import FORTH, Cause, Course, Standing, State
from datamigrate.thought.tuning import Tuning
from datamigrate.words.claim import Claim, Owner, Tally, person
from datamigrate.words.errors import Cut, UnknownMigration
from datamigrate.words.migration import Key, Migration


@dataclass(frozen=True)
class Held:
    """Nothing was to be had: who is at work, and on which ranges."""

    owners: tuple[str, ...]
    ranges: tuple[Range, ...] = field(default=(), compare=False)


@dataclass(frozen=True, eq=False)
class Ledger:
    """The ledger in one schema of a database, as one process of one person writes it on its way forth, or back."""

    owner: Owner
    schema: str | None = None
    course: Course = FORTH

    @property
    def tables(self) -> Tables:
        """The tables it works on."""
        return ledger_tables(self.schema)

    def quarantine(self, name: str) -> Quarantine:
        """The rows that a migration has set aside."""
        return Quarantine(self.owner, self.tables, name)

    async def ensure(self, connection: AsyncConnection) -> None:
        """Create it or bring it up to date. Raises LedgerTooNew."""
        await connection.run_sync(ensure_ledger, self.tables)

    async def view(self, connection: AsyncConnection) -> LedgerView:
        """Everything it knows of migrations; nothing where it does not exist. Raises LedgerTooNew."""
        return await connection.run_sync(read_ledger, self.tables)

    async def runs(self, connection: AsyncConnection, limit: int) -> list[RunRecord]:
        """The latest runs, newest first."""
        return await connection.run_sync(read_runs, self.tables, limit)

    async def transitions(self, connection: AsyncConnection, name: str) -> list[TransitionRecord]:
        """How a migration came to its state, oldest first."""
        return await connection.run_sync(read_transitions, self.tables, name)

    async def begin_run(self, connection: AsyncConnection, arguments: str) -> int:
        """Note that a run began; its number."""
        return await connection.run_sync(begin_run, self.tables, self.owner, arguments)

    async def end_run(self, connection: AsyncConnection, run: int, outcome: str, code: int) -> None:
        """Note how a run ended."""
        await connection.run_sync(end_run, self.tables, run, outcome, code)

    async def enrol(self, connection: AsyncConnection, migration: Migration) -> None:
        """Make the migration known as pending, with one range, unless it is known already."""
        await connection.run_sync(steps.enrol, self.tables, migration)

    async def schedule(
        self, connection: AsyncConnection, migration: Migration, schedule: str | None, at: datetime
    ) -> None:
        """Remember which schedule a migration has since when; None is none any more."""
        await self.enrol(connection, migration)
        await connection.run_sync(keep_schedule, self.tables, migration.name, schedule, at)

    async def take_turn(
        self, connection: AsyncConnection, migration: Migration, due: datetime, why: str
    ) -> bool:
        """Begin the occurrence for a due time; False when another run has, or is still at one before."""
        await self.enrol(connection, migration)
        return await connection.run_sync(steps.take_turn, self.tables, self.owner, migration, due, why)

    async def occurrences(
        self, connection: AsyncConnection, name: str, limit: int = 20
    ) -> Sequence[OccurrenceRecord]:
        """The latest occurrences of a recurring migration, newest first."""
        return await connection.run_sync(read_occurrences, self.tables, name, limit)

    async def claim(
        self,
        connection: AsyncConnection,
        migration: Migration,
        expiry: float,
        gone: Collection[str] = (),
        alone: bool = False,
    ) -> Claim | Held | Standing | None:
        """Claim a range: nobody has it, its owner was not heard of for `expiry` seconds, or its owner is one
        of those known to be `gone`. An `alone` claim is had only while nobody else is at work.

        Gives the claim, or who holds what there is, or the word of the operator who has halted it, or None
        when the migration is done. When nothing but exhausted ranges are left, all are folded into one and the
        claim is on that, to verify. A script that was edited since begins again at the first row: what was done
        stays done, since it is no longer pending.
        """
        name = migration.name
        record = (await connection.execute(locked(self.tables, name))).one()
        if record.state == self.course.ended:
            return None
        if record.state in self.course.halts:
            return (await self.orders(connection, name)).standing
        ranges = await connection.run_sync(read_ranges, self.tables, name, expiry)
        absent = (self.owner.identity, *gone)
        busy = tuple(r for r in ranges if not r.is_free(*absent))
        edited = self.course is FORTH and record.checksum != migration.checksum
        free = next((r for r in ranges if r.is_free(*absent) and not r.exhausted), None)
        if busy and (alone or edited or free is None):
            return Held(tuple(str(r.owner) for r in busy), busy)
        await self._begin(connection, name, State(record.state), free or ranges[0])
        if edited:
            # the text that rows failed with is not the one that will meet them
            await connection.run_sync(release, self.tables, name)
            await connection.run_sync(steps.begin_again, self.tables, migration)
        elif free is None and len(ranges) > 1:
            # whoever exhausted them is gone, and would never give them back
            await connection.run_sync(fold, self.tables, name, exhausted=True)
        number = free.number if free and not edited else 0
        return await connection.run_sync(occupy, self.tables, self.owner, name, number)

    async def _begin(self, connection: AsyncConnection, name: str, state: State, it: Range) -> None:
        if state is self.course.working and it.owner is None:
            return
        cause = Cause.TAKEN_OVER if state is self.course.working else self.course.verb
        reason = f"from {person(it.owner)}" if it.owner and cause is Cause.TAKEN_OVER else None
        await self._move(connection, name, state, cause, reason)
        t = self.tables.migration
        await connection.execute(
            sa.update(t).where(t.c.name == name).values(started_at=sa.func.coalesce(t.c.started_at, now()))
        )

    async def _move(
        self, connection: AsyncConnection, name: str, before: State, cause: Cause, reason: str | None
    ) -> State:
        return await connection.run_sync(steps.move, self.tables, self.owner, name, before, cause, reason)

    async def reclaim(self, connection: AsyncConnection, claim: Claim) -> Claim:
        """Our own claim with a new generation, as the ledger has it now.

        After a lost connection this shuts out what may still be under way on the old one, and its cursor
        says whether the last commit arrived. Raises Fenced.
        """
        return await connection.run_sync(holding.renew, self.tables, claim)

    async def begin_walk(
        self, connection: AsyncConnection, claim: Claim, points: Sequence[Key] = ()
    ) -> Claim:
        """Keep where the walk ends, cut at these keys into ranges that others may claim. Raises Fenced."""
        if points:
            # ranges are added under the lock that all take first
            await self.hold_still(connection, claim.migration)
        await self.checkpoint(connection, claim, 0.0, begins=True)
        if points:
            await self.cut(connection, claim.migration, claim, points)
        return await connection.run_sync(read_claim, self.tables, self.owner, claim.migration, claim.number)

    async def held_still(self, connection: AsyncConnection, name: str, it: Range) -> Range | None:
        """A range as it is now and stays until the transaction ends; None when it has another owner or end."""
        await self.hold_still(connection, name)
        return await connection.run_sync(held_still, self.tables, name, it)

    async def cut(
        self, connection: AsyncConnection, name: str, it: Range | Claim, points: Sequence[Key]
    ) -> bool:
        """Cut a range at these keys; False when its owner has got on meanwhile."""
        return await connection.run_sync(cut, self.tables, name, it, points)

    async def finish_range(self, connection: AsyncConnection, claim: Claim) -> Claim | None:
        """Give back a range that is exhausted; but when it was the last one, keep it, and all others folded
        into it. Raises Fenced."""
        t = self.tables.range
        await connection.execute(locked(self.tables, claim.migration))
        claim = await self.reread(connection, claim)
        at_work = sa.or_(t.c.owner.is_not(None), t.c.exhausted.is_(False))
        others = sa.select(sa.func.count(), sa.func.count().filter(at_work)).where(
            t.c.migration == claim.migration, t.c.number != claim.number
        )
        number, going_on = (await connection.execute(others)).one()
        if going_on:
            await connection.run_sync(holding.release, self.tables, claim)
            return None
        if not number:
            return claim
        await connection.run_sync(fold, self.tables, claim.migration, exhausted=True)
        return await connection.run_sync(occupy, self.tables, self.owner, claim.migration, 0)

    async def heartbeat(self, connection: AsyncConnection, claim: Claim) -> None:
        """Say that we are alive. Raises Fenced."""
        await connection.run_sync(holding.beat, self.tables, claim)

    async def checkpoint(
        self, connection: AsyncConnection, claim: Claim, seconds: float, begins: bool = False
    ) -> Orders:
        """Keep how far the claim is, in the transaction of the batch that got it there; `begins` when its
        upper end is new too. Gives what is wanted now. Raises Fenced, and Cut when the range ends earlier now."""
        statement = checkpoint_statement(self.tables, begins)
        kept = await connection.execute(statement, checkpoint_values(claim, seconds))
        if row := kept.one_or_none():
            return orders_from(row)
        await self.reread(connection, claim)
        raise Cut(f"{claim.migration}: another worker has taken the rest of range {claim.number}.")

    async def resize(self, connection: AsyncConnection, claim: Claim) -> None:
        """Keep the claim's size and span, whoever goes on with its range. Raises Fenced."""
        await connection.run_sync(holding.beat, self.tables, claim, size=claim.size, span=claim.span)

    async def orders(self, connection: AsyncConnection, name: str) -> Orders:
        """Where the migration stands now, who has said so, and the pace that is wanted."""
        return await connection.run_sync(read_orders, self.tables, name)

    async def tally(self, connection: AsyncConnection, name: str) -> Tally:
        """What has been done so far, over all ranges."""
        t = self.tables.range
        sums = [sa.func.coalesce(sa.func.sum(c), 0) for c in (t.c.rows, t.c.left_alone, t.c.batches)]
        found = (await connection.execute(sa.select(*sums).where(t.c.migration == name))).one()
        return Tally(*(int(number) for number in found))

    async def reread(self, connection: AsyncConnection, claim: Claim) -> Claim:
        """Our claim as the ledger has it now. Raises Fenced."""
        return await connection.run_sync(holding.reread, self.tables, claim)

    async def expect(self, connection: AsyncConnection, name: str, estimate: Estimate) -> None:
        """Keep how many rows are thought to be pending, for progress."""
        t = self.tables.migration
        updated = await connection.execute(
            sa.update(t)
            .where(t.c.name == name)
            .values(estimate=estimate.rows, estimate_source=estimate.source)
        )
        if updated.rowcount != 1:
            raise UnknownMigration(f"The ledger has no migration {name}.")

    async def hold_still(self, connection: AsyncConnection, name: str) -> None:
        """Let nobody move it until the transaction ends."""
        await connection.execute(locked(self.tables, name))

    async def wait(self, connection: AsyncConnection, name: str, why: str | None) -> None:
        """Keep why those who work on it wait just now, and since when; None when they go on."""
        await connection.run_sync(steps.wait, self.tables, name, why)

    async def leave(
        self, connection: AsyncConnection, claim: Claim, cause: Cause, reason: str | None = None
    ) -> State:
        """Give the claim back and move the migration to the state that `cause` leads to; its state then.

        A stop of one worker moves nothing while others are at work, and nothing moves what somebody has
        moved meanwhile. Raises Fenced.
        """
        t = self.tables.range
        record = (await connection.execute(locked(self.tables, claim.migration))).one_or_none()
        await connection.run_sync(holding.release, self.tables, claim)
        state = State(record.state if record else "")
        others = sa.select(sa.literal(1)).where(t.c.migration == claim.migration, t.c.owner.is_not(None))
        if cause is Cause.STOP and (await connection.execute(others.limit(1))).first():
            return state
        if state is self.course.working:
            return await self._move(connection, claim.migration, state, cause, reason)
        return state

    # an operator's word -----------------------------------------------------------------------------

    async def command(
        self,
        connection: AsyncConnection,
        migration: Migration,
        cause: Cause,
        reason: str | None,
        fences: bool = True,
    ) -> State:
        """An operator's move, checked against the lifecycle; the state it leads to.

        One that `fences` lets nobody finish the batch under way. Raises LifecycleError.
        """
        return await connection.run_sync(
            commands.command, self.tables, self.owner, migration, cause, reason, fences
        )

    async def note(self, connection: AsyncConnection, name: str, cause: Cause, reason: str | None) -> None:
        """Keep in the history what an operator does besides. Raises LifecycleError."""
        await connection.run_sync(commands.note, self.tables, self.owner, name, cause, reason)

    async def tune(
        self,
        connection: AsyncConnection,
        migration: Migration,
        change: Tuning,
        reason: str | None,
        clear: bool = False,
    ) -> Tuning:
        """Set another pace, or with `clear` this one only; the pace that is wanted then.

        Whoever works on it reads it with the next batch. Raises LifecycleError.
        """
        return await connection.run_sync(
            commands.tune, self.tables, self.owner, migration, change, reason, clear
        )

    async def at_work(
        self, connection: AsyncConnection, name: str, expiry: float, is_gone: Callable[[str], bool]
    ) -> str | None:
        """Who works on it, heard of within `expiry` seconds and not known to be gone, for a person."""
        return await connection.run_sync(commands.at_work, self.tables, name, expiry, is_gone)

    async def refuse_meanwhile(
        self,
        connection: AsyncConnection,
        name: str,
        cause: Cause,
        expiry: float,
        is_gone: Callable[[str], bool],
    ) -> None:
        """Raises ClaimHeld when somebody works on it, and the word makes no sense meanwhile."""
        await connection.run_sync(commands.refuse_meanwhile, self.tables, name, cause, expiry, is_gone)
