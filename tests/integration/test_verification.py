from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from typing import Any

import anyio
import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from datamigrate.doing.rows_work import RowsWork
from datamigrate.doing.set_work import SetWork
from datamigrate.words.errors import KeepsComing, StillPending
from datamigrate.words.events import BatchDone, Event, Finished, Sweeping, Verifying
from datamigrate.words.migration import Key
from workbench import BATCH, FORMS, HOME, Bench, compute_batch, doubling, with_settings

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("however_found")]

ROWS = 3 * BATCH


def fill(bench: Bench) -> None:
    bench.table(rows=((i,) for i in range(10, 10 * ROWS + 1, 10)))
    bench.database.execute("CREATE TABLE copied (serial INTEGER)")


def arrive(bench: Bench, key: int, serial: int) -> None:
    """The application writes a row in the old form."""
    bench.database.execute(
        "INSERT INTO item (id, serial, old) VALUES (:id, :serial, 5)", id=key, serial=serial
    )


@pytest.mark.parametrize("form", [form for form in FORMS if form != "free"])
async def test_rows_that_arrive_behind_the_cursor_and_beyond_the_end_are_swept(
    bench: Bench, form: str
) -> None:
    fill(bench)

    def application(event: Event) -> None:
        if isinstance(event, BatchDone) and event.batch == 2:
            arrive(bench, key=1, serial=ROWS)
            arrive(bench, key=75, serial=ROWS + 1)  # within the walk, behind the cursor
            arrive(bench, key=115, serial=ROWS + 2)  # within the walk, still ahead
            arrive(bench, key=100_000, serial=ROWS + 3)  # beyond the walk

    ran = await bench.run(bench.script(FORMS[form]), listen=application)
    assert ran.outcome == "done", ran.result
    assert len(ran.of(Sweeping)) == 1
    assert len(ran.of(Verifying)) == 2
    bench.assert_done(ROWS + 4)
    assert ran.of(Finished)[0].rows == ROWS + 4
    assert bench.standing().sweep == 1


async def test_a_free_form_is_called_until_nothing_remains(bench: Bench) -> None:
    fill(bench)

    def application(event: Event) -> None:
        if isinstance(event, BatchDone) and event.batch == 2:
            arrive(bench, key=1, serial=ROWS)
        if isinstance(event, Verifying) and bench.pending() == 0 and not event_seen:
            event_seen.append(True)
            arrive(bench, key=2, serial=ROWS + 1)

    event_seen: list[bool] = []
    ran = await bench.run(bench.script(FORMS["free"]), listen=application)
    assert ran.outcome == "done", ran.result
    assert len(ran.of(Sweeping)) == 1
    bench.assert_done(ROWS + 2)


async def test_a_free_form_without_remaining_runs_once(bench: Bench) -> None:
    fill(bench)
    body = FORMS["free"].partition("async def remaining")[0].replace(".limit(4)", "")
    ran = await bench.run(bench.script(body))
    assert ran.outcome == "done", ran.result
    assert len(ran.of(BatchDone)) == 1
    assert bench.written() == list(range(ROWS))


async def test_a_free_form_that_does_nothing_about_what_remains_is_not_done(bench: Bench) -> None:
    fill(bench)
    idle = HOME + (
        "async def migrate(session):\n    pass\n"
        "async def remaining(session):\n"
        "    return await session.scalar(sa.select(sa.func.count()).select_from(item).where(pending))\n"
    )
    ran = await bench.run(bench.script(idle))
    assert isinstance(ran.result.error, StillPending)
    assert "remaining() says 12" in ran.result.error.message
    assert bench.standing().state == "failed"


async def test_a_free_form_whose_work_is_done_already_is_not_called(bench: Bench) -> None:
    fill(bench)
    bench.database.script("UPDATE item SET new = old * 2; DELETE FROM written")
    ran = await bench.run(bench.script(FORMS["free"]))
    assert ran.outcome == "done", ran.result
    assert bench.written() == []


