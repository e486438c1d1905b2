from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import anyio
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datamigrate.authoring.script import Script
from datamigrate.database.database import Database
from datamigrate.database.ledger.store import Ledger
from datamigrate.database.ledger.undo import changed_since
from datamigrate.doing.effort import Workplace
from datamigrate.doing.owner import this_process
from datamigrate.doing.revert_work import revert_work
from datamigrate.doing.reverting import Undone, revert, try_back
from datamigrate.doing.sampling import RehearsalLimits
from datamigrate.doing.settings import Budget
from datamigrate.doing.stopping import Stop
from datamigrate.testing.crashing import Killer, only_killed
from datamigrate.thought.lifecycle import Cause
from datamigrate.words.errors import KeyUnfit, RowFailed, SchemaError
from datamigrate.words.events import Event, Reverted
from places import STEP, places
from workbench import BATCH, FORMS, HOME, NAME, SMALL, Bench, at_every_step, opened

pytestmark = pytest.mark.anyio

ROWS = BATCH + 2
LEDGER = ("range", "migration", "run", "transition", "undo")


def kept(form: str) -> str:
    """The body of a form over `item`, with an undo log."""
    return FORMS[form].replace("pending=pending", "pending=pending, undo_log=True")


async def revert_on(
    database: Database, script: Script, max_batches: int | None = None, heard: list[Event] | None = None
) -> Undone:
    """Undo the script as a process of its own would."""
    ledger = Ledger(this_process())
    async with database.writing() as connection:
        await ledger.command(connection, script.migration, Cause.REVERT, "why")
    work = await revert_work(database, script.name, ledger.tables.undo)
    publish = (heard if heard is not None else []).append
    place = Workplace(database, ledger, Stop(Budget(max_batches=max_batches)), publish)
    return await revert(place, script, work, SMALL)


def rows_of(bench: Bench, table: str = "item") -> list[tuple[Any, ...]]:
    return bench.database.rows(f"SELECT * FROM {table} ORDER BY 1")


# exactly as it was --------------------------------------------------------------------------------------

TYPES = {
    "boolean": ["true"],
    "smallint": ["-32768"],
    "bigint": ["9223372036854775807"],
    "numeric": ["'NaN'", "1e-300", "1.10", "1.1", "123456789012345678901234567890.123456789"],
    "numeric(12,4)": ["1.5000"],
    "real": ["1.1", "'-Infinity'"],
    "double precision": ["0.1::float8 + 0.2::float8", "'NaN'", "'Infinity'", "'-0'", "5e-324", "1.7976931348623157e308"],
    "text": ["''", "'it''s \"quoted\" \\ \t\n \U0001f600 é'", "'null'", "'[1]'", "'  '"],
    "varchar(5)": ["'ab  '"],
    "char(5)": ["'ab'"],
    '"char"': ["'x'"],
    "bytea": ["'\\x00ff41'", "''"],
    "date": ["'0044-03-15 BC'", "'infinity'"],
    "time": ["'23:59:59.999999'"],
    "time with time zone": ["'12:00:00.5+05:30'"],
    "timestamp": ["'294276-12-31 23:59:59.999999'", "'-infinity'"],
    "timestamp with time zone": ["'2026-03-29 02:30:00.123456+01'", "'1900-01-01 00:00:00+00'"],
    "interval": ["'-1 year 2 days -03:04:05.678'"],
    "uuid": ["'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'"],
    "json": ["'{\"b\": 1,   \"a\": null, \"a\": 2}'", "'null'"],
    "jsonb": ["'{\"b\": 1.10, \"a\": [null, \"x\"]}'", "'null'", "'\"text\"'"],
    "integer[]": ["'{1,NULL,3}'", "'[2:3]={7,8}'", "'{{1,2},{3,4}}'", "'{}'"],
    "text[]": ["ARRAY['a,b', '{\"c\"}', NULL, 'NULL', '']"],
    "timestamptz[]": ["ARRAY['2026-01-01 00:00:00.000001+02'::timestamptz]"],
    "mood": ["'so so'"],
    "place": ["ROW(1, 'a \"b\", (c)', NULL)"],
    "positive": ["7"],
    "int4range": ["'[1,5)'", "'empty'"],
    "tstzrange": ["'[2026-01-01 00:00:00+00,)'"],
    "inet": ["'10.0.0.1/24'"],
    "cidr": ["'10.0.0.0/8'"],
    "macaddr": ["'08:00:2b:01:02:03'"],
    "bit(5)": ["B'10110'"],
    "bit varying": ["B'101'"],
    "money": ["'-1234.56'"],
    "point": ["'(1.1,-2.2)'"],
    "polygon": ["'((0,0),(1,1.5),(2,0))'"],
    "tsvector": ["'fat:2 cat:3A'"],
    "pg_lsn": ["'16/B374D848'"],
    "oid": ["4294967295"],
}  # fmt: skip
"""Values of PostgreSQL's types; NULL comes with each."""


# a database that writes dates and numbers in its own way
STYLES = {"datestyle": "'SQL, DMY'", "intervalstyle": "sql_standard", "extra_float_digits": "0"}

# where a text could hide a difference
BYTES = {name: f"{name}_send" for name in ("interval", "numeric")} | {
    "real": "float4send",
    "double precision": "float8send",
}


