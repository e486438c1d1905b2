"""Writing computed values on SQLite: one prepared UPDATE, executed for every row in one call to the driver's thread."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import repeat
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import aiosqlite
from sqlalchemy.exc import StatementError
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.compiler import SQLCompiler

from datamigrate.database.dialects.base import RowsToWrite


@dataclass(frozen=True, eq=False)
class OneByOne:
    """The rows of a batch, each by its key."""

    rows: RowsToWrite

    async def write(
        self, connection: AsyncConnection, columns: Sequence[list[Any]], where: Mapping[str, Any]
    ) -> int:
        """All in one call. Raises StatementError, as SQLAlchemy does, where a value cannot be converted."""
        statement = str(self._update)
        try:
            values = in_positions(self._update, self.rows, columns, where)
        except Exception as error:
            raise StatementError(str(error), statement, None, error, hide_parameters=True) from error
        return int((await connection.exec_driver_sql(statement, values)).rowcount)

    @cached_property
    def _update(self) -> SQLCompiler:
        return compiled(update_by_key(self.rows))


def compiled(update: sa.Update) -> SQLCompiler:
    """As it is executed, with a place for each value of an IN."""
    dialect = aiosqlite.dialect()
    text = update.compile(dialect=dialect, compile_kwargs={"render_postcompile": True})
    assert isinstance(text, SQLCompiler)
    return text


def in_positions(
    statement: SQLCompiler, rows: RowsToWrite, columns: Sequence[list[Any]], where: Mapping[str, Any]
) -> list[tuple[Any, ...]]:
    """The statement's parameters for every row, converted by their types as SQLAlchemy does it.

    SQLAlchemy itself would make a mapping of each row first, which takes longer than the statement.
    """
    assert statement.positiontup is not None
    kinds = [None] * (len(rows.key) + len(rows.version)) + list(rows.types)
    own = {
        parameter(i): _converted(column, kind, statement.dialect)
        for i, (column, kind) in enumerate(zip(columns, kinds, strict=True))
    }
    own |= _by_columns_themselves(statement, len(columns[0]))
    same = {**statement.construct_params(), **where}
    return list(
        zip(
            *(
                own[name]
                if name in own
                else repeat(*_converted([same[name]], _kind_of(statement, name), statement.dialect))
                for name in statement.positiontup
            ),
            strict=False,
        )
    )


def _by_columns_themselves(statement: SQLCompiler, rows: int) -> dict[str, list[Any]]:
    """What the `onupdate` of columns that are not written puts into each row; one in SQL is in the statement."""
    return {
        column.key: _converted(_onupdate(column, rows), column.type, statement.dialect)
        for column in statement.update_prefetch
    }


def _onupdate(column: sa.Column[Any], rows: int) -> list[Any]:
    value: Any = column.onupdate
    # SQLAlchemy hands over what it is executing, of which there is nothing here
    return [value.arg(None) if value.is_callable else value.arg for _ in range(rows)]


def _converted(values: list[Any], kind: sa.types.TypeEngine[Any] | None, dialect: sa.Dialect) -> list[Any]:
    convert = kind.dialect_impl(dialect).bind_processor(dialect) if kind is not None else None
    return values if convert is None else [convert(value) for value in values]


def _kind_of(statement: SQLCompiler, name: str) -> sa.types.TypeEngine[Any]:
    # the values of an IN have the name of the whole with a number behind it
    while name not in statement.binds:
        name = name.rpartition("_")[0]
    return statement.binds[name].type


def update_by_key(rows: RowsToWrite) -> sa.Update:
    """`UPDATE … WHERE key = ? AND` what was read is still there, one parameter for each value of a row."""
    key, version = len(rows.key), len(rows.version)
    return (
        sa.update(rows.table)
        .where(
            *(k == sa.bindparam(parameter(i), None, sa.types.NullType()) for i, k in enumerate(rows.key)),
            *(
                sa.collate(v, "BINARY").is_not_distinct_from(
                    sa.bindparam(parameter(key + i), None, sa.types.NullType())
                )
                for i, v in enumerate(rows.version)
            ),
            rows.pending,
        )
        .values(
            {
                name: sa.bindparam(parameter(key + version + i), None, kind)
                for i, (name, kind) in enumerate(zip(rows.names, rows.types, strict=True))
            }
        )
    )


def parameter(number: int) -> str:
    """The name of a parameter for a computed row's value; a column of that name would be taken for written."""
    return f"datamigrate_{number}"
