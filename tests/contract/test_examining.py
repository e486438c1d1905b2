from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

import datamigrate
from databases import ScratchDatabase
from datamigrate.authoring.forms import RowsForm
from datamigrate.database.database import Database
from datamigrate.database.examining import Examined, examine
from datamigrate.words.errors import KeyUnfit, SchemaError
from workbench import opened

pytestmark = pytest.mark.anyio

COLUMNS = ("id", "tenant", "code", "old", "new")


def table(*names: str, of: str = "item", schema: str | None = None) -> sa.TableClause:
    return sa.table(of, *(sa.column(name) for name in names or COLUMNS), schema=schema)


def form(item: sa.TableClause, *key: str) -> RowsForm:
    """Sets `new` to `old` where it is NULL."""
    return datamigrate.update_rows(
        item,
        key=[item.c[name] for name in key] if key else None,
        pending=item.c.new.is_(None),
        values={item.c.new: item.c.old},
    )


async def examined(ours: Database, wanted: RowsForm) -> Examined:
    async with ours.looking() as connection:
        return await examine(connection, ours.dialect, "job", wanted)


async def key_names(database: ScratchDatabase, wanted: RowsForm) -> tuple[str, ...]:
    async with opened(database) as ours:
        return (await examined(ours, wanted)).keyset.names


async def refusal(database: ScratchDatabase, wanted: RowsForm) -> SchemaError:
    async with opened(database) as ours:
        with pytest.raises(SchemaError) as caught:
            await examined(ours, wanted)
    return caught.value


def create(database: ScratchDatabase, columns: str, name: str = "item") -> None:
    database.execute(f"CREATE TABLE {name} ({columns})")


# the table and its columns ------------------------------------------------------------------------------


async def test_a_table_that_is_not_there_is_named(database: ScratchDatabase) -> None:
    error = await refusal(database, form(table()))
    assert error.message == "job: there is no table item in this database."
    assert "is `requires` the right revision?" in error.hint


@pytest.mark.parametrize("written", ["Item", "itme"])
async def test_a_table_whose_name_is_written_otherwise_is_named(
    database: ScratchDatabase, written: str
) -> None:
    create(database, "id INTEGER PRIMARY KEY, old TEXT, new TEXT, code TEXT UNIQUE")
    error = await refusal(database, form(table(of=written)))
    assert error.message == f"job: there is no table {written} in this database."
    assert error.hint.startswith("Did you mean item? Compare ")


async def test_where_no_table_is_named_alike_some_are_named(database: ScratchDatabase) -> None:
    for number in range(12):
        create(database, "id INTEGER PRIMARY KEY", name=f"other_{number:02}")
    error = await refusal(database, form(table()))
    assert error.hint.startswith("There are: other_00, ")
    assert "other_09, ... Compare " in error.hint


async def test_a_column_that_is_not_there_is_named_with_the_nearest(database: ScratchDatabase) -> None:
    create(database, "id INTEGER PRIMARY KEY, old_name TEXT, new TEXT")
    error = await refusal(database, form(table()))
    assert error.message == "job: item has no column old."
    item = table("id", "old_nam", "new")
    wanted = datamigrate.update_rows(item, pending=item.c.new.is_(None), values={item.c.new: item.c.old_nam})
    error = await refusal(database, wanted)
    assert (error.message, error.hint) == ("job: item has no column old_nam.", "Did you mean old_name?")


async def test_a_missing_column_is_found_wherever_the_script_uses_it(database: ScratchDatabase) -> None:
    create(database, "id INTEGER PRIMARY KEY, new TEXT")
    item = table("id", "gone", "new")
    is_null = item.c.new.is_(None)
    uses = [
        datamigrate.delete_rows(item, pending=sa.func.lower(item.c.gone) == "x"),
        datamigrate.update_rows(item, pending=is_null, values={item.c.gone: "x"}),
        datamigrate.update_rows(item, pending=is_null, values={item.c.new: sa.func.trim(item.c.gone)}),
        datamigrate.delete_rows(item, key=item.c.gone, pending=is_null),
        datamigrate.compute_rows(item, pending=is_null, reads=[item.c.gone], writes=[item.c.new])(by_row),
        datamigrate.compute_rows(item, pending=is_null, reads=[item.c.id], writes=[item.c.gone])(by_row),
        datamigrate.each_batch(item, pending=is_null & item.c.gone.is_(None))(by_batch),
    ]
    for wanted in uses:
        assert "item has no column gone" in (await refusal(database, wanted)).message


