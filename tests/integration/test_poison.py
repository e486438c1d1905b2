"""Rows that fail by themselves: they stop the work with their key, or are set aside; all others are done."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from datamigrate.database.ledger.store import Ledger
from datamigrate.doing.rows_work import RowsWork
from datamigrate.doing.set_work import SetWork
from datamigrate.words.errors import RowFailed, TooManyQuarantined
from datamigrate.words.events import Event, Finished, Quarantined, Released, Verifying
from datamigrate.words.migration import Key
from workbench import BATCH, BOB, HOME, NAME, Bench, opened

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("however_found")]

ROWS = 5 * BATCH
POISON = (7, 18)

# each of these cannot do the rows whose `old` is negative
UPDATE = "migrate = update_rows(item, pending=pending, values={{item.c.new: item.c.old * 2}}{options})"
DELETE = "migrate = delete_rows(item, pending=pending{options})"
BY_ROW = """
@compute_rows(item, pending=pending, reads=[item.c.old], writes=[item.c.new]{options})
def migrate(row):
    if row.old < 0:
        raise ValueError("no negative ones")
    return {{"new": row.old * 2}}
"""
BY_ROW_ASYNC = BY_ROW.replace("def migrate", "async def migrate")
BY_BATCH = """
@compute_rows(item, pending=pending, reads=[item.c.old], writes=[item.c.new]{options})
def migrate(rows):
    if any(row.old < 0 for row in rows):
        raise ValueError("no negative ones")
    return [{{"new": row.old * 2}} for row in rows]
"""
WRITTEN = """
@compute_rows(item, pending=pending, reads=[item.c.old], writes=[item.c.new]{options})
def migrate(row):
    return {{"new": row.old * 2}}
"""
EACH_BATCH = """
@each_batch(item, pending=pending{options})
async def migrate(batch):
    found = await batch.execute(sa.select(item.c.old).where(batch.rows))
    if any(old < 0 for (old,) in found):
        raise ValueError("no negative ones")
    await batch.execute(sa.update(item).where(batch.rows).values(new=item.c.old * 2))
