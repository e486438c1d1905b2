"""SQLite through aiosqlite."""

import asyncio
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from pathlib import Path
from typing import Any

import anyio
import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import aiosqlite
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool

from datamigrate.database.address import Address
from datamigrate.database.dialects.base import (
    SHORTLY,
    Estimate,
    Lock,
    RowsToWrite,
    Timeouts,
    Traces,
    Writer,
    counted,
)
from datamigrate.database.dialects.sqlite_connection import LettingGo
from datamigrate.database.dialects.sqlite_counting import for_at_most, size_of
from datamigrate.database.dialects.sqlite_transactions import (
    BUSY_TIMEOUT,
    TRY_AGAIN,
    is_busy,
    kind_of,
    take_over_transactions,
)
from datamigrate.database.dialects.sqlite_writing import OneByOne
from datamigrate.database.faults import Fault
from datamigrate.thought.health import Reading
from datamigrate.thought.plans import MANY_ROWS, Slow, Walk
from datamigrate.thought.sqlite_plans import Step, may_be_slow, slow_steps, tables_in

ABORT_TIMEOUT = 2.0
"""Seconds for the driver's thread to hear that its statement is to end."""

MUCH_WAL = 16 * 1024**2
"""Bytes of WAL that nobody needs to look into; SQLite's own checkpoints begin at 4 MB."""

_CHECKPOINT = "PRAGMA wal_checkpoint(PASSIVE)"

_LENT = "datamigrate_lent"

_APART = ("B", "a", "a ", "b", "\u00e4")
"""As BINARY orders them, and no collation that is another one."""

_ALIKE = {"NOCASE": {"B", "b"}, "RTRIM": {"a", "a "}}

_UNKNOWN_COLLATION = "no such collation sequence: "

_OF_ROWS = frozenset({sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG})
_SAID_OF_ROWS = (
    "malformed JSON",
    "integer overflow",
    "Error binding parameter",
    # a text that is none, read by Python or handed over to a function of ours
    "Could not decode to UTF-8",
)


