"""Every command in the documentation is run, and prints what the documentation says it prints."""

from __future__ import annotations

import re
import shutil
import tomllib
from pathlib import Path

import pytest
import sqlalchemy as sa

from databases import ROOT, ScratchDatabase, upgrade
from datamigrate.faces.config import configuration_from
from documents import Reader, blocks_of
from places import LONG

FIRST_REVISIONS = ("*_first_migration.py", "*_add_full_name_and_slug.py")


def documents() -> list[Path]:
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def project_without_data_migrations(directory: Path) -> None:
    """The chat as it was when users.full_name had just been added, before datamigrate came."""
    (directory / "alembic/versions").mkdir(parents=True)
    for file in ("env.py", "script.py.mako"):
        shutil.copy(ROOT / "alembic" / file, directory / "alembic")
    for pattern in FIRST_REVISIONS:
        [revision] = (ROOT / "alembic/versions").glob(pattern)
        shutil.copy(revision, directory / "alembic/versions")
    shutil.copytree(ROOT / "runner/chat", directory / "runner/chat")
    (directory / "pyproject.toml").write_text(
        '[tool.alembic]\nscript_location = "%(here)s/alembic"\nprepend_sys_path = ["%(here)s/runner"]\n'
    )


def a_thousand_users(database: ScratchDatabase) -> None:
    database.execute(
        "INSERT INTO users (id, first_name, last_name, email, created_at) "
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) "
        "SELECT i, 'Ada', 'Byron ' || i, 'ada' || i || '@example.org', CURRENT_TIMESTAMP FROM n"
    )


def test_following_the_readme_leads_to_a_verified_migration(
    tmp_path: Path, database: ScratchDatabase
) -> None:
    upgrade(database, "8a6ada1e0883")
    a_thousand_users(database)
    project_without_data_migrations(tmp_path)
    blocks = [b for b in blocks_of(ROOT / "README.md") if b.text != "make demo\n"]
    Reader(tmp_path, {"DATABASE_URL": database.url}).follow(blocks)
    assert database.scalar("SELECT count(*) FROM users WHERE full_name = 'Ada Byron ' || id") == 1000


def test_following_the_walk_from_expand_to_contract_leads_to_the_new_form_alone(
    tmp_path: Path, walked_database: ScratchDatabase
) -> None:
    database = walked_database
    upgrade(database, "8a6ada1e0883")
    a_thousand_users(database)
    project_without_data_migrations(tmp_path)
    Reader(tmp_path, {"DATABASE_URL": database.url}).follow(
        blocks_of(ROOT / "docs" / "expand-migrate-contract.md")
    )
    columns = {column["name"] for column in sa.inspect(database.engine).get_columns("users")}
    assert "full_name" in columns
    assert not columns & {"first_name", "last_name"}
    assert database.scalar("SELECT count(*) FROM users WHERE full_name IS NULL") == 0


def test_following_the_dry_run_leads_nowhere_but_to_a_page(
    tmp_path: Path, walked_database: ScratchDatabase
) -> None:
    database = walked_database
    upgrade(database, "8a6ada1e0883")
    a_thousand_users(database)
    project_without_data_migrations(tmp_path)
    before = database.dump()
    Reader(tmp_path, {"DATABASE_URL": database.url}).follow(blocks_of(ROOT / "docs" / "dry-run.md"))
    assert database.dump() == before
    assert (tmp_path / "dry-run.html").exists()


@pytest.mark.parametrize("database", ["sqlite", "postgresql"] if LONG else ["postgresql"], indirect=True)
def test_following_operating_pauses_tunes_resumes_reverts_and_sets_a_row_aside(
    tmp_path: Path, database: ScratchDatabase
) -> None:
    upgrade(database, "8a6ada1e0883")
    a_thousand_users(database)
    database.execute("UPDATE users SET email = 'A' || substr(email, 2)")
    database.execute("UPDATE users SET last_name = '' WHERE id = 742")
    project_without_data_migrations(tmp_path)
    Reader(tmp_path, {"DATABASE_URL": database.url}).follow(blocks_of(ROOT / "docs" / "operating.md"))
    rows = database.rows("SELECT name, state FROM datamigrate_migration")
    states = {str(name): state for name, state in rows}
    expected = {"trim_names": "pending", "lower_emails": "reverted", "initials": "done"}
    assert expected.items() <= states.items()
    assert database.scalar("SELECT count(*) FROM users WHERE email = 'Ada' || id || '@example.org'") == 1000
    assert database.rows("SELECT id FROM users WHERE full_name IS NULL") == [(742,)]


def test_following_testing_shows_what_a_script_stands_and_what_one_does_not(tmp_path: Path) -> None:
    project_without_data_migrations(tmp_path)
    Reader(tmp_path, {}).follow(blocks_of(ROOT / "docs" / "testing.md"))


def test_following_scheduling_leads_to_an_occurrence(
    tmp_path: Path, walked_database: ScratchDatabase
) -> None:
    database = walked_database
    upgrade(database, "8a6ada1e0883")
    a_thousand_users(database)
    project_without_data_migrations(tmp_path)
    Reader(tmp_path, {"DATABASE_URL": database.url}).follow(blocks_of(ROOT / "docs" / "scheduling.md"))
    assert database.rows("SELECT outcome, rows FROM datamigrate_occurrence") == [("verified", 1000)]


def test_following_observing_waits_goes_on_and_tells(
    tmp_path: Path, walked_database: ScratchDatabase
) -> None:
    database = walked_database
    upgrade(database, "8a6ada1e0883")
    a_thousand_users(database)
    database.execute("UPDATE users SET first_name = ' Ada '")
    project_without_data_migrations(tmp_path)
    Reader(tmp_path, {"DATABASE_URL": database.url}).follow(blocks_of(ROOT / "docs" / "observing.md"))
    assert database.scalar("SELECT count(*) FROM users WHERE first_name = 'Ada'") == 1000


def test_make_demo_shows_the_whole_path(tmp_path: Path, walked_database: ScratchDatabase) -> None:
    database = walked_database
    reader = Reader(ROOT, {"DATABASE_URL": database.url, "USERS": "1000"})
    reader.follow([b for b in blocks_of(ROOT / "README.md") if b.text == "make demo\n"])
    assert re.search(r"populate_full_name +done +1,000", reader.printed)
    assert database.scalar("SELECT count(*) FROM users WHERE full_name IS NULL") == 0


@pytest.mark.parametrize("document", documents(), ids=lambda document: document.name)
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", document.read_text("utf-8")):
        assert (document.parent / target).exists(), target


@pytest.mark.parametrize("document", documents(), ids=lambda document: document.name)
def test_configuration_in_the_documents_is_read_without_complaint(document: Path) -> None:
    for block in blocks_of(document):
        if block.language == "toml" and (
            table := tomllib.loads(block.text).get("tool", {}).get("datamigrate")
        ):
            configuration_from(table, ROOT, document.name)


@pytest.mark.parametrize("document", documents(), ids=lambda document: document.name)
def test_python_in_the_documents_is_python(document: Path) -> None:
    for block in blocks_of(document):
        if block.language == "python":
            compile(block.text, str(document), "exec")
