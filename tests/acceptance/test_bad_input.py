"""Scripts and rows that are wrong: told clearly, with nothing lost and the next command named."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import sqlalchemy as sa

from alembic_project import Outcome
from databases import ScratchDatabase
from projects import FULL_NAME, NICK, Project, add_people, after_update, count_writes, named_people, writes

FREE = """
async def migrate(session):
    await session.execute(sa.text("UPDATE people SET nick = 'x'"))
    {line}
"""
EACH_BATCH = """
@each_batch(people, pending=people.c.nick.is_(None))
async def migrate(batch):
    await batch.execute(sa.update(people).where(batch.rows).values(nick="x"))
    {line}
"""
COMPUTE = """
@compute_rows(people, pending=people.c.nick.is_(None), reads=[people.c.first], writes=[people.c.nick], batch_size=2)
def migrate({parameter}):
    {line}
"""


@dataclass(frozen=True)
class Refused:
    """What a refused run told."""

    outcome: Outcome

    def says(self, *words: str) -> None:
        """Check the words, and that they come without a traceback or a driver's noise."""
        for word in words:
            assert word in self.outcome.err
        for noise in ("Traceback", "sqlalche.me", "[SQL:", "Unexpected"):
            assert noise not in self.outcome.err


def refused(project: Project, database: ScratchDatabase, *arguments: str) -> Refused:
    """Run what must fail and must leave the people as they were."""
    before = database.rows("SELECT * FROM people ORDER BY id")
    outcome = project.quick("run", *arguments, exits=1)
    assert database.rows("SELECT * FROM people ORDER BY id") == before
    return Refused(outcome)


# keys and columns ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["", "key=people.c.id, "])
def test_a_script_that_writes_its_own_key_is_refused(
    project: Project, database: ScratchDatabase, key: str
) -> None:
    add_people(database, 5)
    project.write_script(
        "shift", f"migrate = update_rows(people, {key}pending=people.c.id < 9, values={{people.c.id: 9}})"
    )
    refused(project, database).says("its own key", "id", "Walk by another unique key")


def test_a_key_that_is_not_unique_is_refused(project: Project, database: ScratchDatabase) -> None:
    add_people(database, 5)
    project.write_script("full_name", FULL_NAME.replace("people,", "people, key=people.c.last,"))
    refused(project, database).says(
        "full_name: nothing makes people.last unique.", "Walk by the primary key (leave `key` out)"
    )
    database.execute("CREATE UNIQUE INDEX few ON people (last) WHERE id > 3")
    refused(project, database).says("nothing makes people.last unique")


def test_a_key_with_nulls_is_refused(project: Project, database: ScratchDatabase) -> None:
    add_people(database, 5)
    database.execute("UPDATE people SET last = NULL WHERE id = 3")
    database.execute("CREATE UNIQUE INDEX lasts ON people (last)")
    project.write_script("nick", NICK.replace("people,", "people, key=people.c.last,"))
    refused(project, database).says(
        "nick: people.last is NULL in some rows", "Walk by a key that is never NULL"
    )


def test_a_key_under_whose_collation_different_texts_are_equal_is_refused(
    project: Project, database: ScratchDatabase
) -> None:
    if database.dialect == "sqlite":
        database.execute("CREATE TABLE codes (code TEXT NOT NULL PRIMARY KEY COLLATE NOCASE, x TEXT)")
        collation = "NOCASE"
    else:
        collation = "case_blind"
        options = "provider = icu, locale = 'und-u-ks-level2', deterministic = false"
        try:
            database.execute(f"CREATE COLLATION {collation} ({options})")
        except sa.exc.NotSupportedError as error:
            pytest.skip(str(error.orig))  # a server built without ICU cannot have the problem either
        database.execute(f'CREATE TABLE codes (code text COLLATE "{collation}" PRIMARY KEY, x text)')
    database.execute("INSERT INTO codes VALUES ('a', NULL), ('b', NULL)")
    project.write_script(
        "codes",
        """
        codes = sa.table("codes", sa.column("code", sa.Text), sa.column("x", sa.Text))
        migrate = update_rows(codes, pending=codes.c.x.is_(None), values={codes.c.x: codes.c.code})
        """,
    )
    refused(project, database).says(f"codes: codes.code has the collation {collation}", "another unique key")
    assert database.scalar("SELECT count(*) FROM codes WHERE x IS NULL") == 2


def test_a_table_without_a_primary_key_wants_a_key_named(project: Project, database: ScratchDatabase) -> None:
    database.execute("CREATE TABLE loose (x integer)")
    project.write_script(
        "loose",
        'loose = sa.table("loose", sa.column("x"))\n'
        "migrate = delete_rows(loose, pending=loose.c.x.is_(None))",
    )
    refused(project, database).says("loose: loose has no primary key.", "key=table.c.column")


