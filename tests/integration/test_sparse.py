from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncConnection

import datamigrate
from datamigrate.database.database import Database
from datamigrate.database.keyset import Keyset, first_found
from datamigrate.doing import choosing, rows_work
from datamigrate.doing.settings import Settings
from datamigrate.thought.pacing import Limits
from datamigrate.words.events import BatchDone, Event, Sweeping, Verifying
from workbench import BATCH, DOUBLED, FORMS, ITEM, PENDING, Bench, each_batch, opened

pytestmark = pytest.mark.anyio

ROWS = 200_000
ONE_IN = 10_000
USUAL = Settings(limits=Limits(target_time=600))  # the usual sizes, whatever this machine's pace

KEYS = Keyset(ITEM, ("id",), (sa.Text(),))

SERIES = {
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows}) ",
    "postgresql": "WITH n(i) AS (SELECT generate_series(1, {rows})) ",
}


def fill(bench: Bench, rows: int = ROWS, one_in: int = ONE_IN) -> None:
    bench.table()
    bench.database.execute("CREATE TABLE copied (serial INTEGER)")
    pending = f"CASE WHEN i % {one_in} = 7 % {one_in} THEN NULL ELSE i * 2 END"
    bench.database.execute(
        f"INSERT INTO item (serial, old, new, id) {SERIES[bench.database.dialect].format(rows=rows)} "
        f"SELECT i, i, {pending}, i * 3 FROM n"
    )
    bench.database.execute("ANALYZE")


@pytest.fixture
def walked(monkeypatch: pytest.MonkeyPatch) -> None:
    """However few rows are pending, they are found by walking the table."""
    monkeypatch.setattr(rows_work, "MANY", 10**9)


