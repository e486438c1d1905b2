"""Writing computed values on PostgreSQL: one UPDATE from arrays, joined or not, or from some hundred rows at a time where
those would not arrive as they are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql.ranges import AbstractMultiRange
from sqlalchemy.ext.asyncio import AsyncConnection

from datamigrate.database.dialects.base import RowsToWrite, Writer
from datamigrate.database.dialects.postgresql_joining import Joining, NotJoined, array_of, joining_of
from datamigrate.database.innermost import changed

# the one that is in force: a type may be another one there than with another driver
DIALECT = postgresql.asyncpg.dialect()  # type: ignore[no-untyped-call] # untyped there

ROWS_AT_ONCE = 500

MOST_STATEMENTS = 8

MOST_PARAMETERS = 32_000
"""A few less than what the protocol's two bytes can count as a signed number, which is what the driver allows."""


def writer_of(rows: RowsToWrite) -> Writer:
    """From arrays, unless values of one of the columns would be taken apart on the way, or are to be put into SQL."""
    written = (_unlimited(kind).dialect_impl(DIALECT) for kind in rows.types)
    return (
        ByHundreds(rows) if any(_would_be_taken_apart(k) or _is_in_sql(k) for k in written) else AtOnce(rows)
    )


@dataclass(frozen=True, eq=False)
class AtOnce:
    """All rows of a batch by one UPDATE from arrays."""

    rows: RowsToWrite

    async def write(
        self, connection: AsyncConnection, columns: Sequence[list[Any]], where: Mapping[str, Any]
    ) -> int:
        """The arrays are handed over beside the statement, joined if that can be."""
        try:
            update, arrays = self._from_joined, self._joined(columns)
        except NotJoined:
            update, arrays = self._from_arrays, columns
        given = {_array(i): array for i, array in enumerate(arrays)}
        return int((await connection.execute(update, {**where, **given})).rowcount)

    def _joined(self, columns: Sequence[list[Any]]) -> Sequence[Any]:
        joinings = zip(self._joinings, columns, strict=True)
        return [join(column) if join else column for join, column in joinings]

    @cached_property
    def _joinings(self) -> list[Joining | None]:
        return [joining_of(kind) for kind in _types_of(self.rows)]

    @cached_property
    def _from_joined(self) -> sa.Update | sa.Insert:
        return self.rows.keeping(update_from_arrays(self.rows, joined=True))

    @cached_property
    def _from_arrays(self) -> sa.Update | sa.Insert:
        return self.rows.keeping(update_from_arrays(self.rows))


@dataclass(frozen=True, eq=False)
class ByHundreds:
    """Some hundred rows of a batch at a time, by an UPDATE from VALUES each."""

    rows: RowsToWrite
    _updates: dict[int, sa.Update | sa.Insert] = field(default_factory=dict, init=False)

    async def write(
        self, connection: AsyncConnection, columns: Sequence[list[Any]], where: Mapping[str, Any]
    ) -> int:
        """As many at a time as the driver allows."""
        rows, changed = list(zip(*columns, strict=True)), 0
        for start in range(0, len(rows), self._most):
            some = rows[start : start + self._most]
            given = {_value(r, i): value for r, row in enumerate(some) for i, value in enumerate(row)}
            changed += (await connection.execute(self._update(len(some)), {**where, **given})).rowcount
        return changed

    @cached_property
    def _most(self) -> int:
        return rows_at_once(self.rows)

    def _update(self, rows: int) -> sa.Update | sa.Insert:
        if rows not in self._updates:
            # what is left of a batch in the end may be of any number: keep few of those
            if len(self._updates) > MOST_STATEMENTS:
                self._updates.clear()
            self._updates[rows] = self.rows.keeping(update_from_rows(self.rows, rows))
        return self._updates[rows]


def update_from_arrays(rows: RowsToWrite, joined: bool = False) -> sa.Update:
    """`UPDATE … FROM unnest(arrays)`: a parameter for the array of each key column, of the version
    and of each written column; for what can be `joined`, one for its text."""
    types = _types_of(rows)
    values = (
        sa.func.unnest(*(_given(_array(i), kind, joined) for i, kind in enumerate(types)))
        .table_valued(
            *(sa.column(name, kind) for name, kind in zip(_names_of(rows), types, strict=True)),
            name="computed",
        )
        .render_derived()
    )
    return _update_from(values, rows)


def _given(name: str, kind: sa.types.TypeEngine[Any], joined: bool) -> sa.ColumnElement[Any]:
    if joined and joining_of(kind):
        return array_of(name, kind)
    # of one dimension, whatever its elements are: SQLAlchemy would take a list that is a value for a row of several
    return sa.bindparam(name, type_=postgresql.ARRAY(kind, dimensions=1))


