"""What the Alembic guide of the reference application describes, done with this repository's environment."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.script import ScriptDirectory

from alembic_project import AlembicProject, copy_of_repository, revision_id
from databases import EXPANDED, HEAD, ROOT, ScratchDatabase, alembic_config, downgrade, upgrade
from datamigrate.alembic import GateClosed

REVISIONS = ("615021cc5b23", "8a6ada1e0883", "c41d7e5b9a20", EXPANDED, "e07a9c4d1f62", HEAD)
TABLES = {"alembic_version", "conversations", "messages", "participants", "users"}
ALEMBIC_INI = """
[alembic]
script_location = %(here)s/../alembic
prepend_sys_path = %(here)s/../runner

[loggers]
keys = root,alembic
[handlers]
keys = console
[formatters]
keys =
[logger_root]
level = WARNING
handlers = console
[logger_alembic]
level = INFO
handlers =
qualname = alembic
[handler_console]
class = StreamHandler
args = (sys.stderr,)
"""


def repository(database: ScratchDatabase) -> AlembicProject:
    return AlembicProject(ROOT, database.url)


def tables(database: ScratchDatabase) -> set[str]:
    """The tables that are there, apart from datamigrate's own."""
    names = sa.inspect(database.engine).get_table_names()
    return {name for name in names if not name.startswith("datamigrate_")}


def schema(database: ScratchDatabase) -> dict[str, Any]:
    """Describe the tables regardless of the order of their columns and of column defaults."""
    inspector = sa.inspect(database.engine)
    return {
        table: (
            sorted((c["name"], str(c["type"]), c["nullable"]) for c in inspector.get_columns(table)),
            inspector.get_pk_constraint(table),
            sorted(map(repr, inspector.get_foreign_keys(table))),
            sorted(map(repr, inspector.get_indexes(table))),
        )
        for table in tables(database)
    }


def revision_files() -> list[Path]:
    return sorted((ROOT / "alembic" / "versions").glob("*.py"))


# The daily workflow


def test_upgrade_then_downgrade_then_upgrade_again_ends_where_it_was(database: ScratchDatabase) -> None:
    project = repository(database)
    project.alembic("upgrade", "head")
    at_head = schema(database)
    assert project.alembic("current").strip() == f"{HEAD} (head)"
    project.alembic("downgrade", "-1")
    assert project.alembic("current").strip() == REVISIONS[-2]
    assert schema(database) != at_head
    project.alembic("upgrade", "head")
    assert schema(database) == at_head


def test_commands_called_from_python_do_the_same(database: ScratchDatabase) -> None:
    upgrade(database, "head")
    at_head = schema(database)
    downgrade(database, "-1")
    upgrade(database, "head")
    assert set(at_head) == TABLES
    assert schema(database) == at_head


def test_every_revision_can_be_taken_back_to_the_schema_before_it(database: ScratchDatabase) -> None:
    before = {}
    for revision in REVISIONS:
        before[revision] = schema(database)
        upgrade(database, revision)
    for revision in reversed(REVISIONS):
        downgrade(database, "-1")
        expected = before[revision] or {"alembic_version": schema(database)["alembic_version"]}
        assert schema(database) == expected, f"after taking back {revision}"


def test_every_revision_keeps_the_rows_that_are_there(chat_database: ScratchDatabase) -> None:
    rows = "SELECT id, email, created_at FROM users ORDER BY id"
    before = chat_database.rows(rows)
    chat_database.execute("UPDATE users SET full_name = first_name, email_key = email")
    upgrade(chat_database, "head")
    assert chat_database.rows(rows) == before
    downgrade(chat_database, EXPANDED)
    assert chat_database.rows(rows) == before
    assert chat_database.rows("SELECT DISTINCT first_name, last_name FROM users") == [("", "")]
    downgrade(chat_database, REVISIONS[0])
    assert chat_database.rows(rows) == before


def test_a_column_with_nulls_is_not_made_not_null(chat_database: ScratchDatabase) -> None:
    with pytest.raises(GateClosed, match="0 of 500 rows are done, 500 are pending"):
        upgrade(chat_database, "head")
    assert chat_database.rows("SELECT version_num FROM alembic_version") == [(EXPANDED,)]
    assert chat_database.scalar("SELECT count(*) FROM users WHERE full_name IS NULL") > 0


