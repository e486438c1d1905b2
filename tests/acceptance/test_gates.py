"""A schema revision that waits for data: plain `alembic upgrade` stops before it, until the data is complete."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa

from beside import (
    GATED,
    alembic,
    drop_last,
    hooked,
    moves,
    real_alembic,
    revision_of,
    states,
    told,
    write_env,
    write_gate,
)
from databases import ScratchDatabase
from datamigrate.database.schema import gate
from projects import FULL_NAME, NICK, NICKNAMES, PEOPLE, Project, add_people, named_people

FAILED = 255  # how `alembic` ends when a command fails

FREE = """
unnamed = people.c.full_name.is_(None)


async def migrate(session):
    full_name = people.c.first + " " + people.c.last
    await session.execute(sa.update(people).where(unnamed).values(full_name=full_name))
"""
REMAINING = """

async def remaining(session):
    return await session.scalar(sa.select(sa.func.count()).select_from(people).where(unnamed)) or 0
"""
SLEEP = "    await asyncio.sleep(0.001)\n    return"
# People with an even number have no nickname, and never will.
LEAVES_ALONE = NICK.replace("reads=[people.c.first]", "reads=[people.c.id, people.c.first]").replace(
    'return {"nick"', 'return None if row.id % 2 == 0 else {"nick"'
)


@pytest.fixture
def project(tmp_path: Path, database: ScratchDatabase) -> Project:
    """A project at the revision before its gate, which waits for `full_name`; nobody is there yet."""
    project = hooked(tmp_path / "project", database)
    project.write_script("full_name")
    write_gate(project)
    project.upgrade(NICKNAMES)
    return project


def last_is_there(database: ScratchDatabase) -> bool:
    return "last" in {column["name"] for column in sa.inspect(database.engine).get_columns("people")}


def is_shut(project: Project, database: ScratchDatabase) -> str:
    """What the gate says; it must leave the database as it was."""
    before = database.dump()
    said = told(alembic(project, "upgrade", "head", exits=FAILED))
    assert database.dump() == before
    assert revision_of(database) == [NICKNAMES]
    return said


def is_open(project: Project, database: ScratchDatabase) -> None:
    alembic(project, "upgrade", "head")
    assert revision_of(database) == [GATED]
    assert not last_is_there(database)


# Shut, and open


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("options", ["transaction_per_migration=True", ""], ids=["each", "all"])
def test_a_shut_gate_stops_before_any_ddl_and_opens_after_the_run(
    project: Project, database: ScratchDatabase, is_async: bool, options: str
) -> None:
    write_env(project, is_async=is_async, options=options)
    add_people(database, 1200)
    database.execute("UPDATE people SET full_name = first || ' ' || last WHERE id <= 412")
    said = is_shut(project, database)
    assert "This revision waits for the data migration 'full_name'" in said
    assert "412 of 1,200 rows are done, 788 are pending" in said
    assert "datamigrate run full_name" in said
    project.quick("run", "full_name")
    is_open(project, database)
    assert named_people_after(database) == 1200


def named_people_after(database: ScratchDatabase) -> int:
    return int(database.scalar("SELECT count(*) FROM people WHERE full_name = first || ' Last' || id") or 0)


def test_the_real_command_says_it_in_words_and_not_in_a_traceback(
    project: Project, database: ScratchDatabase
) -> None:
    add_people(database, 3)
    before = database.dump()
    said = real_alembic(project, "upgrade", "head", exits=FAILED)
    assert "0 of 3 rows are done, 3 are pending" in told(said)
    assert database.dump() == before
    project.datamigrate("run", "full_name")
    real_alembic(project, "upgrade", "head")
    assert revision_of(database) == [GATED]


def test_a_gate_looks_at_the_data_before_the_ledger_exists(tmp_path: Path, database: ScratchDatabase) -> None:
    project = hooked(tmp_path / "project", database)
    write_gate(project)
    project.upgrade(NICKNAMES)
    project.write_script("full_name")
    add_people(database, 3)
    assert "0 of 3 rows are done" in is_shut(project, database)
    database.execute("UPDATE people SET full_name = first || ' ' || last")
    is_open(project, database)


def test_an_empty_table_is_complete(project: Project, database: ScratchDatabase) -> None:
    is_open(project, database)


def test_an_upgrade_from_nothing_passes_every_gate(tmp_path: Path, database: ScratchDatabase) -> None:
    project = hooked(tmp_path / "project", database)
    project.write_script("full_name")
    write_gate(project)
    is_open(project, database)
    assert states(project) == {"full_name": "pending"}


def test_a_downgrade_waits_for_nothing(project: Project, database: ScratchDatabase) -> None:
    is_open(project, database)
    database.execute("INSERT INTO people (id, first) VALUES (1, 'Ann')")
    alembic(project, "downgrade", "-1")
    assert revision_of(database) == [NICKNAMES]


# Shut again


def test_rows_in_the_old_form_close_it_again_and_the_command_it_names_mends_that(
    project: Project, database: ScratchDatabase
) -> None:
    add_people(database, 5)
    project.quick("run")
    assert states(project) == {"full_name": "done"}
    add_people(database, 2, start=6)
    said = is_shut(project, database)
    assert "5 of 7 rows are done, 2 are pending" in said
    assert states(project) == {"full_name": "done"}, "a gate looks; it writes nothing"
    command = said.partition("Run: datamigrate ")[2].split()[:2]
    assert command == ["run", "full_name"]
    project.quick(*command)
    assert named_people(database) == 7
    assert ("done", "reopen", "pending") in moves(project, "full_name")
    assert moves(project, "full_name")[-1] == ("running", "verified", "done")
    is_open(project, database)


def test_a_revision_that_took_its_own_requirement_back_names_a_way_out(
    tmp_path: Path, postgres_database: ScratchDatabase
) -> None:
    """In one transaction for all, a shut gate takes back the revision that the data migration requires."""
    project = hooked(tmp_path / "project", postgres_database)
    write_env(project, options="")
    project.upgrade(PEOPLE)
    add_people(postgres_database, 3)
    project.write_script("nick", NICK, requires=NICKNAMES)
    write_gate(project, "nick")
    before = postgres_database.dump()
    said = told(alembic(project, "upgrade", "head", exits=FAILED))
    assert postgres_database.dump() == before
    assert "0 of 3 rows are done" in said
    assert "`datamigrate upgrade`" in said
    project.quick("upgrade")
    assert revision_of(postgres_database) == [GATED]


# What can be known of a migration


def test_a_file_that_is_gone_but_recorded_as_done_passes(project: Project, database: ScratchDatabase) -> None:
    add_people(database, 3)
    project.quick("run")
    (project.scripts / "full_name.py").unlink()
    is_open(project, database)


def test_a_file_that_is_gone_and_was_not_done_fails(project: Project, database: ScratchDatabase) -> None:
    add_people(database, 3)
    (project.scripts / "full_name.py").unlink()
    said = is_shut(project, database)
    assert "its file is gone, and it is pending" in said


def test_a_name_that_nobody_knows_fails(project: Project, database: ScratchDatabase) -> None:
    write_gate(project, "fullname")
    said = is_shut(project, database)
    assert "'fullname'" in said
    assert "no script has this name, and the ledger does not know it" in said
    assert "Restore its file, or mend op.require_data(...)" in said
    assert "datamigrate run fullname" not in said, "which could not help"


def test_a_script_that_cannot_be_loaded_is_told_as_the_reason(
    project: Project, database: ScratchDatabase
) -> None:
    script = project.write_file("full_name.py", "name = 'full_name'\nrequires = ()\n\n1 / 0\n")
    said = is_shut(project, database)
    assert f"{script}:4" in said
    assert "division by zero" in said


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_a_free_form_is_asked_how_much_remains(
    project: Project, database: ScratchDatabase, is_async: bool
) -> None:
    write_env(project, is_async=is_async)
    project.write_script("full_name", FREE + REMAINING)
    add_people(database, 3)
    assert "3 rows are pending" in is_shut(project, database)
    project.quick("run")
    add_people(database, 1, start=4)
    assert "1 row is pending" in is_shut(project, database), "as it is now, not as it was"
    database.execute("UPDATE people SET full_name = first || ' ' || last WHERE id = 4")
    is_open(project, database)


def test_a_free_form_without_remaining_is_taken_at_the_ledgers_word(
    project: Project, database: ScratchDatabase
) -> None:
    project.write_script("full_name", FREE)
    add_people(database, 3)
    assert "it is pending" in is_shut(project, database)
    project.quick("run")
    is_open(project, database)


def test_remaining_may_wait_for_more_than_its_session(project: Project, database: ScratchDatabase) -> None:
    project.write_script("full_name", FREE + "\nimport asyncio\n" + REMAINING.replace("    return", SLEEP))
    add_people(database, 3)
    assert "3 rows are pending" in is_shut(project, database)


def test_what_cannot_be_asked_keeps_the_gate_shut_and_says_why(
    project: Project, database: ScratchDatabase
) -> None:
    script = project.write_script("full_name", FREE + REMAINING.replace("unnamed)", "people.c.nonsense)"))
    said = is_shut(project, database)
    assert "its pending rows cannot be looked for: AttributeError: nonsense" in said
    assert f"Mend {script}" in said
    script = project.write_script(
        "full_name", FULL_NAME.replace("people.c.full_name.is_(None)", "sa.column('gone').is_(None)")
    )
    assert "its pending rows cannot be looked for" in is_shut(project, database)


def test_rows_that_the_script_leaves_alone_do_not_keep_it_shut(
    project: Project, database: ScratchDatabase
) -> None:
    project.write_script("nick", LEAVES_ALONE, requires=NICKNAMES)
    write_gate(project, "nick")
    add_people(database, 7)
    assert "0 of 7 rows are done, 7 are pending" in is_shut(project, database)
    project.quick("run", "nick")
    assert database.scalar("SELECT count(*) FROM people WHERE nick IS NULL") == 3
    add_people(database, 1, start=9)
    assert "5 of 8 rows are done" not in is_shut(project, database)
    project.quick("run", "nick")
    is_open(project, database)


def test_rows_left_alone_count_as_they_are_after_the_latest_run(
    project: Project, database: ScratchDatabase
) -> None:
    project.write_script("nick", LEAVES_ALONE, requires=NICKNAMES)
    write_gate(project, "nick")
    add_people(database, 4)
    project.quick("run", "nick")
    database.execute("DELETE FROM people WHERE id % 2 = 0")
    add_people(database, 1, start=9)
    database.execute("INSERT INTO people (id, first) VALUES (11, 'A'), (13, 'B')")
    project.quick("run", "nick")
    database.execute("INSERT INTO people (id, first) VALUES (15, 'C')")
    is_shut(project, database)


@pytest.mark.parametrize("is_async", [False, True])
def test_an_asynchronous_script_is_asked_too_whether_it_leaves_a_row_alone(
    project: Project, database: ScratchDatabase, is_async: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_env(project, is_async=is_async)
    body = LEAVES_ALONE.replace("def migrate", "async def migrate")
    sleeping = SLEEP.replace("    await", "    async with LOCK:\n        await")
    waiting = "import asyncio\nLOCK = asyncio.Lock()\n" + body.replace("    return", sleeping)
    monkeypatch.setattr(gate, "PAGE", 2)
    project.write_script("nick", waiting, requires=NICKNAMES)
    write_gate(project, "nick")
    add_people(database, 8)
    project.quick("run", "nick")
    # as many are pending as were left alone, and one of them can be done
    database.execute("DELETE FROM people WHERE id = 2")
    database.execute("INSERT INTO people (id, first) VALUES (13, 'B')")
    is_shut(project, database)
    project.quick("run", "nick")
    is_open(project, database)


def test_a_gate_may_wait_for_several(project: Project, database: ScratchDatabase) -> None:
    project.write_script("nick", NICK, requires=NICKNAMES)
    write_gate(project, "full_name", "nick")
    add_people(database, 3)
    project.quick("run", "full_name")
    said = is_shut(project, database)
    assert "'nick'" in said
    assert "datamigrate run nick" in said
    project.quick("run")
    is_open(project, database)


# `--sql`


def sql_of_the_gate(project: Project) -> str:
    return alembic(project, "upgrade", f"{NICKNAMES}:{GATED}", "--sql").out


def test_the_sql_raises_inside_postgresql_while_rows_are_pending(
    tmp_path: Path, postgres_database: ScratchDatabase
) -> None:
    project = hooked(tmp_path / "project", postgres_database)
    project.write_script("full_name")
    write_gate(project)
    project.upgrade(NICKNAMES)
    sql = sql_of_the_gate(project)
    add_people(postgres_database, 3)
    before = postgres_database.dump()
    with pytest.raises(sa.exc.DBAPIError, match="the data of full_name is not complete") as raised:
        postgres_database.script(sql)
    assert "datamigrate run full_name" in str(raised.value)
    assert postgres_database.dump() == before
    project.quick("run")
    postgres_database.script(sql)
    assert revision_of(postgres_database) == [GATED]


def test_the_sql_passes_on_an_empty_table(tmp_path: Path, postgres_database: ScratchDatabase) -> None:
    project = hooked(tmp_path / "project", postgres_database)
    project.write_script("full_name")
    write_gate(project)
    postgres_database.script(alembic(project, "upgrade", "head", "--sql").out)
    assert revision_of(postgres_database) == [GATED]
    assert not last_is_there(postgres_database)


def test_the_sql_of_a_free_form_goes_by_the_ledger(
    tmp_path: Path, postgres_database: ScratchDatabase
) -> None:
    project = hooked(tmp_path / "project", postgres_database)
    project.write_script("full_name", FREE + REMAINING)
    write_gate(project)
    project.upgrade(NICKNAMES)
    sql = sql_of_the_gate(project)
    with pytest.raises(sa.exc.DBAPIError, match="the data of full_name is not complete"):
        postgres_database.script(sql)
    project.quick("run")
    postgres_database.script(sql)
    assert revision_of(postgres_database) == [GATED]


ODD = """it's 100% \\  :odd $$ "text" $datamigrate -- ;"""


