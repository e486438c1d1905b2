from __future__ import annotations

import datetime as dt
import random
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest

from datamigrate.doing import choosing
from datamigrate.words.events import BatchDone
from workbench import BATCH, Bench

pytestmark = pytest.mark.anyio

Key = tuple[Any, ...]
DIALECTS = ("sqlite", "postgresql")
FORMS = ("update", "compute", "compute batch", "compute async", "each batch", "delete")


@dataclass(frozen=True)
class Kind:
    """A kind of key: its columns in SQL and in the script, and rows in any order."""

    columns: str
    declared: str
    rows: tuple[Key, ...]
    key: str = "table.c.id"
    only: str = ""


def single(sql: str, declared: str, values: Iterable[Any], only: str = "") -> Kind:
    """A key of one column."""
    shuffled = [(value,) for value in values]
    random.Random(7).shuffle(shuffled)
    return Kind(f"id {sql} PRIMARY KEY", f"sa.column('id', {declared})", tuple(shuffled), only=only)


def moments(zone: dt.tzinfo | None) -> list[dt.datetime]:
    start = dt.datetime(1969, 12, 31, 23, 59, 59, 999_999, zone)
    return [start + dt.timedelta(days=i * 137, microseconds=i) for i in range(-4, 9)]


TEXTS = (
    *("", " ", "'", '"', "\\", "%", "_", "a", "A", "aa", "ä", "a\u0308", "ß", "z", "Ω", "💡", "\u200b"),
    *("it's; DROP TABLE item --", ":name", "new\nline", "\t", "zebra", "Zebra", "10", "9", "NULL"),
)
UUIDS = [uuid.UUID(int=random.Random(i).getrandbits(128)) for i in range(13)]
DECIMALS = [
    Decimal(text) for text in ("-1.5", "0", "0.1", "0.25", "1", "1.0000001", "12345678901234567890.5")
]
BYTES = [b"", b"\x00", b"\x00\x01", b"\xff", b"abc", b"abd", bytes(range(256)), b"'", b"\\x00"]
COUNTRIES = ("at", "ch", "de")

