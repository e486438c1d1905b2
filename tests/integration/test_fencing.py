from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import anyio
import pytest

from datamigrate.authoring.batch import Batch
from datamigrate.database.ledger.store import Held, Ledger
from datamigrate.thought.lifecycle import Standing
from datamigrate.words.claim import Claim
from datamigrate.words.errors import ClaimHeld
from datamigrate.words.events import BatchDone, Waiting
from workbench import (
    ANN,
    BATCH,
    BOB,
    DOUBLED,
    Bench,
    Ran,
    age_claim,
    compute_batch,
    doubling,
    each_batch,
    migration,
    opened,
    with_settings,
)

pytestmark = pytest.mark.anyio

ROWS = 3 * BATCH


def fill(bench: Bench) -> None:
    bench.table(rows=((i,) for i in range(ROWS)))


def age_claim_behind_the_first_batch(bench: Bench) -> None:
    """What is computed ahead must not interfere with the batch that is being written meanwhile."""
    while bench.pending() != ROWS - BATCH:
        time.sleep(0.01)
    age_claim(bench.database)


async def claim_as(bench: Bench, ledger: Ledger, kind: str) -> Claim | Held | Standing | None:
    async with opened(bench.database) as database, database.writing() as connection:
        return await ledger.claim(connection, migration(kind=kind), expiry=30)


async def test_who_lost_the_claim_while_computing_cannot_write_its_batch(bench: Bench) -> None:
    fill(bench)
    calls = 0

    async def stall_once(rows: list[Any]) -> list[Any]:
        nonlocal calls
        calls += 1
        if calls == 2:
            await anyio.to_thread.run_sync(age_claim_behind_the_first_batch, bench)
            assert isinstance(await claim_as(bench, Ledger(BOB), "compute"), Claim)
        return [{"new": row.old * 2} for row in rows]

    ran = await bench.run(bench.form(compute_batch(stall_once)), owner=ANN, wait=False)
    assert isinstance(ran.result.error, ClaimHeld)
    assert "bob@second-host:22" in ran.result.error.message
    assert bench.written() == list(range(BATCH))
    standing = bench.standing()
    assert (standing.rows, standing.batches, standing.owner) == (BATCH, 1, BOB.identity)
    assert standing.state == "running"

    later = await bench.run(bench.form(compute_batch(stall_once)), owner=BOB)
    assert later.outcome == "done", later.result
    bench.assert_done(ROWS)


async def test_who_lost_the_claim_in_the_middle_of_its_batch_cannot_commit_it(
    postgres_bench: Bench,
) -> None:
    bench = postgres_bench
    fill(bench)

    async def stall(batch: Batch) -> None:
        await batch.execute(DOUBLED.where(batch.rows))
        if batch.number == 2:
            age_claim(bench.database)
            assert isinstance(await claim_as(bench, Ledger(BOB), "batch"), Claim)

    ran = await bench.run(bench.form(each_batch(stall)), owner=ANN, wait=False)
    assert isinstance(ran.result.error, ClaimHeld)
    assert bench.written() == list(range(BATCH))
    assert (bench.standing().rows, bench.standing().owner) == (BATCH, BOB.identity)


async def test_who_lost_the_claim_waits_and_goes_on_with_what_the_other_leaves(bench: Bench) -> None:
    fill(bench)
    calls = 0

    async def stall_once(rows: list[Any]) -> list[Any]:
        nonlocal calls
        calls += 1
        if calls == 2:
            await anyio.to_thread.run_sync(age_claim_behind_the_first_batch, bench)
            other = await bench.run(bench.form(compute_batch(quick)), owner=BOB, max_batches=1)
            assert other.outcome == "stopped"
        return [{"new": row.old * 2} for row in rows]

    async def quick(rows: list[Any]) -> list[Any]:
        return [{"new": row.old * 2} for row in rows]

    ran = await bench.run(bench.form(compute_batch(stall_once)), owner=ANN)
    assert ran.outcome == "done", ran.result
    bench.assert_done(ROWS)
    assert bench.standing().generation == 3


