"""Verbs that undo: revert, prune-undo."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from datamigrate.faces.cli.frame import Get, cli, duration, verb
from datamigrate.faces.cli.working import BATCH_SIZE, MAX_BATCHES, MAX_TIME
from datamigrate.words.errors import UsageError
from datamigrate.words.exits import Exit

if TYPE_CHECKING:
    from datamigrate.faces.output import Output


@cli.command()
@click.argument("name")
@click.option("--dry-run", is_flag=True, help="Try it on the latest rows, and roll that back.")
@click.option(
    "--sample", type=click.IntRange(1), default=200, show_default=True, help="Dry run: rows to try it on."
)
@click.option("--rows", type=click.IntRange(0), default=5, show_default=True, help="Dry run: rows shown.")
@MAX_TIME
@MAX_BATCHES
@BATCH_SIZE
@click.option("--reason", help="Why; kept in the history.")
@click.option("--force", is_flag=True, help="Even though something done stands on it; needs --reason.")
@verb
def revert(
    output: Output,
    get: Get,
    name: str,
    dry_run: bool,
    sample: int,
    rows: int,
    max_time: float | None,
    max_batches: int | None,
    batch_size: int | None,
    reason: str | None,
    force: bool,
) -> Exit:
    """Undo what it has done: from its undo log, or as its script's own `revert` says."""
    import anyio

    from datamigrate.doing.sampling import RehearsalLimits
    from datamigrate.doing.settings import Budget
    from datamigrate.faces.reverting import preview_revert, revert_and_report
    from datamigrate.faces.running import as_called
    from datamigrate.faces.undoing import RevertOptions

    if force and not reason:
        raise UsageError(
            "--force goes over what stands on it, and the history should know why.", "Add --reason."
        )
    if dry_run:
        limits = RehearsalLimits(rows=sample, shown=rows, batch_size=batch_size)
        return anyio.run(preview_revert, output, get(), name, limits)
    options = RevertOptions(Budget(max_time, max_batches), batch_size, reason, force, as_called())
    return anyio.run(revert_and_report, output, get(), name, options)


@cli.command("prune-undo")
@click.argument("name", required=False)
@click.option("--all", "everything", is_flag=True, help="Of every migration.")
@click.option("--older-than", callback=duration, metavar="DURATION", help="Only what is older, e.g. 30d.")
@click.option("--reason", help="Why; kept in the history.")
@verb
def prune_undo(
    output: Output, get: Get, name: str | None, everything: bool, older_than: float | None, reason: str | None
) -> None:
    """Throw an undo log away that is no longer wanted: what it would undo then stays."""
    import anyio

    from datamigrate.faces.running import as_called
    from datamigrate.faces.undoing import prune_undo as prune

    if bool(name) is everything:
        raise UsageError("Whose undo log?", "Name a migration, or say --all.")
    pruned = anyio.run(prune, get(), name, older_than, reason, as_called())
    output.data({"pruned": [{"name": one.name, "rows": one.rows} for one in pruned]}, None)
    for one in pruned:
        output.say(f"{one.name}: {one.rows:,} entries of its undo log are gone.")
    if not pruned:
        output.say("There is no undo log.")