def test_a_predicate_with_any_text_in_it_survives_the_sql(
    project: Project, database: ScratchDatabase
) -> None:
    odd = f"people.c.last == {ODD!r}"
    project.write_script("full_name", FULL_NAME.replace("people.c.full_name.is_(None)", odd))
    sql = sql_of_the_gate(project)
    add_people(database, 1)
    database.execute("UPDATE people SET last = :last", last=ODD)
    with pytest.raises(sa.exc.DBAPIError if database.dialect == "postgresql" else sqlite3.Error):
        database.script(sql)
    database.execute("DELETE FROM people")
    database.script(sql)
    assert revision_of(database) == [GATED]


def test_the_sql_for_sqlite_is_a_comment_and_a_statement_that_fails(
    tmp_path: Path, sqlite_database: ScratchDatabase
) -> None:
    project = hooked(tmp_path / "project", sqlite_database)
    project.write_script("full_name")
    write_gate(project)
    project.upgrade(NICKNAMES)
    sql = sql_of_the_gate(project)
    assert "-- requires the data of full_name" in sql
    assert sql.index("datamigrate run full_name") < sql.index("CREATE INDEX")
    add_people(sqlite_database, 3)
    before = sqlite_database.dump()
    file = str(sqlite_database.engine.url.database)
    connection = sqlite3.connect(file)
    with pytest.raises(sqlite3.OperationalError):
        connection.executescript(sql)
    connection.close()
    assert sqlite_database.dump() == before
    project.quick("run")
    connection = sqlite3.connect(file)
    connection.executescript(sql)
    connection.close()
    assert revision_of(sqlite_database) == [GATED]


# A gate that does not come first


def test_a_gate_that_does_not_come_first_is_reported_by_check(
    project: Project, database: ScratchDatabase
) -> None:
    file = project.write_revision(
        GATED, NICKNAMES, upgrade=f'{drop_last()}\n    op.require_data("full_name")', downgrade="pass"
    )
    line = 1 + file.read_text().splitlines().index('    op.require_data("full_name")')
    (finding,) = project.json("check", exits=3)["findings"]
    assert (finding["code"], finding["severity"], finding["line"]) == ("gate-not-first", "error", line)
    assert Path(finding["file"]).name == file.name
    assert "must come first in upgrade()" in finding["message"]
    write_gate(project)
    assert project.json("check")["findings"] == []
