from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from typing import Any

import anyio
import pytest
import sqlalchemy as sa
from sqlalchemy.util import await_only

import datamigrate
from datamigrate.database.database import Database
from datamigrate.database.ledger.store import Ledger
from datamigrate.doing.choosing import Choosing, Slice
from datamigrate.doing.interpreter import made_for_many_rows
from datamigrate.doing.stopping import Stop
from datamigrate.thought.pacing import Pace
from datamigrate.words.events import BatchDone, Event, HeldBack, Retrying
from datamigrate.words.migration import Bounds
from workbench import (
    BATCH,
    BOB,
    ITEM,
    PENDING,
    Bench,
    at_every_step,
    compute_batch,
    doubling,
    migration,
    opened,
    with_settings,
)

pytestmark = pytest.mark.anyio


async def test_a_stop_does_not_wait_for_the_slice_that_is_chosen_ahead(
    postgres_bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench, stop = postgres_bench, Stop()
    bench.table(rows=((i,) for i in range(4 * BATCH)))
    behind = Choosing.behind

    async def never_behind_the_first(self: Choosing, connection: Any, reach: Bounds, pace: Pace) -> Slice:
        if reach.lower is not None:
            stop.request("enough")
            await anyio.sleep_forever()
        return await behind(self, connection, reach, pace)

    monkeypatch.setattr(Choosing, "behind", never_behind_the_first)
    with anyio.fail_after(20):
        ran = await bench.run(bench.form(doubling()), stop=stop)
    assert (ran.outcome, ran.result.reason) == ("stopped", "enough")
    assert bench.written() == list(range(BATCH))


async def test_a_timeout_of_what_is_chosen_ahead_halves_the_next_batch_at_once(
    postgres_bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = postgres_bench
    bench.table(rows=((i,) for i in range(4 * BATCH)))
    behind, timed_out = Choosing.behind, 0

    async def slow_behind_the_first(self: Choosing, connection: Any, reach: Bounds, pace: Pace) -> Slice:
        nonlocal timed_out
        if reach.lower is not None and pace.rows == BATCH and not timed_out:
            timed_out += 1
            await connection.execute(sa.text("SET LOCAL statement_timeout = 1"))
            await connection.execute(sa.text("SELECT pg_sleep(10)"))
        return await behind(self, connection, reach, pace)

    monkeypatch.setattr(Choosing, "behind", slow_behind_the_first)
    ran = await bench.run(bench.form(doubling()))
    assert ran.outcome == "done", ran.result
    assert [batch.rows for batch in ran.of(BatchDone)][:2] == [BATCH, BATCH // 2]
    assert len(ran.of(Retrying)) == timed_out == 1


async def test_the_next_batch_is_computed_while_this_one_is_written(postgres_bench: Bench) -> None:
    bench = postgres_bench
    bench.table(rows=((i,) for i in range(4 * BATCH)))
    calls = 0
    second = anyio.Event()

    async def double(rows: list[Any]) -> list[Any]:
        nonlocal calls
        calls += 1
        if calls == 2:
            second.set()
        return [{"new": row.old * 2} for row in rows]

    def hold_the_write_until_then(statement: str) -> None:
        if statement.startswith("UPDATE item"):
            await_only(second.wait())

    with anyio.fail_after(30):
        ran = await bench.run(
            bench.form(compute_batch(double)),
            meddle=lambda database: at_every_step(database, hold_the_write_until_then),
        )
    assert ran.outcome == "done", ran.result
    bench.assert_done(4 * BATCH)


async def test_a_row_that_fails_ahead_of_its_time_fails_its_own_batch_only(postgres_bench: Bench) -> None:
    bench = postgres_bench
    bench.table(rows=((i,) for i in range(3 * BATCH)))

    async def poisoned(rows: list[Any]) -> list[Any]:
        assert all(row.serial != 2 * BATCH for row in rows), "poison"
        return [{"new": row.old * 2} for row in rows]

    ran = await bench.run(bench.form(compute_batch(poisoned)))
    assert ran.outcome == "failed"
    assert "poison" in str(ran.result.error)
    assert bench.written() == list(range(2 * BATCH))


def at_keeping(react: Callable[[int], None]) -> Callable[[str], None]:
    """Call `react` with the number of each checkpoint before it is sent; the walk's beginning is 0."""
    kept = -1

    def listen(statement: str) -> None:
        nonlocal kept
        if statement.startswith("UPDATE datamigrate_range SET cursor"):
            kept += 1
            react(kept)

    return listen


def together(*listeners: Callable[[str], None]) -> Callable[[Database], None]:
    def meddle(database: Database) -> None:
        for listen in listeners:
            at_every_step(database, listen)

    return meddle


class StateError(Exception):
    """What the driver raises, with PostgreSQL's code."""

    def __init__(self, sqlstate: str) -> None:
        super().__init__(f"injected {sqlstate}")
        self.sqlstate = sqlstate


class Changes:
    """How many updates of `item` were sent, and a way to wait for so many."""

    def __init__(self) -> None:
        self.count = 0
        self.more = anyio.Event()

    def __call__(self, statement: str) -> None:
        if statement.startswith("UPDATE item"):
            self.count += 1
            self.more.set()
            self.more = anyio.Event()

    def wait_for(self, count: int) -> None:
        while self.count < count:
            await_only(self.more.wait())


async def test_the_next_batch_changes_its_rows_while_this_one_is_kept(postgres_bench: Bench) -> None:
    bench, changes = postgres_bench, Changes()
    bench.table(rows=((i,) for i in range(4 * BATCH)))
    hold = at_keeping(lambda number: changes.wait_for(min(number + 1, 4)) if number else None)
    with anyio.fail_after(30):
        ran = await bench.run(bench.form(doubling()), meddle=together(changes, hold))
    assert ran.outcome == "done", ran.result
    assert changes.count == 4
    bench.assert_done(4 * BATCH)


async def test_a_batch_that_can_see_others_sees_all_before_it(postgres_bench: Bench) -> None:
    bench = postgres_bench
    bench.table(rows=((i,) for i in range(6 * BATCH)))
    other = ITEM.alias("other")
    done_before = sa.select(sa.func.count(other.c.new)).scalar_subquery()
    form = datamigrate.update_rows(ITEM, pending=PENDING, values={ITEM.c.new: done_before})
    ran = await bench.run(bench.form(form))
    assert ran.outcome == "done", ran.result
    written = [new for (new,) in bench.database.rows("SELECT new FROM item ORDER BY id")]
    assert written == [number // BATCH * BATCH for number in range(6 * BATCH)]


async def test_what_was_begun_early_is_rolled_back_when_the_batch_in_front_of_it_fails(
    postgres_bench: Bench,
) -> None:
    bench, changes = postgres_bench, Changes()
    bench.table(rows=((i,) for i in range(4 * BATCH)))

    def break_the_second(number: int) -> None:
        if number == 2:
            changes.wait_for(3)
            raise sa.exc.DBAPIError("no checkpoint", {}, StateError("42P01"))

    meddle = together(changes, at_keeping(break_the_second))
    with anyio.fail_after(30):
        ran = await bench.run(bench.form(doubling()), meddle=meddle)
    assert ran.outcome == "failed"
    assert bench.written() == list(range(BATCH))
    assert bench.standing().rows == BATCH
    again = await bench.run(bench.form(doubling()))
    assert again.outcome == "done", again.result
    bench.assert_done(4 * BATCH)


@pytest.mark.parametrize("early", [False, True])
async def test_a_stop_takes_back_what_was_begun(postgres_bench: Bench, early: bool) -> None:
    bench, changes = postgres_bench, Changes()
    bench.table(rows=((i,) for i in range(4 * BATCH)))
    wait = at_keeping(lambda number: changes.wait_for(number + 1) if early and 0 < number < 4 else None)
    with anyio.fail_after(30):
        ran = await bench.run(bench.form(doubling()), max_batches=2, meddle=together(changes, wait))
    assert ran.outcome == "stopped"
    assert bench.written() == list(range(2 * BATCH))
    assert bench.standing().rows == 2 * BATCH


@pytest.mark.parametrize("settings", [{"pause": 0.01}, {"nice": 0.1}])
async def test_who_rests_between_two_batches_begins_none_early(
    postgres_bench: Bench, settings: dict[str, float]
) -> None:
    bench, changes = postgres_bench, Changes()
    bench.table(rows=((i,) for i in range(4 * BATCH)))
    sent: list[tuple[int, int]] = []
    note = at_keeping(lambda number: sent.append((number, changes.count)))
    ran = await bench.run(
        bench.form(doubling()), settings=with_settings(**settings), meddle=together(changes, note)
    )
    assert ran.outcome == "done", ran.result
    assert [pair for pair in sent if 1 <= pair[0] <= 4] == [(number, number) for number in range(1, 5)]


async def test_while_something_holds_the_work_back_nothing_of_it_is_under_way(postgres_bench: Bench) -> None:
    bench, changes = postgres_bench, Changes()
    bench.table(rows=((i,) for i in range(4 * BATCH)))
    looks = 0

    def brake(_name: str) -> str | None:
        nonlocal looks
        if not ran_so_far or looks > 3:
            return None
        looks += 1
        return "too much going on" if looks > 1 else None

    ran_so_far: list[object] = []

    def listen(event: Event) -> None:
        if isinstance(event, BatchDone):
            ran_so_far.append(event)
        if isinstance(event, HeldBack):
            # would wait for ever for a row that somebody has changed and does not keep
            with bench.database.engine.begin() as other:
                other.execute(sa.text("SET LOCAL lock_timeout = '2s'"))
                other.execute(sa.text("UPDATE item SET old = old"))

    with anyio.fail_after(30):
        ran = await bench.run(
            bench.form(doubling()), meddle=together(changes), brakes=(brake,), listen=listen
        )
    assert ran.outcome == "done", ran.result
    assert ran.of(HeldBack)
    assert not bench.wrong()


async def test_a_batch_that_was_begun_early_and_ends_before_a_cut_is_kept(postgres_bench: Bench) -> None:
    bench, changes = postgres_bench, Changes()
    bench.table(rows=((i,) for i in range(8 * BATCH)))

    async def cut() -> None:
        async with opened(bench.database) as database, database.writing() as connection:
            held = await Ledger(BOB).claim(connection, migration(), expiry=30)
            (it,) = held.ranges  # type: ignore[union-attr] # somebody is at work, so it is held
            assert await Ledger(BOB).cut(connection, "job", it, [(4 * BATCH - 1,)])

    def cut_under_the_second(number: int) -> None:
        if number == 1:
            changes.wait_for(2)
            await_only(cut())

    meddle = together(changes, at_keeping(cut_under_the_second))
    with anyio.fail_after(30):
        ran = await bench.run(bench.form(doubling()), meddle=meddle)
    assert ran.outcome == "done", ran.result
    assert [batch.rows for batch in ran.of(BatchDone)] == [BATCH] * 8
    # the third was chosen before it was known where the range ends now, and is chosen again
    assert changes.count == 8
    bench.assert_done(8 * BATCH)


async def test_one_that_reaches_beyond_a_cut_is_done_again_as_far_as_the_range_goes(
    postgres_bench: Bench,
) -> None:
    bench, changes = postgres_bench, Changes()
    bench.table(rows=((i,) for i in range(4 * BATCH)))

    async def cut() -> None:
        async with opened(bench.database) as database, database.writing() as connection:
            held = await Ledger(BOB).claim(connection, migration(), expiry=30)
            (it,) = held.ranges  # type: ignore[union-attr] # somebody is at work, so it is held
            assert await Ledger(BOB).cut(connection, "job", it, [(BATCH + 1,)])

    def cut_under_the_second(number: int) -> None:
        if number == 1:
            changes.wait_for(2)
            await_only(cut())

    meddle = together(changes, at_keeping(cut_under_the_second))
    with anyio.fail_after(30):
        ran = await bench.run(bench.form(doubling()), meddle=meddle)
    assert ran.outcome == "done", ran.result
    assert [batch.rows for batch in ran.of(BatchDone)][:2] == [BATCH, 2]
    bench.assert_done(4 * BATCH)


@pytest.mark.parametrize("state", ["40P01", "57014", "22003"])
async def test_what_fails_early_is_told_once_and_done_in_its_turn(postgres_bench: Bench, state: str) -> None:
    bench, changes = postgres_bench, Changes()
    bench.table(rows=((i,) for i in range(4 * BATCH)))

    def fail_the_second(statement: str) -> None:
        if statement.startswith("UPDATE item") and changes.count == 2:
            changes.count += 1
            raise sa.exc.DBAPIError(statement, {}, StateError(state))

    wait = at_keeping(lambda number: changes.wait_for(3) if number == 1 else None)
    with anyio.fail_after(30):
        ran = await bench.run(bench.form(doubling()), meddle=together(changes, fail_the_second, wait))
    assert ran.outcome == "done", ran.result
    # what is wrong with rows is seen again when the batch is done in its turn, or else was not wrong with them
    assert len(ran.of(Retrying)) == (state != "22003")
    bench.assert_done(4 * BATCH)


def test_the_interpreter_is_as_before_afterwards() -> None:
    before = gc.get_threshold(), sys.getswitchinterval(), gc.get_freeze_count()
    with made_for_many_rows():
        assert gc.get_threshold() != before[0]
    assert (gc.get_threshold(), sys.getswitchinterval(), gc.get_freeze_count()) == before