def _array(number: int) -> str:
    # one that is named as a column of the table would be taken for a value to write
    return f"datamigrate_array_{number}"


def _value(row: int, number: int) -> str:
    return f"datamigrate_value_{row}_{number}"


def _would_be_taken_apart(kind: sa.types.TypeEngine[Any]) -> bool:
    # unnest makes a row of every element of an array of arrays, and a column of every field of a composite, which
    # any type may be that SQLAlchemy does not know itself; and a multirange is a list to the driver
    if isinstance(kind, sa.TypeDecorator):
        return _would_be_taken_apart(kind.impl_instance)
    return isinstance(kind, sa.ARRAY | sa.types.UserDefinedType | AbstractMultiRange | postgresql.DOMAIN)


def _is_in_sql(kind: sa.types.TypeEngine[Any]) -> bool:
    # nothing does that to the elements of an array
    return kind.bind_expression(sa.bindparam("value", type_=kind)) is not None


def update_from_rows(rows: RowsToWrite, number: int) -> sa.Update:
    """`UPDATE … FROM (VALUES …)` for so many rows: a parameter for each value of each row."""
    types = _types_of(rows)
    given = [[_value(row, i) for i in range(len(types))] for row in range(number)]
    # the types of the first row are those of all
    first = (f"CAST(:{name} AS {_written(kind)})" for name, kind in zip(given[0], types, strict=True))
    others = (", ".join(f":{name}" for name in names) for names in given[1:])
    lines = ", ".join(f"({line})" for line in (", ".join(first), *others))
    # as text, since SQLAlchemy would compile its own VALUES anew for every execution
    text = sa.text(f"SELECT * FROM (VALUES {lines}) AS given ({', '.join(_names_of(rows))})").bindparams(
        *(sa.bindparam(name, None, kind) for names in given for name, kind in zip(names, types, strict=True))
    )
    columns = (sa.column(name, kind) for name, kind in zip(_names_of(rows), types, strict=True))
    return _update_from(text.columns(*columns).subquery(), rows)


def rows_at_once(rows: RowsToWrite) -> int:
    """How many `update_from_rows` may be given: besides their parameters there are the keys of a list, and what the
    predicate compares with."""
    width = len(_names_of(rows))
    one: Any = rows.keeping(update_from_rows(rows, 1)).compile(
        dialect=DIALECT, compile_kwargs={"render_postcompile": True}
    )
    others = len(one.positiontup) - width
    return max(1, min(ROWS_AT_ONCE, (MOST_PARAMETERS - others) // width))


def _written(kind: sa.types.TypeEngine[Any]) -> str:
    return changed(kind, DIALECT, _uncollated).compile(dialect=DIALECT)


def _uncollated(kind: sa.types.TypeEngine[Any]) -> sa.types.TypeEngine[Any]:
    # which CAST does not take
    said = {name: None for name in ("collation", "collation_schema") if getattr(kind, name, None) is not None}
    return kind.adapt(type(kind), **said) if isinstance(kind, sa.String) and said else kind


def _types_of(rows: RowsToWrite) -> list[sa.types.TypeEngine[Any]]:
    return [*rows.key_types, *(v.type for v in rows.version), *map(_unlimited, rows.types)]


def _unlimited(kind: sa.types.TypeEngine[Any]) -> sa.types.TypeEngine[Any]:
    """The type on this database, without a length or a precision: a cast to `varchar(3)` would cut a longer text off
    without a word, while the column itself refuses it, or takes it."""
    return changed(kind, DIALECT, _without_a_limit)


def _without_a_limit(kind: sa.types.TypeEngine[Any]) -> sa.types.TypeEngine[Any]:
    if isinstance(kind, postgresql.BIT):
        return postgresql.BIT(varying=True)
    if isinstance(kind, sa.CHAR):
        return sa.Text()
    if isinstance(kind, postgresql.TIMESTAMP | postgresql.TIME):
        return kind.adapt(type(kind), precision=None)
    return kind.adapt(type(kind), length=None) if _has_a_length(kind) else kind


def _has_a_length(kind: sa.types.TypeEngine[Any]) -> bool:
    is_named = isinstance(kind, sa.Enum) and kind.native_enum
    return isinstance(kind, sa.String) and not is_named and kind.length is not None


def _names_of(rows: RowsToWrite) -> list[str]:
    return [f"c{i}" for i in range(len(rows.key_types) + len(rows.version) + len(rows.types))]


def _update_from(values: sa.FromClause, rows: RowsToWrite) -> sa.Update:
    same = [*rows.key, *rows.version]
    given = [values.c[name] for name in _names_of(rows)]
    return (
        sa.update(rows.table)
        .where(*(mine == theirs for mine, theirs in zip(same, given, strict=False)), rows.within)
        .values(dict(zip(rows.names, given[len(same) :], strict=True)))
    )
