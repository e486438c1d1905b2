"""Before the first batch: is the table what the script thinks it is, and can its key be walked?"""

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import DOMAIN
from sqlalchemy.engine import Connection
from sqlalchemy.engine.interfaces import ReflectedColumn
from sqlalchemy.exc import NoSuchTableError, SAWarning
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql import visitors

from datamigrate.authoring.forms import ComputeRows, RowsForm, UpdateRows
from datamigrate.database.column_types import column_types
from datamigrate.database.dialects import Dialect
from datamigrate.database.innermost import changed
from datamigrate.database.keyset import Keyset, any_key, null_keys
from datamigrate.database.unseen import refuse_unseen
from datamigrate.thought.codec import encode_key
from datamigrate.words.errors import KeyUnfit, SchemaError

MOST_NAMED = 10
"""Of the tables that there are, in an error about one that is not."""


@dataclass(frozen=True)
class TableFacts:
    """What the database says of a table: what is unique in it, by the name of the constraint or index, and
    the indexes that are `unfinished` and so prove nothing."""

    columns: dict[str, ReflectedColumn]
    primary_key: tuple[str, ...]
    unique: Mapping[str, frozenset[str]]
    unfinished: frozenset[str] = frozenset()


@dataclass(frozen=True, eq=False)
class Examined:
    """The keyset to walk; the types to write with: the script's own, or the database's where the script
    declares none; and the names of all of the table's columns."""

    keyset: Keyset
    written_types: tuple[sa.types.TypeEngine[Any], ...]
    columns: tuple[str, ...]


async def examine(connection: AsyncConnection, dialect: Dialect, name: str, form: RowsForm) -> Examined:
    """What the runner needs to know of the table.

    Raises SchemaError for a table or column that is not there, NotAllowed for a table that cannot be seen, KeyUnfit for a key under which rows
    could be met twice or never, or that no cursor could hold.
    """
    facts = await connection.run_sync(_read_facts, form.table, name)
    facts = replace(facts, unfinished=await dialect.unfinished_indexes(connection, form.table))
    facts = await _named(connection, form, facts)
    _check_columns(name, form, facts)
    _refuse_generated(name, form, facts)
    keyset = replace(_keyset(name, form, facts), is_strict=dialect.is_strict)
    _refuse_key_writes(name, form, keyset)
    _refuse_masked_key(name, form, keyset)
    _check_unique(name, keyset, facts)
    if (heirs := await dialect.heirs(connection, form.table)) and _goes_by_key(form):
        raise KeyUnfit(
            f"{name}: {', '.join(heirs)} inherit from {form.table.name}, whose key is not unique among their rows: one row "
            "would be taken for another.",
            "Let the database compute the values (update_rows, without undo_log), or turn them into partitions.",
        )
    await _check_nulls(connection, name, keyset, facts)
    await _check_kinds(connection, name, keyset)
    for column in keyset.names:
        if collation := await dialect.unsafe_collation(connection, form.table, column):
            raise KeyUnfit(
                f"{name}: {form.table.name}.{column} has the collation {collation}, "
                "under which different values count as equal: rows could be skipped.",
                "Walk by another unique key.",
            )
    written_types = tuple(_type_to_write(form, facts, column, connection.dialect) for column in form.written)
    return Examined(keyset, written_types, tuple(facts.columns))


async def _named(connection: AsyncConnection, form: RowsForm, facts: TableFacts) -> TableFacts:
    """The same with the database's own name for each type that SQLAlchemy does not know."""
    unknown = [name for name, column in facts.columns.items() if _is_unknown(column["type"])]
    if not unknown:
        return facts
    named = await column_types(connection, form.table.name, form.table.schema)
    columns = dict(facts.columns)
    for name in unknown:
        column = columns[name].copy()
        column["type"] = named.get(name, column["type"])
        columns[name] = column
    return replace(facts, columns=columns)


