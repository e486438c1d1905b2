"""Steps of the ledger on a plain connection: the runner takes them within its transactions, and Alembic's
hooks take them within Alembic's."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from datamigrate.database.ledger.clock import now
from datamigrate.database.ledger.ranges import fold
from datamigrate.database.ledger.tables import Tables
from datamigrate.thought.lifecycle import Cause, State, advance
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
    }
    if after is State.DONE:
        values |= {"finished_at": now(), "tuning": None}
    updated = connection.execute(
        sa.update(tables.migration).where(tables.migration.c.name == name).values(values)
    )
    if updated.rowcount != 1:
        raise UnknownMigration(f"The ledger has no migration {name}.")
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


def begin_again(
    connection: Connection, tables: Tables, migration: Migration, keep_counts: bool = True
) -> None:
    """Walk it again from the first row; without `keep_counts` as if it had never run. Whoever holds the
    claim then is fenced out."""
    _rewind(connection, tables, migration.name, keep_counts)
    adopt(connection, tables, migration)


def _rewind(connection: Connection, tables: Tables, name: str, keep_counts: bool) -> None:
    afresh: dict[str, Any] = {"exhausted": False, "sweep": 0, "left_alone": 0}
    if not keep_counts:
        afresh |= {"rows": 0, "batches": 0, "seconds": 0.0, "size": 0, "span": 0}
        afresh |= {"owner": None, "heartbeat": None}
    fold(connection, tables, name, **afresh)


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
