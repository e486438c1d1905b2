"""A database to look at and to write to, one transaction at a time."""

import sqlite3
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import anyio
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.util import await_only

from datamigrate.database.address import Address, no_sqlite_file, refuse_other_file
from datamigrate.database.dialects import Dialect, dialect_for
from datamigrate.database.dialects.base import Timeouts
from datamigrate.database.dialects.sqlite_transactions import PATIENCE, QUICK, WRITES
from datamigrate.database.faults import Fault
from datamigrate.database.guard import watch
from datamigrate.words.errors import DatabaseUnavailable

PATIENT = Timeouts(lock=None, statement=None)


@dataclass(frozen=True, eq=False)
class Database:
    """An engine and its dialect. Close it when done."""

    address: Address
    dialect: Dialect
    engine: AsyncEngine

    @asynccontextmanager
    async def looking(self, timeouts: Timeouts | None = None) -> AsyncIterator[AsyncConnection]:
        """A transaction that is rolled back at its end. Raises DatabaseUnavailable."""
        async with self._connected() as connection:
            try:
                await connection.begin()
                if timeouts:
                    await self.dialect.begin_batch(connection, timeouts, durable=True)
                yield connection
            finally:
                with anyio.CancelScope(shield=True):
                    await connection.rollback()

    @asynccontextmanager
    async def writing(
        self, timeouts: Timeouts = PATIENT, durable: bool = True
    ) -> AsyncIterator[AsyncConnection]:
        """A transaction that is committed at its end, or rolled back on any error.

        A cancelled one interrupts its statement; the commit itself cannot be cancelled half-way.
        """
        async with self._connected() as plain:
            options = {WRITES: True, PATIENCE: timeouts.lock, QUICK: not durable}
            connection = await plain.execution_options(**options)
            try:
                await connection.begin()
                await self.dialect.begin_batch(connection, timeouts, durable)
                yield connection
                with anyio.CancelScope(shield=True):
                    await connection.commit()
            except BaseException:
                with anyio.CancelScope(shield=True):
                    await connection.rollback()
                raise

    @asynccontextmanager
    async def rehearsing(self, timeouts: Timeouts) -> AsyncIterator[AsyncConnection]:
        """A transaction in which anything may be tried and of which nothing is kept."""
        async with self._connected() as plain:
            connection = await plain.execution_options(**{WRITES: True, PATIENCE: timeouts.lock})
            try:
                await connection.begin()
                await self.dialect.begin_batch(connection, timeouts, durable=False)
                yield connection
            finally:
                with anyio.CancelScope(shield=True):
                    await connection.rollback()

    async def close(self) -> None:
        """Give every connection back."""
        with anyio.CancelScope(shield=True):
            await self.engine.dispose()

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[AsyncConnection]:
        try:
            with anyio.CancelScope(shield=self.dialect.opens_at_once):
                connection = await self.engine.connect()
        except Exception as error:
            # drivers raise what they like here, wrapped or not; all of it means "not connected"
            raise _unavailable(self.address, error) from error
        try:
            yield connection
        finally:
            with anyio.CancelScope(shield=True):
                await connection.close()


def open_database(address: Address, read_only: bool, connections: int = 5) -> Database:
    """The database at this address; nothing is connected yet, and never more than so many `connections`. An SQLite file that is missing, or is none, is an error at once."""
    if address.file is not None and not str(address.file).startswith("file:"):
        if not address.file.exists():
            raise no_sqlite_file(address.file, address.source)
        refuse_other_file(address)
    dialect = dialect_for(address.backend)
    engine = dialect.engine(address, read_only, connections)
    watch(engine.sync_engine)
    end_with_its_task(engine, dialect)
    return Database(address, dialect, engine)


def end_with_its_task(engine: AsyncEngine, dialect: Dialect) -> None:
    """See to it that a statement ends when the task that waits for it is cancelled."""
    event.listen(engine.sync_engine, "invalidate", partial(_stop_statement, dialect))


def fault_of(database: Database, error: BaseException) -> Fault:
    """What an error means for the batch that met it."""
    if isinstance(error, DatabaseUnavailable):
        return Fault.LOST
    return database.dialect.fault(error)


def _unavailable(address: Address, error: Exception) -> DatabaseUnavailable:
    cause = error.orig if isinstance(error, DBAPIError) else error
    said = str(cause).strip().partition("\n")[0] or type(cause).__name__
    if isinstance(cause, sqlite3.Error):
        return DatabaseUnavailable(
            f"{address} cannot be opened: {said}.", "Mend the path or its permissions."
        )
    return DatabaseUnavailable(
        f"{address} (from {address.source}) does not let us in: {said}.",
        "Start the database or mend the URL; `-v` shows the whole error.",
    )


def _stop_statement(dialect: Dialect, connection: Any, _record: Any, error: BaseException | None) -> None:
    # SQLAlchemy gives a connection up when its statement is cancelled; without this the statement would
    # go on in the server or in the driver's thread, and keep its locks
    if isinstance(error, anyio.get_cancelled_exc_class()):
        await_only(_uncancelled(dialect.interrupt(connection.driver_connection)))


async def _uncancelled(work: Awaitable[None]) -> None:
    with anyio.CancelScope(shield=True), suppress(Exception):
        await work
