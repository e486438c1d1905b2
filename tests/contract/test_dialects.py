from __future__ import annotations

import datetime as dt
import json
import math
import re
import uuid
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any, NoReturn

import aiosqlite
import anyio
import pytest
import sqlalchemy as sa
from asyncpg import BitString
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

import datamigrate
from databases import ScratchDatabase
from datamigrate.authoring.forms import ComputeRows
from datamigrate.database import changes
from datamigrate.database.database import Database, fault_of
from datamigrate.database.dialects import sqlite_counting, sqlite_transactions
from datamigrate.database.dialects.base import Estimate, Timeouts
from datamigrate.database.dialects.postgresql_settings import local_setting
from datamigrate.database.faults import Fault
from datamigrate.database.keyset import Keyset
from datamigrate.thought.pacing import Limits
from datamigrate.words.errors import DatabaseUnavailable
from datamigrate.words.events import BatchDone, Quarantined, Retrying, Sweeping
from datamigrate.words.migration import Bounds
from workbench import ITEM, PENDING, Bench, at_every_step, doubling, opened, with_settings

pytestmark = pytest.mark.anyio

IMPATIENT = Timeouts(lock=0.05, statement=None)


async def fault_in(database: Database, attempt: Awaitable[Any]) -> Fault:
    """What the runner makes of the error that this raises."""
    with pytest.raises(Exception) as caught:  # noqa: PT011 (whatever it is: that is the question)
        await attempt
    return fault_of(database, caught.value)


async def write(database: Database, *statements: str, timeouts: Timeouts = IMPATIENT) -> None:
    async with database.writing(timeouts) as connection:
        for statement in statements:
            await connection.execute(sa.text(statement))


# connections ---------------------------------------------------------------------------------------------


async def driver_of(connection: AsyncConnection) -> object:
    return (await connection.get_raw_connection()).driver_connection


async def test_a_transaction_has_the_connection_of_the_last_one_though_there_are_others(
    database: ScratchDatabase,
) -> None:
    async with opened(database) as ours:
        async with ours.looking() as early, ours.looking() as late:
            held = {await driver_of(early), await driver_of(late)}
        assert len(held) == 2
        taken = []
        for transaction in (ours.looking, ours.writing, ours.looking, ours.writing):
            async with transaction() as connection:
                taken.append(await driver_of(connection))
        assert len(set(taken)) == 1
        assert held.issuperset(taken)


# what errors mean ---------------------------------------------------------------------------------------

LASTING = {
    "a unique violation": "INSERT INTO item (id) VALUES (1)",
    "a check violation": "UPDATE item SET old = -1",
    "a column that is not there": "UPDATE item SET nothing = 1",
    "a table that is not there": "DELETE FROM nothing",
    "a syntax error": "UPDATE WHERE",
}


@pytest.mark.parametrize("what", LASTING)
async def test_what_trying_again_cannot_help_is_lasting(database: ScratchDatabase, what: str) -> None:
    database.script(
        "CREATE TABLE item (id INTEGER PRIMARY KEY, old INTEGER CHECK (old > 0));"
        "INSERT INTO item VALUES (1, 1)"
    )
    async with opened(database) as ours:
        assert await fault_in(ours, write(ours, LASTING[what])) is Fault.LASTING


async def test_an_error_that_is_not_the_databases_is_lasting(database: ScratchDatabase) -> None:
    async with opened(database) as ours:
        assert fault_of(ours, ValueError()) is Fault.LASTING


async def test_a_lock_held_by_somebody_else_is_told_from_what_passes_by_itself(
    database: ScratchDatabase,
) -> None:
    database.script("CREATE TABLE item (id INTEGER); INSERT INTO item VALUES (1)")
    async with opened(database) as ours:
        with database.engine.begin() as other:
            other.execute(sa.text("UPDATE item SET id = 2"))
            assert await fault_in(ours, write(ours, "UPDATE item SET id = 3")) is Fault.LOCKED
        await write(ours, "UPDATE item SET id = 3")


async def test_a_deadlock_passes(postgres_database: ScratchDatabase) -> None:
    postgres_database.script("CREATE TABLE item (id INTEGER); INSERT INTO item VALUES (1), (2)")
    faults: list[Fault] = []
    both = [anyio.Event(), anyio.Event()]

    async with opened(postgres_database) as ours:

        async def cross(mine: int) -> None:
            async with ours.writing() as connection:
                await connection.execute(sa.text("SET LOCAL deadlock_timeout = '10ms'"))
                await connection.execute(sa.text(f"UPDATE item SET id = id WHERE id = {mine + 1}"))
                both[mine].set()
                await both[1 - mine].wait()
                await connection.execute(sa.text(f"UPDATE item SET id = id WHERE id = {2 - mine}"))

        async def note(mine: int) -> None:
            try:
                await cross(mine)
            except sa.exc.DBAPIError as error:
                faults.append(fault_of(ours, error))

        async with anyio.create_task_group() as group:
            group.start_soon(note, 0)
            group.start_soon(note, 1)
    assert faults == [Fault.PASSING]


async def test_a_serialization_failure_passes(postgres_database: ScratchDatabase) -> None:
    postgres_database.script("CREATE TABLE item (id INTEGER); INSERT INTO item VALUES (1)")

    async def write_over(ours: Database) -> None:
        async with ours.engine.connect() as plain:
            connection = await plain.execution_options(isolation_level="REPEATABLE READ")
            await connection.execute(sa.text("SELECT * FROM item"))
            postgres_database.execute("UPDATE item SET id = 2")
            await connection.execute(sa.text("UPDATE item SET id = 3"))

    async with opened(postgres_database) as ours:
        assert await fault_in(ours, write_over(ours)) is Fault.PASSING


async def test_a_statement_cut_off_for_its_length_is_a_timeout(postgres_database: ScratchDatabase) -> None:
    async with opened(postgres_database) as ours:
        slow = write(ours, "SELECT pg_sleep(60)", timeouts=Timeouts(lock=None, statement=0.05))
        assert await fault_in(ours, slow) is Fault.TIMEOUT


async def test_an_ended_backend_is_a_lost_connection_and_the_next_one_works(
    postgres_database: ScratchDatabase,
) -> None:
    async def end_it(ours: Database) -> None:
        async with ours.writing() as connection:
            pid = await connection.scalar(sa.text("SELECT pg_backend_pid()"))
            postgres_database.scalar("SELECT pg_terminate_backend(:pid, 5000)", pid=pid)
            await connection.execute(sa.text("SELECT 1"))

    async with opened(postgres_database) as ours:
        assert await fault_in(ours, end_it(ours)) is Fault.LOST
        await write(ours, "SELECT 1")


async def test_a_backend_ended_while_it_commits_is_a_lost_connection(
    postgres_database: ScratchDatabase,
) -> None:
    async def end_it(ours: Database) -> None:
        async with ours.writing() as connection:
            pid = await connection.scalar(sa.text("SELECT pg_backend_pid()"))
            postgres_database.scalar("SELECT pg_terminate_backend(:pid, 5000)", pid=pid)

    async with opened(postgres_database) as ours:
        assert await fault_in(ours, end_it(ours)) is Fault.LOST


async def test_a_database_that_lets_nobody_in_is_a_lost_connection(
    postgres_database: ScratchDatabase,
) -> None:
    gone = ScratchDatabase("postgresql", postgres_database.url + "_not_there", postgres_database.sync_url)
    async with opened(gone) as ours:
        with pytest.raises(DatabaseUnavailable) as caught:
            await write(ours, "SELECT 1")
        assert fault_of(ours, caught.value) is Fault.LOST


@pytest.mark.parametrize("kind", ["int2vector", "oidvector"])
async def test_a_value_that_the_driver_cannot_write_fails_at_once_and_no_row_is_to_blame(
    bench_on: Callable[[str], Bench], kind: str
) -> None:
    bench = bench_on("postgresql")
    bench.database.script(
        f"CREATE TABLE item (id INTEGER PRIMARY KEY, old {kind}, new {kind});"
        "INSERT INTO item SELECT i, '1 2' FROM generate_series(1, 3) i;"
    )
    item = sa.table("item", sa.column("id", sa.Integer), sa.column("old"), sa.column("new"))

    def copy(row: Any) -> dict[str, Any]:
        return {"new": row.old}

    copied = datamigrate.compute_rows(
        item, pending=item.c.new.is_(None), reads=[item.c.old], writes=[item.c.new], on_row_error="quarantine"
    )
    ran = await bench.run(bench.form(copied(copy)))
    assert ran.outcome == "failed"
    assert f"the database says: invalid {kind} data." in str(ran.result.error)
    assert ran.of(Retrying) == []
    assert ran.of(Quarantined) == []


# settings -----------------------------------------------------------------------------------------------

SETTINGS = "SELECT name, setting FROM pg_settings WHERE name IN ('lock_timeout', 'statement_timeout', 'jit')"


async def test_timeouts_last_for_the_transaction_only(postgres_database: ScratchDatabase) -> None:
    async def settings(connection: Any) -> dict[str, str]:
        return {row.name: row.setting for row in await connection.execute(sa.text(SETTINGS))}

    async with opened(postgres_database) as ours:
        async with ours.looking() as connection:
            before = await settings(connection)
            pid = await connection.scalar(sa.text("SELECT pg_backend_pid()"))
        async with ours.writing(Timeouts(lock=1.5, statement=2.0), durable=False) as connection:
            assert await settings(connection) == {
                "lock_timeout": "1500",
                "statement_timeout": "2000",
                "jit": "off",
            }
        async with ours.looking() as connection:
            assert await connection.scalar(sa.text("SELECT pg_backend_pid()")) == pid
            assert await settings(connection) == before
            changed = "SELECT name FROM pg_settings WHERE source = 'session'"
            assert not set((await connection.execute(sa.text(changed))).scalars()) & {
                "synchronous_commit",
                "lock_timeout",
                "statement_timeout",
                "jit",
            }