@pytest.mark.parametrize("styles", [{}, STYLES], ids=["usual", "unusual"])
async def test_every_type_of_postgresql_comes_back_exactly(
    postgres_bench: Bench, styles: dict[str, str]
) -> None:
    bench, columns = postgres_bench, {f"c{i}": kind for i, kind in enumerate(TYPES)}
    bench.database.script(
        "CREATE TYPE mood AS ENUM ('so so', 'fine'); CREATE TYPE place AS (a integer, b text, c date);"
        "CREATE DOMAIN positive AS integer CHECK (VALUE > 0); CREATE TABLE every (id integer PRIMARY KEY, "
        f"done boolean, {', '.join(f'{name} {kind}' for name, kind in columns.items())});"
    )
    for number in range(max(map(len, TYPES.values())) + 1):
        values = (v[number] if number < len(v) else "NULL" for v in TYPES.values())
        bench.database.script(f"INSERT INTO every VALUES ({number}, NULL, {', '.join(values)})")
    name = bench.database.scalar("SELECT current_database()")
    bench.database.script("".join(f'ALTER DATABASE "{name}" SET {k} = {v};' for k, v in styles.items()))
    as_text = (f"{BYTES.get(kind, '')}({name})::text" for name, kind in columns.items())
    look = f"SELECT id, done, {', '.join(as_text)} FROM every ORDER BY id"
    before = bench.database.rows(look)
    declared = ", ".join(f'sa.column("{name}")' for name in ("id", "done", *columns))
    script = bench.script(
        f'every = sa.table("every", {declared})\n'
        "migrate = update_rows(every, pending=every.c.done.is_(None), undo_log=True,\n"
        f"    values=dict.fromkeys({list(columns)}, sa.null()) | {{'done': sa.true()}})"
    )
    async with opened(bench.database) as database:
        ran = await bench.run_on(database, script)
        assert ran.outcome == "done", ran.result
        assert bench.database.rows(look) != before
        undone = await revert_on(database, script)
    assert (undone.result.outcome, undone.changed) == ("done", 0), undone.result
    assert bench.database.rows(look) == before


CASTS = """
CREATE TYPE mood AS ENUM ('sad', 'ok', 'a"b, c');
CREATE TYPE place AS (a integer, b text);
CREATE TYPE span AS RANGE (subtype = integer);
CREATE DOMAIN humour AS mood CHECK (VALUE IS NULL OR VALUE <> 'sad');
"""
CAST_AS = {
    "mood": "CASE $1 WHEN 'sad' THEN 'ok' WHEN 'ok' THEN 'sad' ELSE 'ok' END",
    "place": "'(7,x)'",
    "span": "'[1,2)'",
}
CAST_TO_TEXT = CASTS + "".join(
    f"CREATE FUNCTION told({kind}) RETURNS text IMMUTABLE LANGUAGE sql AS $$ SELECT {text} $$;"
    f"CREATE CAST ({kind} AS text) WITH FUNCTION told({kind});"
    for kind, text in CAST_AS.items()
)
CAST_BACK = (
    "CREATE FUNCTION mood_of(text) RETURNS mood IMMUTABLE LANGUAGE sql AS $$ SELECT 'sad'::mood $$;"
    "CREATE CAST (text AS mood) WITH FUNCTION mood_of(text);"
    "CREATE FUNCTION json_of(text) RETURNS json IMMUTABLE LANGUAGE sql AS $$ SELECT json_in(textout($1)) $$;"
    "CREATE CAST (text AS json) WITH FUNCTION json_of(text) AS IMPLICIT;"
    "CREATE FUNCTION jsonb_of(text) RETURNS jsonb IMMUTABLE LANGUAGE sql AS $$ SELECT jsonb_in(textout($1)) $$;"
    "CREATE CAST (text AS jsonb) WITH FUNCTION jsonb_of(text) AS IMPLICIT;"
)
CAST_COLUMNS = {
    "mood": ["'sad'", "'ok'", "'a\"b, c'", "NULL"],
    "humour": ["'ok'", "NULL", "'a\"b, c'", "'ok'"],
    "mood[]": ["'{sad,ok,NULL}'", "'{}'", "NULL", "'{sad}'"],
    "place": ["ROW(1, 'a \"b\"')", "ROW(NULL, NULL)", "NULL", "ROW(2, NULL)"],
    "span": ["'[3,9)'", "'empty'", "NULL", "'(,)'"],
    "char(5)": ["'ab'", "NULL", "' '", "''"],
    "json": ["'{\"a\":  1}'", "NULL", "'null'", "'\"x\"'"],
    "jsonb": ["'{\"a\": 1}'", "NULL", "'null'", "'[1]'"],
}
CAST_FORMS = {
    "update": "migrate = update_rows(item, pending=item.c.done.is_(None), undo_log=True,\n"
    "    values=dict.fromkeys(columns, sa.null()) | {'done': sa.true()})",
    "delete": "migrate = delete_rows(item, pending=item.c.done.is_(None), undo_log=True)",
    "compute": "@compute_rows(item, pending=item.c.done.is_(None), undo_log=True, reads=[item.c.id],\n"
    "    writes=[item.c.c0, item.c.done])\ndef migrate(row):\n    return {'c0': 'ok', 'done': True}",
}


@pytest.mark.parametrize("cast_back", ["", CAST_BACK], ids=["to text", "to text and from it"])
@pytest.mark.parametrize("form", CAST_FORMS)
async def test_values_come_back_whatever_casts_to_text_somebody_has_made(
    postgres_bench: Bench, form: str, cast_back: str
) -> None:
    bench, columns = postgres_bench, {f"c{i}": kind for i, kind in enumerate(CAST_COLUMNS)}
    rows = enumerate(zip(*CAST_COLUMNS.values(), strict=True))
    bench.database.script(
        CAST_TO_TEXT + "CREATE TABLE item (id integer PRIMARY KEY, done boolean, "
        f"{', '.join(f'{name} {kind}' for name, kind in columns.items())});"
        + "".join(f"INSERT INTO item VALUES ({n}, NULL, {', '.join(values)});" for n, values in rows)
        + cast_back
    )
    as_text = (f"format('%s', {name}), num_nulls({name})" for name in columns)
    look = f"SELECT id, done, {', '.join(as_text)} FROM item ORDER BY id"
    before = bench.database.rows(look)
    declared = ", ".join(f'sa.column("{name}")' for name in ("id", "done", *columns))
    script = bench.script(
        f'columns = {list(columns)}\nitem = sa.table("item", {declared})\n' + CAST_FORMS[form]
    )
    async with opened(bench.database) as database:
        ran = await bench.run_on(database, script)
        assert ran.outcome == "done", ran.result
        assert bench.database.rows(look) != before
        undone = await revert_on(database, script)
    assert (undone.result.outcome, undone.rows, undone.changed) == ("done", 4, 0), undone.result
    assert bench.database.rows(look) == before


