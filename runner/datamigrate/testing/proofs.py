"""What a data migration must stand: run twice, killed anywhere, among the application's writes, at its gate."""

from datamigrate.authoring.forms import FreeForm
from datamigrate.testing.crashing import CommitsOf, Killer, at_every_step, only_killed
from datamigrate.testing.rows import Columns, Snapshot, differences, unsteady
from datamigrate.testing.stage import Ran, Stage
from datamigrate.testing.telling import NotProven, not_proven, not_steady
from datamigrate.words.errors import DatamigrateError
from datamigrate.words.events import Publish

__tracebackhide__ = True  # a test that fails is shown at its author's line

CLAIMS = "datamigrate_migration (name, state"
"""Part of the statement with which a run begins to claim, the first thing that a crash can cut."""

UNDISTURBED = ("undisturbed", "resumed")


def done(stage: Stage, listen: Publish | None = None) -> Ran:
    """A run that ends well. Raises NotProven with the rows and the migration's own error."""
    ran = stage.run(listen=listen)
    if ran.error is not None:
        raise not_proven(
            f"{stage.name} does not get done. {_said(stage, ran.error)}",
            ran.error.hint,
            ran.changes,
            _mask(stage),
        ) from ran.error
    if ran.outcome != "done":
        raise NotProven(f"{stage.name} is {ran.outcome}: {ran.report.stopped}.")
    return ran


def is_idempotent(stage: Stage) -> None:
    """A second pass over a batch, and a second run over everything, find nothing to do."""
    stage.prepare()
    # a free form has no batches: it is its second run that tells
    rehearsal = None if isinstance(stage.script.form, FreeForm) else stage.rehearse()
    if rehearsal is not None and rehearsal.error is None and not rehearsal.is_steady:
        raise not_steady(rehearsal, _mask(stage))
    _changing(stage, done(stage))
    stage.reset()
    if again := done(stage).changes:
        raise not_proven(
            f"{stage.name} is not idempotent: run again after it was done, it changed {_rows(len(again))} again.",
            _select_what_is_left(stage),
            again,
            _mask(stage),
            ("done once", "done twice"),
        )


def is_resumable(stage: Stage, ignore: Columns = frozenset(), thorough: bool = False) -> int:
    """Killed anywhere and resumed, it ends as if undisturbed; how many deaths were tried.

    Two deaths within one transaction leave the same database behind. So it dies once in each in which it
    works, at the commit, when everything is done and nothing is kept; where `thorough`, at every statement.
    """
    stage.prepare()
    first, twin = stage.copied(), stage.copied()
    ran = _changing(stage, done(stage))
    but = ignore | unsteady(ran.after, done(twin).after) | _drawn(stage, ran)
    twin.drop()
    deaths = 0
    while _dies_and_resumes(stage, first, ran.after, deaths + 1, but, thorough):
        deaths += 1
    first.drop()
    return deaths


def has_converged(stage: Stage) -> None:
    """An undisturbed second run finds nothing that the first one left."""
    stage.reset()
    if left := done(stage).changes:
        raise not_proven(
            f"{stage.name} has not converged: it said that it was done, and {_rows(len(left))} that the "
            "application had written meanwhile were not.",
            _select_what_is_left(stage),
            left,
            _mask(stage),
            ("left behind", "done by a second run"),
        )


def _dies_and_resumes(
    stage: Stage, first: Stage, expected: Snapshot, at: int, but: Columns, thorough: bool
) -> bool:
    """Whether it lives long enough to be killed there. Raises NotProven when that shows in the end."""
    victim = first.copied()
    killer = Killer(CLAIMS if thorough else "", at)
    try:
        with at_every_step(
            victim.scratch.name,
            killer if thorough else CommitsOf([t.name for t in stage.tables.values()], killer),
        ):
            victim.work()
    except BaseException as error:
        if not only_killed(error):
            raise
    if killer.has_killed:
        _resumes(stage, expected, victim, killer, but)
    victim.drop()
    return killer.has_killed


def _resumes(stage: Stage, expected: Snapshot, victim: Stage, killer: Killer, but: Columns) -> None:
    where = f"killed at step {killer.at} ({' '.join(killer.steps[-1].split())[:80]}) and resumed"
    result, after = victim.work(), victim.snapshot()
    found = differences(expected, after, but)
    if result is not None and result.error is not None:
        raise not_proven(
            f"{stage.name} is not resumable: {where}, it failed. {_said(stage, result.error)}",
            result.error.hint,
            found,
            _mask(stage),
            UNDISTURBED,
        ) from result.error
    if found:
        raise not_proven(
            f"{stage.name} is not resumable: {where}, it ended with {_rows(len(found))} unlike an "
            "undisturbed run.",
            "What a batch does must depend on its rows alone: not on what an earlier batch has left in the "
            "memory of the process, and not on anything written on another connection, which is kept when "
            "the batch is rolled back. Columns that may differ are named by assert_resumable(ignore=...).",
            found,
            _mask(stage),
            UNDISTURBED,
        )


def _changing(stage: Stage, ran: Ran) -> Ran:
    """The run, which must have changed something for anything to be proven by it."""
    if not ran.changes:
        raise NotProven(
            f"Nothing is proven of {stage.name}: none of the rows was pending, so it changed nothing.\n\n"
            "What to change: insert rows that it has something to do with, before it runs."
        )
    return ran


def _drawn(stage: Stage, ran: Ran) -> Columns:
    """The keys of rows that it inserts and the database numbers: numbers drawn in a batch that was rolled
    back are not given again."""
    come = {difference.table for difference in ran.changes if difference.before is None}
    drawn = ((name, stage.tables[name].autoincrement_column) for name in come)
    return frozenset(f"{name}.{column.name}" for name, column in drawn if column is not None)


def _select_what_is_left(stage: Stage) -> str:
    if isinstance(stage.script.form, FreeForm) and stage.script.form.remaining is None:
        return (
            "Let migrate() do only rows that are still to do (a WHERE that a row no longer meets once it is done), "
            "and add `async def remaining(session)`, which counts them."
        )
    return "`pending` (or remaining()) must select every row that is to be done, and none that is done."


def _said(stage: Stage, error: DatamigrateError) -> str:
    return error.message.removeprefix(f"{stage.name}: ")


def _mask(stage: Stage) -> frozenset[str]:
    return stage.script.migration.options.mask


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count:,} rows"