def by_row(row: Any) -> None:
    return None


async def by_batch(batch: Any) -> None:
    return None


async def test_columns_that_are_declared_and_not_used_need_not_be_there(database: ScratchDatabase) -> None:
    create(database, "id INTEGER PRIMARY KEY, old TEXT, new TEXT")
    assert await key_names(database, form(table())) == ("id",)


# the key ------------------------------------------------------------------------------------------------


async def test_the_primary_key_is_found_when_key_is_left_out(database: ScratchDatabase) -> None:
    create(database, "old TEXT, new TEXT, id INTEGER PRIMARY KEY")
    assert await key_names(database, form(table())) == ("id",)


async def test_the_primary_key_is_found_even_if_the_script_does_not_declare_it(
    database: ScratchDatabase,
) -> None:
    create(database, "id INTEGER PRIMARY KEY, old TEXT, new TEXT")
    assert await key_names(database, form(table("old", "new"))) == ("id",)


async def test_a_composite_primary_key_is_found_in_its_own_order(database: ScratchDatabase) -> None:
    create(database, "tenant INTEGER, code TEXT, old TEXT, new TEXT, PRIMARY KEY (code, tenant)")
    assert await key_names(database, form(table("old", "new"))) == ("code", "tenant")
    assert await key_names(database, form(table(), "tenant", "code")) == ("tenant", "code")


async def test_a_table_without_a_primary_key_needs_a_key(database: ScratchDatabase) -> None:
    create(database, "id INTEGER NOT NULL UNIQUE, old TEXT, new TEXT")
    error = await refusal(database, form(table()))
    assert isinstance(error, KeyUnfit)
    assert "item has no primary key" in error.message
    assert await key_names(database, form(table(), "id")) == ("id",)


UNIQUE = {
    "a unique constraint": "",
    "a unique index": "CREATE UNIQUE INDEX one ON item (code)",
    "a unique index of several columns": "CREATE UNIQUE INDEX one ON item (tenant, code)",
}


@pytest.mark.parametrize("what", UNIQUE)
async def test_a_key_may_lean_on(database: ScratchDatabase, what: str) -> None:
    constraint = "" if UNIQUE[what] else ", UNIQUE (code)"
    create(
        database,
        f"id INTEGER PRIMARY KEY, tenant INTEGER NOT NULL, code TEXT NOT NULL, old TEXT, new TEXT{constraint}",
    )
    if UNIQUE[what]:
        database.execute(UNIQUE[what])
    key = ("tenant", "code") if "several" in what else ("code",)
    assert await key_names(database, form(table(), *key)) == key


async def test_a_key_with_more_columns_than_are_needed_is_unique_too(database: ScratchDatabase) -> None:
    create(database, "id INTEGER PRIMARY KEY, tenant INTEGER NOT NULL, old TEXT, new TEXT")
    assert await key_names(database, form(table(), "tenant", "id")) == ("tenant", "id")


NOT_UNIQUE = {
    "no index": "SELECT 1",
    "an index that is not unique": "CREATE INDEX maybe ON item (code)",
    "a partial unique index": "CREATE UNIQUE INDEX maybe ON item (code) WHERE new IS NULL",
    "a unique index of an expression": "CREATE UNIQUE INDEX maybe ON item (lower(code))",
    "a unique index of the column and an expression": "CREATE UNIQUE INDEX maybe ON item (code, lower(old))",
    "a unique index of more columns": "CREATE UNIQUE INDEX maybe ON item (code, tenant)",
}


@pytest.mark.filterwarnings("ignore:Skipped unsupported reflection of expression-based index")
@pytest.mark.parametrize("what", NOT_UNIQUE)
async def test_a_key_cannot_lean_on(database: ScratchDatabase, what: str) -> None:
    create(
        database,
        "id INTEGER PRIMARY KEY, tenant INTEGER NOT NULL, code TEXT NOT NULL, old TEXT, new TEXT",
    )
    database.scalar(NOT_UNIQUE[what]) if what == "no index" else database.execute(NOT_UNIQUE[what])
    error = await refusal(database, form(table(), "code"))
    assert isinstance(error, KeyUnfit)
    assert error.message == "job: nothing makes item.code unique."
    assert "leave `key` out" in error.hint


