"""A predicate within a slice: its range is repeated in subqueries, into which no planner takes it by itself."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql import operators, visitors

from datamigrate.database.keyset import Keyset, within
from datamigrate.words.migration import Bounds


def narrowed(keyset: Keyset, bounds: Bounds, pending: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    """The same for all rows of the slice.

    Where a subquery looks for rows of another table that belong to this one (`other.item_id = item.id`), their column is
    within the slice as well. Unless it is told, the server reads the other table from end to end for every batch
    as soon as it takes a hash of it for cheaper than so many looks into its index: the larger that table, the slower.
    Only for whole numbers, which have one order everywhere, where a column has no values of another type.
    """
    if not keyset.is_strict or len(keyset.names) > 1 or not isinstance(keyset.types[0], sa.Integer):
        return pending
    if not any(isinstance(element, sa.Select) for element in visitors.iterate(pending)):
        return pending

    def repeated(element: Any, **_: Any) -> Any:
        if not isinstance(element, sa.Select):
            return None
        if not _is_correlated(keyset, element):
            return element
        for term in _terms(element.whereclause):
            if (other := _equated(keyset, term)) is not None:
                element = element.where(within(Keyset(other.table, (other.name,), keyset.types), bounds))
        return element

    return visitors.replacement_traverse(pending, {}, repeated)


def _terms(where: Any) -> tuple[Any, ...]:
    if isinstance(where, sa.BooleanClauseList) and where.operator is operators.and_:
        return tuple(where.clauses)
    return () if where is None else (where,)


def _equated(keyset: Keyset, term: Any) -> Any:
    """The column of another table that a term of a WHERE equates with the key."""
    if not isinstance(term, sa.BinaryExpression) or term.operator is not operators.eq:
        return None
    for mine, other in ((term.left, term.right), (term.right, term.left)):
        if (
            _is_plain(mine)
            and _is_plain(other)
            and mine.table is keyset.table
            and mine.name == keyset.names[0]
        ):
            return other if other.table not in (None, keyset.table) else None
    return None


def _is_plain(side: Any) -> bool:
    return isinstance(side, sa.ColumnClause) and not side.is_literal and isinstance(side.type, sa.Integer)


def _is_correlated(keyset: Keyset, select: sa.Select[Any]) -> bool:
    """Whether the table in it is the one around it, and not one of its own."""
    has_joins = bool(select._from_obj or select._setup_joins)
    return not has_joins and (select._auto_correlate or keyset.table in select._correlate)
