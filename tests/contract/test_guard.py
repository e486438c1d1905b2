from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from databases import ScratchDatabase
from datamigrate.authoring.batch import Batch
from datamigrate.authoring.forms import FreeForm
from datamigrate.database.database import Database
from datamigrate.words.errors import BatchFailed
from datamigrate.words.migration import Options
from workbench import DOUBLED, Bench, each_batch, opened

pytestmark = pytest.mark.anyio

Work = Callable[[AsyncSession], Awaitable[None]]
ROWS = 3
FORBIDDEN = {
    "CREATE TABLE other (id INTEGER)": "The script changes the schema (CREATE ...).",
    "  create table other (id integer)": "The script changes the schema (CREATE ...).",
    "-- a comment\nCREATE TABLE other (id INTEGER)": "The script changes the schema (CREATE ...).",
    "/* a\ncomment */ DROP TABLE item": "The script changes the schema (DROP ...).",
    "; DROP TABLE item": "The script changes the schema (DROP ...).",
    "ALTER TABLE item ADD COLUMN other INTEGER": "The script changes the schema (ALTER ...).",
    "CREATE INDEX other ON item (old)": "The script changes the schema (CREATE ...).",
    "CREATE UNIQUE INDEX other ON item (id)": "The script changes the schema (CREATE ...).",
    "VACUUM": "The script changes the schema (VACUUM ...).",
    "COMMIT": "The script ends the runner's transaction (COMMIT).",
    "commit;": "The script ends the runner's transaction (COMMIT).",
    "END": "The script ends the runner's transaction (END).",
    "ROLLBACK": "The script ends the runner's transaction (ROLLBACK).",
    "BEGIN": "The script ends the runner's transaction (BEGIN).",
    "INSERT OR ROLLBACK INTO item VALUES (1)": "The script ends the runner's transaction at a conflict (INSERT OR ROLLBACK).",
}
FORBIDDEN_ON_POSTGRESQL = {
    "TRUNCATE item": "The script changes the schema (TRUNCATE ...).",
    "GRANT SELECT ON item TO PUBLIC": "The script changes the schema (GRANT ...).",
    "COMMENT ON TABLE item IS 'x'": "The script changes the schema (COMMENT ...).",
    "ABORT": "The script ends the runner's transaction (ABORT).",
    "PREPARE TRANSACTION 'x'": "The script ends the runner's transaction (PREPARE TRANSACTION).",
}
ALLOWED = [
    "SELECT 'CREATE TABLE x'",
    "SAVEPOINT a",
    "WITH x AS (SELECT 1) SELECT * FROM x",
    "CREATE TEMP TABLE scratch (id INTEGER)",
    "CREATE TEMPORARY TABLE scratch (id INTEGER)",
    "-- CREATE TABLE x\nSELECT 1",
]


def free(work: Work) -> FreeForm:
    return FreeForm(work, None, Options(), frozenset())


@pytest.fixture
def filled(bench: Bench) -> Bench:
    """Three rows, and the state before any run."""
    bench.table(rows=((i,) for i in range(ROWS)))
    return bench


async def refused(bench: Bench, form: Any) -> BatchFailed:
    """The error with which the run ends, after seeing that it has left nothing but its own record."""
    before = without_ledger(bench.database)
    async with opened(bench.database) as ours:
        ran = await bench.run_on(ours, bench.form(form))
        # the same connections serve the next run
        async with ours.writing() as connection:
            await connection.execute(sa.text("CREATE TABLE ours (id INTEGER)"))
        async with ours.writing() as connection:
            await connection.execute(sa.text("DROP TABLE ours"))
    assert isinstance(ran.result.error, BatchFailed), ran.result
    assert without_ledger(bench.database) == before
    assert bench.standing().state == "failed"
    return ran.result.error


def without_ledger(database: ScratchDatabase) -> list[Any]:
    schema, *tables = database.dump()
    relations = [row for row in schema[1] if "datamigrate" not in repr(row)]
    return [relations, *(table for table in tables if "datamigrate" not in table[0])]


@pytest.mark.parametrize("statement", FORBIDDEN)
async def test_a_batch_may_not_execute(filled: Bench, statement: str) -> None:
    async def work(batch: Batch) -> None:
        await batch.execute(DOUBLED.where(batch.rows))
        await batch.execute(sa.text(statement))

    error = await refused(filled, each_batch(work))
    assert FORBIDDEN[statement].removesuffix(".") in error.message


