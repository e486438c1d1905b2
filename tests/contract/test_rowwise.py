"""Whether a row is left to itself when it is written, as the server knows it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import sqlalchemy as sa

import datamigrate
from databases import ScratchDatabase
from datamigrate.authoring.forms import Form, RowsForm
from datamigrate.database.rowwise import is_rowwise
from workbench import ITEM, PENDING, doubling, opened

pytestmark = pytest.mark.anyio

PLAIN = "CREATE TABLE item (id INTEGER PRIMARY KEY, serial INTEGER, old INTEGER, new INTEGER);"
NOTE = "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;"
TRIGGER = "CREATE TRIGGER noted {when} ON {table} FOR EACH ROW EXECUTE FUNCTION note();"
PARTED = (
    "CREATE TABLE item (id INTEGER PRIMARY KEY, serial INTEGER, old INTEGER, new INTEGER) PARTITION BY RANGE (id);"
    "CREATE TABLE item_1 PARTITION OF item FOR VALUES FROM (0) TO (100);"
)

LEFT_ALONE = {
    "a table": PLAIN,
    "partitions": PARTED,
    "foreign keys": PLAIN
    + "CREATE TABLE other (item_id INTEGER REFERENCES item ON DELETE CASCADE);"
    + "ALTER TABLE item ADD FOREIGN KEY (serial) REFERENCES item (id);",
    "an index and a check": PLAIN
    + "CREATE UNIQUE INDEX ON item (new); ALTER TABLE item ADD CHECK (new > 0);",
}

MEDDLED_WITH = {
    "a trigger before": PLAIN + NOTE + TRIGGER.format(when="BEFORE UPDATE", table="item"),
    "a trigger after": PLAIN + NOTE + TRIGGER.format(when="AFTER DELETE", table="item"),
    "a trigger of a partition": PARTED + NOTE + TRIGGER.format(when="AFTER UPDATE", table="item_1"),
    "a rule": PLAIN + "CREATE RULE note AS ON UPDATE TO item DO ALSO NOTIFY changed;",
    "a policy": PLAIN + "ALTER TABLE item ENABLE ROW LEVEL SECURITY;",
    "a view": PLAIN.replace("item", "real") + "CREATE VIEW item AS SELECT * FROM real;",
}


async def rowwise(scratch: ScratchDatabase, form: Form) -> bool:
    assert isinstance(form, RowsForm)
    async with opened(scratch) as database, database.looking() as connection:
        return await is_rowwise(connection, database.dialect, form)


@pytest.mark.parametrize("what", LEFT_ALONE)
async def test_a_table_without_anything_that_meddles_leaves_its_rows_alone(
    postgres_database: ScratchDatabase, what: str
) -> None:
    postgres_database.script(LEFT_ALONE[what])
    assert await rowwise(postgres_database, doubling())
    assert await rowwise(postgres_database, datamigrate.delete_rows(ITEM, pending=PENDING))


@pytest.mark.parametrize("what", MEDDLED_WITH)
async def test_one_with_triggers_rules_or_policies_does_not(
    postgres_database: ScratchDatabase, what: str
) -> None:
    postgres_database.script(MEDDLED_WITH[what])
    assert not await rowwise(postgres_database, doubling())


CALLS = {
    "length": True,
    "coalesce": True,
    "random": False,
    "gen_random_uuid": True,
    "query_to_xml": False,
    "table_to_xml": False,
    "nextval": False,
    "shout": False,
    # the server's own, and somebody's of the same name
    "upper": False,
}


@pytest.mark.parametrize("name", CALLS)
async def test_only_functions_of_the_server_that_read_no_table_are_known(
    postgres_database: ScratchDatabase, name: str
) -> None:
    body = "RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS 'SELECT $1'"
    postgres_database.script(
        PLAIN
        + f"CREATE FUNCTION shout(text) {body}; CREATE FUNCTION upper(integer) {body.replace('$1', '$1::text')};"
    )
    value = getattr(sa.func, name)(ITEM.c.old)
    form = datamigrate.update_rows(ITEM, pending=PENDING, values={ITEM.c.new: value})
    assert await rowwise(postgres_database, form) == CALLS[name]
    assert await rowwise(postgres_database, replace(doubling(), pending=value == 1)) == CALLS[name]


async def test_what_the_authors_own_code_does_is_not_known(postgres_database: ScratchDatabase) -> None:
    postgres_database.script(PLAIN)

    @datamigrate.each_batch(ITEM, pending=PENDING)
    async def migrate(batch: datamigrate.Batch) -> None:
        """Nothing."""

    assert not await rowwise(postgres_database, migrate)
    stamped = sa.Table(
        "item",
        sa.MetaData(),
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("new", sa.Integer),
        sa.Column("old", sa.Integer, onupdate=sa.text("(SELECT max(new) FROM item)")),
    )
    form = datamigrate.update_rows(stamped, pending=stamped.c.new.is_(None), values={stamped.c.new: 1})
    assert not await rowwise(postgres_database, form)


async def test_on_sqlite_one_batch_follows_the_other(sqlite_database: ScratchDatabase) -> None:
    sqlite_database.script(PLAIN)
    assert not await rowwise(sqlite_database, doubling())
