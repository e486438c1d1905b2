"""What a real database tells of its health, and what it does not tell everybody."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import anyio
import pytest
import sqlalchemy as sa

from databases import PostgresServer, ScratchDatabase
from datamigrate.database.database import Database
from datamigrate.database.dialects import dialect_for
from datamigrate.database.health import read_signals
from datamigrate.thought.health import SIGNALS, Reading
from workbench import do_not_wait_for_the_disk, opened

pytestmark = pytest.mark.anyio

ITEM = sa.table("item", sa.column("id"))
PATIENCE = 20.0


async def read(database: Database, *signals: str, lag_query: str | None = None) -> list[Reading]:
    asked = [(signal, ITEM if SIGNALS[signal].of_table else None) for signal in signals]
    readings = await read_signals(database, asked, PATIENCE, lag_query)
    return [readings[one] for one in asked]


async def read_at(scratch: ScratchDatabase, signal: str, lag_query: str | None = None) -> Reading:
    async with opened(scratch) as database:
        (reading,) = await read(database, signal, lag_query=lag_query)
    return reading


async def until(database: Database, signal: str, value: float) -> None:
    """Until the signal says so."""
    with anyio.fail_after(PATIENCE):
        while await read(database, signal) != [Reading(value)]:  # noqa: ASYNC110 - the server sends no events
            await anyio.sleep(0.02)


async def asleep(scratch: ScratchDatabase) -> None:
    await anyio.to_thread.run_sync(scratch.rows, "SELECT pg_sleep(1)")


@contextmanager
def connected(scratch: ScratchDatabase) -> Iterator[sa.Connection]:
    with scratch.engine.connect() as connection:
        yield connection


def instead_of_the_servers(scratch: ScratchDatabase, *ddl: str) -> None:
    """From now on connections find these in place of the server's own views and functions."""
    scratch.script("CREATE SCHEMA fake; " + "; ".join(ddl))
    name = scratch.scalar("SELECT current_database()")
    scratch.execute(f'ALTER DATABASE "{name}" SET search_path = fake, pg_catalog, public')


async def test_every_signal_of_a_database_can_be_read(database: ScratchDatabase) -> None:
    database.script("CREATE TABLE item (id INTEGER PRIMARY KEY)")
    signals = dialect_for(database.dialect).signals
    assert signals <= set(SIGNALS)
    async with opened(database) as ours:
        for signal, reading in zip(signals, await read(ours, *signals), strict=True):
            assert reading.trouble is None, signal
            if signal == "xmin_age":  # there is one if autovacuum happens to be at work
                continue
            # without a replica and without an archive there is nothing to measure
            assert (reading.value is None) is (signal in ("replica_lag", "archive_backlog")), signal


async def test_the_lag_is_that_of_the_replica_that_is_farthest_behind(
    postgres_database: ScratchDatabase,
) -> None:
    instead_of_the_servers(
        postgres_database,
        "CREATE VIEW fake.pg_stat_replication AS SELECT * FROM (VALUES ('streaming', interval '2.5 s'), "
        "('catchup', interval '1 min'), ('streaming', NULL), ('backup', interval '1 h')) AS r(state, replay_lag)",
    )
    assert await read_at(postgres_database, "replica_lag") == Reading(60.0)


async def test_replicas_that_the_role_may_not_see_are_told_of(postgres_database: ScratchDatabase) -> None:
    instead_of_the_servers(
        postgres_database,
        "CREATE VIEW fake.pg_stat_replication AS "
        "SELECT CAST(NULL AS text) AS state, CAST(NULL AS interval) AS replay_lag",
    )
    reading = await read_at(postgres_database, "replica_lag")
    assert reading == Reading(trouble="the role may not see replicas; GRANT pg_read_all_stats to it")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("SELECT 4.5", Reading(4.5)),
        ("SELECT NULL", Reading(None)),
        ("SELECT '100% down'", Reading(trouble="could not convert string to float: '100% down'")),
        ("SELECT 1 / 0", Reading(trouble="division by zero")),
    ],
)
async def test_a_query_of_the_projects_own_gives_the_lag(
    postgres_database: ScratchDatabase, query: str, expected: Reading
) -> None:
    async with opened(postgres_database) as database:
        lag, locks = await read(database, "replica_lag", "lock_waits", lag_query=query)
    assert lag == expected
    assert locks == Reading(0.0)