async def test_the_settings_of_a_transaction_go_with_its_beginning(
    postgres_database: ScratchDatabase,
) -> None:
    said: list[str] = []
    async with opened(postgres_database) as ours, ours.writing(Timeouts(lock=1.5)) as connection:
        driver: Any = (await connection.get_raw_connection()).driver_connection
        # aiosqlite has no word for it
        driver.add_query_logger(lambda record: said.append(record.query))
        assert await connection.scalar(sa.text("SHOW lock_timeout")) == "1500ms"
    assert said[0].startswith("BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL lock_timeout = '1500ms';")


async def test_the_settings_of_a_transaction_in_which_nothing_was_said_are_not_those_of_the_next(
    postgres_database: ScratchDatabase,
) -> None:
    async with opened(postgres_database, connections=1) as ours:
        async with ours.writing(Timeouts(lock=1.5)):
            pass
        async with ours.looking() as connection:
            assert await connection.scalar(sa.text("SHOW lock_timeout")) == "0"


async def test_within_a_transaction_that_has_begun_settings_hold_at_once(
    postgres_database: ScratchDatabase,
) -> None:
    show = sa.text("SHOW lock_timeout")
    async with opened(postgres_database) as ours, ours.writing() as connection:
        assert await connection.scalar(show) == "0"
        await ours.dialect.begin_batch(connection, Timeouts(lock=1.5), durable=True)
        assert await connection.scalar(show) == "1500ms"


async def test_a_statement_sees_what_others_have_committed_whatever_the_roles_default_is(
    postgres_database: ScratchDatabase,
) -> None:
    name = sa.make_url(postgres_database.url).database
    postgres_database.execute(f'ALTER DATABASE "{name}" SET default_transaction_isolation = serializable')
    show = sa.text("SHOW transaction_isolation")
    async with opened(postgres_database) as ours:
        async with ours.writing() as connection:
            assert await connection.scalar(show) == "read committed"
        async with ours.looking() as connection:
            assert await connection.scalar(show) == "read committed"


async def test_a_quick_commit_is_asked_for_only_where_losing_it_does_no_harm(
    postgres_database: ScratchDatabase,
) -> None:
    postgres_database.execute(
        f'ALTER DATABASE "{sa.make_url(postgres_database.url).database}" SET synchronous_commit = on'
    )
    show = sa.text("SHOW synchronous_commit")
    async with opened(postgres_database) as ours:
        async with ours.writing(durable=True) as connection:
            assert await connection.scalar(show) == "on"
        async with ours.writing(durable=False) as connection:
            assert await connection.scalar(show) == "off"
        async with ours.writing(durable=True) as connection:
            assert await connection.scalar(show) == "on"


async def test_no_prepared_statement_no_lock_and_no_setting_outlives_a_run(
    postgres_database: ScratchDatabase, tmp_path: Path
) -> None:
    bench = Bench(postgres_database, tmp_path)
    bench.table(rows=((i,) for i in range(10)))
    async with opened(postgres_database) as ours:
        ran = await bench.run_on(ours, bench.form(doubling()))
        assert ran.outcome == "done", ran.result
        async with ours.engine.connect() as connection:
            for query in (
                "SELECT count(*) FROM pg_prepared_statements",
                # such locks are a database's own; others are at work on this server
                "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' "
                "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
                "SELECT count(*) FROM pg_settings WHERE source = 'session' "
                "AND name IN ('lock_timeout', 'statement_timeout', 'jit', 'synchronous_commit')",
            ):
                assert await connection.scalar(sa.text(query)) == 0, query


@pytest.mark.parametrize(
    "change",
    ["ALTER TABLE item ADD COLUMN extra TEXT", "ALTER TABLE item ALTER COLUMN id TYPE BIGINT"],
)
async def test_a_connection_that_knew_a_statement_before_the_table_changed_is_given_up(
    postgres_database: ScratchDatabase, change: str
) -> None:
    postgres_database.script("CREATE TABLE item (id INTEGER PRIMARY KEY); INSERT INTO item VALUES (1)")
    item = sa.table("item", sa.column("id"))
    asked = (
        sa.select(sa.text("*"))
        .select_from(item)
        .where(item.c.id > sa.bindparam("least", 0, sa.types.NullType()))
    )

    async def ask(ours: Database) -> int:
        async with ours.writing() as connection:
            return len((await connection.execute(asked)).all())

    async with opened(postgres_database) as ours:
        assert await ask(ours) == 1
        postgres_database.script(change)
        assert await fault_in(ours, ask(ours)) is Fault.LOST
        assert await ask(ours) == 1


# estimates and collations -------------------------------------------------------------------------------


async def test_an_estimate_is_a_count_where_counting_is_quick(bench: Bench) -> None:
    bench.table(rows=((i,) for i in range(10)))
    async with opened(bench.database) as ours, ours.looking() as connection:
        query = sa.select(ITEM.c.id).where(PENDING, ITEM.c.id < 7)
        assert await ours.dialect.estimate(connection, query) == Estimate(7, "counted")
        # what follows in the transaction may take its time
        if bench.database.dialect == "postgresql":
            assert await connection.scalar(sa.text("SHOW statement_timeout")) == "0"


PREDICATES: dict[str, Callable[[sa.TableClause], sa.ColumnElement[bool]]] = {
    "numbers": lambda t: t.c.n < 3,
    "text": lambda t: t.c.s.like("50% :off 'x' \\ %"),
    "bytes": lambda t: t.c.b != b"\x00'",
    "moments": lambda t: t.c.t < dt.datetime(2024, 1, 1, tzinfo=dt.UTC),
    "intervals": lambda t: t.c.t < sa.func.now() - dt.timedelta(days=30),
    "uuids": lambda t: t.c.u == uuid.UUID(int=5),
    "lists": lambda t: t.c.n.in_([1, 2, 3]),
    "a column without a type": lambda t: t.c.free == "x",
    "json": lambda t: t.c.j["a"].as_string() == "b",
}