async def test_a_unique_key_with_nulls_is_refused_and_one_that_merely_allows_them_is_not(
    database: ScratchDatabase,
) -> None:
    create(database, "id INTEGER PRIMARY KEY, code TEXT UNIQUE, old TEXT, new TEXT")
    database.script("INSERT INTO item (id, code) VALUES (1, 'a'), (2, 'b')")
    assert await key_names(database, form(table(), "code")) == ("code",)
    database.script("INSERT INTO item (id, code) VALUES (3, NULL)")
    error = await refusal(database, form(table(), "code"))
    assert isinstance(error, KeyUnfit)
    assert "item.code is NULL in some rows" in error.message


async def test_nulls_in_one_column_of_a_composite_key_are_refused(database: ScratchDatabase) -> None:
    create(database, "tenant INTEGER, code TEXT, old TEXT, new TEXT, UNIQUE (tenant, code)")
    database.script("INSERT INTO item (tenant, code) VALUES (1, 'a'), (1, NULL)")
    error = await refusal(database, form(table(), "tenant", "code"))
    assert "item.(tenant, code) is NULL in some rows" in error.message


async def test_a_text_primary_key_with_nulls_is_refused_on_sqlite(sqlite_database: ScratchDatabase) -> None:
    create(sqlite_database, "code TEXT PRIMARY KEY, old TEXT, new TEXT")
    sqlite_database.script("INSERT INTO item (code) VALUES ('a'), (NULL), (NULL)")
    assert "is NULL in some rows" in (await refusal(sqlite_database, form(table()))).message


async def test_a_script_that_writes_its_undeclared_key_is_refused(database: ScratchDatabase) -> None:
    create(database, "id INTEGER PRIMARY KEY, new TEXT")
    item = table("id", "new")
    wanted = datamigrate.update_rows(item, pending=item.c.new.is_(None), values={item.c.id: item.c.id + 1})
    error = await refusal(database, wanted)
    assert isinstance(error, KeyUnfit)
    assert "it writes its own key, item.id" in error.message


async def test_a_key_whose_collation_calls_different_texts_equal_is_refused(
    database: ScratchDatabase,
) -> None:
    if database.dialect == "postgresql":
        database.execute('CREATE COLLATION lenient FROM "C"')
        database.execute("UPDATE pg_collation SET collisdeterministic = false WHERE collname = 'lenient'")
        create(database, "code TEXT COLLATE lenient, old TEXT, new TEXT")
        database.execute('ALTER TABLE item ALTER code TYPE TEXT COLLATE "C"')
        database.execute("ALTER TABLE item ADD PRIMARY KEY (code)")
        database.execute(
            "UPDATE pg_attribute SET attcollation = (SELECT oid FROM pg_collation WHERE collname = 'lenient') "
            "WHERE attrelid = 'item'::regclass AND attname = 'code'"
        )
    else:
        create(database, "code TEXT COLLATE NOCASE PRIMARY KEY, old TEXT, new TEXT")
    error = await refusal(database, form(table()))
    assert isinstance(error, KeyUnfit)
    assert "item.code has the collation" in error.message
    assert error.hint == "Walk by another unique key."


# unusual tables -----------------------------------------------------------------------------------------


async def test_mixed_case_and_reserved_names_are_found(database: ScratchDatabase) -> None:
    create(database, '"Id" INTEGER PRIMARY KEY, "select" TEXT, "New Value" TEXT', name='"Order"')
    item = table("Id", "select", "New Value", of="Order")
    wanted = datamigrate.update_rows(
        item, pending=item.c["New Value"].is_(None), values={item.c["New Value"]: item.c["select"]}
    )
    assert await key_names(database, wanted) == ("Id",)


async def test_a_table_in_another_schema_is_found_and_not_confused(
    postgres_database: ScratchDatabase,
) -> None:
    create(postgres_database, "id INTEGER PRIMARY KEY, old TEXT, new TEXT")
    postgres_database.execute('CREATE SCHEMA "Other"')
    create(postgres_database, "code TEXT PRIMARY KEY, old TEXT, new TEXT", name='"Other".item')
    assert await key_names(postgres_database, form(table())) == ("id",)
    assert await key_names(postgres_database, form(table(schema="Other"))) == ("code",)
    error = await refusal(postgres_database, form(table(schema="nowhere")))
    assert "there is no table nowhere.item" in error.message


