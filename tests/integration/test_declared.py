"""Tables with more to them than columns: what a script declares of them, and what the schema does."""

from __future__ import annotations

import pytest

from datamigrate.words.errors import KeyUnfit, SchemaError
from integration.test_undo import revert_on
from workbench import FORMS, Bench, opened

pytestmark = pytest.mark.anyio

TABLE = """
item = sa.Table(
    "item",
    sa.MetaData(),
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("old", sa.Integer),
    sa.Column("new", sa.Integer),
    sa.Column("changed", sa.JSON, onupdate={onupdate}),
)
"""
COMPUTED = """
@compute_rows(item, pending=item.c.new.is_(None), reads=[item.c.old], writes=[item.c.new])
def migrate(row):
    return {"new": row.old * 2}
"""
UPDATED = "migrate = update_rows(item, pending=item.c.new.is_(None), values={item.c.new: item.c.old * 2})"
WAYS = {
    "a value": '["now"]',
    "a function": 'lambda: ["now"]',
    "a function of SQLAlchemy's context": 'lambda context: ["now"]',
    "an expression": 'sa.text("\'[\\"now\\"]\'")',
}
ROWS = 11
SHOWN = "SELECT id, new, CAST(changed AS VARCHAR) FROM item ORDER BY id"


@pytest.fixture
def filled(bench: Bench) -> Bench:
    """Some rows, in more than one batch, that nobody has changed."""
    bench.database.script(
        "CREATE TABLE item (id INTEGER PRIMARY KEY, old INTEGER, new INTEGER, changed JSON);"
        + "".join(f"INSERT INTO item VALUES ({i}, {i}, NULL, '[]');" for i in range(1, ROWS + 1))
    )
    return bench


@pytest.mark.parametrize("form", [COMPUTED, UPDATED], ids=["compute", "update"])
@pytest.mark.parametrize("way", WAYS)
async def test_a_column_that_is_not_written_gets_what_its_onupdate_says(
    filled: Bench, form: str, way: str
) -> None:
    ran = await filled.run(filled.script(TABLE.format(onupdate=WAYS[way]) + form))
    assert ran.outcome == "done", ran.result
    changed = filled.database.rows("SELECT CAST(changed AS VARCHAR), count(*) FROM item GROUP BY 1")
    assert changed == [('["now"]', ROWS)]


@pytest.mark.parametrize("form", [COMPUTED, UPDATED], ids=["compute", "update"])
@pytest.mark.parametrize("way", WAYS)
async def test_what_an_onupdate_has_written_is_in_the_undo_log(filled: Bench, form: str, way: str) -> None:
    before = filled.database.rows(SHOWN)
    kept = form.replace("is_(None), ", "is_(None), undo_log=True, ")
    script = filled.script(TABLE.format(onupdate=WAYS[way]) + kept)
    async with opened(filled.database) as database:
        ran = await filled.run_on(database, script)
        assert ran.outcome == "done", ran.result
        assert filled.database.rows(SHOWN) != before
        undone = await revert_on(database, script)
    assert (undone.rows, undone.changed) == (ROWS, 0)
    assert filled.database.rows(SHOWN) == before


async def test_a_row_whose_onupdate_somebody_has_written_over_since_is_left_as_found(filled: Bench) -> None:
    kept = UPDATED.replace("is_(None), ", "is_(None), undo_log=True, ")
    script = filled.script(TABLE.format(onupdate='["now"]') + kept)
    async with opened(filled.database) as database:
        await filled.run_on(database, script)
        filled.database.execute("UPDATE item SET changed = '[7]' WHERE id = 3")
        undone = await revert_on(database, script)
    assert (undone.rows, undone.changed) == (ROWS - 1, 1)
    assert filled.database.rows("SELECT id FROM item WHERE new IS NOT NULL") == [(3,)]


@pytest.mark.parametrize("form", [COMPUTED, UPDATED], ids=["compute", "update"])
async def test_a_key_with_an_onupdate_is_refused(filled: Bench, form: str) -> None:
    keyed = TABLE.format(onupdate="None").replace("primary_key=True", "primary_key=True, onupdate=7")
    ran = await filled.run(filled.script(keyed + form))
    assert isinstance(ran.result.error, KeyUnfit)
    assert "it writes its own key, item.id" in ran.result.error.message