def test_history_tells_every_revision_and_its_title() -> None:
    history = AlembicProject(ROOT).alembic("history").splitlines()
    told = [line.partition(", ")[0].split(" -> ")[1].removesuffix(" (head)") for line in history]
    assert told == list(reversed(REVISIONS))
    assert history[0].endswith("Drop users.first_name and users.last_name.")


def test_stamp_records_a_revision_and_builds_nothing(database: ScratchDatabase) -> None:
    project = repository(database)
    project.alembic("stamp", "head")
    assert project.alembic("current").strip() == f"{HEAD} (head)"
    assert tables(database) == {"alembic_version"}


# Several developers


def test_two_heads_are_reported_and_merged(database: ScratchDatabase, tmp_path: Path) -> None:
    project = copy_of_repository(tmp_path, database.url)
    one = revision_id(project.new_revision("revision", "-m", "one", "--head", HEAD, "--splice"))
    two = revision_id(project.new_revision("revision", "-m", "two", "--head", HEAD, "--splice"))
    assert {line.split()[0] for line in project.alembic("heads").splitlines()} == {one, two}
    refused = project.run("upgrade", "head")
    assert refused.code != 0
    assert "Multiple head revisions" in refused.err + refused.out

    merged = revision_id(project.new_revision("merge", "-m", "merge migrations", one, two))
    project.alembic("upgrade", "head")
    assert project.alembic("current").strip() == f"{merged} (head) (mergepoint)"


# Autogenerate


def test_the_models_are_what_the_revisions_build(database: ScratchDatabase) -> None:
    upgrade(database, "head")
    assert "No new upgrade operations detected" in repository(database).alembic("check")


def test_a_changed_model_becomes_a_revision_that_works(database: ScratchDatabase, tmp_path: Path) -> None:
    upgrade(database, "head")
    project = copy_of_repository(tmp_path, database.url)
    models = tmp_path / "runner" / "chat" / "models.py"
    column = "    last_active_at: Mapped[datetime | None] = mapped_column(instant)\n"
    models.write_text(re.sub(r"(    email_key: .*\n)", rf"\1{column}", models.read_text("utf-8")), "utf-8")

    drifted = project.run("check")
    assert drifted.code != 0
    assert "last_active_at" in drifted.out + drifted.err
    message = "add user last_active_at column"
    written = project.new_revision("revision", "--autogenerate", "-m", message).read_text("utf-8")
    assert "add_column" in written
    assert "last_active_at" in written
    project.alembic("upgrade", "head")
    assert "last_active_at" in {c["name"] for c in sa.inspect(database.engine).get_columns("users")}
    project.alembic("downgrade", "-1")
    assert "last_active_at" not in {c["name"] for c in sa.inspect(database.engine).get_columns("users")}


def test_a_new_revision_is_named_after_its_date_and_its_message(tmp_path: Path) -> None:
    file = copy_of_repository(tmp_path).new_revision("revision", "-m", "Add conversation slug index")
    assert file.parent == tmp_path / "alembic" / "versions"
    assert re.fullmatch(r"20\d{6}_\d{4}_add_conversation_slug_index\.py", file.name)
    written = file.read_text("utf-8")
    assert written.startswith('"""Add conversation slug index\n')
    assert f"down_revision: str | Sequence[str] | None = {HEAD!r}" in written
    compile(written, str(file), "exec")


# Finding the database


def test_without_a_database_url_one_sentence_says_so() -> None:
    outcome = AlembicProject(ROOT).run("upgrade", "head")
    assert outcome.code != 0
    told = outcome.out + outcome.err
    assert told.startswith("FAILED: DATABASE_URL is not set")
    assert len(told.splitlines()) == 1


def test_a_database_url_that_is_none_is_refused_without_being_repeated() -> None:
    outcome = AlembicProject(ROOT, "user:s3cret@host/chat").run("upgrade", "head")
    assert outcome.code != 0
    told = outcome.out + outcome.err
    assert told.startswith("FAILED: DATABASE_URL is not a database URL")
    assert "s3cret" not in told
    assert len(told.splitlines()) == 1


