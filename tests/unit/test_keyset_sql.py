"""The statements that walk a table, as each database reads them."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from sqlalchemy.sql import visitors

from datamigrate.database.keyset import (
    Keyset,
    after,
    last_key,
    nth_key,
    nth_parameters,
    null_keys,
    pending_keys,
    slice_parameters,
    spread_keys,
    upto,
    within,
)
from datamigrate.database.repeated import Repeated
from datamigrate.words.migration import Bounds
from unit.samples import ORDERS, USERS, given, orders, sql, users

SLICE = Bounds((10,), (20,))
BEGINNING = Bounds(None, (20,))
ORDERS_SLICE = Bounds((1, "a"), (2, "b"))
PENDING = users.c.email_key.is_(None)
UNPAID = orders.c.paid.is_(False)

BOTH = "sqlite", "postgresql"


@pytest.mark.parametrize(
    ("condition", "sqlite", "postgresql"),
    [
        (after(USERS, (10,)), "users.id > ?", "users.id > $1"),
        (upto(USERS, (20,)), "users.id <= ?", "users.id <= $1"),
        (
            within(USERS, SLICE),
            "users.id > ? AND users.id <= ?",
            "users.id > $1 AND users.id <= $2",
        ),
        (within(USERS, BEGINNING), "users.id <= ?", "users.id <= $1"),
        (
            after(ORDERS, (1, "a")),
            "(orders.tenant_id, orders.id) > (?, ?)",
            "(orders.tenant_id, orders.id) > ($1, $2)",
        ),
        (
            upto(ORDERS, (1, "a")),
            "(orders.tenant_id, orders.id) <= (?, ?)",
            "(orders.tenant_id, orders.id) <= ($1, $2)",
        ),
        (
            within(ORDERS, ORDERS_SLICE),
            "(orders.tenant_id, orders.id) > (?, ?) AND (orders.tenant_id, orders.id) <= (?, ?)",
            "(orders.tenant_id, orders.id) > ($1, $2) AND (orders.tenant_id, orders.id) <= ($3, $4)",
        ),
    ],
)
def test_a_slice_is_a_condition_on_the_key(
    condition: sa.ColumnElement[bool], sqlite: str, postgresql: str
) -> None:
    assert sql(condition, "sqlite") == sqlite
    assert sql(condition, "postgresql") == postgresql


@pytest.mark.parametrize(
    ("query", "sqlite", "postgresql"),
    [
        (
            last_key(USERS),
            "SELECT users.id AS id FROM users ORDER BY users.id DESC LIMIT ? OFFSET ?",
            "SELECT users.id AS id FROM users ORDER BY users.id DESC LIMIT $1::INTEGER",
        ),
        (
            last_key(ORDERS),
            "SELECT orders.tenant_id AS tenant_id, orders.id AS id FROM orders "
            "ORDER BY orders.tenant_id DESC, orders.id DESC LIMIT ? OFFSET ?",
            "SELECT orders.tenant_id AS tenant_id, orders.id AS id FROM orders "
            "ORDER BY orders.tenant_id DESC, orders.id DESC LIMIT $1::INTEGER",
        ),
        (
            nth_key(USERS, SLICE, 5),
            "SELECT users.id AS id FROM users WHERE users.id > ? AND users.id <= ? "
            "ORDER BY users.id LIMIT ? OFFSET ?",
            "SELECT users.id AS id FROM users WHERE users.id > $1 AND users.id <= $2 "
            "ORDER BY users.id LIMIT $3::INTEGER OFFSET $4::INTEGER",
        ),
        (
            nth_key(ORDERS, ORDERS_SLICE, 5, UNPAID),
            "SELECT orders.tenant_id AS tenant_id, orders.id AS id FROM orders "
            "WHERE (orders.tenant_id, orders.id) > (?, ?) AND (orders.tenant_id, orders.id) <= (?, ?) "
            "AND orders.paid IS 0 ORDER BY orders.tenant_id, orders.id LIMIT ? OFFSET ?",
            "SELECT orders.tenant_id AS tenant_id, orders.id AS id FROM orders "
            "WHERE (orders.tenant_id, orders.id) > ($1, $2) AND (orders.tenant_id, orders.id) <= ($3, $4) "
            "AND orders.paid IS false ORDER BY orders.tenant_id, orders.id "
            "LIMIT $5::INTEGER OFFSET $6::INTEGER",
        ),
        (
            pending_keys(USERS, PENDING),
            "SELECT users.id AS id FROM users WHERE users.email_key IS NULL",
            "SELECT users.id AS id FROM users WHERE users.email_key IS NULL",
        ),
        (
            pending_keys(ORDERS, sa.and_(within(ORDERS, ORDERS_SLICE), UNPAID), limit=20),
            "SELECT orders.tenant_id AS tenant_id, orders.id AS id FROM orders "
            "WHERE (orders.tenant_id, orders.id) > (?, ?) AND (orders.tenant_id, orders.id) <= (?, ?) "
            "AND orders.paid IS 0 LIMIT ? OFFSET ?",
            "SELECT orders.tenant_id AS tenant_id, orders.id AS id FROM orders "
            "WHERE (orders.tenant_id, orders.id) > ($1, $2) AND (orders.tenant_id, orders.id) <= ($3, $4) "
            "AND orders.paid IS false LIMIT $5::INTEGER",
        ),
        (
            null_keys(USERS),
            "SELECT ? AS anon_1 FROM users WHERE users.id IS NULL LIMIT ? OFFSET ?",
            "SELECT $1::INTEGER AS anon_1 FROM users WHERE users.id IS NULL LIMIT $2::INTEGER",
        ),
        (
            null_keys(ORDERS),
            "SELECT ? AS anon_1 FROM orders WHERE orders.tenant_id IS NULL OR orders.id IS NULL "
            "LIMIT ? OFFSET ?",
            "SELECT $1::INTEGER AS anon_1 FROM orders WHERE orders.tenant_id IS NULL OR orders.id IS NULL "
            "LIMIT $2::INTEGER",
        ),
    ],
)
def test_a_query_for_keys_reads_like_this(
    query: sa.Select[tuple[object]], sqlite: str, postgresql: str
) -> None:
    assert sql(query, "sqlite") == sqlite
    assert sql(query, "postgresql") == postgresql


def test_keys_are_spread_by_their_places_and_counted_by_the_database() -> None:
    assert sql(spread_keys(ORDERS, ORDERS_SLICE, 2_000), "postgresql") == (
        "SELECT anon_1.key_0, anon_1.key_1, anon_1.total FROM (SELECT orders.tenant_id AS key_0, orders.id AS key_1, "
        "row_number() OVER (ORDER BY orders.tenant_id, orders.id) AS place, count(*) OVER () AS total FROM orders "
        "WHERE (orders.tenant_id, orders.id) > ($1, $2) AND (orders.tenant_id, orders.id) <= ($3, $4)) AS anon_1 "
        "WHERE anon_1.place % ($5::INTEGER + anon_1.total / $6::INTEGER) = $7::INTEGER ORDER BY anon_1.place"
    )


def test_the_first_key_is_found_without_passing_any_over() -> None:
    assert list(given(nth_key(USERS, SLICE, 1)).values()) == [10, 20, 1, 0]


def test_the_nth_key_passes_over_those_before_it() -> None:
    assert list(given(nth_key(USERS, SLICE, 5)).values()) == [10, 20, 1, 4]


@pytest.mark.parametrize(
    ("made_for", "other"),
    [
        (SLICE, Bounds((70,), (90,))),
        (BEGINNING, Bounds(None, (90,))),
        (ORDERS_SLICE, Bounds((5, "x"), (6, "y"))),
    ],
)
def test_what_was_made_for_one_slice_is_executed_for_another_with_its_parameters(
    made_for: Bounds, other: Bounds
) -> None:
    keyset = USERS if len(other.upper) == 1 else ORDERS
    assert given(within(keyset, made_for)) | slice_parameters(other) == given(within(keyset, other))
    assert given(nth_key(keyset, made_for, 3)) | nth_parameters(other, 8) == given(nth_key(keyset, other, 8))


def test_a_statement_is_made_once_for_slices_with_a_lower_bound_and_once_without() -> None:
    made: list[Bounds] = []

    def make(bounds: Bounds) -> sa.Select[tuple[object]]:
        made.append(bounds)
        return nth_key(USERS, bounds, 1)

    repeated = Repeated(make)
    later = Bounds((70,), (90,))
    assert repeated.of(BEGINNING) is repeated.of(BEGINNING)
    assert repeated.of(SLICE) is repeated.of(later) is not repeated.of(BEGINNING)
    assert made == [BEGINNING, SLICE]


@pytest.mark.parametrize("value", ["a", b"\x00", 1.5, "2026-11-22", 2**62])
def test_a_key_goes_in_as_the_driver_gave_it(value: object) -> None:
    condition = after(Keyset(users, ("id",), (sa.Integer(),)), (value,))
    (bound,) = (part for part in visitors.iterate(condition) if isinstance(part, sa.BindParameter))
    assert bound.value == value
    assert isinstance(bound.type, sa.types.NullType)


@pytest.mark.parametrize("keyset", [USERS, ORDERS])
def test_a_key_comes_out_as_the_driver_gives_it(keyset: Keyset) -> None:
    assert all(isinstance(column.type, sa.types.NullType) for column in keyset.columns)


def test_a_key_that_the_script_does_not_declare_is_the_tables_all_the_same() -> None:
    narrow = sa.table("users", sa.column("email", sa.Text))
    keyset = Keyset(narrow, ("id",), (sa.Integer(),))
    assert sql(last_key(keyset), "postgresql") == (
        "SELECT users.id AS id FROM users ORDER BY users.id DESC LIMIT $1::INTEGER"
    )
    assert narrow.c.keys() == ["email"]


def test_a_key_is_found_by_its_name_in_the_database() -> None:
    columns = sa.Column("id", sa.Integer, key="pk"), sa.Column("uid", sa.Integer, key="id")
    table = sa.Table("users", sa.MetaData(), *columns)
    condition = after(Keyset(table, ("id",), (sa.Integer(),)), (10,))
    assert sql(sa.select(table.c.pk).where(condition), "sqlite").endswith("WHERE users.id > ?")


def test_a_table_in_a_schema_is_walked_there() -> None:
    table = sa.table("users", sa.column("id", sa.Integer), schema="crm")
    statement = last_key(Keyset(table, ("id",), (sa.Integer(),)))
    assert "FROM crm.users ORDER BY crm.users.id DESC" in sql(statement, "postgresql")


@pytest.mark.parametrize("dialect", BOTH)
def test_names_that_are_words_of_sql_are_quoted(dialect: str) -> None:
    table = sa.table("order", sa.column("user", sa.Integer))
    statement = last_key(Keyset(table, ("user",), (sa.Integer(),)))
    assert 'FROM "order"' in sql(statement, dialect)


@pytest.mark.parametrize(("keyset", "label"), [(USERS, "users.id"), (ORDERS, "orders.(tenant_id, id)")])
def test_a_keyset_has_a_name_for_a_person(keyset: Keyset, label: str) -> None:
    assert keyset.label == label