async def test_a_column_with_an_onupdate_that_is_not_there_is_named(filled: Bench) -> None:
    gone = TABLE.format(onupdate="7").replace('"changed"', '"changd"')
    ran = await filled.run(filled.script(gone + UPDATED))
    assert isinstance(ran.result.error, SchemaError)
    assert str(ran.result.error.message) == "job: item has no column changd."
    assert ran.result.error.hint == "Did you mean changed?"


async def test_an_onupdate_that_would_reach_rows_of_another_table_is_refused_with_an_undo_log(
    filled: Bench,
) -> None:
    filled.database.script(
        "CREATE UNIQUE INDEX one_of_each ON item (old);"
        "CREATE TABLE part (of INTEGER REFERENCES item (old) ON UPDATE SET NULL);"
    )
    moved = TABLE.format(onupdate="None").replace(
        '"old", sa.Integer', '"old", sa.Integer, onupdate=sa.text("old + 50")'
    )
    kept = UPDATED.replace("is_(None), ", "is_(None), undo_log=True, ")
    ran = await filled.run(filled.script(moved + kept))
    assert isinstance(ran.result.error, SchemaError)
    assert "rows of part change with those of item (ON UPDATE SET NULL)" in ran.result.error.message


async def test_an_onupdate_that_is_a_function_is_called_for_each_row_on_sqlite(sqlite_bench: Bench) -> None:
    sqlite_bench.database.script(
        "CREATE TABLE item (id INTEGER PRIMARY KEY, old INTEGER, new INTEGER, changed JSON);"
        "INSERT INTO item VALUES (1, 1, NULL, NULL), (2, 2, NULL, NULL), (3, 3, NULL, NULL)"
    )
    count = "import itertools\nnumbers = itertools.count(1)\n" + TABLE.format(
        onupdate="lambda: next(numbers)"
    )
    ran = await sqlite_bench.run(sqlite_bench.script(count + COMPUTED))
    assert ran.outcome == "done", ran.result
    assert sqlite_bench.database.rows("SELECT changed FROM item ORDER BY id") == [(1,), (2,), (3,)]


async def test_a_column_that_has_another_name_in_python_is_updated(filled: Bench) -> None:
    renamed = TABLE.format(onupdate="None").replace('"new", sa.Integer', '"new", sa.Integer, key="fresh"')
    ran = await filled.run(filled.script(renamed + UPDATED.replace("c.new", "c.fresh")))
    assert ran.outcome == "done", ran.result
    assert filled.database.scalar("SELECT count(*) FROM item WHERE new = old * 2") == ROWS


# each name in Python is another column's in the database
CROSSED = """
item = sa.Table(
    "item",
    sa.MetaData(),
    sa.Column("id", sa.Integer, key="pk", primary_key=True),
    sa.Column("uid", sa.Integer, key="id"),
    sa.Column("name", sa.Text, key="new_name"),
    sa.Column("old_name", sa.Text, key="name"),
    sa.Column("new", sa.Text),
    sa.Column("changed", sa.Text, key="since", onupdate=lambda: "now"),
    sa.Column("since", sa.Text, key="changed"),
)
pending = item.c.new.is_(None)
"""
CROSSED_FORMS = {
    "update": "migrate = update_rows(item, pending=pending, values={item.c.new: item.c.name, item.c.new_name: item.c.name})",
    "compute": "@compute_rows(item, pending=pending, reads=[item.c.pk, item.c.name], writes=[item.c.new])\n"
    'def migrate(row):\n    return {"new": f"{row.old_name}"}',
    "delete": "migrate = delete_rows(item, pending=pending)",
    "each batch": "@each_batch(item, pending=pending)\nasync def migrate(batch):\n"
    "    await batch.execute(sa.update(item).where(batch.rows).values(new=item.c.name))",
}
CROSSED_ROWS = "SELECT id, uid, name, old_name, new, changed, since FROM item ORDER BY id"


