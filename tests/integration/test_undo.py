from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datamigrate.authoring.script import Script
from datamigrate.database.database import Database
from datamigrate.database.ledger.store import Ledger
from datamigrate.doing.effort import Workplace
from datamigrate.doing.owner import this_process
from datamigrate.doing.revert_work import revert_work
from datamigrate.doing.reverting import Undone, revert
from datamigrate.doing.settings import Budget
from datamigrate.doing.stopping import Stop
from datamigrate.thought.lifecycle import Cause
from datamigrate.words.events import Event
from workbench import BATCH, FORMS, SMALL, Bench, opened

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