"""
FORMS = {
    "update": UPDATE,
    "delete": DELETE,
    "compute by row": BY_ROW,
    "compute by row, async": BY_ROW_ASYNC,
    "compute by batch": BY_BATCH,
    "computed, refused by the table": WRITTEN,
    "each batch": EACH_BATCH,
}
QUARANTINE = ', on_row_error="quarantine"'


def fill(bench: Bench, form: str, poison: tuple[int, ...] = POISON) -> None:
    """Rows 1 to ROWS, of which those of these keys cannot be done."""
    bench.table("id INTEGER PRIMARY KEY, CHECK (new >= 0)", ((i,) for i in range(1, ROWS + 1)))
    keys = ", ".join(map(str, poison))
    bench.database.execute(f"UPDATE item SET old = -1 WHERE id IN ({keys})")
    bench.database.execute("DELETE FROM written")
    if form == "delete":
        bench.database.execute("CREATE TABLE held (id INTEGER REFERENCES item (id))")
        bench.database.execute(f"INSERT INTO held SELECT id FROM item WHERE id IN ({keys})")


def text(form: str, options: str = "") -> str:
    return HOME + FORMS[form].format(options=options)


def left(bench: Bench) -> list[Any]:
    return [key for (key,) in bench.database.rows("SELECT id FROM item WHERE new IS NULL ORDER BY id")]


def aside(bench: Bench) -> list[tuple[Any, ...]]:
    return bench.database.rows("SELECT key, attempts FROM datamigrate_quarantine ORDER BY first_at, key")


@pytest.mark.parametrize("form", FORMS)
async def test_a_poison_row_stops_it_by_name_or_is_set_aside_with_all_others_done_once(
    bench: Bench, form: str
) -> None:
    fill(bench, form)
    ran = await bench.run(bench.script(text(form)))
    assert ran.outcome == "failed"
    error = ran.result.error
    assert isinstance(error, RowFailed)
    assert error.key == (7,)
    assert "job: Row 7: " in error.message
    assert "what was done before it is kept: 6 rows" in error.message
    assert left(bench)[0] == 7
    assert bench.standing().cursor == '{"v":1,"key":[["int","6"]]}'
    if "compute by" in form or form == "each batch":
        assert "no negative ones" in error.message
        assert "20260101_0000_job.py:" in error.message
    assert "on_row_error" in error.hint

    ran = await bench.run(bench.script(text(form, QUARANTINE)))
    assert ran.outcome == "done", ran.result
    assert ran.result.quarantined == 2
    assert [event.key for event in ran.of(Quarantined)] == ["7", "18"]
    assert [event.total for event in ran.of(Quarantined)] == [1, 2]
    assert ran.of(Finished)[0].quarantined == 2
    assert left(bench) == list(POISON)
    assert [key for key, _ in aside(bench)] == ['{"v":1,"key":[["int","7"]]}', '{"v":1,"key":[["int","18"]]}']
    bench.assert_done(ROWS - 2, (i for i in range(ROWS) if i + 1 not in POISON))


async def test_rows_with_a_key_of_several_columns_are_set_aside_too(bench: Bench) -> None:
    bench.table(
        "tenant TEXT, id INTEGER, PRIMARY KEY (tenant, id), CHECK (new >= 0)", (("a", i) for i in range(6))
    )
    bench.database.execute("UPDATE item SET old = -1 WHERE id IN (2, 5)")
    script = bench.script(text("update", QUARANTINE))
    ran = await bench.run(script)
    assert ran.outcome == "done", ran.result
    assert [event.key for event in ran.of(Quarantined)] == ["('a', 2)", "('a', 5)"]
    # the fresh look passes over those two, and lets go what was mended
    bench.database.execute("UPDATE item SET new = 0 WHERE id = 5")
    bench.database.execute("UPDATE datamigrate_migration SET state = 'stopped'")
    again = await bench.run(script)
    assert [event.sample for event in again.of(Released)] == ["('a', 5)"]
    assert again.result.quarantined == 1


async def test_a_row_whose_key_is_not_equal_to_itself_stays_aside(postgres_bench: Bench) -> None:
    bench = postgres_bench
    bench.table("id DOUBLE PRECISION PRIMARY KEY, CHECK (new >= 0)", ((float(i),) for i in range(6)))
    bench.database.execute("UPDATE item SET old = -1, id = 'NaN' WHERE id = 3")
    ran = await bench.run(bench.script(text("update", QUARANTINE)))
    assert ran.outcome == "done", ran.result
    assert ran.of(Released) == []
    assert (ran.result.quarantined, len(aside(bench)), bench.pending()) == (1, 1, 1)


@pytest.mark.parametrize("form", ["update", "compute by row"])
async def test_more_than_may_be_set_aside_stop_it(bench: Bench, form: str) -> None:
    fill(bench, form)
    ran = await bench.run(bench.script(text(form, QUARANTINE + ", max_quarantined=1")))
    assert isinstance(ran.result.error, TooManyQuarantined)
    assert "row 18 fails too" in ran.result.error.message
    assert len(aside(bench)) == 1
    assert bench.standing().state == "failed"


@pytest.mark.parametrize("form", FORMS)
async def test_a_poison_row_that_comes_behind_the_cursor_is_met_like_any_other(
    bench: Bench, form: str
) -> None:
    fill(bench, form, poison=(7,))
    comes = ROWS + 1

    def add(event: Event) -> None:
        if isinstance(event, Verifying) and not bench.database.rows(f"SELECT 1 FROM item WHERE id = {comes}"):
            bench.database.execute(f"INSERT INTO item (id, serial, old) VALUES ({comes}, {ROWS}, -1)")
            if form == "delete":
                bench.database.execute(f"INSERT INTO held VALUES ({comes})")

    ran = await bench.run(bench.script(text(form, QUARANTINE)), listen=add)
    assert ran.outcome == "done", ran.result
    assert [event.key for event in ran.of(Quarantined)] == ["7", str(comes)]
    assert left(bench) == [7, comes]


async def test_what_no_row_is_to_blame_for_is_not_tried_for_ever(postgres_bench: Bench) -> None:
    bench = postgres_bench
    bench.table(rows=((i,) for i in range(1, ROWS + 1)))
    bench.database.execute(f"UPDATE item SET new = old WHERE id <= {BATCH}")
    bench.database.script(
        "CREATE FUNCTION closed() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'closed today'; END $$; "
        "CREATE TRIGGER closed BEFORE UPDATE ON item FOR EACH STATEMENT EXECUTE FUNCTION closed()"
    )
    ran = await bench.run(bench.script(text("update")))
    assert ran.outcome == "failed"
    assert "closed today" in str(ran.result.error)


IN_A_GROUP = """
import asyncio