@pytest.mark.parametrize("form", ["each batch", "compute"])
async def test_the_heartbeat_keeps_the_claim_of_a_long_batch(postgres_bench: Bench, form: str) -> None:
    bench = postgres_bench
    fill(bench)
    beats: set[Any] = set()

    async def until_heard_of() -> None:
        """Work until three heartbeats have come, each time trying to take the claim away."""
        with anyio.fail_after(60):
            while len(beats) < 4:
                beats.add(bench.database.scalar("SELECT heartbeat FROM datamigrate_range"))
                assert isinstance(await held(), Held)
                await anyio.sleep(0.05)

    async def held() -> Claim | Held | Standing | None:
        async with opened(bench.database) as database, database.writing() as connection:
            return await Ledger(BOB).claim(connection, migration(), expiry=30)

    async def long_batch(batch: Batch) -> None:
        await batch.execute(DOUBLED.where(batch.rows))
        await until_heard_of()

    async def long_computation(rows: list[Any]) -> list[Any]:
        await until_heard_of()
        return [{"new": row.old * 2} for row in rows]

    script = bench.form(each_batch(long_batch) if form == "each batch" else compute_batch(long_computation))
    ran = await bench.run(script, owner=ANN, settings=with_settings(claim_expiry=0.6))
    assert ran.outcome == "done", ran.result
    assert len(beats) >= 4
    bench.assert_done(ROWS)
    assert bench.standing().generation == 1


async def test_a_heartbeat_that_finds_the_claim_lost_cancels_the_batch(postgres_bench: Bench) -> None:
    bench = postgres_bench
    fill(bench)

    async def far_too_long(batch: Batch) -> None:
        await batch.execute(DOUBLED.where(batch.rows))
        age_claim(bench.database)
        assert isinstance(await claim_as(bench, Ledger(BOB), "batch"), Claim)
        await anyio.sleep(3600)

    with anyio.fail_after(60):
        ran = await bench.run(
            bench.form(each_batch(far_too_long)),
            owner=ANN,
            settings=with_settings(claim_expiry=1.5),
            wait=False,
        )
    # by then nobody may have heard of Bob either, so either it is his or he is gone
    assert ran.outcome == "failed"
    assert bench.written() == []


async def test_two_runs_at_once_do_each_row_once(bench: Bench) -> None:
    fill(bench)
    ran: dict[str, Ran] = {}

    async def work(name: str) -> None:
        owner = replace(ANN, user=name, pid=len(name), token=name)
        ran[name] = await bench.run(bench.form(doubling()), owner=owner)

    async with anyio.create_task_group() as group:
        for name in ("a", "bb", "ccc"):
            group.start_soon(work, name)
    assert {r.outcome for r in ran.values()} == {"done"}
    bench.assert_done(ROWS)
    assert sorted(len(r.of(BatchDone)) for r in ran.values()) == [0, 0, ROWS // BATCH]


async def test_a_second_run_waits_for_the_first_and_says_for_whom(bench: Bench) -> None:
    fill(bench)
    waiting = anyio.Event()

    async def until_the_other_waits(rows: list[Any]) -> list[Any]:
        with anyio.fail_after(60):
            await waiting.wait()
        return [{"new": row.old * 2} for row in rows]

    def note(event: object) -> None:
        if isinstance(event, Waiting):
            waiting.set()

    async def second() -> None:
        ran = await bench.run(bench.form(compute_batch(until_the_other_waits)), owner=BOB, listen=note)
        assert ran.outcome == "done", ran.result
        assert [event.holder for event in ran.of(Waiting)] == [str(ANN)]
        assert ran.of(BatchDone) == []

    async with anyio.create_task_group() as group:

        def begin(event: object) -> None:
            if type(event).__name__ == "Started":
                group.start_soon(second)

        ran = await bench.run(bench.form(compute_batch(until_the_other_waits)), owner=ANN, listen=begin)
    assert ran.outcome == "done", ran.result
    bench.assert_done(ROWS)


async def test_a_run_that_will_not_wait_fails_at_once_and_names_the_holder(bench: Bench) -> None:
    fill(bench)
    async with opened(bench.database) as database:
        ledger = Ledger(ANN)
        async with database.writing() as connection:
            await ledger.ensure(connection)
            await ledger.enrol(connection, migration())
            assert isinstance(await ledger.claim(connection, migration(), expiry=30), Claim)
    before = bench.database.dump()
    ran = await bench.run(bench.form(doubling()), owner=BOB, wait=False)
    assert isinstance(ran.result.error, ClaimHeld)
    assert str(ANN) in ran.result.error.message
    assert bench.database.dump() == before


async def test_an_expired_claim_is_taken_over_where_it_stood(bench: Bench) -> None:
    fill(bench)
    await bench.run(bench.form(doubling()), owner=ANN, max_batches=1)
    async with opened(bench.database) as database, database.writing() as connection:
        assert isinstance(await Ledger(ANN).claim(connection, migration(), expiry=30), Claim)
    age_claim(bench.database)
    ran = await bench.run(bench.form(doubling()), owner=BOB, wait=False)
    assert ran.outcome == "done", ran.result
    assert ran.of(BatchDone)[0].batch == 2
    bench.assert_done(ROWS)
