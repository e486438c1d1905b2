"""Slow parts of SQLite's query plans are found, as its versions write them."""

from __future__ import annotations

import pytest

from datamigrate.thought.plans import MANY_ROWS, Slow, Walk
from datamigrate.thought.sqlite_plans import Step, may_be_slow, slow_steps

WALK = Walk("orders", ("tenant", "id"))
SIZES = {"orders": 50_000, "lines": 5_000}
UPDATE = (
    "UPDATE orders SET total=(SELECT sum(lines.price) FROM lines WHERE lines.order_id = orders.id) "
    "WHERE (orders.tenant, orders.id) > (?, ?) AND orders.total IS NULL"
)
BOUNDARY = (
    "SELECT orders.tenant, orders.id FROM orders WHERE orders.id <= ? ORDER BY orders.tenant LIMIT ? OFFSET ?"
)


def plan(*details: str) -> list[Step]:
    """Lines that stand one below another."""
    return [Step(i, i - 1, detail) for i, detail in enumerate(details, start=1)]


def test_a_search_by_the_key_is_not_slow() -> None:
    steps = plan("SEARCH orders USING INDEX sqlite_autoindex_orders_1 ((tenant,id)>(?,?))")
    assert slow_steps(steps, UPDATE, SIZES, WALK) == ()


LAST = "SELECT orders.id FROM orders ORDER BY orders.id DESC LIMIT ? OFFSET ?"


@pytest.mark.parametrize(
    ("details", "sql", "may_be"),
    [
        (["SEARCH orders USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"], UPDATE, False),
        (["SCAN orders"], UPDATE, True),
        (["SCAN orders"], LAST, False),
        (["SCAN orders", "USE TEMP B-TREE FOR ORDER BY"], LAST, True),
        (["SEARCH lines USING AUTOMATIC COVERING INDEX (order_id=?)"], UPDATE, True),
    ],
)
def test_a_plan_is_looked_at_closely_only_when_something_in_it_is_conspicuous(
    details: list[str], sql: str, may_be: bool
) -> None:
    assert may_be_slow(plan(*details), sql) is may_be


@pytest.mark.parametrize(
    "detail", ["SCAN orders", "SCAN TABLE orders", "SCAN orders USING COVERING INDEX ix"]
)
def test_a_scan_of_the_table_that_is_walked_wants_an_index_on_its_key(detail: str) -> None:
    [slow] = slow_steps(plan(detail), BOUNDARY, SIZES, WALK)
    assert slow == Slow("orders", 50_000, False, ("tenant", "id"), online=False)
    assert slow.sql == "CREATE INDEX ix_orders_tenant_id ON orders (tenant, id)"
    assert slow.revision == 'op.create_index("ix_orders_tenant_id", "orders", ["tenant", "id"])'


def test_a_sort_of_the_walk_is_slow() -> None:
    steps = [Step(1, 0, "SEARCH orders USING INDEX ix (total=?)"), Step(2, 0, "USE TEMP B-TREE FOR ORDER BY")]
    [slow] = slow_steps(steps, BOUNDARY, SIZES, WALK)
    assert slow.sorts
    assert str(slow) == "sorts orders (about 50,000 rows) for every batch"


def test_a_scan_in_a_correlated_query_is_repeated_for_every_row() -> None:
    steps = [
        Step(1, 0, "SEARCH orders USING INDEX k ((tenant,id)>(?,?))"),
        Step(2, 0, "CORRELATED SCALAR SUBQUERY 1"),
        Step(3, 2, "SCAN lines"),
    ]
    assert slow_steps(steps, UPDATE, SIZES, WALK) == (
        Slow("lines", 5_000, True, ("order_id",), online=False),
    )


def test_an_index_made_for_the_one_statement_counts_as_reading_the_table() -> None:
    steps = plan("SEARCH orders USING AUTOMATIC COVERING INDEX (customer=?)")
    [slow] = slow_steps(steps, "SELECT 1 FROM orders WHERE customer = ?", SIZES)
    assert slow.columns == ("customer",)


ODD = "or-der. lines"


@pytest.mark.parametrize("rest", ["", " USING COVERING INDEX ix"])
def test_a_table_may_have_any_name(rest: str) -> None:
    sql = f'SELECT "{ODD}"."i d" FROM "{ODD}" WHERE "{ODD}"."i d" > ? ORDER BY "{ODD}"."i d" LIMIT ?'
    [slow] = slow_steps(plan(f"SCAN {ODD}{rest}"), sql, {ODD: 50_000}, Walk(ODD, ("i d",)))
    assert slow == Slow(ODD, 50_000, False, ("i d",), online=False)
    assert slow.sql == f'CREATE INDEX "ix_{ODD}_i d" ON "{ODD}" ("i d")'


def test_a_table_is_not_taken_for_one_whose_name_its_own_begins_with() -> None:
    sql = f'SELECT 1 FROM orders JOIN "{ODD}" ON orders.id = "{ODD}".id JOIN "or-der." ON "or-der.".id = orders.id'
    [slow] = slow_steps(plan(f"SCAN {ODD}"), sql, {ODD: 50_000, "or-der.": 20_000})
    assert slow.table == ODD


def test_columns_of_an_index_made_for_the_one_statement_may_have_any_name() -> None:
    steps = plan(f"SEARCH {ODD} USING AUTOMATIC PARTIAL COVERING INDEX (o. id=? AND a AND b=?)")
    [slow] = slow_steps(steps, f'SELECT 1 FROM "{ODD}"', {ODD: 50_000})
    assert slow.columns == ("o. id", "a AND b")


def test_the_first_row_of_an_index_is_found_without_reading_it() -> None:
    assert (
        slow_steps(plan("SCAN orders"), "SELECT id FROM orders ORDER BY id DESC LIMIT ?", SIZES, WALK) == ()
    )


def test_a_table_counted_no_further_is_told_as_larger() -> None:
    [slow] = slow_steps(plan("SCAN orders"), BOUNDARY, {"orders": MANY_ROWS}, WALK)
    assert str(slow) == "reads all of orders (10,000 rows or more) for every batch"