async def test_rows_go_back_by_a_key_whose_casts_tell_it_as_another(postgres_bench: Bench) -> None:
    bench = postgres_bench
    bench.database.script(
        CAST_TO_TEXT + CAST_BACK + "CREATE TABLE item (k mood PRIMARY KEY, new text);"
        "INSERT INTO item VALUES ('sad', NULL), ('ok', NULL);"
    )
    script = bench.script(
        'item = sa.table("item", sa.column("k"), sa.column("new"))\n'
        "migrate = update_rows(item, pending=item.c.new.is_(None), undo_log=True, values={item.c.new: 'x'})"
    )
    async with opened(bench.database) as database:
        ran = await bench.run_on(database, script)
        assert ran.outcome == "done", ran.result
        bench.database.execute("UPDATE item SET new = 'y' WHERE k = 'ok'")
        undone = await revert_on(database, script)
        async with database.looking() as connection:
            keys = await connection.run_sync(changed_since, Ledger(this_process()).tables, NAME)
    assert (undone.result.outcome, undone.rows, undone.changed, list(keys)) == ("done", 1, 1, ["ok"])
    assert bench.database.rows("SELECT format('%s', k), new FROM item ORDER BY 1") == [
        ("ok", "y"),
        ("sad", None),
    ]


async def test_a_log_that_was_written_by_casts_is_read_by_them(
    postgres_bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def no_casts(*_: Any) -> frozenset[str]:
        return frozenset()

    bench = postgres_bench
    bench.database.script(
        "CREATE TYPE mood AS ENUM ('sad', 'ok');"
        "CREATE FUNCTION told(mood) RETURNS text IMMUTABLE LANGUAGE sql AS $$ SELECT format('mood %s', $1) $$;"
        "CREATE FUNCTION mood_of(text) RETURNS mood IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RETURN substr($1, 6); END $$;"
        "CREATE CAST (mood AS text) WITH FUNCTION told(mood); CREATE CAST (text AS mood) WITH FUNCTION mood_of(text);"
        "CREATE TABLE item (id integer PRIMARY KEY, new mood); INSERT INTO item VALUES (1, 'sad'), (2, 'ok');"
    )
    look = "SELECT id, format('%s', new) FROM item ORDER BY id"
    before = bench.database.rows(look)
    script = bench.script(
        'item = sa.table("item", sa.column("id"), sa.column("new"))\n'
        "migrate = update_rows(item, pending=item.c.new.is_not(None), undo_log=True, values={item.c.new: None})"
    )
    # as versions did that knew no others
    monkeypatch.setattr("datamigrate.doing.keeping.cast_by_functions", no_casts)
    async with opened(bench.database) as database:
        ran = await bench.run_on(database, script)
        assert ran.outcome == "done", ran.result
        assert bench.database.scalar("SELECT min(before) FROM datamigrate_undo") == '["mood ok"]'
        undone = await revert_on(database, script)
    assert (undone.rows, undone.changed) == (2, 0)
    assert bench.database.rows(look) == before


VALUES = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.binary(max_size=20),
    st.text(st.characters(codec="utf-8"), max_size=20),
)


@given(rows=st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=20))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_value_of_sqlite_comes_back_exactly_and_with_its_own_type(
    sqlite_bench: Bench, rows: list[tuple[Any, Any]]
) -> None:
    bench = sqlite_bench
    bench.database.script(
        "DROP TABLE IF EXISTS every; CREATE TABLE every (key PRIMARY KEY, value, done INTEGER);"
        + "".join(f"DROP TABLE IF EXISTS datamigrate_{name};" for name in ("ledger", *LEDGER))
    )
    with bench.database.engine.begin() as connection:
        for key, value in {(type(key), key): (key, value) for key, value in rows if key is not None}.values():
            connection.exec_driver_sql("INSERT OR IGNORE INTO every VALUES (?, ?, NULL)", (key, value))
    look = "SELECT typeof(key), hex(key), typeof(value), quote(value), value, done FROM every ORDER BY key"
    before = bench.database.rows(look)
    script = bench.script(
        'every = sa.table("every", sa.column("key"), sa.column("value"), sa.column("done"))\n'
        "migrate = update_rows(every, pending=every.c.done.is_(None), undo_log=True,\n"
        "    values={every.c.value: sa.literal(1), every.c.done: 1})"
    )
    async with opened(bench.database) as database:
        ran = await bench.run_on(database, script)
        assert ran.outcome == "done", ran.result
        undone = await revert_on(database, script)
    assert (undone.result.outcome, undone.changed) == ("done", 0), undone.result
    assert repr(bench.database.rows(look)) == repr(before)


# every form ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["update", "delete", "compute"])
async def test_what_a_form_has_changed_is_as_it_was_and_is_pending_again(bench: Bench, form: str) -> None:
    bench.table(rows=[(i * 3,) for i in range(ROWS)])
    before, script, heard = rows_of(bench), bench.script(kept(form)), list[Event]()
    async with opened(bench.database) as database:
        await bench.run_on(database, script)
        assert rows_of(bench) != before
        undone = await revert_on(database, script, heard=heard)
    assert (undone.result.outcome, undone.rows, undone.changed) == ("done", ROWS, 0)
    assert rows_of(bench) == before
    assert (bench.standing().state, bench.standing().rows) == ("reverted", ROWS)
    assert [(e.rows, e.changed) for e in heard if isinstance(e, Reverted)] == [(ROWS, 0)]