def fill_crossed(bench: Bench) -> list[tuple[object, ...]]:
    """Rows of which the walk by any other column than `id` would take one for another."""
    bench.database.script(
        "CREATE TABLE item (id INTEGER PRIMARY KEY, uid INTEGER, name TEXT, old_name TEXT, new TEXT, changed TEXT, since TEXT);"
        + "".join(
            f"INSERT INTO item VALUES ({i}, {i % 3}, 'n{i}', 'o{i}', NULL, 'then', 's{i}');"
            for i in range(1, ROWS + 1)
        )
    )
    return bench.database.rows(CROSSED_ROWS)


@pytest.mark.parametrize("form", CROSSED_FORMS)
async def test_columns_that_have_one_anothers_names_in_python_are_told_apart(bench: Bench, form: str) -> None:
    fill_crossed(bench)
    ran = await bench.run(bench.script(CROSSED + CROSSED_FORMS[form]), batch_size=4)
    assert ran.outcome == "done", ran.result
    assert bench.standing().rows == ROWS
    assert f'["int","{ROWS}"]' in str(bench.standing().cursor)
    name = "o" if form == "update" else "n"
    expected = [(i, i % 3, f"{name}{i}", f"o{i}", f"o{i}", "now", f"s{i}") for i in range(1, ROWS + 1)]
    assert bench.database.rows(CROSSED_ROWS) == ([] if form == "delete" else expected)


@pytest.mark.parametrize("form", ["update", "compute", "delete"])
async def test_columns_that_have_one_anothers_names_in_python_are_put_back_each_in_its_place(
    bench: Bench, form: str
) -> None:
    before = fill_crossed(bench)
    script = bench.script(
        CROSSED + CROSSED_FORMS[form].replace("pending=pending", "pending=pending, undo_log=True")
    )
    async with opened(bench.database) as database:
        ran = await bench.run_on(database, script)
        assert ran.outcome == "done", ran.result
        assert bench.database.rows(CROSSED_ROWS) != before
        undone = await revert_on(database, script)
    assert (undone.rows, undone.changed) == (ROWS, 0)
    assert bench.database.rows(CROSSED_ROWS) == before


VARIANT = """
from sqlalchemy.dialects.postgresql import JSONB

item = sa.table(
    "item",
    sa.column("id", sa.Integer),
    sa.column("old", sa.Integer),
    sa.column("new", sa.Text().with_variant(JSONB(), "postgresql").with_variant(sa.JSON(), "sqlite")),
)
"""


async def test_a_type_that_is_another_one_on_this_database_takes_what_that_one_takes(bench: Bench) -> None:
    kind = {"sqlite": "JSON", "postgresql": "JSONB"}[bench.database.dialect]
    bench.database.script(
        f"CREATE TABLE item (id INTEGER PRIMARY KEY, old INTEGER, new {kind});"
        "INSERT INTO item VALUES (1, 1, NULL), (2, 2, NULL)"
    )
    script = bench.script(VARIANT + COMPUTED.replace("row.old * 2", '{"twice": row.old * 2}'))
    ran = await bench.run(script)
    assert ran.outcome == "done", ran.result
    found = bench.database.rows("SELECT CAST(new AS VARCHAR) FROM item ORDER BY id")
    assert found == [('{"twice": 2}',), ('{"twice": 4}',)]


async def test_a_value_that_none_of_a_types_variants_takes_is_told(bench: Bench) -> None:
    bench.database.script(
        "CREATE TABLE item (id INTEGER PRIMARY KEY, old INTEGER, new TEXT); INSERT INTO item VALUES (1, 1, NULL)"
    )
    short = VARIANT.replace("JSONB()", "sa.String(5)").replace("sa.JSON()", "sa.String(7)")
    ran = await bench.run(bench.script(short + COMPUTED))
    assert "migrate() returned int for new, which takes str" in str(ran.result.error)


async def test_rows_that_refer_to_deleted_ones_go_with_them_where_the_schema_says_so(bench: Bench) -> None:
    bench.table(rows=[(1,), (2,)])
    bench.database.script(
        "CREATE TABLE part (of INTEGER REFERENCES item (id) ON DELETE CASCADE); INSERT INTO part VALUES (1), (2)"
    )
    ran = await bench.run(bench.script(FORMS["delete"]))
    assert ran.outcome == "done", ran.result
    assert bench.database.scalar("SELECT count(*) FROM part") == 0