@pytest.mark.parametrize(
    ("last", "failed", "expected"),
    [
        # segment 3 of log 1, of which each has 256 segments of 16 MB
        ("000000010000000100000003", 0, Reading(4.0)),
        ("000000010000000100000003.00000028.backup", 0, Reading(4.0)),
        ("00000002.history", 0, Reading(None)),
        (None, 0, Reading(None)),
        (None, 3, Reading(None, "nothing has ever been archived")),
    ],
)
async def test_the_segments_since_the_one_last_archived_are_counted(
    postgres_database: ScratchDatabase, last: str | None, failed: int, expected: Reading
) -> None:
    told = "NULL" if last is None else f"'{last}'"
    instead_of_the_servers(
        postgres_database,
        f"CREATE VIEW fake.pg_stat_archiver AS "
        f"SELECT CAST({told} AS text) AS last_archived_wal, {failed} AS failed_count",
        "CREATE FUNCTION fake.pg_current_wal_lsn() RETURNS pg_lsn LANGUAGE sql RETURN pg_lsn '1/08123456'",
        "CREATE FUNCTION fake.current_setting(name text) RETURNS text LANGUAGE sql "
        "RETURN CASE WHEN name = 'archive_mode' THEN 'on' ELSE pg_catalog.current_setting(name) END",
    )
    assert await read_at(postgres_database, "archive_backlog") == expected


async def test_sessions_that_wait_for_locks_are_counted_but_not_our_own(
    postgres_database: ScratchDatabase,
) -> None:
    scratch = postgres_database
    scratch.script("CREATE TABLE item (id INTEGER PRIMARY KEY); INSERT INTO item VALUES (1)")
    update = sa.text("UPDATE item SET id = id")

    async def wait_as(name: str) -> None:
        engine = sa.create_engine(scratch.sync_url, connect_args={"application_name": name})
        try:
            await anyio.to_thread.run_sync(lambda: _executed(engine, update))
        finally:
            engine.dispose()

    async with opened(scratch) as database, anyio.create_task_group() as group:
        with connected(scratch) as holder:
            holder.execute(update)
            group.start_soon(wait_as, "the application")
            group.start_soon(wait_as, "datamigrate")
            with anyio.fail_after(PATIENCE):
                while scratch.scalar("SELECT count(*) FROM pg_locks WHERE NOT granted") < 2:  # noqa: ASYNC110 - the server sends no events
                    await anyio.sleep(0.02)
            assert await read(database, "lock_waits") == [Reading(1.0)]


def _executed(engine: sa.Engine, statement: sa.Executable) -> None:
    with engine.begin() as connection:
        connection.execute(statement)


