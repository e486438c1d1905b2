"""Creating the ledger, and bringing an older one up to date in place."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import sqlalchemy as sa
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from sqlalchemy.engine import Connection

import datamigrate
from datamigrate.database.ledger.clock import now
from datamigrate.database.ledger.tables import VERSION, Tables, since
from datamigrate.database.unseen import refuse_unseen
from datamigrate.words.errors import LedgerTooNew

Upgrade = Callable[[Operations, Tables], None]


def _add_what_is_new(version: int, operations: Operations, tables: Tables) -> None:
    connection = operations.get_bind()
    for table in tables.metadata.sorted_tables:
        if since(table) == version:
            table.create(connection)
        elif since(table) < version:
            for column in (column for column in table.c if since(column) == version):
                operations.add_column(table.name, _alone(column), schema=table.schema)


def _alone(column: sa.Column[Any]) -> sa.Column[Any]:
    default = column.server_default
    return sa.Column(
        column.name,
        column.type,
        nullable=column.nullable,
        server_default=sa.DefaultClause(default.arg) if isinstance(default, sa.DefaultClause) else None,
        comment=column.comment,
    )


UPGRADES: Mapping[int, Upgrade] = {step: partial(_add_what_is_new, step) for step in range(2, VERSION + 1)}
"""The step that leads to each version from the one before; the first is made whole."""

# any number that no other program is likely to use, for a lock that ends with the transaction
_LOCK = 7_405_221_946


def ledger_version(connection: Connection, tables: Tables) -> int | None:
    """The version of the ledger in this database, None when there is none.

    Raises LedgerTooNew when a newer program has been here, NotAllowed when the role cannot see the ledger.
    """
    if not sa.inspect(connection).has_table(tables.ledger.name, schema=tables.ledger.schema):
        refuse_unseen(connection, tables.ledger.name, tables.ledger.schema)
        return None
    found = connection.execute(sa.select(tables.ledger.c.version, tables.ledger.c.program)).one_or_none()
    if found is None:
        return None
    if found.version > VERSION:
        raise LedgerTooNew(
            f"The ledger has version {found.version}, made by datamigrate {found.program}; "
            f"this is datamigrate {datamigrate.__version__}, which knows version {VERSION}.",
            "Upgrade datamigrate on this host. Nothing was changed.",
        )
    return int(found.version)


def ensure_ledger(
    connection: Connection, tables: Tables, upgrades: Mapping[int, Upgrade] = UPGRADES, target: int = VERSION
) -> None:
    """Create the ledger, or bring it to `target` step by step, in the caller's transaction."""
    if ledger_version(connection, tables) == target:
        return
    _one_at_a_time(connection)
    version = ledger_version(connection, tables)
    if version == target:
        return
    if version is None:
        if tables.metadata.schema:
            connection.execute(sa.schema.CreateSchema(tables.metadata.schema, if_not_exists=True))
        tables.metadata.create_all(connection)
        connection.execute(
            sa.insert(tables.ledger).values(
                id=1, version=target, program=datamigrate.__version__, upgraded_at=now()
            )
        )
        return
    operations = Operations(MigrationContext.configure(connection))
    for step in range(version + 1, target + 1):
        upgrades[step](operations, tables)
    connection.execute(
        sa.update(tables.ledger).values(version=target, program=datamigrate.__version__, upgraded_at=now())
    )


def _one_at_a_time(connection: Connection) -> None:
    # on SQLite the transaction holds the only write lock already
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
