"""Steps of the ledger on a plain connection: the runner takes them within its transactions, and Alembic's
hooks take them within Alembic's."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from datamigrate.database.ledger import occurrences
from datamigrate.database.ledger.clock import now
from datamigrate.database.ledger.locking import locked
from datamigrate.database.ledger.quarantine import release
from datamigrate.database.ledger.ranges import fold
from datamigrate.database.ledger.tables import Tables
from datamigrate.thought.lifecycle import TRANSITIONS, Cause, State, advance
from datamigrate.words.claim import Owner
from datamigrate.words.errors import UnknownMigration
from datamigrate.words.migration import Migration
from datamigrate.words.secrets import redacted


def enrol(connection: Connection, tables: Tables, migration: Migration) -> None:
    """Make the migration known as pending, or as held if its script says so, with one range, unless it is
    known already."""
    known = {
        "name": migration.name,
        "state": State.HELD if migration.options.hold else State.PENDING,
        "checksum": migration.checksum,
        "requires": " ".join(migration.requires),
        "file": migration.file.name,
    }
    connection.execute(_insert_or_leave(connection, tables.migration, known))
    connection.execute(_insert_or_leave(connection, tables.range, {"migration": migration.name, "number": 0}))


def move(
    connection: Connection,
    tables: Tables,
    owner: Owner,
    name: str,
    before: State,
    cause: Cause,
    reason: str | None,
) -> State:
    """Move a migration as the lifecycle says, and keep how it came; the state it leads to.

    Raises LifecycleError.
    """
    after = advance(name, before, cause)
    values = {
        "state": after,
        "reason": _kept(reason),
        "moved_by": str(owner),
        "moved_at": now(),
        "finished_at": None,
        "waiting": None,
        "waiting_since": None,
    }
    if after is State.DONE:
        values |= {"finished_at": now(), "tuning": None}
    updated = connection.execute(
        sa.update(tables.migration).where(tables.migration.c.name == name).values(values)
    )
    if updated.rowcount != 1:
        raise UnknownMigration(f"The ledger has no migration {name}.")
    if after is State.DONE:
        occurrences.close(connection, tables, name, str(cause))
    note(connection, tables, owner, name, before, cause, reason)
    return after


def note(
    connection: Connection,
    tables: Tables,
    owner: Owner,
    name: str,
    before: State,
    cause: Cause,
    reason: str | None,
) -> None:
    """Keep in the history what was done to a migration. Raises LifecycleError."""
    after = advance(name, before, cause)
    connection.execute(
        sa.insert(tables.transition).values(
            migration=name, before=before, after=after, cause=cause, reason=_kept(reason), owner=str(owner)
        )
    )


def _kept(reason: str | None) -> str | None:
    return reason and redacted(reason)


def wait(connection: Connection, tables: Tables, name: str, why: str | None) -> None:
    """Keep why those who work on a migration wait just now, and since when; None when they go on."""
    t = tables.migration
    since = None if why is None else sa.func.coalesce(t.c.waiting_since, now())
    connection.execute(sa.update(t).where(t.c.name == name).values(waiting=_kept(why), waiting_since=since))


def begin_again(
    connection: Connection, tables: Tables, migration: Migration, keep_counts: bool = True
) -> None:
    """Walk it again from the first row; without `keep_counts` as if it had never run, and with the rows in
    quarantine in line again. Whoever holds the claim then is fenced out."""
    _rewind(connection, tables, migration.name, keep_counts)
    adopt(connection, tables, migration)


def take_turn(
    connection: Connection, tables: Tables, owner: Owner, migration: Migration, due: datetime, why: str
) -> bool:
    """Begin the occurrence for a due time, from the first row; False, and nothing is changed, when another run
    has begun it already, is still at one before, or an operator has halted it."""
    name = migration.name
    state = State(connection.execute(locked(tables, name)).one().state)
    last = occurrences.latest(connection, tables, name)
    is_begun = last is not None and last.due_at >= due
    is_going_on = last is not None and last.finished_at is None and state is not State.FAILED
    if is_begun or is_going_on or (state, Cause.DUE) not in TRANSITIONS:
        return False
    occurrences.close(connection, tables, name, "given up")
    move(connection, tables, owner, name, state, Cause.DUE, why)
    begin_again(connection, tables, migration, keep_counts=False)
    occurrences.begin(connection, tables, name, due)
    return True


def _rewind(connection: Connection, tables: Tables, name: str, keep_counts: bool) -> None:
    afresh: dict[str, Any] = {"exhausted": False, "sweep": 0, "left_alone": 0}
    if not keep_counts:
        afresh |= {"rows": 0, "batches": 0, "seconds": 0.0, "size": 0, "span": 0}
        afresh |= {"owner": None, "heartbeat": None}
        release(connection, tables, name)
        _forget_estimate(connection, tables, name)
    fold(connection, tables, name, **afresh)


def _forget_estimate(connection: Connection, tables: Tables, name: str) -> None:
    """What was expected is no longer what is to be done."""
    t = tables.migration
    connection.execute(sa.update(t).where(t.c.name == name).values(estimate=None, estimate_source=None))


def adopt(connection: Connection, tables: Tables, migration: Migration) -> None:
    """Take the script's present text for the one that the record speaks of."""
    connection.execute(
        sa.update(tables.migration)
        .where(tables.migration.c.name == migration.name)
        .values(
            checksum=migration.checksum,
            requires=" ".join(migration.requires),
            file=migration.file.name,
        )
    )


def unsettle(connection: Connection, tables: Tables, owner: Owner, name: str, reason: str) -> None:
    """The revision it requires is being taken away: what it did is gone, so it is pending again."""
    state = connection.scalar(sa.select(tables.migration.c.state).where(tables.migration.c.name == name))
    if state is None:
        return
    if state != State.PENDING:
        move(connection, tables, owner, name, State(state), Cause.DOWNGRADE, reason)
    _rewind(connection, tables, name, keep_counts=False)


def _insert_or_leave(connection: Connection, table: sa.Table, values: dict[str, Any]) -> sa.Insert:
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    return insert(table).values(values).on_conflict_do_nothing()