KINDS = {
    "integer": single("INTEGER", "sa.Integer", range(1, 14)),
    "negative and large": single(
        "BIGINT", "sa.BigInteger", [-(2**63), -(2**31) - 1, -5, -1, 0, 1, 2**31 - 1, 2**31, 2**40, 2**63 - 1]
    ),
    "sparse": single("INTEGER", "sa.Integer", [3, 4, 5, 6, 1000, 2000, 2001, 10**6, 10**9, 10**9 + 7]),
    "undeclared type": Kind(
        "id BIGINT PRIMARY KEY", "sa.column('id')", tuple((i * 3,) for i in range(9, -2, -1))
    ),
    "primary key left out": Kind(
        "id BIGINT PRIMARY KEY", "", tuple((i * 3,) for i in range(9, -2, -1)), key="None"
    ),
    "text": single("TEXT", "sa.Text", TEXTS),
    "varchar": single("VARCHAR(40)", "sa.String(40)", TEXTS),
    "uuid": single("UUID", "sa.Uuid", UUIDS, only="postgresql"),
    "uuid as text": single("CHAR(32)", "sa.Uuid", [u.hex for u in UUIDS], only="sqlite"),
    "timestamp": single("TIMESTAMP", "sa.DateTime", moments(None), only="postgresql"),
    "timestamptz": single("TIMESTAMPTZ", "sa.DateTime(timezone=True)", moments(dt.UTC), only="postgresql"),
    "timestamp as text": single(
        "TIMESTAMP", "sa.DateTime", [m.isoformat(" ") for m in moments(None)], only="sqlite"
    ),
    "infinite timestamp": single(
        "TIMESTAMP",
        "sa.DateTime",
        ["-infinity", "1999-01-01", "2000-01-01", "9999-12-31 23:59:59", "infinity"],
        only="postgresql",
    ),
    "date": single("DATE", "sa.Date", [dt.date(2024, 2, 29) + dt.timedelta(i * 40) for i in range(-6, 7)]),
    "time": single("TIME", "sa.Time", [dt.time(i, 59, i, i * 1000).isoformat() for i in range(0, 24, 2)]),
    "decimal": single("NUMERIC", "sa.Numeric", DECIMALS, only="postgresql"),
    "decimal as number": single("NUMERIC", "sa.Numeric", [-1.5, 0, 0.1, 0.25, 1, 7, 1e300], only="sqlite"),
    "float": single("DOUBLE PRECISION", "sa.Float", [-1e300, -0.1, 0.0, 0.1, 1 / 3, 5e-324, 1e300, 2.5]),
    "bytes on PostgreSQL": single("BYTEA", "sa.LargeBinary", BYTES, only="postgresql"),
    "bytes on SQLite": single("BLOB", "sa.LargeBinary", BYTES, only="sqlite"),
    "enum": single(
        "mood", "sa.Enum('sad', 'ok', 'happy', name='mood')", ["ok", "happy", "sad"], "postgresql"
    ),
    "several types in one column": single("", "sa.Integer", [1, -1, 2.5, "1", "", "b", b"", b"1"], "sqlite"),
    "integer and text": Kind(
        "tenant BIGINT, code TEXT, PRIMARY KEY (tenant, code)",
        "sa.column('tenant', sa.BigInteger), sa.column('code', sa.Text)",
        tuple((n, c) for n in (2, -1, 1) for c in ("b", "", "it's", "a", "Ä")),
        key="(table.c.tenant, table.c.code)",
    ),
    "three mixed columns": Kind(
        "country TEXT, day DATE, number INTEGER, PRIMARY KEY (country, day, number)",
        "sa.column('country', sa.Text), sa.column('day', sa.Date), sa.column('number', sa.Integer)",
        tuple((c, dt.date(2024, 1, d), n) for n in (2, 1) for d in (31, 1, 9) for c in COUNTRIES),
        key="(table.c.country, table.c.day, table.c.number)",
    ),
    "composite in another order": Kind(
        "tenant BIGINT, code TEXT, PRIMARY KEY (tenant, code)",
        "sa.column('tenant', sa.BigInteger), sa.column('code', sa.Text)",
        tuple((n, c) for n in (2, 1) for c in ("b", "", "a")),
        key="(table.c.code, table.c.tenant)",
    ),
}


def body(kind: Kind, form: str) -> str:
    """The text of a script that doubles `old` into `new`, or deletes."""
    columns = ", ".join(c for c in (kind.declared, "sa.column('old', sa.Integer)") if c)
    start = (
        f"table = sa.table('item', {columns}, sa.column('new', sa.Integer))\n"
        f"walk = dict(key={kind.key}, pending=table.c.new.is_(None))\n"
    )
    compute = "@compute_rows(table, **walk, reads=[table.c.old], writes=[table.c.new])\n"
    return (
        start
        + {
            "update": "migrate = update_rows(table, **walk, values={table.c.new: table.c.old * 2})",
            "delete": "migrate = delete_rows(table, **walk)",
            "compute": compute + "def migrate(row): return {'new': row.old * 2}",
            "compute batch": compute + "def migrate(rows): return [{'new': row.old * 2} for row in rows]",
            "compute async": compute + "async def migrate(row): return {'new': row.old * 2}",
            "each batch": "@each_batch(table, **walk)\nasync def migrate(batch):\n"
            "    await batch.execute(sa.update(table).where(batch.rows).values(new=table.c.old * 2))",
        }[form]
    )


def prepare(bench: Bench, kind: Kind) -> None:
    """The table with the kind's rows."""
    if "mood" in kind.columns:
        bench.database.execute("CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy')")
    rows = [tuple(map(plain, key)) for key in kind.rows] if bench.database.dialect == "sqlite" else kind.rows
    bench.table(kind.columns, rows)


def plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, dt.date) else value


def assert_each_row_once(bench: Bench, kind: Kind, form: str) -> None:
    bench.assert_done(len(kind.rows))
    if form == "delete":
        assert bench.database.scalar("SELECT count(*) FROM item") == 0
    else:
        assert bench.wrong() == []


def cases(usual: str, everywhere: tuple[str, ...] = ()) -> list[tuple[str, str, str]]:
    """Dialect, kind of key, and form: the usual form for every kind, all forms for those named."""
    return [
        (dialect, name, form)
        for name, kind in KINDS.items()
        for dialect in ((kind.only,) if kind.only else DIALECTS)
        for form in FORMS
        if form == usual or name in everywhere
    ]


@pytest.mark.usefixtures("however_found")
@pytest.mark.parametrize(("dialect", "name", "form"), cases("compute batch"))
async def test_a_key_of_any_kind_is_walked_in_one_go_each_row_once(
    bench_on: Callable[[str], Bench], dialect: str, name: str, form: str
) -> None:
    bench, kind = bench_on(dialect), KINDS[name]
    prepare(bench, kind)
    ran = await bench.run(bench.script(body(kind, form)))
    assert ran.outcome == "done", ran.result
    assert_each_row_once(bench, kind, form)


@pytest.mark.parametrize(
    ("dialect", "name", "form"), cases("update", everywhere=("integer", "three mixed columns"))
)
async def test_a_key_of_any_kind_is_walked_one_batch_a_process_each_row_once(
    bench_on: Callable[[str], Bench], dialect: str, name: str, form: str
) -> None:
    await walk_one_batch_a_process(bench_on(dialect), KINDS[name], form)


