"""The runs in the ledger: who has called, with which words, and how that ended. Each function is a step in the
caller's transaction."""

import sqlalchemy as sa
from sqlalchemy.engine import Connection

import datamigrate
from datamigrate.database.ledger.clock import now
from datamigrate.database.ledger.records import RunRecord
from datamigrate.database.ledger.tables import Tables
from datamigrate.database.ledger.upgrading import ledger_version
from datamigrate.words.claim import Owner
from datamigrate.words.errors import DatamigrateError

KEPT = 10_000
"""So many runs are remembered, besides those that have not told how they ended."""


def begin_run(connection: Connection, tables: Tables, owner: Owner, arguments: str) -> int:
    """Note that a run began, and forget the oldest ones; its number."""
    t = tables.run
    values = {"owner": str(owner), "version": datamigrate.__version__, "arguments": arguments}
    number = int(connection.scalar(sa.insert(t).values(values).returning(t.c.id)) or 0)
    connection.execute(sa.delete(t).where(t.c.id <= number - KEPT, t.c.finished_at.is_not(None)))
    return number


def end_run(connection: Connection, tables: Tables, number: int, outcome: str, code: int) -> None:
    """Note how a run ended."""
    t = tables.run
    ended = {"finished_at": now(), "outcome": outcome, "exit": code}
    if connection.execute(sa.update(t).where(t.c.id == number).values(ended)).rowcount != 1:
        raise DatamigrateError(f"The ledger has no run {number}.")


def read_runs(connection: Connection, tables: Tables, limit: int) -> list[RunRecord]:
    """The latest runs, newest first."""
    if ledger_version(connection, tables) is None:
        return []
    rows = connection.execute(sa.select(tables.run).order_by(tables.run.c.id.desc()).limit(limit))
    return [RunRecord(**row._mapping) for row in rows]
