"""What of Alembic's history is applied, and which revisions a script means."""

from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.script.revision import ResolutionError, RevisionError
from alembic.util import CommandError
from sqlalchemy.engine import Connection

from datamigrate.database.schema.environment import Environment
from datamigrate.database.schema.history import History
from datamigrate.database.unseen import refuse_unseen
from datamigrate.thought.planner import Revisions, Schema
from datamigrate.words.errors import GraphError, RevisionUnknown
from datamigrate.words.migration import Migration

VERSION_TABLE = "alembic_version"


def read_heads(connection: Connection, environment: Environment | None) -> tuple[str, ...]:
    """The revisions that the database is at; none when it has no version table. Raises NotAllowed when it has one
    that the role cannot see."""
    options = (
        {}
        if environment is None
        else {
            "version_table": environment.version_table,
            "version_table_schema": environment.version_table_schema,
        }
    )
    heads = tuple(MigrationContext.configure(connection, opts=options).get_current_heads())
    if not heads:
        refuse_unseen(
            connection, options.get("version_table") or VERSION_TABLE, options.get("version_table_schema")
        )
    return heads


def schema_at(history: History, heads: tuple[str, ...]) -> Schema:
    """The schema with these revisions and all their ancestors applied.

    Raises RevisionUnknown when the database is at a revision that these files do not have.
    """
    order = {r.revision: i for i, r in enumerate(reversed(list(history.script.walk_revisions())))}
    if unknown := [head for head in heads if head not in order]:
        raise RevisionUnknown(
            f"The database is at revision {', '.join(unknown)}, which is not among the files in "
            f"{history.script.versions}.",
            "Check out the code that the database was upgraded with, or see `alembic history`.",
        )
    applied = history.script.iterate_revisions(heads, "base", implicit_base=True) if heads else ()
    return Schema(heads, frozenset(r.revision for r in applied), order)


def resolve(script: ScriptDirectory, migration: Migration) -> Revisions:
    """The script's `requires` and `until` as full revision ids: partial ids, labels and `label@head`.

    Raises GraphError for an unknown or ambiguous one, with the script's file.
    """
    return Revisions(
        tuple(r for text in migration.requires for r in _resolved(script, migration, "requires", text)),
        tuple(r for text in migration.until for r in _resolved(script, migration, "until", text)),
    )


def _resolved(script: ScriptDirectory, migration: Migration, attribute: str, text: str) -> tuple[str, ...]:
    try:
        found = [r for r in script.get_revisions(text) if r is not None]
    except (CommandError, ResolutionError, RevisionError) as error:
        # Alembic says "can't locate" of an ambiguous id too; what it wraps tells the candidates
        said = error.__cause__ if isinstance(error.__cause__, ResolutionError) else error
        raise GraphError(
            f"{migration.file}: {attribute} names {text!r}, which Alembic does not resolve: {said}",
            "`alembic history` lists the revisions there are.",
        ) from None
    return tuple(r.revision for r in found)