async def test_an_estimate_is_the_tables_size_where_sqlite_would_count_for_long(
    sqlite_database: ScratchDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datamigrate.database.dialects.sqlite.SHORTLY", -1.0)
    monkeypatch.setattr(sqlite_counting, "STEPS", 1)
    sqlite_database.script(
        "CREATE TABLE item (id INTEGER PRIMARY KEY, old TEXT);"
        "INSERT INTO item VALUES (7, 'a'), (8, 'b'), (10, 'c');"
        "CREATE TABLE bare (id INTEGER PRIMARY KEY) WITHOUT ROWID; INSERT INTO bare VALUES (1)"
    )
    async with opened(sqlite_database) as ours, ours.looking() as connection:
        of_item = sa.select(sa.table("item", sa.column("id")).c.id)
        of_bare = sa.select(sa.table("bare", sa.column("id")).c.id)
        assert await ours.dialect.estimate(connection, of_item) == Estimate(4, "the table's size, at most")
        assert await ours.dialect.estimate(connection, of_bare) is None
        # the transaction and the connection are as good as before
        assert await connection.scalar(sa.text("SELECT count(*) FROM item")) == 3


@pytest.mark.parametrize("what", PREDICATES)
async def test_an_estimate_is_the_planners_where_counting_takes_long(
    postgres_database: ScratchDatabase, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr("datamigrate.database.dialects.postgresql.SHORTLY", 0.02)
    postgres_database.script(
        "CREATE TABLE wide (n INTEGER, s TEXT, b BYTEA, t TIMESTAMPTZ, u UUID, free TEXT, j JSONB);"
        "INSERT INTO wide (n) SELECT generate_series(1, 100); ANALYZE wide"
    )
    wide = sa.table(
        "wide",
        sa.column("n", sa.Integer),
        sa.column("s", sa.Text),
        sa.column("b", sa.LargeBinary),
        sa.column("t", sa.DateTime(timezone=True)),
        sa.column("u", sa.Uuid),
        sa.column("free"),
        sa.column("j", postgresql.JSONB),
    )
    slow = sa.literal_column("pg_sleep(0.01)").is_not(None)
    async with opened(postgres_database) as ours, ours.looking() as connection:
        query = sa.select(wide.c.n).where(sa.or_(PREDICATES[what](wide), slow), slow)
        estimate = await ours.dialect.estimate(connection, query)
        assert estimate is not None
        assert estimate.source == "the planner's estimate"
        assert 0 < estimate.rows <= 100
        # the transaction is as good as before
        assert await connection.scalar(sa.text("SHOW statement_timeout")) == "0"


LARGE = """
    CREATE TABLE item AS SELECT i AS id, NULL::int AS new, repeat('x', 100) AS text FROM generate_series(1, 100000) i;
    ANALYZE item;
    CREATE FUNCTION is_new(number INTEGER) RETURNS boolean PARALLEL SAFE LANGUAGE plpgsql AS
    $$ BEGIN PERFORM set_config('application_name', 'asks', true); RETURN number IS NULL; END $$
"""


async def test_a_look_is_helped_by_several_processes_until_the_transaction_ends(
    postgres_database: ScratchDatabase,
) -> None:
    postgres_database.script(LARGE)

    async def plan(connection: AsyncConnection) -> str:
        look = sa.text("EXPLAIN SELECT id FROM item WHERE new IS NULL LIMIT 20")
        return " ".join(line for (line,) in await connection.execute(look))

    async with opened(postgres_database) as ours:
        async with ours.writing() as connection:
            assert "Gather" not in await plan(connection)
            async with ours.dialect.helped(connection):
                assert "Gather" in await plan(connection)
        async with ours.looking() as connection:
            assert "Gather" not in await plan(connection)


async def test_a_function_that_only_says_it_is_safe_for_several_processes_ends_the_help_and_no_more(
    postgres_database: ScratchDatabase,
) -> None:
    postgres_database.script(LARGE)
    look = sa.text("SELECT id FROM item WHERE NOT is_new(new) LIMIT 20")
    async with opened(postgres_database) as ours, ours.writing() as connection:
        found = []
        async with ours.dialect.helped(connection):
            found.append((await connection.execute(look)).all())
        assert found == []
        assert (await connection.execute(look)).all() == []


async def test_what_takes_too_long_or_is_refused_is_no_matter_of_help(
    postgres_database: ScratchDatabase,
) -> None:
    async with opened(postgres_database) as ours, ours.writing() as connection:
        await connection.execute(local_setting("statement_timeout", 0.02))
        with pytest.raises(DBAPIError, match="statement timeout"):
            async with ours.dialect.helped(connection):
                await connection.execute(sa.text("SELECT pg_sleep(5)"))


async def test_who_reads_sees_one_moment(bench: Bench) -> None:
    bench.database.script(bench_log(bench) + "CREATE TABLE item (id INTEGER)")
    async with opened(bench.database) as ours, ours.looking() as connection:
        assert await ours.dialect.reads_apart(connection)
        await ours.dialect.at_one_moment(connection)
        count = sa.text("SELECT count(*) FROM item")
        assert await connection.scalar(count) == 0
        bench.database.execute("INSERT INTO item VALUES (1)")
        assert await connection.scalar(count) == 0


def bench_log(bench: Bench) -> str:
    return "PRAGMA journal_mode = wal;" if bench.database.dialect == "sqlite" else ""


async def test_who_reads_a_file_without_a_write_ahead_log_keeps_others_from_writing(
    sqlite_database: ScratchDatabase,
) -> None:
    async with opened(sqlite_database) as ours, ours.looking() as connection:
        assert not await ours.dialect.reads_apart(connection)


async def test_a_collation_that_calls_different_texts_equal_is_unsafe_on_postgresql(
    postgres_database: ScratchDatabase,
) -> None:
    try:
        postgres_database.execute(
            "CREATE COLLATION lenient (provider = icu, locale = 'und-u-ks-level2', deterministic = false)"
        )
    except sa.exc.DBAPIError:  # a server built without ICU: what counts is what its catalogue says
        postgres_database.execute('CREATE COLLATION lenient FROM "C"')
        postgres_database.execute(
            "UPDATE pg_collation SET collisdeterministic = false WHERE collname = 'lenient'"
        )
    postgres_database.script(
        'CREATE SCHEMA "S"; CREATE TABLE "S"."Item" ("Code" TEXT COLLATE lenient, plain TEXT, '
        'strict TEXT COLLATE "C", n INTEGER)'
    )
    table = sa.table("Item", schema="S")
    async with opened(postgres_database) as ours, ours.looking() as connection:
        found = {
            column: await ours.dialect.unsafe_collation(connection, table, column)
            for column in ("Code", "plain", "strict", "n")
        }
    assert found == {"Code": "lenient", "plain": None, "strict": None, "n": None}


SQLITE_COLUMNS = {
    "code TEXT COLLATE NOCASE PRIMARY KEY": "NOCASE",
    "code TEXT PRIMARY KEY COLLATE NOCASE": "NOCASE",
    '"code" TEXT NOT NULL COLLATE "nocase", PRIMARY KEY (code)': "NOCASE",
    "other TEXT COLLATE RTRIM, code TEXT PRIMARY KEY": None,
    "code TEXT PRIMARY KEY, other TEXT COLLATE NOCASE": None,
    "code TEXT COLLATE BINARY PRIMARY KEY": None,
    "barcode TEXT COLLATE NOCASE, code TEXT PRIMARY KEY": None,
    "code VARCHAR(10) COLLATE RTRIM PRIMARY KEY": "RTRIM",
    "price NUMERIC(10, 2), code NUMERIC(10, 2) COLLATE NOCASE PRIMARY KEY": "NOCASE",
    "CODE TEXT COLLATE NOCASE PRIMARY KEY": "NOCASE",
    "code TEXT CHECK (coalesce(length(code), 0) > 0) COLLATE NOCASE PRIMARY KEY": "NOCASE",
    "code TEXT /* the one, and only (one */ COLLATE NOCASE PRIMARY KEY": "NOCASE",
    "code TEXT DEFAULT 'a, b' -- or, else\n COLLATE RTRIM PRIMARY KEY": "RTRIM",
    "code TEXT DEFAULT ' COLLATE NOCASE ' PRIMARY KEY": None,
    "code TEXT /* not COLLATE NOCASE */ PRIMARY KEY": None,
    "code INTEGER PRIMARY KEY": None,
    "code BLOB COLLATE NOCASE PRIMARY KEY": "NOCASE",
}


@pytest.mark.parametrize("columns", SQLITE_COLUMNS)
async def test_a_collation_that_calls_different_texts_equal_is_unsafe_on_sqlite(
    sqlite_database: ScratchDatabase, columns: str
) -> None:
    sqlite_database.execute(f'CREATE TABLE "My Item" ({columns})')
    async with opened(sqlite_database) as ours, ours.looking() as connection:
        found = await ours.dialect.unsafe_collation(connection, sa.table("My Item"), "code")
    assert found == SQLITE_COLUMNS[columns]


async def test_a_collation_that_sqlite_is_not_told_of_is_unsafe_and_named(
    sqlite_database: ScratchDatabase,
) -> None:
    with sqlite_database.engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        driver.create_collation("german", lambda one, other: (one > other) - (one < other))
        connection.exec_driver_sql("CREATE TABLE item (code TEXT COLLATE german PRIMARY KEY)")
        connection.commit()
    async with opened(sqlite_database) as ours, ours.looking() as connection:
        assert await ours.dialect.unsafe_collation(connection, sa.table("item"), "code") == "german"


async def test_a_collation_of_a_language_is_unsafe_on_sqlite(sqlite_database: ScratchDatabase) -> None:
    def by_letter(one: str, other: str) -> int:
        mine, theirs = one.swapcase(), other.swapcase()
        return (mine > theirs) - (mine < theirs)

    async with opened(sqlite_database) as ours, ours.writing() as connection:
        driver: Any = (await connection.get_raw_connection()).driver_connection
        await driver._execute(driver._conn.create_collation, "letters", by_letter)
        await connection.exec_driver_sql("CREATE TABLE item (code TEXT COLLATE letters PRIMARY KEY)")
        assert await ours.dialect.unsafe_collation(connection, sa.table("item"), "code") == "unlike BINARY"


# computed values of every type --------------------------------------------------------------------------


class Colour(Enum):
    RED = 1
    GREEN = 2


class Cents(sa.types.TypeDecorator[Decimal]):
    """Money, kept as a whole number of cents."""

    impl = sa.Integer
    cache_ok = True

    def process_bind_param(self, value: Decimal | None, dialect: sa.Dialect) -> int | None:
        return None if value is None else int(value * 100)

    def process_result_value(self, value: int | None, dialect: sa.Dialect) -> Decimal | None:
        return None if value is None else Decimal(value) / 100


class Words(sa.TypeDecorator[list[str]]):
    """A list, in a text."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: list[str] | None, dialect: sa.Dialect) -> str | None:
        return None if value is None else ",".join(value)

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> list[str] | None:
        return None if value is None else value.split(",")


class Marked(sa.TypeDecorator[str]):
    """A text that SQL puts a mark behind when it is written, and takes off when it is read."""

    impl = sa.Text
    cache_ok = True

    def bind_expression(self, bindvalue: sa.BindParameter[str]) -> sa.ColumnElement[str]:
        return sa.type_coerce(bindvalue, sa.Text) + "!"

    def column_expression(self, column: sa.ColumnElement[str]) -> sa.ColumnElement[str]:
        return sa.func.substr(column, 1, sa.func.length(column) - 1, type_=self)


class Short(sa.TypeDecorator[str]):
    """A text that is a short one in capitals to whoever asks for the database's type."""

    impl = sa.Text
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> sa.types.TypeEngine[Any]:
        return dialect.type_descriptor(sa.String(3))

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:
        return None if value is None else value.upper()

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> str | None:
        return None if value is None else value.lower()


class ByDriver(sa.TypeDecorator[Any]):
    """Bytes to the driver that the runner has, a text to any other."""

    impl = sa.Text
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> sa.types.TypeEngine[Any]:
        return dialect.type_descriptor(sa.LargeBinary() if dialect.driver == "asyncpg" else sa.Text())


class Document(sa.TypeDecorator[Any]):
    """JSON by another name."""

    impl = sa.JSON
    cache_ok = True


class Counts(sa.types.TypeDecorator[list[int]]):
    """Whole numbers, each one more than it is kept as."""

    impl = sa.ARRAY(sa.Integer)
    cache_ok = True

    def process_bind_param(self, value: list[int] | None, dialect: sa.Dialect) -> list[int] | None:
        return None if value is None else [n - 1 for n in value]

    def process_result_value(self, value: list[int] | None, dialect: sa.Dialect) -> list[int] | None:
        return None if value is None else [n + 1 for n in value]


@dataclass(frozen=True)
class Kind:
    """A column's type in PostgreSQL, in SQLite (None: has none), in the script; and values for it."""

    postgres: str
    sqlite: str | None
    declared: sa.types.TypeEngine[Any] | None
    values: tuple[Any, ...]

    @property
    def in_all_places(self) -> list[Any]:
        """The values, each of them once at the beginning: a driver may judge all by the first one."""
        return [v for i in range(len(self.values)) for v in (*self.values[i:], *self.values[:i])]


TEXTS = ("", "it's", 'a "b"', "\\", "%s :x $1 ?", "ü", "💡", "new\nline", "{a,b}", "NULL", "null", None)
ZONED = dt.datetime(2024, 3, 31, 2, 30, 0, 123_456, dt.UTC)
EASTWARD = dt.timezone(dt.timedelta(hours=2))
UNEVEN = dt.timezone(dt.timedelta(hours=5, minutes=30, seconds=15))
JSONS: tuple[Any, ...] = ({"a": [1, 2.5, None, "ü'\\"]}, [], {}, "text", 0, True, [{"b": None}])

KINDS = {
    "integer": Kind("INTEGER", "INTEGER", sa.Integer(), (0, -1, 2**31 - 1, -(2**31), None, True)),
    "smallint": Kind("SMALLINT", "SMALLINT", sa.SmallInteger(), (0, -(2**15), None)),
    "bigint": Kind("BIGINT", "BIGINT", sa.BigInteger(), (2**63 - 1, -(2**63), None)),
    "text": Kind("TEXT", "TEXT", sa.Text(), TEXTS),
    "text with marks": Kind("TEXT", "TEXT", sa.Text(), ("a\x1fb", "\x1e", "", "\x1f", None, "c")),
    "varchar": Kind("VARCHAR(20)", "VARCHAR(20)", sa.String(20), TEXTS),
    "unicode": Kind("TEXT", "TEXT", sa.Unicode(), TEXTS),
    "boolean": Kind("BOOLEAN", "BOOLEAN", sa.Boolean(), (True, False, None)),
    "numeric": Kind(
        "NUMERIC(30, 10)", None, sa.Numeric(30, 10), (Decimal("12345678901234567.0123456789"), None)
    ),
    "money as float": Kind("NUMERIC", "NUMERIC", sa.Numeric(asdecimal=False), (1.5, -2.25, 0.0, None)),
    "float": Kind("DOUBLE PRECISION", "FLOAT", sa.Float(), (0.1, -1e300, 5e-324, 0.0, None)),
    "timestamptz": Kind(
        "TIMESTAMPTZ", None, sa.DateTime(timezone=True), (ZONED, ZONED.replace(year=1900), None)
    ),
    "timestamp": Kind("TIMESTAMP", "TIMESTAMP", sa.DateTime(), (ZONED.replace(tzinfo=None), None)),
    "date": Kind("DATE", "DATE", sa.Date(), (dt.date(1, 1, 2), dt.date(9999, 12, 30), None)),
    "time": Kind("TIME", "TIME", sa.Time(), (dt.time(23, 59, 59, 999_999), dt.time(), None)),
    "timetz": Kind("TIMETZ", None, sa.Time(timezone=True), (dt.time(5, 30, 15, 1, UNEVEN), None)),
    "interval": Kind("INTERVAL", None, sa.Interval(), (dt.timedelta(days=-3, seconds=5), None)),
    "bytes": Kind("BYTEA", "BLOB", sa.LargeBinary(), (b"", b"\x00\xff", bytes(range(256)), None)),
    "uuid": Kind("UUID", "CHAR(32)", sa.Uuid(), (uuid.UUID(int=0), uuid.UUID(int=2**128 - 1), None)),
    "json": Kind("JSON", "JSON", sa.JSON(), JSONS),
    "json into jsonb": Kind("JSONB", None, sa.JSON(), JSONS),
    "jsonb": Kind("JSONB", None, postgresql.JSONB(), (*JSONS, None)),
    "enum": Kind("colour", "VARCHAR(5)", sa.Enum(Colour, name="colour"), (Colour.RED, Colour.GREEN, None)),
    "enum by name": Kind("colour", "VARCHAR(5)", sa.Enum("RED", "GREEN", name="colour"), ("RED", None)),
    "enum in a text": Kind(
        "VARCHAR(5)", "VARCHAR(5)", sa.Enum(Colour, native_enum=False), (Colour.RED, Colour.GREEN, None)
    ),
    "array of enums in texts": Kind(
        "VARCHAR(5)[]", None, sa.ARRAY(sa.Enum(Colour, native_enum=False)), ([Colour.RED, None], [], None)
    ),
    "array of integers": Kind("INTEGER[]", None, sa.ARRAY(sa.Integer), ([1, None, 3], [], None)),
    "array of texts": Kind("TEXT[]", None, postgresql.ARRAY(sa.Text), (["it's", "{,}", ""], [], None)),
    "array of dates": Kind(
        "DATE[]", None, sa.ARRAY(sa.Date), ([dt.date.max, None, dt.date(2026, 3, 29)], [], None)
    ),
    "range of moments": Kind(
        "TSTZRANGE", None, postgresql.TSTZRANGE(), (postgresql.Range(ZONED, ZONED.replace(year=9999)), None)
    ),
    "a text of some collation": Kind("TEXT", None, sa.Text(collation="C"), ("ü", None)),
    "array of texts of some collation": Kind(
        "TEXT[]", None, sa.ARRAY(sa.String(9, collation="C")), (["ü"], None)
    ),
    "an author's own type": Kind("INTEGER", "INTEGER", Cents(), (Decimal("1.25"), Decimal(0), None)),
    "an author's own type as a variant": Kind(
        "INTEGER",
        "INTEGER",
        sa.Integer().with_variant(Cents(), "postgresql").with_variant(Cents(), "sqlite"),
        (Decimal("1.25"), Decimal(0), None),
    ),
    "json as a variant": Kind(
        "JSONB", None, sa.Text().with_variant(postgresql.JSONB(), "postgresql"), ("1", "null", "a")
    ),
    "enum as a variant": Kind(
        "colour",
        None,
        sa.String().with_variant(sa.Enum(Colour, name="colour"), "postgresql"),
        (Colour.RED, None),
    ),
    "a text of which SQL makes another one": Kind("TEXT", "TEXT", Marked(), ("abc", "", None)),
    "one only on this database": Kind(
        "TEXT", None, sa.Text().with_variant(Marked(), "postgresql"), ("abc", "", None)
    ),
    "an author's own list in a text": Kind("TEXT", "TEXT", Words(), (["a", "b"], ["c"], None)),
    "an author's own text": Kind("VARCHAR(3)", "VARCHAR(3)", Short(), ("abc", "", None)),
    "an array of an author's own texts": Kind("TEXT[]", None, sa.ARRAY(Short()), (["abc", None], [], None)),
    "an object of Python's in bytes": Kind(
        "BYTEA", "BLOB", sa.PickleType(), ([1, "a"], (2,), {"b": 3}, None)
    ),
    "an author's own array": Kind("INTEGER[]", None, Counts(), ([1, 2], [], None)),
    "undeclared integer": Kind("BIGINT", "BIGINT", None, (2**40, 0, None)),
    "undeclared text": Kind("VARCHAR(20)", "VARCHAR(20)", None, TEXTS),
    "undeclared boolean": Kind("BOOLEAN", "BOOLEAN", None, (True, False, None)),
    "undeclared json": Kind("JSONB", "JSON", None, JSONS),
    "undeclared uuid": Kind("UUID", None, None, (uuid.UUID(int=7), None)),
    "undeclared moment": Kind("TIMESTAMPTZ", None, None, (ZONED, None)),
    "undeclared bytes": Kind("BYTEA", "BLOB", None, (b"\x00", None)),
    "undeclared enum": Kind("colour", None, None, ("RED", None)),
    "undeclared array": Kind("TEXT[]", None, None, (["a", "b"], None)),
}


def writing(kind: Kind) -> tuple[sa.TableClause, ComputeRows]:
    """A script that writes the kind's values, one a row, and marks the row."""
    new = sa.column("new", kind.declared) if kind.declared else sa.column("new")
    item = sa.table("item", sa.column("id", sa.Integer), new, sa.column("done", sa.Boolean))
    decorate = datamigrate.compute_rows(
        item, pending=item.c.done.is_(None), reads=[item.c.id], writes=[item.c.new, item.c.done]
    )

    values = kind.in_all_places

    def migrate(row: Any) -> dict[str, Any]:
        return {"new": values[row.id], "done": True}

    return item, decorate(migrate)


def reading(item: sa.TableClause, seen: dict[int, Any]) -> ComputeRows:
    """A script that reads the values of the rows that are marked, and takes the mark away."""
    decorate = datamigrate.compute_rows(
        item, pending=item.c.done.is_(True), reads=[item.c.id, item.c.new], writes=[item.c.done]
    )

    def migrate(row: Any) -> dict[str, Any]:
        seen[row.id] = row.new
        return {"done": False}

    return decorate(migrate)


@pytest.mark.parametrize(
    ("dialect", "name"),
    [
        (dialect, name)
        for name, kind in KINDS.items()
        for dialect in ("sqlite", "postgresql")
        if dialect == "postgresql" or kind.sqlite
    ],
)
async def test_computed_values_of_any_type_arrive_as_they_are_and_are_read_again(
    bench_on: Callable[[str], Bench], dialect: str, name: str
) -> None:
    bench, kind = bench_on(dialect), KINDS[name]
    if dialect == "postgresql":
        bench.database.execute("CREATE TYPE colour AS ENUM ('RED', 'GREEN')")
    column = kind.postgres if dialect == "postgresql" else kind.sqlite
    bench.database.execute(f"CREATE TABLE item (id INTEGER PRIMARY KEY, new {column}, done BOOLEAN)")
    values = kind.in_all_places
    with bench.database.engine.begin() as connection:
        connection.execute(
            sa.text("INSERT INTO item (id) VALUES (:id)"), [{"id": i} for i in range(len(values))]
        )
    item, form = writing(kind)
    ran = await bench.run(bench.form(form), settings=with_settings(limits=Limits(max_rows=len(kind.values))))
    assert ran.outcome == "done", ran.result
    assert bench.standing().rows == len(values)
    # read as the database declares it, where the script does not
    autoload = kind.declared is None
    table = sa.Table("item", sa.MetaData(), autoload_with=bench.database.engine) if autoload else item
    with bench.database.engine.connect() as connection:
        found = connection.execute(sa.select(table.c.new).order_by(table.c.id)).scalars().all()
    assert found == values

    seen: dict[int, Any] = {}
    bench.database.execute("UPDATE datamigrate_migration SET state = 'stopped'")
    ran = await bench.run(bench.form(reading(item, seen), checksum="1" * 16))
    assert ran.outcome == "done", ran.result
    if name == "undeclared json" and dialect == "sqlite":  # to which it is a text
        seen = {i: None if text is None else json.loads(str(text)) for i, text in seen.items()}
    assert [seen[i] for i in range(len(values))] == values


FORESEEN = {
    "an object in JSON": ("json", sa.JSON(), {"a": [1, None]}),
    "a list in JSON": ("json", sa.JSON(), [1, "b"]),
    "a list that says what it is": ("json", sa.JSON(), sa.literal([1, "b"], sa.JSON())),
    "JSON that says what it is to a column that does not": ("json", None, sa.literal({"a": 1}, sa.JSON())),
    "no value of JSON": ("json", sa.JSON(none_as_null=True), None),
    "a day": ("date", sa.Date(), dt.date(2026, 1, 2)),
    "a day that says what it is": ("date", None, sa.literal(dt.date(2026, 1, 2), sa.Date())),
    "a text": ("text", None, "new"),
    "a number": ("integer", None, 7),
    "bytes": ("bytes", sa.LargeBinary(), b"\x00a"),
    "a decimal": ("numeric", sa.Numeric(8, 2, asdecimal=False), 1.5),
    "a truth": ("boolean", sa.Boolean(), True),
    "an expression": ("text", sa.Text(), sa.func.lower("NEW") + "er"),
}
"""A column, what the script says of it, and the value."""


@pytest.mark.parametrize("what", FORESEEN)
async def test_what_is_foreseen_of_an_update_is_what_it_writes(bench: Bench, what: str) -> None:
    kind, declared, value = FORESEEN[what]
    if kind == "bytes":
        kind = "bytea" if bench.database.dialect == "postgresql" else "blob"
    bench.database.script(
        f"CREATE TABLE item (id INTEGER PRIMARY KEY, c {kind}); INSERT INTO item VALUES (1, NULL);"
    )
    item = sa.table("item", sa.column("id", sa.Integer), sa.column("c", declared))
    form = datamigrate.update_rows(item, pending=item.c.c.is_(None), values={item.c.c: value})
    keyset = Keyset(item, ("id",), (sa.Integer(),))
    async with opened(bench.database) as database, database.rehearsing(IMPATIENT) as connection:
        foreseen = (await connection.execute(changes.foreseen(form, keyset, [(1,)]))).all()
        await connection.execute(changes.update(form, keyset, Bounds(None, (1,))))
        written = (await connection.execute(changes.images(keyset, ["c"], [(1,)]))).all()
    assert foreseen == written


async def test_an_empty_text_by_itself_is_none(bench: Bench) -> None:
    bench.database.script(
        "CREATE TABLE item (id INTEGER PRIMARY KEY, new TEXT); INSERT INTO item (id) VALUES (1), (2)"
    )
    item = sa.table("item", sa.column("id", sa.Integer), sa.column("new", sa.Text))
    decorate = datamigrate.compute_rows(
        item, pending=item.c.new.is_(None), reads=[item.c.id], writes=[item.c.new]
    )
    ran = await bench.run(bench.form(decorate(lambda row: {"new": row.id * ""})), batch_size=1)
    assert ran.outcome == "done", ran.result
    assert bench.database.rows("SELECT id, new FROM item ORDER BY id") == [(1, ""), (2, "")]


async def test_a_computed_null_is_null(bench: Bench) -> None:
    kind = Kind("TEXT", "TEXT", sa.Text(), (None, "x"))  # the first two of it
    bench.database.script(
        "CREATE TABLE item (id INTEGER PRIMARY KEY, new TEXT, done BOOLEAN);"
        "INSERT INTO item VALUES (0, 'old', NULL), (1, NULL, NULL)"
    )
    ran = await bench.run(bench.form(writing(kind)[1]))
    assert ran.outcome == "done", ran.result
    assert bench.database.rows("SELECT new IS NULL, new FROM item ORDER BY id") == [
        (True, None),
        (False, "x"),
    ]


UNKNOWN: dict[str, tuple[str, list[Any], list[str | None]]] = {
    "composite": ("pair", [(1, "a,b"), (2, None), None], ['(1,"a,b")', "(2,)", None]),
    "point": ("point", [(1.5, 2.0), None], ["(1.5,2)", None]),
    "domain": ("positive", [1, 2, None], ["1", "2", None]),
    "domain over an array": ("numbers", [[1, 2], [], None], ["{1,2}", "{}", None]),
    "domain over a text": ("words", ["it's", None], ["it's", None]),
    "array of a domain over a text": ("words[]", [["it's", None], [], None], ["{it's,NULL}", "{}", None]),
    "domain over an array of texts": ("texts", [["a", None], [], None], ["{a,NULL}", "{}", None]),
    "domain over jsonb": ("document", [{"a": 1}, [1], None], ['{"a": 1}', "[1]", None]),
    "domain over a composite": ("couple", [(1, "a"), None], ["(1,a)", None]),
    "multirange": (
        "int4multirange",
        [[postgresql.Range(1, 3), postgresql.Range(5, 7)], [], None],
        ["{[1,3),[5,7)}", "{}", None],
    ),
    "array of composites": ("pair[]", [[(1, "a"), (2, "b")], [], None], ['{"(1,a)","(2,b)"}', "{}", None]),
}


@pytest.mark.parametrize("name", UNKNOWN)
async def test_values_of_a_type_that_sqlalchemy_does_not_know_arrive_as_the_driver_takes_them(
    postgres_database: ScratchDatabase, tmp_path: Path, name: str
) -> None:
    bench = Bench(postgres_database, tmp_path)
    column, values, kept = UNKNOWN[name]
    bench.database.script(
        "CREATE TYPE pair AS (a INTEGER, b TEXT); CREATE DOMAIN positive AS INTEGER CHECK (VALUE > 0);"
        "CREATE DOMAIN numbers AS INTEGER[]; CREATE DOMAIN document AS JSONB; CREATE DOMAIN couple AS pair;"
        "CREATE DOMAIN words AS TEXT; CREATE DOMAIN texts AS TEXT[]; CREATE DOMAIN pairs AS pair[];"
        f"CREATE TABLE item (id INTEGER PRIMARY KEY, new {column}, done BOOLEAN);"
        f"INSERT INTO item SELECT i FROM generate_series(0, {len(values) - 1}) i"
    )
    ran = await bench.run(bench.form(writing(Kind(column, None, None, tuple(values)))[1]))
    assert ran.outcome == "done", ran.result
    assert bench.database.rows("SELECT new::text FROM item ORDER BY id") == [(text,) for text in kept]


COMPOSITES = {
    "pair": '(1,"a,b")',
    "couple": "(1,a)",
    "pair[]": '{"(1,a)",NULL,"(2,)"}',
    "one[]": "{(1)}",
    "couple[]": '{"(1,a)"}',
    "pairs": '{"(1,a)","(2,b)"}',
    "nest": '("{""(1,a)"",""(2,b)""}","(3,c)")',
    "nest[]": '{"(\\"{\\"\\"(1,a)\\"\\"}\\",)"}',
}
"""Types of composites and what is made of them, and a value of each as text."""


@pytest.mark.parametrize("kind", COMPOSITES)
async def test_composites_that_were_read_are_written_as_they_were(
    bench_on: Callable[[str], Bench], kind: str
) -> None:
    bench = bench_on("postgresql")
    bench.database.script(
        "CREATE TYPE pair AS (a INTEGER, b TEXT); CREATE TYPE one AS (a INTEGER); CREATE DOMAIN couple AS pair;"
        "CREATE DOMAIN pairs AS pair[]; CREATE TYPE nest AS (many pair[], single pair);"
        f"CREATE TABLE item (id INTEGER PRIMARY KEY, old {kind}, new {kind});"
    )
    bench.database.execute(f"INSERT INTO item VALUES (1, CAST(:value AS {kind}))", value=COMPOSITES[kind])
    item = sa.table("item", sa.column("id", sa.Integer), sa.column("old"), sa.column("new"))
    decorate = datamigrate.compute_rows(
        item, pending=item.c.new.is_(None), reads=[item.c.old], writes=[item.c.new]
    )
    ran = await bench.run(bench.form(decorate(lambda row: {"new": row.old})))
    assert ran.outcome == "done", ran.result
    assert bench.database.scalar("SELECT new::text FROM item") == COMPOSITES[kind]


@pytest.mark.parametrize("kind", ["VARCHAR(3)", "CHAR(3)", "words", "padded"])
@pytest.mark.parametrize("written", ["INTEGER", "INTEGER[]"])
async def test_a_key_of_another_collation_is_the_same_key_whatever_is_written(
    bench_on: Callable[[str], Bench], kind: str, written: str
) -> None:
    bench = bench_on("postgresql")
    bench.database.script(
        "CREATE DOMAIN words AS TEXT; CREATE DOMAIN padded AS CHAR(3);"
        f'CREATE TABLE item (code {kind} COLLATE "C" PRIMARY KEY, new {written});'
        "INSERT INTO item (code) VALUES ('a'), ('b')"
    )
    item = sa.table("item", sa.column("code"), sa.column("new"))
    decorate = datamigrate.compute_rows(
        item, pending=item.c.new.is_(None), reads=[item.c.code], writes=[item.c.new]
    )
    ran = await bench.run(
        bench.form(decorate(lambda row: {"new": 1 if written == "INTEGER" else [len(row)]}))
    )
    assert ran.outcome == "done", ran.result
    assert bench.database.scalar("SELECT count(new) FROM item") == 2


@pytest.mark.parametrize("kind", ["date", "timestamp", "timestamptz"])
async def test_the_last_day_there_is_and_infinity_are_kept_apart_as_values_and_as_keys(
    postgres_database: ScratchDatabase, tmp_path: Path, kind: str
) -> None:
    bench = Bench(postgres_database, tmp_path)
    bench.database.script(
        f"CREATE TABLE item (id INTEGER, until {kind}, new {kind}, PRIMARY KEY (until, id));"
        "INSERT INTO item SELECT 1, v FROM unnest('{infinity,-infinity,9999-12-31,0001-01-01,2026-03-29}'"
        f"::{kind}[]) v"
    )
    numbers = [sa.column("id", sa.Integer), sa.column("until"), sa.column("new")]
    item = sa.table("item", *numbers)
    decorate = datamigrate.compute_rows(
        item, pending=item.c.new.is_(None), reads=[item.c.until], writes=[item.c.new]
    )
    ran = await bench.run(bench.form(decorate(lambda row: {"new": row.until})))
    assert ran.outcome == "done", ran.result
    assert bench.database.rows("SELECT count(*), count(*) FILTER (WHERE new = until) FROM item") == [(5, 5)]


MOMENT = dt.datetime(2024, 6, 1, 12, tzinfo=EASTWARD)


def at_that_moment(form: str, table: sa.TableClause) -> Any:
    """A form that has to do with the moment: as a value that is computed or given, or in its predicate."""
    if form == "delete":
        return datamigrate.delete_rows(table, pending=table.c.at < MOMENT)
    missing = table.c.at.is_(None)
    if form == "update":
        return datamigrate.update_rows(table, pending=missing, values={table.c.at: MOMENT})
    decorate = datamigrate.compute_rows(table, pending=missing, reads=[table.c.at], writes=[table.c.at])
    return decorate(lambda row: {"at": row.at or MOMENT})


def table_of_moments(database: ScratchDatabase, column: str, *, zone: bool) -> sa.TableClause:
    """A table of a moment before, one behind and none; as a script declares it that says whether there is a `zone`."""
    database.script(
        f"CREATE TABLE item (id INTEGER PRIMARY KEY, at {column});"
        "INSERT INTO item VALUES (1, '2024-06-01 09:59Z'), (2, '2024-06-01 11:00Z'), (3, NULL)"
    )
    return sa.table("item", sa.column("id", sa.Integer), sa.column("at", sa.DateTime(timezone=zone)))


@pytest.mark.parametrize("form", ["delete", "update", "compute"])
@pytest.mark.parametrize("column", ["timestamp", "timestamptz"])
async def test_a_moment_with_a_zone_is_refused_where_the_column_is_declared_without_and_means_no_other_one(
    bench_on: Callable[[str], Bench], column: str, form: str
) -> None:
    bench = bench_on("postgresql")
    table = table_of_moments(bench.database, column, zone=False)
    before = bench.database.rows("SELECT * FROM item ORDER BY id")
    ran = await bench.run(bench.form(at_that_moment(form, table)))
    assert ran.outcome == "failed"
    assert "a moment that has a time zone, for a type that has none: declare" in str(ran.result.error)
    assert bench.database.rows("SELECT * FROM item ORDER BY id") == before


@pytest.mark.parametrize(
    ("form", "left"), [("delete", (11, None)), ("update", (9, 11, 10)), ("compute", (9, 11, 10))]
)
async def test_a_moment_is_the_same_one_whatever_its_zone_where_the_column_is_declared_with_one(
    bench_on: Callable[[str], Bench], form: str, left: tuple[int | None, ...]
) -> None:
    bench = bench_on("postgresql")
    table = table_of_moments(bench.database, "timestamptz", zone=True)
    ran = await bench.run(bench.form(at_that_moment(form, table)))
    assert ran.outcome == "done", ran.result
    hours = "SELECT extract(hour FROM at AT TIME ZONE 'UTC') FROM item ORDER BY id"
    assert tuple(hour for (hour,) in bench.database.rows(hours)) == left


@pytest.mark.parametrize(
    ("column", "declared", "value"),
    [
        ("VARCHAR(3)", sa.String(3), "abcd"),
        ("VARCHAR(3)", None, "abcd"),
        ("CHAR(3)", None, "abcd"),
        ("VARCHAR(3)[]", None, ["abcd"]),
        ("BIT(3)", None, BitString("1")),
        ("short", None, "abcd"),
        ("VARCHAR(3)", sa.Enum("x", "yy", native_enum=False), "abcd"),
        ("VARCHAR(3)", Short(), "abcd"),
        ("VARCHAR(3)", sa.Text().with_variant(postgresql.VARCHAR(3), "postgresql"), "abcd"),
        ("VARCHAR(3)[]", sa.ARRAY(Short()), ["abcd"]),
    ],
)
async def test_a_value_that_is_too_long_is_refused_and_not_cut_off(
    postgres_database: ScratchDatabase, tmp_path: Path, column: str, declared: Any, value: Any
) -> None:
    bench = Bench(postgres_database, tmp_path)
    bench.database.script(
        f"CREATE DOMAIN short AS VARCHAR(3); CREATE TABLE item (id INTEGER PRIMARY KEY, new {column}, done BOOLEAN);"
        "INSERT INTO item VALUES (0)"
    )
    ran = await bench.run(bench.form(writing(Kind(column, None, declared, (value,)))[1]))
    assert ran.outcome == "failed"
    assert re.search("too long|does not match", str(ran.result.error))
    assert bench.database.rows("SELECT new, done FROM item") == [(None, None)]


LATE = dt.datetime(2026, 3, 29, 23, 59, 59, 700_000)
MORE_THAN_DECLARED: dict[str, tuple[str, sa.types.TypeEngine[Any], Any, Any]] = {
    "enum": ("VARCHAR(20)", sa.Enum("x", "yy", native_enum=False), "longer", "longer"),
    "array of enums": ("TEXT[]", sa.ARRAY(sa.Enum("x", native_enum=False)), ["longer"], ["longer"]),
    "an author's own": ("VARCHAR(20)", Short(), "longer", "LONGER"),
    "a variant": ("TEXT", sa.Text().with_variant(postgresql.VARCHAR(3), "postgresql"), "longer", "longer"),
    "a shorter one with a variant": (
        "TEXT",
        sa.String(2).with_variant(postgresql.VARCHAR(3), "postgresql"),
        "longer",
        "longer",
    ),
    "an author's own as a variant": (
        "TEXT",
        sa.Text().with_variant(Short(), "postgresql"),
        "longer",
        "LONGER",
    ),
    "array of a variant": (
        "TEXT[]",
        sa.ARRAY(sa.Text().with_variant(postgresql.VARCHAR(3), "postgresql")),
        ["longer"],
        ["longer"],
    ),
    "moment": ("TIMESTAMP", postgresql.TIMESTAMP(precision=0), LATE, LATE),
    "moment with a zone": (
        "TIMESTAMPTZ",
        postgresql.TIMESTAMP(precision=0, timezone=True),
        LATE.replace(tzinfo=dt.UTC),
        LATE.replace(tzinfo=dt.UTC),
    ),
    "time": ("TIME", postgresql.TIME(precision=0), LATE.time(), LATE.time()),
    "array of moments": ("TIMESTAMP[]", sa.ARRAY(postgresql.TIMESTAMP(precision=0)), [LATE], [LATE]),
}
"""A column, what the script says of it, a value, and what is kept."""


@pytest.mark.parametrize("what", MORE_THAN_DECLARED)
async def test_a_value_of_more_than_is_declared_is_kept_whole_where_the_column_takes_it(
    bench_on: Callable[[str], Bench], what: str
) -> None:
    bench = bench_on("postgresql")
    column, declared, value, kept = MORE_THAN_DECLARED[what]
    bench.database.script(
        f"CREATE TABLE item (id INTEGER PRIMARY KEY, new {column}, done BOOLEAN); INSERT INTO item VALUES (0)"
    )
    ran = await bench.run(bench.form(writing(Kind(column, None, declared, (value,)))[1]))
    assert ran.outcome == "done", ran.result
    assert bench.database.rows("SELECT new FROM item") == [(kept,)]


async def test_a_type_is_the_one_that_it_is_to_the_driver_in_force(bench_on: Callable[[str], Bench]) -> None:
    bench = bench_on("postgresql")
    bench.database.script(
        "CREATE TABLE item (id INTEGER PRIMARY KEY, new BYTEA, done BOOLEAN); INSERT INTO item VALUES (0)"
    )
    ran = await bench.run(bench.form(writing(Kind("BYTEA", None, ByDriver(), (b"\xff",)))[1]))
    assert ran.outcome == "done", ran.result
    assert bench.database.scalar("SELECT encode(new, 'hex') FROM item") == "ff"


@pytest.mark.parametrize(
    "declared",
    [
        None,
        sa.JSON(),
        sa.JSON().with_variant(postgresql.JSONB, "postgresql"),
        postgresql.JSONB().with_variant(sa.JSON(), "sqlite"),
        Document(),
        sa.Text().with_variant(Document(), "postgresql", "sqlite"),
    ],
)
async def test_none_is_null_in_json_too_and_json_s_own_null_is_what_it_is(
    bench: Bench, declared: Any
) -> None:
    bench.database.script(
        "CREATE TABLE item (id INTEGER PRIMARY KEY, new JSON, done BOOLEAN); INSERT INTO item (id) VALUES (0), (1)"
    )
    ran = await bench.run(bench.form(writing(Kind("JSON", "JSON", declared, (None, sa.JSON.NULL)))[1]))
    assert ran.outcome == "done", ran.result
    found = bench.database.rows("SELECT CAST(new AS TEXT) FROM item ORDER BY id")
    assert found == [(None,), ("null",)]


@pytest.mark.parametrize("declared", [None, sa.ARRAY(postgresql.JSONB), sa.ARRAY(Document())])
async def test_none_is_null_in_an_array_of_json_too(bench_on: Callable[[str], Bench], declared: Any) -> None:
    bench = bench_on("postgresql")
    bench.database.script(
        "CREATE TABLE item (id INTEGER PRIMARY KEY, new JSONB[], done BOOLEAN); INSERT INTO item (id) VALUES (0)"
    )
    value = [{"a": None}, None, sa.JSON.NULL]
    ran = await bench.run(bench.form(writing(Kind("JSONB[]", None, declared, (value,)))[1]))
    assert ran.outcome == "done", ran.result
    assert bench.database.rows("SELECT new[1]::text, new[2]::text, new[3]::text FROM item") == [
        ('{"a": null}', None, "null")
    ]


@pytest.mark.parametrize("rows", [1, 499, 500, 501, 1_200])
async def test_arrays_are_written_some_hundred_rows_at_a_time(
    postgres_database: ScratchDatabase, tmp_path: Path, rows: int
) -> None:
    bench = Bench(postgres_database, tmp_path)
    bench.database.script(
        "CREATE TABLE computed (id INTEGER PRIMARY KEY, old INTEGER, new INTEGER[]);"
        f"INSERT INTO computed SELECT i, i FROM generate_series(1, {rows}) i"
    )
    numbers = [sa.column("id", sa.Integer), sa.column("old", sa.Integer)]
    item = sa.table("computed", *numbers, sa.column("new", sa.ARRAY(sa.Integer)))
    decorate = datamigrate.compute_rows(
        item, pending=item.c.new.is_(None), reads=[item.c.old], writes=[item.c.new]
    )
    updates: list[str] = []

    def count(database: Database) -> None:
        at_every_step(
            database, lambda said: updates.append(said) if said.startswith("UPDATE computed") else None
        )

    whole = with_settings(first_rows=rows, limits=Limits(target_time=600, max_rows=rows))
    ran = await bench.run(
        bench.form(decorate(lambda row: {"new": [row.old, -row.old]})), settings=whole, meddle=count
    )
    assert ran.outcome == "done", ran.result
    assert len(updates) == -(-rows // 500)
    assert bench.database.scalar("SELECT count(*) FROM computed WHERE new = ARRAY[id, -id]") == rows


async def test_a_function_is_lent_to_a_connection_once_and_called_for_every_batch(bench: Bench) -> None:
    bench.database.execute("CREATE TABLE computed (id INTEGER PRIMARY KEY, old INTEGER, new INTEGER)")
    for number in range(50):
        bench.database.execute("INSERT INTO computed (id, old) VALUES (:id, :id)", id=number)
    table = sa.table("computed", *(sa.column(name, sa.Integer) for name in ("id", "old", "new")))
    decorate = datamigrate.compute_rows(
        table, pending=table.c.new.is_(None), reads=[table.c.old], writes=[table.c.new]
    )
    lent: list[str] = []
    updates: list[str] = []

    def count(database: Database) -> None:
        at_every_step(
            database, lambda said: updates.append(said) if said.startswith("UPDATE computed") else None
        )
        lend = database.dialect.lend_functions

        async def noted(connection: Any, functions: Mapping[str, Any]) -> None:
            driver = (await connection.get_raw_connection()).driver_connection
            create = driver.create_function

            async def create_function(name: str, *others: Any) -> None:
                lent.append(name)
                await create(name, *others)

            driver.create_function = create_function
            try:
                await lend(connection, functions)
            finally:
                del driver.create_function

        monkeypatch.setattr(database.dialect, "lend_functions", noted)

    with pytest.MonkeyPatch.context() as monkeypatch:
        ran = await bench.run(
            bench.form(decorate(lambda row: {"new": -row.old})),
            settings=with_settings(limits=Limits(target_time=600, max_rows=5)),
            meddle=count,
        )
    assert ran.outcome == "done", ran.result
    assert bench.database.scalar("SELECT count(*) FROM computed WHERE new = -old") == 50
    assert len(updates) > 5
    inside = ["datamigrate_value_0"]
    assert lent == (inside if bench.database.dialect == "sqlite" else [])


@pytest.mark.parametrize("kind", ["TEXT", "TEXT[]"])
async def test_a_column_may_be_named_as_nothing_of_ours(bench_on: Callable[[str], Bench], kind: str) -> None:
    bench, declared = bench_on("postgresql"), sa.Text() if kind == "TEXT" else postgresql.ARRAY(sa.Text)
    names = ("a0", "a1", "v0_0", "c0", "lower_0", "upper_0", "key_0")
    bench.database.execute(
        f"CREATE TABLE computed (id INTEGER PRIMARY KEY, new {kind}, {', '.join(f'{n} TEXT' for n in names)})"
    )
    for number in range(6):
        bench.database.execute("INSERT INTO computed (id, a0) VALUES (:id, 'x')", id=number)
    columns: list[Any] = [
        sa.column("id", sa.Integer),
        sa.column("new", declared),
        *(sa.column(n, sa.Text) for n in names),
    ]
    table = sa.table("computed", *columns)
    pending = table.c.new.is_(None) & (table.c.id < sa.bindparam("a0", 1000))
    decorate = datamigrate.compute_rows(
        table, pending=pending, reads=[table.c[n] for n in names], writes=[table.c.new]
    )
    ran = await bench.run(bench.form(decorate(lambda row: {"new": row.a0 if kind == "TEXT" else [row.a0]})))
    assert ran.outcome == "done", ran.result
    assert bench.database.scalar("SELECT count(*) FROM computed WHERE new IS NOT NULL AND a1 IS NULL") == 6


async def test_tables_and_columns_may_have_any_name(bench: Bench) -> None:
    names = ["c0", "c1", "c2", "a0", "key_0", "computed", "select", "per%cent", "co:lon", "Mixed Case", "ü"]
    columns = ", ".join(f'"{name}" INTEGER' for name in names)
    bench.database.execute(
        f"CREATE TABLE computed (id INTEGER PRIMARY KEY, {columns.replace(':', chr(92) + ':')})"
    )
    for number in range(6):
        bench.database.execute("INSERT INTO computed (id) VALUES (:id)", id=number)
    table = sa.table("computed", sa.column("id", sa.Integer), *(sa.column(n, sa.Integer) for n in names))
    decorate = datamigrate.compute_rows(
        table,
        pending=table.c["per%cent"].is_(None) & (table.c.id < 1000),
        reads=[table.c.id, table.c.c1],
        writes=[table.c[name] for name in names],
    )

    def migrate(rows: Any) -> list[dict[str, int]]:
        return [{name: row.id * 100 + i for i, name in enumerate(names)} for row in rows]

    ran = await bench.run(bench.form(decorate(migrate)))
    assert ran.outcome == "done", ran.result
    expected = [(n, *(n * 100 + i for i in range(len(names)))) for n in range(6)]
    assert bench.database.rows("SELECT * FROM computed ORDER BY id") == expected


@pytest.mark.parametrize("written", ["INTEGER", "INTEGER[]"])
async def test_columns_that_are_only_read_are_never_written(
    bench_on: Callable[[str], Bench], written: str
) -> None:
    bench = bench_on("postgresql" if written == "INTEGER[]" else "sqlite")
    bench.database.script(
        f"CREATE TABLE item (c1 INTEGER, c2 INTEGER, c0 INTEGER PRIMARY KEY, new {written});"
        "INSERT INTO item (c0, c1, c2) VALUES (1, 10, 20), (2, 11, 21)"
    )
    kind = sa.ARRAY(sa.Integer()) if written == "INTEGER[]" else sa.Integer()
    names = [sa.column(name, sa.Integer) for name in ("c0", "c1", "c2")]
    table = sa.table("item", *names, sa.column("new", kind))
    decorate = datamigrate.compute_rows(
        table, pending=table.c.new.is_(None), reads=[table.c.c1, table.c.c2], writes=[table.c.new]
    )

    def migrate(row: Any) -> dict[str, Any]:
        total = row.c1 + row.c2
        return {"new": [total] if written == "INTEGER[]" else total}

    ran = await bench.run(bench.form(decorate(migrate)))
    assert ran.outcome == "done", ran.result
    assert bench.database.rows("SELECT c0, c1, c2 FROM item ORDER BY c0") == [(1, 10, 20), (2, 11, 21)]


# the guard: only what is still as it was read -----------------------------------------------------------

MEANWHILE = {
    "a value that was read": "UPDATE item SET old = old + 1000 WHERE serial IN (1, 2)",
    "a value that was read, to nothing": "UPDATE item SET old = NULL WHERE serial IN (1, 2)",
    "the row is gone": "DELETE FROM item WHERE serial IN (1, 2)",
    "the row is done": "UPDATE item SET new = -1 WHERE serial IN (1, 2)",
    "the row has another key": "UPDATE item SET id = id + 1000 WHERE serial IN (1, 2)",
}


@pytest.mark.parametrize("what", MEANWHILE)
async def test_a_row_changed_since_it_was_read_is_not_overwritten_and_not_counted(
    bench: Bench, what: str
) -> None:
    bench.table(rows=((i,) for i in range(8)))
    decorate = datamigrate.compute_rows(
        ITEM, pending=PENDING, reads=[ITEM.c.serial, ITEM.c.old], writes=[ITEM.c.new]
    )
    seen: list[int] = []

    def migrate(rows: Any) -> list[Any]:
        if not seen:
            bench.database.execute(MEANWHILE[what])
        seen.extend(row.serial for row in rows)
        return [{"new": (row.old or 0) * 2} for row in rows]

    ran = await bench.run(bench.form(decorate(migrate)))
    assert ran.outcome == "done", ran.result
    assert ran.of(BatchDone)[0].rows == 2
    values = dict(bench.database.rows("SELECT serial, new FROM item"))
    again = {
        "a value that was read": {1: 2002, 2: 2004},
        "a value that was read, to nothing": {1: 0, 2: 0},
        "the row is gone": {},
        "the row is done": {1: -1, 2: -1},
        "the row has another key": {1: 2, 2: 4},
    }[what]
    assert values == {n: n * 2 for n in range(8) if n not in (1, 2)} | again
    assert bench.standing().rows == (6 if what in ("the row is gone", "the row is done") else 8)


async def test_rows_that_come_while_a_batch_is_computed_are_a_later_sweep_s(bench: Bench) -> None:
    bench.table(rows=((10 * i,) for i in range(8)))
    come: list[Any] = []

    async def migrate(row: Any) -> dict[str, Any]:
        if not come:
            come.append(row)
            bench.database.execute("INSERT INTO item (serial, old, id) VALUES (8, 8, 5)")
        return {"new": row.old * 2}

    form = datamigrate.compute_rows(ITEM, pending=PENDING, reads=[ITEM.c.old], writes=[ITEM.c.new])(migrate)
    ran = await bench.run(bench.form(form))
    assert ran.outcome == "done", ran.result
    assert len(ran.of(Sweeping)) == 1
    bench.assert_done(9)


async def test_an_array_column_is_guarded_like_any_other(
    postgres_database: ScratchDatabase, tmp_path: Path
) -> None:
    bench = Bench(postgres_database, tmp_path)
    bench.database.script(
        "CREATE TABLE item (id INTEGER PRIMARY KEY, old INTEGER, new INTEGER[]);"
        "INSERT INTO item SELECT i, i FROM generate_series(1, 4) i"
    )
    item = sa.table(
        "item",
        sa.column("id", sa.Integer),
        sa.column("old", sa.Integer),
        sa.column("new", sa.ARRAY(sa.Integer)),
    )
    decorate = datamigrate.compute_rows(
        item, pending=item.c.new.is_(None), reads=[item.c.old], writes=[item.c.new]
    )

    def migrate(rows: Any) -> list[Any]:
        if len(rows) == 4:
            bench.database.execute("UPDATE item SET old = 100 WHERE id = 3")
        return [{"new": [row.old]} for row in rows]

    ran = await bench.run(bench.form(decorate(migrate)))
    assert ran.outcome == "done", ran.result
    assert [batch.rows for batch in ran.of(BatchDone)] == [3, 1]
    assert bench.database.rows("SELECT new FROM item ORDER BY id") == [([1],), ([2],), ([100],), ([4],)]


# reading only -------------------------------------------------------------------------------------------


async def test_a_read_only_database_refuses_every_write(database: ScratchDatabase) -> None:
    database.script("CREATE TABLE item (id INTEGER); INSERT INTO item VALUES (1)")
    before = database.dump()
    async with opened(database, read_only=True) as ours:
        for statement in ("UPDATE item SET id = 2", "CREATE TABLE other (id INTEGER)", "DROP TABLE item"):
            assert await fault_in(ours, write(ours, statement)) is Fault.LASTING
    assert database.dump() == before


async def test_looking_rolls_back_whatever_was_done(database: ScratchDatabase) -> None:
    database.script("CREATE TABLE item (id INTEGER); INSERT INTO item VALUES (1)")
    async with opened(database) as ours, ours.looking() as connection:
        await connection.execute(sa.text("UPDATE item SET id = 2"))
    assert database.rows("SELECT id FROM item") == [(1,)]


async def test_a_cancelled_write_stops_its_statement_and_rolls_back(database: ScratchDatabase) -> None:
    database.script("CREATE TABLE item (id INTEGER); INSERT INTO item VALUES (1)")
    endless = (
        "SELECT pg_sleep(3600)"
        if database.dialect == "postgresql"
        else "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    )
    async with opened(database) as ours:
        with anyio.move_on_after(0.2) as scope, suppress(sa.exc.DBAPIError):
            await write(ours, "UPDATE item SET id = 2", endless, timeouts=Timeouts(None, None))
        assert scope.cancel_called
        await write(ours, "UPDATE item SET id = id + 10")
    assert database.rows("SELECT id FROM item") == [(11,)]


async def test_a_cancelled_task_does_not_give_a_file_up_that_is_being_opened(
    sqlite_database: ScratchDatabase,
) -> None:
    async with opened(sqlite_database) as ours:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await write(ours, "SELECT 1")
        assert scope.cancelled_caught
        pool = ours.engine.pool
        assert isinstance(pool, sa.QueuePool)
        assert pool.checkedin() == 1


async def test_a_statement_cancelled_before_its_rows_were_fetched_keeps_no_lock(
    sqlite_database: ScratchDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def endlessly(_: aiosqlite.Cursor) -> NoReturn:
        await anyio.sleep(math.inf)
        raise AssertionError

    sqlite_database.script("CREATE TABLE item (id INTEGER); INSERT INTO item VALUES (1), (2)")
    errors = list[BaseException]()
    async with opened(sqlite_database) as ours:
        await write(
            ours, "UPDATE item SET id = id"
        )  # what is looked at once for a connection is looked at here
        with monkeypatch.context() as patched, anyio.move_on_after(0.2) as scope:
            patched.setattr(aiosqlite.Cursor, "fetchall", endlessly)
            try:
                await write(ours, "UPDATE item SET id = id + 10", "SELECT id FROM item")
            except BaseException as error:
                errors.append(error)  # and so whatever it refers to is kept
                raise
        assert scope.cancelled_caught
        await write(ours, "UPDATE item SET id = id + 1")
    assert sqlite_database.rows("SELECT id FROM item") == [(2,), (3,)]


async def test_without_a_write_ahead_log_a_commit_waits_for_those_who_read(
    sqlite_database: ScratchDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_transactions, "_WAIT", "PRAGMA busy_timeout = 20")
    monkeypatch.setattr(
        sqlite_transactions,
        "_TAKE_THE_LOCK",
        "PRAGMA busy_timeout = 0; BEGIN IMMEDIATE; PRAGMA busy_timeout = 20",
    )
    sqlite_database.script(
        "PRAGMA journal_mode = delete; CREATE TABLE item (id INTEGER); INSERT INTO item VALUES (1)"
    )
    reader = sqlite_database.engine.connect()
    reader.exec_driver_sql("BEGIN")
    assert reader.exec_driver_sql("SELECT count(*) FROM item").scalar() == 1

    async def let_go() -> None:
        await anyio.sleep(0.3)
        reader.close()

    async with opened(sqlite_database) as database:
        async with anyio.create_task_group() as group:
            group.start_soon(let_go)
            async with database.writing() as connection:
                await connection.execute(sa.text("INSERT INTO item VALUES (2)"))
        async with database.looking() as connection:
            assert await connection.scalar(sa.text("SELECT count(*) FROM item")) == 2
