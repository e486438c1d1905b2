"""`op.require_data("name")`: a schema revision that waits for data."""

from typing import Any

from alembic.operations import MigrateOperation, Operations
from alembic.util import CommandError
from sqlalchemy import text

from datamigrate.database.gate import guard, judge
from datamigrate.database.ledger.reading import read_ledger
from datamigrate.faces.beside import beside


class GateClosed(CommandError):
    """The data of `migration` is not complete. Alembic's command line prints it without a traceback."""

    def __init__(self, migration: str, reason: str) -> None:
        super().__init__(
            f"This revision waits for the data migration {migration!r}: {reason}. Nothing of the revision was "
            f"applied. Run: datamigrate run {migration}"
        )
        self.migration = migration


@Operations.register_operation("require_data")
class RequireData(MigrateOperation):
    """Go on only when these data migrations are complete now."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names

    @classmethod
    def require_data(cls, operations: Operations, *names: str) -> Any:
        """Raise GateClosed unless the data of every migration named is complete on this connection.

        Call it first in `upgrade()`. An empty table is complete. With `--sql` it writes a statement that
        fails in the database.
        """
        return operations.invoke(cls(names))

    def reverse(self) -> MigrateOperation:
        """A downgrade waits for nothing."""
        return RequireData(())


@Operations.implementation_for(RequireData)
def _require_data(operations: Operations, operation: RequireData) -> None:
    context = operations.get_context()
    found = beside(context)
    if context.as_sql:
        for name in operation.names:
            sql = guard(found.library.named(name), name, context.dialect, found.tables.migration)
            context.impl.static_output(f"-- requires the data of {name}")
            context.impl._exec(text(sql.replace(":", "\\:")))
        return
    connection = operations.get_bind()
    view = read_ledger(connection, found.tables)
    for name in operation.names:
        verdict = judge(connection, found.library.named(name), view.migrations.get(name))
        if not verdict.is_open:
            raise GateClosed(name, verdict.reason)