async def test_active_sessions_and_the_oldest_snapshot_are_those_of_others(
    postgres_database: ScratchDatabase,
) -> None:
    scratch = postgres_database
    scratch.script("CREATE TABLE item (id INTEGER)")
    async with opened(scratch) as database:
        with connected(scratch) as old:
            old.execute(sa.text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
            old.execute(sa.text("SELECT count(*) FROM item"))
            for _ in range(5):
                scratch.execute("INSERT INTO item VALUES (1)")
            active, age = await read(database, "active_sessions", "xmin_age")
            assert active == Reading(0.0)
            assert age.value is not None
            assert age.value >= 5
        async with anyio.create_task_group() as group:
            group.start_soon(asleep, scratch)
            await until(database, "active_sessions", 1)


async def test_others_at_work_are_those_who_have_done_something_just_now_whatever_ours_are_called(
    postgres_database: ScratchDatabase,
) -> None:
    scratch = postgres_database
    ours = replace(scratch, url=f"{scratch.url}?application_name=shop")
    async with opened(scratch) as one, opened(ours) as another:
        for database in (one, another):
            await read(database, "lock_waits")
        await until(one, "others", 0)  # who made the database is not at work for long
        with connected(scratch) as shop:
            shop.execute(sa.text("SELECT 1"))
            shop.rollback()
            assert await read(one, "others") == await read(another, "others") == [Reading(1.0)]
            await until(another, "others", 0)  # connected as before


async def test_behind_a_pooler_that_hides_names_others_cannot_be_told_from_ours(
    postgres_database: ScratchDatabase,
) -> None:
    async with opened(postgres_database) as database, database.looking() as connection:
        await connection.exec_driver_sql("SET LOCAL application_name = ''")
        reading = await database.dialect.read_signal(connection, "others", None)
    assert reading.trouble == "a pooler hides the names of sessions, by which ours are known"


async def test_dead_rows_and_vacuum_of_the_table_are_seen_with_its_partitions(
    postgres_database: ScratchDatabase,
) -> None:
    scratch = postgres_database
    scratch.script(
        "CREATE TABLE item (id INTEGER) PARTITION BY LIST (id);"
        "CREATE TABLE item_1 PARTITION OF item FOR VALUES IN (1) WITH (autovacuum_enabled = off);"
        "INSERT INTO item SELECT 1 FROM generate_series(1, 5000); UPDATE item SET id = 1;"
    )

    async def vacuum() -> None:
        engine = sa.create_engine(scratch.sync_url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(sa.text("SET vacuum_cost_delay = 50"))
            connection.execute(sa.text("SET vacuum_cost_limit = 1"))
            await anyio.to_thread.run_sync(_vacuumed, connection)
        engine.dispose()

    async with opened(scratch) as database:
        await until(database, "dead_rows", 5000)
        assert await read(database, "autovacuum") == [Reading(0.0)]
        async with anyio.create_task_group() as group:
            group.start_soon(vacuum)
            await until(database, "autovacuum", 1)
            scratch.scalar("SELECT pg_cancel_backend(pid) FROM pg_stat_progress_vacuum")


def _vacuumed(connection: sa.Connection) -> None:
    with pytest.raises(sa.exc.OperationalError, match="canceling"):
        connection.execute(sa.text("VACUUM item"))


async def test_a_plain_role_is_told_what_it_may_not_see_and_sees_the_rest(
    postgres_server: PostgresServer, postgres_database: ScratchDatabase
) -> None:
    scratch, role = postgres_database, "plain_" + str(postgres_database.scalar("SELECT current_database()"))
    scratch.script("CREATE TABLE item (id INTEGER)")
    scratch.execute(f'CREATE ROLE "{role}" LOGIN')
    try:
        plain = replace(scratch, url=_as(scratch.url, role), sync_url=_as(scratch.sync_url, role))
        async with opened(plain) as database:
            assert await read(database, "others") == [Reading(0.0)]
            with connected(scratch) as somebody:
                somebody.execute(sa.text("SELECT 1"))
                signals = sorted(dialect_for("postgresql").signals)
                found = dict(zip(signals, await read(database, *signals), strict=True))
    finally:
        scratch.execute(f'DROP ROLE "{role}"')
    refused = {name: reading.trouble for name, reading in found.items() if reading.trouble}
    why = "the role sees its own sessions only; GRANT pg_read_all_stats to it"
    assert refused == dict.fromkeys(("active_sessions", "autovacuum", "others", "xmin_age"), why)


def _as(url: str, role: str) -> str:
    return sa.make_url(url).set(username=role).render_as_string(hide_password=False)


async def test_a_signal_that_takes_too_long_does_not_keep_the_others(
    postgres_database: ScratchDatabase,
) -> None:
    async with opened(postgres_database) as database:
        readings = await read_signals(
            database, [("replica_lag", None), ("lock_waits", None)], 0.3, "SELECT pg_sleep(30)"
        )
    assert readings["replica_lag", None].trouble == "canceling statement due to statement timeout"
    assert readings["lock_waits", None] == Reading(0.0)


async def test_a_database_that_does_not_answer_is_no_error_of_the_look(
    postgres_database: ScratchDatabase,
) -> None:
    away = replace(postgres_database, url=sa.make_url(postgres_database.url).set(port=1).render_as_string())
    async with opened(away) as database:
        (reading,) = await read(database, "lock_waits")
    assert reading.value is None
    assert "does not let us in" in (reading.trouble or "")


async def test_the_wal_of_sqlite_counts_as_far_as_a_reader_keeps_it_from_the_file(
    sqlite_database: ScratchDatabase,
) -> None:
    scratch = sqlite_database
    file = str(sa.make_url(scratch.url).database)
    with writer_of(file) as writer:
        writer.execute("PRAGMA journal_mode = WAL")
        writer.execute("CREATE TABLE item (id INTEGER PRIMARY KEY, filling BLOB)")
        async with opened(scratch) as database:
            assert await read(database, "wal_size") == [Reading(0.0)]
            with writer_of(file) as reader:
                reader.execute("BEGIN")
                reader.execute("SELECT count(*) FROM item").fetchall()
                writer.executemany(
                    "INSERT INTO item (filling) VALUES (?)", [(b"x" * 1024**2,) for _ in range(20)]
                )
                (held,) = await read(database, "wal_size")
                assert held.value is not None
                assert held.value > 18 * 1024**2
                reader.execute("ROLLBACK")
            assert await read(database, "wal_size") == [Reading(0.0)]


@contextmanager
def writer_of(file: str) -> Iterator[Any]:
    connection = sqlite3.connect(file, isolation_level=None)
    do_not_wait_for_the_disk(connection, None)
    try:
        yield connection
    finally:
        connection.close()
