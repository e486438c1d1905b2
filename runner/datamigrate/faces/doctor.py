"""`datamigrate doctor`: what was found where, and what is missing."""

import platform
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection

import datamigrate
from datamigrate.database.ledger.tables import VERSION, Tables
from datamigrate.database.ledger.upgrading import ledger_version
from datamigrate.database.schema.revisions import read_heads, schema_at
from datamigrate.faces.app import Application
from datamigrate.faces.project import Project, Whereabouts
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
    except DatamigrateError as error:
        found.append(Diagnosis("database", "wrong", f"{error.message} {error.hint}".strip()))
    return found


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
    found.append(_schema(connection, application, whereabouts))
    found.append(_ledger(connection, application.ledger.tables))
    return found + _privileges(connection, application.ledger.tables)


def _schema(connection: Connection, application: Application, whereabouts: Whereabouts) -> Diagnosis:
    heads = read_heads(connection, whereabouts.environment)
    try:
        schema_at(application.project.history, heads)
    except DatamigrateError as error:
        return Diagnosis("schema", "wrong", error.message)
    return Diagnosis("schema", "ok", f"at {', '.join(heads) or 'no revision yet'}")


def _ledger(connection: Connection, tables: Tables) -> Diagnosis:
    try:
        found = ledger_version(connection, tables)
    except DatamigrateError as error:
        return Diagnosis("ledger", "wrong", error.message)
    if found is None:
        return Diagnosis("ledger", "ok", "none yet; the first `run` creates it")
    due = "" if found == VERSION else f"; the next `run` brings it to {VERSION}"
    return Diagnosis("ledger", "ok", f"version {found}{due}")


def _privileges(connection: Connection, tables: Tables) -> list[Diagnosis]:
    if connection.dialect.name != "postgresql":
        return []
    schema = tables.metadata.schema or connection.scalar(sa.select(sa.func.current_schema()))
    inspector, allowed = sa.inspect(connection), sa.func.has_schema_privilege(schema, "CREATE")
    what = f"CREATE, USAGE ON SCHEMA {schema}"
    if schema is None or not inspector.has_schema(schema):
        database = connection.scalar(sa.select(sa.func.current_database()))
        allowed = sa.func.has_database_privilege(database, "CREATE")
        what = f"CREATE ON DATABASE {database}"
    elif inspector.has_table(tables.ledger.name, schema=tables.ledger.schema):
        allowed = sa.func.has_schema_privilege(schema, "USAGE")
    if connection.scalar(sa.select(allowed)):
        return [Diagnosis("privileges", "ok", f"may keep the ledger in schema {schema}")]
    role = connection.scalar(sa.select(sa.func.current_user()))
    return [
        Diagnosis("privileges", "wrong", f"may not create the ledger; as the owner: GRANT {what} TO {role}")
    ]
