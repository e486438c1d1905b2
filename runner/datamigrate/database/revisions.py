"""Alembic's side: its configuration is found, its env.py is asked, its history is read."""

import contextlib
import io
import logging
import os
import tomllib
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.script.revision import ResolutionError, RevisionError
from alembic.util import CommandError
from anyio import to_thread
from sqlalchemy import event
from sqlalchemy.engine import URL, Connection, Dialect, Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import Pool

from datamigrate.database.address import no_sqlite_file
from datamigrate.thought.planner import Revisions, Schema
from datamigrate.words.errors import (
    AlembicNotFound,
    ConfigurationError,
    DatabaseUnavailable,
    GraphError,
    RevisionUnknown,
)
from datamigrate.words.migration import Migration


@dataclass(frozen=True)
class AlembicOptions:
    """What Alembic's own command line takes: `-c`, `-n` and `-x`."""

    config: Path | None = None
    section: str = "alembic"
    x: tuple[str, ...] = ()


@dataclass(frozen=True)
class Environment:
    """What the project's env.py told when it was asked: where it connects to, and its version table."""

    url: URL
    version_table: str
    version_table_schema: str | None
    has_hooks: bool = False


@dataclass(frozen=True, eq=False)
class History:
    """The project's Alembic revisions."""

    config: Config
    script: ScriptDirectory
    root: Path

    @property
    def heads(self) -> tuple[str, ...]:
        """The newest revisions."""
        return tuple(self.script.get_heads())


def find_history(start: Path, options: AlembicOptions) -> History:
    """The Alembic environment of the project in or above `start`.

    Raises AlembicNotFound, or ConfigurationError for one that cannot be read.
    """
    found = _named_config(start, options) or _config_above(start)
    if found is None:
        raise AlembicNotFound(
            f"No Alembic configuration in {start} or above (looked for -c, ALEMBIC_CONFIG, alembic.ini "
            "and [tool.alembic] in pyproject.toml).",
            "Go to the project's directory, name the file with -c, or begin with `alembic init alembic`.",
        )
    ini, toml, root = found
    config = Config(
        file_=ini,
        toml_file=toml,
        ini_section=options.section,
        cmd_opts=Namespace(
            x=list(options.x) or None, name=options.section, config=str(ini or toml), raiseerr=False
        ),
    )
    try:
        with contextlib.chdir(root), _undisturbed():
            return History(config, ScriptDirectory.from_config(config), root)
    except (CommandError, RevisionError) as error:
        raise ConfigurationError(
            f"Alembic cannot read its configuration ({ini or toml}): {error}."
        ) from error
    except Exception as error:
        raise ConfigurationError(
            f"Alembic's revisions cannot be loaded: {type(error).__name__}: {error}."
        ) from error


async def ask_env(history: History) -> Environment:
    """Run the project's env.py far enough to learn where it connects to. Nothing is migrated or created.

    Raises ConfigurationError when env.py fails, DatabaseUnavailable when only its database does.
    """
    # the async template of env.py calls asyncio.run, which needs a thread without a running loop
    return await to_thread.run_sync(_run_env, history)


def read_heads(connection: Connection, environment: Environment | None) -> tuple[str, ...]:
    """The revisions that the database is at; none when it has no version table."""
    options = (
        {}
        if environment is None
        else {
            "version_table": environment.version_table,
            "version_table_schema": environment.version_table_schema,
        }
    )
    return tuple(MigrationContext.configure(connection, opts=options).get_current_heads())


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


def _named_config(start: Path, options: AlembicOptions) -> tuple[Path | None, Path | None, Path] | None:
    named = options.config or (Path(os.environ["ALEMBIC_CONFIG"]) if "ALEMBIC_CONFIG" in os.environ else None)
    if named is None:
        return None
    path = (start / named).resolve()
    if not path.is_file():
        raise AlembicNotFound(f"There is no Alembic configuration at {path}.", "Mend -c or ALEMBIC_CONFIG.")
    if path.suffix == ".toml":
        return None, path, path.parent
    beside = start / "pyproject.toml"
    return path, beside if _has_alembic_table(beside) else None, start


def _config_above(start: Path) -> tuple[Path | None, Path | None, Path] | None:
    for directory in (start, *start.parents):
        ini, toml = directory / "alembic.ini", directory / "pyproject.toml"
        has_ini, has_toml = ini.is_file(), _has_alembic_table(toml)
        if has_ini or has_toml:
            return ini if has_ini else None, toml if has_toml else None, directory
    return None


def _has_alembic_table(file: Path) -> bool:
    try:
        return "alembic" in tomllib.loads(file.read_text()).get("tool", {})
    except (OSError, ValueError):
        return False


def _run_env(history: History) -> Environment:
    asked: list[Environment] = []
    under_way: list[str] = []

    def note(_heads: Any, context: MigrationContext) -> list[Any]:
        connection = context.connection
        if connection is not None:
            asked.append(
                Environment(
                    connection.engine.url,
                    context.version_table,
                    context.version_table_schema,
                    any(c.__module__.startswith("datamigrate.") for c in context.on_version_apply_callbacks),
                )
            )
        return []

    try:
        with (
            contextlib.chdir(history.root),
            _undisturbed(),
            _connecting(under_way),
            EnvironmentContext(history.config, history.script, fn=note, dont_mutate=True),
        ):
            history.script.run_env()
    except CommandError as error:
        raise ConfigurationError(f"env.py says: {error}") from error
    except DatabaseUnavailable:
        raise
    except Exception as error:
        if under_way:
            raise DatabaseUnavailable(
                f"The database that the project's env.py connects to does not let us in: {_first_line(error)}.",
                "Start the database or mend the URL; `-v` shows the whole error.",
            ) from error
        raise ConfigurationError(f"env.py fails: {type(error).__name__}: {error}") from error
    if not asked:
        raise ConfigurationError(
            "env.py never called context.run_migrations(), so where it connects to is unknown.",
            "Pass --url, or set DATABASE_URL.",
        )
    return asked[0]


@contextlib.contextmanager
def _connecting(under_way: list[str]) -> Iterator[None]:
    """Note in `under_way` which connections env.py has begun and not got.

    Connecting to a SQLite file that is not there would create it, and we only look: that is refused.
    """

    def begin(dialect: Dialect, _record: Any, arguments: list[Any], _options: Any) -> None:
        file = str(arguments[0]) if dialect.name == "sqlite" and arguments else ""
        if file and file != ":memory:" and not file.startswith("file:") and not Path(file).exists():
            raise no_sqlite_file(Path(file).absolute(), "the project's env.py")
        under_way.append(dialect.name)

    def end(_connection: Any, _record: Any) -> None:
        under_way.clear()

    event.listen(Engine, "do_connect", begin)
    event.listen(Pool, "connect", end)
    try:
        yield
    finally:
        event.remove(Engine, "do_connect", begin)
        event.remove(Pool, "connect", end)


def _first_line(error: Exception) -> str:
    cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
    return (str(cause).strip().partition("\n")[0] or type(cause).__name__).rstrip(".")


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """env.py may print and log, and its fileConfig replaces handlers and disables loggers: keep all quiet,
    and ours as they are."""
    loggers = [logging.getLogger(name) for name in (None, *logging.root.manager.loggerDict)]
    before = [(logger, list(logger.handlers), logger.level, logger.disabled) for logger in loggers]
    quiet_below = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(quiet_below)
        for logger, handlers, level, disabled in before:
            logger.handlers[:], logger.disabled = handlers, disabled
            logger.setLevel(level)
