"""The table that the campaign's runs work on, and what must hold of it whatever was done to them."""

from __future__ import annotations

import shutil
import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path

from campaign.runs import Order, Told, run
from databases import ScratchDatabase
from datamigrate.database.ledger.tables import ledger_tables
from datamigrate.doing.settings import Settings
from workbench import FORMS, SMALL, Bench

LEFT = """
SELECT count(*) FROM pg_stat_activity a LEFT JOIN pg_locks l ON l.pid = a.pid AND l.granted
WHERE a.datname = current_database() AND a.application_name = 'datamigrate'
"""
SECONDS_TO_LET_GO = 10


@dataclass(frozen=True)
class Field:
    """A bench with so many rows, and how to put it back to where it was."""

    bench: Bench
    rows: int
    saved: Path | None

    @property
    def database(self) -> ScratchDatabase:
        """The database itself, not over any wire."""
        return self.bench.database

    def order(
        self,
        form: str,
        over: ScratchDatabase | None = None,
        settings: Settings = SMALL,
        dies_at: int = 0,
    ) -> Order:
        """A run of this form, over a wire if need be."""
        return Order(over or self.database, self.bench.folder, FORMS[form], settings, dies_at)

    def put_back(self) -> None:
        """Everything as before the first run, with an empty ledger."""
        if self.saved is not None:
            for rest in ("-wal", "-shm"):
                self._file.with_name(self._file.name + rest).unlink(missing_ok=True)
            shutil.copy(self.saved, self._file)
            return
        items = ", ".join(f"({i}, {i % 97}, {i * 3})" for i in range(self.rows))
        self.database.script(
            "TRUNCATE item, written, copied, "
            + ", ".join(t for t in self._books if t != "datamigrate_ledger")
            + f"; INSERT INTO item (serial, old, id) VALUES {items}"
        )

    @property
    def _file(self) -> Path:
        return Path(self.database.url.partition(":///")[2])

    @property
    def _books(self) -> list[str]:
        return [table.name for table in ledger_tables().metadata.sorted_tables]

    def forget_ledger(self) -> None:
        """No run has ever been here."""
        self.database.script("".join(f"DROP TABLE {name};" for name in reversed(self._books)))

    def can_be_written(self) -> bool:
        """Whether nobody holds the only write lock of SQLite now."""
        with sqlite3.connect(self._file, timeout=0) as connection:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return False
            connection.rollback()
            return True

    def assert_whole(self, form: str) -> None:
        """No row lost, none changed twice, the ledger's counts the table's, verified done, nothing left open."""
        self.bench.assert_done(self.rows)
        if form == "delete":
            assert self.database.scalar("SELECT count(*) FROM item") == 0
        else:
            assert self.bench.wrong() == []
            assert self.database.scalar("SELECT count(*) FROM item") == self.rows
        if form == "each batch":
            copied = self.database.rows("SELECT serial FROM copied ORDER BY serial")
            assert copied == [(i,) for i in range(self.rows)]
        self.assert_let_go()

    def assert_let_go(self) -> None:
        """No connection and no lock is left."""
        if self.database.dialect == "sqlite":
            self.database.execute("UPDATE item SET old = old WHERE id < 0")
            return
        give_up = time.monotonic() + SECONDS_TO_LET_GO
        while self.database.scalar(LEFT):
            assert time.monotonic() < give_up, "a connection is left"
            time.sleep(0.02)

    def finish(self, form: str, settings: Settings = SMALL) -> Told:
        """Run what is left; it must get done."""
        told = run(self.order(form, settings=settings))
        assert told is not None
        assert told.outcome == "done", told
        return told


def field_on(database: ScratchDatabase, folder: Path, rows: int, noting: str = "") -> Field:
    """A field, with the ledger made by a run that had nothing to do; `written` has what `noting` says."""
    bench = Bench(database, folder)
    bench.table(noting=noting)
    database.execute("CREATE TABLE copied (serial INTEGER)")
    empty = Field(bench, rows, None)
    assert empty.finish("update").outcome == "done"
    if database.dialect != "sqlite":
        empty.put_back()
        return empty
    for table in empty._books:
        if table != "datamigrate_ledger":
            database.execute(f"DELETE FROM {table}")
    bench.fill((i * 3,) for i in range(rows))
    database.rows("PRAGMA wal_checkpoint(TRUNCATE)")
    return Field(bench, rows, Path(shutil.copy(empty._file, folder / "saved.db")))
