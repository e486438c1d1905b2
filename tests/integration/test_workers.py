"""Several workers on one migration: ranges are cut, shared, taken over and folded, and every row is written once."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import anyio
import pytest
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.util import await_only

import datamigrate
from datamigrate.authoring.batch import Batch
from datamigrate.authoring.forms import EachBatch, Form
from datamigrate.database.database import Database
from datamigrate.database.keyset import Keyset
from datamigrate.database.ledger.store import Held, Ledger
from datamigrate.doing.dividing import divide
from datamigrate.doing.effort import Workplace
from datamigrate.doing.owner import is_gone, is_same_process, this_process, worker_of
from datamigrate.doing.runner import Report, run_plan
from datamigrate.doing.settings import Budget
from datamigrate.doing.stopping import Stop
from datamigrate.doing.working import work_for
from datamigrate.thought.pacing import Limits
from datamigrate.thought.planner import Action, Plan, Step
from datamigrate.words.claim import Claim
from datamigrate.words.events import Alone, BatchDone, Event, Finished, Started, Stopped, Sweeping, Waiting
from datamigrate.words.migration import Bounds, Key
from workbench import (
    ANN,
    BATCH,
    BOB,
    DOUBLED,
    FORMS,
    HOME,
    ITEM,
    PENDING,
    Bench,
    Ran,
    at_every_step,
    doubling,
    each_batch,
    migration,
    opened,
    with_settings,
)

pytestmark = pytest.mark.anyio

ROWS = 40 * BATCH
THREE = with_settings(workers=3)


def fill(bench: Bench, rows: int = ROWS) -> None:
    bench.table(rows=((3 * i,) for i in range(rows)))
    bench.database.execute("CREATE TABLE copied (serial INTEGER)")


def ranges_of(heard: Sequence[Event]) -> set[int]:
    return {event.range for event in heard if isinstance(event, BatchDone)}


@pytest.mark.parametrize("form", ["update", "compute", "each batch", "delete"])
async def test_three_workers_write_every_row_once_and_leave_one_range(
    postgres_bench: Bench, form: str
) -> None:
    bench = postgres_bench
    fill(bench)
    ran = await bench.run(bench.script(FORMS[form]), settings=THREE)
    assert ran.outcome == "done", ran.result
    assert len(ranges_of(ran.events)) >= 3
    assert len(ran.of(Started)) == len(ran.of(Finished)) == 1
    assert ran.of(Finished)[0].rows == max(batch.total for batch in ran.of(BatchDone)) == ROWS
    bench.assert_done(ROWS)
    if form == "each batch":
        assert bench.database.scalar("SELECT count(DISTINCT serial) FROM copied") == ROWS
        assert bench.database.scalar("SELECT count(*) FROM copied") == ROWS


async def test_on_sqlite_one_worker_does_it_and_says_why(sqlite_bench: Bench) -> None:
    fill(sqlite_bench)
    ran = await sqlite_bench.run(sqlite_bench.script(FORMS["update"]), settings=THREE)
    assert ran.outcome == "done", ran.result
    assert [alone.workers for alone in ran.of(Alone)] == [3]
    assert ranges_of(ran.events) == {0}


async def test_a_free_form_is_one_range_however_many_workers_there_are(postgres_bench: Bench) -> None:
    fill(postgres_bench, 3 * BATCH)
    ran = await postgres_bench.run(postgres_bench.script(FORMS["free"]), settings=THREE)
    assert ran.outcome == "done", ran.result
    assert ranges_of(ran.events) == {0}


async def test_rows_that_arrive_behind_the_walk_are_swept_by_all_workers(postgres_bench: Bench) -> None:
    bench = postgres_bench
    fill(bench)
    arrived = False

    def arrive(event: Event) -> None:
        nonlocal arrived
        if isinstance(event, BatchDone) and not arrived:
            arrived = True
            bench.database.execute(f"INSERT INTO item (serial, old, id) VALUES ({ROWS}, 1, -5)")

    ran = await bench.run(bench.form(doubling()), settings=THREE, listen=arrive)
    assert ran.outcome == "done", ran.result
    assert len(ran.of(Sweeping)) == 1
    bench.assert_done(ROWS + 1)


async def test_a_worker_that_was_about_to_claim_when_another_failed_does_not_take_that_back(
    postgres_bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = postgres_bench
    fill(bench)
    claim, leave = Ledger.claim, Ledger.leave
    is_led, is_wanted, is_told = False, anyio.Event(), anyio.Event()

    async def late(self: Ledger, *arguments: Any) -> Any:
        nonlocal is_led
        if is_led:
            is_wanted.set()
            with anyio.fail_after(20):
                await is_told.wait()
        is_led = True
        return await claim(self, *arguments)

    async def telling(self: Ledger, *arguments: Any) -> Any:
        state = await leave(self, *arguments)
        is_told.set()
        return state

    async def fail(batch: Batch) -> None:
        await is_wanted.wait()
        raise ValueError("poison")

    monkeypatch.setattr(Ledger, "claim", late)
    monkeypatch.setattr(Ledger, "leave", telling)
    ran = await bench.run(bench.form(each_batch(fail)), settings=THREE)
    assert ran.outcome == "failed"
    assert bench.database.rows("SELECT state FROM datamigrate_migration") == [("failed",)]


async def test_the_failure_of_one_worker_stops_the_others_and_keeps_what_is_done(
    postgres_bench: Bench,
) -> None:
    bench = postgres_bench
    fill(bench)
    mended = False

    async def double(batch: Batch) -> None:
        await batch.execute(DOUBLED.where(batch.rows))
        if not mended and batch.lower is not None and batch.lower[0] >= 3 * ROWS // 2:
            raise ValueError("poison")

    script = bench.form(each_batch(double))
    ran = await bench.run(script, settings=THREE)
    assert ran.outcome == "failed"
    assert "poison" in str(ran.result.error)
    found = bench.database.rows(
        "SELECT m.state, count(*), count(r.owner), sum(r.rows) FROM datamigrate_migration m "
        "JOIN datamigrate_range r ON r.migration = m.name GROUP BY m.state"
    )
    ((state, ranges, owners, rows),) = found
    assert (state, ranges >= 3, owners) == ("failed", True, 0)
    assert len(bench.written()) == rows < ROWS
    mended = True
    again = await bench.run(script, settings=THREE)
    assert again.outcome == "done", again.result
    bench.assert_done(ROWS)


async def test_a_stop_stops_all_workers_and_one_worker_can_finish_alone(postgres_bench: Bench) -> None:
    bench = postgres_bench
    fill(bench)
    ran = await bench.run(bench.form(doubling()), settings=THREE, max_batches=5)
    assert ran.outcome == "stopped", ran.result
    assert bench.database.rows("SELECT DISTINCT state FROM datamigrate_migration") == [("stopped",)]
    assert bench.database.scalar("SELECT count(owner) FROM datamigrate_range") == 0
    again = await bench.run(bench.form(doubling()))
    assert again.outcome == "done", again.result
    bench.assert_done(ROWS)


async def test_a_stop_is_told_when_the_last_worker_has_left_with_all_that_was_done(
    postgres_bench: Bench,
) -> None:
    bench = postgres_bench
    fill(bench)

    async def the_first_takes_longer(batch: Batch) -> None:
        await batch.execute(DOUBLED.where(batch.rows))
        if batch.lower is None:
            await anyio.sleep(0.5)

    ran = await bench.run(bench.form(each_batch(the_first_takes_longer)), settings=THREE, max_batches=5)
    (told,) = ran.of(Stopped)
    assert (
        told.rows == bench.database.scalar("SELECT sum(rows) FROM datamigrate_range") == len(bench.written())
    )
    assert ran.events[-1] is told


async def test_two_runs_join_and_neither_waits_for_the_other(postgres_bench: Bench) -> None:
    """As from two hosts: each has its own owner, engine and ledger."""
    bench = postgres_bench
    fill(bench)
    met = {ANN.user: anyio.Event(), BOB.user: anyio.Event()}
    ran: dict[str, Any] = {}

    async def run(me: Any, other: Any) -> None:
        async def double(batch: Batch) -> None:
            met[me.user].set()
            # nobody gets past the first batch before both are at work
            await met[other.user].wait()
            await batch.execute(DOUBLED.where(batch.rows))

        ran[me.user] = await bench.run(bench.form(each_batch(double)), owner=me)

    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            group.start_soon(run, ANN, BOB)
            await anyio.sleep(0.3)
            group.start_soon(run, BOB, ANN)
    assert {who: one.outcome for who, one in ran.items()} == {"ann": "done", "bob": "done"}
    assert all(one.of(BatchDone) for one in ran.values())
    bench.assert_done(ROWS)


async def run_while_bob_cuts(bench: Bench, key: int) -> tuple[Ran, int]:
    """A run whose range Bob cuts at this key as soon as the first batch is under way, and how many updates it took."""
    updates = 0

    def count_and_cut(database: Database) -> None:
        def react(statement: str) -> None:
            nonlocal updates
            if statement.startswith("UPDATE item"):
                updates += 1
                if updates == 1:
                    await_only(cut())

        at_every_step(database, react)

    async def cut() -> None:
        async with opened(bench.database) as database, database.writing() as connection:
            held = await Ledger(BOB).claim(connection, migration(), expiry=30)
            (it,) = held.ranges  # type: ignore[union-attr] # somebody is at work, so it is held
            assert await Ledger(BOB).cut(connection, "job", it, [(key,)])

    return await bench.run(bench.form(doubling()), meddle=count_and_cut), updates


async def test_a_range_that_is_cut_under_a_batch_makes_the_batch_smaller(postgres_bench: Bench) -> None:
    bench = postgres_bench
    fill(bench, 3 * BATCH)
    ran, updates = await run_while_bob_cuts(bench, 3)
    assert ran.outcome == "done", ran.result
    assert next(batch.rows for batch in ran.of(BatchDone)) == 2
    assert updates == len(ran.of(BatchDone)) + 1
    assert ranges_of(ran.events) == {0, 1}
    bench.assert_done(3 * BATCH)


@pytest.mark.parametrize("key", [3 * (BATCH - 1), 3 * BATCH])
async def test_a_batch_that_ends_before_the_cut_or_at_it_is_kept(postgres_bench: Bench, key: int) -> None:
    bench = postgres_bench
    fill(bench, 3 * BATCH)
    ran, updates = await run_while_bob_cuts(bench, key)
    assert ran.outcome == "done", ran.result
    assert next(batch.rows for batch in ran.of(BatchDone)) == BATCH
    assert updates == len(ran.of(BatchDone))
    assert ranges_of(ran.events) == {0, 1}
    bench.assert_done(3 * BATCH)


async def test_no_batch_is_done_in_vain_when_workers_share(postgres_bench: Bench) -> None:
    """The first third takes its time, so that the others are soon through and ask for a part of it."""
    bench = postgres_bench
    fill(bench)
    tried = 0

    async def double(batch: Batch) -> None:
        nonlocal tried
        tried += 1
        await batch.execute(DOUBLED.where(batch.rows))
        if batch.lower is None or batch.lower[0] < ROWS:
            await anyio.sleep(0.05)

    ran = await bench.run(bench.form(each_batch(double)), settings=THREE)
    assert ran.outcome == "done", ran.result
    assert len(ranges_of(ran.events)) > 3
    assert tried == len(ran.of(BatchDone))
    bench.assert_done(ROWS)


@pytest.mark.parametrize("key", [12, 30])
async def test_who_looks_for_a_row_at_fault_leaves_alone_what_is_cut_off_meanwhile(
    postgres_bench: Bench, key: int
) -> None:
    """Of sixteen rows the one with the id 42 fails. While the first eight, up to the id 21, are done, the range is cut
    within them or behind them, and Bob has the rest."""
    bench = postgres_bench
    fill(bench, 16 * BATCH)
    script = bench.form(
        datamigrate.update_rows(
            ITEM, pending=PENDING, values={ITEM.c.new: 100 / (ITEM.c.serial - 14)}, on_row_error="quarantine"
        )
    )
    updates = 0

    def cut_it(database: Database) -> None:
        def react(statement: str) -> None:
            nonlocal updates
            updates += statement.startswith("UPDATE item")
            if statement.startswith("UPDATE item") and updates == 2:
                await_only(cut())

        at_every_step(database, react)

    async def cut() -> None:
        async with opened(bench.database) as database, database.writing() as connection:
            held = await Ledger(BOB).claim(connection, script.migration, expiry=30)
            (it,) = held.ranges  # type: ignore[union-attr] # somebody is at work, so it is held
            assert await Ledger(BOB).cut(connection, "job", it, [(key,)])
            assert isinstance(await Ledger(BOB).claim(connection, script.migration, expiry=30), Claim)

    whole = with_settings(first_rows=16, limits=Limits(target_time=600, max_rows=16))
    with anyio.move_on_after(3):  # it waits for Bob in the end
        await bench.run(script, settings=whole, meddle=cut_it)
    assert max(bench.written()) <= key // 3
    assert bench.database.rows("SELECT key FROM datamigrate_quarantine") == []


async def test_a_range_to_be_cut_is_seen_where_its_owner_is_by_now(postgres_bench: Bench) -> None:
    bench = postgres_bench
    fill(bench)
    async with opened(bench.database) as database, database.writing() as connection:
        ann = Ledger(ANN)
        await ann.ensure(connection)
        await ann.enrol(connection, migration())
        claim = await ann.claim(connection, migration(), expiry=30)
        assert isinstance(claim, Claim)
        claim = await ann.begin_walk(connection, replace(claim, upper=(100,)))
        held = await Ledger(BOB).claim(connection, migration(), expiry=30)
        assert isinstance(held, Held)
        (it,) = held.ranges
        await ann.checkpoint(connection, replace(claim, cursor=(9,), size=7, span=8), 0.0)
        now = replace(it, cursor=(9,), size=7, span=8)
        assert await Ledger(BOB).held_still(connection, "job", it) == now
        assert await ann.reclaim(connection, claim)
        assert await Ledger(BOB).held_still(connection, "job", it) is None


async def test_the_range_of_a_worker_that_vanished_is_taken_over(postgres_bench: Bench) -> None:
    bench = postgres_bench
    fill(bench)
    ran = await bench.run(bench.form(doubling()), settings=THREE, max_batches=4, owner=ANN)
    assert ran.outcome == "stopped"
    async with opened(bench.database) as database, database.writing() as connection:
        claim = await Ledger(ANN).claim(connection, migration(), expiry=30)
    assert claim is not None
    bench.database.execute(
        "UPDATE datamigrate_range SET heartbeat = heartbeat - interval '1 hour' WHERE owner IS NOT NULL"
    )
    again = await bench.run(bench.form(doubling()), owner=BOB, settings=THREE)
    assert again.outcome == "done", again.result
    assert again.of(Waiting) == []
    bench.assert_done(ROWS)


SLOW = """
import os
import time

