"""What an operator tells a migration: a move of its state, another pace, a note in its history.

Each is a step in the caller's transaction.
"""

from collections.abc import Callable

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from datamigrate.database.ledger import occurrences, steps
from datamigrate.database.ledger.checkpoint import read_orders
from datamigrate.database.ledger.clock import ago
from datamigrate.database.ledger.locking import locked
from datamigrate.database.ledger.ranges import fence
from datamigrate.database.ledger.tables import Tables
from datamigrate.thought.lifecycle import NOT_MEANWHILE, UNDOING, Cause, State, advance
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
        fence(connection, tables, migration.name)
    turns = (before in UNDOING) is not (after in UNDOING)
    if turns and cause is Cause.REVERT:
        occurrences.close(connection, tables, migration.name, str(State.REVERTED))
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


def at_work(
    connection: Connection, tables: Tables, name: str, expiry: float, is_gone: Callable[[str], bool]
) -> str | None:
    """Who works on it, as people read it: one who has been heard of within `expiry` seconds and is not known to
    be gone. Nobody else moves it until the transaction ends."""
    connection.execute(locked(tables, name))
    t = tables.range
    heard_of = sa.select(t.c.owner).where(
        t.c.migration == name, t.c.owner.is_not(None), t.c.heartbeat >= ago(expiry)
    )
    owners = connection.scalars(heard_of.order_by(t.c.number)).all()
    return next((person(owner) for owner in owners if not is_gone(owner)), None)


def refuse_meanwhile(
    connection: Connection,
    tables: Tables,
    name: str,
    cause: Cause,
    expiry: float,
    is_gone: Callable[[str], bool],
) -> None:
    """Raises ClaimHeld when the word makes no sense while somebody works on it, and somebody does."""
    if (who := at_work(connection, tables, name, expiry, is_gone)) is None:
        return
    state = _state(connection, tables, name)
    if instead := NOT_MEANWHILE.get((state, cause)):
        doing = "reverted" if state in UNDOING else "run"
        raise ClaimHeld(
            f"{name} is being {doing} by {who}; `{cause}` makes no sense meanwhile.",
            instead.format(name=name),
        )


def _state(connection: Connection, tables: Tables, name: str) -> State:
    return State(connection.execute(locked(tables, name)).one().state)
