"""`datamigrate doctor`: what was found where, and what is missing."""

import platform
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any, Literal

from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

import datamigrate
from datamigrate.database.database import Database
from datamigrate.database.faults import said_by
from datamigrate.database.ledger.tables import VERSION, Tables
from datamigrate.database.ledger.upgrading import ledger_version
from datamigrate.database.schema.revisions import read_heads, schema_at
from datamigrate.faces.app import Application
from datamigrate.faces.company import company_for
from datamigrate.faces.project import Project, Whereabouts
from datamigrate.faces.rights import Rights, survey
from datamigrate.faces.situation import unplaced
from datamigrate.faces.watching import health_told
from datamigrate.words.errors import DatamigrateError

Verdict = Literal["ok", "note", "wrong"]

HOOKS = "context.configure(..., **datamigrate.alembic.hooks())"


@dataclass(frozen=True)
class Diagnosis:
    """One thing looked at."""

    about: str
    verdict: Verdict
    said: str

    def facts(self) -> dict[str, Any]:
        """The diagnosis as plain data, for JSON."""
        return asdict(self)


async def examine_project(application: Application) -> list[Diagnosis]:
    """Look at everything that can be reached; what cannot is a diagnosis too."""
    found = [*_versions(), *_project(application.project)]
    try:
        async with application.looking() as (database, whereabouts), database.looking() as connection:
            found += _whereabouts(whereabouts)
            found += await connection.run_sync(_server, application, whereabouts)
            for well, said in await health_told(database, application.project.configuration.throttle):
                found.append(Diagnosis("health", "ok" if well else "note", said))
            found += _company(application, database)
    except DatamigrateError as error:
        found.append(Diagnosis("database", "wrong", f"{error.message} {error.hint}".strip()))
    return found


def _company(application: Application, database: Database) -> Iterator[Diagnosis]:
    """What a run would call that is not ours, and cannot."""
    try:
        company_for(application.project, database, (), application.owner, throttled=True)
    except DatamigrateError as error:
        yield Diagnosis("health", "wrong", f"{error.message} {error.hint}".strip())
    command = application.project.configuration.notify.command
    if command and not shutil.which(command[0]):
        said = "the first word of [tool.datamigrate.notify] command is no program that is found"
        yield Diagnosis("notices", "wrong", f"{said}: {command[0]}")


def _versions() -> Iterator[Diagnosis]:
    packages = ("alembic", "sqlalchemy", "asyncpg", "aiosqlite")
    with_versions = ", ".join(f"{package} {version(package)}" for package in packages)
    yield Diagnosis(
        "versions",
        "ok",
        f"datamigrate {datamigrate.__version__}, Python {platform.python_version()}, {with_versions}",
    )


def _project(project: Project) -> Iterator[Diagnosis]:
    config = project.history.config
    yield Diagnosis("alembic", "ok", f"{config.config_file_name or config.toml_file_name}")
    if project.configuration.root is None:
        yield Diagnosis("configuration", "note", "no [tool.datamigrate] found; `datamigrate init` writes one")
    else:
        yield Diagnosis("configuration", "ok", str(project.configuration.root / "pyproject.toml"))
    try:
        situation = unplaced(project)
    except DatamigrateError as error:
        yield Diagnosis("scripts", "wrong", f"{error.message} {error.hint}")
        return
    yield Diagnosis("scripts", "ok", f"{len(situation.library.scripts)} in {project.scripts}")
    for problem in situation.problems:
        yield Diagnosis("scripts", "wrong", f"{problem.message} {problem.hint}".strip())


def _whereabouts(whereabouts: Whereabouts) -> Iterator[Diagnosis]:
    yield Diagnosis("database", "ok", f"{whereabouts.address} (from {whereabouts.address.source})")
    if whereabouts.environment is None:
        yield Diagnosis("env.py", "note", f"could not be asked: {whereabouts.complaint}")
    elif whereabouts.environment.has_hooks:
        yield Diagnosis("hooks", "ok", "in place in env.py")
    else:
        yield Diagnosis("hooks", "note", f"not in env.py; add `import datamigrate.alembic` and {HOOKS}")


def _server(connection: Connection, application: Application, whereabouts: Whereabouts) -> list[Diagnosis]:
    number = ".".join(str(part) for part in connection.dialect.server_version_info or ())
    found = [Diagnosis("server", "ok", f"{connection.dialect.name} {number}")]
    found.append(_told("schema", connection, _schema, application, whereabouts))
    found.append(_told("ledger", connection, _ledger, application.ledger.tables))
    if connection.dialect.name == "postgresql":
        found += _privileges(survey(connection, application, whereabouts))
    return found


def _told(about: str, connection: Connection, look: Callable[..., Diagnosis], *given: Any) -> Diagnosis:
    """What a look tells; that it is not allowed is a diagnosis too."""
    try:
        with connection.begin_nested():
            return look(connection, *given)
    except DBAPIError as error:
        return Diagnosis(about, "wrong", f"cannot be read: {said_by(error)}")


def _schema(connection: Connection, application: Application, whereabouts: Whereabouts) -> Diagnosis:
    try:
        heads = read_heads(connection, whereabouts.environment)
        schema_at(application.project.history, heads)
    except DatamigrateError as error:
        return Diagnosis("schema", "wrong", f"{error.message} {error.hint}")
    return Diagnosis("schema", "ok", f"at {', '.join(heads) or 'no revision yet'}")


def _ledger(connection: Connection, tables: Tables) -> Diagnosis:
    try:
        found = ledger_version(connection, tables)
    except DatamigrateError as error:
        return Diagnosis("ledger", "wrong", f"{error.message} {error.hint}")
    if found is None:
        return Diagnosis("ledger", "ok", "none yet; the first `run` creates it")
    due = "" if found == VERSION else f"; the next `run` brings it to {VERSION}"
    return Diagnosis("ledger", "ok", f"version {found}{due}")


def _privileges(rights: Rights) -> Iterator[Diagnosis]:
    for grant in rights.missing:
        yield Diagnosis("privileges", "wrong", f"missing; as the owner: {grant}")
    if not rights.lacking and not rights.upkeep:
        yield Diagnosis("privileges", "ok", f"{rights.role} has the {len(rights.needed)} that are needed")
    for sentence in rights.unknown:
        yield Diagnosis("not known", "note", sentence)
    for sentence in rights.upkeep:
        yield Diagnosis("privileges", "wrong", sentence)
    for sentence in rights.policies:
        yield Diagnosis("row-level security", "note", sentence)
    if not rights.sees_statistics:
        said = f"other sessions and replicas are not seen in full; as a superuser: {rights.for_throttles}"
        yield Diagnosis("throttles", "note", said)
