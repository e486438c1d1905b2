"""Reading and writing the ledger. Each method is one step inside the caller's transaction.

Whatever a batch does and what the ledger says of it share a transaction, so every method takes the
connection. Every write that must find its row checks that it touched exactly one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

import datamigrate
from datamigrate.database.dialects.base import Estimate
from datamigrate.database.ledger import steps
from datamigrate.database.ledger.clock import ago, now
from datamigrate.database.ledger.reading import read_ledger, read_runs, read_transitions
from datamigrate.database.ledger.records import LedgerView, RunRecord, TransitionRecord
from datamigrate.database.ledger.tables import Tables, ledger_tables
from datamigrate.database.ledger.upgrading import ensure_ledger
from datamigrate.thought.codec import decode_key, encode_key
from datamigrate.thought.lifecycle import Cause, State
from datamigrate.words.claim import Claim, Owner, Tally, person
from datamigrate.words.errors import ClaimHeld, DatamigrateError, Fenced, UnknownMigration
from datamigrate.words.migration import Key, Migration


@dataclass(frozen=True)
class Held:
    """A claim that was not to be had: who has it."""

    owner: str


@dataclass(frozen=True, eq=False)
class Ledger:
    """The ledger in one schema of a database, as one process of one person writes it."""

    owner: Owner
    schema: str | None = None

    @property
    def tables(self) -> Tables:
        """The tables it works on."""
        return ledger_tables(self.schema)

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
        values = {
            "owner": str(self.owner),
            "version": datamigrate.__version__,
            "arguments": arguments,
        }
        run = self.tables.run
        return int(await connection.scalar(sa.insert(run).values(values).returning(run.c.id)) or 0)

    async def end_run(self, connection: AsyncConnection, run: int, outcome: str, code: int) -> None:
        """Note how a run ended."""
        t = self.tables.run
        updated = await connection.execute(
            sa.update(t).where(t.c.id == run).values(finished_at=now(), outcome=outcome, exit=code)
        )
        if updated.rowcount != 1:
            raise DatamigrateError(f"The ledger has no run {run}.")

    async def enrol(self, connection: AsyncConnection, migration: Migration) -> None:
        """Make the migration known as pending, with one range, unless it is known already."""
        await connection.run_sync(steps.enrol, self.tables, migration)

    async def claim(
        self,
        connection: AsyncConnection,
        migration: Migration,
        expiry: float,
        evict: str | None = None,
    ) -> Claim | Held | None:
        """Claim the migration's range: nobody has it, its owner was not heard of for `expiry` seconds, or
        its owner is `evict`, who is known to be gone.

        Gives the claim, or who holds it, or None when the migration is done. A script that was edited
        since begins again at the first row: what was done stays done, since it is no longer pending.
        """
        t = self.tables.range
        record = (await connection.execute(self._locked(migration.name))).one()
        if record.state == State.DONE:
            return None
        held_before = await connection.scalar(sa.select(t.c.owner).where(t.c.migration == migration.name))
        free = sa.or_(
            t.c.owner.is_(None),
            t.c.heartbeat < ago(expiry),
            t.c.owner.in_([owner for owner in (self.owner.identity, evict) if owner]),
        )
        taken = await connection.execute(
            sa.update(t)
            .where(t.c.migration == migration.name, t.c.number == 0, free)
            .values(owner=self.owner.identity, generation=t.c.generation + 1, heartbeat=now())
        )
        if taken.rowcount == 0:
            return Held(held_before or "")
        cause = Cause.TAKEN_OVER if record.state == State.RUNNING else Cause.RUN
        reason = f"from {held_before.split('|')[1]}" if cause is Cause.TAKEN_OVER and held_before else None
        await self._move(connection, migration.name, State(record.state), cause, reason)
        if record.checksum != migration.checksum:
            await connection.run_sync(steps.begin_again, self.tables, migration)
        await connection.execute(
            sa.update(self.tables.migration)
            .where(self.tables.migration.c.name == migration.name)
            .values(started_at=sa.func.coalesce(self.tables.migration.c.started_at, now()))
        )
        return await self._own_claim(connection, migration.name)

    async def reclaim(self, connection: AsyncConnection, claim: Claim) -> Claim:
        """Our own claim with a new generation, as the ledger has it now.

        After a lost connection this shuts out what may still be under way on the old one, and its cursor
        says whether the last commit arrived. Raises Fenced.
        """
        t = self.tables.range
        updated = await connection.execute(
            sa.update(t).where(*self._ours(claim)).values(generation=t.c.generation + 1, heartbeat=now())
        )
        _must_be_one(updated.rowcount, claim)
        return await self._own_claim(connection, claim.migration)

    async def heartbeat(self, connection: AsyncConnection, claim: Claim) -> None:
        """Say that we are alive. Raises Fenced."""
        updated = await connection.execute(
            sa.update(self.tables.range).where(*self._ours(claim)).values(heartbeat=now())
        )
        _must_be_one(updated.rowcount, claim)

    async def checkpoint(self, connection: AsyncConnection, claim: Claim, seconds: float) -> None:
        """Keep how far the claim is, in the transaction of the batch that got it there. Raises Fenced."""
        updated = await connection.execute(self.checkpoint_statement(claim, seconds))
        _must_be_one(updated.rowcount, claim)

    def checkpoint_statement(self, claim: Claim, seconds: float) -> sa.Update:
        """The UPDATE that records a claim's progress, provided that it is still ours."""
        t = self.tables.range
        return (
            sa.update(t)
            .where(*self._ours(claim))
            .values(
                cursor=_encoded(claim.cursor),
                upper=_encoded(claim.upper),
                exhausted=claim.exhausted,
                sweep=claim.sweep,
                rows=claim.tally.rows,
                left_alone=claim.tally.left_alone,
                batches=claim.tally.batches,
                size=claim.size,
                span=claim.span,
                seconds=t.c.seconds + seconds,
                heartbeat=now(),
            )
        )

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

    async def leave(
        self, connection: AsyncConnection, claim: Claim, cause: Cause, reason: str | None = None
    ) -> None:
        """Give the claim back and move the migration to the state that `cause` leads to. Raises Fenced."""
        t = self.tables.range
        updated = await connection.execute(
            sa.update(t).where(*self._ours(claim)).values(owner=None, heartbeat=None)
        )
        _must_be_one(updated.rowcount, claim)
        await self._move(connection, claim.migration, State.RUNNING, cause, reason)

    async def command(
        self, connection: AsyncConnection, migration: Migration, cause: Cause, reason: str | None
    ) -> State:
        """An operator's move, checked against the lifecycle; the state it leads to.

        Raises LifecycleError, and ClaimHeld when a run that has been heard of holds the claim.
        """
        await self.enrol(connection, migration)
        record = (await connection.execute(self._locked(migration.name))).one()
        state = await self._move(connection, migration.name, State(record.state), cause, reason)
        # whoever held the claim and wakes up again is fenced out
        t = self.tables.range
        await connection.execute(
            sa.update(t)
            .where(t.c.migration == migration.name)
            .values(owner=None, heartbeat=None, generation=t.c.generation + 1)
        )
        if cause is Cause.RESET:
            await connection.run_sync(steps.begin_again, self.tables, migration, keep_counts=False)
        if cause is Cause.REOPEN:
            await connection.run_sync(steps.begin_again, self.tables, migration)
        if cause is Cause.STAMP:
            await connection.run_sync(steps.adopt, self.tables, migration)
        return state

    async def refuse_if_held(
        self, connection: AsyncConnection, name: str, expiry: float, is_gone: Callable[[str], bool]
    ) -> None:
        """Raises ClaimHeld when somebody works on it who has been heard of within `expiry` seconds and is
        not known to be gone."""
        t = self.tables.range
        owner = await connection.scalar(
            sa.select(t.c.owner).where(
                t.c.migration == name, t.c.owner.is_not(None), t.c.heartbeat >= ago(expiry)
            )
        )
        if owner and not is_gone(owner):
            raise ClaimHeld(f"{name} is being run by {person(owner)}.", "Stop that run first (SIGTERM).")

    async def _move(
        self, connection: AsyncConnection, name: str, before: State, cause: Cause, reason: str | None
    ) -> State:
        return await connection.run_sync(steps.move, self.tables, self.owner, name, before, cause, reason)

    async def _own_claim(self, connection: AsyncConnection, name: str) -> Claim:
        t = self.tables.range
        row = (await connection.execute(sa.select(t).where(t.c.migration == name, t.c.number == 0))).one()
        return Claim(
            migration=name,
            number=row.number,
            generation=row.generation,
            owner=self.owner,
            cursor=_decoded(row.cursor),
            upper=_decoded(row.upper),
            exhausted=row.exhausted,
            sweep=row.sweep,
            tally=Tally(row.rows, row.left_alone, row.batches),
            size=row.size,
            span=row.span,
        )

    def _locked(self, name: str) -> sa.Select[Any]:
        t = self.tables.migration
        return sa.select(t.c.state, t.c.checksum).where(t.c.name == name).with_for_update()

    def _ours(self, claim: Claim) -> tuple[sa.ColumnElement[bool], ...]:
        t = self.tables.range
        return (
            t.c.migration == claim.migration,
            t.c.number == claim.number,
            t.c.generation == claim.generation,
            t.c.owner == claim.owner.identity,
        )


def _must_be_one(touched: int, claim: Claim) -> None:
    if touched != 1:
        raise Fenced(
            f"{claim.migration}: another run has taken over while this one was not heard of.",
            "Nothing is lost: the batch under way was rolled back here, and the other run does it.",
        )


def _encoded(key: Key | None) -> str | None:
    return None if key is None else encode_key(key)


def _decoded(text: str | None) -> Key | None:
    return None if text is None else decode_key(text)