def _type_to_write(
    form: RowsForm, facts: TableFacts, column: str, dialect: sa.Dialect
) -> sa.types.TypeEngine[Any]:
    # a column may have another name in Python than in the database
    declared = next(c.type for c in form.table.c if c.name == column)
    kind = facts.columns[column]["type"] if _is_unknown(declared) else declared
    return changed(kind, dialect, _with_nulls)


def _with_nulls(kind: sa.types.TypeEngine[Any]) -> sa.types.TypeEngine[Any]:
    # None is NULL, in JSON as everywhere: what was read is written back as it was
    return kind.adapt(type(kind), none_as_null=True) if isinstance(kind, sa.JSON) else kind


def _is_unknown(kind: sa.types.TypeEngine[Any]) -> bool:
    """Whether it is one that SQLAlchemy does not know, or made of one."""
    if isinstance(kind, DOMAIN):
        return _is_unknown(kind.data_type)
    return _is_unknown(kind.item_type) if isinstance(kind, sa.ARRAY) else isinstance(kind, sa.types.NullType)


def _read_facts(connection: Connection, table: sa.TableClause, name: str) -> TableFacts:
    inspector = sa.inspect(connection)
    try:
        return _facts_of(inspector, table)
    except NoSuchTableError:
        refuse_unseen(connection, table.name, table.schema)
        raise SchemaError(
            f"{name}: there is no table {table.fullname} in this database.",
            f"{_nearest_table(inspector, table)}Compare the script's sa.table(...) with the schema; is `requires` the "
            "right revision?",
        ) from None


def _facts_of(inspector: sa.Inspector, table: sa.TableClause) -> TableFacts:
    with warnings.catch_warnings():
        # a type that SQLAlchemy does not know is the driver's to handle; and of an index on an expression it says
        # that it cannot tell, where such a one walks no key
        warnings.simplefilter("ignore", SAWarning)
        columns = {c["name"]: c for c in inspector.get_columns(table.name, schema=table.schema)}
        constraints = {
            f"constraint {number}": frozenset(u["column_names"])
            for number, u in enumerate(inspector.get_unique_constraints(table.name, schema=table.schema))
        }
        indexes = {
            str(i["name"]): frozenset(c for c in i["column_names"] if c)
            for i in inspector.get_indexes(table.name, schema=table.schema)
            if i["unique"] and None not in i["column_names"] and not _is_partial(i)
        }
    primary = tuple(inspector.get_pk_constraint(table.name, schema=table.schema)["constrained_columns"])
    return TableFacts(columns, primary, {"": frozenset(primary)} | constraints | indexes)


def _nearest_table(inspector: sa.Inspector, table: sa.TableClause) -> str:
    names = inspector.get_table_names(schema=table.schema)
    there = sorted(name for name in names if not name.startswith("datamigrate_"))
    same = [t for t in there if t.casefold() == table.name.casefold()]
    if close := same or get_close_matches(table.name, there, n=1):
        return f"Did you mean {close[0]}? "
    end = ", ... " if len(there) > MOST_NAMED else ". "
    return f"There are: {', '.join(there[:MOST_NAMED])}{end}" if there else ""


def _goes_by_key(form: RowsForm) -> bool:
    return isinstance(form, ComputeRows) or form.options.undo_log


def _is_partial(index: Any) -> bool:
    return any(option.endswith("_where") for option in index.get("dialect_options", {}))


def _keyset(name: str, form: RowsForm, facts: TableFacts) -> Keyset:
    names = tuple(column.name for column in form.key) if form.key else facts.primary_key
    if not names:
        raise KeyUnfit(
            f"{name}: {form.table.name} has no primary key.",
            "Name a unique key in the script: key=table.c.column.",
        )
    return Keyset(form.table, names, tuple(facts.columns[n]["type"] for n in names))