async def test_rows_that_somebody_has_changed_since_stay_and_are_named(bench: Bench) -> None:
    bench.table(rows=[(i * 3,) for i in range(ROWS)])
    script = bench.script(kept("update"))
    async with opened(bench.database) as database:
        await bench.run_on(database, script)
        bench.database.execute("UPDATE item SET new = -1 WHERE id = 3")
        bench.database.execute("DELETE FROM item WHERE id = 6")
        bench.database.execute("UPDATE item SET old = 77 WHERE id = 9")  # not what was written
        undone = await revert_on(database, script)
        async with database.looking() as connection:
            keys = await connection.run_sync(changed_since, Ledger(this_process()).tables, NAME)
    assert (undone.result.outcome, undone.rows, undone.changed) == ("done", ROWS - 2, 2)
    assert sorted(keys) == ["3", "6"]
    assert bench.database.rows(
        "SELECT id, old, new FROM item WHERE new IS NOT NULL OR id = 9 ORDER BY id"
    ) == [
        (3, 1, -1),
        (9, 77, None),
    ]


async def test_a_row_that_has_come_in_the_place_of_a_deleted_one_stays(bench: Bench) -> None:
    bench.table(rows=[(1,), (2,)])
    script = bench.script(kept("delete"))
    async with opened(bench.database) as database:
        await bench.run_on(database, script)
        bench.database.execute("INSERT INTO item (id, serial, new) VALUES (1, 100, 5)")
        undone = await revert_on(database, script)
    assert (undone.rows, undone.changed) == (1, 1)
    assert bench.database.rows("SELECT id, serial FROM item ORDER BY id") == [(1, 100), (2, 1)]


async def test_numbers_that_the_database_gives_and_generated_columns_come_back_with_a_row(
    bench: Bench,
) -> None:
    always = "GENERATED ALWAYS AS IDENTITY" if bench.database.dialect == "postgresql" else ""
    bench.database.script(
        f'CREATE TABLE item (id INTEGER {always} PRIMARY KEY, new INTEGER, "od d" TEXT UNIQUE, '
        "twice INTEGER GENERATED ALWAYS AS (id * 2) STORED);"
    )
    for text in ("a", "b"):
        bench.database.execute('INSERT INTO item ("od d") VALUES (:text)', text=text)
    before, script = rows_of(bench), bench.script(kept("delete"))
    async with opened(bench.database) as database:
        await bench.run_on(database, script)
        assert (await revert_on(database, script)).rows == 2
    assert rows_of(bench) == before


async def test_a_row_changed_twice_goes_back_to_its_beginning_through_its_middle(bench: Bench) -> None:
    bench.table(rows=[(1,), (2,)])
    first = bench.script(kept("update").replace("new: item.c.old * 2", "new: item.c.id"))
    async with opened(bench.database) as database:
        await bench.run_on(database, first)
        again = bench.script(
            HOME
            + "migrate = update_rows(item, pending=item.c.old < 50, undo_log=True,"
            + " values={item.c.new: 7, item.c.old: item.c.old + 100})"
        )
        await reopen(database, again)
        await bench.run_on(database, again)
        assert bench.database.rows("SELECT id, old, new FROM item ORDER BY id") == [(1, 100, 7), (2, 101, 7)]
        undone = await revert_on(database, again)
    assert (undone.rows, undone.changed) == (4, 0)
    assert bench.database.rows("SELECT id, old, new FROM item ORDER BY id") == [(1, 0, None), (2, 1, None)]


async def reopen(database: Database, script: Script) -> None:
    async with database.writing() as connection:
        await Ledger(this_process()).command(connection, script.migration, Cause.RESET, "again")


async def test_of_a_row_that_a_script_leaves_alone_nothing_is_kept(bench: Bench) -> None:
    bench.table(rows=[(i,) for i in range(ROWS)])
    script = bench.script(
        HOME
        + "@compute_rows(item, pending=pending, undo_log=True, reads=[item.c.old], writes=[item.c.new])\n"
        + 'def migrate(row):\n    return {"new": row.old} if row.old % 2 else None'
    )
    async with opened(bench.database) as database:
        await bench.run_on(database, script)
        assert bench.database.scalar("SELECT count(*) FROM datamigrate_undo") == ROWS // 2
        assert (await revert_on(database, script)).rows == ROWS // 2


async def test_a_column_of_arrays_that_python_computes_is_kept_row_by_row(postgres_bench: Bench) -> None:
    bench = postgres_bench
    bench.database.script(
        "CREATE TABLE item (id integer PRIMARY KEY, new text[]); INSERT INTO item VALUES (1), (2);"
    )
    script = bench.script(
        'item = sa.table("item", sa.column("id", sa.Integer), sa.column("new", sa.ARRAY(sa.Text)))\n'
        "@compute_rows(item, pending=item.c.new.is_(None), undo_log=True, reads=[item.c.id], writes=[item.c.new])\n"
        'def migrate(row):\n    return {"new": ["a", str(row.id)]}'
    )
    async with opened(bench.database) as database:
        ran = await bench.run_on(database, script)
        assert ran.outcome == "done", ran.result
        assert bench.database.rows("SELECT new FROM item ORDER BY id") == [(["a", "1"],), (["a", "2"],)]
        assert (await revert_on(database, script)).rows == 2
    assert bench.database.rows("SELECT * FROM item ORDER BY id") == [(1, None), (2, None)]


UNLIKE_ITS_INDEX = (
    "CREATE TABLE item (code TEXT CHECK (coalesce(length(code), 0) > 0) COLLATE NOCASE, new TEXT);"
    "CREATE UNIQUE INDEX one_of_each ON item (code COLLATE BINARY);"
)
FOUR_CODES = "INSERT INTO item VALUES ('a', NULL), ('A', NULL), ('b', NULL), ('B', NULL);"
BY_CODE = (
    'item = sa.table("item", sa.column("code", sa.Text), sa.column("new", sa.Text))\n'
    "migrate = update_rows(item, key=item.c.code, pending=item.c.new.is_(None), undo_log=True,\n"
    '    values={item.c.new: item.c.code + "!"})'
)


