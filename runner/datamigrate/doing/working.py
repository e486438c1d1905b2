"""Binding a script's form to the table as the database has it."""

import inspect

from anyio import CapacityLimiter

from datamigrate.authoring.forms import ComputeRows, FreeForm
from datamigrate.authoring.script import Script
from datamigrate.database.database import Database
from datamigrate.database.examining import examine
from datamigrate.doing.elsewhere import Elsewhere
from datamigrate.doing.free_work import FreeWork
from datamigrate.doing.inside_work import InsideWork
from datamigrate.doing.rows_work import ComputeWork, SetWork
from datamigrate.doing.work import Work


async def work_for(database: Database, script: Script, workers: int = 1) -> Work:
    """The script's form, bound to the table as the database has it, for so many workers. Raises SchemaError,
    KeyUnfit."""
    form, dialect = script.form, database.dialect
    if isinstance(form, FreeForm):
        return FreeWork(form)
    async with database.looking() as connection:
        examined = await examine(connection, dialect, script.name, form)
    if not isinstance(form, ComputeRows):
        return SetWork(form, examined.keyset, dialect, examined.columns)
    waits, identity = inspect.iscoroutinefunction(form.function), script.migration
    elsewhere = Elsewhere(identity.file, identity.checksum, CapacityLimiter(workers))
    kind = InsideWork if dialect.calls_functions and not (form.takes_batch or waits) else ComputeWork
    return kind(
        form,
        examined.keyset,
        dialect,
        examined.columns,
        examined.written_types,
        identity.file,
        elsewhere if workers > 1 and not waits and identity.file.exists() else None,
    )
