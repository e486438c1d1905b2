"""env.py with the hooks: what `alembic upgrade`, `downgrade`, `stamp` and `revision --autogenerate` do then."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import sqlalchemy as sa

from beside import ENV, alembic, hooked, moves, real_alembic, revision_of, states, told, write_env
from databases import ScratchDatabase
from projects import FULL_NAME, NICK, NICKNAMES, PEOPLE, Project, add_people, named_people, project_in

FAILED = 255
NEWER = "5e6f7a8b9c03"

METADATA = """
metadata = sa.MetaData()
people = sa.Table(
    "people",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("first", sa.Text),
    sa.Column("last", sa.Text),
    sa.Column("full_name", sa.Text),
    sa.Column("nick", sa.Text),
)
"""
AUTOGENERATE = "target_metadata=metadata, transaction_per_migration=True, render_as_batch=True"

# Notes on a line of a file what it is called for.
NOTING = """
from pathlib import Path


def noting(word):
    def note(*arguments, **_):
        with Path(__file__).with_name("notes").open("a") as notes:
            notes.write(f"{word}\\n")
        return True

    return note
"""


@pytest.fixture
def project(tmp_path: Path, database: ScratchDatabase) -> Project:
    """A project whose env.py has the hooks, with a script for each of its two revisions, and no tables yet."""
    project = hooked(tmp_path / "project", database)
    project.write_script("full_name")
    project.write_script("nick", NICK, requires=NICKNAMES)
    return project


def notes(project: Project) -> list[str]:
    file = project.root / "alembic" / "notes"
    return file.read_text().splitlines() if file.exists() else []


def tables(database: ScratchDatabase) -> set[str]:
    return set(sa.inspect(database.engine).get_table_names())


def recorded(database: ScratchDatabase) -> dict[str, str]:
    return {
        str(name): str(state)
        for name, state in database.rows("SELECT name, state FROM datamigrate_migration ORDER BY name")
    }


# Upgrade


def test_an_upgrade_notes_what_it_makes_possible_and_runs_none_of_it(
    project: Project, database: ScratchDatabase
) -> None:
    alembic(project, "upgrade", PEOPLE)
    assert recorded(database) == {"full_name": "pending"}
    add_people(database, 3)
    alembic(project, "upgrade", "head")
    assert recorded(database) == {"full_name": "pending", "nick": "pending"}
    assert named_people(database) == 0
    assert project.json("history")["runs"] == []
    project.quick("run")
    assert recorded(database) == {"full_name": "done", "nick": "done"}


def test_an_async_env_py_notes_it_too(project: Project, database: ScratchDatabase) -> None:
    write_env(project, is_async=True)
    real_alembic(project, "upgrade", "head")
    assert recorded(database) == {"full_name": "pending", "nick": "pending"}


def test_a_revision_that_fails_takes_the_notes_of_its_transaction_with_it(
    tmp_path: Path, postgres_database: ScratchDatabase
) -> None:
    project = hooked(tmp_path / "project", postgres_database)
    project.write_script("full_name")
    project.write_script("nick", NICK, requires=NICKNAMES)
    project.write_revision(NEWER, NICKNAMES, upgrade='op.drop_table("nowhere")')
    write_env(project, options="")
    with pytest.raises(sa.exc.ProgrammingError):
        alembic(project, "upgrade", "head")
    assert tables(postgres_database) == set(), "one transaction for all revisions: all, or nothing"
    write_env(project, options="transaction_per_migration=True")
    with pytest.raises(sa.exc.ProgrammingError):
        alembic(project, "upgrade", "head")
    assert revision_of(postgres_database) == [NICKNAMES]
    assert recorded(postgres_database) == {"full_name": "pending", "nick": "pending"}


def test_what_is_noted_already_stays_as_it_is(project: Project, database: ScratchDatabase) -> None:
    alembic(project, "upgrade", PEOPLE)
    add_people(database, 3)
    project.quick("run", "full_name")
    project.write_script("full_name", FULL_NAME, requires=(PEOPLE, NICKNAMES))
    alembic(project, "upgrade", "head")
    assert recorded(database)["full_name"] == "done"


def test_a_script_that_cannot_be_used_stops_no_upgrade(project: Project, database: ScratchDatabase) -> None:
    project.write_file("broken.py", "1 / 0\n")
    project.write_script("lost", requires="ffffffff")
    alembic(project, "upgrade", "head")
    assert recorded(database) == {"full_name": "pending", "nick": "pending"}


def test_without_a_folder_of_scripts_nothing_is_noted(tmp_path: Path, database: ScratchDatabase) -> None:
    project = hooked(tmp_path / "project", database)
    project.scripts.rmdir()
    alembic(project, "upgrade", "head")
    assert tables(database) == {"alembic_version", "people"}


def test_a_ledger_that_is_too_new_is_told_without_a_traceback(
    project: Project, database: ScratchDatabase
) -> None:
    alembic(project, "upgrade", PEOPLE)
    database.execute("UPDATE datamigrate_ledger SET version = 99, program = '7.1'")
    said = told(alembic(project, "upgrade", "head", exits=FAILED))
    assert "The ledger has version 99, made by datamigrate 7.1" in said
    assert "Upgrade datamigrate on this host" in said


def test_a_configuration_that_is_wrong_is_told_without_a_traceback(
    project: Project, database: ScratchDatabase
) -> None:
    project.configure("nonsense = 1")
    said = told(alembic(project, "upgrade", "head", exits=FAILED))
    assert "[tool.datamigrate] has an unknown key 'nonsense'" in said


def test_the_ledger_is_kept_in_the_schema_that_is_configured(
    tmp_path: Path, postgres_database: ScratchDatabase
) -> None:
    project = hooked(tmp_path / "project", postgres_database)
    project.write_script("full_name")
    project.configure('schema = "ops"')
    alembic(project, "upgrade", "head")
    assert postgres_database.rows("SELECT name, state FROM ops.datamigrate_migration") == [
        ("full_name", "pending")
    ]
    assert tables(postgres_database) == {"alembic_version", "people"}


# Downgrade


def test_a_downgrade_past_what_it_requires_makes_it_pending_again_and_keeps_the_history(
    project: Project, database: ScratchDatabase
) -> None:
    alembic(project, "upgrade", "head")
    add_people(database, 5)
    project.quick("run")
    alembic(project, "downgrade", "-1")
    assert states(project) == {"full_name": "done", "nick": "blocked"}
    assert recorded(database) == {"full_name": "done", "nick": "pending"}
    assert moves(project, "nick") == [
        ("pending", "run", "running"),
        ("running", "verified", "done"),
        ("done", "downgrade", "pending"),
    ]
    reason = project.json("show", "nick")["transitions"][-1]["reason"]
    assert reason == f"downgraded past {NICKNAMES}"
    assert len(project.json("history")["runs"]) == 1

    alembic(project, "upgrade", "head")
    assert database.scalar("SELECT count(*) FROM people WHERE nick IS NULL") == 5, "added again, and empty"
    project.quick("run")
    assert database.scalar("SELECT count(*) FROM people WHERE nick IS NULL") == 0
    assert moves(project, "nick")[-1] == ("running", "verified", "done")


def test_a_downgrade_to_nothing_and_back_begins_anew(project: Project, database: ScratchDatabase) -> None:
    alembic(project, "upgrade", "head")
    add_people(database, 5)
    project.quick("run")
    alembic(project, "downgrade", "base")
    assert recorded(database) == {"full_name": "pending", "nick": "pending"}
    alembic(project, "upgrade", "head")
    add_people(database, 7)
    project.quick("run")
    assert named_people(database) == 7
    assert states(project) == {"full_name": "done", "nick": "done"}


def test_a_stopped_migration_is_unsettled_too(project: Project, database: ScratchDatabase) -> None:
    project.write_script("nick", NICK.replace("pending=", "batch_size=2, pending="), requires=NICKNAMES)
    alembic(project, "upgrade", "head")
    add_people(database, 5)
    project.quick("run", "nick", "--max-batches", "1", exits=75)
    alembic(project, "downgrade", "-1")
    alembic(project, "upgrade", "head")
    project.quick("run", "nick")
    assert database.scalar("SELECT count(*) FROM people WHERE nick IS NULL") == 0


def test_a_downgrade_without_a_ledger_makes_none(tmp_path: Path, database: ScratchDatabase) -> None:
    project = project_in(tmp_path / "project", database)
    project.upgrade()
    project.write_script("nick", NICK, requires=NICKNAMES)
    write_env(project)
    alembic(project, "downgrade", "-1")
    assert tables(database) == {"alembic_version", "people"}


def test_a_done_migration_whose_file_is_gone_is_unsettled_too(
    project: Project, database: ScratchDatabase
) -> None:
    alembic(project, "upgrade", "head")
    add_people(database, 5)
    project.quick("run")
    (project.scripts / "nick.py").unlink()
    alembic(project, "downgrade", "-1")
    assert recorded(database) == {"full_name": "done", "nick": "pending"}


# Stamp


def test_a_stamp_notes_all_that_the_stamped_schema_makes_possible(
    tmp_path: Path, database: ScratchDatabase
) -> None:
    project = project_in(tmp_path / "project", database)
    project.upgrade()
    database.execute("DROP TABLE alembic_version")
    write_env(project)
    project.write_script("full_name")
    project.write_script("nick", NICK, requires=NICKNAMES)
    alembic(project, "stamp", "head")
    assert recorded(database) == {"full_name": "pending", "nick": "pending"}


def test_a_stamp_backwards_takes_no_column_away_and_changes_no_state(
    project: Project, database: ScratchDatabase
) -> None:
    alembic(project, "upgrade", "head")
    add_people(database, 3)
    project.quick("run")
    alembic(project, "stamp", PEOPLE)
    alembic(project, "stamp", "head")
    assert recorded(database) == {"full_name": "done", "nick": "done"}


# Beside what env.py has of its own


@pytest.mark.parametrize("own", ["noting('mine')", "[noting('mine'), noting('another')]"])
def test_on_version_apply_of_env_py_is_called_as_before(
    project: Project, database: ScratchDatabase, own: str
) -> None:
    write_env(project, before=NOTING, own=f"on_version_apply={own}")
    alembic(project, "upgrade", "head")
    assert notes(project) == re.findall(r"mine|another", own) * 2
    assert recorded(database) == {"full_name": "pending", "nick": "pending"}


def test_filters_and_directives_of_env_py_are_called_as_before(
    project: Project, database: ScratchDatabase
) -> None:
    alembic(project, "upgrade", "head")
    database.execute("CREATE TABLE theirs (id integer PRIMARY KEY)")
    own = (
        "include_name=lambda name, kind, parents: noting('name')() and name != 'theirs', "
        "include_object=noting('object'), process_revision_directives=noting('directives'), compare_type=True"
    )
    write_env(project, before=NOTING + METADATA, own=own, options=AUTOGENERATE)
    alembic(project, "revision", "--autogenerate", "-m", "nothing", "--rev-id", NEWER)
    assert set(notes(project)) == {"name", "object", "directives"}
    (written,) = (project.root / "alembic" / "versions").glob(f"{NEWER}_*.py")
    assert "theirs" not in written.read_text()
    assert "datamigrate" not in written.read_text()


# Autogenerate


def test_autogenerate_never_proposes_to_drop_the_ledger(project: Project, database: ScratchDatabase) -> None:
    alembic(project, "upgrade", "head")
    add_people(database, 3)
    project.quick("run")
    assert any(table.startswith("datamigrate_") for table in tables(database))
    write_env(project, before=METADATA, options=AUTOGENERATE)
    alembic(project, "check")


def test_a_schema_for_the_ledger_is_passed_over_where_there_are_none(
    tmp_path: Path, sqlite_database: ScratchDatabase
) -> None:
    project = hooked(tmp_path / "project", sqlite_database)
    project.write_script("full_name")
    project.configure('schema = "ops"')
    alembic(project, "upgrade", "head")
    project.quick("run")
    assert project.json("status")["migrations"][0]["state"] == "done"
    project.quick("show", "full_name")
    project.quick("reset", "full_name")
    alembic(project, "downgrade", "base")
    alembic(project, "upgrade", "head")


def test_autogenerate_leaves_a_ledger_in_its_own_schema_alone(
    tmp_path: Path, postgres_database: ScratchDatabase
) -> None:
    project = hooked(tmp_path / "project", postgres_database)
    project.write_script("full_name")
    project.configure('schema = "ops"')
    alembic(project, "upgrade", "head")
    write_env(project, before=METADATA, options=AUTOGENERATE + ", include_schemas=True")
    alembic(project, "check")


WITHOUT_LAST = METADATA.replace('    sa.Column("last", sa.Text),\n', "")


def contracted(project: Project, metadata: str, options: str = AUTOGENERATE) -> Path:
    """The file of the revision that autogenerate writes after an upgrade for models that have changed."""
    alembic(project, "upgrade", "head")
    write_env(project, before=metadata, options=options)
    alembic(project, "revision", "--autogenerate", "-m", "contract", "--rev-id", NEWER)
    (file,) = (project.root / "alembic" / "versions").glob(f"{NEWER}_*.py")
    return file


@pytest.mark.parametrize("in_a_batch", [True, False])
def test_a_revision_that_takes_something_away_gets_a_hint_and_still_runs(
    tmp_path: Path, request: pytest.FixtureRequest, in_a_batch: bool
) -> None:
    kind = "sqlite_database" if in_a_batch else "postgres_database"  # SQLite alters a column only in a batch
    database: ScratchDatabase = request.getfixturevalue(kind)
    project = hooked(tmp_path / "project", database)
    project.write_script("full_name")
    project.write_script("nick", NICK, requires=NICKNAMES)
    options = AUTOGENERATE if in_a_batch else AUTOGENERATE.replace(", render_as_batch=True", "")
    changed = WITHOUT_LAST.replace('sa.Column("nick", sa.Text)', 'sa.Column("nick", sa.Text, nullable=False)')
    file = contracted(project, changed, options)
    upgrade = file.read_text().partition("def upgrade()")[2].partition("def downgrade()")[0]
    assert "    # people.nick is set NOT NULL" in upgrade
    assert '    # op.require_data("nick")\n' in upgrade
    assert "    # people.last is dropped" in upgrade
    assert '    # op.require_data("full_name")\n' in upgrade
    assert upgrade.index("# op.require_data") < upgrade.index("drop_column"), (
        "at the top, where a gate belongs"
    )
    assert "require_data" not in file.read_text().partition("def downgrade()")[2]

    file.write_text(file.read_text().replace("# op.require_data", "op.require_data"))
    add_people(database, 3)
    assert "0 of 3 rows are done" in told(alembic(project, "upgrade", "head", exits=FAILED))
    project.quick("run")
    alembic(project, "upgrade", "head")
    assert "last" not in {c["name"] for c in sa.inspect(database.engine).get_columns("people")}


def test_a_revision_that_only_adds_gets_no_hint(project: Project, database: ScratchDatabase) -> None:
    alembic(project, "upgrade", "head")
    more = METADATA.replace('sa.Column("nick"', 'sa.Column("age", sa.Integer),\n    sa.Column("nick"')
    write_env(project, before=more, options=AUTOGENERATE)
    alembic(project, "revision", "--autogenerate", "-m", "expand", "--rev-id", NEWER)
    (file,) = (project.root / "alembic" / "versions").glob(f"{NEWER}_*.py")
    assert "add_column" in file.read_text()
    assert "require_data" not in file.read_text()


def test_a_hint_for_what_no_script_touches_names_none(project: Project, database: ScratchDatabase) -> None:
    (project.scripts / "full_name.py").unlink()
    (project.scripts / "nick.py").unlink()
    file = contracted(project, WITHOUT_LAST)
    assert '# op.require_data("name_of_the_data_migration")' in file.read_text()


RENAMED_IN_PYTHON = """
table = sa.Table(
    "people",
    sa.MetaData(),
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("last", sa.Text, key="first"),
    sa.Column("first", sa.Text, key="forename"),
)
migrate = delete_rows(table, pending=table.c.first.is_(None))
"""


def test_a_hint_goes_by_the_names_of_the_database(project: Project, database: ScratchDatabase) -> None:
    (project.scripts / "full_name.py").unlink()
    project.write_script("lastless", RENAMED_IN_PYTHON)
    assert '# op.require_data("lastless")' in contracted(project, WITHOUT_LAST).read_text()


# The doctor


def test_the_doctor_says_whether_they_are_in_place_and_which_line_to_add(
    tmp_path: Path, database: ScratchDatabase
) -> None:
    project = project_in(tmp_path / "project", database)
    project.upgrade()
    (hooks,) = [d for d in project.json("doctor")["diagnoses"] if d["about"] == "hooks"]
    assert hooks["verdict"] == "note"
    assert "import datamigrate.alembic" in hooks["said"]
    assert "context.configure(..., **datamigrate.alembic.hooks())" in hooks["said"]
    write_env(project)
    shown = project.datamigrate("doctor").out
    assert "in place in env.py" in shown
    (hooks,) = [
        d for d in json.loads(project.quick("doctor", "--json").out)["diagnoses"] if d["about"] == "hooks"
    ]
    assert hooks["verdict"] == "ok"


def test_init_says_which_line_to_add(tmp_path: Path, sqlite_database: ScratchDatabase) -> None:
    project = project_in(tmp_path / "project", sqlite_database)
    line = "**datamigrate.alembic.hooks()"
    assert line in project.quick("init").err
    assert line in ENV.replace("{own}", ""), "as env.py here has it"
