"""Moving the schema with Alembic's own commands, a revision at a time where data stands between them."""

import contextlib
import io
from pathlib import Path

from alembic import command
from alembic.script import Script
from alembic.script.revision import RevisionError
from alembic.util import CommandError
from anyio import to_thread

from datamigrate.database.schema.history import History
from datamigrate.thought.gates import gates_in
from datamigrate.thought.interleaving import Revision
from datamigrate.words.errors import SchemaError, UsageError


def revisions_to(history: History, heads: tuple[str, ...], target: str) -> tuple[Revision, ...]:
    """What has to be applied to get from `heads` to `target`, parents first. Relative targets such as `+1`
    and `heads` mean what they mean to Alembic. Raises UsageError for one that it does not resolve."""
    try:
        found = list(history.script.iterate_revisions(target, heads or "base", implicit_base=True))
    except (CommandError, RevisionError) as error:
        raise UsageError(
            f"Alembic does not find a way to {target!r}: {error}", "See `alembic history`."
        ) from None
    return tuple(_revision(history, script) for script in reversed(found))


def all_revisions(history: History) -> tuple[Revision, ...]:
    """The whole history, parents first."""
    return tuple(_revision(history, script) for script in reversed(list(history.script.walk_revisions())))


async def upgrade_schema(history: History, revision: str) -> None:
    """`alembic upgrade` to one revision. Raises what its gate raises; SchemaError for anything else."""
    await to_thread.run_sync(_upgrade, history, revision)


def _upgrade(history: History, revision: str) -> None:
    try:
        with contextlib.chdir(history.root), contextlib.redirect_stdout(io.StringIO()):
            command.upgrade(history.config, revision)
    except CommandError:
        raise
    except Exception as error:
        said = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
        raise SchemaError(
            f"Alembic cannot apply revision {revision}: {type(error).__name__}: {said}",
            "Mend the revision, then `datamigrate upgrade` goes on.",
        ) from error


def _revision(history: History, script: Script) -> Revision:
    parents = [*_several(script.down_revision), *_dependencies(history, script)]
    gates = gates_in(Path(script.path).read_bytes())
    return Revision(
        script.revision, tuple(parents), tuple(name for gate in gates for name in gate.names), script.doc
    )


def _dependencies(history: History, script: Script) -> list[str]:
    # depends_on may hold labels and partial ids
    named = [history.script.get_revision(name) for name in _several(script.dependencies)]
    return [revision.revision for revision in named if revision is not None]


def _several(value: str | list[str] | tuple[str, ...] | None) -> tuple[str, ...]:
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else tuple(value)