async def test_a_view_cannot_be_walked(database: ScratchDatabase) -> None:
    create(database, "id INTEGER PRIMARY KEY, old TEXT, new TEXT", name="base")
    database.execute("CREATE VIEW item AS SELECT * FROM base")
    assert isinstance(await refusal(database, form(table())), KeyUnfit)
    assert isinstance(await refusal(database, form(table(), "id")), KeyUnfit)


async def test_a_partitioned_table_is_walked_by_its_key(postgres_database: ScratchDatabase) -> None:
    postgres_database.script(
        "CREATE TABLE item (id INTEGER PRIMARY KEY, old TEXT, new TEXT) PARTITION BY RANGE (id);"
        "CREATE TABLE item_1 PARTITION OF item FOR VALUES FROM (0) TO (100)"
    )
    assert await key_names(postgres_database, form(table())) == ("id",)


async def test_types_to_write_are_the_scripts_and_else_the_databases(database: ScratchDatabase) -> None:
    create(database, "id INTEGER PRIMARY KEY, a INTEGER, b TIMESTAMP, c VARCHAR(10)")
    item = sa.table("item", sa.column("id"), sa.column("a", sa.Float), sa.column("b"), sa.column("c"))
    wanted = datamigrate.update_rows(
        item, pending=item.c.a.is_(None), values={item.c.a: 1, item.c.b: None, item.c.c: ""}
    )
    async with opened(database) as ours:
        types = (await examined(ours, wanted)).written_types
    assert [type(kind).__mro__[0].__name__.upper() for kind in types] == ["FLOAT", "TIMESTAMP", "VARCHAR"]


async def test_examining_changes_nothing(database: ScratchDatabase) -> None:
    create(database, "id INTEGER PRIMARY KEY, code TEXT UNIQUE, old TEXT, new TEXT")
    before = database.dump()
    await key_names(database, form(table(), "code"))
    await refusal(database, form(table(), "old"))
    assert database.dump() == before


async def test_an_index_that_was_not_made_to_the_end_proves_nothing(
    postgres_database: ScratchDatabase,
) -> None:
    create(postgres_database, "code INTEGER NOT NULL, old TEXT, new TEXT")
    postgres_database.execute("INSERT INTO item (code) VALUES (1), (1)")
    with (
        postgres_database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection,
        pytest.raises(sa.exc.IntegrityError),
    ):
        connection.exec_driver_sql("CREATE UNIQUE INDEX CONCURRENTLY broken ON item (code)")
    error = await refusal(postgres_database, form(table("code", "old", "new"), "code"))
    assert error.message == "job: nothing makes item.code unique: the index broken is not valid."


async def test_a_key_that_no_cursor_can_hold_is_refused_before_the_first_batch(
    postgres_database: ScratchDatabase,
) -> None:
    create(postgres_database, "id INTEGER, old BOOLEAN, new TEXT, PRIMARY KEY (id, old)")
    wanted = form(table("id", "old", "new"))
    assert await key_names(postgres_database, wanted) == ("id", "old")
    postgres_database.execute("INSERT INTO item VALUES (1, true, NULL)")
    assert (
        "A key of type bool cannot be kept in a cursor" in (await refusal(postgres_database, wanted)).message
    )


# masks --------------------------------------------------------------------------------------------------


def masked(*names: str) -> RowsForm:
    item = table()
    return datamigrate.update_rows(
        item, pending=item.c.new.is_(None), values={item.c.new: item.c.old}, mask=names
    )


async def test_a_mask_on_a_column_that_is_not_there_is_refused(database: ScratchDatabase) -> None:
    create(database, "id INTEGER PRIMARY KEY, old TEXT, new TEXT, hidden TEXT")
    error = await refusal(database, masked("old", "hiden"))
    assert error.message == "job: it masks hiden, and item has no such column."
    assert error.hint == "Did you mean hidden?"
    async with opened(database) as ours:
        # the script need not declare it
        assert "hidden" in (await examined(ours, masked("hidden"))).columns


async def test_a_mask_on_the_key_is_refused(database: ScratchDatabase) -> None:
    create(database, "id INTEGER PRIMARY KEY, old TEXT, new TEXT")
    error = await refusal(database, masked("id"))
    assert isinstance(error, KeyUnfit)
    assert error.message.startswith("job: it masks its own key, item.id")
