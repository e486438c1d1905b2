"""Keeping, in a batch's transaction, what the batch is about to change."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from datamigrate.authoring.forms import DeleteRows, RowsForm
from datamigrate.database.column_types import column_types
from datamigrate.database.database import Database
from datamigrate.database.dialects import Dialect
from datamigrate.database.images import FUNCTIONS, exactly, timezone
from datamigrate.database.keyset import Keyset
from datamigrate.database.references import EMPTYING, REACHING, Reference, references_to
from datamigrate.database.undoable import cast_by_functions, in_the_way_of_inserts, replaces_rows, schema_of
from datamigrate.database.undoing import Shape, UndoLog
from datamigrate.words.errors import SchemaError

Change = sa.Update | sa.Delete | sa.Insert


class Keeping(Protocol):
    """What is done besides a change, so that it can be undone."""

    def around(
        self, connection: AsyncConnection, rows: Callable[[], sa.ColumnElement[bool]]
    ) -> AbstractAsyncContextManager[None]:
        """Around the change of these rows."""

    def of_update(
        self, update: sa.Update, rows: sa.ColumnElement[bool], locks: bool
    ) -> sa.Update | sa.Insert:
        """The update, or a statement that does it and counts the same rows; `locks` unless the update itself
        sees that nobody changes its rows meanwhile."""

    def of_delete(self, delete: sa.Delete) -> sa.Delete | sa.Insert:
        """The deletion, or a statement that does it and counts the same rows."""


class NothingKept:
    """What has no undo log."""

    @asynccontextmanager
    async def around(
        self, connection: AsyncConnection, rows: Callable[[], sa.ColumnElement[bool]]
    ) -> AsyncIterator[None]:
        """Nothing."""
        yield

    def of_update(
        self, update: sa.Update, rows: sa.ColumnElement[bool], locks: bool
    ) -> sa.Update | sa.Insert:
        """The update itself."""
        return update

    def of_delete(self, delete: sa.Delete) -> sa.Delete | sa.Insert:
        """The deletion itself."""
        return delete


NOTHING_KEPT = NothingKept()


@dataclass(frozen=True, eq=False)
class KeptAtOnce(NothingKept):
    """On PostgreSQL the statement that changes the rows keeps them too: nobody comes in between."""

    log: UndoLog

    @asynccontextmanager
    async def around(
        self, connection: AsyncConnection, rows: Callable[[], sa.ColumnElement[bool]]
    ) -> AsyncIterator[None]:
        """Let the texts be exact."""
        await connection.execute(exactly())
        yield

    def of_update(
        self, update: sa.Update, rows: sa.ColumnElement[bool], locks: bool
    ) -> sa.Update | sa.Insert:
        """Both in one."""
        return self.log.update_and_keep(update, rows, locks)

    def of_delete(self, delete: sa.Delete) -> sa.Delete | sa.Insert:
        """Both in one."""
        return self.log.delete_and_keep(delete)


@dataclass(frozen=True, eq=False)
class KeptBeforehand(NothingKept):
    """On SQLite the transaction has the only write lock: what is kept before a change is what it changes."""

    log: UndoLog
    dialect: Dialect

    @asynccontextmanager
    async def around(
        self, connection: AsyncConnection, rows: Callable[[], sa.ColumnElement[bool]]
    ) -> AsyncIterator[None]:
        """Keep the rows, and behind the change what has become of them."""
        await self.dialect.lend_functions(connection, FUNCTIONS)
        mark = await connection.scalar(self.log.last()) or 0
        await connection.execute(self.log.keep(rows()))
        yield
        if not self.log.shape.deleted:
            await connection.execute(self.log.complete(mark))
            await connection.execute(self.log.drop_unchanged(mark))


async def keeping_for(
    database: Database, name: str, form: RowsForm, keyset: Keyset, undo: sa.Table
) -> Keeping:
    """What keeps what this form changes, if its script says so. Raises SchemaError where an undo could not
    bring everything back."""
    if not form.options.undo_log:
        return NOTHING_KEPT
    dialect, deletes = database.dialect, isinstance(form, DeleteRows)
    schema, zone, cast = form.table.schema, None, frozenset[str]()
    async with database.looking() as connection:
        types = await column_types(connection, form.table.name, form.table.schema)
        _refuse_lost(name, form, await connection.run_sync(references_to, form.table))
        if dialect.reads_while_writing:
            zone = await connection.scalar(timezone())
            schema = await schema_of(connection, form.table)
            cast = await cast_by_functions(connection, form.table)
            if deletes and (obstacles := await in_the_way_of_inserts(connection, form.table)):
                raise SchemaError(
                    f"{name}: {form.table.name} has {obstacles[0]}, with which the undo log could not put deleted rows back.",
                    "Take out undo_log=True, or that.",
                )
        elif await replaces_rows(connection, form.table, None if deletes else form.updated):
            raise SchemaError(
                f"{name}: {form.table.name} is declared with ON CONFLICT REPLACE, by which rows that are in the way are "
                "deleted, and the undo log would not have them.",
                "Take out undo_log=True, or declare the table without it in an Alembic revision.",
            )
    columns = tuple(types) if deletes else form.updated
    uncast = tuple(sorted(cast.intersection((*keyset.names, *columns))))
    shape = Shape(form.table.name, schema, keyset.names, columns, deletes, zone, uncast)
    log = UndoLog(dialect.name, undo, name, form.table, shape, types)
    return KeptAtOnce(log) if dialect.reads_while_writing else KeptBeforehand(log, dialect)


def _refuse_lost(name: str, form: RowsForm, references: Sequence[Reference]) -> None:
    """A change that cascades to other tables is not in the log; an update's comes back by itself only where it
    cascades."""
    if isinstance(form, DeleteRows):
        lost = [(r, f"DELETE {r.on_delete}") for r in references if r.on_delete in REACHING]
    else:
        written = set(form.updated)
        lost = [
            (r, f"UPDATE {r.on_update}")
            for r in references
            if r.on_update in EMPTYING and written.intersection(r.referred)
        ]
    if lost:
        reference, action = lost[0]
        raise SchemaError(
            f"{name}: rows of {reference.table} change with those of {form.table.name} (ON {action}), and the undo log "
            "would not have them.",
            "Change those first, in a data migration with an undo log of its own, or take out undo_log=True.",
        )
