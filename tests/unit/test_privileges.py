"""Which rights a run needs, what is lacking of them, and the GRANTs, as text."""

from __future__ import annotations

import sqlalchemy as sa

from datamigrate import compute_rows, delete_rows, each_batch, update_rows
from datamigrate.authoring.batch import Batch
from datamigrate.database.privileges import Doing, Named, doings_of
from datamigrate.thought.privileges import Home, Relation, Right, Use, grants, lacking, needed

LEDGER = Relation("ops", "ops.datamigrate_run", ("ops.datamigrate_run_id_seq",))
USERS = Relation("public", 'public."user"')
NEW = Home("shop", "ops", exists=True)

users = sa.table("users", sa.column("id"), sa.column("first"), sa.column("nick"))
lines = sa.table("lines", sa.column("user_id"), sa.column("price"), schema="crm")


def test_a_ledger_that_is_there_is_read_and_written_and_numbered() -> None:
    rights = needed(Home("shop", "ops", True, (LEDGER,)), [])
    assert grants("clerk", rights) == [
        "GRANT CONNECT ON DATABASE shop TO clerk;",
        "GRANT USAGE ON SCHEMA ops TO clerk;",
        "GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE ops.datamigrate_run TO clerk;",
        "GRANT USAGE ON SEQUENCE ops.datamigrate_run_id_seq TO clerk;",
    ]


def test_a_ledger_that_is_not_there_yet_is_created_in_its_schema_or_with_it() -> None:
    assert grants("clerk", needed(NEW, []))[1:] == ["GRANT USAGE, CREATE ON SCHEMA ops TO clerk;"]
    absent = Home("shop", "ops", exists=False)
    assert grants("clerk", needed(absent, [])) == ["GRANT CONNECT, CREATE ON DATABASE shop TO clerk;"]


def test_only_the_columns_that_are_written_may_be_written() -> None:
    uses = [Use(USERS, "SELECT"), Use(USERS, "UPDATE", ("nick",)), Use(USERS, "UPDATE", ("nick", '"Full"'))]
    assert grants("clerk", needed(NEW, uses))[2:] == [
        "GRANT USAGE ON SCHEMA public TO clerk;",
        'GRANT SELECT, UPDATE (nick, "Full") ON TABLE public."user" TO clerk;',
    ]


def test_what_is_lacking_is_what_is_needed_and_not_held() -> None:
    on = 'TABLE public."user"'
    rights = [Right("SELECT", on), Right("UPDATE", on, "nick"), Right("UPDATE", on, "name")]
    held = {Right("UPDATE", on, "nick")}
    assert lacking(rights, held) == (Right("SELECT", on), Right("UPDATE", on, "name"))
    assert lacking(rights, {Right("SELECT", on), Right("UPDATE", on)}) == ()


def test_a_form_reads_its_table_and_those_of_its_expressions_and_writes_what_it_names() -> None:
    total = sa.select(sa.func.sum(lines.c.price)).where(lines.c.user_id == users.c.id).scalar_subquery()
    form = update_rows(users, pending=users.c.nick.is_(None), values={users.c.nick: total})
    assert set(doings_of(form)) == {
        Doing(Named("users"), "SELECT"),
        Doing(Named("users"), "UPDATE", ("nick",)),
        Doing(Named("lines", "crm"), "SELECT"),
    }
    undone = delete_rows(users, pending=users.c.nick.is_(None), undo_log=True)
    assert [d.verb for d in doings_of(undone)] == ["SELECT", "DELETE", "INSERT"]
    stale = sa.exists().where(lines.c.user_id == users.c.id)
    assert {(str(d.table), d.verb) for d in doings_of(delete_rows(users, pending=~stale))} == {
        ("users", "SELECT"),
        ("users", "DELETE"),
        ("crm.lines", "SELECT"),
    }


def test_what_an_onupdate_writes_may_be_written() -> None:
    table = sa.Table(
        "notes",
        sa.MetaData(),
        sa.Column("text", sa.Text),
        sa.Column("changed", sa.DateTime, onupdate=sa.func.now()),
    )
    form = update_rows(table, pending=table.c.text.is_(None), values={table.c.text: ""})
    assert Doing(Named("notes"), "UPDATE", ("text", "changed")) in doings_of(form)
    deleted = delete_rows(table, pending=table.c.text.is_(None))
    assert [d.verb for d in doings_of(deleted)] == ["SELECT", "DELETE"]


def test_of_a_function_only_what_it_declares_is_known() -> None:
    @compute_rows(users, pending=users.c.nick.is_(None), reads=[users.c.first], writes=[users.c.nick])
    def computed(row: object) -> dict[str, str]:
        return {"nick": "x"}

    @each_batch(users, pending=users.c.nick.is_(None))
    async def anything(batch: Batch) -> None:
        return None

    assert [(d.verb, d.columns) for d in doings_of(computed)] == [("SELECT", ()), ("UPDATE", ("nick",))]
    assert [(d.verb, d.columns) for d in doings_of(anything)] == [("SELECT", ())]