@compute_rows(item, pending=pending, reads=[item.c.old, item.c.serial], writes=[item.c.new])
def migrate(row):
    time.sleep(0.001)
    if row.serial == {poison}:
        raise ValueError(f"poison of process {{os.getpid()}}")
    return {{"new": row.old * 2}}
"""


async def test_a_slow_function_is_called_in_processes_of_its_own(postgres_bench: Bench) -> None:
    bench = postgres_bench
    fill(bench)
    ran = await bench.run(bench.script(HOME + SLOW.format(poison=3 * ROWS // 4)), settings=THREE)
    told = str(ran.result.error)
    assert ran.outcome == "failed"
    assert f"poison of process {os.getpid()}" not in told
    assert f"Row {9 * ROWS // 4}: migrate() raised ValueError: poison of process" in told
    assert re.search(r"at .*job\.py:\d+", told)
    again = await bench.run(bench.script(HOME + SLOW.format(poison=-1)), settings=THREE)
    assert again.outcome == "done", again.result
    assert bench.wrong() == []
    bench.assert_done(ROWS)


# cutting --------------------------------------------------------------------------------------------------


async def parts_of(bench: Bench, parts: int, least: int = 1) -> list[int]:
    """How many rows each part of the whole table has."""
    form = doubling()
    async with opened(bench.database) as database:
        work: Any = await work_for(database, bench.form(form))
        async with database.looking() as connection:
            upper = await work.find_upper(connection)
            division = await work.divide(connection, Bounds(None, upper), parts, least)
    ends: list[Key] = [(-1,), *division.points, upper]
    return [
        int(bench.database.scalar(f"SELECT count(*) FROM item WHERE id > {a[0]} AND id <= {b[0]}"))
        for a, b in pairwise(ends)
    ]


@pytest.mark.parametrize("parts", [2, 3, 8])
async def test_parts_are_balanced_within_a_fifth_however_the_keys_are_spread(
    postgres_bench: Bench, parts: int
) -> None:
    bench = postgres_bench
    bench.table()
    rows = 300_000
    bench.database.execute(
        "INSERT INTO item (serial, old, id) SELECT i, i % 97, CASE WHEN i % 2 = 0 THEN i ELSE 1000 + 7 * i END * 2 + i % 2 "
        f"FROM generate_series(1, {rows}) i"
    )
    sizes = await parts_of(bench, parts)
    assert sum(sizes) == rows
    assert len(sizes) == parts
    assert max(sizes) < 1.2 * rows / parts
    assert min(sizes) > 0.8 * rows / parts


async def test_a_slice_is_not_cut_into_parts_that_are_too_small(postgres_bench: Bench) -> None:
    fill(postgres_bench, 100)
    assert len(await parts_of(postgres_bench, 8, least=50)) == 2
    assert len(await parts_of(postgres_bench, 8, least=51)) == 1


async def test_parts_are_in_order_however_few_keys_were_sampled() -> None:
    """Of a table with many empty pages the sample may find three rows where twenty are thought to be."""

    class Sampled:
        async def sample_of(self, *_: Any) -> tuple[sa.TableClause, float]:
            return ITEM, 0.1

        async def execute(self, _: Any) -> list[tuple[int, int]]:
            return [(3, 3), (6, 3), (9, 3)]

    found: Any = Sampled()
    keyset = Keyset(ITEM, ("id",), (sa.Integer(),))
    division = await divide(found, found, keyset, Bounds(None, (12,)), parts=16, least=1)
    assert division.points == ((3,), (6,))
    assert division.rows == 30


async def test_a_text_key_and_a_composite_key_are_cut_as_well(postgres_bench: Bench) -> None:
    bench = postgres_bench
    bench.table("tenant TEXT, id INTEGER, PRIMARY KEY (tenant, id)", ((f"t{i % 7}", i) for i in range(ROWS)))
    body = FORMS["update"]
    ran = await bench.run(bench.script(body), settings=THREE)
    assert ran.outcome == "done", ran.result
    assert len(ranges_of(ran.events)) >= 3
    bench.assert_done(ROWS)


# several migrations ---------------------------------------------------------------------------------------


async def run_both(
    bench: Bench,
    forms: dict[str, Form],
    depends_on: tuple[str, ...] = (),
    workers: int = 2,
    connections: int = 5,
    opens: Callable[..., None] = lambda *_: None,
) -> tuple[Report, list[Event]]:
    heard: list[Event] = []
    scripts = {}
    for name, form in forms.items():
        one = replace(
            bench.form(form),
            migration=replace(
                migration(name, kind=form.kind), depends_on=depends_on if name == "second" else ()
            ),
        )
        scripts[name] = one
    async with opened(bench.database, connections=connections) as database:
        event.listen(database.engine.sync_engine, "connect", opens)
        ledger = Ledger(this_process())
        async with database.writing() as connection:
            await ledger.ensure(connection)
        place = Workplace(database, ledger, Stop(Budget()), heard.append)
        plan = Plan(tuple(Step(one.migration, Action.RUN, "never run") for one in scripts.values()))
        return await run_plan(place, plan, scripts, with_settings(workers=workers)), heard


async def test_independent_migrations_are_worked_on_at_the_same_time(postgres_bench: Bench) -> None:
    bench = postgres_bench
    fill(bench, BATCH)
    met = {"first": anyio.Event(), "second": anyio.Event()}

    def waiting_for(me: str, other: str) -> EachBatch:
        async def double(batch: Batch) -> None:
            met[me].set()
            await met[other].wait()
            if me == "second":
                await batch.execute(DOUBLED.where(batch.rows))
                return
            while bench.pending():  # noqa: ASYNC110 # the database tells, and no event
                await anyio.sleep(0.01)

        return each_batch(double)

    with anyio.fail_after(60):
        report, _ = await run_both(
            bench, {"first": waiting_for("first", "second"), "second": waiting_for("second", "first")}
        )
    assert [result.outcome for result in report.results] == ["done", "done"]


async def test_a_migration_waits_for_what_it_depends_on_however_many_workers_are_free(
    postgres_bench: Bench,
) -> None:
    fill(postgres_bench)
    report, heard = await run_both(postgres_bench, {"first": doubling(), "second": doubling()}, ("first",))
    assert [result.outcome for result in report.results] == ["done", "done"]
    order = [event.migration for event in heard if isinstance(event, Started | Finished)]
    assert order == ["first", "first", "second", "second"]


async def test_more_workers_than_connections_take_turns_and_open_no_more(postgres_bench: Bench) -> None:
    fill(postgres_bench)
    opened_now: list[object] = []
    with anyio.fail_after(120):
        report, _ = await run_both(
            postgres_bench,
            {"first": doubling(), "second": doubling()},
            workers=4,
            connections=2,
            opens=lambda connection, _: opened_now.append(connection),
        )
    assert [result.outcome for result in report.results] == ["done", "done"]
    assert postgres_bench.pending() == 0
    assert len(opened_now) == 2


# owners ---------------------------------------------------------------------------------------------------


def test_the_workers_of_a_process_know_each_other() -> None:
    me = this_process()
    other = worker_of(me, 2)
    assert other.identity != me.identity
    assert str(other) == str(me)
    assert is_same_process(other.identity, me)
    assert not is_gone(other.identity, me)
    assert not is_same_process(ANN.identity, me)


def test_an_earlier_process_with_our_number_is_gone() -> None:
    me = this_process()
    assert is_gone(replace(me, token="earlier").identity, me)
