from __future__ import annotations

import gc
import sys
from typing import Any

import anyio
import pytest
from sqlalchemy.util import await_only

from datamigrate.doing.interpreter import made_for_many_rows
from datamigrate.doing.overlapping import overlapping
from workbench import BATCH, Bench, at_every_step, compute_batch

pytestmark = pytest.mark.anyio


async def test_both_results_are_given() -> None:
    met = anyio.Event()

    async def this() -> str:
        await met.wait()
        return "this"

    async def ahead() -> str:
        met.set()
        return "ahead"

    with anyio.fail_after(10):
        assert await overlapping(this, ahead) == ("this", "ahead")


async def test_an_error_of_what_is_done_ahead_waits_for_its_turn() -> None:
    async def this() -> str:
        return "this"

    async def ahead() -> str:
        raise ValueError

    assert await overlapping(this, ahead) == ("this", None)


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
        await overlapping(this, ahead)
    assert ended


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
