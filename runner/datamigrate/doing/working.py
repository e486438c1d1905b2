"""Binding a script's form to the table as the database has it."""

import inspect

from datamigrate.authoring.forms import ComputeRows, FreeForm
from datamigrate.authoring.script import Script
from datamigrate.database.database import Database
from datamigrate.database.examining import examine
from datamigrate.doing.free_work import FreeWork
from datamigrate.doing.inside_work import InsideWork
from datamigrate.doing.rows_work import ComputeWork, SetWork
from datamigrate.doing.work import Work


async def work_for(database: Database, script: Script) -> Work:
    """The script's form, bound to the table as the database has it. Raises SchemaError, KeyUnfit."""
    form, dialect = script.form, database.dialect
    if isinstance(form, FreeForm):
        return FreeWork(form)
    async with database.looking() as connection:
        examined = await examine(connection, dialect, script.name, form)
    if isinstance(form, ComputeRows):
        is_plain = not form.takes_batch and not inspect.iscoroutinefunction(form.function)
        kind = InsideWork if dialect.calls_functions and is_plain else ComputeWork
        return kind(
            form, examined.keyset, dialect, examined.columns, examined.written_types, script.migration.file
        )
    return SetWork(form, examined.keyset, dialect, examined.columns)