class SQLite:
    """One writer at a time: a batch takes the write lock when it begins, and everyone else waits."""

    name = "sqlite"
    signals = frozenset({"wal_size"})
    opens_at_once = True
    reads_while_writing = False
    calls_functions = True
    is_strict = False
    most_rows = 100_000

    def engine(self, address: Address, read_only: bool, connections: int) -> AsyncEngine:
        """Transactions begin and end where we say; `read_only` ones open the file so that it cannot change. The connection
        that was given back last is taken again, with the pages that it holds."""
        url = address.url
        if read_only and not str(url.database).startswith("file:"):
            url = url.set(database=f"file:{_escaped(str(url.database))}")
            url = url.update_query_dict({"mode": "ro", "uri": "true"})
        engine = create_async_engine(
            url,
            # older versions of SQLAlchemy open the file again for each transaction
            poolclass=AsyncAdaptedQueuePool,
            pool_use_lifo=True,
            hide_parameters=True,
            connect_args={"timeout": BUSY_TIMEOUT, "factory": LettingGo},
        )
        take_over_transactions(engine.sync_engine)
        return engine

    async def begin_batch(self, connection: AsyncConnection, timeouts: Timeouts, durable: bool) -> None:
        """Nothing more to set: the only lock there is was taken when the transaction began."""

    def log_of(self, address: Address) -> Path | None:
        """The write-ahead log, beside the file."""
        return address.file and address.file.with_name(f"{address.file.name}-wal")

    async def copy_log(self, connection: AsyncConnection) -> None:
        """What those who commit would do, which keeps nobody waiting."""
        await connection.exec_driver_sql(_CHECKPOINT)

    async def interrupt(self, driver: Any) -> None:
        """Abort the statement that runs in aiosqlite's thread, or is about to, and give the lock back. One that is
        within a function of a script's may never hear of it: then the lock is free once the process has ended."""
        ending, give_up = asyncio.ensure_future(driver.close()), time.monotonic() + ABORT_TIMEOUT
        while not ending.done() and time.monotonic() < give_up:
            with suppress(ValueError):  # closed already
                await driver.interrupt()
            await asyncio.wait([ending], timeout=TRY_AGAIN)

    def fault(self, error: BaseException) -> Fault:
        """A lock held by somebody else passes; anything else stays."""
        return Fault.LOCKED if isinstance(error, DBAPIError) and is_busy(error.orig) else Fault.LASTING

    def blames_rows(self, error: BaseException) -> bool:
        """Told by the error's code; where SQLite has one for all, by its words."""
        orig = getattr(error, "orig", None)
        return kind_of(orig) in _OF_ROWS or str(orig).startswith(_SAID_OF_ROWS)

    def is_refusal(self, error: BaseException) -> bool:
        """A file or directory that cannot be written."""
        return kind_of(getattr(error, "orig", None)) in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN)

    async def read_signal(
        self, connection: AsyncConnection, signal: str, table: sa.TableClause | None
    ) -> Reading:
        """How much of the WAL no checkpoint has taken into the file yet, for somebody still reads before it.

        The WAL never becomes shorter by itself, so a large one is checkpointed as far as that is possible.
        """
        databases: Any = await connection.exec_driver_sql("PRAGMA database_list")
        if not await is_long(f"{databases.first()[2]}-wal"):
            return Reading(0.0)
        checkpoint: Any = await connection.exec_driver_sql(_CHECKPOINT)
        _, pages, taken = checkpoint.one()
        size = (await connection.exec_driver_sql("PRAGMA page_size")).scalar_one()
        return Reading(float((pages - taken) * size))

    async def written(self, connection: AsyncConnection) -> int | None:
        """SQLite keeps none."""
        return None

    async def touched(self, connection: AsyncConnection) -> int:
        """The connection's own count, with what triggers and foreign keys do."""
        return int(await connection.scalar(sa.select(sa.func.total_changes())) or 0)

    async def traces(self, connection: AsyncConnection, table: sa.TableClause | None) -> Traces:
        """The one write lock; rows are changed where they are."""
        return Traces((Lock(None, "write lock"),))

    async def reads_apart(self, connection: AsyncConnection) -> bool:
        """With a write-ahead log; else who commits waits for those who read."""
        return bool(await connection.scalar(sa.text("PRAGMA journal_mode")) == "wal")

    async def at_one_moment(self, connection: AsyncConnection) -> None:
        """Every transaction does."""

    def shortly(self, connection: AsyncConnection) -> AbstractAsyncContextManager[None]:
        """SQLite itself asks again and again whether it is to end."""
        return for_at_most(SHORTLY, connection)

    def helped(self, connection: AsyncConnection) -> AbstractAsyncContextManager[None]:
        """A statement is one thread's."""
        return nullcontext()

    async def estimate(self, connection: AsyncConnection, query: sa.Select[Any]) -> Estimate | None:
        """A count when that is quick; else, as the most that it can be, the table's size."""
        estimate = None
        async with self.shortly(connection):
            estimate = await counted(connection, query)
        return estimate or await size_of(connection, query.get_final_froms()[0])

    async def slow_parts(
        self, connection: AsyncConnection, statement: sa.Executable, walk: Walk
    ) -> tuple[Slow, ...]:
        """Told by EXPLAIN QUERY PLAN; it has no row counts, so large tables are counted as far as matters."""
        compiled: Any = statement.compile(  # type: ignore[attr-defined] # every statement compiles
            dialect=connection.dialect, compile_kwargs={"render_postcompile": True}
        )
        # nothing is executed, and without statistics on values the plan is the same for any of them
        nothing = (None,) * len(compiled.positiontup or ())
        plan: Any = await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}", nothing)
        steps = [Step(line[0], line[1], line[3]) for line in plan]
        if not may_be_slow(steps, str(compiled)):
            return ()
        tables = set(tables_in(str(compiled)).values())
        sizes = {table: await self._size(connection, table) for table in sorted(tables)}
        return slow_steps(steps, str(compiled), sizes, walk)

    async def _size(self, connection: AsyncConnection, table: str) -> int:
        """By ANALYZE's statistics where there are any, else counted up to what counts as large."""
        if await connection.scalar(sa.text("SELECT 1 FROM sqlite_master WHERE name = 'sqlite_stat1'")):
            stat = sa.text("SELECT max(CAST(stat AS INTEGER)) FROM sqlite_stat1 WHERE tbl = :table")
            if known := await connection.scalar(stat, {"table": table}):
                return int(known)
        some = sa.select(sa.literal(1)).select_from(sa.table(table)).limit(MANY_ROWS).subquery()
        return int(await connection.scalar(sa.select(sa.func.count()).select_from(some)) or 0)

    async def sample_of(
        self, connection: AsyncConnection, table: sa.TableClause
    ) -> tuple[sa.FromClause, float] | None:
        """There is one writer at a time."""
        return None

    async def unfinished_indexes(self, connection: AsyncConnection, table: sa.TableClause) -> frozenset[str]:
        """An index is made whole or not at all."""
        return frozenset()

    async def heirs(self, connection: AsyncConnection, table: sa.TableClause) -> tuple[str, ...]:
        """Tables do not inherit."""
        return ()

    async def unsafe_collation(
        self, connection: AsyncConnection, table: sa.TableClause, column: str
    ) -> str | None:
        """One such as NOCASE, under which a unique index may hold rows that the walk skips: SQLite itself tells, by what a
        UNION that begins with the column takes for equal, and its order."""
        nothing: sa.Select[Any] = sa.select(sa.column(column)).select_from(table).where(sa.false())
        apart = sa.union(nothing, *(sa.select(sa.literal(value)) for value in _APART)).order_by(sa.text("1"))
        try:
            found = tuple(await connection.scalars(apart))
        except DBAPIError as error:
            if (unknown := str(error.orig)).startswith(_UNKNOWN_COLLATION):
                return unknown.removeprefix(_UNKNOWN_COLLATION)
            raise
        if found == _APART:
            return None
        return next((name for name, alike in _ALIKE.items() if not alike.issubset(found)), "unlike BINARY")

    def version_of_row(self, table: sa.TableClause, reads: Sequence[Any]) -> list[sa.ColumnElement[Any]]:
        """The values read, as they are stored: SQLite gives rows no version of their own."""
        return [sa.type_coerce(column, sa.types.NullType()) for column in reads]

    def version_is_read(self, reads: Sequence[Any]) -> bool:
        """Where nothing is converted."""
        dialect = aiosqlite.dialect()
        kinds = [column.type.dialect_impl(dialect) for column in reads]
        return not any(
            kind.result_processor(dialect, None) or kind.column_expression(sa.column("c", kind)) is not None
            for kind in kinds
        )

    def writer_of(self, rows: RowsToWrite) -> Writer:
        """One prepared UPDATE, executed for every row in one call to the driver's thread."""
        return OneByOne(rows)

    async def has_triggers(self, connection: AsyncConnection, table: sa.TableClause) -> bool:
        """Of whatever kind, in any schema."""
        known = sa.text(
            "SELECT 1 FROM (SELECT type, tbl_name FROM sqlite_master UNION ALL SELECT type, tbl_name FROM sqlite_temp_master) "
            "WHERE type = 'trigger' AND lower(tbl_name) = lower(:table) LIMIT 1"
        )
        return await connection.scalar(known, {"table": table.name}) is not None

    async def lend_functions(
        self, connection: AsyncConnection, functions: Mapping[str, Callable[..., Any]]
    ) -> None:
        """Each once for a connection, since the driver's thread has to be asked for it."""
        fairy = await connection.get_raw_connection()
        driver = fairy.driver_connection
        assert driver is not None
        lent = fairy.info.setdefault(_LENT, {})
        for name, function in functions.items():
            if lent.get(name) is not function:
                await driver.create_function(name, -1, function)
                lent[name] = function


async def is_long(wal: str) -> bool:
    """Whether a file is there, and longer than nobody needs to look into."""
    try:
        return (await anyio.Path(wal).stat()).st_size > MUCH_WAL
    except OSError:
        return False


def read_only_uri(database: str) -> str:
    """The URI that opens a database file so that it cannot change; one that is a URI already stays."""
    return database if database.startswith("file:") else f"file:{_escaped(database)}?mode=ro"


def _escaped(path: str) -> str:
    return path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
