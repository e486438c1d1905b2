"""What stands around a table that a migration writes: indexes, triggers, foreign keys, partitions and more."""

import re
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Inspector
from sqlalchemy.exc import SAWarning

from datamigrate.authoring.forms import DeleteRows, RowsForm
from datamigrate.database.named import CLASSES, IS_NAMED, names_of
from datamigrate.database.references import REACHING, references_to

_SQLITE = "FROM sqlite_master WHERE lower(tbl_name) = lower(:name)"


@dataclass(frozen=True, eq=False)
class _Place:
    """The table that is written, and who can be asked about it."""

    connection: Connection
    inspector: Inspector
    form: RowsForm
    written: frozenset[str]

    @property
    def table(self) -> sa.TableClause:
        return self.form.table

    @property
    def is_postgresql(self) -> bool:
        return self.connection.dialect.name == "postgresql"

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        """What the catalogue says of the table."""
        names = names_of(self.table) if self.is_postgresql else {"name": self.table.name}
        return [tuple(row) for row in self.connection.execute(sa.text(query), names)]


def around(connection: Connection, form: RowsForm, seen: Iterable[str] = ()) -> tuple[str, ...]:
    """What an operator should know before rows of this table are written, a sentence each.

    `seen` are columns that were seen to be written, though the form does not name them.
    """
    place = _Place(connection, sa.inspect(connection), form, frozenset({*form.written, *seen}))
    return (
        *_indexes(place),
        *_generated(place),
        *_triggers(place),
        *_cascades(place),
        *_partitions(place),
        *_security(place),
    )


def _indexes(place: _Place) -> Iterator[str]:
    found = dict(_written_indexes(place))
    if not found:
        return
    for name, columns in found.items():
        yield f"Index {name} contains {', '.join(columns)}, which is written."
    cost = "every row that is written is entered there again."
    if place.is_postgresql:
        cost = (
            "no update is heap-only then, and every row is entered again into all indexes of the table. With "
            "three such indexes the same backfill took 8 times as long and made the table 40% larger "
            "(measured on PostgreSQL 15)."
        )
    yield (
        f"What that costs: {cost} If you can, create {_these(len(found))} after the data, in the contract "
        "revision: drop now what is there already."
    )


def _these(number: int) -> str:
    return "this index" if number == 1 else f"these {number} indexes"


def _written_indexes(place: _Place) -> Iterator[tuple[str, list[str]]]:
    written = place.written
    for name, definition in _definitions(place):
        # whatever it is made of, an expression or a condition too: columns are words behind ON table
        behind = definition[definition.index("(") :]
        if touched := sorted(written & set(re.findall(r"\w+", behind))):
            yield name, touched


def _definitions(place: _Place) -> list[tuple[Any, ...]]:
    if place.is_postgresql:
        return place.ask(
            f"SELECT i.relname, pg_get_indexdef(x.indexrelid) {CLASSES} JOIN pg_index x ON x.indrelid = c.oid "
            f"JOIN pg_class i ON i.oid = x.indexrelid WHERE {IS_NAMED} ORDER BY 1"
        )
    return place.ask(f"SELECT name, sql {_SQLITE} AND type = 'index' AND sql IS NOT NULL ORDER BY 1")


def _generated(place: _Place) -> Iterator[str]:
    written = place.written
    with warnings.catch_warnings():
        # of which types the columns are does not matter here
        warnings.simplefilter("ignore", SAWarning)
        columns = place.inspector.get_columns(place.table.name, schema=place.table.schema)
    for column in columns:
        if computed := column.get("computed"):
            touched = sorted(written & set(re.findall(r"\w+", str(computed["sqltext"]))))
            if touched:
                yield f"{column['name']} is generated from {', '.join(touched)}: it is computed anew for every row."


def _triggers(place: _Place) -> Iterator[str]:
    if place.is_postgresql:
        found = place.ask(
            f"SELECT t.tgname {CLASSES} JOIN pg_trigger t ON t.tgrelid = c.oid "
            f"WHERE {IS_NAMED} AND NOT t.tgisinternal AND t.tgenabled <> 'D' ORDER BY 1"
        )
    else:
        found = place.ask(f"SELECT name {_SQLITE} AND type = 'trigger' ORDER BY 1")
    if found:
        names = ", ".join(name for (name,) in found)
        yield f"Triggers on {place.table.name} may fire for every row: {names}."


def _cascades(place: _Place) -> Iterator[str]:
    deletes, written = isinstance(place.form, DeleteRows), place.written
    for reference in references_to(place.connection, place.table):
        if not deletes and not written & set(reference.referred):
            continue
        action = reference.on_delete if deletes else reference.on_update
        columns = ", ".join(reference.columns)
        if action in REACHING:
            doing = "Deleting from" if deletes else "Writing to"
            yield f"{doing} {place.table.name} reaches {reference.table} ({columns}: {action})."
        if not reference.is_indexed:
            yield f"{reference.table} has no index on {columns}: it is read from end to end for every row."


def _partitions(place: _Place) -> Iterator[str]:
    if not place.is_postgresql:
        return
    found = place.ask(
        "SELECT pg_get_partkeydef(c.oid), (SELECT count(*) FROM pg_inherits i WHERE i.inhparent = c.oid), "
        "ARRAY(SELECT a.attname::text FROM pg_partitioned_table p JOIN pg_attribute a "
        "ON a.attrelid = p.partrelid AND a.attnum = ANY (p.partattrs) WHERE p.partrelid = c.oid) "
        f"{CLASSES} WHERE {IS_NAMED} AND c.relkind = 'p'"
    )
    for definition, number, columns in found:
        yield f"{place.table.name} has {number} partitions by {definition}; a batch may lock all of them."
        if moved := sorted(place.written & set(columns)):
            yield (
                f"{', '.join(moved)} is what it is partitioned by, and is written: such a row is deleted from "
                "one partition and inserted into another."
            )


def _security(place: _Place) -> Iterator[str]:
    if place.is_postgresql and place.ask(f"SELECT 1 {CLASSES} WHERE {IS_NAMED} AND c.relrowsecurity"):
        yield (
            f"{place.table.name} has row-level security: rows that this role does not see are not migrated."
        )
