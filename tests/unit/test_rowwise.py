"""Which changes are known to make of a row what depends on that row alone."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from datamigrate.database.rowwise import functions_in

TABLE = sa.table("item", sa.column("id", sa.Integer), sa.column("old", sa.Text), sa.column("new", sa.Text))
OTHER = sa.table("other", sa.column("old", sa.Text))
OLD, NEW = TABLE.c.old, TABLE.c.new

ALONE: dict[str, tuple[Any, set[str]]] = {
    "a value": ("x", set()),
    "NULL": (None, set()),
    "a column": (OLD, set()),
    "operators": ((OLD + " " + NEW).like("a%") & ~NEW.is_(None) | (TABLE.c.id * 2 > 7), set()),
    "IN": (TABLE.c.id.in_([1, 2]), set()),
    "BETWEEN": (TABLE.c.id.between(1, 2), set()),
    "a row of values": (sa.tuple_(OLD, NEW) == sa.tuple_("a", "b"), set()),
    "CASE": (sa.case((OLD == "a", NEW), else_="b"), set()),
    "CAST": (sa.cast(OLD, sa.Integer), set()),
    "COLLATE": (OLD.collate("C"), set()),
    "EXTRACT": (sa.extract("year", OLD), set()),
    "functions": (sa.func.trim(sa.func.coalesce(OLD, NEW, "")), {"trim", "coalesce"}),
    "the time": (sa.func.now(), {"now"}),
}

NOT_ALONE: dict[str, Any] = {
    "a subquery": sa.select(sa.func.max(NEW)).scalar_subquery(),
    "EXISTS": sa.exists().where(OTHER.c.old == OLD),
    "a subquery in an operand": sa.select(OTHER.c.old).scalar_subquery() + OLD,
    "a subquery in a function": sa.func.coalesce(sa.select(OTHER.c.old).scalar_subquery(), OLD),
    "IN of a subquery": OLD.in_(sa.select(OTHER.c.old)),
    "ANY of a subquery": sa.any_(sa.select(OTHER.c.old).scalar_subquery()) == OLD,
    "another table": OTHER.c.old,
    "the table by another name": TABLE.alias().c.old,
    "text": sa.text("old"),
    "a literal column": sa.literal_column("(SELECT max(old) FROM item)"),
    "a window": sa.func.row_number().over(order_by=OLD),
    "a function of a schema": sa.func.mine.shout(OLD),
    "an operator of one's own": OLD.op("<->")(NEW),
    "a query that is no expression": sa.select(OTHER.c.old),
}


@pytest.mark.parametrize("what", ALONE)
def test_what_reads_the_row_alone_is_known_with_the_functions_it_calls(what: str) -> None:
    expression, functions = ALONE[what]
    assert functions_in(TABLE, [expression]) == frozenset(functions)


@pytest.mark.parametrize("what", NOT_ALONE)
def test_what_may_read_more_is_not_known(what: str) -> None:
    assert functions_in(TABLE, [OLD, NOT_ALONE[what]]) is None