async def test_an_application_that_keeps_writing_the_old_form_is_told_about(bench: Bench) -> None:
    fill(bench)
    serials = iter(range(ROWS, 1000))

    def application(event: Event) -> None:
        if isinstance(event, Verifying):
            for _ in range(3):
                serial = next(serials)
                arrive(bench, key=1000 + serial, serial=serial)

    ran = await bench.run(bench.form(doubling()), settings=with_settings(max_sweeps=2), listen=application)
    error = ran.result.error
    assert isinstance(error, KeepsComing)
    assert "after 2 sweeps 3 rows pending again" in error.message
    assert all(key in error.message for key in ("1018", "1019", "1020"))
    assert "the application still writes the old form" in error.message
    assert len(ran.of(Sweeping)) == 2
    assert bench.pending() == 3
    assert (bench.standing().state, bench.standing().rows) == ("failed", ROWS + 6)

    again = await bench.run(bench.form(doubling()))
    assert again.outcome == "done", again.result
    bench.assert_done(ROWS + 9)


async def test_rows_that_go_back_to_the_old_form_are_done_again(bench: Bench) -> None:
    fill(bench)

    def application(event: Event) -> None:
        if isinstance(event, BatchDone) and event.batch == 2:
            bench.database.execute("UPDATE item SET new = NULL WHERE serial = 0")

    ran = await bench.run(bench.form(doubling()), listen=application)
    assert ran.outcome == "done", ran.result
    assert bench.wrong() == []
    assert bench.standing().rows == ROWS + 1


