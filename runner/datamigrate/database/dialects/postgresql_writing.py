"""Writing computed values on PostgreSQL: one UPDATE from arrays, or from some hundred rows at a time where those would
not arrive as they are."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql.ranges import AbstractMultiRange
from sqlalchemy.ext.asyncio import AsyncConnection

from datamigrate.database.dialects.base import RowsToWrite

ROWS_AT_ONCE = 500

MOST_PARAMETERS = 32_000
"""A few less than what the protocol's two bytes can count as a signed number, which is what the driver allows."""


class XID(sa.types.UserDefinedType[int]):
    """A transaction's number, as the system columns have it: to the driver an integer."""

    cache_ok = True
    render_bind_cast = True

    def get_col_spec(self, **_kw: Any) -> str:
        """Its name on the server."""
        return "xid"


async def write_rows(connection: AsyncConnection, write: RowsToWrite) -> int:
    """Write to the rows that are still as they were read; how many those were."""
    if any(_would_be_taken_apart(_unlimited(kind)) for kind in write.types):
        return await _write_by_hundreds(connection, write)
    # a statement is made of objects that refer to each other, and would keep the rows until the collector
    # comes: they are handed over beside it
    arrays = {f"a{i}": column for i, column in enumerate(write.columns)}
    update = write.keeping(update_from_arrays(write))
    return int((await connection.execute(update, arrays)).rowcount)


def update_from_arrays(write: RowsToWrite) -> sa.Update:
    """`UPDATE … FROM unnest(arrays)`: a parameter `a0`, `a1`, … for the array of each key column, of the version
    and of each written column."""
    types = _types_of(write)
    values = (
        sa.func.unnest(*(sa.bindparam(f"a{i}", type_=postgresql.ARRAY(kind)) for i, kind in enumerate(types)))
        .table_valued(
            *(sa.column(name, kind) for name, kind in zip(_names_of(write), types, strict=True)),
            name="computed",
        )
        .render_derived()
    )
    return _update_from(values, write)


def _would_be_taken_apart(kind: sa.types.TypeEngine[Any]) -> bool:
    # unnest makes a row of every element of an array of arrays, and a column of every field of a composite, which
    # any type may be that SQLAlchemy does not know itself; and a multirange is a list to the driver
    plain = kind.impl_instance if isinstance(kind, sa.TypeDecorator) else kind
    return isinstance(plain, sa.ARRAY | sa.types.UserDefinedType | AbstractMultiRange | postgresql.DOMAIN)


async def _write_by_hundreds(connection: AsyncConnection, write: RowsToWrite) -> int:
    most = min(ROWS_AT_ONCE, MOST_PARAMETERS // len(write.columns))
    rows = list(zip(*write.columns, strict=True))
    changed, statements = 0, {}
    for start in range(0, len(rows), most):
        some = rows[start : start + most]
        if len(some) not in statements:
            statements[len(some)] = write.keeping(update_from_rows(write, len(some)))
        given = {f"v{r}_{i}": value for r, row in enumerate(some) for i, value in enumerate(row)}
        changed += (await connection.execute(statements[len(some)], given)).rowcount
    return changed


def update_from_rows(write: RowsToWrite, rows: int) -> sa.Update:
    """`UPDATE … FROM (VALUES …)` for so many rows: a parameter `v0_0`, `v0_1`, … for each value of each row."""
    types = _types_of(write)
    given = [[f"v{row}_{i}" for i in range(len(types))] for row in range(rows)]
    # the types of the first row are those of all
    first = (f"CAST(:{name} AS {_written(kind)})" for name, kind in zip(given[0], types, strict=True))
    others = (", ".join(f":{name}" for name in names) for names in given[1:])
    lines = ", ".join(f"({line})" for line in (", ".join(first), *others))
    # as text, since SQLAlchemy would compile its own VALUES anew for every execution
    text = sa.text(f"SELECT * FROM (VALUES {lines}) AS given ({', '.join(_names_of(write))})").bindparams(
        *(sa.bindparam(name, type_=kind) for names in given for name, kind in zip(names, types, strict=True))
    )
    columns = (sa.column(name, kind) for name, kind in zip(_names_of(write), types, strict=True))
    return _update_from(text.columns(*columns).subquery(), write)


def _written(kind: sa.types.TypeEngine[Any]) -> str:
    return kind.compile(dialect=postgresql.dialect())  # type: ignore[no-untyped-call] # untyped there


def _types_of(write: RowsToWrite) -> list[sa.types.TypeEngine[Any]]:
    return [*write.key_types, *(v.type for v in write.version), *map(_unlimited, write.types)]


def _unlimited(kind: sa.types.TypeEngine[Any]) -> sa.types.TypeEngine[Any]:
    """The type without a length: a cast to `varchar(3)` would cut a longer text off without a word, while the column
    itself refuses it."""
    if isinstance(kind, postgresql.DOMAIN) and not isinstance(kind.data_type, sa.types.NullType):
        return _unlimited(kind.data_type)
    if isinstance(kind, sa.ARRAY):
        return kind.adapt(type(kind), item_type=_unlimited(kind.item_type))
    if isinstance(kind, sa.TypeDecorator):
        alike = kind.copy()
        alike.impl = alike.impl_instance = _unlimited(kind.impl_instance)
        return alike
    if isinstance(kind, postgresql.BIT):
        return postgresql.BIT(varying=True)
    if isinstance(kind, sa.CHAR):
        return sa.Text()
    return kind.adapt(type(kind), length=None) if _has_a_length(kind) else kind


def _has_a_length(kind: sa.types.TypeEngine[Any]) -> bool:
    return isinstance(kind, sa.String) and not isinstance(kind, sa.Enum) and kind.length is not None


def _names_of(write: RowsToWrite) -> list[str]:
    return [f"c{i}" for i in range(len(write.key_types) + len(write.version) + len(write.types))]


def _update_from(values: sa.FromClause, write: RowsToWrite) -> sa.Update:
    same = [*write.key, *write.version]
    given = [values.c[name] for name in _names_of(write)]
    return (
        sa.update(write.table)
        .where(*(mine == theirs for mine, theirs in zip(same, given, strict=False)), write.within)
        .values(dict(zip(write.names, given[len(same) :], strict=True)))
    )
