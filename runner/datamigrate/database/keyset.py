"""Walking a table by its key: the statements that find where a batch begins and ends.

A batch is a slice of the key space, found by key and never by OFFSET from the table's beginning, so that
the last batch costs what the first one does. Key values go in and out as the driver gives them, without
SQLAlchemy's types in between: a cursor must come back exactly as it was stored.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from datamigrate.words.migration import Bounds, Key, KeyValue

_LOWER, _UPPER, _PASSED = "datamigrate_lower", "datamigrate_upper", "datamigrate_passed"


@dataclass(frozen=True, eq=False)
class Keyset:
    """A table and the columns it is walked by; `types` are the database's own, and where it `is_strict`, a column has no
    values of another one."""

    table: sa.TableClause
    names: tuple[str, ...]
    types: tuple[sa.types.TypeEngine[Any], ...]
    is_strict: bool = False

    @property
    def columns(self) -> tuple[sa.ColumnElement[Any], ...]:
        """The key's columns, with values as the driver gives them."""
        return tuple(sa.type_coerce(self._column(name), sa.types.NullType()) for name in self.names)

    @property
    def label(self) -> str:
        """The key for a person: `users.id` or `orders.(tenant_id, id)`."""
        inside = self.names[0] if len(self.names) == 1 else f"({', '.join(self.names)})"
        return f"{self.table.name}.{inside}"

    def _column(self, name: str) -> sa.ColumnElement[Any]:
        return column_of(self.table, name)


def column_of(table: sa.TableClause, name: str) -> sa.ColumnElement[Any]:
    """A column of the table by its name in the database, whether the script has declared it or not."""
    declared = next((column for column in table.c if column.name == name), None)
    return sa.column(name, _selectable=table) if declared is None else declared


def after(keyset: Keyset, lower: Key) -> sa.ColumnElement[bool]:
    """Rows behind this key."""
    return _row(keyset) > _named(_LOWER, lower)


def upto(keyset: Keyset, upper: Key) -> sa.ColumnElement[bool]:
    """Rows up to and with this key."""
    return _row(keyset) <= _named(_UPPER, upper)


def within(keyset: Keyset, bounds: Bounds) -> sa.ColumnElement[bool]:
    """Rows of this slice of the key space; `slice_parameters` makes them those of another."""
    last = upto(keyset, bounds.upper)
    return last if bounds.lower is None else sa.and_(after(keyset, bounds.lower), last)


def slice_parameters(bounds: Bounds) -> dict[str, KeyValue]:
    """With these a statement that was made for one slice is executed for another, which has as many bounds."""
    return _by_name(_UPPER, bounds.upper) | ({} if bounds.lower is None else _by_name(_LOWER, bounds.lower))


def one_of(keyset: Keyset, keys: Sequence[Key]) -> sa.ColumnElement[bool]:
    """Exactly the rows with these keys."""
    # no chain of ORs, of which SQLite bears a thousand only
    if len(keyset.names) == 1:
        return _row(keyset).in_([_parameter(value) for (value,) in keys])
    return _row(keyset).in_(list(keys))


def none_of(keyset: Keyset, keys: Sequence[Key]) -> sa.ColumnElement[bool]:
    """All rows but those with these keys."""
    return sa.not_(one_of(keyset, keys))


def last_before(keyset: Keyset, key: Key) -> sa.Select[Any]:
    """The last key before this one."""
    backwards = (c.desc() for c in keyset.columns)
    return sa.select(*keyset.columns).where(_row(keyset) < _given(key)).order_by(*backwards).limit(1)


def last_key(keyset: Keyset) -> sa.Select[Any]:
    """The largest key of the table."""
    return sa.select(*keyset.columns).order_by(*(c.desc() for c in keyset.columns)).limit(1)


def nth_key(
    keyset: Keyset, bounds: Bounds, n: int, pending: sa.ColumnElement[bool] | None = None
) -> sa.Select[Any]:
    """The n-th key (from 1) of the slice, counting only pending rows when a predicate is given;
    `nth_parameters` make it another's."""
    inside = [within(keyset, bounds)] + ([] if pending is None else [pending])
    passed = sa.bindparam(_PASSED, n - 1, sa.Integer)
    return sa.select(*keyset.columns).where(*inside).order_by(*keyset.columns).limit(1).offset(passed)


def nth_parameters(bounds: Bounds, n: int) -> dict[str, KeyValue]:
    """With these `nth_key` is executed for another slice and number."""
    return slice_parameters(bounds) | {_PASSED: n - 1}


def spread_keys(keyset: Keyset, bounds: Bounds, most: int) -> sa.Select[Any]:
    """At most so many keys of the slice, in order and evenly spread over it, and behind each of them how many keys
    it has altogether."""
    names = [f"key_{i}" for i in range(len(keyset.names))]
    ranked = (
        sa.select(
            *(column.label(name) for name, column in zip(names, keyset.columns, strict=True)),
            sa.func.row_number().over(order_by=keyset.columns).label("place"),
            sa.func.count().over().label("total"),
        )
        .where(within(keyset, bounds))
        .subquery()
    )
    place, total = ranked.c.place, ranked.c.total
    spread = sa.select(*(ranked.c[name] for name in names), total).where(place % (1 + total // most) == 0)
    return spread.order_by(place)


def last_pending(keyset: Keyset, pending: sa.ColumnElement[bool], n: int) -> sa.Select[Any]:
    """The n-th pending key (from 1) counted from the end."""
    backwards = (c.desc() for c in keyset.columns)
    return sa.select(*keyset.columns).where(pending).order_by(*backwards).limit(1).offset(n - 1)


def pending_keys(keyset: Keyset, pending: sa.ColumnElement[bool], limit: int | None = None) -> sa.Select[Any]:
    """Keys of the rows that are `pending`, in no order."""
    return sa.select(*keyset.columns).where(pending).limit(limit)


def first_found(keyset: Keyset, pending: sa.ColumnElement[bool], most: int) -> sa.Select[Any]:
    """Keys of at most so many `pending` rows, whichever are found first, in their order."""
    found = pending_keys(keyset, pending, most).subquery()
    return sa.select(*found.c).order_by(*found.c)


def any_key(keyset: Keyset) -> sa.Select[Any]:
    """The key of any one row."""
    return sa.select(*keyset.columns).limit(1)


def null_keys(keyset: Keyset) -> sa.Select[Any]:
    """One row if any row has a NULL in its key."""
    return sa.select(sa.literal(1)).where(sa.or_(*(c.is_(None) for c in keyset.columns))).limit(1)


def _row(keyset: Keyset) -> sa.ColumnElement[Any]:
    return keyset.columns[0] if len(keyset.names) == 1 else sa.tuple_(*keyset.columns)


def _named(side: str, key: Key) -> sa.ColumnElement[Any]:
    named = [sa.bindparam(name, value, sa.types.NullType()) for name, value in _by_name(side, key).items()]
    return named[0] if len(named) == 1 else sa.tuple_(*named)


def _by_name(side: str, key: Key) -> dict[str, KeyValue]:
    return {f"{side}_{i}": value for i, value in enumerate(key)}


def _given(key: Key) -> sa.ColumnElement[Any]:
    return _parameter(key[0]) if len(key) == 1 else sa.tuple_(*(_parameter(value) for value in key))


def _parameter(value: KeyValue) -> sa.ColumnElement[Any]:
    return sa.bindparam(None, value, type_=sa.types.NullType(), unique=True)
