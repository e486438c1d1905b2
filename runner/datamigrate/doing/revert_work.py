"""Putting back what the undo log has of a migration, the latest entry first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from datamigrate.database.column_types import column_types
from datamigrate.database.database import Database
from datamigrate.database.dialects import Dialect
from datamigrate.database.dialects.base import Estimate
from datamigrate.database.images import FUNCTIONS, exactly, shown
from datamigrate.database.undoing import UNDONE, Part, Shape, UndoLog, shape_from
from datamigrate.doing.dividing import Division
from datamigrate.doing.work import Alone, Change, Look, Portion
from datamigrate.thought.pacing import Pace
from datamigrate.words.claim import Claim
from datamigrate.words.errors import SchemaError
from datamigrate.words.migration import Bounds, Key


@dataclass(frozen=True, eq=False)
class RevertWork:
    """A walk over the undo log by its numbers, downwards; `logs` has one log for each shape of entry.

    The keys of its claims are these numbers, and its `upper` is the lowest. What has been settled is pending no
    more, whether its row could be put back or was changed by somebody since.
    """

    migration: str
    undo: sa.Table
    dialect: Dialect
    logs: Mapping[str, UndoLog]

    holds_rows = False
    is_overdue = False
    has_slices = True

    async def find_upper(self, connection: AsyncConnection) -> Key | None:
        """The first entry that was written."""
        first = await connection.scalar(sa.select(sa.func.min(self.undo.c.id)).where(*self._pending))
        return None if first is None else (first,)

    async def prepare(self, look: Look, claim: Claim, pace: Pace) -> Portion:
        """Nothing: the entries are chosen where their rows are put back."""
        return Portion(claim, pace)

    async def apply(self, connection: AsyncConnection, portion: Portion, thorough: bool) -> Change:
        """Put the rows of the next entries back that are as the batch left them."""
        claim = portion.claim
        assert claim.upper is not None
        part = await self.choose(connection, Bounds(claim.cursor, claim.upper), portion.pace.rows)
        if part is None:
            return Change(claim.upper, exhausted=True, rows=0)
        undone, changed = await self.put_back(connection, part)
        return Change((part.first,), part.first <= claim.upper[0], undone, changed, found=undone + changed)

    async def choose(self, connection: AsyncConnection, bounds: Bounds, rows: int) -> Part | None:
        """The first entries of a slice, so many at most; None when there are none."""
        some = self._latest_in(bounds).limit(rows).subquery()
        ends = sa.select(sa.func.min(some.c.id), sa.func.max(some.c.id))
        first, last = (await connection.execute(ends)).one()
        return None if first is None else Part(first, last)

    async def keys_in(
        self, connection: AsyncConnection, bounds: Bounds, most: int | None = None
    ) -> list[Key]:
        """The numbers of the entries in a slice, the latest first."""
        return [tuple(row) for row in await connection.execute(self._latest_in(bounds).limit(most))]

    async def row_of(self, connection: AsyncConnection, entry: Key) -> tuple[str, Shape]:
        """The key of an entry's row, for a person, and what the log has of that row."""
        t = self.undo
        key, shape = (await connection.execute(sa.select(t.c.key, t.c.shape).where(t.c.id == entry[0]))).one()
        return shown(self.dialect.name, key), self.logs[shape].shape

    async def put_back(self, connection: AsyncConnection, part: Part) -> tuple[int, int]:
        """Settle these entries: how many rows are as they were, and how many somebody has changed since."""
        await self.prepare_for_values(connection)
        undone = changed = 0
        # usually once: more often where a row has several entries, or entries have several shapes
        while (of_one := await self._of_one_shape(connection, part)) is not None:
            log, alike = of_one
            await prepare_for(connection, log)
            await connection.execute(log.put_back(alike))
            outcomes = list(await connection.scalars(log.settle(alike)))
            undone += outcomes.count(UNDONE)
            changed += len(outcomes) - outcomes.count(UNDONE)
        return undone, changed

    async def prepare_for_values(self, connection: AsyncConnection) -> None:
        """Let this transaction read and write images."""
        if self.dialect.calls_functions:
            await self.dialect.lend_functions(connection, FUNCTIONS)
        else:
            await connection.execute(exactly())

    async def _of_one_shape(self, connection: AsyncConnection, part: Part) -> tuple[UndoLog, Part] | None:
        t = self.undo
        among = (*self._pending, t.c.id.between(part.first, part.last))
        latest = sa.select(t.c.id, t.c.shape).where(*among).order_by(t.c.id.desc()).limit(1)
        if (head := (await connection.execute(latest)).one_or_none()) is None:
            return None
        other = sa.select(sa.func.max(t.c.id)).where(*among, t.c.shape != head.shape)
        below = await connection.scalar(other)
        return self.logs[head.shape], Part(part.first if below is None else below + 1, head.id)

    async def look(self, connection: AsyncConnection) -> tuple[Key, ...]:
        """Entries that were not settled."""
        found = await connection.execute(sa.select(self.undo.c.id).where(*self._pending).limit(5))
        return tuple(tuple(row) for row in found)

    async def only(self, connection: AsyncConnection, found: Sequence[Key]) -> Self:
        """Its walk looks at nothing else anyway."""
        return self

    async def left_alone(self, look: Look, ask: bool = True) -> Alone | None:
        """Every entry is settled."""
        return None

    async def divide(self, connection: AsyncConnection, bounds: Bounds, parts: int, least: int) -> Division:
        """Entries of one row must be undone in order: there is one range."""
        return Division()

    async def has_rows(self, connection: AsyncConnection, bounds: Bounds, rows: int = 1) -> bool:
        """Its one range is never cut."""
        return False

    async def count(self, connection: AsyncConnection) -> int:
        """The entries that were not settled yet."""
        query = sa.select(sa.func.count()).select_from(self.undo).where(*self._pending)
        return int(await connection.scalar(query) or 0)

    async def estimate(self, connection: AsyncConnection) -> Estimate | None:
        """Counted, by the index."""
        return Estimate(await self.count(connection), "in the undo log")

    def _latest_in(self, bounds: Bounds) -> sa.Select[Any]:
        number = self.undo.c.id
        within = [number >= bounds.upper[0], *([] if bounds.lower is None else [number < bounds.lower[0]])]
        return sa.select(number).where(*self._pending, *within).order_by(number.desc())

    @property
    def _pending(self) -> tuple[sa.ColumnElement[bool], ...]:
        return self.undo.c.migration == self.migration, self.undo.c.outcome.is_(None)


