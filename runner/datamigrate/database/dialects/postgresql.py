"""PostgreSQL through asyncpg."""

import math
import time
import traceback
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Connection
from sqlalchemy.engine.interfaces import ExceptionContext
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

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
from datamigrate.database.dialects.postgresql_dates import take_over_dates
from datamigrate.database.dialects.postgresql_health import STATEMENTS
from datamigrate.database.dialects.postgresql_joining import XID
from datamigrate.database.dialects.postgresql_planning import planned_rows, unavoidably_slow
from datamigrate.database.dialects.postgresql_settings import (
    batch_settings,
    local_setting,
    parallel_plans,
    session_settings,
    set_local,
)
from datamigrate.database.dialects.postgresql_writing import writer_of
from datamigrate.database.faults import Fault
from datamigrate.thought.health import POOL_WAIT, Reading
from datamigrate.thought.plans import Slow, Walk

CONNECT_TIMEOUT = 10.0
KNOWN_STATEMENTS = 200
CANCEL_TIMEOUT = 2.0

SAMPLE_PAGES = 1000

_PAGES = """
    SELECT greatest(pg_relation_size(c.oid), (SELECT sum(pg_relation_size(relid)) FROM pg_partition_tree(c.oid)))
           / CAST(current_setting('block_size') AS integer)
    FROM pg_class c
    WHERE c.oid = CAST(CAST(:relation AS text) AS regclass) AND c.relkind IN ('r', 'p', 'm')
"""

# https://www.postgresql.org/docs/current/errcodes-appendix.html
_LOCKED = "55P03"
_PASSING = frozenset({"40001", "40P01", "53300"})
_LOST = frozenset({"57P01", "57P02", "57P03", "57P05", "25P03", "25P04"})
_CANCELED = "57014"
_OTHER_FORMAT = frozenset({"22P03", "08P01"})

_BEGAN = "datamigrate_began"

# cardinality, data, integrity, a trigger's RAISE or action, WITH CHECK OPTION; and a row too large for an index
_OF_ROWS = ("21", "22", "23", "P0", "09", "44", "54000")

_REFUSALS = frozenset({"42501", "25006"})
# the server's own functions in which WITH CHECK is looked at, and RAISE executed
_AGAINST_ROWS = frozenset({"ExecWithCheckOptions", "exec_stmt_raise"})

_LOCKS = """
SELECT c.oid::regclass::text, l.mode
FROM pg_locks l JOIN pg_class c ON c.oid = l.relation JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE l.pid = pg_backend_pid() AND l.locktype = 'relation' AND l.granted AND l.mode <> 'AccessShareLock'
AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
AND c.relkind IN ('r', 'p', 'm') AND n.nspname <> 'pg_catalog'
ORDER BY 1, 2
"""

# as the table is stored, where statistics tell how many rows that is; else as its first rows are
_WIDTH = """
SELECT CASE WHEN reltuples > 0 AND relpages > 0 THEN relpages * 8192.0 / reltuples
            ELSE (SELECT avg(pg_column_size(r)) + 4 FROM (SELECT * FROM {table} LIMIT 200) r) END
FROM pg_class WHERE oid = CAST(CAST(:relation AS text) AS regclass)
"""

# a standby has no such position, and is not asked for it
_WRITTEN = """
SELECT CASE WHEN pg_is_in_recovery() THEN 0 ELSE pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0') END
"""

_UNFINISHED = """
SELECT i.relname FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
WHERE x.indrelid = CAST(CAST(:relation AS text) AS regclass) AND NOT x.indisvalid
"""

_HEIRS = """
SELECT i.inhrelid::regclass::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhparent
WHERE c.oid = CAST(CAST(:relation AS text) AS regclass) AND c.relkind IN ('r', 'f') ORDER BY 1
"""

_TOUCHED = "SELECT sum(n_tup_ins + n_tup_upd + n_tup_del) FROM pg_stat_xact_user_tables"

_UPDATES = """
SELECT coalesce(sum(n_tup_upd), 0), coalesce(sum(n_tup_hot_upd), 0) FROM pg_stat_xact_user_tables
WHERE relid = CAST(CAST(:relation AS text) AS regclass)
OR relid IN (SELECT relid FROM pg_partition_tree(CAST(CAST(:relation AS text) AS regclass)))
"""


