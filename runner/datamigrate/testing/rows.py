"""What is in a scratch database: its tables, all their rows, and how two states of them differ."""

import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import SAWarning

from datamigrate.database.ledger.tables import PREFIX

Row = Mapping[str, Any]
Columns = frozenset[str]
"""Names of columns with their tables: `users.full_name`."""


def read_tables(connection: Connection) -> dict[str, sa.Table]:
    """The project's tables by name, parents first; those of another schema as `schema.table`."""
    metadata = sa.MetaData()
    inspector = sa.inspect(connection)
    others = inspector.get_schema_names() if connection.dialect.name == "postgresql" else []
    with warnings.catch_warnings():
        # of types and indexes that SQLAlchemy does not know; such columns are told where they matter
        warnings.simplefilter("ignore", SAWarning)
        for schema in (None, *(s for s in others if s not in ("information_schema", "public"))):
            metadata.reflect(connection, schema=schema)
        return {t.fullname: t for t in metadata.sorted_tables if not t.name.startswith(PREFIX)}


@dataclass(frozen=True)
class Snapshot:
    """All rows of all tables at one moment, as the driver gives them."""

    tables: Mapping[str, tuple[Row, ...]]
    keys: Mapping[str, tuple[str, ...]]

    def key_of(self, table: str, row: Row) -> tuple[Any, ...]:
        """The row's primary key; all of it, where the table has none."""
        return tuple(row[name] for name in self.keys[table] or row)


@dataclass(frozen=True)
class Difference:
    """One row in two states; it was not there `before`, or is not there `after`, where that is None."""

    table: str
    key: str
    before: Row | None
    after: Row | None

    @property
    def changed(self) -> tuple[str, ...]:
        """The columns that differ; all of those that tell something, for a row that came or went."""
        if self.before is None or self.after is None:
            return tuple(n for n, value in (self.before or self.after or {}).items() if value is not None)
        return tuple(n for n, value in self.before.items() if value != self.after[n])


def snapshot(connection: Connection, tables: Mapping[str, sa.Table]) -> Snapshot:
    """The rows of these tables now."""
    return Snapshot(
        {name: tuple(_rows(connection, table)) for name, table in tables.items()},
        {name: tuple(c.name for c in table.primary_key) for name, table in tables.items()},
    )


def differences(before: Snapshot, after: Snapshot, but: Columns = frozenset()) -> list[Difference]:
    """The rows that differ, apart from the columns that do not count."""
    return [d for table in before.tables for d in _differences(table, before, after, but)]


def columns_written(before: Snapshot, after: Snapshot) -> Columns:
    """The columns in which rows that are in both differ."""
    both = [d for d in differences(before, after) if d.before is not None and d.after is not None]
    return frozenset(f"{d.table}.{column}" for d in both for column in d.changed)


def unsteady(one: Snapshot, other: Snapshot) -> Columns:
    """The columns that hold other values in another state, whichever rows they stand in."""
    return frozenset(
        f"{table}.{column}"
        for table, rows in one.tables.items()
        for column in _names(rows)
        if Counter(repr(r[column]) for r in rows) != Counter(repr(r[column]) for r in other.tables[table])
    )


def show_row_key(names: Sequence[str], key: Iterable[Any]) -> str:
    """A key for people, e.g. `id=7`."""
    return ", ".join(f"{name}={value}" for name, value in zip(names, key, strict=True))


def _rows(connection: Connection, table: sa.Table) -> list[Row]:
    columns = [sa.type_coerce(c, sa.types.NullType()).label(f"c{i}") for i, c in enumerate(table.c)]
    found = connection.execute(sa.select(*columns).select_from(table).order_by(*table.primary_key))
    return [dict(zip(table.c.keys(), row, strict=True)) for row in found]


def _differences(table: str, before: Snapshot, after: Snapshot, but: Columns) -> list[Difference]:
    key = before.keys[table]
    if not key or any(f"{table}.{name}" in but for name in key):
        return _unlike(table, before.tables[table], after.tables[table], but)
    old = {before.key_of(table, row): _without(table, row, but) for row in before.tables[table]}
    new = {after.key_of(table, row): _without(table, row, but) for row in after.tables[table]}
    return [
        Difference(table, show_row_key(key, k), old.get(k), new.get(k))
        for k in dict.fromkeys((*old, *new))
        if old.get(k) != new.get(k)
    ]


def _unlike(table: str, old: Sequence[Row], new: Sequence[Row], but: Columns) -> list[Difference]:
    """Rows without a key that could be compared: those that are here or there once too often."""
    here = [_without(table, row, but) for row in old]
    there = [_without(table, row, but) for row in new]
    gone, come = Counter(map(repr, here)), Counter(map(repr, there))
    return [
        *(Difference(table, "", row, None) for row in _surplus(here, gone - come)),
        *(Difference(table, "", None, row) for row in _surplus(there, come - gone)),
    ]


def _surplus(rows: Iterable[Row], surplus: Counter[str]) -> Iterable[Row]:
    for row in rows:
        if surplus[repr(row)] > 0:
            surplus[repr(row)] -= 1
            yield row


def _without(table: str, row: Row, but: Columns) -> Row:
    return {name: value for name, value in row.items() if f"{table}.{name}" not in but}


def _names(rows: Sequence[Row]) -> tuple[str, ...]:
    return tuple(rows[0]) if rows else ()
