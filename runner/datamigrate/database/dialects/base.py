"""What the runner asks of a database beyond SQLAlchemy."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from datamigrate.database.address import Address
from datamigrate.database.faults import Fault
from datamigrate.thought.health import Reading
from datamigrate.thought.plans import Slow, Walk


@dataclass(frozen=True)
class Timeouts:
    """How long a transaction may wait for a lock, a statement may run, and a transaction may hold its locks
    without a word from us, in seconds; None is for ever."""

    lock: float | None = 5.0
    statement: float | None = 30.0
    idle: float | None = 60.0


SHORTLY = 2.0
"""Seconds for a look that is of use only when it is quick."""

COUNTED = "counted"


@dataclass(frozen=True)
class Estimate:
    """A number of rows, and who says so."""

    rows: int
    source: str


async def counted(connection: AsyncConnection, query: sa.Select[Any]) -> Estimate:
    """How many rows a query gives."""
    count = await connection.scalar(sa.select(sa.func.count()).select_from(query.subquery()))
    return Estimate(int(count or 0), COUNTED)


@dataclass(frozen=True)
class Lock:
    """A lock that a transaction holds until its end; without a table it is on the whole database."""

    table: str | None
    mode: str


@dataclass(frozen=True)
class Traces:
    """What a transaction that is still open has left: its locks, and of a table's rows the average size in
    bytes and the share whose update touched no index (heap-only), where the database tells."""

    locks: tuple[Lock, ...] = ()
    row_bytes: float | None = None
    heap_only: float | None = None


class Dialect(Protocol):
    """One database. Stateless; everything it needs is passed in.

    One that `opens_at_once` is connected to within milliseconds, and nobody gives that up half-way; one that
    `reads_while_writing` lets a connection read on while another one's transaction is written; one
    that `calls_functions` can call Python from within a statement; one that `is_strict` has only values of its
    type in a column. Batches of more than `most_rows` are no faster, and keep others waiting. Of its health it tells
    the `signals`.
    """

    name: str
    signals: frozenset[str]
    opens_at_once: bool
    reads_while_writing: bool
    calls_functions: bool
    is_strict: bool
    most_rows: int

    def engine(self, address: Address, read_only: bool, connections: int) -> AsyncEngine:
        """An engine whose transactions, timeouts and statements behave as the runner expects."""

    async def begin_batch(self, connection: AsyncConnection, timeouts: Timeouts, durable: bool) -> None:
        """Set this transaction's timeouts; without `durable` its commit need not wait for the disk."""

    def log_of(self, address: Address) -> Path | None:
        """The file of what is committed and not yet copied to its place, where it is for us to copy it."""

    async def copy_log(self, connection: AsyncConnection) -> None:
        """Copy what is there, as far as nobody still reads what was in its place before."""

    async def interrupt(self, driver: Any) -> None:
        """Stop the statement that a cancelled task has left running on this connection of the driver."""

    def fault(self, error: BaseException) -> Fault:
        """What this error means for the batch that met it."""

    def blames_rows(self, error: BaseException) -> bool:
        """Whether this error speaks of a row's values: a constraint, a conversion, a trigger's refusal."""

    def is_refusal(self, error: BaseException) -> bool:
        """Whether this error says that we may read here, but not write."""

    async def read_signal(
        self, connection: AsyncConnection, signal: str, table: sa.TableClause | None
    ) -> Reading:
        """What one of the signals says now, of a table where it is a table's."""

    async def written(self, connection: AsyncConnection) -> int | None:
        """A mark that grows by the bytes that the server writes for our changes; None where none is kept."""

    async def touched(self, connection: AsyncConnection) -> int:
        """A mark that grows by the rows that this transaction inserts, updates or deletes, in any table."""

    async def traces(self, connection: AsyncConnection, table: sa.TableClause | None) -> Traces:
        """What this transaction has left so far, in this table and in the way of others."""

    async def reads_apart(self, connection: AsyncConnection) -> bool:
        """Whether somebody may read for seconds and keep nobody from writing."""

    async def at_one_moment(self, connection: AsyncConnection) -> None:
        """Let all that this transaction reads be as it was at one moment; said before it reads anything."""

    def shortly(self, connection: AsyncConnection) -> AbstractAsyncContextManager[None]:
        """What is read in it ends after `SHORTLY`, and nothing is raised then; the transaction goes on."""

    def helped(self, connection: AsyncConnection) -> AbstractAsyncContextManager[None]:
        """What is read in it may be read by several at once, and where it fails for that, nothing is raised; the transaction
        goes on."""

    async def estimate(self, connection: AsyncConnection, query: sa.Select[Any]) -> Estimate | None:
        """How many rows a query would give, without a long count; None where nothing can be said of it."""

    async def slow_parts(
        self, connection: AsyncConnection, statement: sa.Executable, walk: Walk
    ) -> tuple[Slow, ...]:
        """What the planner would read from end to end or sort for this statement of a batch of the walk."""

    async def sample_of(
        self, connection: AsyncConnection, table: sa.TableClause
    ) -> tuple[sa.FromClause, float] | None:
        """Some rows of the table, spread over all of it, and which part of it they are; None where several
        could not write to it at once anyway."""

    async def unfinished_indexes(self, connection: AsyncConnection, table: sa.TableClause) -> frozenset[str]:
        """The table's indexes that were not made to the end, and so do not see to anything."""

    async def heirs(self, connection: AsyncConnection, table: sa.TableClause) -> tuple[str, ...]:
        """Tables whose rows are also rows of this one, without its key being unique among them."""

    async def unsafe_collation(
        self, connection: AsyncConnection, table: sa.TableClause, column: str
    ) -> str | None:
        """The collation of a column under which order and equality disagree, or None."""

    def version_of_row(self, table: sa.TableClause, reads: Sequence[Any]) -> list[sa.ColumnElement[Any]]:
        """Columns to read with a row, by which the writer sees that it has changed since."""

    def version_is_read(self, reads: Sequence[Any]) -> bool:
        """Whether these columns' values, as a script is given them, are the version."""

    def writer_of(self, rows: "RowsToWrite") -> "Writer":
        """What writes computed values to these rows, and to those of other slices like theirs."""

    async def has_triggers(self, connection: AsyncConnection, table: sa.TableClause) -> bool:
        """Whether anything but what is written to its rows may happen when they are; asked where functions can be
        called."""

    async def lend_functions(
        self, connection: AsyncConnection, functions: Mapping[str, Callable[..., Any]]
    ) -> None:
        """Let statements on this connection call functions of ours by name, as long as it is open."""


@dataclass(frozen=True, eq=False)
class RowsToWrite:
    """The rows of a slice for which values are computed: by what each is known, and what is written to it.

    An UPDATE of many rows is executed as `keeping` makes it. `within` repeats the slice's key range and the
    `pending` predicate, for a planner that would else choose to walk the whole table.
    """

    table: sa.TableClause
    key: tuple[sa.ColumnElement[Any], ...]
    key_types: tuple[sa.types.TypeEngine[Any], ...]
    version: tuple[sa.ColumnElement[Any], ...]
    names: tuple[str, ...]
    types: tuple[sa.types.TypeEngine[Any], ...]
    within: sa.ColumnElement[bool]
    pending: sa.ColumnElement[bool]
    keeping: Callable[[sa.Update], sa.Update | sa.Insert] = lambda update: update


class Writer(Protocol):
    """Writes computed values, slice after slice, with statements that are made once."""

    async def write(
        self, connection: AsyncConnection, columns: Sequence[list[Any]], where: Mapping[str, Any]
    ) -> int:
        """Write to the rows that are still as they were read; how many those were.

        `columns` holds one list for each of the key's values, then of the row's version, then of the columns
        to write, with a place for every row; `where` are the parameters of their slice.
        """
