"""Looking leaves the database byte for byte as it was, and needs no right but to read."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from databases import ScratchDatabase
from projects import FULL_NAME, NICK, NICKNAMES, Project, add_people, project_in

LOOKS: tuple[tuple[str, ...], ...] = (
    ("list",),
    ("plan",),
    ("plan", "--json", "full_name"),
    ("status",),
    ("status", "--count"),
    ("show", "full_name"),
    ("history",),
    ("run", "--dry-run"),
)
NOT_YET = "ffff00001111"  # a revision that is not applied


@pytest.fixture
def scripts(project: Project, database: ScratchDatabase) -> Project:
    """A project with people and scripts, none of which has run."""
    add_people(database, 7)
    project.write_revision(NOT_YET, NICKNAMES)
    project.write_script("full_name", FULL_NAME.replace("pending=", "batch_size=2, pending="))
    project.write_script("nick", NICK, requires=NICKNAMES)
    project.write_script("later", NICK, requires=NOT_YET)
    return project


def bytes_of(database: ScratchDatabase) -> dict[str, bytes]:
    """Return the files of a SQLite database, beside it included; nothing for PostgreSQL."""
    file = database.engine.url.database
    if database.dialect != "sqlite" or file is None:
        return {}
    return {path.name: path.read_bytes() for path in Path(file).parent.glob(f"{Path(file).name}*")}


def look_at_everything(project: Project, database: ScratchDatabase, url: str | None = None) -> None:
    """Look in every way there is, and compare all that the database holds."""
    dump, files = database.dump(), bytes_of(database)
    looking = project if url is None else project.having({"DATABASE_URL": url})
    for look in LOOKS:
        looking.quick(*look)
        assert database.dump() == dump, look
        assert bytes_of(database) == files, look


def test_looking_before_there_is_a_ledger_creates_none(scripts: Project, database: ScratchDatabase) -> None:
    look_at_everything(scripts, database)
    assert not any("datamigrate" in str(name) for name, _ in database.dump())


def test_looking_at_work_that_is_stopped_or_done_changes_nothing(
    scripts: Project, database: ScratchDatabase
) -> None:
    scripts.quick("run", "--max-batches", "2", exits=75)
    look_at_everything(scripts, database)
    scripts.quick("run", exits=4)
    look_at_everything(scripts, database)


def test_the_real_command_changes_nothing_either(scripts: Project, database: ScratchDatabase) -> None:
    dump, files = database.dump(), bytes_of(database)
    told = scripts.datamigrate("run", "--dry-run")
    assert "Dry run, nothing was written." in told.err
    assert told.out.count("7 rows pending (counted).") == 2
    assert (database.dump(), bytes_of(database)) == (dump, files)


def test_a_dry_run_after_all_is_done_finds_nothing(scripts: Project, database: ScratchDatabase) -> None:
    scripts.quick("run", exits=4)
    facts = scripts.json("run", "--dry-run")
    assert facts["pending"] == {}
    assert [step["action"] for step in facts["steps"]] == ["done", "done", "blocked"]


def test_an_operator_verb_that_is_refused_changes_nothing(
    scripts: Project, database: ScratchDatabase
) -> None:
    scripts.quick("run", exits=4)
    dump = database.dump()
    scripts.quick("retry", "full_name", exits=2)
    assert database.dump() == dump


@pytest.fixture
def reader(postgres_database: ScratchDatabase) -> Iterator[str]:
    """A role that may do nothing but SELECT in the database."""
    name = f"reader_{secrets.token_hex(4)}"
    postgres_database.script(
        f"CREATE ROLE {name} LOGIN;"
        f"ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO {name};"
        "REVOKE CREATE ON SCHEMA public FROM PUBLIC;"
    )
    yield name
    postgres_database.script(f"DROP OWNED BY {name}; DROP ROLE {name};")


def test_a_role_that_may_only_read_can_look(
    tmp_path: Path, postgres_database: ScratchDatabase, reader: str
) -> None:
    project = project_in(tmp_path / "project", postgres_database)
    project.upgrade()
    add_people(postgres_database, 7)
    project.write_script("full_name", FULL_NAME.replace("pending=", "batch_size=2, pending="))
    as_reader = postgres_database.sync_url.replace("postgres@", f"{reader}@")
    look_at_everything(project, postgres_database, as_reader)
    told = project.quick("run", exits=1, DATABASE_URL=as_reader).err
    assert "permission denied" in told
    assert "Traceback" not in told
    project.quick("run", "--max-batches", "1", exits=75)
    look_at_everything(project, postgres_database, as_reader)
    dump = postgres_database.dump()
    told = project.quick("run", exits=1, DATABASE_URL=as_reader).err
    assert "permission denied" in told
    assert postgres_database.dump() == dump


@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_a_file_that_may_only_be_read_can_be_looked_at(
    tmp_path: Path, sqlite_database: ScratchDatabase, journal: str
) -> None:
    project = project_in(tmp_path / "project", sqlite_database)
    project.upgrade()
    add_people(sqlite_database, 7)
    project.write_script("full_name", FULL_NAME.replace("pending=", "batch_size=2, pending="))
    project.quick("run", "--max-batches", "1", exits=75)
    sqlite_database.execute(f"PRAGMA journal_mode = {journal}")
    file = Path(str(sqlite_database.engine.url.database))
    file.chmod(0o444)
    try:
        look_at_everything(project, sqlite_database)
        if os.geteuid() != 0:  # whom no permission stops
            told = project.quick("run", exits=1).err
            assert "readonly database" in told
    finally:
        file.chmod(0o644)
    project.quick("run")
