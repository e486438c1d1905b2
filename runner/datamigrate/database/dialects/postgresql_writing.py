"""Writing computed values on PostgreSQL: one UPDATE from arrays, or one statement per row where those will not do."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection

from datamigrate.database.dialects.base import RowsToWrite, parameter


class XID(sa.types.UserDefinedType[int]):
    """A transaction's number, as the system columns have it: to the driver an integer."""

    cache_ok = True
    render_bind_cast = True

    def get_col_spec(self, **_kw: Any) -> str:
        """Its name on the server."""
        return "xid"


async def write_rows(connection: AsyncConnection, write: RowsToWrite) -> int:
    """Write to the rows that are still as they were read; how many those were."""
    if any(isinstance(kind, sa.ARRAY) for kind in write.types):
        return await _write_one_by_one(connection, write)
    # a statement is made of objects that refer to each other, and would keep the rows until the collector
    # comes: they are handed over beside it
    arrays = {f"a{i}": column for i, column in enumerate(write.columns)}
    update = write.keeping(update_from_arrays(write))
    return int((await connection.execute(update, arrays)).rowcount)


def update_from_arrays(write: RowsToWrite) -> sa.Update:
    """`UPDATE … FROM unnest(arrays)`: a parameter `a0`, `a1`, … for the array of each key column, of the version
    and of each written column."""
    types = [*write.key_types, *(v.type for v in write.version), *write.types]
    names = [f"c{i}" for i in range(len(types))]
    values = (
        sa.func.unnest(*(sa.bindparam(f"a{i}", type_=postgresql.ARRAY(kind)) for i, kind in enumerate(types)))
        .table_valued(
            *(sa.column(name, kind) for name, kind in zip(names, types, strict=True)), name="computed"
        )
        .render_derived()
    )
    same = [*write.key, *write.version]
    given = [values.c[name] for name in names]
    return (
        sa.update(write.table)
        .where(*(mine == theirs for mine, theirs in zip(same, given, strict=False)), write.within)
        .values(dict(zip(write.names, given[len(same) :], strict=True)))
    )


async def _write_one_by_one(connection: AsyncConnection, write: RowsToWrite) -> int:
    same = [*write.key, *write.version]
    kinds = [*write.key_types, *(v.type for v in write.version)]
    statement = (
        sa.update(write.table)
        .where(
            *(
                mine == sa.bindparam(parameter(i), type_=kind)
                for i, (mine, kind) in enumerate(zip(same, kinds, strict=True))
            ),
            write.within,
        )
        .values(
            {
                name: sa.bindparam(parameter(len(same) + i), type_=kind)
                for i, (name, kind) in enumerate(zip(write.names, write.types, strict=True))
            }
        )
    )
    changed = 0
    kept = write.keeping(statement)
    for row in zip(*write.columns, strict=True):
        changed += (await connection.execute(kept, {parameter(i): v for i, v in enumerate(row)})).rowcount
    return changed
