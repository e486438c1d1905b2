"""The forms a data migration can have. A script's `migrate` is one of these.

Four of them walk a table by its key in batches: the database computes (`update_rows`), Python computes
(`compute_rows`), anything happens in the batch's transaction (`each_batch`), rows go away
(`delete_rows`). The fifth is free: a function of a session.
"""

import inspect
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Unpack

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from datamigrate.authoring.batch import Batch
from datamigrate.authoring.options import FormOptions, options_from, tags_from
from datamigrate.words.errors import ScriptError
from datamigrate.words.migration import Options

KeyColumns = sa.ColumnElement[Any] | Sequence[sa.ColumnElement[Any]] | None
Column = sa.ColumnClause[Any]


@dataclass(frozen=True, eq=False)
class RowsForm:
    """What the four walking forms share.

    `pending` selects the rows still to do, and must no longer select a row once it is done. `key` is
    None when the table's primary key is meant.
    """

    table: sa.TableClause
    key: tuple[Column, ...] | None
    pending: sa.ColumnElement[bool]
    options: Options
    tags: frozenset[str]

    kind = ""

    @property
    def written(self) -> tuple[str, ...]:
        """The names of the columns that the form itself writes."""
        return ()

    @property
    def updated(self) -> tuple[str, ...]:
        """The names of all columns that its UPDATE sets: `written`, and those that the table's `onupdate` adds."""
        by_itself = (c.name for c in self.table.c if getattr(c, "onupdate", None) is not None)
        return tuple(dict.fromkeys((*self.written, *by_itself))) if self.written else ()


@dataclass(frozen=True, eq=False)
class UpdateRows(RowsForm):
    """The database computes `values` for the pending rows."""

    values: Mapping[Column, Any]

    kind = "update"

    @property
    def written(self) -> tuple[str, ...]:
        """The columns that `values` names."""
        return tuple(column.name for column in self.values)


@dataclass(frozen=True, eq=False)
class DeleteRows(RowsForm):
    """The pending rows are deleted."""

    kind = "delete"


@dataclass(frozen=True, eq=False)
class ComputeRows(RowsForm):
    """Python computes; `takes_batch` when the function takes all rows of a batch at once.

    Calling it calls the function, so that a test can treat the script as an ordinary function.
    """

    reads: tuple[Column, ...]
    writes: tuple[Column, ...]
    function: Callable[[Any], Any]
    takes_batch: bool

    kind = "compute"

    def __call__(self, row_or_rows: Any) -> Any:
        return self.function(row_or_rows)

    @property
    def written(self) -> tuple[str, ...]:
        """The columns that the function may return."""
        return tuple(column.name for column in self.writes)


@dataclass(frozen=True, eq=False)
class EachBatch(RowsForm):
    """The function does what it likes with the batch, in its transaction."""

    function: Callable[[Batch], Awaitable[None]]

    kind = "batch"

    def __call__(self, batch: Batch) -> Awaitable[None]:
        return self.function(batch)


@dataclass(frozen=True, eq=False)
class FreeForm:
    """A function of a session, in one transaction; `remaining` counts what is still to do."""

    function: Callable[[AsyncSession], Awaitable[None]]
    remaining: Callable[[AsyncSession], Coroutine[Any, Any, int]] | None
    options: Options
    tags: frozenset[str]

    kind = "free"


Form = UpdateRows | DeleteRows | ComputeRows | EachBatch | FreeForm


def update_rows(
    table: sa.TableClause,
    *,
    key: KeyColumns = None,
    pending: sa.ColumnElement[bool],
    values: Mapping[Any, Any],
    **options: Unpack[FormOptions],
) -> UpdateRows:
    """The database computes: set `values`, column to SQL expression, on the rows that are `pending`.

    Raises ScriptError when a column is not the table's or the key itself would be written.
    """
    columns = {_column_of(table, column, "values"): value for column, value in values.items()}
    if not columns:
        raise ScriptError("`values` is empty.", "Name at least one column: values={table.c.x: expression}.")
    keys = _key_of(table, key)
    _refuse_key_writes(keys, columns)
    return UpdateRows(table, keys, _predicate(pending), options_from(options), tags_from(options), columns)


def delete_rows(
    table: sa.TableClause,
    *,
    key: KeyColumns = None,
    pending: sa.ColumnElement[bool],
    **options: Unpack[FormOptions],
) -> DeleteRows:
    """Delete the rows that are `pending`. Raises ScriptError when a column is not the table's."""
    return DeleteRows(
        table,
        _key_of(table, key),
        _predicate(pending),
        options_from(options),
        tags_from(options),
    )