class PostgreSQL:
    """Every setting is transaction-local and no statement is named, so that a pooler in transaction mode
    may hand each transaction another server connection."""

    name = "postgresql"
    signals = frozenset({*STATEMENTS, POOL_WAIT})
    opens_at_once = False
    reads_while_writing = True
    calls_functions = False
    is_strict = True
    most_rows = 20_000

    def engine(self, address: Address, read_only: bool, connections: int) -> AsyncEngine:
        """Connections without named prepared statements; `read_only` ones cannot write.

        A connection remembers what a statement takes and gives, so that it asks the server once; the server
        itself is told the text every time, and keeps nothing from one transaction to the next. The connection that was
        given back last is taken again: its process in the server still has at hand what the last batch needed.
        """
        from datamigrate.database.dialects import postgresql_transactions  # which imports the driver

        engine = create_async_engine(
            address.url,
            # a statement of a batch sees what others have committed before it, whatever the role's default is
            isolation_level="READ COMMITTED",
            pool_size=connections,
            hide_parameters=True,
            max_overflow=0,
            pool_use_lifo=True,
            connect_args={
                "async_creator_fn": postgresql_transactions.connect,
                "connection_class": postgresql_transactions.Connection,
                "statement_cache_size": 0,
                "prepared_statement_cache_size": KNOWN_STATEMENTS,
                "prepared_statement_name_func": str,
                "timeout": CONNECT_TIMEOUT,
                "server_settings": session_settings(address.settings),
            }
            | (
                {"timeout": float(str(address.url.query["timeout"]))}
                if "timeout" in address.url.query
                else {}
            ),
        )
        event.listen(engine.sync_engine, "connect", _take_over_dates)
        event.listen(engine.sync_engine, "begin", _begin)
        event.listen(engine.sync_engine, "handle_error", _give_up_if_outdated)
        return engine.execution_options(postgresql_readonly=True) if read_only else engine

    async def begin_batch(self, connection: AsyncConnection, timeouts: Timeouts, durable: bool) -> None:
        """They go with the transaction's BEGIN, and hold until its end only."""
        driver = (await connection.get_raw_connection()).driver_connection
        assert driver is not None
        await driver.set_locally(batch_settings(timeouts, durable))

    def log_of(self, address: Address) -> Path | None:
        """None: the server copies it."""

    async def copy_log(self, connection: AsyncConnection) -> None:
        """Nothing, for the same reason."""

    async def interrupt(self, driver: Any) -> None:
        """Closing in good order, asyncpg first has the server cancel the statement."""
        await driver.close(timeout=CANCEL_TIMEOUT)

    def fault(self, error: BaseException) -> Fault:
        """Told by SQLSTATE, and by the driver's own word that the connection is gone."""
        if isinstance(error, PoolTimeout) or (isinstance(error, OSError) and _of_driver(error)):
            return Fault.LOST
        if _is_outdated(error):  # some versions of SQLAlchemy leave it as it is
            return Fault.LOST
        if not isinstance(error, DBAPIError):
            return Fault.LASTING
        state = getattr(error.orig, "sqlstate", None) or ""
        if error.connection_invalidated or state in _LOST or state.startswith("08"):
            return Fault.LOST
        if state == _CANCELED:
            return Fault.TIMEOUT
        if state == _LOCKED:
            return Fault.LOCKED
        return Fault.PASSING if state in _PASSING else Fault.LASTING

    def blames_rows(self, error: BaseException) -> bool:
        """Told by the class of SQLSTATE, or by the driver, which could not convert a value."""
        orig = getattr(error, "orig", None)
        state = getattr(orig, "sqlstate", None)
        if state is None:
            return type(getattr(orig, "__cause__", None)).__name__ == "DataError"
        if state in _OTHER_FORMAT:  # of a type that the driver cannot write: no other row will do better
            return False
        return str(state).startswith(_OF_ROWS) or _is_against_a_row(error)

    def is_refusal(self, error: BaseException) -> bool:
        """A missing privilege, a standby, or a transaction that is read-only by the role's default; but not what
        a policy or a trigger has against a row."""
        state = getattr(getattr(error, "orig", None), "sqlstate", None)
        return state in _REFUSALS and not _is_against_a_row(error)

    async def read_signal(
        self, connection: AsyncConnection, signal: str, table: sa.TableClause | None
    ) -> Reading:
        """One short statement on the server's statistics."""
        relation = {} if table is None else {"relation": _quoted(table)}
        value, trouble = (await connection.execute(sa.text(STATEMENTS[signal]), relation)).one()
        return Reading(None if value is None else float(value), trouble)

    async def written(self, connection: AsyncConnection) -> int | None:
        """How far the write-ahead log has got, in bytes; others write to it too."""
        return int(await connection.scalar(sa.text(_WRITTEN)) or 0)

    async def touched(self, connection: AsyncConnection) -> int:
        """What the server has counted for the transaction."""
        return int(await connection.scalar(sa.text(_TOUCHED)) or 0)

    async def traces(self, connection: AsyncConnection, table: sa.TableClause | None) -> Traces:
        """From `pg_locks`, and from what this transaction has counted so far."""
        locks = tuple(Lock(name, mode) for name, mode in await connection.execute(sa.text(_LOCKS)))
        if table is None:
            return Traces(locks)
        relation = {"relation": _quoted(table)}
        width = await connection.scalar(
            sa.text(_WIDTH.format(table=_quoted(table).replace(":", "\\:"))), relation
        )
        updates, heap_only = (await connection.execute(sa.text(_UPDATES), relation)).one()
        return Traces(locks, float(width) if width else None, float(heap_only / updates) if updates else None)

    async def reads_apart(self, connection: AsyncConnection) -> bool:
        """Always: who reads sees the rows as they were."""
        return True

    async def at_one_moment(self, connection: AsyncConnection) -> None:
        """By the isolation level of this transaction."""
        await connection.execute(sa.text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))

    @asynccontextmanager
    async def shortly(self, connection: AsyncConnection) -> AsyncIterator[None]:
        """The server ends it."""
        async with self._excusing(Fault.TIMEOUT, connection):
            before = await connection.scalar(sa.text("SHOW statement_timeout"))
            await connection.execute(local_setting("statement_timeout", SHORTLY))
            yield
            # who lets go of a savepoint keeps what was set since
            await connection.execute(sa.select(set_local("statement_timeout", before)))

    @asynccontextmanager
    async def helped(self, connection: AsyncConnection) -> AsyncIterator[None]:
        """By processes of the server, as if they cost nothing: a walk is younger than the statistics, by which the planner
        thinks that one alone would meet a pending row at once. A function that calls itself safe for that may fail there."""
        async with self._excusing(Fault.LASTING, connection):
            await connection.execute(parallel_plans())
            yield

    @asynccontextmanager
    async def _excusing(self, fault: Fault, connection: AsyncConnection) -> AsyncIterator[None]:
        # an error of this kind goes back to a savepoint, and no further
        try:
            async with connection.begin_nested():
                yield
        except DBAPIError as error:
            if self.fault(error) is not fault:
                raise

    async def estimate(self, connection: AsyncConnection, query: sa.Select[Any]) -> Estimate:
        """A count when that is quick; else what the planner thinks."""
        estimate = None
        async with self.shortly(connection):
            estimate = await counted(connection, query)
        return estimate or Estimate(await planned_rows(connection, query), "the planner's estimate")

    async def slow_parts(
        self, connection: AsyncConnection, statement: sa.Executable, walk: Walk
    ) -> tuple[Slow, ...]:
        """Told by EXPLAIN; what an index that is there would spare is not counted."""
        return await unavoidably_slow(connection, statement, walk)

    async def sample_of(
        self, connection: AsyncConnection, table: sa.TableClause
    ) -> tuple[sa.FromClause, float] | None:
        """Whole pages picked at random, some hundreds of them however large the table is."""
        pages = await connection.scalar(sa.text(_PAGES), {"relation": _quoted(table)})
        if pages is None:  # a view has none
            return None
        share = min(1.0, SAMPLE_PAGES / max(1, int(pages)))
        return sa.tablesample(table, sa.func.system(share * 100)), share

    async def unfinished_indexes(self, connection: AsyncConnection, table: sa.TableClause) -> frozenset[str]:
        """CREATE INDEX CONCURRENTLY leaves one behind when it fails."""
        found = await connection.scalars(sa.text(_UNFINISHED), {"relation": _quoted(table)})
        return frozenset(found)

    async def heirs(self, connection: AsyncConnection, table: sa.TableClause) -> tuple[str, ...]:
        """Those that inherit from it; partitions share one key."""
        found = await connection.scalars(sa.text(_HEIRS), {"relation": _quoted(table)})
        return tuple(found)

    async def unsafe_collation(
        self, connection: AsyncConnection, table: sa.TableClause, column: str
    ) -> str | None:
        """A collation that calls different texts equal."""
        name: str | None = await connection.scalar(
            sa.text(
                "SELECT c.collname FROM pg_attribute a JOIN pg_collation c ON c.oid = a.attcollation "
                "WHERE a.attrelid = CAST(CAST(:relation AS text) AS regclass) AND a.attname = :column "
                "AND NOT c.collisdeterministic"
            ),
            {"relation": _quoted(table), "column": column},
        )
        return name

    def version_of_row(self, table: sa.TableClause, reads: Sequence[Any]) -> list[sa.ColumnElement[Any]]:
        """`xmin`, which changes with every update."""
        return [sa.literal_column(f"{_quoted(table)}.xmin", XID())]

    def version_is_read(self, reads: Sequence[Any]) -> bool:
        """The version is the row's own."""
        return False

    def writer_of(self, rows: RowsToWrite) -> Writer:
        """One UPDATE from arrays; one for some hundred rows where a column is itself an array, or a composite."""
        return writer_of(rows)

    async def has_triggers(self, connection: AsyncConnection, table: sa.TableClause) -> bool:
        """Nobody needs to know."""
        raise NotImplementedError

    async def lend_functions(
        self, connection: AsyncConnection, functions: Mapping[str, Callable[..., Any]]
    ) -> None:
        """A server cannot call them."""
        raise NotImplementedError


