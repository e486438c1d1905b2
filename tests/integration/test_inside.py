"""On SQLite a quick function is called from within the database: it comes to the same as anywhere else."""

from __future__ import annotations

import asyncio
import decimal
import itertools
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from enum import StrEnum
from typing import Any

import anyio
import pytest
import sqlalchemy as sa

import datamigrate
from datamigrate.authoring.bare import bare_function
from datamigrate.authoring.forms import ComputeRows
from datamigrate.authoring.script import Script
from datamigrate.doing import calling
from datamigrate.doing.stopping import Stop
from datamigrate.thought.pacing import Limits
from datamigrate.words.errors import RowFailed
from datamigrate.words.events import BatchDone, Quarantined
from workbench import Bench, Ran, at_every_step, with_settings

pytestmark = pytest.mark.anyio

BATCH = 50
ROWS = 8 * BATCH
SETTINGS = with_settings(first_rows=BATCH, limits=Limits(target_time=600, max_rows=BATCH))
FAILS = 222

TABLE = sa.table("word", sa.column("id", sa.Integer), sa.column("old", sa.Text), sa.column("new", sa.Text))
PENDING = TABLE.c.new.is_(None)


@pytest.fixture(autouse=True)
def every_function_is_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """However busy the machine is."""
    monkeypatch.setattr("datamigrate.doing.compute_work.QUICK", 1.0)


def fill(bench: Bench, rows: int = ROWS) -> None:
    bench.database.execute("CREATE TABLE word (id INTEGER PRIMARY KEY, old TEXT, new TEXT)")
    with bench.database.engine.begin() as connection:
        connection.execute(
            sa.text("INSERT INTO word (id, old) VALUES (:id, :old)"),
            [{"id": i, "old": f"w{i}"} for i in range(1, rows + 1)],
        )


def computing(function: Callable[[Any], Any], **options: Any) -> ComputeRows:
    wanted = {"pending": PENDING, "reads": [TABLE.c.old], "writes": [TABLE.c.new]} | options
    return datamigrate.compute_rows(TABLE, **wanted)(function)


def done(bench: Bench) -> dict[int, str]:
    return dict(bench.database.rows("SELECT id, new FROM word WHERE new IS NOT NULL"))


def upper(row: Any) -> dict[str, str]:
    return {"new": row.old.upper()}


async def run(bench: Bench, form: ComputeRows) -> Ran:
    script = bench.form(form)
    script = replace(script, migration=replace(script.migration, options=form.options))
    return await bench.run(script, settings=SETTINGS)


async def run_noting(bench: Bench, what: ComputeRows | Script) -> tuple[Ran, list[str]]:
    """A run of a form or a script, and the updates that it made on the table."""
    said: list[str] = []
    ran = await bench.run(
        bench.form(what) if isinstance(what, ComputeRows) else what,
        settings=SETTINGS,
        meddle=lambda database: at_every_step(
            database, lambda what: said.append(what) if what.startswith("UPDATE word") else None
        ),
    )
    return ran, said


def inside(updates: list[str]) -> list[str]:
    return [update for update in updates if "datamigrate_value_0" in update]


