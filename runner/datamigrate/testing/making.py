"""Rows made up for a table: valid by its types and constraints, with parents where they need some."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql import operators, visitors

from datamigrate.testing.rows import Row
from datamigrate.testing.values import value_for

TRIES = 12
"""Rows tried before the database's last refusal is told."""

_LITERAL = re.compile(r"'((?:[^']|'')*)'")


class CannotMake(AssertionError):
    """Give rows for the table that is named: `trial.insert(...)`, or the fixture `datamigrate_rows`."""

    def __init__(self, said: str, table: str) -> None:
        super().__init__(
            f"{said}\n\nWhat to give: rows of {table}. In a test, trial.insert({table!r}, {{...}}); for the "
            "default tests, a fixture in the conftest.py at the root of the project:\n\n"
            "    @pytest.fixture\n"
            "    def datamigrate_rows():\n"
            f'        return {{"NAME_OF_THE_SCRIPT": {{{table!r}: [{{...}}, {{...}}]}}}}'
        )


@dataclass(frozen=True)
class Wishes:
    """What the script's own words say of a column: `types` by table and column where the database has none,
    `compared` values of its predicates, and which columns to leave `empty`, as they were before it came."""

    types: Mapping[tuple[str, str], sa.types.TypeEngine[Any]] = field(default_factory=dict)
    compared: Mapping[tuple[str, str], tuple[Any, ...]] = field(default_factory=dict)
    empty: frozenset[tuple[str, str]] = frozenset()


def wishes_of(
    declared: Iterable[sa.TableClause], clauses: Iterable[Any], written: Iterable[tuple[str, str]]
) -> Wishes:
    """What can be read from the tables a script declares, its predicates, and the columns that it writes."""
    types = {
        (table.fullname, column.name): column.type
        for table in declared
        for column in table.c
        if not isinstance(column.type, sa.types.NullType)
    }
    compared: dict[tuple[str, str], tuple[Any, ...]] = {}
    empty = set(written)
    for comparison in (c for clause in clauses for c in _of(clause, sa.BinaryExpression)):
        for column in _of(comparison, sa.ColumnClause):
            place = (column.table.fullname if column.table is not None else "", column.name)
            if isinstance(comparison.right, sa.Null) and comparison.operator is operators.is_:
                empty.add(place)
            values = [v for bind in _of(comparison, sa.BindParameter) for v in _around(bind.value)]
            if values:
                compared[place] = (*compared.get(place, ()), *values)
    return Wishes(types, compared, frozenset(empty))


