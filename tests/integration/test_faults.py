from __future__ import annotations

import asyncio
import re
import sqlite3
from collections.abc import Callable, Iterable
from itertools import count
from typing import Any

import anyio
import pytest
import sqlalchemy as sa
from sqlalchemy import event

from databases import ScratchDatabase
from datamigrate.authoring.batch import Batch
from datamigrate.database.database import Database
from datamigrate.database.dialects.base import Timeouts
from datamigrate.doing.stopping import Stop
from datamigrate.testing.crashing import COMMIT
from datamigrate.thought.pacing import Limits
from datamigrate.words.errors import BatchFailed, StillPending
from datamigrate.words.events import BatchDone, Event, Failed, Retrying, Stopped
from places import STEP, places
from workbench import (
    BATCH,
    COMMITTED,
    DOUBLED,
    FORMS,
    HOME,
    Bench,
    age_claim,
    at_every_step,
    each_batch,
    opened,
    with_settings,
)

pytestmark = pytest.mark.anyio

ROWS = 3 * BATCH
PASSING = {
    "deadlock": ("40P01", sqlite3.SQLITE_BUSY),
    "serialization failure": ("40001", sqlite3.SQLITE_BUSY_SNAPSHOT),
    "lock timeout": ("55P03", sqlite3.SQLITE_LOCKED),
}


class DriversError(Exception):
    """What a driver raises, with the codes of both databases."""

    def __init__(self, sqlstate: str, sqlite_errorcode: int = sqlite3.SQLITE_ERROR) -> None:
        super().__init__(f"injected {sqlstate}")
        self.sqlstate = sqlstate
        self.sqlite_errorcode = sqlite_errorcode


def fill(bench: Bench, rows: int = ROWS) -> None:
    bench.table(rows=((i,) for i in range(1, rows + 1)))
    bench.database.execute("CREATE TABLE copied (serial INTEGER)")