async def call_service():
    raise {error}
"""
COMPUTED_IN_A_GROUP = """
@compute_rows(item, pending=pending, reads=[item.c.old], writes=[item.c.new]{options})
async def migrate(row):
    if row.old < 0:
        async with asyncio.TaskGroup() as group:
            group.create_task(call_service())
    return {{"new": row.old * 2}}
"""
COMPUTED_TOGETHER_IN_A_GROUP = """
@compute_rows(item, pending=pending, reads=[item.c.old], writes=[item.c.new]{options})
async def migrate(rows):
    if any(row.old < 0 for row in rows):
        async with asyncio.TaskGroup() as group:
            group.create_task(call_service())
    return [{{"new": row.old * 2}} for row in rows]
"""
DONE_IN_A_GROUP = """
@each_batch(item, pending=pending{options})
async def migrate(batch):
    found = await batch.execute(sa.select(item.c.old).where(batch.rows))
    if any(old < 0 for (old,) in found):
        async with asyncio.TaskGroup() as group:
            group.create_task(call_service())
    await batch.execute(sa.update(item).where(batch.rows).values(new=item.c.old * 2))
"""
IN_GROUPS = {
    "compute by row": COMPUTED_IN_A_GROUP,
    "compute by batch": COMPUTED_TOGETHER_IN_A_GROUP,
    "each batch": DONE_IN_A_GROUP,
}


@pytest.mark.parametrize("body", IN_GROUPS.values(), ids=IN_GROUPS)
async def test_a_service_that_is_down_is_no_rows_fault_in_a_group_of_tasks_either(
    bench: Bench, body: str
) -> None:
    fill(bench, body)
    down = IN_A_GROUP.format(error="ConnectionError('the service is down')")
    ran = await bench.run(bench.script(HOME + down + body.format(options=QUARANTINE)))
    assert ran.outcome == "failed"
    assert "ConnectionError: the service is down at " in str(ran.result.error)
    assert aside(bench) == []

    # the same where it is the row's
    unfit = IN_A_GROUP.format(error="ValueError('no negative ones')")
    ran = await bench.run(bench.script(HOME + unfit + body.format(options=QUARANTINE)))
    assert ran.outcome == "done", ran.result
    assert left(bench) == list(POISON)
    (said,) = set(bench.database.rows("SELECT error FROM datamigrate_quarantine"))
    assert "ValueError: no negative ones at " in said[0]


async def test_a_row_let_out_during_the_last_look_is_done_before_all_is_said_to_be(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(bench, "update", poison=(7,))
    if bench.database.dialect == "sqlite":
        bench.database.script("PRAGMA journal_mode = wal")
    let_out: list[int] = []

    async def look(work: SetWork, connection: AsyncConnection) -> tuple[Key, ...]:
        found = await RowsWork.look(work, connection)
        if aside(bench) and not found and not let_out:
            bench.database.execute("UPDATE item SET old = 70 WHERE id = 7")
            async with opened(bench.database) as database, database.writing() as other:
                let_out.append(await Ledger(BOB).quarantine(NAME).hand_back(other))
        return found

    monkeypatch.setattr(SetWork, "look", look)
    ran = await bench.run(bench.script(text("update", QUARANTINE)))
    assert let_out == [1]
    assert ran.outcome == "done", ran.result
    assert left(bench) == []
