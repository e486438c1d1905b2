"""A connection that the server ends outside of any batch: looked at anew, or told as what it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import event

from databases import ScratchDatabase
from datamigrate.database.database import Database, open_database
from projects import Project, add_people, named_people

CUT = (
    "SELECT count(pg_terminate_backend(pid, 1000)) FROM pg_stat_activity "
    "WHERE datname = current_database() AND application_name = 'datamigrate'"
)

Cut = Callable[[str], list[str]]


@pytest.fixture
def cut(postgres_database: ScratchDatabase, monkeypatch: pytest.MonkeyPatch) -> Cut:
    """Has every connection of ours ended once, before the first statement that begins like that; gives the
    statements that were met so."""
    begins, met = "", list[str]()

    def before_statement(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if begins and not met and statement.strip().startswith(begins):
            met.append(statement)
            postgres_database.scalar(CUT)

    def opened(*arguments: Any, **options: Any) -> Database:
        database = open_database(*arguments, **options)
        event.listen(database.engine.sync_engine, "before_cursor_execute", before_statement)
        return database

    def cut_before(statement: str) -> list[str]:
        nonlocal begins
        begins = statement
        return met

    for face in ("app", "onlooker"):
        monkeypatch.setattr(f"datamigrate.faces.{face}.open_database", opened)
    return cut_before


@pytest.mark.parametrize(
    "statement", ["SELECT alembic_version", "SELECT clock_timestamp", "CREATE TABLE datamigrate_ledger"]
)
def test_a_connection_lost_while_a_run_begins_costs_another_look_only(
    postgres_project: Project, postgres_database: ScratchDatabase, cut: Cut, statement: str
) -> None:
    add_people(postgres_database, 10)
    postgres_project.write_script("full_name")
    met = cut(statement)
    postgres_project.quick("run")
    assert met
    assert named_people(postgres_database) == 10


def test_looking_looks_again_too(postgres_project: Project, cut: Cut) -> None:
    postgres_project.write_script("full_name")
    met = cut("SELECT clock_timestamp")
    assert "full_name" in postgres_project.quick("status").out
    assert met


def test_a_connection_lost_where_nobody_knows_what_was_kept_is_told_with_what_to_do(
    postgres_project: Project, postgres_database: ScratchDatabase, cut: Cut
) -> None:
    add_people(postgres_database, 10)
    postgres_project.write_script("full_name")
    met = cut("INSERT INTO datamigrate_run")
    told = postgres_project.quick("run", exits=1).err
    assert met
    assert "The connection to postgresql+asyncpg://" in told
    assert "was lost: " in told
    assert "`datamigrate status` tells. Then call again." in told
    postgres_project.quick("run")
    assert named_people(postgres_database) == 10


def test_a_database_that_was_never_there_is_told_at_once(
    postgres_project: Project, postgres_database: ScratchDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datamigrate.faces.again.WAITS", (3600.0,))
    nowhere = f"{postgres_database.sync_url}_not_there"
    assert "does not let us in" in postgres_project.quick("run", exits=1, DATABASE_URL=nowhere).err
