"""What every verb has: the global options, an application, an output, an exit code.

What a verb needs is imported when it is called, so that `--help` does not wait for SQLAlchemy.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import datamigrate
from datamigrate.doing.interpreter import made_for_many_rows
from datamigrate.words.duration import parse_duration
from datamigrate.words.errors import DatamigrateError, UsageError
from datamigrate.words.exits import Exit
from datamigrate.words.secrets import learn, learn_secret, redacted

if TYPE_CHECKING:
    from datamigrate.faces.app import Application
    from datamigrate.faces.onlooker import Onlooker
    from datamigrate.faces.project import Project

EXIT_CODES = """\b
Exit codes:
  0 fine, or nothing to do      1 failed                2 usage
  3 pending, drift or halted    4 blocked by a schema revision, or halted by an operator
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


def verb(function: Callable[..., Exit | None]) -> Callable[..., None]:
    """Give the verb an application and an output, and turn what it raises into words and an exit code."""
    return _verb(function, _application)


def look(function: Callable[..., Exit | None]) -> Callable[..., None]:
    """The same with an onlooker, who does not wait until what works on rows has been imported."""
    return _verb(function, _onlooker)


def _verb(function: Callable[..., Exit | None], who: Callable[[Globals], Onlooker]) -> Callable[..., None]:
    @_with_globals
    @click.pass_context
    @wraps(function)
    def call(context: click.Context, /, **options: Any) -> None:
        names = Globals.__dataclass_fields__
        mine = Globals(**{name: options.pop(name) for name in names})
        try:
            with made_for_many_rows():
                code = _called(function, who, mine.over(context.obj or Globals()), options)
        except KeyboardInterrupt:
            click.echo("Interrupted.", err=True)
            code = Exit.INTERRUPTED
        context.exit(int(code))

    return call


def _keep_secrets(settings: Globals) -> None:
    learn(settings.url, *settings.x, *(os.environ.get(name) for name in ("DATAMIGRATE_URL", "DATABASE_URL")))
    learn_secret(os.environ.get("PGPASSWORD"))


def _called(
    function: Callable[..., Exit | None],
    who: Callable[[Globals], Onlooker],
    settings: Globals,
    options: dict[str, Any],
) -> Exit:
    _keep_secrets(settings)
    from datamigrate.faces.output import output_for

    output = output_for(
        settings.as_json, settings.quiet, settings.color, settings.log_format, settings.verbose
    )
    try:
        return function(output, lambda: who(settings), **options) or Exit.OK
    except DatamigrateError as error:
        output.error(error)
        return error.exit
    except Exception as error:
        output.surprise(error)
        return Exit.FAILED


def _application(settings: Globals) -> Application:
    from datamigrate.faces.app import Application

    # what is imported stays until the end: looking through it again and again while rows come and go
    # takes the collector as long as the rows themselves
    gc.freeze()
    return Application(_project(settings))


def _onlooker(settings: Globals) -> Onlooker:
    from datamigrate.faces.onlooker import Onlooker

    return Onlooker(_project(settings))


def _project(settings: Globals) -> Project:
    from datamigrate.database.schema.history import AlembicOptions
    from datamigrate.faces.project import Call, find_project

    alembic = AlembicOptions(
        Path(settings.config) if settings.config else None, settings.section or "alembic", settings.x
    )
    return find_project(Call(Path.cwd(), alembic, settings.url))


def duration(_context: click.Context, _parameter: click.Parameter, value: str | None) -> float | None:
    """The callback of an option that takes a duration; seconds."""
    try:
        return None if value is None else parse_duration(value)
    except UsageError as error:
        raise click.BadParameter(f"{error.message} {error.hint}") from None


Get = Callable[[], "Application"]
GetOnlooker = Callable[[], "Onlooker"]


@contextmanager
def _without_secrets() -> Iterator[None]:
    """Click quotes what it does not understand."""
    try:
        yield
    except click.UsageError as error:
        said = error.format_message()
        if (told := redacted(said)) == said:
            raise
        raise click.UsageError(told, error.ctx) from None


class Verbs(click.Group):
    """The verbs; whatever is wrong with their options is told without a password."""

    def make_context(self, *arguments: Any, **options: Any) -> click.Context:
        """The context of a call."""
        with _without_secrets():
            return super().make_context(*arguments, **options)

    def invoke(self, context: click.Context) -> Any:
        """Call the verb."""
        with _without_secrets():
            return super().invoke(context)


@click.group(
    cls=Verbs,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=EXIT_CODES,
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
