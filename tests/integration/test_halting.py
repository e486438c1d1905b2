"""What an operator says of a run that is going on elsewhere: its workers hear it at the next batch."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

import anyio
import pytest

from datamigrate.authoring.batch import Batch
from datamigrate.authoring.script import Script
from datamigrate.database.ledger import steps
from datamigrate.database.ledger.store import Ledger
from datamigrate.database.ledger.tables import ledger_tables
from datamigrate.thought.lifecycle import Cause, State
from datamigrate.words.claim import Owner
from datamigrate.words.events import BatchDone, Event, Finished, Stopped, Verifying, Waiting
from workbench import (
    ANN,
    BATCH,
    BOB,
    DOUBLED,
    FORMS,
    NAME,
    Bench,
    Ran,
    doubling,
    each_batch,
    migration,
    opened,
    with_settings,
)

pytestmark = pytest.mark.anyio

ROWS = 6 * BATCH
CAROL = Owner("carol", "third-host", 33, "-", "cccc")


def fill(bench: Bench, rows: int = ROWS) -> None:
    bench.table(rows=((i,) for i in range(rows)))
    bench.database.execute("CREATE TABLE copied (serial INTEGER)")


def say(bench: Bench, cause: Cause, reason: str | None = None) -> None:
    """Say a word as Bob, between two batches."""
    with bench.database.engine.begin() as connection:
        state = State(connection.exec_driver_sql("SELECT state FROM datamigrate_migration").scalar_one())
        steps.move(connection, ledger_tables(), BOB, NAME, state, cause, reason)


async def command(bench: Bench, cause: Cause, fences: bool = True) -> State:
    """Say a word as Bob, from a process of his own."""
    async with opened(bench.database) as database, database.writing() as connection:
        return await Ledger(BOB).command(connection, migration(), cause, None, fences)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("cause", [Cause.PAUSE, Cause.CANCEL])
async def test_who_works_on_it_leaves_after_the_batch_and_says_whose_word_it_was(
    bench: Bench, form: str, cause: Cause
) -> None:
    fill(bench)
    batches = 0

    def halt(event: Event) -> None:
        nonlocal batches
        batches += isinstance(event, BatchDone)
        if isinstance(event, BatchDone) and batches == 1:
            say(bench, cause, "the replica lags")

    ran = await bench.run(bench.script(FORMS[form]), listen=halt)
    assert ran.outcome == "stopped", ran.result
    assert batches == 2
    (stopped,) = ran.of(Stopped)
    told = "paused" if cause is Cause.PAUSE else "cancelled"
    assert stopped.reason == ran.result.reason
    assert stopped.reason.startswith(f"{told} by bob@second-host:22 on 20")
    assert stopped.reason.endswith("Z: the replica lags")
    assert stopped.then == f"`datamigrate {'resume' if cause is Cause.PAUSE else 'retry'} job` lets it go on"
    standing = bench.standing()
    assert (standing.state, standing.owner, standing.batches) == (told, None, 2)


async def test_all_workers_leave_and_after_resume_every_row_is_written_once(postgres_bench: Bench) -> None:
    bench, batches_to_do = postgres_bench, 200  # the pause connects first, which takes some batches' time
    fill(bench, batches_to_do * BATCH)
    script = bench.form(doubling())
    batches: list[int] = []
    enough = anyio.Event()

    def halt(event: Event) -> None:
        if isinstance(event, BatchDone):
            batches.append(event.range)
            if len(batches) == 5:
                enough.set()

    async def pause() -> None:
        # not from within `halt`: another worker of this very loop may hold the row that is to be written
        await enough.wait()
        await command(bench, Cause.PAUSE, fences=False)

    async with anyio.create_task_group() as group:
        group.start_soon(pause)
        ran = await bench.run(script, settings=with_settings(workers=3), listen=halt)
    assert ran.outcome == "stopped", ran.result
    assert len(batches) < batches_to_do
    assert bench.database.scalar("SELECT count(*) FROM datamigrate_range WHERE owner IS NOT NULL") == 0
    assert await command(bench, Cause.RESUME) is State.PENDING
    again = await bench.run(script)
    assert again.outcome == "done", again.result
    bench.assert_done(batches_to_do * BATCH)


@pytest.mark.parametrize("cause", [Cause.PAUSE, Cause.CANCEL])
async def test_a_run_of_what_is_halted_does_nothing_and_says_why(bench: Bench, cause: Cause) -> None:
    fill(bench)
    script = bench.form(doubling())
    await bench.run(script, max_batches=1)
    await command(bench, cause)
    ran = await bench.run(script)
    assert ran.outcome == "stopped"
    assert "by bob@second-host:22" in ran.result.reason
    assert ran.of(BatchDone) == []
    assert len(bench.written()) == BATCH


async def test_who_waits_for_another_run_leaves_when_it_is_halted(postgres_bench: Bench) -> None:
    bench = postgres_bench
    fill(bench)
    async with opened(bench.database) as database:
        async with database.writing() as connection:
            await Ledger(BOB).ensure(connection)
            await Ledger(BOB).enrol(connection, migration())
            await Ledger(BOB).claim(connection, migration(), 60)

        def halt(event: Event) -> None:
            if isinstance(event, Waiting):
                say(bench, Cause.PAUSE)

        ran = await bench.run(bench.form(doubling()), owner=ANN, listen=halt)
    assert ran.outcome == "stopped", ran.result
    assert bench.written() == []


async def ended_by(bench: Bench, say: Callable[[], Awaitable[object]]) -> Ran:
    """A run by Ann whose second batch would take for ever, and which these words are to end."""
    fill(bench)
    ran, is_stuck = list[Ran](), anyio.Event()

    async def stuck_in_the_second(batch: Batch) -> None:
        await batch.execute(DOUBLED.where(batch.rows))
        if batch.number == 2:
            is_stuck.set()
            await anyio.sleep(600)

    async def work() -> None:
        ran.append(await bench.run(bench.form(each_batch(stuck_in_the_second)), owner=ANN))

    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            group.start_soon(work)
            await is_stuck.wait()
            await say()
    return ran[0]


async def test_force_rolls_back_a_batch_that_would_take_for_ever(
    postgres_bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datamigrate.doing.executor.SIGN_OF_LIFE", 0.05)
    bench = postgres_bench

    async def insist() -> None:
        assert await command(bench, Cause.PAUSE, fences=False) is State.PAUSED
        assert await command(bench, Cause.PAUSE, fences=True) is State.PAUSED

    ran = await ended_by(bench, insist)
    assert ran.outcome == "stopped"
    assert bench.written() == list(range(BATCH))
    assert (bench.standing().state, bench.standing().rows) == ("paused", BATCH)


async def test_a_resume_in_the_middle_of_a_batch_lets_the_same_run_go_on(postgres_bench: Bench) -> None:
    bench = postgres_bench
    fill(bench)
    calls = 0

    async def resumed(batch: Batch) -> None:
        nonlocal calls
        calls += 1
        await batch.execute(DOUBLED.where(batch.rows))
        if calls == 2:
            await command(bench, Cause.PAUSE, fences=False)
            await command(bench, Cause.RESUME)

    ran = await bench.run(bench.form(each_batch(resumed)), owner=ANN)
    assert ran.outcome == "done", ran.result
    bench.assert_done(ROWS)


# words that make a run begin anew, or undo it -------------------------------------------------------------


async def meanwhile(bench: Bench, script: Script, word: Cause) -> Ran:
    """Run the script as Ann, and say a word as Bob while she rests behind her first batch."""
    ran, rests = list[Ran](), anyio.Event()

    def listen(event: Event) -> None:
        if isinstance(event, BatchDone):
            rests.set()

    async def work() -> None:
        ran.append(await bench.run(script, owner=ANN, settings=with_settings(pause=3600), listen=listen))

    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            group.start_soon(work)
            await rests.wait()
            await command(bench, word)
    return ran[0]


@pytest.fixture
def quick_signs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datamigrate.doing.executor.SIGN_OF_LIFE", 0.05)


@pytest.mark.usefixtures("quick_signs")
async def test_a_reset_ends_a_run_that_goes_on_and_the_next_one_begins_at_the_first_row(bench: Bench) -> None:
    fill(bench)
    script = bench.form(doubling())
    ran = await meanwhile(bench, script, Cause.RESET)
    assert ran.outcome == "stopped", ran.result
    (stopped,) = ran.of(Stopped)
    assert stopped.reason.startswith("reset by bob@second-host:22 on 20")
    assert stopped.then == "`datamigrate run job` walks it again from the first row"
    standing = bench.standing()
    assert (standing.state, standing.cursor, standing.rows, standing.owner) == ("pending", None, 0, None)
    bench.database.execute("UPDATE item SET new = NULL WHERE id = 0")
    again = await bench.run(script)
    assert again.outcome == "done", again.result
    assert (bench.pending(), bench.standing().rows) == (0, ROWS - BATCH + 1)


@pytest.mark.usefixtures("quick_signs")
async def test_all_workers_of_all_runs_leave_after_a_reset(postgres_bench: Bench) -> None:
    bench = postgres_bench
    fill(bench, 40 * BATCH)
    script, batches, ran = bench.form(doubling()), list[int](), list[Ran]()
    enough = anyio.Event()

    def count(event: Event) -> None:
        if isinstance(event, BatchDone):
            batches.append(event.range)
            if len(batches) == 4:
                enough.set()

    async def work(owner: Owner) -> None:
        # each does one batch, and rests
        settings = with_settings(workers=2, pause=3600)
        ran.append(await bench.run(script, owner=owner, settings=settings, listen=count))

    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            group.start_soon(work, ANN)
            group.start_soon(work, CAROL)
            await enough.wait()
            assert await command(bench, Cause.RESET) is State.PENDING
    assert [one.outcome for one in ran] == ["stopped", "stopped"]
    assert all(one.result.reason.startswith("reset by bob@second-host:22") for one in ran)
    (standing,) = bench.database.rows("SELECT number, owner, rows FROM datamigrate_range")
    assert standing == (0, None, 0)
    again = await bench.run(script)
    assert again.outcome == "done", again.result
    assert bench.written() == list(range(40 * BATCH))


@pytest.mark.usefixtures("quick_signs")
async def test_a_reset_rolls_a_batch_back_that_would_take_for_ever(postgres_bench: Bench) -> None:
    bench = postgres_bench
    ran = await ended_by(bench, partial(command, bench, Cause.RESET))
    assert ran.outcome == "stopped"
    assert bench.written() == list(range(BATCH))


@pytest.mark.usefixtures("quick_signs")
async def test_a_run_that_is_to_be_undone_leaves_and_says_whose_word_it_was(bench: Bench) -> None:
    fill(bench)
    ran = await meanwhile(bench, bench.form(doubling()), Cause.REVERT)
    (stopped,) = ran.of(Stopped)
    assert stopped.reason.startswith("reverting by bob@second-host:22 on 20")
    assert stopped.then == "`datamigrate status job` tells how far back it is"
    assert (bench.standing().state, bench.standing().owner) == ("reverting", None)


async def test_what_is_halted_while_it_is_verified_is_not_called_done(bench: Bench) -> None:
    fill(bench)
    script = bench.form(doubling())

    def halt(event: Event) -> None:
        if isinstance(event, Verifying):
            say(bench, Cause.PAUSE)

    ran = await bench.run(script, listen=halt)
    assert (ran.outcome, ran.of(Finished)) == ("stopped", [])
    assert (bench.standing().state, bench.standing().owner) == ("paused", None)
    await command(bench, Cause.RESUME)
    again = await bench.run(script)
    assert again.outcome == "done", again.result
    bench.assert_done(ROWS)


async def test_a_word_ends_a_long_pause_between_two_batches(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datamigrate.doing.resting.LOOK_UP", 0.02)
    fill(bench)

    def halt(event: Event) -> None:
        if isinstance(event, BatchDone):
            say(bench, Cause.PAUSE)

    with anyio.fail_after(60):
        ran = await bench.run(
            bench.form(doubling()), settings=with_settings(pause=3600), owner=ANN, listen=halt
        )
    assert ran.outcome == "stopped"
    assert bench.standing().batches == 1
