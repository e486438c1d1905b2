"""A dry run does the work on samples, shows the rows, and keeps nothing."""

from __future__ import annotations

from typing import Any

import pytest

from databases import ScratchDatabase
from datamigrate.doing import places
from projects import FULL_NAME, NICK, UNHURRIED, Project, add_people, count_writes

DELETE = 'migrate = delete_rows(people, pending=people.c.id > 3, mask=["first"])\n'
BATCH = """
@each_batch(people, pending=people.c.nick.is_(None))
async def migrate(batch):
    await batch.execute(sa.update(people).where(batch.rows).values(nick="x"))
"""
FREE = """
async def migrate(session):
    await session.execute(sa.text("UPDATE people SET nick = 'x' WHERE nick IS NULL"))

async def remaining(session):
    return await session.scalar(sa.text("SELECT count(*) FROM people WHERE nick IS NULL"))
"""
RESTLESS = """
migrate = update_rows(
    people,
    pending=people.c.id > 0,
    values={people.c.nick: sa.func.coalesce(people.c.nick, "") + "!"},
)
"""
LOOKED_UP = """
nicknames = sa.table("nicknames", sa.column("person", sa.Integer), sa.column("nick", sa.Text))
nick = sa.select(nicknames.c.nick).where(nicknames.c.person == people.c.id).scalar_subquery()

migrate = update_rows(people, pending=people.c.nick.is_(None), values={people.c.nick: nick})
"""
RESTLESS_FREE = """
async def migrate(session):
    await session.execute(sa.text("UPDATE people SET nick = coalesce(nick, '') || '!' WHERE id <= 3"))
"""
BY_AND_BY = """
async def migrate(session):
    await session.execute(sa.text(
        "UPDATE people SET nick = 'x' WHERE id IN (SELECT id FROM people WHERE nick IS NULL LIMIT 2)"
    ))

async def remaining(session):
    return await session.scalar(sa.text("SELECT count(*) FROM people WHERE nick IS NULL"))
"""
FORMS = {"update": FULL_NAME, "compute": NICK, "delete": DELETE, "batch": BATCH, "free": FREE}


def sequences(database: ScratchDatabase) -> list[tuple[Any, ...]]:
    """Return where PostgreSQL's sequences stand; on SQLite they are rows like others."""
    if database.dialect == "sqlite":
        return []
    return database.rows("SELECT sequencename, last_value FROM pg_sequences ORDER BY 1")


def tried(project: Project, *arguments: str, exits: int = 0) -> dict[str, Any]:
    """Dry-run the only script, and return what was seen."""
    [rehearsal] = project.json("run", "--dry-run", *UNHURRIED, *arguments, exits=exits)["rehearsals"]
    return dict(rehearsal)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_tried_and_leaves_everything_as_it_was(
    project: Project, database: ScratchDatabase, form: str
) -> None:
    add_people(database, 30)
    project.write_script("one", FORMS[form])
    before, numbers = database.dump(), sequences(database)
    rehearsal = tried(project)
    assert database.dump() == before
    assert sequences(database) == numbers
    assert sum(sample["rows"] for sample in rehearsal["samples"]) == rehearsal["pending"]["rows"] > 0
    assert rehearsal["idempotent"] is True
    assert rehearsal["error"] is None


def test_rows_are_shown_before_and_after_in_the_columns_that_change(
    project: Project, database: ScratchDatabase
) -> None:
    add_people(database, 3)
    project.write_script("full_name")
    [sample] = tried(project, "--rows", "1")["samples"]
    [change] = sample["changes"]
    assert list(change["before"]) == list(change["after"]) == ["full_name"]
    assert change["before"]["full_name"] is None
    named = database.scalar("SELECT first || ' ' || last FROM people WHERE id = 1")
    assert change["after"]["full_name"] == named
    assert named in project.datamigrate("run", "--dry-run").out


def test_samples_come_from_the_beginning_the_middle_and_the_end(
    project: Project, database: ScratchDatabase
) -> None:
    add_people(database, 100)
    project.write_script("full_name")
    samples = tried(project, "--sample", "10", "--rows", "1")["samples"]
    assert [(s["where"], s["rows"], s["changes"][0]["key"]) for s in samples] == [
        ("beginning", 10, "1"),
        ("middle", 10, "51"),
        ("end", 10, "91"),
    ]


def test_the_middle_of_many_rows_is_found_by_key_wherever_the_keys_begin(
    project: Project, database: ScratchDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "MOST_COUNTED", 10)
    add_people(database, 100, start=5001)
    project.write_script("full_name")
    samples = tried(project, "--sample", "10", "--rows", "1")["samples"]
    assert [s["changes"][0]["key"] for s in samples] == ["5001", "5051", "5091"]


