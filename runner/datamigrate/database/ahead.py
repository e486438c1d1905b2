"""A database as it would be further on: what is done to it there is seen there, and never kept."""

import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from shutil import disk_usage, rmtree

import aiosqlite
import anyio
import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError, InvalidRequestError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from datamigrate.database.address import Address
from datamigrate.database.database import PATIENT, Database, end_with_its_task, open_database
from datamigrate.database.dialects.base import Timeouts
from datamigrate.database.dialects.sqlite import read_only_uri
from datamigrate.words.errors import DatabaseUnavailable

Alter = Callable[[Connection], None]


@dataclass(frozen=True, eq=False)
class Ahead:
    """What is written to `database` lasts as long as this does; `alter` changes its schema.

    `copied` is the size of the copy that was made for it, in bytes; None when it is a transaction.
    """

    database: Database
    alter: Callable[[Alter], Awaitable[None]]
    copied: int | None = None


def ahead_of(address: Address, timeouts: Timeouts) -> AbstractAsyncContextManager[Ahead]:
    """A SQLite file is copied, and the copy deleted; PostgreSQL gives one transaction that is rolled back.

    Raises DatabaseUnavailable where it cannot be reached, or where there is no room for a copy.
    """
    return _on_a_copy(address) if address.file is not None else _in_one_transaction(address, timeouts)


@asynccontextmanager
async def _on_a_copy(address: Address) -> AsyncIterator[Ahead]:
    # only we may read it: it holds what the database holds
    directory = Path(tempfile.mkdtemp(prefix="datamigrate-"))
    try:
        copy = directory / "copy.db"
        await _copy(address, copy)
        url = address.url.set(database=str(copy), query={})
        database = open_database(replace(address, url=url), read_only=False)
        try:
            yield Ahead(database, lambda change: _alter_copy(database, change), copy.stat().st_size)
        finally:
            await database.close()
    finally:
        rmtree(directory, ignore_errors=True)


async def _copy(address: Address, copy: Path) -> None:
    source = str(address.url.database)
    connection = await aiosqlite.connect(read_only_uri(source), uri=True)
    try:
        await _refuse_without_room(connection, copy.parent)
        # one read transaction, so that writers neither wait for it nor make it begin anew
        await connection.execute("VACUUM INTO ?", (str(copy),))
    except aiosqlite.Error as error:
        raise DatabaseUnavailable(f"{address} cannot be copied: {error}.") from error
    finally:
        with anyio.CancelScope(shield=True):
            await connection.interrupt()
            await connection.close()


async def _refuse_without_room(connection: aiosqlite.Connection, directory: Path) -> None:
    size = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"
    needed, free = (await (await connection.execute(size)).fetchone() or (0,))[0], disk_usage(directory).free
    if needed > free:
        raise DatabaseUnavailable(
            f"A copy of the database needs {needed:,} bytes, and {directory.parent} has {free:,} left.",
            "Set TMPDIR to a directory with more room.",
        )


async def _alter_copy(database: Database, change: Alter) -> None:
    # as env.py connects by default: foreign keys are off, without which a table could not be made anew
    engine = create_async_engine(database.engine.url, poolclass=NullPool, hide_parameters=True)
    end_with_its_task(engine, database.dialect)
    async with engine.connect() as connection:
        try:
            await connection.run_sync(change)
        finally:
            with anyio.CancelScope(shield=True):
                await connection.rollback()


@asynccontextmanager
async def _in_one_transaction(address: Address, timeouts: Timeouts) -> AsyncIterator[Ahead]:
    database = open_database(address, read_only=False)
    try:
        async with database.rehearsing(timeouts) as connection:
            inside = _OneTransaction(address, database.dialect, database.engine, connection)

            async def alter(change: Alter) -> None:
                async with inside.writing(timeouts) as within:
                    await within.run_sync(change)

            yield Ahead(inside, alter)
    finally:
        await database.close()


@dataclass(frozen=True, eq=False)
class _OneTransaction(Database):
    """A database whose transactions are savepoints of one that is rolled back in the end."""

    connection: AsyncConnection

    @asynccontextmanager
    async def looking(self, timeouts: Timeouts | None = None) -> AsyncIterator[AsyncConnection]:
        async with self._savepoint(keep=False):
            if timeouts:
                await self.dialect.begin_batch(self.connection, timeouts, durable=True)
            yield self.connection

    @asynccontextmanager
    async def writing(
        self, timeouts: Timeouts = PATIENT, durable: bool = True
    ) -> AsyncIterator[AsyncConnection]:
        async with self._savepoint(keep=True):
            await self.dialect.begin_batch(self.connection, timeouts, durable)
            yield self.connection
            await _as_a_commit_does(self.connection)

    @asynccontextmanager
    async def rehearsing(self, timeouts: Timeouts) -> AsyncIterator[AsyncConnection]:
        async with self._savepoint(keep=False):
            await self.dialect.begin_batch(self.connection, timeouts, durable=False)
            yield self.connection

    @asynccontextmanager
    async def _savepoint(self, keep: bool) -> AsyncIterator[None]:
        savepoint = await self.connection.begin_nested()
        try:
            yield
            if keep:
                await savepoint.commit()
        finally:
            if savepoint.is_active:
                # of a statement that was broken off nothing is left to roll back
                with anyio.CancelScope(shield=True), suppress(DBAPIError, InvalidRequestError):
                    await savepoint.rollback()


# a name may be that of several constraints in a schema, which are all put off by it
_DEFERRED = """
SELECT string_agg(name, ', ') FROM (
    SELECT format('%I.%I', n.nspname, c.conname) AS name
    FROM pg_constraint c JOIN pg_namespace n ON n.oid = c.connamespace
    WHERE has_schema_privilege(n.oid, 'USAGE')
    GROUP BY n.nspname, c.conname HAVING bool_and(c.condeferred)
) deferred
"""


async def _as_a_commit_does(connection: AsyncConnection) -> None:
    """Do now what constraints put off to the commit: no table can be altered before. Then it begins anew."""
    await connection.execute(sa.text("SET CONSTRAINTS ALL IMMEDIATE"))
    if names := await connection.scalar(sa.text(_DEFERRED)):
        await connection.exec_driver_sql(f"SET CONSTRAINTS {names} DEFERRED")