async def test_a_key_that_calls_texts_equal_which_its_index_tells_apart_is_refused(
    sqlite_bench: Bench,
) -> None:
    sqlite_bench.database.script(UNLIKE_ITS_INDEX + FOUR_CODES)
    before = rows_of(sqlite_bench)
    ran = await sqlite_bench.run(sqlite_bench.script(BY_CODE), batch_size=1)
    assert isinstance(ran.result.error, KeyUnfit)
    assert "item.code has the collation NOCASE" in ran.result.error.message
    assert rows_of(sqlite_bench) == before


async def test_rows_go_back_each_to_its_own_though_their_keys_count_as_equal_by_now(
    sqlite_bench: Bench,
) -> None:
    bench = sqlite_bench
    bench.database.script("CREATE TABLE item (code TEXT PRIMARY KEY, new TEXT);" + FOUR_CODES)
    bench.database.execute("UPDATE item SET new = 'was ' || code")
    script = bench.script(BY_CODE.replace("new.is_(None)", "new != '!'").replace("item.c.code + ", ""))
    before = rows_of(bench)
    async with opened(bench.database) as database:
        assert (await bench.run_on(database, script)).outcome == "done"
        bench.database.script(
            f"ALTER TABLE item RENAME TO was; {UNLIKE_ITS_INDEX} INSERT INTO item SELECT * FROM was; DROP TABLE was;"
        )
        undone = await revert_on(database, script)
    assert (undone.rows, undone.changed) == (4, 0)
    assert bench.database.rows("SELECT * FROM item ORDER BY code COLLATE BINARY") == before


# others at work -----------------------------------------------------------------------------------------


async def test_workers_side_by_side_keep_what_they_change(postgres_bench: Bench) -> None:
    bench = postgres_bench
    bench.table(rows=[(i,) for i in range(100)])
    before, script = rows_of(bench), bench.script(kept("update"))
    async with opened(bench.database) as database:
        await bench.run_on(database, script, settings=replace(SMALL, workers=3))
        assert (await revert_on(database, script)).rows == 100
    assert rows_of(bench) == before


async def test_what_somebody_commits_while_the_batch_waits_for_it_is_what_is_kept(
    postgres_bench: Bench,
) -> None:
    bench = postgres_bench
    bench.table(rows=[(1,), (2,)])
    script = bench.script(
        HOME
        + "migrate = update_rows(item, pending=item.c.old < 50, undo_log=True, values={item.c.old: item.c.old + 100})"
    )
    async with opened(bench.database) as database, anyio.create_task_group() as group:
        with bench.database.engine.connect() as other:
            other.execute(sa.text("UPDATE item SET old = 33 WHERE id = 1"))
            group.start_soon(bench.run_on, database, script)
            waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
            while not bench.database.scalar(waits):  # noqa: ASYNC110 - another process is waited for
                await anyio.sleep(0.02)
            other.commit()
    assert bench.database.rows("SELECT id, old FROM item ORDER BY id") == [(1, 133), (2, 101)]
    async with opened(bench.database) as database:
        assert (await revert_on(database, script)).rows == 2
    assert bench.database.rows("SELECT id, old FROM item ORDER BY id") == [(1, 33), (2, 1)]


# stopped, killed, tried ---------------------------------------------------------------------------------


async def test_killed_at_any_step_a_revert_goes_on_and_ends_as_if_undisturbed(bench: Bench) -> None:
    bench.table(rows=[(i * 3,) for i in range(ROWS)])
    before, script = rows_of(bench), bench.script(kept("update"))
    # what comes before its first batch is what comes before a run's
    killer = Killer(since="SELECT min(")
    async with opened(bench.database) as database:
        await bench.run_on(database, script)
        at_every_step(database, killer)
        for at in places(STEP):
            bench.database.script(AS_THE_RUN_LEFT_IT)
            killer.aim(at)
            if not await is_killed(database, script):
                break
            killer.aim(0)
            if bench.standing().state != "reverted":
                assert (await revert_on(database, script)).result.outcome == "done"
            assert_undone(bench, before)
    assert at > 10
    assert_undone(bench, before)


AS_THE_RUN_LEFT_IT = (
    "UPDATE item SET new = old * 2; DELETE FROM written; UPDATE datamigrate_undo SET outcome = NULL;"
    "UPDATE datamigrate_migration SET state = 'done';"
)


async def is_killed(database: Database, script: Script) -> bool:
    try:
        undone = await revert_on(database, script)
    except BaseException as error:
        if not only_killed(error):
            raise
        return True
    assert undone.result.outcome == "done", undone.result
    return False


def assert_undone(bench: Bench, before: list[tuple[Any, ...]]) -> None:
    assert rows_of(bench) == before
    assert bench.written() == list(range(ROWS))
    assert (bench.standing().state, bench.standing().rows) == ("reverted", ROWS)


async def test_a_dry_run_shows_rows_and_leaves_nothing(bench: Bench) -> None:
    bench.table(rows=[(1,), (2,), (3,)])
    script = bench.script(kept("delete"))
    async with opened(bench.database) as database:
        await bench.run_on(database, script)
        bench.database.execute("INSERT INTO item (id, serial, new) VALUES (2, 100, 5)")
        before = bench.database.dump()
        work = await revert_work(database, NAME, Ledger(this_process()).tables.undo)
        tried = await try_back(database, script, work, RehearsalLimits(shown=2))
    assert bench.database.dump() == before
    assert (tried.pending, tried.undone, tried.changed) == (3, 2, 1)
    third, second = tried.rows
    assert (third.before, third.after and third.after["serial"]) == (None, 2)
    assert second.before == second.after


