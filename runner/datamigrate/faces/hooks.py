"""`**datamigrate.alembic.hooks(...)` for env.py: Alembic's own callbacks, beside whatever is there."""

import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from alembic.autogenerate import renderers
from alembic.operations import MigrateOperation, MigrationScript, ops
from alembic.runtime.migration import MigrationContext, MigrationInfo
from alembic.script import ScriptDirectory
from alembic.script.revision import RevisionError
from alembic.util import CommandError
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from datamigrate.authoring.forms import ComputeRows, RowsForm
from datamigrate.authoring.script import Library, Script
from datamigrate.database.examining import columns_used
from datamigrate.database.ledger.reading import read_ledger
from datamigrate.database.ledger.steps import enrol, unsettle
from datamigrate.database.ledger.tables import PREFIX
from datamigrate.database.ledger.upgrading import ensure_ledger
from datamigrate.doing.owner import this_process
from datamigrate.faces.beside import Beside, beside, in_alembics_words

Hook = Callable[..., Any]


def hooks(
    *,
    on_version_apply: Hook | Iterable[Hook] | None = None,
    include_name: Hook | None = None,
    process_revision_directives: Hook | None = None,
    **others: Any,
) -> dict[str, Any]:
    """Keyword arguments for `context.configure`; what env.py has of its own is passed in here and kept.

    Upgrading past a revision that a data migration requires notes the migration as pending, downgrading
    makes it pending again; both in the revision's transaction. Autogenerate leaves our tables alone, and
    where it drops a column or sets one NOT NULL, it writes a hint at `op.require_data`.
    """
    own = (
        ()
        if on_version_apply is None
        else (on_version_apply,)
        if callable(on_version_apply)
        else tuple(on_version_apply)
    )
    return {
        **others,
        "on_version_apply": (*own, note_version),
        "include_name": _without_our_tables(include_name),
        "process_revision_directives": _with_hints(process_revision_directives),
    }


def are_in_place(context: MigrationContext) -> bool:
    """Whether this env.py uses the hooks."""
    return note_version in context.on_version_apply_callbacks


def note_version(*, ctx: MigrationContext, step: MigrationInfo, **_: Any) -> None:
    """Note in the ledger what a step up or down means for the data migrations that require it."""
    connection, script = ctx.connection, ctx.script
    if ctx.as_sql or connection is None or script is None or (step.is_stamp and not step.is_upgrade):
        return
    with in_alembics_words():
        if step.is_upgrade:
            _note_if_we_may(connection, beside(ctx), script, _made_possible(script, step))
        else:
            _note_downgrade(connection, beside(ctx), script, set(step.up_revision_ids))


def _made_possible(script: ScriptDirectory, step: MigrationInfo) -> set[str]:
    if not step.is_stamp:
        return set(step.up_revision_ids)
    # a stamp names the newest only
    below = script.iterate_revisions(step.up_revision_ids, "base", implicit_base=True)
    return {revision.revision for revision in below}


def _note_if_we_may(connection: Connection, found: Beside, script: ScriptDirectory, added: set[str]) -> None:
    # the note is a convenience: `datamigrate run` finds the migration without it
    try:
        with connection.begin_nested():
            _note_upgrade(connection, found, script, added)
    except DBAPIError as error:
        said = str(error.orig).strip().partition("\n")[0]
        warnings.warn(
            f"datamigrate could not note in its ledger what has become possible: {said}", stacklevel=2
        )


def _note_upgrade(connection: Connection, found: Beside, script: ScriptDirectory, added: set[str]) -> None:
    concerned = [s.migration for s in found.library.scripts if _touch(script, s.migration.requires, added)]
    if concerned:
        ensure_ledger(connection, found.tables)
    for migration in concerned:
        enrol(connection, found.tables, migration)


def _note_downgrade(connection: Connection, found: Beside, script: ScriptDirectory, taken: set[str]) -> None:
    requires = {name: r.requires for name, r in read_ledger(connection, found.tables).migrations.items()}
    requires |= {s.name: s.migration.requires for s in found.library.scripts if s.name in requires}
    if requires:
        ensure_ledger(connection, found.tables)
    past = f"downgraded past {', '.join(sorted(taken))}"
    for name in (n for n, texts in requires.items() if _touch(script, texts, taken)):
        unsettle(connection, found.tables, this_process(), name, past)


class Hint(MigrateOperation):
    """A comment in a generated revision."""

    def __init__(self, lines: Sequence[str]) -> None:
        self.lines = lines

    def reverse(self) -> MigrateOperation:
        """Nothing to say on the way back."""
        return Hint(())


@renderers.dispatch_for(Hint)
def _render_hint(_context: Any, hint: Hint) -> list[str]:
    return [f"# {line}" for line in hint.lines]


def _touch(script: ScriptDirectory, texts: Iterable[str], revisions: set[str]) -> bool:
    """Whether any of these names a migration may give means one of the revisions."""
    try:
        found = [revision for text in texts for revision in script.get_revisions(text)]
    except (CommandError, RevisionError):
        # a script that names no known revision is for `datamigrate check` to tell, not to stop an upgrade
        return False
    return any(revision is not None and revision.revision in revisions for revision in found)


def _without_our_tables(own: Hook | None) -> Hook:
    def include_name(name: str | None, type_: str, parent_names: Any) -> bool:
        if type_ == "table" and name is not None and name.startswith(PREFIX):
            return False
        return True if own is None else bool(own(name, type_, parent_names))

    return include_name


def _with_hints(own: Hook | None) -> Hook:
    def process(context: MigrationContext, revision: Any, directives: list[MigrationScript]) -> None:
        if own is not None:
            own(context, revision, directives)
        for directive in directives:
            for upgrade in directive.upgrade_ops_list:
                library = beside(context).library
                hints = [line for change in _contracting(upgrade.ops) for line in _hint(library, *change)]
                if hints:
                    upgrade.ops.insert(0, Hint(list(dict.fromkeys(hints))))

    return process


def _contracting(operations: Iterable[MigrateOperation]) -> Iterable[tuple[str, str, str]]:
    """Table, column and what is done to it, for each change that takes something away."""
    for operation in operations:
        if isinstance(operation, ops.ModifyTableOps):
            yield from _contracting(operation.ops)
        elif isinstance(operation, ops.DropColumnOp):
            yield operation.table_name, operation.column_name, "dropped"
        elif isinstance(operation, ops.AlterColumnOp) and operation.modify_nullable is False:
            yield operation.table_name, operation.column_name, "set NOT NULL"


def _hint(library: Library, table: str, column: str, what: str) -> list[str]:
    names = [s.name for s in library.scripts if _touches(s, table, column, what == "dropped")]
    wanted = ", ".join(f'"{name}"' for name in names) or '"name_of_the_data_migration"'
    return [
        f"{table}.{column} is {what}: does a data migration have to be complete before that? Then:",
        f"op.require_data({wanted})",
    ]


def _touches(script: Script, table: str, column: str, reads: bool) -> bool:
    form = script.form
    if not isinstance(form, RowsForm) or form.table.name != table:
        return False
    declared = {c.name for c in form.table.c}
    if not reads:
        return column in form.written or (not form.written and column in declared)
    used = declared if not isinstance(form, ComputeRows) and not form.written else columns_used(form)
    return column in used and column not in form.written