@pytest.mark.parametrize("statement", FORBIDDEN_ON_POSTGRESQL)
async def test_a_batch_may_not_execute_on_postgresql(
    postgres_database: ScratchDatabase, tmp_path: Any, statement: str
) -> None:
    bench = Bench(postgres_database, tmp_path)
    bench.table(rows=((i,) for i in range(ROWS)))

    async def work(batch: Batch) -> None:
        await batch.execute(DOUBLED.where(batch.rows))
        await batch.execute(sa.text(statement))

    error = await refused(bench, each_batch(work))
    assert FORBIDDEN_ON_POSTGRESQL[statement].removesuffix(".") in error.message


@pytest.mark.parametrize("statement", ALLOWED)
async def test_a_session_may_execute(filled: Bench, statement: str) -> None:
    async def work(session: AsyncSession) -> None:
        await session.execute(sa.text(statement))
        await session.execute(DOUBLED)

    ran = await filled.run(filled.form(free(work)))
    assert ran.outcome == "done", ran.result
    assert filled.wrong() == []


async def test_a_schema_change_through_sqlalchemy_is_refused(filled: Bench) -> None:
    async def work(session: AsyncSession) -> None:
        await session.execute(DOUBLED)
        table = sa.Table("other", sa.MetaData(), sa.Column("id", sa.Integer))
        await (await session.connection()).run_sync(table.create)

    error = await refused(filled, free(work))
    assert "The script changes the schema (CREATE ...)" in error.message
    assert "alembic revision" in error.hint


async def commit_session(session: AsyncSession) -> None:
    await session.commit()


async def commit_connection(session: AsyncSession) -> None:
    await (await session.connection()).commit()


async def roll_session_back(session: AsyncSession) -> None:
    await session.rollback()


async def roll_session_back_and_go_on(session: AsyncSession) -> None:
    await session.rollback()
    await session.execute(DOUBLED)


async def roll_connection_back(session: AsyncSession) -> None:
    await (await session.connection()).rollback()


ENDINGS: dict[str, tuple[Work, str]] = {
    "commit of the session": (commit_session, "commits on its own"),
    "commit of the connection": (commit_connection, "commits on its own"),
    "rollback of the session": (roll_session_back, "rolls the runner's transaction back"),
    "rollback, and work after it": (roll_session_back_and_go_on, "the runner's transaction"),
    "rollback of the connection": (roll_connection_back, "rolls the runner's transaction back"),
}


@pytest.mark.parametrize("what", ENDINGS)
async def test_a_session_does_not_end_the_runners_transaction_by_a(filled: Bench, what: str) -> None:
    ending, said = ENDINGS[what]

    async def work(session: AsyncSession) -> None:
        await session.execute(DOUBLED)
        await ending(session)

    assert said in (await refused(filled, free(work))).message


async def test_an_error_that_the_script_swallows_after_a_commit_is_refused_does_not_help_it(
    filled: Bench,
) -> None:
    async def work(session: AsyncSession) -> None:
        await session.execute(DOUBLED)
        try:
            await session.commit()
        except BatchFailed:
            await session.rollback()

    await refused(filled, free(work))


ENDED_BY_SQLITE = {
    "a constraint that says so": "CREATE TABLE taken (k INTEGER UNIQUE ON CONFLICT ROLLBACK)",
    "a trigger that raises so": "CREATE TABLE taken (k INTEGER); CREATE TRIGGER no BEFORE INSERT ON taken "
    "WHEN EXISTS (SELECT 1 FROM taken) BEGIN SELECT RAISE(ROLLBACK, 'taken'); END",
}


async def meet_the_conflict(execute: Callable[[Any], Awaitable[Any]]) -> None:
    with suppress(sa.exc.IntegrityError):
        await execute(sa.text("INSERT INTO taken VALUES (1)"))


@pytest.fixture(params=ENDED_BY_SQLITE)
def taken(request: pytest.FixtureRequest, sqlite_database: ScratchDatabase, tmp_path: Path) -> Bench:
    """Three rows, and a table at which the next insert ends the transaction."""
    bench = Bench(sqlite_database, tmp_path)
    bench.table(rows=((i,) for i in range(ROWS)))
    sqlite_database.script(f"{ENDED_BY_SQLITE[request.param]}; INSERT INTO taken VALUES (1)")
    return bench


