from __future__ import annotations

import gc
import sys
from typing import Any

import anyio
import pytest
import sqlalchemy as sa
from sqlalchemy.util import await_only

from datamigrate.doing.choosing import Choosing, Slice
from datamigrate.doing.interpreter import made_for_many_rows
from datamigrate.doing.overlapping import overlapping
from datamigrate.doing.stopping import Stop
from datamigrate.thought.pacing import Pace
from datamigrate.words.events import BatchDone, Retrying
from datamigrate.words.migration import Bounds
from workbench import BATCH, Bench, at_every_step, compute_batch, doubling

pytestmark = pytest.mark.anyio


def always() -> bool:
    return True


async def test_both_results_are_given() -> None:
    met = anyio.Event()

    async def this() -> str:
        await met.wait()
        return "this"

    async def ahead() -> str:
        met.set()
        return "ahead"

    with anyio.fail_after(10):
        assert await overlapping(this, ahead, always) == ("this", "ahead")


async def test_an_error_of_what_is_done_ahead_is_given_for_its_turn() -> None:
    error = ValueError()

    async def this() -> str:
        return "this"

    async def ahead() -> str:
        raise error

    assert await overlapping(this, ahead, always) == ("this", error)


async def test_what_is_done_ahead_is_not_waited_for_when_it_is_not_wanted_any_more() -> None:
    ended = []

    async def this() -> str:
        return "this"

    async def ahead() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(True)

    with anyio.fail_after(10):
        assert await overlapping(this, ahead, lambda: False) == ("this", None)
    assert ended


async def test_an_error_now_ends_what_is_done_ahead() -> None:
    ended = []

    async def this() -> str:
        await anyio.sleep(0.01)
        raise KeyError("now")

    async def ahead() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(True)

    with anyio.fail_after(10), pytest.raises(KeyError, match="now"):
        await overlapping(this, ahead, always)
    assert ended


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


def test_the_interpreter_is_as_before_afterwards() -> None:
    before = gc.get_threshold(), sys.getswitchinterval(), gc.get_freeze_count()
    with made_for_many_rows():
        assert gc.get_threshold() != before[0]
    assert (gc.get_threshold(), sys.getswitchinterval(), gc.get_freeze_count()) == before