async def test_a_batch_that_fails_says_so_and_goes_on_once_the_cause_is_mended(bench: Bench) -> None:
    bench.table(rows=[(1,), (2,)])
    bench.database.script("CREATE TABLE parent (id INTEGER PRIMARY KEY); INSERT INTO parent VALUES (0), (1);")
    reference = "ADD COLUMN parent INTEGER REFERENCES parent (id)"
    bench.database.script(f"ALTER TABLE item {reference}; UPDATE item SET parent = serial;")
    before, script = rows_of(bench), bench.script(kept("delete"))
    async with opened(bench.database) as database:
        await bench.run_on(database, script)
        bench.database.execute("DELETE FROM parent WHERE id = 0")
        failed = (await revert_on(database, script)).result.error
        assert isinstance(failed, RowFailed)
        assert "row 1 of item cannot be put back: the database says: " in failed.message
        assert "foreign key" in failed.message.lower()
        assert "`datamigrate revert job` goes on" in failed.hint
        assert bench.standing().state == "reverting"
        bench.database.execute("INSERT INTO parent VALUES (0)")
        assert (await revert_on(database, script)).rows == 2
    assert rows_of(bench) == before


MOVED = HOME + (
    "migrate = update_rows(item, pending=item.c.old < 50000, undo_log=True, values={item.c.old: item.c.old + 50000})"
)
MASKED = MOVED.replace("undo_log=True", 'undo_log=True, mask=["old"]')
REFUSES = {
    "sqlite": "CREATE TRIGGER refuse BEFORE UPDATE ON item WHEN NEW.old = 4 BEGIN SELECT RAISE(ABORT, 'not 4'); END;",
    "postgresql": "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not 4'; END $$;"
    "CREATE TRIGGER refuse BEFORE UPDATE ON item FOR EACH ROW WHEN (NEW.old = 4) EXECUTE FUNCTION refuse();",
}
UNIQUE = "CREATE UNIQUE INDEX one_of_each ON item (old); INSERT INTO item (id, old, new) VALUES (99, 4, 0);"
PARENTS = "CREATE TABLE parent (id INTEGER PRIMARY KEY); INSERT INTO parent SELECT serial FROM item;" + (
    "ALTER TABLE item ADD COLUMN parent INTEGER REFERENCES parent (id) DEFERRABLE INITIALLY DEFERRED;"
    "UPDATE item SET parent = serial;"
)
ELSEWHERE = "UPDATE item SET old = 7 WHERE id = 12"
IN_ITS_PLACE = "INSERT INTO item (id, new) VALUES (12, 7)"
STUCK: dict[str, tuple[str, str, str | dict[str, str], str, str]] = {
    "a constraint": (MOVED, "", UNIQUE, "(UNIQUE constraint failed|one_of_each)", ELSEWHERE),
    "a trigger": (MOVED, "", REFUSES, "not 4", ELSEWHERE),
    "what is masked": (MASKED, "", UNIQUE, "its text is left out: columns are masked", ELSEWHERE),
    "a constraint that is looked at when all is done": (
        kept("delete"), PARENTS, "DELETE FROM parent WHERE id = 4", "(?i:foreign key)", IN_ITS_PLACE
    ),
}  # fmt: skip
"""What the script does, to what; what is in the way of row 12 then; what is said, and how the row is changed."""


async def stuck(bench: Bench, database: Database, what: str) -> Script:
    """Run the script, and put something in the way of row 12."""
    body, prepared, obstacle, _, _ = STUCK[what]
    bench.table(rows=[(i * 3,) for i in range(ROWS)])
    bench.database.script(prepared)
    script = bench.script(body)
    assert (await bench.run_on(database, script)).outcome == "done"
    bench.database.script(obstacle if isinstance(obstacle, str) else obstacle[bench.database.dialect])
    return script


@pytest.mark.parametrize("what", STUCK)
async def test_a_row_that_cannot_be_put_back_is_named_and_all_before_it_are_put_back(
    bench: Bench, what: str
) -> None:
    *_, said, change = STUCK[what]
    async with opened(bench.database) as database:
        script = await stuck(bench, database, what)
        failed = (await revert_on(database, script)).result.error
        assert isinstance(failed, RowFailed)
        assert re.match(rf"job: row 12 of item cannot be put back: .*{said}", failed.message)
        assert "It stays as it is; what was put back before it is kept: 1 row." in failed.message
        assert "`datamigrate revert job` goes on where it stopped" in failed.hint
        assert bench.standing().state == "reverting"
        assert bench.database.rows("SELECT old FROM item WHERE id = 15") == [(5,)]
        bench.database.execute(change)
        undone = await revert_on(database, script)
    assert (undone.result.outcome, undone.rows, undone.changed) == ("done", ROWS - 1, 1), undone.result


@pytest.mark.parametrize("what", STUCK)
async def test_a_dry_run_of_a_revert_names_the_row_that_cannot_be_put_back(bench: Bench, what: str) -> None:
    if bench.database.dialect == "sqlite" and "when all is done" in what:
        pytest.skip("SQLite has no word for looking at it before the commit")
    *_, said, _ = STUCK[what]
    async with opened(bench.database) as database:
        script = await stuck(bench, database, what)
        before = bench.database.dump()
        work = await revert_work(database, NAME, Ledger(this_process()).tables.undo)
        with pytest.raises(RowFailed, match=rf"job: row 12 of item cannot be put back: .*{said}"):
            await try_back(database, script, work, RehearsalLimits())
    assert bench.database.dump() == before


async def test_a_value_that_no_longer_fits_its_column_is_told_with_its_row(postgres_bench: Bench) -> None:
    bench = postgres_bench
    bench.table(rows=[(i * 3,) for i in range(ROWS)])
    bench.database.execute("UPDATE item SET old = 40000 WHERE id = 12")
    script = bench.script(kept("update").replace("values={", "values={item.c.old: 0, "))
    async with opened(bench.database) as database:
        await bench.run_on(database, script)
        bench.database.execute("ALTER TABLE item ALTER old TYPE smallint")
        failed = (await revert_on(database, script)).result.error
    assert "row 12 of item cannot be put back: the database says: " in str(failed)
    assert "smallint" in str(failed)