@dataclass(frozen=True, eq=False)
class Maker:
    """Makes rows on one connection."""

    connection: Connection
    tables: Mapping[str, sa.Table]
    wishes: Wishes = field(default_factory=Wishes)

    def add(self, name: str, given: Row, parents: tuple[str, ...] = ()) -> dict[str, Any]:
        """Insert a row with the values given, the others made up. Raises CannotMake."""
        table, start = self._table(name), self._count(name)
        if unknown := sorted(given.keys() - table.c.keys()):
            raise CannotMake(f"{name} has no column {unknown[0]}; it has {', '.join(table.c.keys())}.", name)
        refusal = ""
        for attempt in range(TRIES):
            values = self._values(table, given, start + attempt, attempt, (*parents, name))
            try:
                with self.connection.begin_nested():
                    done = self.connection.execute(self._typed(table).insert().values(values))
            except (DBAPIError, sa.exc.StatementError) as error:
                refusal = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
                continue
            key = dict(zip(table.primary_key.columns.keys(), done.inserted_primary_key or (), strict=False))
            return {**values, **{n: v for n, v in key.items() if v is not None}}
        raise CannotMake(f"No valid row of {name} could be made: the database says {refusal!r}.", name)

    def add_raw(self, name: str, like: Row) -> None:
        """Insert a row with these values, as the driver gave them; its own key is made up. What the database
        refuses is left out."""
        table, start = self._table(name), self._count(name)
        raw = sa.table(table.name, *(sa.column(n) for n in tuple(table.c.keys())), schema=table.schema)
        for attempt in range(TRIES):
            made = self._values(table, like, start + attempt, attempt, (name,))
            try:
                with self.connection.begin_nested():
                    typed = {n: v for n, v in made.items() if n not in like}
                    values = {**like, **self._bound(table, typed)}
                    self.connection.execute(sa.insert(raw).values(values))
            except (DBAPIError, sa.exc.StatementError):
                continue
            return

    # one row ----------------------------------------------------------------------------------------

    def _values(
        self, table: sa.Table, given: Row, n: int, attempt: int, parents: tuple[str, ...]
    ) -> dict[str, Any]:
        values = {**self._references(table, given, n, attempt, parents), **given}
        for index, column in enumerate(table.c):
            if column.name in values or self._is_left_out(table, column, n, index):
                continue
            values[column.name] = self._value(table, column, n)
        return values

    def _is_left_out(self, table: sa.Table, column: sa.Column[Any], n: int, index: int) -> bool:
        if column.computed is not None or column.server_default is not None or column.identity is not None:
            return True
        if column is table.autoincrement_column:
            return True
        if not column.nullable or column.primary_key:
            return False
        place = (table.fullname, column.name)
        if place in self.wishes.empty:
            return n % 4 != 3
        return place not in self.wishes.compared and (n + index) % 3 == 0

    def _value(self, table: sa.Table, column: sa.Column[Any], n: int) -> Any:
        place = (table.fullname, column.name)
        unique = column.name in _unique_columns(table)
        wanted = () if unique else (*self.wishes.compared.get(place, ()), *self._permitted(table, column))
        if wanted and n % 4 != 3:
            return wanted[n % len(wanted)]
        try:
            return value_for(self._type(table, column), n, unique)
        except KeyError:
            raise CannotMake(
                f"No value can be made for {table.fullname}.{column.name}, whose type is {column.type}.",
                table.fullname,
            ) from None
        except ValueError as error:
            raise CannotMake(f"{table.fullname}.{column.name}: {error}.", table.fullname) from None

    def _permitted(self, table: sa.Table, column: sa.Column[Any]) -> tuple[str, ...]:
        """The texts that a CHECK constraint on the column names."""
        if not isinstance(column.type, sa.String):
            return ()
        checks = [str(c.sqltext) for c in table.constraints if isinstance(c, sa.CheckConstraint)]
        about = [text for text in checks if re.search(rf"\b{re.escape(column.name)}\b", text)]
        return tuple(found.replace("''", "'") for text in about for found in _LITERAL.findall(text))

    # parents ----------------------------------------------------------------------------------------

    def _references(
        self, table: sa.Table, given: Row, n: int, attempt: int, parents: tuple[str, ...]
    ) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for constraint in table.foreign_key_constraints:
            columns = [element.parent for element in constraint.elements]
            if any(column.name in given for column in columns):
                continue
            parent = constraint.referred_table.fullname
            if parent in parents:
                if all(column.nullable for column in columns):
                    continue
                if parent != table.fullname or not self._count(parent):
                    raise CannotMake(
                        f"Rows of {table.fullname} need rows of {parent}, and these need them.", parent
                    )
            row = self._parent(parent, n, attempt, parents)
            values |= {element.parent.name: row[element.column.name] for element in constraint.elements}
        return values

    def _parent(self, name: str, n: int, attempt: int, parents: tuple[str, ...]) -> Row:
        there = self.rows(name)
        # where those that are there did not do, as where each may have one child only, another may
        if not there or (attempt >= TRIES // 2 and name not in parents):
            self.add(name, {}, parents)
            there = self.rows(name)
            return there[-1]
        return there[n % len(there)]

    def rows(self, name: str) -> list[dict[str, Any]]:
        """The rows there are, in the order of their key."""
        table = self._typed(self._table(name))
        found = self.connection.execute(sa.select(table).order_by(*table.primary_key))
        return [dict(row._mapping) for row in found]

    # small things -----------------------------------------------------------------------------------

    def _table(self, name: str) -> sa.Table:
        if name not in self.tables:
            raise CannotMake(f"There is no table {name}; there are {', '.join(self.tables)}.", name)
        return self.tables[name]

    def _count(self, name: str) -> int:
        return int(self.connection.scalar(sa.select(sa.func.count()).select_from(self.tables[name])) or 0)

    def _type(self, table: sa.Table, column: sa.Column[Any]) -> sa.types.TypeEngine[Any]:
        # SQLite has fewer types than the script knows of
        declared = self.wishes.types.get((table.fullname, column.name))
        found = declared if declared is not None and self.connection.dialect.name == "sqlite" else column.type
        if isinstance(found, sa.String) and isinstance(column.type, sa.String) and found.length is None:
            return column.type
        return found

    def _bound(self, table: sa.Table, values: Row) -> dict[str, Any]:
        columns = self._typed(table).c
        return {n: sa.bindparam(None, v, type_=columns[n].type, unique=True) for n, v in values.items()}

    def _typed(self, table: sa.Table) -> sa.Table:
        """The table as it is written and read, with the types that the script declares."""
        copy = table.to_metadata(sa.MetaData())
        for column in copy.c:
            column.type = self._type(table, table.c[column.name])
        return copy


def own_columns(table: sa.Table) -> frozenset[str]:
    """What one row has for itself alone, or the database makes of the others."""
    made = {c.name for c in table.c if c.computed is not None or c is table.autoincrement_column}
    return _unique_columns(table) | made


@cache
def _unique_columns(table: sa.Table) -> frozenset[str]:
    """The columns that take part in something unique."""
    groups: list[Any] = [table.primary_key, *(i for i in table.indexes if i.unique)]
    groups += [c for c in table.constraints if isinstance(c, sa.UniqueConstraint)]
    return frozenset(column.name for group in groups for column in group.columns)


def _of(element: Any, kind: type[Any]) -> list[Any]:
    return [each for each in visitors.iterate(element) if isinstance(each, kind)]


def _around(value: Any) -> list[Any]:
    """What is on either side of a value that something is compared with."""
    several = value if isinstance(value, list | tuple) else (value,)
    found: list[Any] = []
    for one in several:
        is_number = isinstance(one, int | float) and not isinstance(one, bool)
        found += [one, one - 1, one + 1] if is_number else [one]
    return found
