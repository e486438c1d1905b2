"""The project's env.py, asked where it connects to and how it is set up."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.util import CommandError
from anyio import to_thread
from sqlalchemy import event
from sqlalchemy.engine import URL, Dialect, Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import Pool

from datamigrate.database.address import no_sqlite_file
from datamigrate.database.schema.history import History
from datamigrate.database.schema.quiet import undisturbed
from datamigrate.words.errors import ConfigurationError, DatabaseUnavailable


@dataclass(frozen=True)
class Environment:
    """What the project's env.py told when it was asked: where it connects to, and its version table."""

    url: URL
    version_table: str
    version_table_schema: str | None
    has_hooks: bool = False


async def ask_env(history: History) -> Environment:
    """Run the project's env.py far enough to learn where it connects to. Nothing is migrated or created.

    Raises ConfigurationError when env.py fails, DatabaseUnavailable when only its database does.
    """
    # the async template of env.py calls asyncio.run, which needs a thread without a running loop
    return await to_thread.run_sync(_run_env, history)


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
            undisturbed(),
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
