"""Beside a run, SQLite's write-ahead log is copied into the file, so that no batch has to."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from databases import ScratchDatabase
from datamigrate.database.dialects import sqlite_transactions
from datamigrate.database.dialects.sqlite import SQLite
from datamigrate.doing import tending as room
from datamigrate.doing.accompanying import accompanied
from datamigrate.doing.tending import tending
from workbench import FORMS, Bench, opened

pytestmark = pytest.mark.anyio

SECONDS_TO_HAPPEN = 30
MARK = "somebody wrote this"


@pytest.fixture
def with_a_log(sqlite_database: ScratchDatabase, monkeypatch: pytest.MonkeyPatch) -> ScratchDatabase:
    """One with a write-ahead log, of which any is long enough to be looked after."""
    monkeypatch.setattr(room, "SHORT", 0)
    sqlite_database.script("PRAGMA journal_mode = wal; CREATE TABLE item (id INTEGER, words TEXT)")
    return sqlite_database


def file_of(scratch: ScratchDatabase) -> Path:
    return Path(str(sa.make_url(scratch.url).database))


def holds(file: Path, words: str) -> bool:
    return words.encode() in file.read_bytes()


async def until(happened: Callable[[], object]) -> None:
    with anyio.fail_after(SECONDS_TO_HAPPEN):
        while not happened():  # noqa: ASYNC110 - a file sends no events
            await anyio.sleep(0.01)


def writer_on(scratch: ScratchDatabase) -> Any:
    """A connection whose commits copy nothing."""
    writer = scratch.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    writer.exec_driver_sql("PRAGMA wal_autocheckpoint = 0")
    return writer


async def test_what_is_committed_is_copied_from_the_log_beside_the_work(with_a_log: ScratchDatabase) -> None:
    file = file_of(with_a_log)

    async def work() -> None:
        with writer_on(with_a_log) as writer:
            for number in range(3):
                mark = f"{MARK} {number}"
                writer.execute(sa.text("INSERT INTO item VALUES (1, :mark)"), {"mark": mark})
                await until(partial(holds, file, mark))

    async with opened(with_a_log) as database:
        await accompanied(work, lambda: tending(database))


async def test_a_reader_in_the_way_is_no_error_and_all_is_copied_once_he_has_gone(
    with_a_log: ScratchDatabase,
) -> None:
    file = file_of(with_a_log)

    async def work() -> None:
        with writer_on(with_a_log) as writer, with_a_log.engine.connect() as reader:
            reader.exec_driver_sql("BEGIN")
            reader.exec_driver_sql("SELECT count(*) FROM item").all()
            writer.execute(sa.text("INSERT INTO item VALUES (1, :mark)"), {"mark": MARK})
            await anyio.sleep(3 * room.EVERY)
            reader.exec_driver_sql("ROLLBACK")
            writer.execute(sa.text("INSERT INTO item VALUES (2, '')"))
            await until(partial(holds, file, MARK))

    async with opened(with_a_log) as database:
        await accompanied(work, lambda: tending(database))


async def test_what_goes_wrong_with_it_does_not_disturb_the_work(
    with_a_log: ScratchDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[int] = []

    async def fail(*_: object) -> None:
        tried.append(1)
        raise OSError("no space left")

    async def work() -> None:
        with writer_on(with_a_log) as writer:
            writer.execute(sa.text("INSERT INTO item VALUES (1, '')"))
            await until(lambda: len(tried) > 1)

    async with opened(with_a_log) as database:
        monkeypatch.setattr(SQLite, "copy_log", fail)
        await accompanied(work, lambda: tending(database))


async def test_without_a_log_of_ours_nothing_is_done(database: ScratchDatabase) -> None:
    async with opened(database) as ours:
        if database.dialect == "postgresql":
            await tending(ours)
        else:
            with anyio.move_on_after(3 * room.EVERY):
                await tending(ours)
            assert isinstance(ours.engine.pool, sa.QueuePool)
            assert ours.engine.pool.checkedin() == 0, "somebody was connected to"


async def test_a_log_does_not_grow_with_what_is_written(
    with_a_log: ScratchDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_transactions, "LONG_LOG", 64 * 1024)
    log = file_of(with_a_log).with_name(f"{file_of(with_a_log).name}-wal")
    async with opened(with_a_log) as database:
        for _ in range(20):
            async with database.writing() as connection:
                await connection.execute(sa.text("INSERT INTO item VALUES (1, :it)"), {"it": "x" * 32 * 1024})
        assert 64 * 1024 <= log.stat().st_size <= 192 * 1024


async def test_a_run_has_its_log_copied_beside_it(
    sqlite_bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied: list[int] = []
    copy_log = SQLite.copy_log

    async def noted(self: SQLite, connection: AsyncConnection) -> None:
        await copy_log(self, connection)
        copied.append(1)

    monkeypatch.setattr(room, "SHORT", 0)
    monkeypatch.setattr(room, "EVERY", 0.0)
    monkeypatch.setattr(SQLite, "copy_log", noted)
    sqlite_bench.database.script("PRAGMA journal_mode = wal")
    sqlite_bench.table(rows=[(i,) for i in range(40)])
    ran = await sqlite_bench.run(sqlite_bench.script(FORMS["update"]))
    assert ran.outcome == "done", ran.result
    sqlite_bench.assert_done(40)
    assert copied
