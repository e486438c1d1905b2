"""A project as found on disk: its configuration, its Alembic history, its scripts, its database's URL."""

import os
import sys
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from traceback import extract_tb
from typing import Any

from sqlalchemy.engine import URL

from datamigrate.authoring.loading import load_scripts
from datamigrate.authoring.script import Library
from datamigrate.database.address import Address, address
from datamigrate.database.schema.environment import Environment, ask_env
from datamigrate.database.schema.history import AlembicOptions, History, find_history
from datamigrate.faces.config import Configuration, read_configuration
from datamigrate.words.errors import ConfigurationError, DatabaseNotNamed, DatabaseUnavailable
from datamigrate.words.secrets import learn


@dataclass(frozen=True)
class Call:
    """Where datamigrate was called, and with which global options."""

    start: Path
    alembic: AlembicOptions = field(default_factory=AlembicOptions)
    url: str | None = None


@dataclass(frozen=True, eq=False)
class Project:
    """Everything that is found without a database."""

    call: Call
    configuration: Configuration
    history: History

    @property
    def root(self) -> Path:
        """Where the project's paths begin."""
        return self.configuration.root or self.history.root

    @property
    def scripts(self) -> Path:
        """The folder of the data scripts."""
        return self.root / self.configuration.scripts

    def library(self) -> Library:
        """The scripts. Raises ConfigurationError when there is no folder for them."""
        if not self.scripts.is_dir():
            raise ConfigurationError(
                f"There is no folder {self.scripts} for data scripts.",
                '`datamigrate init` makes one; or name yours: [tool.datamigrate] scripts = "...".',
            )
        return load_scripts(self.scripts)


@dataclass(frozen=True)
class Whereabouts:
    """The database, what env.py told of it, and why env.py could not be asked, if so."""

    address: Address
    environment: Environment | None
    complaint: str | None = None


def find_project(call: Call) -> Project:
    """The project in or above the directory of the call. Raises ConfigurationError, AlembicNotFound."""
    return Project(call, read_configuration(call.start), find_history(call.start, call.alembic))


async def locate(project: Project, named: Address | None) -> Whereabouts:
    """The database that is `named`, or else what env.py connects to, with what env.py tells of it.

    Raises DatabaseNotNamed with every place looked at, DatabaseUnavailable when env.py's does not answer.
    """
    try:
        environment = await ask_env(project.history)
    except (ConfigurationError, DatabaseUnavailable) as error:
        if named is None and isinstance(error, DatabaseUnavailable):
            raise
        if named is None:
            raise DatabaseNotNamed(
                "No database is named: looked at --url, DATAMIGRATE_URL, [tool.datamigrate] engine, "
                f"DATABASE_URL and the project's env.py ({error.message.rstrip('.')}).",
                "Set DATABASE_URL=postgresql://user@host/name or sqlite:///app.db, or pass --url.",
            ) from error
        return Whereabouts(named, None, error.message)
    found = named or address(environment.url, "the project's env.py", project.history.root)
    return Whereabouts(found, environment)


def named_address(project: Project) -> Address | None:
    """The database as far as it is named outside env.py: --url, DATAMIGRATE_URL, the engine of the
    configuration, DATABASE_URL, in this order."""
    if project.call.url:
        return address(project.call.url, "--url", project.call.start)
    if url := os.environ.get("DATAMIGRATE_URL"):
        return address(url, "DATAMIGRATE_URL", project.root)
    if engine := project.configuration.engine:
        return address(_url_of_engine(engine, project.root), f"engine = {engine!r}", project.root)
    if url := os.environ.get("DATABASE_URL"):
        return address(url, "DATABASE_URL", project.root)
    return None


def imported(text: str, root: Path, key: str, example: str) -> Any:
    """What `module:name` in the project's code is. Raises ConfigurationError that names the key."""
    module, _, attribute = text.partition(":")
    sys.path.insert(0, str(root))
    try:
        return getattr(import_module(module), attribute)
    except Exception as error:
        raise ConfigurationError(
            f"{key} = {text!r} cannot be used: {type(error).__name__}: {error}.",
            f'Name a module and what is in it: {key.rpartition(" ")[2]} = "{example}".',
        ) from error
    finally:
        sys.path.remove(str(root))


def _url_of_engine(text: str, root: Path) -> URL:
    found = imported(
        text if ":" in text else f"{text}:engine", root, "[tool.datamigrate] engine", "myapp.db:engine"
    )
    try:
        url = (found() if callable(found) and not hasattr(found, "url") else found).url
    except Exception as error:
        learn(*(frame.line for frame in extract_tb(error.__traceback__)))
        raise ConfigurationError(
            f"[tool.datamigrate] engine = {text!r} cannot be used: {type(error).__name__}: {error}.",
            'Name a module and an engine in it: engine = "myapp.db:engine".',
        ) from error
    if not isinstance(url, URL):
        raise ConfigurationError(f"[tool.datamigrate] engine = {text!r} is no SQLAlchemy engine.")
    return url