def _check_columns(name: str, form: RowsForm, facts: TableFacts) -> None:
    for column in columns_used(form):
        if column not in facts.columns:
            raise SchemaError(f"{name}: {form.table.name} has no column {column}.", _nearest(column, facts))
    for column in sorted(form.options.mask - facts.columns.keys()):
        raise SchemaError(
            f"{name}: it masks {column}, and {form.table.name} has no such column.", _nearest(column, facts)
        )


def _nearest(column: str, facts: TableFacts) -> str:
    close = get_close_matches(column, facts.columns, n=1)
    return f"Did you mean {close[0]}?" if close else f"It has: {', '.join(facts.columns)}."


def _refuse_generated(name: str, form: RowsForm, facts: TableFacts) -> None:
    for column in form.updated:
        identity = facts.columns[column].get("identity")
        if facts.columns[column].get("computed") or (identity and identity["always"]):
            raise SchemaError(
                f"{name}: {form.table.name}.{column} is generated by the database, which lets nobody write it.",
                "Leave it out of what the script writes; it follows the columns that it is made of.",
            )


def columns_used(form: RowsForm) -> list[str]:
    """The table's columns that the form's own expressions name, and those that its UPDATE sets besides."""
    expressions: list[Any] = [form.pending, *(form.key or ())]
    if isinstance(form, UpdateRows):
        expressions += [*form.values.keys(), *form.values.values()]
    if isinstance(form, ComputeRows):
        expressions += [*form.reads, *form.writes]
    named = {name for e in expressions for name in _columns_of(form.table, e)}
    return sorted(named.union(form.updated))


def _columns_of(table: sa.TableClause, expression: Any) -> Iterable[str]:
    if not isinstance(expression, sa.ClauseElement):
        return
    for element in visitors.iterate(expression):
        if isinstance(element, sa.ColumnClause) and element.table is table:
            yield element.name


def _refuse_key_writes(name: str, form: RowsForm, keyset: Keyset) -> None:
    if both := sorted(set(form.updated) & set(keyset.names)):
        raise KeyUnfit(
            f"{name}: it writes its own key, {keyset.table.name}.{both[0]}: the walk would meet rows twice or never.",
            "Walk by another unique key, or copy the rows with each_batch.",
        )


def _refuse_masked_key(name: str, form: RowsForm, keyset: Keyset) -> None:
    if both := sorted(form.options.mask & set(keyset.names)):
        raise KeyUnfit(
            f"{name}: it masks its own key, {keyset.table.name}.{both[0]}, and keys are in the ledger's cursors, "
            "in errors and in the log.",
            "Walk by another unique key, or leave this one out of `mask`.",
        )


def _check_unique(name: str, keyset: Keyset, facts: TableFacts) -> None:
    fit = {index for index, columns in facts.unique.items() if columns and columns <= set(keyset.names)}
    if not fit - facts.unfinished:
        broken = f": the index {min(fit)} is not valid" if fit else ""
        raise KeyUnfit(
            f"{name}: nothing makes {keyset.label} unique{broken}.",
            "Walk by the primary key (leave `key` out), or add a unique index in an Alembic revision.",
        )


async def _check_nulls(connection: AsyncConnection, name: str, keyset: Keyset, facts: TableFacts) -> None:
    nullable = any(facts.columns[n]["nullable"] for n in keyset.names)
    if nullable and await connection.scalar(null_keys(keyset)):
        raise KeyUnfit(
            f"{name}: {keyset.label} is NULL in some rows, which no key range would contain.",
            "Walk by a key that is never NULL, e.g. the primary key (leave `key` out).",
        )


async def _check_kinds(connection: AsyncConnection, name: str, keyset: Keyset) -> None:
    if (row := (await connection.execute(any_key(keyset))).first()) is None:
        return
    try:
        encode_key(tuple(row))
    except KeyUnfit as error:
        raise KeyUnfit(f"{name}: {keyset.label} does not fit. {error.message}", error.hint) from error
