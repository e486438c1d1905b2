"""Reading the ledger on a plain connection, whoever's transaction it is in."""

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from datamigrate.database.ledger.clock import ago, now
from datamigrate.database.ledger.occurrences import latest_of_each
from datamigrate.database.ledger.quarantine import count_all_aside
from datamigrate.database.ledger.records import (
    LedgerView,
    MigrationRecord,
    OccurrenceRecord,
    RangeRecord,
    TransitionRecord,
)
from datamigrate.database.ledger.tables import Tables, columns_in
from datamigrate.database.ledger.undo import UndoSize, undo_sizes
from datamigrate.database.ledger.upgrading import ledger_version
from datamigrate.thought.agenda import Recurrence
from datamigrate.thought.lifecycle import Cause, Standing, State
from datamigrate.thought.tuning import tuning_from
from datamigrate.words.claim import Tally, person


def read_ledger(connection: Connection, tables: Tables) -> LedgerView:
    """Everything it knows of migrations; nothing where it does not exist. Raises LedgerTooNew."""
    at = connection.scalar(sa.select(now())) or datetime.now(UTC)
    if (version := ledger_version(connection, tables)) is None:
        return LedgerView(at=at)
    ranges: dict[str, list[RangeRecord]] = {}
    for row in connection.execute(
        sa.select(*columns_in(tables.range, version)).order_by(tables.range.c.number)
    ):
        ranges.setdefault(row.migration, []).append(_range_record(row))
    undo = undo_sizes(connection, tables)
    aside = count_all_aside(connection, tables)
    occurrences = latest_of_each(connection, tables, version)
    migrations = {
        row.name: _migration_record(
            row,
            tuple(ranges.get(row.name, ())),
            occurrences.get(row.name),
            undo.get(row.name),
            aside.get(row.name, 0),
        )
        for row in connection.execute(
            sa.select(*columns_in(tables.migration, version)).order_by(tables.migration.c.name)
        )
    }
    return LedgerView(migrations, exists=True, at=at)


def read_transitions(connection: Connection, tables: Tables, name: str) -> list[TransitionRecord]:
    """How a migration came to its state, oldest first."""
    if ledger_version(connection, tables) is None:
        return []
    t = tables.transition
    columns = (t.c.migration, t.c.before, t.c.after, t.c.cause, t.c.reason, t.c.owner, t.c.at)
    rows = connection.execute(sa.select(*columns).where(t.c.migration == name).order_by(t.c.id))
    return [TransitionRecord(**row._mapping) for row in rows]


def reset_within(connection: Connection, tables: Tables, name: str, seconds: float) -> Standing | None:
    """Who has had a migration begin again at its first row within so many seconds, if somebody has."""
    t = tables.transition
    latest = sa.select(t.c.owner, t.c.at, t.c.reason).where(
        t.c.migration == name, t.c.cause == Cause.RESET, t.c.at >= ago(seconds)
    )
    found = connection.execute(latest.order_by(t.c.id.desc()).limit(1)).one_or_none()
    return Standing(State.PENDING, *found, word=Cause.RESET) if found else None


def _range_record(row: Any) -> RangeRecord:
    return RangeRecord(
        migration=row.migration,
        number=row.number,
        cursor=row.cursor,
        upper=row.upper,
        exhausted=row.exhausted,
        sweep=row.sweep,
        tally=Tally(row.rows, row.left_alone, row.batches),
        size=row.size,
        seconds=row.seconds,
        owner=person(row.owner) if row.owner else None,
        identity=row.owner,
        heartbeat=row.heartbeat,
        attempts=row._mapping.get("attempts") or 0,
    )


def _migration_record(
    row: Any,
    ranges: tuple[RangeRecord, ...],
    occurrence: OccurrenceRecord | None,
    undo: UndoSize | None,
    quarantined: int,
) -> MigrationRecord:
    return MigrationRecord(
        name=row.name,
        state=State(row.state),
        checksum=row.checksum,
        requires=tuple(row.requires.split()),
        file=row.file,
        estimate=row.estimate,
        estimate_source=row.estimate_source,
        started_at=row.started_at,
        finished_at=row.finished_at,
        reason=row.reason,
        # an older ledger, which looking leaves as it is, has no such columns
        moved_by=row._mapping.get("moved_by"),
        moved_at=row._mapping.get("moved_at"),
        tuning=tuning_from(row._mapping.get("tuning")),
        waiting=row._mapping.get("waiting"),
        waiting_since=row._mapping.get("waiting_since"),
        ranges=ranges,
        undo=undo,
        quarantined=quarantined,
        recurrence=Recurrence(
            schedule=row._mapping.get("schedule"),
            since=row._mapping.get("scheduled_at"),
            due=occurrence.due_at if occurrence else None,
            is_open=occurrence is not None and occurrence.finished_at is None,
        ),
    )
