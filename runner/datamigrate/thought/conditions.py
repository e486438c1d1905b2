"""What a condition in SQL compares. sqlglot reads it, which takes a while to be imported: only what explains
plans imports this."""

from collections.abc import Sequence

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError


def compared(condition: str, dialect: str, own: Sequence[str]) -> tuple[str, ...]:
    """The columns of the tables or aliases `own` that a condition compares with something from outside."""
    try:
        tree = sqlglot.parse_one(condition, dialect=dialect) if condition else None
    except SqlglotError:
        return ()
    if tree is None:
        return ()
    columns = [
        column
        for equality in tree.find_all(exp.EQ)
        for column in (equality.this, equality.expression)
        if isinstance(column, exp.Column) and column.table in own
    ]
    return tuple(dict.fromkeys(column.name for column in columns))