async def test_rows_that_a_computation_leaves_alone_are_seen_twice_and_then_settled(bench: Bench) -> None:
    fill(bench)
    asked: list[int] = []

    async def odd_ones_only(rows: list[Any]) -> list[Any]:
        asked.extend(row.serial for row in rows)
        return [{"new": row.old * 2} if row.serial % 2 else None for row in rows]

    ran = await bench.run(bench.form(compute_batch(odd_ones_only)))
    assert ran.outcome == "done", ran.result
    even = list(range(0, ROWS, 2))
    assert bench.written() == list(range(1, ROWS, 2))
    assert sorted(asked) == sorted([*range(ROWS), *even])
    standing = bench.standing()
    assert (standing.state, standing.rows, standing.left_alone) == ("done", ROWS // 2, len(even))
    assert ran.of(Finished)[0].left_alone == len(even)


async def test_nobody_who_writes_waits_for_the_last_look(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(bench)
    if bench.database.dialect == "sqlite":
        bench.database.script("PRAGMA journal_mode = wal")
    looked: list[int] = []

    async def look(work: SetWork, connection: AsyncConnection) -> tuple[Key, ...]:
        found = await RowsWork.look(work, connection)
        if bench.pending() == 0:
            looked.append(len(found))
            bench.database.execute("UPDATE item SET old = -1 WHERE serial = 5")
        return found

    monkeypatch.setattr(SetWork, "look", look)
    ran = await bench.run(bench.form(doubling()))
    assert ran.outcome == "done", ran.result
    assert looked == [0]
    assert bench.database.scalar("SELECT old FROM item WHERE serial = 5") == -1


async def test_where_who_reads_keeps_others_from_writing_the_last_look_keeps_the_lock_at_once(
    sqlite_bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench, refused = sqlite_bench, []
    fill(bench)

    async def look(work: SetWork, connection: AsyncConnection) -> tuple[Key, ...]:
        if bench.pending() == 0:
            writer = sqlite3.connect(str(bench.database.engine.url.database), timeout=0)
            with closing(writer), pytest.raises(sqlite3.OperationalError, match="locked") as caught:
                writer.execute("BEGIN IMMEDIATE")
            refused.append(caught.value)
        return await RowsWork.look(work, connection)

    monkeypatch.setattr(SetWork, "look", look)
    ran = await bench.run(bench.form(doubling()))
    assert ran.outcome == "done", ran.result
    assert len(refused) == 1


async def test_a_row_left_alone_does_not_hide_one_that_arrives(bench: Bench) -> None:
    fill(bench)

    async def all_but_the_first(rows: list[Any]) -> list[Any]:
        return [{"new": row.old * 2} if row.serial else None for row in rows]

    arrived: list[int] = []

    def application(event: Event) -> None:
        if isinstance(event, Verifying) and len(arrived) < 2:
            arrived.append(ROWS + len(arrived))
            arrive(bench, key=arrived[-1], serial=arrived[-1])

    ran = await bench.run(bench.form(compute_batch(all_but_the_first)), listen=application)
    assert ran.outcome == "done", ran.result
    assert bench.written() == list(range(1, ROWS + 2))
    assert bench.pending() == 1


@pytest.mark.parametrize("becomes", ["one that can be done", "another one that can be done"])
async def test_a_row_left_alone_that_changes_while_the_script_is_asked_a_last_time_is_done(
    bench: Bench, becomes: str
) -> None:
    fill(bench)
    asked: list[int] = []

    async def positive_ones_only(rows: list[Any]) -> list[Any]:
        answers = [None if row.old < 0 else {"new": row.old * 2} for row in rows]
        asked.extend(row.serial for row in rows)
        if asked.count(5) == 2 and not meanwhile:
            meanwhile.append(becomes)
            if becomes == "another one that can be done":
                bench.database.execute("UPDATE item SET new = 0 WHERE serial = 5")
                arrive(bench, key=1, serial=ROWS)
            else:
                bench.database.execute("UPDATE item SET old = 5 WHERE serial = 5")
        return answers

    meanwhile: list[str] = []
    bench.database.script("UPDATE item SET old = -1 WHERE serial IN (2, 5, 9); DELETE FROM written")
    ran = await bench.run(bench.form(compute_batch(positive_ones_only)))
    assert ran.outcome == "done", ran.result
    assert len(ran.of(Sweeping)) == 1
    assert bench.database.rows("SELECT serial FROM item WHERE new IS NULL ORDER BY serial") == [(2,), (9,)]
    assert bench.standing().left_alone == 2


@pytest.mark.parametrize("column", ["new_name", "old"])
async def test_rows_left_alone_that_the_application_goes_on_changing_do_not_keep_it_from_its_end(
    bench: Bench, column: str
) -> None:
    fill(bench)
    bench.database.execute("ALTER TABLE item ADD COLUMN new_name INTEGER")
    asked: list[int] = []

    async def nothing(rows: list[Any]) -> list[Any]:
        asked.append(len(rows))
        bench.database.execute(f"UPDATE item SET {column} = {len(asked)} WHERE serial = 5")
        return [None for _ in rows]

    ran = await bench.run(bench.form(compute_batch(nothing)))
    assert ran.outcome == "done", ran.result
    assert ran.of(Sweeping) == []
    # once in the walk and once in the end, or twice where what is read has changed
    assert sum(asked) <= 3 * ROWS
    assert bench.standing().left_alone == ROWS


async def test_a_row_changed_between_reading_and_writing_is_read_again(bench: Bench) -> None:
    fill(bench)
    calls = 0

    def interfere() -> None:
        bench.database.execute("UPDATE item SET old = 1000 WHERE serial = 5")
        # the batch before this one may be writing still
        while bench.pending() != ROWS - BATCH:
            time.sleep(0.01)
        bench.database.execute("DELETE FROM written")

    async def meanwhile(rows: list[Any]) -> list[Any]:
        nonlocal calls
        calls += 1
        if calls == 2:
            # nothing is held while Python computes, so the application is not kept waiting
            await anyio.to_thread.run_sync(interfere)
        return [{"new": row.old * 2} for row in rows]

    ran = await bench.run(bench.form(compute_batch(meanwhile)))
    assert ran.outcome == "done", ran.result
    assert bench.wrong() == []
    assert bench.database.scalar("SELECT new FROM item WHERE serial = 5") == 2000
    assert bench.standing().rows == ROWS
    assert bench.written() == list(range(BATCH, ROWS))


async def test_a_row_that_vanishes_between_reading_and_writing_is_not_counted(bench: Bench) -> None:
    fill(bench)

    async def meanwhile(rows: list[Any]) -> list[Any]:
        bench.database.execute("DELETE FROM item WHERE serial = 5")
        bench.database.execute("DELETE FROM written WHERE serial = 5")
        return [{"new": row.old * 2} for row in rows]

    ran = await bench.run(bench.form(compute_batch(meanwhile)))
    assert ran.outcome == "done", ran.result
    bench.assert_done(ROWS - 1, [serial for serial in range(ROWS) if serial != 5])


async def test_an_edited_script_begins_again_at_the_first_row_and_keeps_what_is_done(bench: Bench) -> None:
    fill(bench)
    await bench.run(bench.form(doubling(), checksum="a" * 16), max_batches=1)
    arrive(bench, key=1, serial=ROWS)
    ran = await bench.run(bench.form(doubling(), checksum="b" * 16))
    assert ran.outcome == "done", ran.result
    assert ran.of(Sweeping) == []
    bench.assert_done(ROWS + 1)
