"""A database further on: what is done there is seen there, and is gone in the end, however it ends."""

from __future__ import annotations

import stat
import tempfile
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from databases import ScratchDatabase, sqlite_at
from datamigrate.database.address import address
from datamigrate.database.ahead import ahead_of
from datamigrate.database.dialects.base import Timeouts

pytestmark = pytest.mark.anyio
COUNT = sa.text("SELECT count(*) FROM things")


@pytest.fixture
def things(database: ScratchDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ScratchDatabase:
    """A table with one row, and a directory for temporary files of its own."""
    database.script("CREATE TABLE things (id integer PRIMARY KEY); INSERT INTO things VALUES (1)")
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    return database


def add_column(connection: sa.Connection) -> None:
    connection.exec_driver_sql("ALTER TABLE things ADD COLUMN more integer")
    if connection.dialect.name == "sqlite":
        connection.commit()


async def test_what_is_altered_and_written_is_seen_there_and_nowhere_else(
    things: ScratchDatabase, tmp_path: Path
) -> None:
    before = things.dump()
    async with ahead_of(address(things.url, "test", tmp_path), Timeouts()) as ahead:
        await ahead.alter(add_column)
        async with ahead.database.writing() as connection:
            await connection.execute(sa.text("INSERT INTO things (id, more) VALUES (2, 2)"))
        async with ahead.database.looking() as connection:
            assert await connection.scalar(COUNT) == 2
        if things.dialect == "sqlite":
            assert things.dump() == before
    assert things.dump() == before
    assert list((tmp_path / "temporary").iterdir()) == []


async def test_what_is_rehearsed_there_is_rolled_back_at_once(
    things: ScratchDatabase, tmp_path: Path
) -> None:
    async with ahead_of(address(things.url, "test", tmp_path), Timeouts()) as ahead:
        async with ahead.database.rehearsing(Timeouts()) as connection:
            await connection.execute(sa.text("DELETE FROM things"))
            assert await connection.scalar(COUNT) == 0
        async with ahead.database.looking() as connection:
            assert await connection.scalar(COUNT) == 1


async def test_after_an_error_there_what_was_done_before_is_still_there(
    things: ScratchDatabase, tmp_path: Path
) -> None:
    before = things.dump()
    async with ahead_of(address(things.url, "test", tmp_path), Timeouts()) as ahead:
        await ahead.alter(add_column)
        with pytest.raises(DBAPIError):
            async with ahead.database.writing() as connection:
                await connection.execute(sa.text("INSERT INTO things (id) VALUES (1)"))
        async with ahead.database.looking() as connection:
            assert await connection.scalar(sa.text("SELECT count(more) FROM things")) == 0
    assert things.dump() == before


async def test_an_error_of_ours_leaves_nothing_behind(things: ScratchDatabase, tmp_path: Path) -> None:
    before = things.dump()

    async def go_wrong() -> None:
        async with ahead_of(address(things.url, "test", tmp_path), Timeouts()) as ahead:
            await ahead.alter(add_column)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await go_wrong()
    assert things.dump() == before
    assert list((tmp_path / "temporary").iterdir()) == []


async def test_a_copy_is_for_our_eyes_only_and_has_what_is_not_checkpointed_yet(tmp_path: Path) -> None:
    database = sqlite_at(tmp_path / "wal.db")
    with database.engine.connect() as writer:
        writer.exec_driver_sql("PRAGMA journal_mode = WAL")
        writer.exec_driver_sql("CREATE TABLE things (id integer PRIMARY KEY)")
        writer.exec_driver_sql("INSERT INTO things VALUES (1)")
        writer.commit()
        async with ahead_of(address(database.url, "test", tmp_path), Timeouts()) as ahead:
            file = ahead.database.address.file
            assert file is not None
            assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
            assert ahead.copied == file.stat().st_size
            async with ahead.database.looking() as connection:
                assert await connection.scalar(COUNT) == 1
