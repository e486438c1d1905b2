"""Verbs that do the work, or change its record: run, upgrade, tune, pause, resume, cancel, approve,
retry, reset, stamp."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from datamigrate.faces.cli.frame import Get, cli, duration, verb
from datamigrate.words.errors import UsageError
from datamigrate.words.exits import Exit

if TYPE_CHECKING:
    from datamigrate.faces.output import Output

NICE = click.FloatRange(0, 1, max_open=True)

MAX_TIME = click.option(
    "--max-time", callback=duration, metavar="DURATION", help="Stop cleanly after this long (exit 75)."
)
MAX_BATCHES = click.option(
    "--max-batches", type=click.IntRange(1), help="Stop cleanly after so many batches (exit 75)."
)
BATCH_SIZE = click.option(
    "--batch-size", type=click.IntRange(1), help="Rows per batch, instead of a time target."
)
WORKERS = click.option(
    "--workers",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="Work on so many ranges at once.",
)
NICENESS = click.option(
    "--nice",
    type=NICE,
    help="Rest for this share of all time between batches, e.g. 0.5; 0 never rests. [default: rests while others "
    "are at work in the database]",
)
ALLOW_SLOW = click.option(
    "--allow-slow", is_flag=True, help="Run even if every batch reads a large table for want of an index."
)
IGNORE_WINDOW = click.option("--ignore-window", is_flag=True, help="Work now, whatever windows say.")
NO_WAIT = click.option(
    "--no-wait", is_flag=True, help="Exit 5 when somebody else is running it, instead of waiting."
)
NO_THROTTLE = click.option(
    "--no-throttle", is_flag=True, help="Go on however the database is: for emergencies."
)
METRICS_PORT = click.option(
    "--metrics-port",
    type=click.IntRange(0, 65535),
    metavar="PORT",
    help="Serve metrics for Prometheus there.",
)


@cli.command()
@click.argument("names", nargs=-1)
@click.option("--tag", "tags", multiple=True, help="Only migrations with this tag, and what they depend on.")
@click.option("--dry-run", is_flag=True, help="Try it on samples, in transactions that are rolled back.")
@click.option(
    "--sample", type=click.IntRange(1), default=200, show_default=True, help="Dry run: rows per sample."
)
@click.option(
    "--rows", type=click.IntRange(0), default=5, show_default=True, help="Dry run: rows shown per sample."
)
@click.option(
    "--through",
    is_flag=True,
    help="Dry run: apply what blocked migrations wait for, try them there, and undo it all.",
)
@click.option(
    "--html",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    metavar="FILE",
    help="Dry run: also write a page for reviewers.",
)
@click.option("--count", is_flag=True, help="Dry run: count the pending rows exactly, however long it takes.")
@ALLOW_SLOW
@click.option(
    "--max-time",
    callback=duration,
    metavar="DURATION",
    help="Stop cleanly after this long (exit 75), e.g. 25m. Dry run: for each migration [5s].",
)
@MAX_BATCHES
@BATCH_SIZE
@WORKERS
@NICENESS
@click.option("--due", is_flag=True, help="Only what has a schedule and is due: for cron and CronJobs.")
@click.option("--until", metavar="TIME", help="Stop cleanly at this time of the day (exit 75), e.g. 06:00.")
@click.option("--wait-for-window", is_flag=True, help="Wait until a window opens, instead of exit 75.")
@IGNORE_WINDOW
@click.option("--keep-going", is_flag=True, help="After a failure go on with what does not depend on it.")
@NO_WAIT
@NO_THROTTLE
@METRICS_PORT
@verb
def run(output: Output, get: Get, /, names: tuple[str, ...], dry_run: bool, **options: Any) -> Exit:
    """Run what is pending, in batches, and verify it."""
    import anyio

    from datamigrate.faces.running import preview, run_and_report

    if not dry_run and (only := next((name for name in ("through", "html", "count") if options[name]), None)):
        raise UsageError(
            f"--{only} is for a dry run, and this would write.", "Add --dry-run, or leave it out."
        )
    step = preview if dry_run else run_and_report
    return anyio.run(step, output, get(), names, options)


@cli.command()
@click.argument("revision", default="heads")
@MAX_TIME
@MAX_BATCHES
@BATCH_SIZE
@ALLOW_SLOW
@IGNORE_WINDOW
@NO_WAIT
@NO_THROTTLE
@METRICS_PORT
@verb
def upgrade(output: Output, get: Get, /, revision: str, **options: Any) -> Exit:
    """Walk schema and data together: schema up to a gate, the data behind it, on to REVISION [heads]."""
    import anyio

    from datamigrate.faces.running import upgrade_and_report

    return anyio.run(upgrade_and_report, output, get(), revision, options)


def _operator_verb(name_of_verb: str, help_text: str, then: str = "", halts: bool = False) -> None:
    def command(output: Output, get: Get, name: str, reason: str | None, force: bool = False) -> None:
        import anyio

        from datamigrate.thought.lifecycle import Cause

        state = anyio.run(get().command, name, Cause(name_of_verb), reason, force)
        output.data({"name": name, "state": str(state)}, None)
        output.say(f"{name} is {state} now.{then.format(name=name)}")

    if halts:
        now = "Roll the batch under way back, within seconds, instead of letting it finish."
        command = click.option("--force", is_flag=True, help=now)(command)
    command = click.option("--reason", help="Why; kept in the history.")(verb(command))
    cli.command(name_of_verb, help=help_text)(click.argument("name")(command))


@cli.command()
@click.argument("name")
@BATCH_SIZE
@click.option("--target-time", callback=duration, metavar="DURATION", help="Of one batch's transaction.")
@click.option("--max-pause", callback=duration, metavar="DURATION", help="The longest rest between batches.")
@click.option("--nice", type=NICE, help="Rest for this share of all time; 0 never rests.")
@click.option("--workers", type=click.IntRange(1, 64), help="Of each run that works on it.")
@click.option("--clear", is_flag=True, help="First forget what was tuned before.")
@click.option("--reason", help="Why; kept in the history.")
@verb
def tune(output: Output, get: Get, name: str, reason: str | None, clear: bool, **pace: Any) -> None:
    """Set another pace: a run that goes on, on any host, takes it up with its next batch."""
    import anyio

    from datamigrate.thought.tuning import Tuning

    change = Tuning(**pace)
    if not change.facts() and not clear:
        raise UsageError("There is nothing to tune.", "Add --batch-size, --target-time, ... or --clear.")
    if change.batch_size and change.target_time is not None:
        raise UsageError("A batch has either so many rows or so much time.", "Leave one of them out.")
    if change.target_time == 0:
        raise UsageError("A batch cannot be done in no time.", "Say for example --target-time 200ms.")
    tuning = anyio.run(get().tune, name, change, reason, clear)
    output.data({"name": name, "tuning": tuning.facts()}, None)
    if tuning.facts():
        output.say(f"{name} is tuned to {tuning}. Whoever works on it takes that up with the next batch.")
    else:
        output.say(f"{name} is tuned no more.")


_GO_ON = " `datamigrate run {name}` goes on."

_operator_verb(
    "pause",
    "Let it rest: whoever works on it, on any host, leaves after the batch, and no run touches it.",
    " `datamigrate resume {name}` lets it go on.",
    halts=True,
)
_operator_verb("resume", "Let a paused migration go on where it stood, with the next run.", _GO_ON)
_operator_verb(
    "cancel",
    "Give it up: like pause, but for good. What it has done stays.",
    " What it has done stays. `datamigrate retry {name}` puts it back in line.",
    halts=True,
)
_operator_verb("approve", "Let a migration with hold=True begin.", " `datamigrate run {name}` begins it.")


@cli.command()
@click.argument("name")
@click.option("--quarantined", is_flag=True, help="Try just the rows in quarantine, now.")
@click.option("--reason", help="Why; kept in the history.")
@verb
def retry(output: Output, get: Get, name: str, quarantined: bool, reason: str | None) -> Exit:
    """Put a failed migration back in line; what it has done is kept."""
    import anyio

    from datamigrate.faces.quarantining import retry_quarantined
    from datamigrate.thought.lifecycle import Cause

    if not quarantined:
        state = anyio.run(get().command, name, Cause.RETRY, reason)
        output.data({"name": name, "state": str(state)}, None)
        output.say(f"{name} is {state} now.")
        return Exit.OK
    tried = anyio.run(retry_quarantined, get(), name, reason)
    output.data({"name": name} | vars(tried), None)
    output.say(f"{name}: {tried}." + (f" `datamigrate quarantine list {name}`" if tried.left else ""))
    return Exit.QUARANTINED if tried.left else Exit.OK


_operator_verb(
    "reset",
    "Forget its progress: whoever works on it leaves, and the next run walks it from the first row.",
    " `datamigrate run {name}` walks it from the first row.",
)
_operator_verb("stamp", "Record it as done without running it, or accept the edited text of a done one.")