async def prepare_for(connection: AsyncConnection, log: UndoLog) -> None:
    """Let this transaction write images as those of the log were written."""
    if (setting := log.as_written()) is not None:
        await connection.execute(setting)


async def revert_work(database: Database, name: str, undo: sa.Table) -> RevertWork:
    """The work of putting back what the log has of a migration. Raises SchemaError when a column is gone that
    it would put values into."""
    logs: dict[str, UndoLog] = {}
    async with database.looking() as connection:
        shapes = sa.select(undo.c.shape).distinct().where(undo.c.migration == name, undo.c.outcome.is_(None))
        for kept in list(await connection.scalars(shapes)):
            shape = shape_from(kept)
            types = await column_types(connection, shape.table, shape.schema)
            if gone := [column for column in (*shape.key, *shape.columns) if column not in types]:
                raise SchemaError(
                    f"{name} cannot be reverted: {shape.table}.{gone[0]} is gone, into which the undo log would put "
                    "values back.",
                    "Downgrade past the revision that has dropped it (`alembic downgrade`), then revert.",
                )
            columns: list[Any] = [sa.column(column) for column in types]
            table = sa.table(shape.table, *columns, schema=shape.schema)
            logs[kept] = UndoLog(database.dialect.name, undo, name, table, shape, types)
    return RevertWork(name, undo, database.dialect, logs)