def test_the_middle_of_many_rows_is_found_where_keys_are_no_numbers(
    project: Project, database: ScratchDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "MOST_COUNTED", 10)
    database.script("DROP TABLE people")
    database.script(
        "CREATE TABLE people (id integer, first text PRIMARY KEY, last text, full_name text, nick text)"
    )
    add_people(database, 900, start=101)
    project.write_script("full_name")
    samples = tried(project, "--sample", "10", "--rows", "1")["samples"]
    middle = samples[1]["changes"][0]["key"]
    assert "'First540'" < middle < "'First562'"


def test_few_pending_rows_behind_many_others_are_found(project: Project, database: ScratchDatabase) -> None:
    add_people(database, 3000)
    database.execute("UPDATE people SET full_name = 'done' WHERE id < 3000")
    project.write_script("full_name")
    [sample] = tried(project, "--sample", "1")["samples"]
    assert (sample["rows"], sample["changes"][0]["key"]) == (1, "3000")


def test_large_samples_are_tried_and_shown(project: Project, database: ScratchDatabase) -> None:
    add_people(database, 1200)
    project.write_script("full_name")
    [sample] = tried(project, "--sample", "1200", "--rows", "1100")["samples"]
    assert (sample["rows"], len(sample["changes"])) == (1200, 1000)


def test_values_are_shown_as_they_are_whatever_they_look_like(
    project: Project, database: ScratchDatabase
) -> None:
    add_people(database, 1)
    database.execute("UPDATE people SET first = '[/]', last = :last", last="\x1b[31m\nx")
    project.write_script("full_name")
    assert "[/] \\x1b[31m\\nx" in project.quick("run", "--dry-run").out


def test_columns_that_differ_are_named_though_their_rows_are_not_shown(
    project: Project, database: ScratchDatabase
) -> None:
    add_people(database, 4)
    project.write_script("restless", RESTLESS)
    [sample] = tried(project, "--rows", "0", exits=1)["samples"]
    assert (sample["changes"], sample["columns_that_differ"]) == ([], ["nick"])


def test_rows_that_stay_pending_are_told_where_no_column_differs(
    project: Project, database: ScratchDatabase
) -> None:
    add_people(database, 2)
    project.write_script("stuck", FULL_NAME.replace("people.c.first", "sa.null()"))
    told = project.quick("run", "--dry-run", exits=1).out
    assert "changed 2 of them again, to the same values: `pending` still selects rows" in told


def test_a_free_form_that_writes_again_is_told(project: Project, database: ScratchDatabase) -> None:
    add_people(database, 5)
    project.write_script("restless", RESTLESS_FREE)
    rehearsal = tried(project, exits=1)
    assert rehearsal["idempotent"] is False
    assert [(s["rows"], s["changed_by_second_pass"]) for s in rehearsal["samples"]] == [(3, 3)]
    assert rehearsal["cost"]["batches_to_come"] == 1
    told = project.quick("run", "--dry-run", exits=1).out
    assert "NOT idempotent: the first pass wrote 3 rows, the second 3." in told


def test_a_free_form_that_does_a_part_with_each_call_is_not_blamed_for_it(
    project: Project, database: ScratchDatabase
) -> None:
    add_people(database, 6)
    project.write_script("by_and_by", BY_AND_BY)
    rehearsal = tried(project)
    assert rehearsal["idempotent"] is None
    assert (rehearsal["cost"]["batches_to_come"], rehearsal["cost"]["batch_rows"]) == (3, 2)
    assert "Tried once: the call wrote 2 rows" in project.quick("run", "--dry-run").out


def test_a_script_that_changes_rows_again_is_told_with_its_columns(
    project: Project, database: ScratchDatabase
) -> None:
    add_people(database, 4)
    project.write_script("restless", RESTLESS)
    rehearsal = tried(project, exits=1)
    assert rehearsal["idempotent"] is False
    [sample] = rehearsal["samples"]
    assert (sample["changed_by_second_pass"], sample["columns_that_differ"]) == (4, ["nick"])
    told = project.datamigrate("run", "--dry-run", exits=1)
    assert "NOT idempotent: a second pass over 4 rows changed 4 of them again; nick differ" in told.out


def test_a_row_that_would_fail_is_shown_with_its_error(project: Project, database: ScratchDatabase) -> None:
    add_people(database, 5)
    project.write_script("one", NICK.replace("return", "assert row.first != 'first 3'\n    return"))
    database.execute("UPDATE people SET first = 'first 3' WHERE id = 3")
    rehearsal = tried(project, exits=1)
    assert "Row 3: migrate() raised AssertionError" in rehearsal["error"]["message"]


def test_masked_columns_are_never_shown(project: Project, database: ScratchDatabase) -> None:
    add_people(database, 5)
    project.write_script("one", DELETE)
    secret = str(database.scalar("SELECT first FROM people WHERE id = 4"))
    told = project.datamigrate("run", "--dry-run")
    assert secret not in told.out + told.err
    assert "first=(masked)" in told.out
    assert {c["before"]["first"] for s in tried(project)["samples"] for c in s["changes"]} == {"(masked)"}


