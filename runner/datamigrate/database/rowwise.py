"""Whether what a change makes of a row depends on that row alone, so that no batch can see whether the one before it
is committed already."""

from collections.abc import Iterable
from itertools import chain
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql import operators, visitors
from sqlalchemy.sql.elements import (
    BooleanClauseList,
    ClauseList,
    CollationClause,
    ColumnElement,
    ExpressionClauseList,
    Grouping,
)

from datamigrate.authoring.forms import ComputeRows, DeleteRows, RowsForm, UpdateRows
from datamigrate.database.dialects import Dialect

PLAIN = (
    sa.BindParameter,
    sa.Null,
    sa.True_,
    sa.False_,
    sa.BinaryExpression,
    sa.UnaryExpression,
    BooleanClauseList,
    ClauseList,
    ExpressionClauseList,
    CollationClause,
    Grouping,
    sa.Tuple,
    sa.Case,
    sa.Cast,
    sa.TypeCoerce,
    sa.Extract,
)
"""What reads nothing by itself."""


async def is_rowwise(connection: AsyncConnection, dialect: Dialect, form: RowsForm) -> bool:
    """Whether a change of this form is known to be so. What an author's own code or SQL does is not known."""
    if not dialect.reads_while_writing or not isinstance(form, UpdateRows | ComputeRows | DeleteRows):
        return False
    values = form.values.values() if isinstance(form, UpdateRows) else ()
    called = functions_in(form.table, (form.pending, *values))
    if called is None or _writes_more(form.table):
        return False
    return await dialect.is_left_to_itself(connection, form.table, called)


def functions_in(table: sa.TableClause, expressions: Iterable[Any]) -> frozenset[str] | None:
    """The functions that the expressions call; None where they may look at more than a row of the table."""
    called = set()
    for element in chain.from_iterable(map(_elements, expressions)):
        if isinstance(element, sa.Function) and not element.packagenames:
            called.add(element.name)
        elif isinstance(element, sa.ColumnClause):
            if element.table is not table or element.is_literal:
                return None
        elif not isinstance(element, PLAIN) or isinstance(
            getattr(element, "operator", None), operators.custom_op
        ):
            return None
    return frozenset(called)


def _elements(expression: Any) -> Iterable[Any]:
    if isinstance(expression, ColumnElement):
        return visitors.iterate(expression)
    is_value = not isinstance(expression, sa.ClauseElement) and not hasattr(expression, "__clause_element__")
    return () if is_value else (expression,)


def _writes_more(table: sa.TableClause) -> bool:
    return any(getattr(column, "onupdate", None) is not None for column in table.columns)
