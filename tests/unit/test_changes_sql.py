"""The statements that change rows and keep the ledger, as each database reads them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
import sqlalchemy as sa

from datamigrate.authoring.forms import compute_rows, delete_rows, update_rows
from datamigrate.database import changes
from datamigrate.database.dialects.base import RowsToWrite, Timeouts
from datamigrate.database.dialects.postgresql import PostgreSQL
from datamigrate.database.dialects.postgresql_settings import batch_settings, local_setting, parallel_plans
from datamigrate.database.dialects.postgresql_writing import (
    MOST_PARAMETERS,
    ROWS_AT_ONCE,
    rows_at_once,
    update_from_arrays,
    update_from_rows,
)
from datamigrate.database.dialects.sqlite import SQLite
from datamigrate.database.dialects.sqlite_writing import compiled, update_by_key
from datamigrate.database.keyset import Keyset, one_of
from datamigrate.database.ledger.checkpoint import checkpoint_statement, checkpoint_values
from datamigrate.database.ledger.clock import Instant, ago, now
from datamigrate.database.ledger.tables import ledger_tables
from datamigrate.words.claim import Tally
from datamigrate.words.migration import Bounds
from unit.samples import DIALECTS, ORDERS, OWNER, USERS, claim, given, orders, sql, users

SLICE = Bounds((10,), (20,))
ORDERS_SLICE = Bounds((1, "a"), (2, "b"))
UNPAID = orders.c.paid.is_(False)

fill = update_rows(
    users, pending=users.c.email_key.is_(None), values={users.c.email_key: sa.func.lower(users.c.email)}
)
pay = update_rows(orders, pending=UNPAID, values={"paid": True})
forget = delete_rows(orders, pending=UNPAID)


@compute_rows(users, pending=users.c.email_key.is_(None), reads=[users.c.email], writes=[users.c.email_key])
def fold(row: Any) -> dict[str, str]:
    return {"email_key": row.email.casefold()}


@compute_rows(orders, pending=UNPAID, reads=[orders.c.total], writes=[orders.c.paid])
def settle(row: Any) -> dict[str, bool]:
    return {"paid": row.total == 0}


def to_write(version: list[sa.ColumnElement[Any]], **given: Any) -> RowsToWrite:
    write = RowsToWrite(
        table=users,
        key=USERS.columns,
        key_types=USERS.types,
        version=tuple(version),
        names=("email_key",),
        types=(sa.Text(),),
        within=changes.rows_of(fold, USERS, SLICE),
        pending=fold.pending,
    )
    return replace(write, **given)


SQLITE_VERSION = SQLite().version_of_row(users, [users.c.email])
POSTGRES_VERSION = PostgreSQL().version_of_row(users, [users.c.email])


@pytest.mark.parametrize(
    ("statement", "sqlite", "postgresql"),
    [
        (
            changes.update(fill, USERS, SLICE),
            "UPDATE users SET email_key=lower(users.email) "
            "WHERE users.id > ? AND users.id <= ? AND users.email_key IS NULL",
            "UPDATE users SET email_key=lower(users.email) "
            "WHERE users.id > $1 AND users.id <= $2 AND users.email_key IS NULL",
        ),
        (
            changes.update(pay, ORDERS, ORDERS_SLICE),
            "UPDATE orders SET paid=? WHERE (orders.tenant_id, orders.id) > (?, ?) "
            "AND (orders.tenant_id, orders.id) <= (?, ?) AND orders.paid IS 0",
            "UPDATE orders SET paid=$1::BOOLEAN WHERE (orders.tenant_id, orders.id) > ($2, $3) "
            "AND (orders.tenant_id, orders.id) <= ($4, $5) AND orders.paid IS false",
        ),
        (
            changes.delete(forget, ORDERS, ORDERS_SLICE),
            "DELETE FROM orders WHERE (orders.tenant_id, orders.id) > (?, ?) "
            "AND (orders.tenant_id, orders.id) <= (?, ?) AND orders.paid IS 0",
            "DELETE FROM orders WHERE (orders.tenant_id, orders.id) > ($1, $2) "
            "AND (orders.tenant_id, orders.id) <= ($3, $4) AND orders.paid IS false",
        ),
        (
            changes.delete(forget, ORDERS, Bounds(None, (2, "b"))),
            "DELETE FROM orders WHERE (orders.tenant_id, orders.id) <= (?, ?) AND orders.paid IS 0",
            "DELETE FROM orders WHERE (orders.tenant_id, orders.id) <= ($1, $2) AND orders.paid IS false",
        ),
        (
            changes.count(fill, USERS, SLICE),
            "SELECT count(*) AS count_1 FROM users "
            "WHERE users.id > ? AND users.id <= ? AND users.email_key IS NULL",
            "SELECT count(*) AS count_1 FROM users "
            "WHERE users.id > $1 AND users.id <= $2 AND users.email_key IS NULL",
        ),
    ],
)
def test_a_batch_is_done_by_one_statement_on_its_slice(
    statement: sa.ClauseElement, sqlite: str, postgresql: str
) -> None:
    assert sql(statement, "sqlite") == sqlite
    assert sql(statement, "postgresql") == postgresql


def test_a_condition_with_an_or_stays_in_its_brackets() -> None:
    either = delete_rows(orders, pending=sa.or_(orders.c.paid.is_(None), orders.c.total == 0))
    assert sql(changes.delete(either, ORDERS, ORDERS_SLICE), "sqlite").endswith(
        "AND (orders.paid IS NULL OR orders.total = ?)"
    )


@pytest.mark.parametrize(
    ("dialect", "version", "text"),
    [
        (
            "sqlite",
            SQLITE_VERSION,
            "SELECT users.id AS key_0, users.email AS version_0, users.email AS read_0 FROM users "
            "WHERE users.id > ? AND users.id <= ? AND users.email_key IS NULL ORDER BY users.id",
        ),
        (
            "postgresql",
            POSTGRES_VERSION,
            "SELECT users.id AS key_0, users.xmin AS version_0, users.email AS read_0 "
            "FROM users WHERE users.id > $1 AND users.id <= $2 AND users.email_key IS NULL "
            "ORDER BY users.id",
        ),
    ],
)
def test_rows_are_read_in_key_order_with_their_version(
    dialect: str, version: list[sa.ColumnElement[Any]], text: str
) -> None:
    assert sql(changes.read(fold, USERS, SLICE, version), dialect) == text


def test_rows_with_a_composite_key_are_read_in_the_order_of_all_its_columns() -> None:
    text = sql(changes.read(settle, ORDERS, ORDERS_SLICE, []), "postgresql")
    assert text.startswith("SELECT orders.tenant_id AS key_0, orders.id AS key_1, orders.total AS read_0 ")
    assert text.endswith("ORDER BY orders.tenant_id, orders.id")


def test_what_is_read_as_it_is_stored_is_read_once_on_sqlite() -> None:
    text = sql(changes.read(fold, USERS, SLICE, SQLITE_VERSION, is_read=True), "sqlite")
    assert text.startswith("SELECT users.id AS key_0, users.email AS version_0 FROM users ")


def test_it_is_stored_otherwise_where_a_type_converts_it() -> None:
    plain, moment = sa.column("email", sa.Text), sa.column("at", sa.DateTime)
    assert SQLite().version_is_read([plain, sa.column("unknown")])
    assert not SQLite().version_is_read([plain, moment])
    assert not PostgreSQL().version_is_read([plain])


# having the database call Python


def test_a_functions_only_value_is_asked_for_with_what_is_read() -> None:
    assert sql(changes.update_inside(fold, USERS, SLICE), "sqlite") == (
        "UPDATE users SET email_key=datamigrate_value_0(users.email) "
        "WHERE users.id > ? AND users.id <= ? AND users.email_key IS NULL"
    )


def test_several_values_of_a_function_are_asked_for_by_the_rows_key() -> None:
    both = compute_rows(
        orders, pending=UNPAID, reads=[orders.c.total], writes=[orders.c.paid, orders.c.total]
    )
    assert sql(changes.update_inside(both(settle.function), ORDERS, ORDERS_SLICE), "sqlite") == (
        "UPDATE orders SET total=datamigrate_value_1(orders.tenant_id, orders.id, orders.total), "
        "paid=datamigrate_value_0(orders.tenant_id, orders.id, orders.total) "
        "WHERE (orders.tenant_id, orders.id) > (?, ?) AND (orders.tenant_id, orders.id) <= (?, ?) "
        "AND orders.paid IS 0"
    )


# writing computed values


def test_on_sqlite_a_row_is_written_if_what_was_read_is_still_there() -> None:
    assert sql(update_by_key(to_write(SQLITE_VERSION)), "sqlite") == (
        "UPDATE users SET email_key=? WHERE users.id = ? "
        'AND (users.email COLLATE "BINARY") IS ? AND users.email_key IS NULL'
    )


def test_on_sqlite_the_parameters_are_numbered_key_then_version_then_values() -> None:
    positions = compiled(update_by_key(to_write(SQLITE_VERSION))).positiontup
    assert positions is not None
    assert positions[:3] == ["datamigrate_2", "datamigrate_0", "datamigrate_1"]


def test_on_sqlite_a_composite_key_is_compared_column_by_column() -> None:
    write = to_write(
        SQLite().version_of_row(orders, [orders.c.total]),
        table=orders,
        key=ORDERS.columns,
        key_types=ORDERS.types,
        names=("paid",),
        types=(sa.Boolean(),),
        pending=settle.pending,
    )
    assert sql(update_by_key(write), "sqlite") == (
        "UPDATE orders SET paid=? WHERE orders.tenant_id = ? AND orders.id = ? "
        'AND (orders.total COLLATE "BINARY") IS ? AND orders.paid IS 0'
    )


def test_on_postgresql_all_rows_are_written_from_arrays_by_one_statement() -> None:
    statement = update_from_arrays(to_write(POSTGRES_VERSION))
    assert sql(statement, "postgresql") == (
        "UPDATE users SET email_key=anon_1.c2 "
        "FROM unnest($1::INTEGER[], $2::xid[], $3::TEXT[]) AS anon_1(c0, c1, c2) "
        "WHERE users.id = anon_1.c0 AND users.xmin = anon_1.c1 "
        "AND users.id > $4 AND users.id <= $5 AND users.email_key IS NULL"
    )
    assert [statement.compile().binds[f"datamigrate_array_{i}"].value for i in range(3)] == [None, None, None]


def test_on_postgresql_what_can_be_joined_goes_as_one_text_and_is_made_an_array_there() -> None:
    write = to_write(
        PostgreSQL().version_of_row(orders, []),
        table=orders,
        key=ORDERS.columns,
        key_types=ORDERS.types,
        names=("paid", "total"),
        types=(sa.Boolean(), sa.String(20)),
        within=UNPAID,
    )
    marks = "chr(31), chr(30)"
    assert sql(update_from_arrays(write, joined=True), "postgresql") == (
        "UPDATE orders SET total=anon_1.c4, paid=anon_1.c3 "
        f"FROM unnest(CAST(string_to_array($1::VARCHAR, {marks}) AS INTEGER[]), $2::UUID[], "
        f"CAST(string_to_array($3::VARCHAR, {marks}) AS xid[]), $4::BOOLEAN[], "
        f"CAST(string_to_array($5::VARCHAR, {marks}) AS VARCHAR[])) AS anon_1(c0, c1, c2, c3, c4) "
        "WHERE orders.tenant_id = anon_1.c0 AND orders.id = anon_1.c1 "
        "AND orders.xmin = anon_1.c2 AND orders.paid IS false"
    )


def test_on_postgresql_arrays_are_written_from_rows_whose_first_one_has_the_types() -> None:
    write = to_write(POSTGRES_VERSION, types=(sa.ARRAY(sa.Text()),))
    assert sql(update_from_rows(write, 2), "postgresql") == (
        "UPDATE users SET email_key=anon_1.c2 FROM (SELECT * FROM (VALUES "
        "(CAST($1::INTEGER AS INTEGER), CAST($2::xid AS xid), CAST($3::TEXT[] AS TEXT[])), "
        "($4::INTEGER, $5::xid, $6::TEXT[])) AS given (c0, c1, c2)) AS anon_1 "
        "WHERE users.id = anon_1.c0 AND users.xmin = anon_1.c1 "
        "AND users.id > $7 AND users.id <= $8 AND users.email_key IS NULL"
    )


@pytest.mark.parametrize(("columns", "keys"), [(1, 0), (1, 999), (100, 0), (100, 999), (100, 9_999)])
def test_on_postgresql_rows_beside_a_list_of_keys_are_as_many_as_there_are_parameters_for(
    columns: int, keys: int
) -> None:
    listed = one_of(ORDERS, [(i, str(i)) for i in range(keys)]) if keys else sa.true()
    write = to_write(
        PostgreSQL().version_of_row(orders, []),
        table=sa.table("orders", *(sa.column(f"c{i}") for i in range(columns))),
        key=ORDERS.columns,
        key_types=ORDERS.types,
        names=tuple(f"c{i}" for i in range(columns)),
        types=(sa.ARRAY(sa.Text()),) * columns,
        within=sa.and_(UNPAID, listed),
    )
    rows, width = rows_at_once(write), columns + 3
    assert 0 < rows * width + 2 * keys <= MOST_PARAMETERS
    assert rows == ROWS_AT_ONCE or (rows + 1) * width + 2 * keys > MOST_PARAMETERS


def test_on_postgresql_a_composite_key_has_an_array_for_each_column() -> None:
    write = to_write(
        PostgreSQL().version_of_row(orders, []),
        table=orders,
        key=ORDERS.columns,
        key_types=ORDERS.types,
        names=("paid", "total"),
        types=(sa.Boolean(), sa.Numeric()),
        within=UNPAID,
    )
    assert sql(update_from_arrays(write), "postgresql") == (
        "UPDATE orders SET total=anon_1.c4, paid=anon_1.c3 "
        "FROM unnest($1::INTEGER[], $2::UUID[], $3::xid[], $4::BOOLEAN[], $5::NUMERIC[]) "
        "AS anon_1(c0, c1, c2, c3, c4) "
        "WHERE orders.tenant_id = anon_1.c0 AND orders.id = anon_1.c1 "
        "AND orders.xmin = anon_1.c2 AND orders.paid IS false"
    )


def test_the_version_of_a_row_in_postgresql_names_its_table_and_schema() -> None:
    (version,) = PostgreSQL().version_of_row(sa.table("order", schema="crm"), [])
    assert sql(version, "postgresql") == 'crm."order".xmin'


def test_the_version_of_a_row_in_sqlite_is_everything_that_was_read() -> None:
    version = SQLite().version_of_row(orders, [orders.c.total, orders.c.paid])
    assert [sql(v, "sqlite") for v in version] == ["orders.total", "orders.paid"]
    assert all(isinstance(v.type, sa.types.NullType) for v in version)


# settings of a transaction

IDLE = "idle_in_transaction_session_timeout"


@pytest.mark.parametrize(
    ("timeouts", "durable", "settings"),
    [
        (
            Timeouts(),
            True,
            {"lock_timeout": "5000ms", "statement_timeout": "30000ms", IDLE: "60000ms", "jit": "off"},
        ),
        (
            Timeouts(lock=0.25, statement=None),
            False,
            {
                "lock_timeout": "250ms",
                "statement_timeout": "0",
                IDLE: "60000ms",
                "jit": "off",
                "synchronous_commit": "off",
            },
        ),
        # nought would be "for ever"
        (
            Timeouts(lock=0.0001, statement=None, idle=None),
            True,
            {"lock_timeout": "1ms", "statement_timeout": "0", IDLE: "0", "jit": "off"},
        ),
    ],
)
def test_what_is_set_holds_in_the_transaction_only(
    timeouts: Timeouts, durable: bool, settings: dict[str, str]
) -> None:
    said = (f"SET LOCAL {name} = '{value}';" for name, value in settings.items())
    assert batch_settings(timeouts, durable) == " ".join(said)


def test_a_single_timeout_is_set_locally_too() -> None:
    assert list(given(local_setting("statement_timeout", 2.0)).values()) == [
        "statement_timeout",
        "2000ms",
        True,
    ]


def test_a_query_is_planned_for_several_processes_until_the_transaction_ends() -> None:
    values = list(given(parallel_plans()).values())
    assert values == ["parallel_setup_cost", "0", True, "parallel_tuple_cost", "0", True]


# the ledger


OURS = (
    "datamigrate_range.migration = {} AND datamigrate_range.number = {} "
    "AND datamigrate_range.generation = {} AND datamigrate_range.owner = {}"
)
WORD = ", ".join(
    f"(SELECT datamigrate_migration.{column} FROM datamigrate_migration WHERE {{0}} = {{1}}) AS anon_{i}"
    for i, column in enumerate(("state", "moved_by", "moved_at", "reason", "tuning"), start=1)
)
CHECKPOINT = {
    "sqlite": "UPDATE datamigrate_range SET cursor=?, upper=?, exhausted=?, sweep=?, rows=?, left_alone=?, "
    "batches=?, size=?, span=?, seconds=(datamigrate_range.seconds + ?), "
    "heartbeat=strftime('%Y-%m-%d %H:%M:%f', 'now'), attempts=? "
    f"WHERE {OURS.format(*4 * '?')} AND datamigrate_range.upper IS ? RETURNING {WORD.format('name', '?')}",
    "postgresql": "UPDATE datamigrate_range SET cursor=$1::VARCHAR, upper=$2::VARCHAR, exhausted=$3::BOOLEAN, "
    "sweep=$4::INTEGER, rows=$5::BIGINT, left_alone=$6::BIGINT, batches=$7::BIGINT, "
    "size=$8::INTEGER, span=$9::INTEGER, seconds=(datamigrate_range.seconds + $10::FLOAT), "
    "heartbeat=clock_timestamp(), attempts=$11::INTEGER "
    f"WHERE {OURS.format('$12::VARCHAR', '$13::INTEGER', '$14::BIGINT', '$15::VARCHAR')} "
    "AND datamigrate_range.upper IS NOT DISTINCT FROM $2::VARCHAR "
    f"RETURNING {WORD.format('datamigrate_migration.name', '$12::VARCHAR')}",
}


@pytest.mark.parametrize("dialect", CHECKPOINT)
def test_a_checkpoint_is_written_by_the_owner_of_this_generation_only_and_reads_the_word_of_operators(
    dialect: str,
) -> None:
    assert sql(checkpoint_statement(ledger_tables()), dialect) == CHECKPOINT[dialect]


def test_the_checkpoint_that_begins_a_walk_may_move_its_end() -> None:
    begins = sql(checkpoint_statement(ledger_tables(), begins=True), "sqlite")
    assert begins == CHECKPOINT["sqlite"].replace(" AND datamigrate_range.upper IS ?", "")


def test_a_checkpoint_keeps_the_claim() -> None:
    ours = claim(
        number=2,
        generation=7,
        cursor=(10,),
        upper=(99,),
        sweep=1,
        tally=Tally(rows=5, left_alone=1, batches=3),
        size=500,
        span=4000,
    )
    assert checkpoint_values(ours, 0.5) == {
        "its_migration": "fill",
        "its_number": 2,
        "its_generation": 7,
        "its_owner": OWNER.identity,
        "its_cursor": '{"v":1,"key":[["int","10"]]}',
        "its_upper": '{"v":1,"key":[["int","99"]]}',
        "its_exhausted": False,
        "its_sweep": 1,
        "its_rows": 5,
        "its_left_alone": 1,
        "its_batches": 3,
        "its_size": 500,
        "its_span": 4000,
        "its_attempts": 0,
        "its_seconds": 0.5,
    }


def test_a_ledger_in_a_schema_is_written_there() -> None:
    statement = checkpoint_statement(ledger_tables("ops"))
    assert sql(statement, "postgresql").startswith("UPDATE ops.datamigrate_range SET")


# the clock


def test_now_is_the_databases_clock_and_not_the_beginning_of_the_transaction() -> None:
    assert sql(now(), "postgresql") == "clock_timestamp()"
    assert sql(now(), "sqlite") == "strftime('%Y-%m-%d %H:%M:%f', 'now')"


def test_ago_is_counted_back_by_the_database() -> None:
    assert sql(ago(30.0), "postgresql") == (
        "(clock_timestamp() - make_interval(secs => CAST($1::FLOAT AS double precision)))"
    )
    assert sql(ago(30.0), "sqlite") == "strftime('%Y-%m-%d %H:%M:%f', 'now', '-' || ? || ' seconds')"
    assert list(given(ago(30.0)).values()) == [30.0]


def test_a_moment_comes_back_with_its_time_zone() -> None:
    moment = datetime(2026, 11, 22, 10, 4, 5, 678000, UTC)
    from_text = Instant().process_result_value("2026-11-22 10:04:05.678", DIALECTS["sqlite"])
    there = moment.astimezone(timezone(timedelta(hours=2)))
    from_server = Instant().process_result_value(there, DIALECTS["postgresql"])
    for back in (from_text, from_server):
        assert back == moment
        assert back is not None
        assert back.tzinfo is UTC


def test_no_moment_stays_none() -> None:
    assert Instant().process_result_value(None, DIALECTS["postgresql"]) is None


def test_moments_are_kept_as_the_database_keeps_them_best() -> None:
    kinds = {
        name: str(Instant().dialect_impl(dialect).compile(dialect=dialect))
        for name, dialect in DIALECTS.items()
    }
    assert kinds == {"sqlite": "TEXT", "postgresql": "TIMESTAMP WITH TIME ZONE"}


def test_a_key_type_of_an_undeclared_column_reaches_the_array() -> None:
    narrow = sa.table("users", sa.column("email", sa.Text), sa.column("email_key", sa.Text))
    keyset = Keyset(narrow, ("id",), (sa.BigInteger(),))
    write = to_write(POSTGRES_VERSION, table=narrow, key=keyset.columns, key_types=keyset.types)
    assert "unnest($1::BIGINT[]," in sql(update_from_arrays(write), "postgresql")
