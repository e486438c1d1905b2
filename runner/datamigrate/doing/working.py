"""Binding a script's form to the table as the database has it."""

import inspect

import sqlalchemy as sa
from anyio import CapacityLimiter
from sqlalchemy.ext.asyncio import AsyncConnection

from datamigrate.authoring.bare import bare_function
from datamigrate.authoring.forms import ComputeRows, FreeForm
from datamigrate.authoring.script import Script
from datamigrate.database.database import Database
from datamigrate.database.dialects import Dialect
from datamigrate.database.examining import examine
from datamigrate.database.keyset import Keyset
from datamigrate.doing.compute_work import ComputeWork
from datamigrate.doing.elsewhere import Elsewhere
from datamigrate.doing.free_work import FreeWork
from datamigrate.doing.inside_work import InsideWork, may_be_called_inside
from datamigrate.doing.keeping import NOTHING_KEPT, Keeping, keeping_for
from datamigrate.doing.set_work import SetWork
from datamigrate.doing.work import Work


async def work_for(
    database: Database,
    script: Script,
    workers: int = 1,
    undo: sa.Table | None = None,
    inside: bool = False,
) -> Work:
    """The script's form, bound to the table as the database has it, for so many workers. What it changes is kept
    in `undo`, if it says so and there is such a table. Its function may be called from `inside` the database, where
    that comes to the same. Raises SchemaError, KeyUnfit."""
    form, dialect = script.form, database.dialect
    if isinstance(form, FreeForm):
        return FreeWork(form)
    async with database.looking() as connection:
        examined = await examine(connection, dialect, script.name, form)
        if inside and isinstance(form, ComputeRows):
            inside = await _may_be_inside(connection, dialect, form, examined.keyset)
    keeping: Keeping = NOTHING_KEPT
    if undo is not None:
        keeping = await keeping_for(database, script.name, form, examined.keyset, undo)
    if not isinstance(form, ComputeRows):
        return SetWork(form, examined.keyset, dialect, examined.columns, keeping=keeping)
    waits, identity = inspect.iscoroutinefunction(form.function), script.migration
    elsewhere = Elsewhere(identity.file, identity.checksum, CapacityLimiter(workers))
    return (InsideWork if inside else ComputeWork)(
        form,
        examined.keyset,
        dialect,
        examined.columns,
        examined.written_types,
        identity.file,
        elsewhere if workers > 1 and not waits and identity.file.exists() else None,
        keeping=keeping,
    )


async def _may_be_inside(
    connection: AsyncConnection, dialect: Dialect, form: ComputeRows, keyset: Keyset
) -> bool:
    if not dialect.calls_functions or form.takes_batch:
        return False
    if inspect.iscoroutinefunction(form.function) and bare_function(form) is None:
        return False
    if not may_be_called_inside(form, keyset, connection.dialect):
        return False
    # an UPDATE computes for all rows before it writes the first, and a trigger may change what was computed from
    return not await dialect.has_triggers(connection, form.table)