@pytest.mark.parametrize("driver", ["sqlite", "sqlite+aiosqlite"])
def test_sqlite_is_reached_with_a_sync_and_an_async_driver(
    sqlite_database: ScratchDatabase, driver: str
) -> None:
    url = sqlite_database.sync_url.replace("sqlite", driver, 1)
    AlembicProject(ROOT, url).alembic("upgrade", "head")
    assert tables(sqlite_database) == TABLES


@pytest.mark.parametrize("driver", ["postgresql", "postgresql+psycopg", "postgresql+asyncpg"])
def test_postgresql_is_reached_with_a_sync_and_an_async_driver(
    postgres_database: ScratchDatabase, driver: str
) -> None:
    url = postgres_database.sync_url.replace("postgresql+psycopg", driver, 1)
    AlembicProject(ROOT, url).alembic("upgrade", "head")
    assert tables(postgres_database) == TABLES


# The configuration


def test_an_ini_file_in_another_directory_does_as_well(
    sqlite_database: ScratchDatabase, tmp_path: Path
) -> None:
    project = copy_of_repository(tmp_path / "project", sqlite_database.url)
    ini = tmp_path / "project" / "config" / "alembic.ini"
    ini.parent.mkdir()
    ini.write_text(ALEMBIC_INI)
    outcome = project.run("-c", str(ini), "upgrade", "head", directory=tmp_path)
    assert outcome.code == 0
    assert "Running upgrade  -> 615021cc5b23" in outcome.err, "the ini file's loggers are set up"
    assert project.alembic("-c", "config/alembic.ini", "current").strip() == f"{HEAD} (head)"
    assert tables(sqlite_database) == TABLES


def test_an_ini_file_does_not_silence_loggers_that_exist(
    sqlite_database: ScratchDatabase, tmp_path: Path
) -> None:
    project = copy_of_repository(tmp_path, sqlite_database.url)
    ini = tmp_path / "alembic.ini"
    ini.write_text(ALEMBIC_INI.replace("/../", "/"))
    program = f"""
import logging
from alembic import command
from alembic.config import Config
ours = logging.getLogger("ours")
command.current(Config({str(ini)!r}))
print(ours.disabled)
"""
    outcome = project.python("-c", program)
    assert outcome.out.strip() == "False", outcome.err


def test_a_connection_that_the_caller_gives_is_used_and_left_open(database: ScratchDatabase) -> None:
    config = alembic_config()
    with database.engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        assert not connection.closed
        assert connection.dialect.has_table(connection, "users")


def test_the_sql_of_an_upgrade_builds_the_same_schema(database: ScratchDatabase) -> None:
    sql = repository(database).alembic("upgrade", "head", "--sql")
    assert tables(database) == set(), "nothing is run"
    database.script(sql)
    built = schema(database)
    downgrade(database, "base")
    upgrade(database, "head")
    assert built == schema(database)


def test_the_sql_of_a_downgrade_takes_everything_away(database: ScratchDatabase) -> None:
    upgrade(database, "head")
    database.script(repository(database).alembic("downgrade", f"{HEAD}:base", "--sql"))
    assert tables(database) <= {"alembic_version"}


# The rules


def test_the_revisions_form_one_line() -> None:
    script = ScriptDirectory.from_config(alembic_config())
    assert [revision.revision for revision in script.walk_revisions()] == list(reversed(REVISIONS))


def test_no_package_of_the_repository_hides_alembic() -> None:
    assert not (ROOT / "alembic" / "__init__.py").exists()


@pytest.mark.parametrize("file", revision_files(), ids=lambda file: file.stem)
def test_a_revision_is_dated_and_touches_the_schema_only(file: Path) -> None:
    assert re.fullmatch(r"20\d{6}_\d{4}_[a-z_]+", file.stem)
    tree = ast.parse(file.read_text("utf-8"))
    assert ast.get_docstring(tree)
    called = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert not called & {"execute", "bulk_insert", "get_bind", "insert", "update", "delete", "text"}