@pytest.mark.parametrize("form", ["update", "delete", "compute", "each batch"])
async def test_a_few_pending_rows_of_a_large_table_are_done_without_walking_it(
    bench: Bench, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(bench)
    looks, first_key = [], choosing.first_key

    async def looked_for(connection: Any, *given: Any) -> Any:
        if isinstance(connection, AsyncConnection):  # and does not just explain what would be done
            looks.append(given)
        return await first_key(connection, *given)

    monkeypatch.setattr(choosing, "first_key", looked_for)
    ran = await bench.run(bench.script(FORMS[form]), settings=USUAL)
    assert ran.outcome == "done", ran.result
    bench.assert_done(ROWS // ONE_IN, range(7, ROWS, ONE_IN))
    assert len(ran.of(BatchDone)) == 1
    # for the table's last key, and whether it is large, twice: never for the end of a batch
    assert len(looks) == 4


async def test_a_few_pending_rows_of_a_large_table_are_done_in_batches_of_the_size_that_is_asked_for(
    bench: Bench,
) -> None:
    fill(bench)
    ran = await bench.run(bench.script(FORMS["update"]), batch_size=8)
    assert ran.outcome == "done", ran.result
    assert [batch.rows for batch in ran.of(BatchDone)] == [8, 8, 4]


@pytest.mark.parametrize("form", ["update", "compute", "each batch"])
async def test_hundreds_of_rows_of_a_composite_key_are_listed_too(
    bench: Bench, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows_work, "MANY", 1)
    rows = rows_work.FEW - 1
    bench.table("tenant TEXT, id INTEGER, PRIMARY KEY (tenant, id)", ((f"t{i % 7}", i) for i in range(rows)))
    bench.database.execute("CREATE TABLE copied (serial INTEGER)")
    ran = await bench.run(bench.script(FORMS[form]), settings=USUAL)
    assert ran.outcome == "done", ran.result
    bench.assert_done(rows)
    assert [batch.rows for batch in ran.of(BatchDone)] == [500, rows - 500]


async def test_a_large_table_without_a_pending_row_is_not_walked(bench: Bench) -> None:
    fill(bench, one_in=ROWS + 1)
    bench.database.execute("UPDATE item SET new = old * 2 WHERE new IS NULL")
    ran = await bench.run(bench.script(FORMS["update"]), settings=USUAL)
    assert ran.outcome == "done", ran.result
    assert ran.of(BatchDone) == []


async def test_what_arrives_in_a_large_table_meanwhile_is_swept_without_walking_it_again(
    bench: Bench,
) -> None:
    fill(bench)

    def application(event: Event) -> None:
        if isinstance(event, Verifying) and not ran_already:
            ran_already.append(event)
            bench.database.execute("UPDATE item SET new = NULL WHERE serial IN (1, 99999, 200000)")

    ran_already: list[Event] = []
    ran = await bench.run(bench.script(FORMS["update"]), settings=USUAL, listen=application)
    assert ran.outcome == "done", ran.result
    assert [batch.rows for batch in ran.of(BatchDone)] == [ROWS // ONE_IN, 3]
    assert bench.wrong() == []


async def test_a_text_key_that_knows_no_case_is_listed_in_the_tables_order(sqlite_bench: Bench) -> None:
    bench, keys = sqlite_bench, [f"{letter}{i}" for i in range(50) for letter in "aBcD"]
    bench.table("id TEXT COLLATE NOCASE PRIMARY KEY", rows=((key,) for key in keys))
    async with opened(bench.database) as database, database.looking() as connection:
        found = await connection.execute(first_found(KEYS, PENDING, 1_000))
        assert [key for (key,) in found] == sorted(keys, key=str.lower)


@pytest.mark.usefixtures("walked")
@pytest.mark.parametrize("form", ["update", "compute", "each batch"])
async def test_one_pending_row_in_ten_thousand_takes_few_batches_and_all_are_found(
    bench: Bench, form: str
) -> None:
    fill(bench)
    ran = await bench.run(bench.script(FORMS[form]), settings=USUAL)
    assert ran.outcome == "done", ran.result
    assert ran.of(Sweeping) == []
    bench.assert_done(ROWS // ONE_IN, range(7, ROWS, ONE_IN))
    assert bench.wrong() == []
    # a batch looks at no more than its span of keys, and the span doubles from 500; one that is read ahead
    # is chosen before the one before it has told how quick it was
    assert len(ran.of(BatchDone)) <= 2 * (math.log2(ROWS / 500) + 3)


async def test_dense_pending_rows_are_done_in_batches_that_grow(bench: Bench) -> None:
    fill(bench, rows=20_000, one_in=1)
    ran = await bench.run(bench.script(FORMS["update"]), settings=USUAL)
    assert ran.outcome == "done", ran.result
    bench.assert_done(20_000, range(1, 20_001))
    sizes = [batch.rows for batch in ran.of(BatchDone)]
    assert sizes[0] == 500
    assert sizes[:-1] == sorted(sizes[:-1])
    assert len(sizes) < 10


@pytest.mark.usefixtures("walked")
@pytest.mark.parametrize("form", ["update", "compute"])
async def test_every_statement_of_a_batch_looks_at_a_slice_of_the_keys_index_only(
    postgres_bench: Bench, form: str
) -> None:
    bench = postgres_bench
    fill(bench)
    sent: list[tuple[str, Any]] = []

    def listen(database: Database) -> None:
        def note(_c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
            if "item" in statement and "pg_catalog" not in statement:
                sent.append((statement, parameters))

        event.listen(database.engine.sync_engine, "before_cursor_execute", note)

    script = bench.script(FORMS[form])
    await bench.run(script, settings=USUAL, max_batches=3)
    sent.clear()
    await bench.run(script, settings=USUAL, max_batches=1, meddle=listen)
    batch = [(s, p) for s, p in sent if "item.id" in s and ">" in s]
    assert [s.split()[0] for s, _ in batch].count("UPDATE") <= 1
    assert len(batch) >= 3
    for statement, parameters in batch:
        for scan in scans(await explained(bench, statement, parameters)):
            assert scan.get("Index Name") == "item_pkey", statement
            assert "id > " in scan["Index Cond"], statement
            assert "id <= " in scan["Index Cond"], statement
            looked_at = scan["Actual Rows"] + scan.get("Rows Removed by Filter", 0)
            assert looked_at <= 2 * ROWS // 3, statement


async def explained(bench: Bench, statement: str, parameters: Any) -> dict[str, Any]:
    async with opened(bench.database) as database, database.looking() as connection:
        found = await connection.exec_driver_sql(
            f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", tuple(parameters)
        )
        plan = found.scalar_one()
    parsed = json.loads(plan) if isinstance(plan, str) else plan
    top: dict[str, Any] = parsed[0]["Plan"]
    return top


def scans(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The plan's nodes that read the table."""
    if plan.get("Relation Name") == "item" and plan["Node Type"] != "ModifyTable":
        yield plan
    for inner in plan.get("Plans", ()):
        yield from scans(inner)


async def test_rows_outside_of_the_batch_are_not_locked(postgres_bench: Bench) -> None:
    bench = postgres_bench
    bench.table(rows=((i,) for i in range(12)))
    free: list[int] = []

    async def double(batch: Any) -> None:
        await batch.execute(DOUBLED.where(batch.rows))
        found = bench.database.rows("SELECT serial FROM item ORDER BY id FOR UPDATE SKIP LOCKED")
        free.append(len(found))

    ran = await bench.run(bench.form(each_batch(double)))
    assert ran.outcome == "done", ran.result
    assert free == [8, 8, 8]


OTHER = sa.table("other", sa.column("item_id", sa.Integer), sa.column("kind", sa.Integer))
THEIRS = OTHER.c.item_id == ITEM.c.id
BELONGING = {
    "some": (sa.exists().where(THEIRS), "id IN (SELECT item_id FROM other)"),
    "none": (
        ~sa.exists().where(OTHER.c.kind == 1, THEIRS),
        "id NOT IN (SELECT item_id FROM other WHERE kind = 1)",
    ),
    "two": (
        sa.select(sa.func.count()).select_from(OTHER).where(THEIRS).scalar_subquery() == 2,
        "id IN (SELECT item_id FROM other GROUP BY item_id HAVING count(*) = 2)",
    ),
    "none of its twins": (
        ~sa.exists(
            sa.select(OTHER.c.kind).where(ITEM.c.id == OTHER.c.item_id, OTHER.c.kind == ITEM.c.old % 3)
        ),
        "NOT EXISTS (SELECT 1 FROM other WHERE item_id = item.id AND kind = item.old % 3)",
    ),
}


@pytest.mark.parametrize("what", BELONGING)
@pytest.mark.parametrize("deletes", [False, True])
async def test_rows_are_chosen_by_what_belongs_to_them_in_whatever_batch_they_are(
    bench: Bench, what: str, deletes: bool
) -> None:
    chance, rows = random.Random(what), 20 * BATCH
    bench.table(rows=((i,) for i in chance.sample(range(1000), rows)))
    bench.database.execute("CREATE TABLE other (item_id INTEGER, kind INTEGER)")
    ids = [i for (i,) in bench.database.rows("SELECT id FROM item")]
    for _ in range(rows):
        bench.database.execute(
            "INSERT INTO other VALUES (:i, :kind)", i=chance.choice(ids), kind=chance.randint(0, 2)
        )
    pending, said = BELONGING[what]
    wanted = {i for (i,) in bench.database.rows(f"SELECT id FROM item WHERE {said}")}
    assert 0 < len(wanted) < rows
    form = (
        datamigrate.delete_rows(ITEM, pending=pending)
        if deletes
        else datamigrate.update_rows(ITEM, pending=PENDING & pending, values={ITEM.c.new: ITEM.c.old * 2})
    )
    ran = await bench.run(bench.form(form))
    assert ran.outcome == "done", ran.result
    left = {i for (i,) in bench.database.rows("SELECT id FROM item WHERE new IS NULL")}
    assert set(ids) - left == wanted


async def test_a_key_may_be_larger_than_what_refers_to_it_can_hold(postgres_bench: Bench) -> None:
    bench, first = postgres_bench, 2**40
    bench.table("id BIGINT PRIMARY KEY", rows=((first + i,) for i in range(3 * BATCH)))
    bench.database.execute("CREATE TABLE other (item_id INTEGER, kind INTEGER)")
    form = datamigrate.update_rows(
        ITEM, pending=PENDING & ~sa.exists().where(THEIRS), values={ITEM.c.new: ITEM.c.old * 2}
    )
    ran = await bench.run(bench.form(form))
    assert ran.outcome == "done", ran.result
    bench.assert_done(3 * BATCH)
