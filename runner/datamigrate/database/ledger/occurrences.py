"""The occurrences of recurring migrations in the ledger: each is a run of its own, one after another.

Each function is a step in the caller's transaction.
"""

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from datamigrate.database.ledger.clock import now
from datamigrate.database.ledger.records import OccurrenceRecord
from datamigrate.database.ledger.tables import Tables, columns_in
from datamigrate.database.ledger.upgrading import ledger_version
from datamigrate.thought.lifecycle import ROUTINE

KEPT = 500
"""So many occurrences of a migration are remembered."""


def keep_schedule(
    connection: Connection, tables: Tables, name: str, schedule: str | None, at: datetime
) -> None:
    """Remember which schedule a migration has since when."""
    t = tables.migration
    connection.execute(
        sa.update(t)
        .where(t.c.name == name, t.c.schedule.is_distinct_from(schedule))
        .values(schedule=schedule, scheduled_at=at)
    )


def latest(connection: Connection, tables: Tables, name: str) -> OccurrenceRecord | None:
    """The occurrence that was begun last."""
    found = read_occurrences(connection, tables, name, 1)
    return found[0] if found else None


def begin(connection: Connection, tables: Tables, name: str, due: datetime) -> None:
    """Begin the occurrence for a due time; forget the oldest ones, and what runs did by themselves before those that
    are kept."""
    t, moves = tables.occurrence, tables.transition
    connection.execute(sa.insert(t).values(migration=name, due_at=due))
    oldest = sa.select(t.c.due_at, t.c.begun_at).where(t.c.migration == name).order_by(t.c.due_at.desc())
    kept = connection.execute(oldest.offset(KEPT - 1).limit(1)).one_or_none()
    if kept is None:
        return
    connection.execute(sa.delete(t).where(t.c.migration == name, t.c.due_at < kept.due_at))
    connection.execute(
        sa.delete(moves).where(
            moves.c.migration == name, moves.c.cause.in_(sorted(ROUTINE)), moves.c.at < kept.begun_at
        )
    )


def close(connection: Connection, tables: Tables, name: str, outcome: str) -> None:
    """End the occurrence that is open, if one is, with the rows that it has changed."""
    t, r = tables.occurrence, tables.range
    rows = sa.select(sa.func.sum(r.c.rows)).where(r.c.migration == name).scalar_subquery()
    connection.execute(
        sa.update(t)
        .where(t.c.migration == name, t.c.finished_at.is_(None))
        .values(finished_at=now(), outcome=outcome, rows=sa.cast(rows, sa.BigInteger))
    )


def read_occurrences(
    connection: Connection, tables: Tables, name: str, limit: int
) -> Sequence[OccurrenceRecord]:
    """The latest occurrences of a migration, newest first."""
    t = tables.occurrence
    version = ledger_version(connection, tables)
    if version is None or not columns_in(t, version):
        return []
    query = sa.select(*t.c).where(t.c.migration == name).order_by(t.c.due_at.desc()).limit(limit)
    return [OccurrenceRecord(**row._mapping) for row in connection.execute(query)]


def latest_of_each(connection: Connection, tables: Tables, version: int) -> dict[str, OccurrenceRecord]:
    """The occurrence that was begun last, for each migration that has one in a ledger of this version."""
    t = tables.occurrence
    if not columns_in(t, version):
        return {}
    newest = sa.select(t.c.migration, sa.func.max(t.c.due_at).label("due_at")).group_by(t.c.migration)
    last = newest.subquery()
    query = sa.select(*t.c).join(last, (t.c.migration == last.c.migration) & (t.c.due_at == last.c.due_at))
    return {row.migration: OccurrenceRecord(**row._mapping) for row in connection.execute(query)}