async def test_a_batch_that_catches_an_error_with_which_sqlite_ended_the_transaction_goes_no_further(
    taken: Bench,
) -> None:
    async def work(batch: Batch) -> None:
        await batch.execute(DOUBLED.where(batch.rows))
        await meet_the_conflict(batch.execute)
        with suppress(BatchFailed):
            await batch.execute(DOUBLED.where(batch.rows))

    assert "SQLite rolled the whole transaction back" in (await refused(taken, each_batch(work))).message


async def test_a_session_that_catches_an_error_with_which_sqlite_ended_the_transaction_goes_no_further(
    taken: Bench,
) -> None:
    async def work(session: AsyncSession) -> None:
        await session.execute(DOUBLED)
        await meet_the_conflict(session.execute)

    async def in_a_savepoint(session: AsyncSession) -> None:
        await session.execute(DOUBLED)
        with suppress(sa.exc.IntegrityError):
            async with session.begin_nested():
                await session.execute(sa.text("INSERT INTO taken VALUES (1)"))

    for way in (work, in_a_savepoint):
        assert "SQLite rolled the whole transaction back" in (await refused(taken, free(way))).message


async def test_a_transaction_that_sqlite_has_ended_is_not_committed(taken: Bench) -> None:
    async def goes_on(ours: Database) -> None:
        async with ours.writing() as connection:
            await connection.execute(DOUBLED)
            await meet_the_conflict(connection.execute)

    async with opened(taken.database) as ours:
        with pytest.raises(BatchFailed, match="SQLite rolled the whole transaction back"):
            await goes_on(ours)
        async with ours.writing() as connection:
            await connection.execute(DOUBLED)
    assert taken.wrong() == []


async def test_a_part_of_the_work_may_be_given_up(filled: Bench) -> None:
    async def work(session: AsyncSession) -> None:
        await session.execute(DOUBLED)
        async with session.begin_nested() as part:
            await session.execute(sa.text("DELETE FROM item"))
            await part.rollback()
        async with session.begin_nested():
            await session.execute(sa.text("UPDATE item SET old = old"))

    ran = await filled.run(filled.form(free(work)))
    assert ran.outcome == "done", ran.result
    assert filled.wrong() == []


async def test_an_error_in_a_script_keeps_nothing_of_its_work(filled: Bench) -> None:
    async def work(session: AsyncSession) -> None:
        await session.execute(DOUBLED)
        raise ZeroDivisionError

    assert "ZeroDivisionError" in (await refused(filled, free(work))).message


async def test_a_session_is_of_no_use_after_its_time(filled: Bench) -> None:
    kept: list[AsyncSession] = []

    async def work(session: AsyncSession) -> None:
        kept.append(session)
        await session.execute(DOUBLED)

    ran = await filled.run(filled.form(free(work)))
    assert ran.outcome == "done", ran.result
    with pytest.raises(sa.exc.InvalidRequestError, match="closed"):
        await kept[0].execute(sa.text("DELETE FROM item"))
    assert filled.wrong() == []


async def test_a_batch_is_of_no_use_after_its_time(filled: Bench) -> None:
    kept: list[Batch] = []

    async def work(batch: Batch) -> None:
        kept.append(batch)
        await batch.execute(DOUBLED.where(batch.rows))

    ran = await filled.run(filled.form(each_batch(work)))
    assert ran.outcome == "done", ran.result
    with pytest.raises(RuntimeError, match="This batch is over"):
        await kept[0].execute(sa.text("DELETE FROM item"))
    assert filled.wrong() == []


async def test_the_rules_hold_for_the_scripts_code_only(filled: Bench) -> None:
    async def work(batch: Batch) -> None:
        await batch.execute(DOUBLED.where(batch.rows))

    async with opened(filled.database) as ours:
        assert (await filled.run_on(ours, filled.form(each_batch(work)))).outcome == "done"
        async with ours.writing() as connection:
            await connection.execute(sa.text("CREATE TABLE other (id INTEGER)"))
    assert filled.database.scalar("SELECT count(*) FROM other") == 0