async def test_a_column_that_is_gone_is_told_before_anything_is_done(bench: Bench) -> None:
    bench.table(rows=[(1,)])
    script = bench.script(kept("update"))
    async with opened(bench.database) as database:
        await bench.run_on(database, script)
        bench.database.execute("ALTER TABLE item DROP COLUMN new")
        with pytest.raises(SchemaError, match=r"item\.new is gone"):
            await revert_work(database, NAME, Ledger(this_process()).tables.undo)


async def test_rows_that_would_go_unkept_with_deleted_ones_are_told_beforehand(bench: Bench) -> None:
    bench.table(rows=[(1,)])
    bench.database.script(
        "CREATE TABLE part (id INTEGER PRIMARY KEY, of INTEGER REFERENCES item (id) ON DELETE CASCADE);"
    )
    ran = await bench.run(bench.script(kept("delete")))
    assert isinstance(ran.result.error, SchemaError)
    assert "rows of part change with those of item (ON DELETE CASCADE)" in ran.result.error.message
    assert bench.pending() == 1


HOME_OF_PART = (
    "CREATE TABLE item (id INTEGER PRIMARY KEY, serial INTEGER, old INTEGER UNIQUE, new INTEGER);"
    "INSERT INTO item SELECT i, i, i, NULL FROM generate_series(1, 8) i;"
)
PARTITIONED = (
    "CREATE TABLE item (id INTEGER PRIMARY KEY, serial INTEGER, old INTEGER, new INTEGER) PARTITION BY RANGE (id);"
    "CREATE TABLE low PARTITION OF item FOR VALUES FROM (0) TO (5);"
    "CREATE TABLE high PARTITION OF item FOR VALUES FROM (5) TO (100);"
    "INSERT INTO item SELECT i, i, i, NULL FROM generate_series(1, 8) i;"
)
DELETED = "migrate = delete_rows(item, pending=pending, undo_log=True)"
REFERENCES = {
    "an update that empties": (
        HOME_OF_PART + "CREATE TABLE part (of INTEGER REFERENCES item (old) ON UPDATE SET NULL)",
        "migrate = update_rows(item, pending=item.c.old < 50, undo_log=True, values={item.c.old: item.c.old + 100})",
    ),
    "a partition that is referred to": (
        PARTITIONED + "CREATE TABLE part (of INTEGER REFERENCES low (id) ON DELETE CASCADE)",
        DELETED,
    ),
    "the whole of a partition": (
        PARTITIONED + "CREATE TABLE part (of INTEGER REFERENCES item (id) ON DELETE CASCADE)",
        DELETED.replace("(item", "(sa.table('low', *[sa.column(c.name, c.type) for c in item.c])").replace(
            "pending=pending", "pending=sa.column('new').is_(None)"
        ),
    ),
}


@pytest.mark.parametrize("what", REFERENCES)
async def test_a_change_that_would_reach_rows_that_the_log_does_not_have_is_refused(
    postgres_bench: Bench, what: str
) -> None:
    bench = postgres_bench
    tables, form = REFERENCES[what]
    bench.database.script(tables)
    ran = await bench.run(bench.script(HOME + form))
    assert ran.outcome == "failed"
    assert "rows of part change with those of" in str(ran.result.error)


REPLACING = {
    "a column": ("new INTEGER UNIQUE ON CONFLICT REPLACE", ""),
    "a table": ("new INTEGER", ", UNIQUE (old, new) /* or else */ ON CONFLICT\n REPLACE"),
}


@pytest.mark.parametrize("form", ["update", "compute", "delete"])
@pytest.mark.parametrize("what", REPLACING)
async def test_a_table_in_which_rows_make_way_for_others_is_told_beforehand(
    sqlite_bench: Bench, what: str, form: str
) -> None:
    new, constraint = REPLACING[what]
    sqlite_bench.database.script(
        f"CREATE TABLE item (id INTEGER PRIMARY KEY, serial INTEGER, old INTEGER, {new}{constraint});"
        "INSERT INTO item VALUES (1, 1, 1, NULL), (2, 2, 1, 2)"
    )
    before = rows_of(sqlite_bench)
    ran = await sqlite_bench.run(sqlite_bench.script(kept(form)))
    assert isinstance(ran.result.error, SchemaError)
    assert "item is declared with ON CONFLICT REPLACE" in ran.result.error.message
    assert rows_of(sqlite_bench) == before


async def test_an_update_beside_what_makes_rows_make_way_is_kept(sqlite_bench: Bench) -> None:
    sqlite_bench.database.script(
        "CREATE TABLE item (id INTEGER PRIMARY KEY ON CONFLICT REPLACE, serial INTEGER, old INTEGER, new INTEGER);"
        "INSERT INTO item VALUES (1, 1, 1, NULL), (2, 2, 1, NULL)"
    )
    ran = await sqlite_bench.run(sqlite_bench.script(kept("update")))
    assert ran.outcome == "done", ran.result


async def test_a_default_in_the_place_of_null_makes_no_row_make_way(sqlite_bench: Bench) -> None:
    sqlite_bench.database.script(
        "CREATE TABLE item (id INTEGER PRIMARY KEY, serial INTEGER NOT NULL ON CONFLICT REPLACE DEFAULT 7, "
        "old TEXT DEFAULT 'ON CONFLICT REPLACE', new INTEGER); INSERT INTO item VALUES (1, 1, 1, NULL)"
    )
    ran = await sqlite_bench.run(sqlite_bench.script(kept("delete")))
    assert ran.outcome == "done", ran.result


