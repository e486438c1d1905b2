"""Slow parts of a query plan are found, and the index that would help is named."""

from __future__ import annotations

from typing import Any

import pytest

from datamigrate.thought.plans import Slow, Walk
from datamigrate.thought.postgresql_plans import Tables, slow_parts


def sizes(**rows: int) -> Tables:
    return Tables({("public", table): number for table, number in rows.items()})


def scan(table: str, condition: str = "", **more: Any) -> dict[str, Any]:
    return {"Node Type": "Seq Scan", "Relation Name": table, "Alias": table, "Filter": condition} | more


def update(*children: dict[str, Any]) -> dict[str, Any]:
    walk: dict[str, Any] = {
        "Node Type": "Index Scan",
        "Index Cond": "(id > 5)",
        "Relation Name": "orders",
        "Plans": list(children),
    }
    return {"Node Type": "ModifyTable", "Relation Name": "orders", "Plans": [walk]}


def test_an_index_walk_is_not_slow() -> None:
    assert slow_parts(update(), sizes(orders=1_000_000)) == ()


def test_a_large_table_read_for_every_batch_is_slow() -> None:
    plan = {"Node Type": "ModifyTable", "Plans": [scan("orders", "(total IS NULL)")]}
    assert slow_parts(plan, sizes(orders=50_000)) == (Slow("orders", 50_000, False),)


def test_a_table_is_as_large_as_the_one_in_its_own_schema() -> None:
    both = Tables({("hr", "orders"): 50_000, ("public", "orders"): 40})
    assert slow_parts(scan("orders"), both) == ()
    assert slow_parts(scan("orders", Schema="hr"), both) == (Slow("orders", 50_000, False, schema="hr"),)


@pytest.mark.parametrize("kind", ["Append", "Merge Append"])
def test_the_first_rows_of_the_indexes_of_partitions_are_found_at_once(kind: str) -> None:
    parts = [{"Node Type": "Index Only Scan", "Relation Name": f"orders_{i}"} for i in range(2)]
    rows = sizes(orders_0=50_000, orders_1=50_000, orders_2=50_000)
    gathered = {"Node Type": kind, "Plans": parts}
    assert slow_parts({"Node Type": "Limit", "Plans": [gathered]}, rows) == ()
    assert len(slow_parts({"Node Type": "Aggregate", "Plans": [gathered]}, rows)) == 2
    lacking = {"Node Type": "Sort", "Plans": [scan("orders_2")]}
    plan = {"Node Type": "Limit", "Plans": [gathered | {"Plans": [*parts, lacking]}]}
    assert slow_parts(plan, rows) == (Slow("orders_2", 50_000, False),)


def scans_of_parts(**more: Any) -> dict[str, Any]:
    parts = [scan(f"orders_{i}", Schema="parts", Alias=f"orders_{i + 1}") for i in range(2)]
    return {"Node Type": "Append", "Plans": parts} | more


def parts(*rows: int) -> Tables:
    named = {("parts", f"orders_{i}"): number for i, number in enumerate(rows)}
    return Tables(named, dict.fromkeys(named, ("public", "orders")))


WALK = Walk("orders", ("tenant", "id"))


def test_partitions_that_are_slow_together_are_named_by_their_whole() -> None:
    [slow] = slow_parts(scans_of_parts(), parts(8_000, 9_000), WALK)
    assert slow == Slow("orders", 17_000, False, ("tenant", "id"), partitioned=True)
    assert slow.sql == "CREATE INDEX ix_orders_tenant_id ON orders (tenant, id)"
    assert slow.revision == 'op.create_index("ix_orders_tenant_id", "orders", ["tenant", "id"])'
    sort = {"Node Type": "Limit", "Plans": [{"Node Type": "Sort", "Plans": [scans_of_parts()]}]}
    slow, _ = sorted(slow_parts(sort, parts(8_000, 9_000), WALK), key=lambda one: not one.sorts)
    assert str(slow) == "sorts orders (about 17,000 rows) for every batch"


def test_a_partition_that_is_slow_alone_is_named_by_itself() -> None:
    lacking = {"Node Type": "Append", "Plans": scans_of_parts()["Plans"][:1]}
    [slow] = slow_parts(lacking, parts(50_000, 50_000), WALK)
    assert slow == Slow("orders_0", 50_000, False, ("tenant", "id"), schema="parts")
    assert slow.sql == "CREATE INDEX CONCURRENTLY ix_orders_0_tenant_id ON parts.orders_0 (tenant, id)"


def test_a_partitioned_table_of_few_rows_may_be_read_for_every_batch() -> None:
    assert slow_parts(scans_of_parts(), parts(4_000, 5_000), WALK) == ()


def test_a_small_table_may_be_read_for_every_batch() -> None:
    assert slow_parts({"Plans": [scan("kinds")]}, sizes(kinds=40)) == ()


def test_a_table_read_for_every_row_is_slow_even_when_it_is_not_large() -> None:
    lines = scan("lines", "(order_id = orders.id)", **{"Parent Relationship": "SubPlan"})
    [slow] = slow_parts(update(lines), sizes(lines=5_000))
    assert slow == Slow("lines", 5_000, True, ("order_id",))
    assert str(slow) == "reads all of lines (about 5,000 rows) for every row of a batch"
    assert slow.sql == "CREATE INDEX CONCURRENTLY ix_lines_order_id ON lines (order_id)"
    assert (
        slow.revision
        == 'op.create_index("ix_lines_order_id", "lines", ["order_id"], postgresql_concurrently=True)'
    )


def test_what_lies_below_a_repeated_part_is_repeated_too() -> None:
    deep = {"Node Type": "Aggregate", "Parent Relationship": "SubPlan", "Plans": [scan("lines")]}
    assert [slow.per_row for slow in slow_parts(update(deep), sizes(lines=5_000))] == [True]


def test_a_filter_that_cannot_be_read_names_no_index() -> None:
    plan = {"Plans": [scan("orders", "((((")]}
    assert slow_parts(plan, sizes(orders=50_000)) == (Slow("orders", 50_000, False),)


def test_names_are_quoted_in_sql_where_they_have_to_be() -> None:
    slow = Slow("order", 50_000, False, ("userId", "user", "id"), schema="hr")
    assert slow.sql == (
        'CREATE INDEX CONCURRENTLY "ix_order_userId_user_id" ON hr."order" ("userId", "user", id)'
    )
    assert slow.revision == (
        'op.create_index("ix_order_userId_user_id", "order", ["userId", "user", "id"], schema="hr", '
        "postgresql_concurrently=True)"
    )


def test_a_sign_in_a_name_means_nothing() -> None:
    slow = Slow("a.b c", 50_000, False, ('d"e',), schema="f.g")
    assert slow.sql == 'CREATE INDEX CONCURRENTLY "ix_a.b c_d""e" ON "f.g"."a.b c" ("d""e")'
    assert slow.revision == (
        'op.create_index("ix_a.b c_d\\"e", "a.b c", ["d\\"e"], schema="f.g", postgresql_concurrently=True)'
    )
    assert str(slow) == "reads all of f.g.a.b c (about 50,000 rows) for every batch"
