"""Does the schema revision that must wait for a data migration wait for it?"""

from alembic.util import CommandError

from datamigrate.database.schema.upgrade import all_revisions
from datamigrate.faces.gates import GateClosed
from datamigrate.testing.proofs import done
from datamigrate.testing.stage import Stage
from datamigrate.testing.telling import NotProven, not_proven
from datamigrate.thought.interleaving import Revision
from datamigrate.words.errors import DatamigrateError

__tracebackhide__ = True  # a test that fails is shown at its author's line


def gate_holds(stage: Stage, revision: str | None) -> None:
    """Rows are pending: the gated revision is refused. They are done: it is applied."""
    gated = _gated(stage, revision)
    if gated is None:
        raise NotProven(
            f"No revision waits for {stage.name}.\n\nWhat to change: in the revision that takes the old form away, "
            f'let upgrade() begin with op.require_data("{stage.name}").'
        )
    climb = stage.grounds.climb
    for parent in gated.parents:
        _climbed(stage, parent)
    if not stage.pending():
        raise NotProven(
            f"Nothing is proven of the gate at {gated.id}: no row is pending before it.\n\n"
            "What to change: insert rows that `pending` selects."
        )
    try:
        climb(stage.scratch, gated.id, but=stage.name)
    except GateClosed as closed:
        if closed.migration != stage.name:
            raise NotProven(f"The gate at {gated.id} cannot be reached: {closed}") from closed
    else:
        raise NotProven(
            f"The gate does not hold: revision {gated.id} was applied while {stage.name} had rows pending.\n\n"
            f'What to change: let its upgrade() begin with op.require_data("{stage.name}").'
        )
    done(stage)
    _climbed(stage, gated.id)


def _gated(stage: Stage, wanted: str | None) -> Revision | None:
    """The revision that is wanted, or else the first whose gate names the migration."""
    revisions = all_revisions(stage.project.history)
    if wanted is not None:
        return next((r for r in revisions if r.id.startswith(wanted)), None)
    return next((r for r in revisions if stage.name in r.gates), None)


def _climbed(stage: Stage, revision: str) -> None:
    try:
        stage.grounds.climb(stage.scratch, revision, but=stage.name)
    except (CommandError, DatamigrateError) as error:
        raise not_proven(
            f"Revision {revision} cannot be applied with these rows: {error}",
            "Give rows that the revisions up to there accept.",
        ) from error
