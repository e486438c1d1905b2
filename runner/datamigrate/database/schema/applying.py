"""A revision applied on a connection of ours, where it is only tried."""

import contextlib
from typing import Any, NoReturn

from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext, RevisionStep
from alembic.util import CommandError
from sqlalchemy.engine import Connection

from datamigrate.database.schema.environment import Environment
from datamigrate.database.schema.history import History
from datamigrate.database.schema.quiet import undisturbed

GATES_MET = "datamigrate_gates_met"
"""Option of a MigrationContext: a list that takes the names a gate waits for; the gate itself lets pass."""


def apply_on(
    connection: Connection, history: History, environment: Environment | None, revision: str, met: list[str]
) -> None:
    """Apply what leads to one revision, on this connection and no other. Names at gates are put into `met`.

    The project's env.py is not run: it may connect by itself, and what it then did would stay. What it
    sets on its own connection, a role or a search path, is therefore missing here.
    Raises whatever the revision raises; CommandError where it wants to leave the transaction it is in.
    """

    def steps(heads: Any, _context: MigrationContext) -> list[RevisionStep]:
        return list(history.script._upgrade_revs(revision, heads))

    with (
        contextlib.chdir(history.root),
        undisturbed(),
        EnvironmentContext(history.config, history.script, fn=steps, destination_rev=revision) as alone,
    ):
        options: dict[str, Any] = {GATES_MET: met}
        if environment is not None:
            options["version_table"] = environment.version_table
            options["version_table_schema"] = environment.version_table_schema
        alone.configure(connection=connection, transaction_per_migration=True, **options)
        if connection.in_transaction():
            # Alembic would commit here
            setattr(alone.get_context(), "autocommit_block", _refuse_to_commit)  # noqa: B010 - it is a method
        with alone.begin_transaction():
            alone.run_migrations()


def _refuse_to_commit() -> NoReturn:
    raise CommandError("it leaves its transaction (autocommit_block), so that it could not be rolled back")