def _is_against_a_row(error: BaseException) -> bool:
    cause = getattr(getattr(error, "orig", None), "__cause__", None)
    return getattr(cause, "server_source_function", None) in _AGAINST_ROWS


def _take_over_dates(connection: Any, _record: Any) -> None:
    connection.run_async(take_over_dates)


def _give_up_if_outdated(context: ExceptionContext) -> None:
    """Give up a connection whose knowledge of a statement is older than the table: the next one asks anew."""
    error = context.original_exception
    cause = getattr(error, "__cause__", None) or error
    is_other = getattr(cause, "sqlstate", None) in _OTHER_FORMAT and not _was_asked_just_now(context)
    if _is_outdated(cause) or is_other:
        context.is_disconnect = True


def _is_outdated(error: BaseException) -> bool:
    """Whether the driver finds that the server answers otherwise than it has said before."""
    from asyncpg.exceptions import InternalClientError  # imported by now

    return isinstance(error, InternalClientError)


def _begin(connection: Connection) -> None:
    # there may be settings left of a transaction in which nothing was said
    connection.connection.driver_connection.settings = ""  # type: ignore[union-attr] # it is one of ours
    connection.info[_BEGAN] = time.time()


def _was_asked_just_now(context: ExceptionContext) -> bool:
    """Whether this transaction itself has asked what the statement takes: the table cannot have changed since."""
    if context.connection is None:
        return False
    driver = context.connection.connection.dbapi_connection
    known = getattr(driver, "_prepared_statement_cache", None) or {}
    *_, asked = known.get(context.statement) or (0.0,)
    return bool(asked >= context.connection.info.get(_BEGAN, math.inf))


def _of_driver(error: BaseException) -> bool:
    """Whether an error of the operating system was met by the driver, and not by the script's own code."""
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and any(
        part in frames[-1].filename for part in ("asyncpg", "sqlalchemy", "asyncio", "selectors")
    )


def _quoted(table: sa.TableClause) -> str:
    # most drivers' way of marking parameters has a percent sign mean something, and doubles those of names
    dialect = postgresql.dialect(paramstyle="named")  # type: ignore[no-untyped-call] # untyped there
    return str(dialect.identifier_preparer.format_table(table))