async def test_a_table_behind_the_first_schema_of_the_path_is_looked_at_too(postgres_bench: Bench) -> None:
    bench = postgres_bench
    name = bench.database.scalar("SELECT current_database()")
    bench.database.script(
        "CREATE SCHEMA first; CREATE TABLE item (id INTEGER PRIMARY KEY, serial INTEGER, old INTEGER, new INTEGER);"
        "CREATE TABLE part (of INTEGER REFERENCES item (id) ON DELETE CASCADE); INSERT INTO item VALUES (1);"
        f'ALTER DATABASE "{name}" SET search_path = first, public;'
    )
    ran = await bench.run(bench.script(HOME + DELETED))
    assert ran.outcome == "failed"
    assert "ON DELETE CASCADE" in str(ran.result.error)


async def test_a_revert_from_where_the_clocks_are_others_brings_everything_back(
    postgres_bench: Bench,
) -> None:
    bench = postgres_bench
    name = bench.database.scalar("SELECT current_database()")
    bench.database.script(
        "CREATE TABLE item (id INTEGER PRIMARY KEY, at timestamptz, raw bytea, done boolean);"
        "INSERT INTO item SELECT i, '2026-03-01 12:00+00'::timestamptz, '\\x00ff' FROM generate_series(1, 8) i;"
    )
    look = "SELECT id, extract(epoch FROM at), encode(raw, 'hex'), done FROM item ORDER BY id"
    before = bench.database.rows(look)
    script = bench.script(
        'item = sa.table("item", sa.column("id"), sa.column("at", sa.DateTime(timezone=True)), sa.column("raw"), '
        'sa.column("done", sa.Boolean))\n'
        "migrate = update_rows(item, pending=item.c.done.is_(None), undo_log=True, values={item.c.done: True, "
        "item.c.at: sa.func.now(), item.c.raw: sa.func.decode('ff00', 'hex')})"
    )
    async with opened(bench.database) as database:
        assert (await bench.run_on(database, script)).outcome == "done"
    bench.database.script(
        f"ALTER DATABASE \"{name}\" SET timezone = 'Asia/Tokyo'; ALTER DATABASE \"{name}\" SET bytea_output = 'escape';"
    )
    async with opened(bench.database) as database:
        assert (await revert_on(database, script)).rows == 8
    assert bench.database.rows(look) == before


@pytest.mark.parametrize("form", ["update", "delete"])
async def test_a_table_may_be_named_like_a_part_of_our_statements(bench: Bench, form: str) -> None:
    bench.database.script(
        "CREATE TABLE entry (id INTEGER PRIMARY KEY, serial INTEGER, old INTEGER, new INTEGER);"
        "INSERT INTO entry VALUES (1, 1, 1, NULL), (2, 2, 2, NULL);"
    )
    before = bench.database.rows("SELECT * FROM entry ORDER BY id")
    script = bench.script(kept(form).replace('sa.table("item"', 'sa.table("entry"'))
    async with opened(bench.database) as database:
        assert (await bench.run_on(database, script)).outcome == "done"
        assert (await revert_on(database, script)).rows == 2
    assert bench.database.rows("SELECT * FROM entry ORDER BY id") == before


@pytest.mark.parametrize(
    ("form", "refused"),
    [
        ("@compute_rows(item, pending=pending, reads=[item.c.old], writes=[item.c.new])\n"
         'def migrate(row):\n    return {"new": row.old * 2}', True),
        ("migrate = update_rows(item, pending=pending, undo_log=True, values={item.c.new: item.c.old * 2})", True),
        ("migrate = update_rows(item, pending=pending, values={item.c.new: item.c.old * 2})", False),
    ],
)  # fmt: skip
async def test_rows_of_a_table_and_of_its_heirs_are_not_taken_for_each_other(
    postgres_bench: Bench, form: str, refused: bool
) -> None:
    bench = postgres_bench
    bench.database.script(
        HOME_OF_PART + "CREATE TABLE heir () INHERITS (item); INSERT INTO heir VALUES (1, 9, 70);"
    )
    ran = await bench.run(bench.script(HOME + form))
    assert ran.outcome == ("failed" if refused else "done")
    if refused:
        assert "heir inherit from item" in str(ran.result.error)
    assert bench.pending() == (9 if refused else 0)


@pytest.mark.parametrize(
    ("obstacle", "said"),
    [
        ("ALTER TABLE item ADD UNIQUE (serial) DEFERRABLE", "the deferrable constraint item_serial_key"),
        ("CREATE RULE also AS ON INSERT TO item DO ALSO NOTIFY came", "the rule also"),
    ],
)
async def test_a_table_into_which_deleted_rows_could_not_be_put_back_is_told_beforehand(
    postgres_bench: Bench, obstacle: str, said: str
) -> None:
    bench = postgres_bench
    bench.table(rows=[(i,) for i in range(ROWS)])
    bench.database.execute(obstacle)
    ran = await bench.run(bench.script(kept("delete")))
    assert ran.outcome == "failed"
    assert said in str(ran.result.error)
    assert bench.pending() == ROWS
    assert (await bench.run(bench.script(kept("update")))).outcome == "done"


async def test_a_revert_finds_the_table_that_was_changed_whatever_the_search_path_is(
    postgres_bench: Bench,
) -> None:
    bench = postgres_bench
    bench.table(rows=[(i,) for i in range(ROWS)])
    before = rows_of(bench)
    script = bench.script(kept("update"))
    async with opened(bench.database) as database:
        assert (await bench.run_on(database, script)).outcome == "done"
    name = bench.database.scalar("SELECT current_database()")
    bench.database.script(
        "CREATE SCHEMA other; CREATE TABLE other.item (LIKE public.item INCLUDING ALL);"
        "INSERT INTO other.item SELECT * FROM public.item;"
        f'ALTER DATABASE "{name}" SET search_path = other, public;'
    )
    async with opened(bench.database) as database:
        assert (await revert_on(database, script)).rows == ROWS
    assert rows_of(bench, "public.item") == before
    assert all(row[-1] is not None for row in rows_of(bench, "other.item"))