def test_a_column_or_table_that_is_not_there_is_named(project: Project, database: ScratchDatabase) -> None:
    add_people(database, 5)
    missing = """
    people = sa.table("people", sa.column("id"), sa.column("fullname"), sa.column("first"))
    migrate = update_rows(people, pending=people.c.fullname.is_(None), values={people.c.first: "x"})
    """
    project.write_script("typo", missing)
    refused(project, database).says("typo: people has no column fullname.", "Did you mean full_name?")
    project.write_script("typo", missing.replace('table("people"', 'table("persons"'))
    refused(project, database).says("typo: there is no table persons in this database.", "`requires`")
    project.write_script("typo", FULL_NAME.replace("people.c.full_name:", "people.c.name:"))
    refused(project, database).says("typo.py:", "name")


def test_an_undeclared_column_of_a_compute_script_is_told_with_its_line(
    sqlite_project: Project, sqlite_database: ScratchDatabase
) -> None:
    script = sqlite_project.write_script("nick", NICK.replace("writes=[people.c.nick]", 'writes=["nik"]'))
    refused(sqlite_project, sqlite_database).says(
        f"{script}:", "`writes` names 'nik', which is no column of people.", "Declared are: id, first"
    )


# compute functions ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameter", "line", "words"),
    [
        ("row", 'return {"nik": "x"}', "Row 1: migrate() returned nik, which `writes` does not name"),
        ("row", "return {}", "Row 1: migrate() did not return nick, which `writes` names"),
        ("row", 'return "x"', "Row 1: migrate() returned str, not a mapping"),
        ("row", 'return {"nick": 7}', "Row 1: migrate() returned int for nick, which takes str"),
        ("row", "return {'nick': row.last}", "row has no 'last'; `reads` names first"),
        ("rows", "return []", "migrate(rows) was given 2 rows and returned 0 results"),
        ("rows", "return None", "migrate(rows) was given 2 rows and returned NoneType"),
        ("rows", 'return [{"nick": "x"}] * 3', "migrate(rows) was given 2 rows and returned 3 results"),
        ("rows", 'return [{"nick": "x"}, {"nick": b"x"}]', "Row 2: migrate() returned bytes for nick"),
    ],
)
def test_a_compute_function_that_returns_the_wrong_thing_is_told_which(
    project: Project, database: ScratchDatabase, parameter: str, line: str, words: str
) -> None:
    add_people(database, 5)
    project.write_script("nick", COMPUTE.format(parameter=parameter, line=line))
    refused(project, database).says(
        words, "what was done before it is kept: 0 rows", "`datamigrate run nick` goes on where it stopped"
    )


@pytest.mark.parametrize("prefix", ["", "async "])
def test_a_compute_function_that_raises_names_the_row_and_the_line_and_keeps_what_was_done(
    project: Project, database: ScratchDatabase, prefix: str
) -> None:
    add_people(database, 7)
    database.execute("UPDATE people SET first = NULL WHERE id = 6")
    body = COMPUTE.format(parameter="row", line='return {"nick": row.first.lower()}').replace(
        "def ", f"{prefix}def "
    )
    script = project.write_script("nick", body)
    count_writes(database)
    line = script.read_text().splitlines().index('    return {"nick": row.first.lower()}') + 1
    told = Refused(project.quick("run", exits=1))
    told.says(
        "Row 6: migrate() raised AttributeError: 'NoneType' object has no attribute 'lower'",
        f"at {script}:{line}",
        "what was done before it is kept: 5 rows",
    )
    assert database.scalar("SELECT count(*) FROM people WHERE nick IS NOT NULL") == 5
    database.execute("UPDATE people SET first = 'F' WHERE id = 6")
    database.execute("UPDATE writes SET n = 0 WHERE id = 6")
    project.quick("run")
    assert database.scalar("SELECT count(*) FROM people WHERE nick IS NOT NULL") == 7
    assert writes(database) == [(1, 7)], "no row is written twice"


def test_a_compute_function_may_leave_rows_alone_and_ends_done(
    project: Project, database: ScratchDatabase
) -> None:
    add_people(database, 7)
    project.write_script(
        "nick", COMPUTE.format(parameter="row", line='return {"nick": "x"} if row.first > "First5" else None')
    )
    told = project.quick("run").err
    assert "nick: done and verified, 2 rows" in told
    assert "5 left alone by the script" in told
    assert database.scalar("SELECT count(*) FROM people WHERE nick IS NULL") == 5
    assert project.quick("run").err == "Nothing to do.\n"


# what stays pending --------------------------------------------------------------------------------------