def compute_rows(
    table: sa.TableClause,
    *,
    key: KeyColumns = None,
    pending: sa.ColumnElement[bool],
    reads: Sequence[sa.ColumnElement[Any]],
    writes: Sequence[sa.ColumnElement[Any]],
    concurrency: int = 10,
    **options: Unpack[FormOptions],
) -> Callable[[Callable[[Any], Any]], ComputeRows]:
    """Python computes: the decorated function maps what it `reads` to what it `writes`.

    A function of `row` is called per row and returns a mapping, column name to value, or None to leave
    the row alone. A function of `rows` is called per batch with a list of rows and returns a list with
    one such mapping (or None) per row, in the same order. Either may be `async def`; `concurrency`
    asynchronous calls run at a time. Rows have attributes named like the columns. A row that the
    application changes between reading and writing is not overwritten; it is read again later.
    """
    keys = _key_of(table, key)
    read = tuple(_column_of(table, column, "reads") for column in reads)
    written = tuple(_column_of(table, column, "writes") for column in writes)
    if not written:
        raise ScriptError("`writes` is empty.", "Name the columns that the function returns.")
    _refuse_key_writes(keys, written)
    _refuse_renamed(written)
    settled = options_from(options, concurrency)

    def decorate(function: Callable[[Any], Any]) -> ComputeRows:
        parameter = _only_parameter(function, "compute_rows", ("row", "rows"))
        return ComputeRows(
            table,
            keys,
            _predicate(pending),
            settled,
            tags_from(options),
            read,
            written,
            function,
            parameter == "rows",
        )

    return decorate


def each_batch(
    table: sa.TableClause,
    *,
    key: KeyColumns = None,
    pending: sa.ColumnElement[bool],
    **options: Unpack[FormOptions],
) -> Callable[[Callable[[Batch], Awaitable[None]]], EachBatch]:
    """Anything, in the batch's transaction: the decorated `async def` is given a Batch.

    When it returns, `pending` must not select any of the batch's rows any more.
    """
    keys = _key_of(table, key)
    settled = options_from(options)
    if settled.undo_log:
        raise ScriptError(
            "`undo_log` does not go with each_batch: what its function changes, and in which tables, is not known.",
            "Use update_rows, compute_rows or delete_rows, or write a `revert` beside `migrate`.",
        )

    def decorate(function: Callable[[Batch], Awaitable[None]]) -> EachBatch:
        _only_parameter(function, "each_batch", ("batch",))
        if not inspect.iscoroutinefunction(function):
            raise ScriptError(
                f"{function.__name__} is not asynchronous.", f"Write `async def {function.__name__}(batch)`."
            )
        return EachBatch(table, keys, _predicate(pending), settled, tags_from(options), function)

    return decorate


def _key_of(table: sa.TableClause, key: KeyColumns) -> tuple[Column, ...] | None:
    _must_be_table(table)
    if key is None:
        return None
    columns = (key,) if isinstance(key, sa.ColumnElement | str) else tuple(key)
    if not columns:
        raise ScriptError("`key` is empty.", "Name the unique columns to walk, or leave `key` out.")
    return tuple(_column_of(table, column, "key") for column in columns)


def _must_be_table(table: Any) -> None:
    if not isinstance(table, sa.TableClause):
        raise ScriptError(
            f"{table!r} is not a table.", "Declare one: sa.table('users', sa.column('id', sa.Integer), ...)."
        )


def _column_of(table: sa.TableClause, column: Any, where: str) -> Column:
    _must_be_table(table)
    name = column if isinstance(column, str) else getattr(column, "name", None)
    if isinstance(column, str) and column in table.c:
        return table.c[column]
    if not isinstance(column, sa.ColumnClause) or getattr(column, "table", None) is not table:
        raise ScriptError(
            f"`{where}` names {name or column!r}, which is no column of {table.name}.",
            f"Declared are: {', '.join(table.c.keys())}.",
        )
    return column


def _predicate(pending: Any) -> sa.ColumnElement[bool]:
    if not isinstance(pending, sa.ColumnElement):
        raise ScriptError(
            f"`pending` is {type(pending).__name__}, not a condition.",
            "Write it with the table's columns, e.g. pending=users.c.full_name.is_(None).",
        )
    return pending


def _refuse_key_writes(keys: tuple[Column, ...] | None, written: Iterable[Column]) -> None:
    for column in written:
        if keys and column in set(keys):
            raise ScriptError(
                f"It writes its own key, {column.name}: the walk would meet rows twice or never.",
                "Walk by another unique key, or copy the rows with each_batch.",
            )


def _refuse_renamed(written: Iterable[Column]) -> None:
    for column in written:
        if column.key != column.name:
            raise ScriptError(
                f"It writes {column.name}, which the table declares as {column.key} (key={column.key!r}): the function "
                "could return it by either name.",
                "Declare the column by its own name, without `key=`.",
            )


def _only_parameter(function: Any, decorator: str, names: tuple[str, ...]) -> str:
    parameters = list(inspect.signature(function).parameters)
    if len(parameters) != 1 or parameters[0] not in names:
        wanted = " or ".join(f"({name})" for name in names)
        raise ScriptError(
            f"{function.__name__}({', '.join(parameters)}) does not fit {decorator}.",
            f"Give it one parameter: def {function.__name__}{wanted}.",
        )
    return parameters[0]