@pytest.mark.parametrize(("form", "column"), [(FULL_NAME, "full_name"), (NICK, "nick")])
def test_a_role_that_may_only_read_is_shown_the_values_that_would_be_written(
    postgres_project: Project, postgres_database: ScratchDatabase, form: str, column: str
) -> None:
    add_people(postgres_database, 9)
    postgres_project.write_script("one", form)
    looking = postgres_project.having({"DATABASE_URL": reader_of(postgres_database)})
    try:
        rehearsal = tried(looking, "--sample", "2")
    finally:
        postgres_database.script("DROP OWNED BY dry_reader; DROP ROLE dry_reader")
    assert rehearsal["only_read"] is True
    assert "permission denied for table people" in rehearsal["refusal"]
    assert rehearsal["idempotent"] is None
    changes = [change for sample in rehearsal["samples"] for change in sample["changes"]]
    assert [change["key"] for change in changes] == ["1", "2", "5", "6", "8", "9"]
    assert [change["before"] for change in changes] == [{column: None}] * 6
    assert all(change["after"][column] for change in changes)


def test_one_that_waits_for_another_is_named_with_the_reason(sqlite_project: Project) -> None:
    sqlite_project.write_script("first", FULL_NAME)
    sqlite_project.write_script("second", NICK, depends_on=("first",))
    told = sqlite_project.datamigrate("run", "--dry-run")
    assert "second: not previewed, because it waits for first." in told.err


def test_what_a_rollback_does_not_undo_is_said(sqlite_project: Project) -> None:
    sqlite_project.write_script("full_name")
    told = sqlite_project.datamigrate("run", "--dry-run").err
    assert "numbers taken from sequences, notifications, calls to other services" in told
    assert "Samples are evidence, not proof." in told


def test_a_script_that_goes_on_after_sqlite_ended_its_transaction_leaves_nothing_either(
    sqlite_project: Project, sqlite_database: ScratchDatabase
) -> None:
    add_people(sqlite_database, 6)
    sqlite_database.script(
        "CREATE TABLE taken (k INTEGER UNIQUE ON CONFLICT ROLLBACK); INSERT INTO taken VALUES (1)"
    )
    caught = """try:
        await {it}.execute(sa.text("INSERT INTO taken VALUES (1)"))
    except sa.exc.IntegrityError:
        pass
    await {it}.execute("""
    sqlite_project.write_script("batch", BATCH.replace("await batch.execute(", caught.format(it="batch")))
    sqlite_project.write_script("free", FREE.replace("await session.execute(", caught.format(it="session")))
    before = sqlite_database.dump()
    said = sqlite_project.json("run", "--dry-run", *UNHURRIED, exits=1)["rehearsals"]
    assert sqlite_database.dump() == before
    assert all("SQLite rolled the whole transaction back" in repr(one["error"]) for one in said), said


def test_a_table_that_somebody_has_locked_is_waited_for_shortly(
    postgres_project: Project, postgres_database: ScratchDatabase
) -> None:
    add_people(postgres_database, 3)
    postgres_project.write_script("full_name")
    with postgres_database.engine.begin() as other:
        other.exec_driver_sql("SELECT * FROM people FOR UPDATE")
        rehearsal = tried(postgres_project, exits=1)
    assert "lock timeout" in rehearsal["error"]["message"]


def reader_of(database: ScratchDatabase) -> str:
    """Make a role that may only read, and return its URL."""
    database.script(
        "CREATE ROLE dry_reader LOGIN; GRANT USAGE ON SCHEMA public TO dry_reader;"
        "GRANT SELECT ON ALL TABLES IN SCHEMA public TO dry_reader"
    )
    return database.engine.url.set(username="dry_reader").render_as_string(hide_password=False)


def test_a_missing_index_behind_a_subquery_is_refused_and_named(
    postgres_project: Project, postgres_database: ScratchDatabase
) -> None:
    add_people(postgres_database, 1000)
    postgres_database.script(
        "CREATE TABLE nicknames (person integer, nick text);"
        "INSERT INTO nicknames SELECT i, 'n' || i FROM generate_series(1, 1000) i; ANALYZE nicknames, people"
    )
    postgres_project.write_script("nick", LOOKED_UP)
    [slow] = tried(postgres_project, exits=1)["slow"]
    assert slow["sql"] == "CREATE INDEX CONCURRENTLY ix_nicknames_person ON nicknames (person)"
    told = postgres_project.datamigrate("run", "--dry-run", "--allow-slow").out
    assert "SLOW: it reads all of nicknames (about 1,000 rows) for every row of a batch." in told
    postgres_database.execute(slow["sql"].replace("CONCURRENTLY ", ""))
    assert tried(postgres_project)["slow"] == []


def test_what_stands_around_the_table_is_told(project: Project, database: ScratchDatabase) -> None:
    add_people(database, 3)
    count_writes(database)
    database.execute("CREATE INDEX ix_people_full_name ON people (full_name)")
    project.write_script("full_name")
    notes = " ".join(tried(project)["notes"])
    assert "Index ix_people_full_name contains full_name, which is written" in notes
    assert "Triggers on people may fire for every row: count_writes." in notes