def test_rows_that_its_own_update_leaves_pending_stop_it_at_the_first_batch(
    project: Project, database: ScratchDatabase
) -> None:
    add_people(database, 5)
    database.execute("UPDATE people SET last = NULL WHERE id IN (2, 4)")
    project.write_script("full_name")
    told = refused(project, database)
    told.says(
        "full_name: 2 of 5 rows are still pending after the script has done them (keys 2, 4).",
        "NULL in a source column makes the new value NULL; use coalesce",
        "`datamigrate run full_name`",
    )


def test_the_same_is_found_when_it_begins_late_in_the_table(
    project: Project, database: ScratchDatabase
) -> None:
    add_people(database, 20)
    database.execute("UPDATE people SET last = NULL WHERE id = 17")
    project.write_script("full_name", FULL_NAME.replace("pending=", "batch_size=5, pending="))
    told = Refused(project.quick("run", exits=1))
    told.says(
        "full_name: 1 of 1 rows are still pending after the script has done them (keys 17).", "coalesce"
    )
    told.says("what was done before it is kept: ")
    assert named_people(database) == 19
    edited = FULL_NAME.replace(" + people.c.last", ' + sa.func.coalesce(people.c.last, "?")')
    project.write_script("full_name", edited)
    project.quick("run")
    assert database.scalar("SELECT full_name FROM people WHERE id = 17") == "First17 ?"


def test_an_application_that_keeps_writing_the_old_form_is_told_and_not_called_done(
    project: Project, database: ScratchDatabase
) -> None:
    add_people(database, 3)
    project.write_script("full_name")
    after_update(
        database,
        "old_form",
        "INSERT INTO people (id, first, last) SELECT max(id) + 1, 'Late', 'Comer' FROM people;",
    )
    told = Refused(project.quick("run", exits=1))
    told.says(
        "rows are pending behind the walk",
        "full_name: after 5 sweeps",
        "rows pending again (keys ",
        "the application still writes the old form.",
        "Deploy the version that writes the new form, then `datamigrate run full_name`",
    )
    assert project.json("status")["migrations"][0]["state"] == "failed"
    drop = "DROP TRIGGER old_form" + (" ON people" if database.dialect == "postgresql" else "")
    database.execute(drop)
    project.quick("run")
    assert database.scalar("SELECT count(*) FROM people WHERE full_name IS NULL") == 0


def test_a_free_form_whose_remaining_never_falls_is_refused(
    project: Project, database: ScratchDatabase
) -> None:
    add_people(database, 3)
    project.write_script(
        "idle",
        """
        async def migrate(session):
            pass

        async def remaining(session):
            return await session.scalar(sa.text("SELECT count(*) FROM people WHERE nick IS NULL"))
        """,
    )
    refused(project, database).says("idle: migrate() has run, and remaining() says 3; before, it said 3.")


# transactions and schema ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("await session.execute(\"UPDATE people SET nick = 'y'\")", "does not execute a plain string"),
        ("await session.commit()", "The script commits on its own (session.commit())"),
    ],
)
def test_what_can_be_seen_in_the_text_is_refused_with_its_line_before_anything_runs(
    project: Project, database: ScratchDatabase, line: str, words: str
) -> None:
    add_people(database, 3)
    script = project.write_script("free", FREE.format(line=line))
    number = script.read_text().splitlines().index(f"    {line}") + 1
    refused(project, database).says(f"Error: {script}:{number}: ", words)


@pytest.mark.parametrize("form", [FREE, EACH_BATCH])
@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('await {it}.execute(sa.text("COMMIT"))', "The script ends the runner's transaction (COMMIT)"),
        (
            'await {it}.execute(sa.text("/* x */ rollback"))',
            "The script ends the runner's transaction (ROLLBACK)",
        ),
        (
            'await {it}.execute(sa.text("ALTER TABLE people ADD COLUMN x int"))',
            "The script changes the schema (ALTER ...)",
        ),
        (
            'await {it}.execute(sa.text("-- y\\n DROP TABLE people"))',
            "The script changes the schema (DROP ...)",
        ),
        ('await {it}.execute(sa.text("nonsense"))', "the database says: "),
        ("raise ValueError('not today')", "ValueError: not today"),
    ],
)
def test_a_script_that_leaves_its_transaction_or_fails_in_it_writes_nothing(
    project: Project, database: ScratchDatabase, form: str, line: str, words: str
) -> None:
    add_people(database, 3)
    schema = database.rows("SELECT * FROM people LIMIT 0")
    it = "session" if form is FREE else "batch"
    script = project.write_script("odd", form.format(line=line.format(it=it)))
    told = refused(project, database)
    row = "Row 1: " if form is not FREE and "ValueError" in words else ""
    told.says(f"odd: {row}{words}" if "database says" not in words else words)
    told.says(f"at {script}:", "what was done before it is kept: 0 rows", "`datamigrate run odd` goes on")
    assert database.rows("SELECT * FROM people LIMIT 0") == schema


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("await session.rollback()", "The script rolls the runner's transaction back."),
        ("await (await session.connection()).commit()", "commits on its own"),
        ("await (await session.connection()).rollback()", "rolls the runner's transaction back"),
        ("connection = session.sync_session.commit; connection()", "commits on its own"),
    ],
)
def test_a_session_that_ends_the_transaction_by_other_ways_is_caught_in_the_act(
    project: Project, database: ScratchDatabase, line: str, words: str
) -> None:
    add_people(database, 3)
    project.write_script("odd", FREE.format(line=line))
    told = refused(project, database)
    told.says("Error: odd", words, "`datamigrate run odd`")


