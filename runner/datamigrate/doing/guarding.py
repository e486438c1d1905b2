"""Is anything in a batch slow however small the batch is? Asked of the database before the first one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.exc import CompileError, DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from datamigrate.database.changes import statement_of
from datamigrate.database.database import Database
from datamigrate.database.dialects import Dialect
from datamigrate.database.faults import Fault
from datamigrate.database.keyset import pending_keys
from datamigrate.doing.choosing import Choosing, find_upper
from datamigrate.doing.rows_work import FEW, RowsWork
from datamigrate.doing.work import Work
from datamigrate.thought.pacing import Pace
from datamigrate.thought.plans import Slow, Walk, remedy
from datamigrate.words.errors import TooSlow
from datamigrate.words.migration import Bounds, KeyValue


async def refuse_slow(database: Database, name: str, work: Work, pace: Pace) -> None:
    """Raises TooSlow when a batch of the work would read or sort a large table anew."""
    if not isinstance(work, RowsWork):
        return
    async with database.looking() as connection:
        slow = await slow_batch(connection, work, pace)
    if slow:
        told = "\n".join(line for one in slow for line in (f"It {one}.", *remedy(one)))
        raise TooSlow(
            f"{name}: its batches would be slow, and the slower the larger the table. {told}",
            f"Create the index, or let it run all the same: `datamigrate run {name} --allow-slow`. "
            "Nothing was changed.",
        )


async def slow_batch(connection: AsyncConnection, work: RowsWork, pace: Pace) -> tuple[Slow, ...]:
    """What the statements of a batch read or sort anew, for every batch or every row of it.

    The batch is the first of a walk that begins now. No statement is executed that is found slow.
    """
    keyset, form = work.keyset, work.form
    explained = _Explained(connection, work.dialect, Walk(form.table.name, keyset.names))
    asked = cast(AsyncConnection, explained)
    try:
        upper = await find_upper(asked, keyset)
        if upper is None:
            return ()
        chosen = await Choosing(keyset, form.pending).behind(asked, Bounds(None, upper), pace)
        await explained.judge(statement_of(form, keyset, chosen.bounds))
    except _Found as found:
        return found.slow
    return ()


async def slow_look(connection: AsyncConnection, work: RowsWork) -> tuple[str, ...]:
    """What the fresh look for pending rows reads, a sentence each: it is taken once or twice in a run."""
    query = pending_keys(work.keyset, work.form.pending, limit=FEW)
    found = await _slow_parts(connection, work.dialect, query, Walk(work.form.table.name, work.keyset.names))
    return tuple(
        f"The fresh look for pending rows in the end reads all of {slow.label} ({slow.size}). "
        "That is done once or twice in a run, not for every batch, and needs no index."
        for slow in found
        if not slow.per_row
    )


class _Found(Exception):
    """A statement is slow, and is better not executed."""

    def __init__(self, slow: tuple[Slow, ...]) -> None:
        super().__init__(*slow)
        self.slow = slow


@dataclass(frozen=True, eq=False)
class _Explained:
    """Stands in for a connection: has every statement explained first, and executes it if it is not slow."""

    connection: AsyncConnection
    dialect: Dialect
    walk: Walk

    async def execute(
        self, statement: sa.Select[Any], parameters: Mapping[str, KeyValue] | None = None
    ) -> Any:
        await self.judge(statement.params(parameters or {}))
        return await self.connection.execute(statement, parameters)

    async def judge(self, statement: sa.Executable) -> None:
        if slow := await _slow_parts(self.connection, self.dialect, statement, self.walk):
            raise _Found(slow)


async def _slow_parts(
    connection: AsyncConnection, dialect: Dialect, statement: sa.Executable, walk: Walk
) -> tuple[Slow, ...]:
    try:
        async with connection.begin_nested():
            return await dialect.slow_parts(connection, statement, walk)
    except CompileError:
        # a value that cannot be written out
        return ()
    except DBAPIError as error:
        # what is wrong with the statement itself, the first batch tells better
        if dialect.fault(error) is not Fault.LASTING:
            raise
        return ()
