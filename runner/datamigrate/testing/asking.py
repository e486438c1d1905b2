"""What a script says of the tables it works on, as far as that can be read without running it."""

import inspect
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql import visitors

from datamigrate.authoring.forms import FreeForm, RowsForm, UpdateRows
from datamigrate.authoring.script import Script
from datamigrate.testing.making import Wishes, wishes_of


def tables_of(script: Script) -> dict[str, sa.TableClause]:
    """The tables that it names, in expressions or in its module, its own one first; none where it has only
    SQL in texts."""
    found = [t for clause in _clauses(script) for t in _parts(clause, sa.TableClause)]
    found += [value for value in _globals(script).values() if isinstance(value, sa.TableClause)]
    own = [script.form.table] if isinstance(script.form, RowsForm) else []
    return {table.fullname: table for table in (*own, *found)}


def wishes(script: Script) -> Wishes:
    """What rows for it should be like: of the types it declares, with values that its predicates compare,
    and without those that it is to write."""
    form = script.form
    columns = form.written if isinstance(form, RowsForm) else ()
    written = [(form.table.fullname, name) for name in columns] if isinstance(form, RowsForm) else []
    return wishes_of(tables_of(script).values(), _clauses(script), written)


def _clauses(script: Script) -> list[sa.ClauseElement]:
    form = script.form
    found: list[sa.ClauseElement] = [
        v for v in _globals(script).values() if isinstance(v, sa.ColumnElement | sa.Select)
    ]
    if isinstance(form, RowsForm):
        found.append(form.pending)
    if isinstance(form, UpdateRows):
        found += [value for value in form.values.values() if isinstance(value, sa.ColumnElement)]
    return found


def _globals(script: Script) -> Mapping[str, Any]:
    form = script.form
    function = form.function if isinstance(form, FreeForm) else getattr(form, "function", None)
    return getattr(inspect.unwrap(function), "__globals__", {}) if function is not None else {}


def _parts(clause: sa.ClauseElement, kind: type[Any]) -> list[Any]:
    found = [each for each in visitors.iterate(clause) if isinstance(each, kind)]
    return found + [
        column.table
        for column in visitors.iterate(clause)
        if isinstance(column, sa.ColumnClause) and isinstance(column.table, kind)
    ]
