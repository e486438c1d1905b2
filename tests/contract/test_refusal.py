"""What the database does not let us do is told in words, and not as an error of SQLAlchemy's."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from databases import ScratchDatabase
from datamigrate.database.database import Database
from datamigrate.database.dialects.base import Timeouts
from datamigrate.doing.failing import failed_batch
from datamigrate.faces.refusal import refusal_in_words
from datamigrate.words.errors import DatabaseBusy
from workbench import migration, opened

pytestmark = pytest.mark.anyio


async def test_a_file_that_somebody_else_has_locked_is_told_in_words(
    sqlite_database: ScratchDatabase,
) -> None:
    sqlite_database.execute("CREATE TABLE item (id INTEGER)")
    with sqlite_database.engine.connect() as other:
        other.exec_driver_sql("BEGIN IMMEDIATE")
        async with opened(sqlite_database) as database:
            with (
                pytest.raises(DatabaseBusy, match="is locked by somebody else"),
                refusal_in_words(database),
            ):
                async with database.writing(Timeouts(lock=0.02, statement=None)) as connection:
                    await connection.execute(sa.text("INSERT INTO item VALUES (1)"))


async def write(ours: Database) -> None:
    async with ours.writing(Timeouts(lock=0.02, statement=None)) as connection:
        await connection.execute(sa.text("UPDATE item SET id = 3"))


async def test_a_lock_that_never_goes_is_not_blamed_on_the_rows(database: ScratchDatabase) -> None:
    database.script("CREATE TABLE item (id INTEGER); INSERT INTO item VALUES (1)")
    async with opened(database) as ours:
        with database.engine.begin() as other:
            other.execute(sa.text("UPDATE item SET id = 2"))
            with pytest.raises(DBAPIError) as locked:
                await write(ours)
        error = failed_batch(ours.dialect, migration(), locked.value, kept=5)
    assert "what was done before it is kept: 5 rows" in error.message
    assert error.hint.startswith("Somebody else holds the lock for longer than all tries together")