async def test_a_quick_function_is_called_from_within_the_database_from_the_second_batch_on(
    bench: Bench,
) -> None:
    fill(bench)
    ran, updates = await run_noting(bench, computing(upper))
    assert ran.outcome == "done", ran.result
    assert done(bench) == {i: f"W{i}" for i in range(1, ROWS + 1)}
    is_inside = bench.database.dialect == "sqlite"
    assert len(inside(updates)) == (ROWS // BATCH - 1 if is_inside else 0)


async def test_a_row_that_is_not_pending_is_never_asked_about(bench: Bench) -> None:
    fill(bench)
    bench.database.execute("CREATE TABLE wanted (word_id INTEGER, n INTEGER)")
    bench.database.execute("CREATE INDEX wanted_word ON wanted (word_id)")
    bench.database.execute("INSERT INTO wanted SELECT id, 1 FROM word WHERE id % 3 > 0")
    wanted = sa.table("wanted", sa.column("word_id"), sa.column("n"))
    count = sa.select(sa.func.count()).select_from(wanted).where(wanted.c.word_id == TABLE.c.id)
    asked: list[int] = []

    def migrate(row: Any) -> dict[str, str]:
        asked.append(int(row.old[1:]))
        return upper(row)

    ran = await run(bench, computing(migrate, pending=PENDING & (count.scalar_subquery() > 0)))
    assert ran.outcome == "done", ran.result
    assert sorted(asked) == sorted(done(bench)) == [i for i in range(1, ROWS + 1) if i % 3]


async def test_what_an_authors_type_says_in_sql_is_said_of_every_row(bench: Bench) -> None:
    class Loud(sa.types.UserDefinedType[str]):
        cache_ok = True

        def get_col_spec(self, **_kw: Any) -> str:
            return "TEXT"

        def bind_expression(self, bindvalue: sa.BindParameter[str]) -> sa.ColumnElement[str]:
            return sa.func.upper(bindvalue, type_=self)

        def column_expression(self, column: sa.ColumnElement[str]) -> sa.ColumnElement[str]:
            return sa.func.replace(column, "w", "v", type_=self)

    fill(bench)
    loud = sa.table("word", sa.column("id", sa.Integer), sa.column("old", Loud()), sa.column("new", Loud()))
    form = datamigrate.compute_rows(
        loud, pending=loud.c.new.is_(None), reads=[loud.c.old], writes=[loud.c.new]
    )(lambda row: {"new": row.old})
    ran = await run(bench, form)
    assert ran.outcome == "done", ran.result
    assert done(bench) == {i: f"V{i}" for i in range(1, ROWS + 1)}


async def test_what_a_trigger_changes_in_other_rows_is_seen(sqlite_bench: Bench) -> None:
    bench = sqlite_bench
    fill(bench)
    bench.database.script(
        "CREATE TRIGGER other AFTER UPDATE OF new ON word WHEN old.id % 2 = 1 "
        "BEGIN UPDATE word SET old = 'changed' WHERE id = old.id + 1; END"
    )
    ran = await run(bench, computing(upper))
    assert ran.outcome == "done", ran.result
    assert set(done(bench).values()) == {"CHANGED", *(f"W{i}" for i in range(1, ROWS, 2))}


class Choosy(sa.TypeDecorator[str]):
    """A text that may not be of a certain row."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:
        if value == "W222":
            raise ValueError("not that one")
        return value


FAILING: dict[str, Callable[[Any], Any]] = {
    "a function that raises": lambda row: {"new": row.old.upper()[: 9 // (row.old != "w222")]},
    "a result of the wrong type": lambda row: {"new": FAILS if row.old == "w222" else row.old.upper()},
    "a result with another name": lambda row: {("now" if row.old == "w222" else "new"): row.old.upper()},
    "no mapping": lambda row: [] if row.old == "w222" else upper(row),
    "a value that cannot be converted": upper,
}


@pytest.mark.parametrize("what", FAILING)
async def test_a_row_that_fails_is_named_and_set_aside_alone(bench: Bench, what: str) -> None:
    fill(bench)
    new = sa.column("new", Choosy()) if "converted" in what else sa.column("new", sa.Text)
    table = sa.table("word", sa.column("id", sa.Integer), sa.column("old", sa.Text), new)
    options: dict[str, Any] = {
        "pending": table.c.new.is_(None),
        "reads": [table.c.old],
        "writes": [table.c.new],
    }
    stopped = await run(bench, datamigrate.compute_rows(table, **options)(FAILING[what]))
    assert stopped.outcome == "failed"
    assert isinstance(stopped.result.error, RowFailed)
    assert stopped.result.error.key == (FAILS,)
    assert sorted(done(bench)) == list(range(1, FAILS))
    aside = datamigrate.compute_rows(table, on_row_error="quarantine", **options)(FAILING[what])
    ran = await run(bench, aside)
    assert ran.outcome == "done", ran.result
    assert [event.key for event in ran.of(Quarantined)] == [str(FAILS)]
    assert done(bench) == {i: f"W{i}" for i in range(1, ROWS + 1) if i != FAILS}


async def test_once_something_has_gone_wrong_inside_the_function_is_called_outside(
    sqlite_bench: Bench,
) -> None:
    fill(sqlite_bench)
    opened: list[sqlite3.Connection] = []

    def migrate(row: Any) -> dict[str, str]:
        # may be used by the thread only that has opened it
        if not opened:
            opened.append(sqlite3.connect(":memory:"))
        (found,) = opened[0].execute("SELECT upper(?)", (row.old,)).fetchone()
        return {"new": found}

    ran, updates = await run_noting(sqlite_bench, computing(migrate))
    assert ran.outcome == "done", ran.result
    assert done(sqlite_bench) == {i: f"W{i}" for i in range(1, ROWS + 1)}
    assert len(inside(updates)) == 1


async def test_a_function_that_is_not_quick_any_more_does_not_keep_others_from_writing(
    sqlite_bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(sqlite_bench)
    monkeypatch.setattr(calling, "LONGEST", 0.05)

    def migrate(row: Any) -> dict[str, str]:
        if row.old == "w210":
            time.sleep(0.1)
        return upper(row)

    ran, updates = await run_noting(sqlite_bench, computing(migrate))
    assert ran.outcome == "done", ran.result
    assert done(sqlite_bench) == {i: f"W{i}" for i in range(1, ROWS + 1)}
    assert len(inside(updates)) == 4


async def test_a_function_may_read_more_columns_than_sqlite_takes_arguments(bench: Bench) -> None:
    columns = [f"c{i}" for i in range(130)]
    bench.database.execute(
        f"CREATE TABLE word (id INTEGER PRIMARY KEY, new TEXT, {', '.join(f'{c} TEXT' for c in columns)})"
    )
    for i in range(1, 3 * BATCH):
        bench.database.execute("INSERT INTO word (id, c129) VALUES (:i, :word)", i=i, word=f"w{i}")
    wide = sa.table("word", sa.column("id", sa.Integer), sa.column("new", sa.Text), *map(sa.column, columns))
    form = datamigrate.compute_rows(
        wide, pending=wide.c.new.is_(None), reads=[wide.c[c] for c in columns], writes=[wide.c.new]
    )(lambda row: {"new": row.c129.upper()})
    ran = await run(bench, form)
    assert ran.outcome == "done", ran.result
    assert done(bench) == {i: f"W{i}" for i in range(1, 3 * BATCH)}


async def test_a_mapping_that_is_filled_again_for_every_row_is_taken_as_it_was_for_each(
    sqlite_bench: Bench,
) -> None:
    fill(sqlite_bench)
    result: dict[str, str] = {}

    def migrate(row: Any) -> dict[str, str]:
        result["new"] = row.old.upper()
        return dict(result) if int(row.old[1:]) <= BATCH else result

    ran, updates = await run_noting(sqlite_bench, computing(migrate))
    assert ran.outcome == "done", ran.result
    assert len(inside(updates)) == ROWS // BATCH - 1
    assert done(sqlite_bench) == {i: f"W{i}" for i in range(1, ROWS + 1)}


async def test_a_function_that_waits_or_takes_a_batch_is_not_called_inside(sqlite_bench: Bench) -> None:
    async def waiting(row: Any) -> dict[str, str]:
        return upper(row)

    def batch(rows: Any) -> list[dict[str, str]]:
        return [upper(row) for row in rows]

    for function in (waiting, batch):
        fill(sqlite_bench)
        ran, updates = await run_noting(sqlite_bench, computing(function))
        assert ran.outcome == "done", ran.result
        assert not inside(updates)
        assert len(done(sqlite_bench)) == ROWS
        sqlite_bench.database.execute("DROP TABLE word")
        sqlite_bench.database.execute("DELETE FROM datamigrate_range")
        sqlite_bench.database.execute("DELETE FROM datamigrate_migration")


BARE = {
    "as ever": 'def migrate(row):\n    return {"new": row.old.upper()}',
    "asynchronous, but it waits for nothing": 'async def migrate(row):\n    return {"new": row.old.upper()}',
    "rows are left alone": 'def migrate(row):\n    return {"new": row.old.upper()} if row.old != "w300" else None',
    "a row fails": 'def migrate(row):\n    return {"new": row.old.upper()[: 9 // (row.old != "w222")]}',
    "a wrong type": 'def migrate(row):\n    return {"new": row.old.upper() if row.old != "w222" else 222}',
    "it is slow in the end": """
import time


def migrate(row):
    if row.old == "w210":
        time.sleep(0.7)
    return {"new": row.old.upper()}
""",
}
# the first batch is never, one with which something is wrong is the last
BATCHES_INSIDE = {"rows are left alone": 5, "a row fails": 4, "a wrong type": 4, "it is slow in the end": 4}
WORDS = """
word = sa.table("word", sa.column("id", sa.Integer), sa.column("old", sa.Text), sa.column("new", sa.Text))
columns = dict(pending=word.c.new.is_(None), reads=[word.c.old], writes=[word.c.new], on_row_error="quarantine")
"""


@pytest.mark.parametrize("what", BARE)
async def test_a_function_that_only_reads_columns_is_called_without_a_row(
    sqlite_bench: Bench, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr(calling, "LONGEST", 0.5 if "slow" in what else 600.0)
    fill(sqlite_bench)
    before, _, function = f"\n\n{BARE[what].strip()}".rpartition("\n\n")
    script = sqlite_bench.script(f"{WORDS}{before}\n\n@compute_rows(word, **columns)\n{function}\n")
    assert isinstance(script.form, ComputeRows)
    assert bare_function(script.form) is not None
    ran, updates = await run_noting(sqlite_bench, script)
    assert ran.outcome == "done", ran.result
    without = {"rows are left alone": 300, "a row fails": FAILS, "a wrong type": FAILS}.get(what)
    assert done(sqlite_bench) == {i: f"W{i}" for i in range(1, ROWS + 1) if i != without}
    assert len(inside(updates)) == BATCHES_INSIDE.get(what, ROWS // BATCH - 1)
    assert [event.key for event in ran.of(Quarantined)] == ([str(FAILS)] if without == FAILS else [])


async def test_the_function_is_asked_once_about_a_row_however_many_columns_it_writes(
    sqlite_bench: Bench,
) -> None:
    sqlite_bench.database.execute("CREATE TABLE word (id INTEGER PRIMARY KEY, old TEXT, low TEXT, new TEXT)")
    for i in range(1, 3 * BATCH + 1):
        sqlite_bench.database.execute("INSERT INTO word (id, old) VALUES (:i, 'Same')", i=i)
    table = sa.table(
        "word", sa.column("id", sa.Integer), *(sa.column(n, sa.Text) for n in ("old", "low", "new"))
    )
    asked: list[str] = []

    def migrate(row: Any) -> dict[str, str]:
        asked.append(row.old)
        return {"new": row.old.upper(), "low": f"{row.old.lower()} {len(asked)}"}

    form = datamigrate.compute_rows(
        table, pending=table.c.new.is_(None), reads=[table.c.old], writes=[table.c.new, table.c.low]
    )
    ran, updates = await run_noting(sqlite_bench, form(migrate))
    assert ran.outcome == "done", ran.result
    assert len(inside(updates)) == 2
    assert sqlite_bench.database.rows("SELECT id, new, low FROM word ORDER BY id") == [
        (i, "SAME", f"same {i}") for i in range(1, 3 * BATCH + 1)
    ]


@pytest.mark.parametrize("first", [1, FAILS])
async def test_a_row_that_is_left_alone_is_not_written_to(sqlite_bench: Bench, first: int) -> None:
    fill(sqlite_bench)
    ran, updates = await run_noting(
        sqlite_bench, computing(lambda row: upper(row) if int(row.old[1:]) not in (first, 300) else None)
    )
    assert ran.outcome == "done", ran.result
    assert done(sqlite_bench) == {i: f"W{i}" for i in range(1, ROWS + 1) if i not in (first, 300)}
    tally = sqlite_bench.database.rows("SELECT sum(rows), sum(left_alone) FROM datamigrate_range")
    assert tally == [(ROWS - 2, 2)]
    # from then on it is called beforehand
    assert len(inside(updates)) == (first - 1) // BATCH


async def test_what_is_done_outside_after_all_is_done_in_batches_that_fit_into_memory(
    sqlite_bench: Bench,
) -> None:
    fill(sqlite_bench)
    said: list[str] = []
    ran = await sqlite_bench.run(
        sqlite_bench.form(computing(lambda row: upper(row) if row.old != "w200" else None)),
        settings=with_settings(first_rows=BATCH, compute_rows=BATCH, limits=Limits(target_time=600)),
        meddle=lambda database: at_every_step(
            database, lambda what: said.append(what) if "datamigrate_value_0" in what else None
        ),
    )
    assert ran.outcome == "done", ran.result
    assert len(done(sqlite_bench)) == ROWS - 1
    # 50 rows to know it by, then 100 and, in vain, 200 inside, and what is left of them in fifties
    assert len(said) == 2
    assert [event.rows for event in ran.of(BatchDone)] == [50, 100, 49, 50, 50, 50, 50]


async def test_the_function_finds_the_context_that_it_has_everywhere_else(sqlite_bench: Bench) -> None:
    fill(sqlite_bench)
    with decimal.localcontext() as context:
        context.prec = 5
        ran, updates = await run_noting(
            sqlite_bench, computing(lambda row: {"new": str(decimal.Decimal(len(row.old) > 0) / 7)})
        )
    assert ran.outcome == "done", ran.result
    assert inside(updates)
    assert set(done(sqlite_bench).values()) == {"0.14286"}


class Sign(StrEnum):
    """What is a text, and which the driver would be told to write otherwise."""

    PLUS = "+"


async def test_what_the_driver_would_convert_is_given_to_the_driver(sqlite_bench: Bench) -> None:
    fill(sqlite_bench)
    sqlite3.register_adapter(Sign, lambda sign: sign.name)
    ran = await run(sqlite_bench, computing(lambda row: {"new": Sign.PLUS if row.old else None}))
    assert ran.outcome == "done", ran.result
    assert set(done(sqlite_bench).values()) == {"PLUS"}


async def test_a_column_that_has_a_value_by_itself_has_one_for_each_row(sqlite_bench: Bench) -> None:
    fill(sqlite_bench)
    sqlite_bench.database.execute("ALTER TABLE word ADD COLUMN stamp INTEGER")
    numbers = itertools.count(1)
    table = sa.Table(
        "word",
        sa.MetaData(),
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("old", sa.Text),
        sa.Column("new", sa.Text),
        sa.Column("stamp", sa.Integer, onupdate=lambda: next(numbers)),
    )
    form = datamigrate.compute_rows(
        table, pending=table.c.new.is_(None), reads=[table.c.old], writes=[table.c.new]
    )(upper)
    ran = await run(sqlite_bench, form)
    assert ran.outcome == "done", ran.result
    assert sqlite_bench.database.scalar("SELECT count(DISTINCT stamp) FROM word") == ROWS


async def test_a_function_that_runs_out_of_memory_is_named_with_its_row(bench: Bench) -> None:
    fill(bench)

    def migrate(row: Any) -> dict[str, str]:
        if row.old == "w222":
            raise MemoryError("too much")
        return upper(row)

    ran = await run(bench, computing(migrate))
    assert ran.outcome == "failed"
    assert ran.result.error is not None
    assert "Row 222: migrate() raised MemoryError: too much" in ran.result.error.message


async def test_a_stop_does_not_wait_for_a_call_that_does_not_end(
    sqlite_bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(sqlite_bench)
    monkeypatch.setattr(calling, "LONGEST", 0.05)
    stop, free = Stop(), threading.Event()

    def migrate(row: Any) -> dict[str, str]:
        if row.old == "w210":
            stop.request("enough")
            free.wait(30)
        return upper(row)

    asyncio.get_running_loop().call_later(4, free.set)
    with anyio.fail_after(25):
        ran = await sqlite_bench.run(sqlite_bench.form(computing(migrate)), settings=SETTINGS, stop=stop)
    assert ran.outcome == "stopped", ran.result
    assert done(sqlite_bench) == {i: f"W{i}" for i in range(1, 201)}
    again = await run(sqlite_bench, computing(upper))
    assert again.outcome == "done", again.result
