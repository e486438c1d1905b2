"""The statements that do a batch's work: each a function of the form and the slice of the key space."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql.elements import Grouping

from datamigrate.authoring.forms import ComputeRows, DeleteRows, RowsForm, UpdateRows
from datamigrate.database.keyset import Keyset, column_of, one_of, within
from datamigrate.database.narrowed import narrowed
from datamigrate.words.migration import Bounds, Key


def rows_of(form: RowsForm, keyset: Keyset, bounds: Bounds) -> sa.ColumnElement[bool]:
    """The batch's rows: in its slice, and pending still."""
    # in this order, for a parameter has the type of the column that it is compared with first
    return sa.and_(within(keyset, bounds), narrowed(keyset, bounds, form.pending))


def update(form: UpdateRows, keyset: Keyset, bounds: Bounds) -> sa.Update:
    """Set the values on the batch's rows."""
    return sa.update(form.table).where(rows_of(form, keyset, bounds)).values(dict(form.values))


def delete(form: DeleteRows, keyset: Keyset, bounds: Bounds) -> sa.Delete:
    """Delete the batch's rows."""
    return sa.delete(form.table).where(rows_of(form, keyset, bounds))


def count(form: RowsForm, keyset: Keyset, bounds: Bounds) -> sa.Select[Any]:
    """How many rows the batch has."""
    return sa.select(sa.func.count()).select_from(form.table).where(rows_of(form, keyset, bounds))


def read(
    form: ComputeRows,
    keyset: Keyset,
    bounds: Bounds,
    version: Sequence[sa.ColumnElement[Any]],
    is_read: bool = False,
) -> sa.Select[Any]:
    """The batch's rows in key order: the key, the row's version, then the columns that the script reads, unless the
    version `is_read`."""
    return (
        sa.select(
            *(c.label(f"key_{i}") for i, c in enumerate(keyset.columns)),
            *(v.label(f"version_{i}") for i, v in enumerate(version)),
            *(c.label(f"read_{i}") for i, c in enumerate(() if is_read else form.reads)),
        )
        .where(rows_of(form, keyset, bounds))
        .order_by(*keyset.columns)
    )


def update_inside(form: ComputeRows, keyset: Keyset, bounds: Bounds) -> sa.Update:
    """Have the database call Python: `datamigrate_value_0` and so on, for each value of a row that it writes; of several
    values each is asked for by the row's key."""
    read = [sa.type_coerce(column, sa.types.NullType()) for column in form.reads]
    key = keyset.columns if len(form.written) > 1 else ()
    values = {
        name: getattr(sa.func, f"datamigrate_value_{i}")(*key, *read, type_=sa.types.NullType())
        for i, name in enumerate(form.written)
    }
    return sa.update(form.table).where(rows_of(form, keyset, bounds)).values(values)


def statement_of(form: RowsForm, keyset: Keyset, bounds: Bounds) -> sa.Update | sa.Delete | sa.Select[Any]:
    """What a batch of this form makes the database do, as far as it is known beforehand."""
    if isinstance(form, UpdateRows):
        return update(form, keyset, bounds)
    if isinstance(form, DeleteRows):
        return delete(form, keyset, bounds)
    if isinstance(form, ComputeRows):
        return read(form, keyset, bounds, [])
    return count(form, keyset, bounds)


def images(keyset: Keyset, columns: Sequence[str], keys: Sequence[Key]) -> sa.Select[Any]:
    """These rows as they are now, in key order: the key, then the columns, as the driver gives them."""
    shown = (sa.type_coerce(column_of(keyset.table, c), sa.types.NullType()) for c in columns)
    return (
        sa.select(
            *(c.label(f"key_{i}") for i, c in enumerate(keyset.columns)),
            *(c.label(f"column_{i}") for i, c in enumerate(shown)),
        )
        .where(one_of(keyset, keys))
        .order_by(*keyset.columns)
    )


def foreseen(form: UpdateRows, keyset: Keyset, keys: Sequence[Key]) -> sa.Select[Any]:
    """What `update` would write to these rows: the key, then the new values."""
    values = (_as_it_is_sent(column, value) for column, value in form.values.items())
    return (
        sa.select(*keyset.columns, *(sa.type_coerce(v, sa.types.NullType()) for v in values))
        .select_from(form.table)
        .where(one_of(keyset, keys))
    )


def _as_it_is_sent(column: sa.ColumnElement[Any], value: Any) -> sa.ColumnElement[Any]:
    """The value with the type that an UPDATE of the column sends it with, whatever it is read as."""
    if not isinstance(value, sa.ClauseElement):
        # an UPDATE leaves the type of a column that the script does not declare to the database
        unknown = isinstance(column.type, sa.types.NullType)
        value = sa.literal(value, None if unknown else column.type)
    # a parameter by itself takes the type that it is read as also for being sent
    return Grouping(value) if isinstance(value, sa.BindParameter) else value
