"""What an operator tells a migration: a move of its state, another pace, a note in its history.

Each is a step in the caller's transaction.
"""

from collections.abc import Callable

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from datamigrate.database.ledger import steps
from datamigrate.database.ledger.checkpoint import read_orders
from datamigrate.database.ledger.clock import ago
from datamigrate.database.ledger.tables import Tables
from datamigrate.thought.lifecycle import UNDOING, Cause, State, advance
from datamigrate.thought.tuning import UNTUNED, Tuning, retuned, tuning_kept
from datamigrate.words.claim import Owner, person
from datamigrate.words.errors import ClaimHeld
from datamigrate.words.migration import Migration


def command(
    connection: Connection,
    tables: Tables,
    owner: Owner,
    migration: Migration,
    cause: Cause,
    reason: str | None,
    fences: bool,
) -> State:
    """A move, checked against the lifecycle; the state it leads to.

    One that `fences` lets nobody finish the batch under way. Raises LifecycleError.
    """
    steps.enrol(connection, tables, migration)
    before = _state(connection, tables, migration.name)
    advance(migration.name, before, cause, recurs=migration.options.schedule is not None)
    after = steps.move(connection, tables, owner, migration.name, before, cause, reason)
    if fences:
        _fence(connection, tables, migration.name)
    turns = (before in UNDOING) is not (after in UNDOING)
    if cause is Cause.RESET or turns:
        steps.begin_again(connection, tables, migration, keep_counts=False)
    if cause is Cause.REOPEN:
        steps.begin_again(connection, tables, migration)
    if cause is Cause.STAMP:
        steps.adopt(connection, tables, migration)
    return after


def note(
    connection: Connection, tables: Tables, owner: Owner, name: str, cause: Cause, reason: str | None
) -> None:
    """Keep in the history what is done besides. Raises LifecycleError."""
    state = _state(connection, tables, name)
    steps.note(connection, tables, owner, name, state, cause, reason)


def tune(
    connection: Connection,
    tables: Tables,
    owner: Owner,
    migration: Migration,
    change: Tuning,
    reason: str | None,
    clear: bool,
) -> Tuning:
    """Set another pace, or with `clear` this one only; the pace that is wanted then. Raises LifecycleError."""
    name, t = migration.name, tables.migration
    steps.enrol(connection, tables, migration)
    state = _state(connection, tables, name)
    before = read_orders(connection, tables, name).tuning
    after = retuned(UNTUNED if clear else before, change)
    told = f"{after or 'cleared'}" + (f": {reason}" if reason else "")
    steps.note(connection, tables, owner, name, state, Cause.TUNE, told)
    connection.execute(sa.update(t).where(t.c.name == name).values(tuning=tuning_kept(after)))
    return after


def refuse_if_held(
    connection: Connection, tables: Tables, name: str, expiry: float, is_gone: Callable[[str], bool]
) -> None:
    """Raises ClaimHeld when somebody works on it who has been heard of within `expiry` seconds and is not known
    to be gone."""
    t = tables.range
    heard_of = sa.select(t.c.owner).where(
        t.c.migration == name, t.c.owner.is_not(None), t.c.heartbeat >= ago(expiry)
    )
    for owner in connection.scalars(heard_of.order_by(t.c.number)).all():
        if not is_gone(owner):
            raise ClaimHeld(f"{name} is being run by {person(owner)}.", "Stop that run first (SIGTERM).")


def _state(connection: Connection, tables: Tables, name: str) -> State:
    return State(connection.execute(steps.locked(tables, name)).one().state)


def _fence(connection: Connection, tables: Tables, name: str) -> None:
    # whoever holds a claim learns by the next sign of life that it is worth nothing any more
    t = tables.range
    connection.execute(
        sa.update(t)
        .where(t.c.migration == name)
        .values(owner=None, heartbeat=None, generation=t.c.generation + 1, attempts=0)
    )