def failing_at(fails: Callable[[str], bool], sqlstate: str, code: int) -> Callable[[Database], None]:
    """Let the statements that `fails` picks fail with this error."""

    def meddle(database: Database) -> None:
        def before(_c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
            if fails(statement):
                raise sa.exc.DBAPIError(statement, parameters, DriversError(sqlstate, code))

        event.listen(database.engine.sync_engine, "before_cursor_execute", before)

    return meddle


def nth(n: int, beginning: str) -> Callable[[str], bool]:
    """Picks the n-th statement (from 1) that begins like this."""
    count = 0

    def picks(statement: str) -> bool:
        nonlocal count
        count += statement.startswith(beginning)
        return count == n and statement.startswith(beginning)

    return picks


@pytest.mark.parametrize("fault", PASSING)
@pytest.mark.parametrize("form", FORMS)
async def test_a_passing_fault_is_tried_again_and_counted_once(bench: Bench, form: str, fault: str) -> None:
    fill(bench)
    beginning = "DELETE FROM item" if form == "delete" else "UPDATE item"
    ran = await bench.run(bench.script(FORMS[form]), meddle=failing_at(nth(2, beginning), *PASSING[fault]))
    assert ran.outcome == "done", ran.result
    assert len(ran.of(Retrying)) == 1
    bench.assert_done(ROWS)


class Saboteur:
    """Does something at the n-th step of a run, counted from the claim on."""

    def __init__(self, act: Callable[[], None], only: Callable[[str], bool]) -> None:
        self.act = act
        self.only = only
        self.at = 0
        self.seen = 0

    def aim(self, at: int) -> None:
        """Begin to count for another run."""
        self.at, self.seen, self.has_begun = at, 0, False

    def __call__(self, step: str) -> None:
        self.has_begun = self.has_begun or step.startswith("INSERT INTO datamigrate_migration")
        if self.has_begun and self.only(step):
            self.seen += 1
            if self.seen == self.at:
                self.act()


async def sabotage_steps(
    bench: Bench, form: str, saboteur: Callable[[Database], Saboteur], places: Iterable[int]
) -> int:
    """Run with the step at the first of the places sabotaged, then at the second, and so on; how many steps there are."""
    fill(bench, BATCH + 1)
    script = bench.script(FORMS[form])
    async with opened(bench.database) as database:
        villain = saboteur(database)
        at_every_step(database, villain)
        for at in places:
            villain.aim(at)
            ran = await bench.run_on(database, script, wait=False)
            assert ran.outcome == "done", (at, ran.result)
            bench.assert_done(BATCH + 1)
            if villain.seen < at:
                return villain.seen
            bench.database.script(
                "DELETE FROM datamigrate_range; DELETE FROM datamigrate_migration; DELETE FROM item;"
            )
            bench.fill((i,) for i in range(1, BATCH + 2))
            bench.database.script("DELETE FROM written; DELETE FROM copied")
    raise AssertionError("each of the steps was sabotaged")


@pytest.mark.parametrize("form", ["compute", "free"])
async def test_a_passing_fault_at_any_statement_of_the_work_is_tried_again(bench: Bench, form: str) -> None:
    def deadlock() -> None:
        raise sa.exc.DBAPIError("", {}, DriversError(*PASSING["deadlock"]))

    def saboteur(_database: Database) -> Saboteur:
        return Saboteur(deadlock, only=lambda step: step not in (COMMIT, COMMITTED))

    assert await sabotage_steps(bench, form, saboteur, places(STEP)) > 10


@pytest.mark.parametrize("form", FORMS)
async def test_a_commit_whose_answer_is_lost_is_looked_into_and_not_done_again(
    postgres_bench: Bench, form: str
) -> None:
    def saboteur(database: Database) -> Saboteur:
        def lose_answer() -> None:
            cut_others(postgres_bench.database)
            driver = database.engine.sync_engine.dialect.loaded_dbapi
            assert driver is not None
            raise with_state("08006", driver.OperationalError("the answer is lost"))

        return Saboteur(lose_answer, only=lambda step: step == COMMITTED)

    assert await sabotage_steps(postgres_bench, form, saboteur, count(1)) > 3


async def test_a_connection_cut_before_any_statement_or_commit_is_made_again(
    postgres_bench: Bench,
) -> None:
    def saboteur(_database: Database) -> Saboteur:
        return Saboteur(lambda: cut_others(postgres_bench.database), only=lambda step: step != COMMITTED)

    assert await sabotage_steps(postgres_bench, "compute", saboteur, places(STEP)) > 10


def with_state(sqlstate: str, error: Exception) -> Exception:
    error.sqlstate = sqlstate  # type: ignore[attr-defined]
    return error


def cut_others(database: ScratchDatabase) -> None:
    """End every connection that the runner has to the database."""
    database.scalar(
        "SELECT count(pg_terminate_backend(pid, 1000)) FROM pg_stat_activity "
        "WHERE datname = current_database() AND application_name = 'datamigrate'"
    )


async def test_our_own_backend_ended_in_the_middle_of_a_batch_costs_a_retry_only(
    postgres_bench: Bench,
) -> None:
    bench, calls = postgres_bench, 0
    fill(bench)

    async def double(batch: Batch) -> None:
        nonlocal calls
        calls += 1
        await batch.execute(DOUBLED.where(batch.rows))
        if calls == 2:
            await batch.execute(sa.select(sa.func.pg_terminate_backend(sa.func.pg_backend_pid())))

    ran = await bench.run(bench.form(each_batch(double)))
    assert ran.outcome == "done", ran.result
    assert len(ran.of(Retrying)) == 1
    bench.assert_done(ROWS)


async def test_retries_are_bounded_and_what_was_done_before_is_kept(bench: Bench) -> None:
    fill(bench)
    updates = 0

    def after_the_first(statement: str) -> bool:
        nonlocal updates
        updates += statement.startswith("UPDATE item")
        return statement.startswith("UPDATE item") and updates > 1

    ran = await bench.run(
        bench.script(FORMS["update"]),
        settings=with_settings(max_attempts=4),
        meddle=failing_at(after_the_first, *PASSING["deadlock"]),
    )
    assert ran.outcome == "failed"
    assert updates == 1 + 4
    assert len(ran.of(Failed)) == 1
    assert (bench.standing().state, bench.standing().rows) == ("failed", BATCH)
    assert bench.standing().owner is None
    assert bench.written() == list(range(BATCH))


@pytest.mark.parametrize("fault", ["deadlock", "away"])
async def test_a_stop_is_heard_between_two_tries_and_ends_them(
    bench: Bench, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for wait in ("SHORTEST", "LONGEST"):
        monkeypatch.setattr(f"datamigrate.doing.persisting.{wait}", 3600.0)
    fill(bench)
    stop, is_ill = Stop(), False

    def fall_ill_and_stop(told: Event) -> None:
        nonlocal is_ill
        is_ill = is_ill or isinstance(told, BatchDone)
        if isinstance(told, Retrying):
            stop.request("SIGTERM")

    def meddle(database: Database) -> None:
        if fault == "deadlock":
            failing_at(lambda said: is_ill and said.startswith("UPDATE item"), *PASSING["deadlock"])(database)
            return

        def refuse(*_: Any) -> None:
            if is_ill:
                raise ConnectionRefusedError("nobody is there")

        event.listen(database.engine.sync_engine.pool, "checkout", refuse)

    with anyio.fail_after(120):
        ran = await bench.run(
            bench.script(FORMS["update"]), stop=stop, meddle=meddle, listen=fall_ill_and_stop
        )
    assert ran.outcome == "stopped", ran.result
    assert len(ran.of(Retrying)) == 1
    (stopped,) = ran.of(Stopped)
    assert stopped.reason.startswith("SIGTERM, before another try after: ")
    assert stopped.reason == ran.result.reason
    assert (stopped.rows, stopped.then) == (BATCH, "run again to go on")
    # the claim is given back, if the database still listens
    standing = bench.standing()
    assert (standing.state, standing.owner is None) == (
        ("stopped", True) if fault == "deadlock" else ("running", False)
    )
    assert bench.written() == list(range(BATCH))
    if fault == "away":
        age_claim(bench.database)
    again = await bench.run(bench.script(FORMS["update"]))
    assert again.outcome == "done", again.result
    bench.assert_done(ROWS)


@pytest.mark.parametrize("form", FORMS)
async def test_a_lasting_error_stops_with_the_key_and_the_next_run_goes_on_at_that_row(
    bench: Bench, form: str
) -> None:
    fill(bench)
    bench.database.script(forbid(bench.database.dialect, serial=BATCH + 1))
    script = bench.script(FORMS[form])
    ran = await bench.run(script)
    error = ran.result.error
    assert isinstance(error, BatchFailed)
    assert "not this one" in error.message
    # a free form has no smaller batches
    kept, batches = (BATCH, 1) if form == "free" else (BATCH + 1, 2)
    assert f"what was done before it is kept: {kept:,} rows" in error.message
    assert "`datamigrate run job` goes on" in error.hint
    if form != "free":
        assert f"job: Row {BATCH + 2}: the database says: not this one" in error.message
    assert bench.written() == list(range(kept))
    standing = bench.standing()
    assert (standing.state, standing.rows, standing.batches, standing.owner) == (
        "failed",
        kept,
        batches,
        None,
    )

    bench.database.script(allow(bench.database.dialect))
    again = await bench.run(script)
    assert again.outcome == "done", again.result
    assert again.of(BatchDone)[0].batch == batches + 1
    bench.assert_done(ROWS)


READING_A_TEXT = (
    HOME
    + """
@compute_rows(item, pending=pending, reads=[item.c.old], writes=[item.c.new], on_row_error="quarantine")
{function}
"""
)
READERS = {
    "of a row": 'def migrate(row): return {"new": 1}',
    "of a batch": 'def migrate(rows): return [{"new": 1} for _ in rows]',
    "asynchronous": 'async def migrate(row): return {"new": 1}',
}


@pytest.mark.parametrize("function", READERS)
async def test_a_text_that_is_no_utf_8_is_blamed_on_its_row_on_sqlite(
    sqlite_bench: Bench, function: str
) -> None:
    fill(sqlite_bench)
    sqlite_bench.database.script(f"UPDATE item SET old = CAST(x'fffe41' AS TEXT) WHERE serial = {BATCH + 1}")
    script = sqlite_bench.script(READING_A_TEXT.format(function=READERS[function]))
    ran = await sqlite_bench.run(script)
    assert ran.outcome == "done", ran.result
    assert sqlite_bench.database.rows("SELECT serial FROM item WHERE new IS NULL") == [(BATCH + 1,)]


def forbid(dialect: str, serial: int) -> str:
    if dialect == "sqlite":
        return "".join(
            f"CREATE TRIGGER forbid_{verb.lower()} BEFORE {verb} ON item WHEN OLD.serial = {serial} "
            "BEGIN SELECT RAISE(ABORT, 'not this one'); END;"
            for verb in ("UPDATE", "DELETE")
        )
    return (
        "CREATE FUNCTION forbid() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'not this one'; END $$;"
        f"CREATE TRIGGER forbid BEFORE UPDATE OR DELETE ON item FOR EACH ROW WHEN (OLD.serial = {serial}) "
        "EXECUTE FUNCTION forbid();"
    )


def allow(dialect: str) -> str:
    if dialect == "sqlite":
        return "DROP TRIGGER forbid_update; DROP TRIGGER forbid_delete"
    return "DROP TRIGGER forbid ON item"


async def test_a_compute_function_that_raises_stops_with_the_key_of_its_row(bench: Bench) -> None:
    fill(bench)
    body = FORMS["compute"].replace(
        'return {"new": row.old * 2}',
        'return {"new": row.old * 2 // (row.old != 6)}',  # serial 6, in the second batch
    )
    ran = await bench.run(bench.script(body))
    error = ran.result.error
    assert isinstance(error, BatchFailed)
    assert "Row 7: migrate() raised ZeroDivisionError" in error.message
    assert "20260101_0000_job.py:" in error.message
    assert bench.written() == list(range(6)), "the rows of its batch before it are kept"
    mended = bench.script(FORMS["compute"])
    again = await bench.run(mended)
    assert again.outcome == "done", again.result
    bench.assert_done(ROWS)


async def test_a_stop_is_heard_between_two_halvings(postgres_bench: Bench) -> None:
    bench, stop = postgres_bench, Stop()
    fill(bench)

    async def slow(batch: Batch) -> None:
        await batch.execute(sa.text("SELECT pg_sleep(10)"))

    def stop_at_the_first(event: Event) -> None:
        if isinstance(event, Retrying):
            stop.request("enough")

    settings = with_settings(timeouts=Timeouts(lock=5.0, statement=0.1))
    ran = await bench.run(
        bench.form(each_batch(slow)), settings=settings, listen=stop_at_the_first, stop=stop
    )
    assert (ran.outcome, ran.result.reason) == ("stopped", "enough")
    assert len(ran.of(Retrying)) == 1


async def test_a_statement_timeout_halves_the_batch_until_it_fits(postgres_bench: Bench) -> None:
    bench = postgres_bench
    fill(bench)
    sizes: list[int] = []

    async def slow_for_many(batch: Batch) -> None:
        done = await batch.execute(DOUBLED.where(batch.rows))
        sizes.append(done.rowcount)
        if done.rowcount > 1:
            await batch.execute(sa.select(sa.func.pg_sleep(30)))

    settings = with_settings(timeouts=Timeouts(lock=5.0, statement=0.1), limits=Limits(600, 1, 2))
    ran = await bench.run(bench.form(each_batch(slow_for_many)), settings=settings)
    assert ran.outcome == "done", ran.result
    assert set(sizes) == {1, 2}
    bench.assert_done(ROWS)


async def test_a_single_row_that_times_out_ends_the_run_and_does_not_loop(postgres_bench: Bench) -> None:
    bench = postgres_bench
    fill(bench)
    sizes: list[int] = []

    async def always_slow(batch: Batch) -> None:
        sizes.append((await batch.execute(DOUBLED.where(batch.rows))).rowcount)
        await batch.execute(sa.select(sa.func.pg_sleep(30)))

    settings = with_settings(timeouts=Timeouts(lock=5.0, statement=0.05))
    ran = await bench.run(bench.form(each_batch(always_slow)), settings=settings)
    assert ran.outcome == "failed"
    assert sizes == [4, 2, 1]
    error = ran.result.error
    assert isinstance(error, BatchFailed)
    assert "Even a batch of one row takes longer than statement_timeout (0.05s)" in error.message
    assert "canceling statement due to statement timeout (key <= 1)" in error.message
    assert "statement_timeout in [tool.datamigrate]" in error.hint
    assert bench.written() == []
    assert bench.standing().state == "failed"
    assert bench.database.rows("SELECT size, span FROM datamigrate_range") == [(1, 1)]


async def test_a_batch_is_halved_as_often_as_it_takes_and_the_next_run_begins_with_what_fitted(
    postgres_bench: Bench,
) -> None:
    bench = postgres_bench
    fill(bench)
    sizes: list[int] = []

    async def slow_for_many(batch: Batch) -> None:
        done = await batch.execute(DOUBLED.where(batch.rows))
        sizes.append(done.rowcount)
        if batch.number == 1:
            await batch.execute(sa.select(sa.func.pg_sleep(30)))

    settings = with_settings(
        first_rows=4096,
        limits=Limits(600, 1, 4096),
        max_attempts=3,
        timeouts=Timeouts(lock=5.0, statement=0.1),
    )
    ran = await bench.run(bench.form(each_batch(slow_for_many)), settings=settings)
    assert ran.outcome == "failed"
    assert sizes == [12] * 9 + [8, 4, 2, 1]  # 4096 down to 16 are all there are
    assert bench.database.rows("SELECT size FROM datamigrate_range") == [(1,)]

    async def quick(batch: Batch) -> None:
        sizes.append((await batch.execute(DOUBLED.where(batch.rows))).rowcount)

    sizes.clear()
    again = await bench.run(bench.form(each_batch(quick)), settings=settings)
    assert again.outcome == "done", again.result
    assert sizes[0] == 1
    bench.assert_done(ROWS)


@pytest.mark.parametrize("form", ["update", "compute"])
async def test_a_query_for_the_batchs_end_that_takes_too_long_looks_at_fewer_keys(
    postgres_bench: Bench, form: str
) -> None:
    bench = postgres_bench
    fill(bench, 64)
    # each key that is looked at costs 20 ms
    bench.database.script(
        "CREATE FUNCTION slowly(n integer) RETURNS integer LANGUAGE plpgsql VOLATILE COST 1 AS "
        "$$ BEGIN PERFORM pg_sleep(0.02); RETURN n; END $$;"
    )
    pending = "pending = item.c.new.is_(None)"
    assert pending in FORMS[form]
    script = bench.script(FORMS[form].replace(pending, f"{pending} & (sa.func.slowly(item.c.id) > 0)"))
    settings = with_settings(
        first_rows=64, limits=Limits(600, 1, 64), timeouts=Timeouts(lock=5.0, statement=0.5)
    )
    ran = await bench.run(script, settings=settings)
    assert ran.outcome == "done", ran.result
    retried = [event.reason for event in ran.of(Retrying)]
    assert retried
    assert all("statement timeout (try again with less)" in reason for reason in retried)
    bench.assert_done(64)


async def test_a_lock_held_by_somebody_else_is_waited_for(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datamigrate.database.dialects.sqlite.BUSY_TIMEOUT", 0.02)
    fill(bench)

    with bench.database.engine.connect() as other:

        def lock_and_let_go(event: object) -> None:
            if isinstance(event, BatchDone) and event.batch == 1:
                other.execute(sa.text("UPDATE item SET old = old WHERE serial = 5"))
            if isinstance(event, Retrying):
                other.rollback()

        ran = await bench.run(
            bench.script(FORMS["update"]),
            settings=with_settings(timeouts=Timeouts(lock=0.02, statement=30.0)),
            listen=lock_and_let_go,
        )
    assert ran.outcome == "done", ran.result
    (retrying,) = ran.of(Retrying)
    assert re.search(r"lock.* \(try again for the lock, 1 of \d+\)$", retrying.reason)
    bench.assert_done(ROWS)


async def test_an_update_that_leaves_its_rows_pending_fails_in_the_first_batch(bench: Bench) -> None:
    fill(bench)
    bench.database.script("UPDATE item SET old = NULL WHERE serial = 2; DELETE FROM written")
    ran = await bench.run(bench.script(FORMS["update"]))
    assert isinstance(ran.result.error, StillPending)
    assert "1 of 4 rows are still pending" in ran.result.error.message
    assert "(keys 3)" in ran.result.error.message
    assert bench.written() == []


async def test_a_cancelled_run_rolls_its_batch_back_and_gives_its_claim_back(bench: Bench) -> None:
    fill(bench)
    endless = (
        "SELECT pg_sleep(3600)"
        if bench.database.dialect == "postgresql"
        else "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    )
    with anyio.CancelScope() as scope:

        async def cancelled_in_the_second(batch: Batch) -> None:
            await batch.execute(DOUBLED.where(batch.rows))
            if batch.number == 2:
                asyncio.get_running_loop().call_later(0.1, scope.cancel)
                await batch.execute(sa.text(endless))

        await bench.run(bench.form(each_batch(cancelled_in_the_second)))
    assert scope.cancelled_caught
    standing = bench.standing()
    assert (standing.state, standing.rows, standing.owner) == ("stopped", BATCH, None)
    assert bench.written() == list(range(BATCH))

    async def double(batch: Batch) -> None:
        await batch.execute(DOUBLED.where(batch.rows))

    again = await bench.run(bench.form(each_batch(double)))
    assert again.outcome == "done", again.result
    bench.assert_done(ROWS)