def test_a_savepoint_of_its_own_is_a_scripts_right(project: Project, database: ScratchDatabase) -> None:
    add_people(database, 3)
    project.write_script(
        "careful",
        """
        async def migrate(session):
            try:
                async with session.begin_nested():
                    await session.execute(sa.text("UPDATE people SET nick = 'x'"))
                    raise ValueError
            except ValueError:
                pass
            async with session.begin_nested() as savepoint:
                await session.execute(sa.text("UPDATE people SET nick = 'y'"))
                await savepoint.commit()
        """,
    )
    project.quick("run")
    assert database.rows("SELECT DISTINCT nick FROM people") == [("y",)]


def test_a_session_is_of_no_use_after_its_time(project: Project, database: ScratchDatabase) -> None:
    add_people(database, 3)
    project.write_script(
        "keeper",
        """
        kept = []

        async def migrate(session):
            kept.append(session)

        async def remaining(session):
            for old in kept:
                await old.execute(sa.text("UPDATE people SET nick = 'late'"))
            return 1
        """,
    )
    refused(project, database).says("Error: keeper: ", "closed", "keeper.py:")


def test_a_batch_is_of_no_use_after_its_time(project: Project, database: ScratchDatabase) -> None:
    add_people(database, 3)
    project.write_script(
        "keeper",
        """
        kept = []

        @each_batch(people, pending=people.c.nick.is_(None), batch_size=2)
        async def migrate(batch):
            kept.append(batch)
            await kept[0].execute(sa.update(people).where(batch.rows).values(nick="x"))
        """,
    )
    told = Refused(project.quick("run", exits=1))
    told.says("RuntimeError: This batch is over", "keeper.py:", "what was done before it is kept: 2 rows")
    assert database.rows("SELECT id FROM people WHERE nick = 'x' ORDER BY id") == [(1,), (2,)]


# rows ----------------------------------------------------------------------------------------------------


def test_a_row_that_violates_a_constraint_is_named_and_the_run_goes_on_at_that_row(
    project: Project, database: ScratchDatabase
) -> None:
    add_people(database, 10)
    database.execute("CREATE UNIQUE INDEX one_name ON people (full_name)")
    database.execute("INSERT INTO people (id, first, last, full_name) VALUES (99, '', '', 'First8 Last8')")
    project.write_script("full_name")
    count_writes(database)
    told = Refused(project.quick("run", "--batch-size", "3", exits=1))
    told.says(
        "full_name: Row 8: the database says: ",
        "what was done before it is kept: 7 rows",
        "`datamigrate run full_name` goes on where it stopped",
    )
    assert writes(database) == [(0, 4), (1, 7)]
    again = Refused(project.quick("run", exits=1))
    again.says("Row 8: ", "what was done before it is kept: 7 rows")
    database.execute("DELETE FROM people WHERE id = 99")
    project.quick("run", "--batch-size", "3")
    assert writes(database) == [(0, 1), (1, 10)], "no row is written twice"
    assert named_people(database) == 10


def test_a_value_that_the_database_refuses_is_told(
    request: pytest.FixtureRequest, project: Project, database: ScratchDatabase
) -> None:
    add_people(database, 3)
    if database.dialect == "sqlite":
        database.script(
            "CREATE TRIGGER short BEFORE UPDATE ON people WHEN length(NEW.nick) > 3 "
            "BEGIN SELECT RAISE(ABORT, 'value too long'); END"
        )
    else:
        database.script("ALTER TABLE people ALTER nick TYPE varchar(3)")
    project.write_script("nick", COMPUTE.format(parameter="row", line='return {"nick": "Maximilian"}'))
    refused(project, database).says(
        "nick: Row 1: the database says: value too long", "`datamigrate run nick`"
    )
