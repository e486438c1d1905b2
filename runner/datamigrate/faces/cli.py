"""The command line. Data goes to stdout, everything else to stderr.

What a verb needs is imported when it is called, so that `--help` does not wait for SQLAlchemy.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import datamigrate
from datamigrate.words.duration import parse_duration
from datamigrate.words.errors import DatamigrateError, UsageError
from datamigrate.words.exits import Exit

if TYPE_CHECKING:
    from datamigrate.faces.app import Application
    from datamigrate.faces.output import Output

EXIT_CODES = """\b
Exit codes:
  0 fine, or nothing to do      1 failed                2 usage
  3 pending or drift            4 blocked by a schema revision
  5 somebody else runs it       6 done, with quarantined rows
  75 stopped cleanly: run again to go on                130 Ctrl-C twice
"""


@dataclass(frozen=True)
class Globals:
    """The global options; they may stand before or after the verb."""

    config: str | None = None
    section: str | None = None
    x: tuple[str, ...] = ()
    url: str | None = None
    quiet: bool = False
    verbose: bool = False
    as_json: bool = False
    color: str | None = None
    log_format: str | None = None

    def over(self, outer: Globals) -> Globals:
        """These, and the outer ones where these say nothing."""
        return Globals(**{name: value or getattr(outer, name) for name, value in vars(self).items()})


_GLOBAL_OPTIONS = (
    click.option("-c", "config", metavar="FILE", help="Alembic's configuration file."),
    click.option("-n", "section", metavar="NAME", help="Section of alembic.ini [default: alembic]."),
    click.option("-x", "x", multiple=True, metavar="ARG", help="Argument for env.py, as in alembic -x."),
    click.option("--url", metavar="URL", help="Database URL, sync or async."),
    click.option("-q", "quiet", is_flag=True, help="No progress."),
    click.option("-v", "verbose", is_flag=True, help="Show tracebacks."),
    click.option("--json", "as_json", is_flag=True, help="Data as JSON on stdout."),
    click.option("--color", type=click.Choice(["auto", "always", "never"]), help="[default: auto]"),
    click.option("--log-format", type=click.Choice(["text", "json"]), help="Progress lines [default: text]."),
)


def _with_globals(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(_GLOBAL_OPTIONS):
        command = option(command)
    return command


def _verb(function: Callable[..., Exit | None]) -> Callable[..., None]:
    """Give the verb an application and an output, and turn what it raises into words and an exit code."""

    @_with_globals
    @click.pass_context
    @wraps(function)
    def call(context: click.Context, /, **options: Any) -> None:
        names = Globals.__dataclass_fields__
        mine = Globals(**{name: options.pop(name) for name in names})
        settings = mine.over(context.obj or Globals())
        from datamigrate.faces.output import output_for

        output = output_for(
            settings.as_json, settings.quiet, settings.color, settings.log_format, settings.verbose
        )
        try:
            code = function(output, lambda: _application(settings), **options) or Exit.OK
        except DatamigrateError as error:
            output.error(error)
            code = error.exit
        except KeyboardInterrupt:
            code = Exit.INTERRUPTED
        except Exception as error:
            output.surprise(error)
            code = Exit.FAILED
        context.exit(int(code))

    return call


def _application(settings: Globals) -> Application:
    from datamigrate.database.revisions import AlembicOptions
    from datamigrate.faces.app import Application
    from datamigrate.faces.project import Call, find_project

    alembic = AlembicOptions(
        Path(settings.config) if settings.config else None, settings.section or "alembic", settings.x
    )
    return Application(find_project(Call(Path.cwd(), alembic, settings.url)))


def _duration(_context: click.Context, _parameter: click.Parameter, value: str | None) -> float | None:
    try:
        return None if value is None else parse_duration(value)
    except UsageError as error:
        raise click.BadParameter(f"{error.message} {error.hint}") from None


Get = Callable[[], "Application"]


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}, epilog=EXIT_CODES
)
@click.version_option(datamigrate.__version__, prog_name="datamigrate")
@_with_globals
@click.pass_context
def cli(context: click.Context, /, **options: Any) -> None:
    """Run data migrations beside Alembic: in batches, resumable, verified.

    \b
    alembic upgrade head && datamigrate run
    """
    context.obj = Globals(**options)


@cli.command()
@_verb
def init(output: Output, get: Get) -> None:
    """Write [tool.datamigrate] and datamigrations/ into a project that has Alembic."""
    from datamigrate.faces.setting_up import set_up

    made = set_up(get().project)
    output.data({"written": [str(p) for p in made.written], "kept": [str(p) for p in made.kept]}, None)
    for path in made.written:
        output.say(f"wrote {path}")
    for path in made.kept:
        output.say(f"kept {path}")
    output.say("In env.py, so that schema can wait for data: import datamigrate.alembic, and")
    output.say("    context.configure(..., **datamigrate.alembic.hooks())")
    output.say('Next: `datamigrate new -m "populate full name"`, edit it, then `datamigrate run`.')


@cli.command()
@click.option("-m", "--message", required=True, help="What the script does, in a few words.")
@click.option("--requires", multiple=True, metavar="REV", help="Alembic revision [default: the heads].")
@click.option(
    "--kind", type=click.Choice(["update", "compute", "batch", "delete", "free"]), default="update",
    show_default=True,
)  # fmt: skip
@_verb
def new(output: Output, get: Get, message: str, requires: tuple[str, ...], kind: str) -> None:
    """Write a new data script."""
    path = get().new(message, requires, kind)
    output.data({"file": str(path)}, str(path))


@cli.command("list")
@_verb
def list_(output: Output, get: Get) -> Exit:
    """List the scripts."""
    from datamigrate.faces.render import list_table

    library = get().project.library()
    facts = {
        "migrations": [m.facts() for m in library.migrations],
        "problems": [p.facts() for p in library.problems],
    }
    output.data(facts, list_table(library))
    return output.problems(library.problems)


@cli.command()
@click.argument("name")
@_verb
def show(output: Output, get: Get, name: str) -> None:
    """Show one migration: script, ranges, how it came to its state."""
    import anyio

    from datamigrate.faces.render import detail_facts, show_detail

    detail = anyio.run(get().detail, name)
    output.data(detail_facts(detail), None)
    if not output.as_json:
        show_detail(output.console, detail)


@cli.command()
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True)
@_verb
def history(output: Output, get: Get, limit: int) -> None:
    """List past runs, newest first."""
    import anyio

    from datamigrate.database.ledger.records import as_facts
    from datamigrate.faces.render import history_table

    runs = anyio.run(get().runs, limit)
    output.data({"runs": [as_facts(run) for run in runs]}, history_table(runs))


@cli.command()
@click.argument("names", nargs=-1)
@click.option("--tag", "tags", multiple=True)
@click.option("--exit-code", is_flag=True, help="Exit 3 when something is pending, 4 when blocked.")
@click.option("--upgrade", "to_heads", is_flag=True, help="What `datamigrate upgrade` would do instead.")
@click.option("--to", "target", metavar="REV", help="The same, as far as this revision.")
@_verb
def plan(
    output: Output,
    get: Get,
    names: tuple[str, ...],
    tags: tuple[str, ...],
    exit_code: bool,
    to_heads: bool,
    target: str | None,
) -> Exit:
    """Say what `run` would do, in order, and why not. Writes nothing."""
    import anyio

    from datamigrate.faces.render import plan_facts, plan_summary, plan_table

    if to_heads or target:
        return _plan_journey(output, get(), target or "heads", exit_code)
    situation = anyio.run(get().situation, names, tags)
    output.complain(situation)
    output.data(plan_facts(situation), plan_table(situation.plan))
    output.say(plan_summary(situation.plan))
    return output.problems(situation.problems) or (_standing(situation.plan) if exit_code else Exit.OK)


@cli.command()
@click.argument("name", required=False)
@click.option("--check", is_flag=True, help="Exit 3 when something is pending, 4 when blocked.")
@click.option("--count", is_flag=True, help="Count the pending rows exactly, now.")
@click.option("--watch", is_flag=True, help="Show it again every two seconds.")
@_verb
def status(output: Output, get: Get, name: str | None, check: bool, count: bool, watch: bool) -> Exit:
    """Show a row per migration: state, progress, rate, time to go. Writes nothing."""
    import anyio

    from datamigrate.faces.render import status_of, status_table

    application = get()

    async def look() -> Exit:
        while True:
            situation = await application.situation((name,) if name else ())
            counts = await application.count_pending(situation) if count else None
            rows = [status_of(s, situation.record(s.migration.name)) for s in situation.plan.steps]
            for row in rows if counts is not None else ():
                row["pending"] = counts.get(row["name"]) if counts else None
            if watch and not output.as_json:
                output.console.clear()
            output.complain(situation)
            output.data(
                {"heads": list(situation.plan.heads), "migrations": rows}, status_table(situation, counts)
            )
            if not watch:
                problem = output.problems(situation.problems)
                return problem or (_standing(situation.plan) if check else Exit.OK)
            await anyio.sleep(2)

    return anyio.run(look)


@cli.command()
@click.argument("names", nargs=-1)
@click.option("--tag", "tags", multiple=True, help="Only migrations with this tag, and what they depend on.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and to how many rows. Writes nothing.")
@click.option(
    "--max-time",
    callback=_duration,
    metavar="DURATION",
    help="Stop cleanly after this long (exit 75), e.g. 25m.",
)
@click.option("--max-batches", type=click.IntRange(1), help="Stop cleanly after so many batches (exit 75).")
@click.option("--batch-size", type=click.IntRange(1), help="Rows per batch, instead of a time target.")
@click.option("--keep-going", is_flag=True, help="After a failure go on with what does not depend on it.")
@click.option("--no-wait", is_flag=True, help="Exit 5 when somebody else is running it, instead of waiting.")
@_verb
def run(output: Output, get: Get, /, names: tuple[str, ...], dry_run: bool, **options: Any) -> Exit:
    """Run what is pending, in batches, and verify it."""
    import anyio

    from datamigrate.faces.running import preview, run_and_report

    step = preview if dry_run else run_and_report
    return anyio.run(step, output, get(), names, options)


def _plan_journey(output: Output, application: Application, target: str, exit_code: bool) -> Exit:
    import anyio

    from datamigrate.faces.journey import survey
    from datamigrate.faces.render import journey_facts, journey_table

    way = anyio.run(survey, application, target)
    output.data(journey_facts(way.journey), journey_table(way.journey))
    output.say(
        f"{len(way.journey.legs)} legs: `datamigrate upgrade {target}`."
        if way.journey.legs
        else "Nothing to do."
    )
    return output.problems(way.problems) or (Exit.PENDING if exit_code and way.journey.legs else Exit.OK)


@cli.command()
@click.argument("revision", default="heads")
@click.option(
    "--max-time", callback=_duration, metavar="DURATION", help="Stop cleanly after this long (exit 75)."
)
@click.option("--max-batches", type=click.IntRange(1), help="Stop cleanly after so many batches (exit 75).")
@click.option("--batch-size", type=click.IntRange(1), help="Rows per batch, instead of a time target.")
@click.option("--no-wait", is_flag=True, help="Exit 5 when somebody else is running it, instead of waiting.")
@_verb
def upgrade(output: Output, get: Get, /, revision: str, **options: Any) -> Exit:
    """Walk schema and data together: schema up to a gate, the data behind it, on to REVISION [heads]."""
    import anyio

    from datamigrate.faces.running import upgrade_and_report

    return anyio.run(upgrade_and_report, output, get(), revision, options)


@cli.command()
@click.option("--offline", is_flag=True, help="Without the database: no drift, no look at keys and columns.")
@click.option(
    "--revisions", type=click.Path(path_type=Path), metavar="DIR", help="Only lint the revisions in a folder."
)
@click.option(
    "--format", "form", type=click.Choice(["text", "json", "github"]), default="text", show_default=True
)
@_verb
def check(output: Output, get: Get, offline: bool, revisions: Path | None, form: str) -> Exit:
    """Find what would go wrong later: broken scripts, circles, drift, data work in schema revisions."""
    import anyio

    from datamigrate.faces.checking import as_github, as_text, lint_folder
    from datamigrate.faces.checking import check as examine

    checked = lint_folder(revisions) if revisions else anyio.run(examine, get(), offline)
    lines = as_github(checked) if form == "github" else as_text(checked)
    output.as_asked(form == "json").data(
        {"findings": [f.facts() for f in checked.findings]}, "\n".join(lines) or None
    )
    output.say(f"{len(checked.findings)} findings." if checked.findings else "Nothing found.")
    return Exit.PENDING if checked.has_errors else Exit.OK


@cli.command()
@_verb
def doctor(output: Output, get: Get) -> Exit:
    """Say what was found: configuration, database, versions, ledger, hooks in env.py."""
    import anyio

    from datamigrate.faces.doctor import examine_project
    from datamigrate.faces.render import doctor_table

    found = anyio.run(examine_project, get())
    output.data({"diagnoses": [d.facts() for d in found]}, doctor_table(found))
    return Exit.FAILED if any(d.verdict == "wrong" for d in found) else Exit.OK


def _operator_verb(verb: str, help_text: str) -> None:
    @cli.command(verb, help=help_text)
    @click.argument("name")
    @click.option("--reason", help="Why; kept in the history.")
    @_verb
    def command(output: Output, get: Get, name: str, reason: str | None) -> None:
        import anyio

        from datamigrate.thought.lifecycle import Cause

        state = anyio.run(get().command, name, Cause(verb), reason)
        output.data({"name": name, "state": str(state)}, None)
        output.say(f"{name} is {state} now.")


_operator_verb("retry", "Put a failed migration back in line; what it has done is kept.")
_operator_verb("reset", "Forget its progress: the next run walks it again from the first row.")
_operator_verb("stamp", "Record it as done without running it, or accept the edited text of a done one.")


def _standing(plan: Any) -> Exit:
    from datamigrate.thought.planner import Action

    if plan.to_do or plan.having(Action.DRIFTED):
        return Exit.PENDING
    return Exit.BLOCKED if plan.having(Action.BLOCKED) else Exit.OK


def main() -> None:
    """The `datamigrate` command."""
    try:
        cli(prog_name="datamigrate")
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(int(Exit.OK))
