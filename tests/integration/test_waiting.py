"""What keeps a migration waiting between two batches, for how long, and what is told of it meanwhile."""

from __future__ import annotations

from dataclasses import dataclass, field

import anyio
import pytest

from datamigrate.database.ledger.store import Ledger
from datamigrate.doing import waiting
from datamigrate.thought.lifecycle import Cause
from datamigrate.words.errors import ClaimHeld
from datamigrate.words.events import BatchDone, HeldBack, Stopped, WentOn
from workbench import ANN, BATCH, BOB, FORMS, NAME, Bench, doubling, migration, opened, with_settings

pytestmark = pytest.mark.anyio

ROWS = 4 * BATCH


@dataclass
class Door:
    """Shut after so many looks at it, until somebody opens it."""

    shut_after: int = 0
    is_open: bool = False
    looks: int = 0
    shut: anyio.Event = field(default_factory=anyio.Event)

    def __call__(self, name: str) -> str | None:
        assert name == NAME
        self.looks += 1
        if self.is_open or self.looks <= self.shut_after:
            return None
        self.shut.set()
        return "the door is shut"


@pytest.fixture(autouse=True)
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "LOOK_ROUND", 0.01)
    monkeypatch.setattr(waiting, "LOOK_UP", 0.03)


def fill(bench: Bench, rows: int = ROWS) -> None:
    bench.table(rows=((i,) for i in range(rows)))
    bench.database.execute("CREATE TABLE copied (serial INTEGER)")


async def until_kept(bench: Bench) -> None:
    """Until the ledger says that it waits."""
    with anyio.fail_after(20):
        while not bench.database.scalar("SELECT waiting FROM datamigrate_migration"):  # noqa: ASYNC110 - the ledger sends no events
            await anyio.sleep(0.01)


@pytest.mark.parametrize("form", ["update", "free"])
async def test_no_batch_begins_while_something_is_in_the_way_and_then_it_goes_on(
    bench: Bench, form: str
) -> None:
    fill(bench)
    door = Door(shut_after=1)

    async def open_it() -> None:
        await door.shut.wait()
        await until_kept(bench)
        before = bench.standing()
        assert (before.state, before.batches) == ("running", 1)
        async with opened(bench.database, read_only=True) as database, database.looking() as connection:
            record = (await Ledger(BOB).view(connection)).migrations[NAME]
        assert record.waiting == "the door is shut"
        assert record.waiting_since is not None
        assert bench.standing() == before
        door.is_open = True

    async with anyio.create_task_group() as group:
        group.start_soon(open_it)
        ran = await bench.run(bench.script(FORMS[form]), brakes=(door,))
    assert ran.outcome == "done", ran.result
    told = [type(e) for e in ran.events if isinstance(e, BatchDone | HeldBack | WentOn)]
    assert told[:4] == [BatchDone, HeldBack, WentOn, BatchDone]
    assert ran.of(HeldBack) == [HeldBack(NAME, "the door is shut")]
    assert bench.database.rows("SELECT waiting, waiting_since FROM datamigrate_migration") == [(None, None)]
    bench.assert_done(ROWS)


async def test_several_things_in_the_way_are_all_named(bench: Bench) -> None:
    fill(bench)
    door = Door()

    def window(_name: str) -> str | None:
        return None if door.is_open else "outside its window"

    async with anyio.create_task_group() as group:
        group.start_soon(open_after, bench, door)
        ran = await bench.run(bench.form(doubling()), brakes=(window, door))
    assert ran.of(HeldBack)[0].reason == "outside its window; the door is shut"
    assert len(ran.of(WentOn)) == 1


async def open_after(bench: Bench, door: Door) -> None:
    await door.shut.wait()
    await until_kept(bench)
    door.is_open = True


async def test_the_claim_stays_alive_while_it_waits(bench: Bench) -> None:
    fill(bench)
    door = Door(shut_after=1)
    patient = with_settings(claim_expiry=0.6)

    async def stand_in_line() -> None:
        await door.shut.wait()
        await anyio.sleep(1.0)
        refused = await bench.run(bench.form(doubling()), owner=BOB, settings=patient, wait=False)
        assert isinstance(refused.result.error, ClaimHeld)
        door.is_open = True

    async with anyio.create_task_group() as group:
        group.start_soon(stand_in_line)
        ran = await bench.run(bench.form(doubling()), owner=ANN, settings=patient, brakes=(door,))
    assert ran.outcome == "done", ran.result
    bench.assert_done(ROWS)


async def test_an_operator_is_heard_while_it_waits(bench: Bench) -> None:
    fill(bench)
    door = Door(shut_after=1)

    async def pause() -> None:
        await door.shut.wait()
        await until_kept(bench)
        async with opened(bench.database) as database, database.writing() as connection:
            await Ledger(BOB).command(connection, migration(), Cause.PAUSE, "enough", fences=False)

    async with anyio.create_task_group() as group:
        group.start_soon(pause)
        ran = await bench.run(bench.form(doubling()), brakes=(door,))
    assert ran.outcome == "stopped", ran.result
    assert ran.of(Stopped)[0].reason.endswith("enough")
    assert ran.of(WentOn) == []
    assert bench.database.scalar("SELECT waiting FROM datamigrate_migration") is None
    assert bench.standing().batches == 1


async def test_of_several_workers_one_tells_and_all_go_on(postgres_bench: Bench) -> None:
    bench = postgres_bench
    fill(bench, 20 * BATCH)
    door = Door(shut_after=4)
    async with anyio.create_task_group() as group:
        group.start_soon(open_after, bench, door)
        ran = await bench.run(bench.form(doubling()), settings=with_settings(workers=3), brakes=(door,))
    assert ran.outcome == "done", ran.result
    assert (len(ran.of(HeldBack)), len(ran.of(WentOn))) == (1, 1)
    bench.assert_done(20 * BATCH)


async def test_it_is_told_again_while_it_lasts(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(bench)
    door = Door()
    monkeypatch.setattr(waiting, "TELL_AGAIN", 0.02)

    told: list[float] = []

    def listen(event: object) -> None:
        if isinstance(event, HeldBack):
            told.append(event.seconds)
            door.is_open = len(told) == 3

    ran = await bench.run(bench.form(doubling()), brakes=(door,), listen=listen)
    assert ran.outcome == "done", ran.result
    assert (told[0], told) == (0.0, sorted(told))
    assert len(told) == 3


async def test_the_rate_in_the_ledger_counts_the_rests_between_batches(bench: Bench) -> None:
    fill(bench)
    ran = await bench.run(bench.form(doubling()), settings=with_settings(pause=0.1))
    assert ran.outcome == "done", ran.result
    assert float(str(bench.database.scalar("SELECT sum(seconds) FROM datamigrate_range"))) >= 0.3
