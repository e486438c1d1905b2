"""`op.require_data("name")`: a schema revision that waits for data."""

from typing import Any

from alembic.operations import MigrateOperation, Operations
from alembic.util import CommandError

from datamigrate.authoring.script import Library
from datamigrate.database.ledger.quarantine import keys_aside
from datamigrate.database.ledger.reading import read_ledger
from datamigrate.database.ledger.records import MigrationRecord
from datamigrate.database.schema.applying import GATES_MET
from datamigrate.database.schema.gate import guard, judge
from datamigrate.faces.beside import beside, in_alembics_words
from datamigrate.words.errors import DatamigrateError


class GateClosed(CommandError):
    """The data of `migration` is not complete; with `quarantined` no run would complete it. Alembic's command
    line prints it without a traceback."""

    def __init__(self, migration: str, reason: str, advice: str = "", quarantined: bool = False) -> None:
        run = (
            f"Run: datamigrate run {migration} and upgrade again, or `datamigrate upgrade`, which does both."
        )
        super().__init__(
            f"This revision waits for the data migration {migration!r}: {reason}. Nothing of the revision was "
            f"applied. {advice or run}"
        )
        self.migration = migration
        self.quarantined = quarantined


@Operations.register_operation("require_data")
class RequireData(MigrateOperation):
    """Go on only when these data migrations are complete now."""

    def __init__(self, names: tuple[str, ...], allow_quarantined: bool = False) -> None:
        self.names = names
        self.allow_quarantined = allow_quarantined

    @classmethod
    def require_data(cls, operations: Operations, *names: str, allow_quarantined: bool = False) -> Any:
        """Raise GateClosed unless the data of every migration named is complete on this connection.

        Call it first in `upgrade()`. An empty table is complete. With `allow_quarantined` so is one whose
        pending rows are all in quarantine. With `--sql` it writes a statement that fails in the database.
        """
        return operations.invoke(cls(names, allow_quarantined))

    def reverse(self) -> MigrateOperation:
        """A downgrade waits for nothing."""
        return RequireData(())


@Operations.implementation_for(RequireData)
def _require_data(operations: Operations, operation: RequireData) -> None:
    met: list[str] | None = operations.get_context().opts.get(GATES_MET)
    if met is not None:
        met += operation.names
        return
    with in_alembics_words():
        _look(operations, operation.names, operation.allow_quarantined)


def _look(operations: Operations, names: tuple[str, ...], allow_quarantined: bool) -> None:
    context = operations.get_context()
    found = beside(context)
    if context.as_sql:
        for name in names:
            quarantine = found.tables.quarantine if allow_quarantined else None
            sql = guard(found.library.named(name), name, context.dialect, found.tables.migration, quarantine)
            context.impl.static_output(f"-- requires the data of {name}")
            context.impl.static_output(sql + context.impl.command_terminator)
        return
    connection = operations.get_bind()
    view = read_ledger(connection, found.tables)
    for name in names:
        script, record = found.library.named(name), view.migrations.get(name)
        if script is None and (problem := _broken(found.library, name, record)):
            reason = "its script cannot be used" if record else "no script that can be used has this name"
            raise GateClosed(
                name, f"{reason} ({problem.message.rstrip('.')})", f"{problem.hint} Mend the script.".strip()
            )
        aside = keys_aside(connection, found.tables, name) if record and record.quarantined else ()
        verdict = judge(connection, script, record, aside, allow_quarantined)
        if not verdict.is_open:
            raise GateClosed(name, verdict.reason, verdict.advice, verdict.quarantined)


def _broken(library: Library, name: str, record: MigrationRecord | None) -> DatamigrateError | None:
    """What is wrong with the script of this name, as far as that can be known of one that was not loaded."""
    if record is None:
        return library.problems[0] if library.problems else None
    return next((p for p in library.problems if record.file in p.message or repr(name) in p.message), None)