@pytest.mark.parametrize("name", ["integer", "text", "three mixed columns"])
async def test_listed_keys_are_walked_one_batch_a_process_each_row_once(
    bench: Bench, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datamigrate.doing.rows_work.MANY", 1)
    await walk_one_batch_a_process(bench, KINDS[name], "update")


async def walk_one_batch_a_process(bench: Bench, kind: Kind, form: str) -> None:
    prepare(bench, kind)
    script = bench.script(body(kind, form))
    runs = await bench.run_until_done(script, batch_size=BATCH)
    assert runs >= len(kind.rows) / BATCH
    assert_each_row_once(bench, kind, form)
    assert bench.standing().batches >= len(kind.rows) / BATCH


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("count", [0, 1, BATCH, BATCH + 1])
async def test_any_number_of_rows_around_the_batch_size_is_done_once(
    bench: Bench, count: int, form: str
) -> None:
    kind = Kind(KINDS["integer"].columns, KINDS["integer"].declared, tuple((i,) for i in range(count)))
    prepare(bench, kind)
    ran = await bench.run(bench.script(body(kind, form)), batch_size=BATCH)
    assert ran.outcome == "done", ran.result
    assert_each_row_once(bench, kind, form)


@pytest.mark.parametrize("form", FORMS)
async def test_numbers_with_gaps_of_any_size_are_walked_each_row_once(bench: Bench, form: str) -> None:
    hundreds = (
        *range(-50, 150),
        *range(20_000, 20_100),
        *range(20_101, 20_300, 2),
        *range(10**9, 10**9 + 100),
    )
    kind = Kind("id BIGINT PRIMARY KEY", KINDS["integer"].declared, tuple((i,) for i in hundreds))
    prepare(bench, kind)
    ran = await bench.run(bench.script(body(kind, form)))
    assert ran.outcome == "done", ran.result
    assert max(batch.rows for batch in ran.of(BatchDone)) <= BATCH
    assert_each_row_once(bench, kind, form)


@pytest.mark.parametrize("form", ["update", "compute batch", "compute"])
async def test_numbers_that_are_no_whole_ones_are_walked_each_row_once(
    sqlite_bench: Bench, form: str
) -> None:
    halves = (*range(100), *(i / 4 + 0.1 for i in range(300, 600)), *range(200, 300))
    kind = single("INT", "sa.Integer", halves)
    prepare(sqlite_bench, kind)
    ran = await sqlite_bench.run(sqlite_bench.script(body(kind, form)))
    assert ran.outcome == "done", ran.result
    assert_each_row_once(sqlite_bench, kind, form)


@pytest.mark.parametrize("form", FORMS)
async def test_where_keys_are_numbered_nobody_looks_for_the_end_of_a_batch(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    kind = Kind("id BIGINT PRIMARY KEY", KINDS["integer"].declared, tuple((i,) for i in range(100 * BATCH)))
    prepare(bench, kind)
    looks, first_key = [], choosing.first_key

    async def looked_for(*given: Any) -> Any:
        looks.append(given)
        return await first_key(*given)

    monkeypatch.setattr(choosing, "first_key", looked_for)
    ran = await bench.run(bench.script(body(kind, form)))
    assert ran.outcome == "done", ran.result
    assert len(looks) < 10
    assert_each_row_once(bench, kind, form)


async def test_a_second_run_changes_nothing(bench: Bench) -> None:
    kind = KINDS["integer"]
    prepare(bench, kind)
    script = bench.script(body(kind, "update"))
    await bench.run(script)
    before = bench.database.dump()
    assert (await bench.run(script)).outcome == "done"
    assert bench.database.dump() == before


async def test_rows_that_are_not_pending_are_not_written(bench: Bench) -> None:
    kind = KINDS["integer"]
    prepare(bench, kind)
    bench.database.script("UPDATE item SET new = -1 WHERE id % 3 = 0; DELETE FROM written;")
    ran = await bench.run(bench.script(body(kind, "update")))
    assert ran.outcome == "done", ran.result
    untouched = {s for (s,) in bench.database.rows("SELECT serial FROM item WHERE id % 3 = 0")}
    bench.assert_done(13 - len(untouched), set(range(13)) - untouched)


SHAPES: dict[str, Callable[[int], int]] = {"dense": lambda i: i, "sparse": lambda i: i * i * 1000}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("form", ["update", "compute batch", "each batch"])
async def test_a_few_pending_rows_among_many_are_all_found(bench: Bench, form: str, shape: str) -> None:
    kind = Kind(
        "id BIGINT PRIMARY KEY", KINDS["integer"].declared, tuple((SHAPES[shape](i),) for i in range(300))
    )
    prepare(bench, kind)
    bench.database.script("UPDATE item SET new = old * 2 WHERE serial % 41 <> 3; DELETE FROM written;")
    ran = await bench.run(bench.script(body(kind, form)))
    assert ran.outcome == "done", ran.result
    bench.assert_done(8, [serial for serial in range(300) if serial % 41 == 3])
    if form != "delete":
        assert bench.wrong() == []


async def test_a_mixed_case_table_in_a_schema_of_its_own_is_walked(postgres_bench: Bench) -> None:
    bench = postgres_bench
    bench.database.script(
        'CREATE SCHEMA "My Schema"; CREATE TABLE "My Schema"."Order" ("Id" INTEGER PRIMARY KEY, '
        '"select" INTEGER, "New Value" INTEGER);'
        'INSERT INTO "My Schema"."Order" SELECT i, i FROM generate_series(1, 10) i'
    )
    ran = await bench.run(
        bench.script(
            "table = sa.table('Order', sa.column('Id'), sa.column('select', sa.Integer), "
            "sa.column('New Value', sa.Integer), schema='My Schema')\n"
            "@compute_rows(table, pending=table.c['New Value'].is_(None), reads=[table.c['select']], "
            "writes=[table.c['New Value']])\n"
            "def migrate(row): return {'New Value': row['select'] * 2}"
        )
    )
    assert ran.outcome == "done", ran.result
    count = 'SELECT count(*) FROM "My Schema"."Order" WHERE "New Value" = 2 * "select"'
    assert bench.database.scalar(count) == bench.standing().rows == 10
