"""The rights of a role on PostgreSQL: what it needs for this project, what it lacks, what cannot be known."""

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from datamigrate.authoring.forms import EachBatch, Form, FreeForm
from datamigrate.authoring.script import Script
from datamigrate.database.ledger.tables import VERSION, Tables
from datamigrate.database.ledger.upgrading import ledger_version
from datamigrate.database.privileges import (
    Doing,
    Found,
    Named,
    default_schema,
    doings_of,
    filtered_for,
    find_relations,
    held_by,
    owns,
    quoted,
    role_exists,
    schema_exists,
    sees_statistics,
)
from datamigrate.database.schema.revisions import VERSION_TABLE, read_heads, schema_at
from datamigrate.faces.app import Application
from datamigrate.faces.project import Whereabouts
from datamigrate.faces.situation import unplaced
from datamigrate.thought.privileges import STATISTICS, Home, Right, Use, grants, lacking, needed
from datamigrate.words.errors import DatamigrateError, UsageError


@dataclass(frozen=True)
class Rights:
    """What a role needs, the part of it that it lacks, and what it may need besides."""

    role: str
    database: str
    exists: bool
    needed: tuple[Right, ...]
    lacking: tuple[Right, ...]
    unknown: tuple[str, ...]
    filtered: tuple[str, ...]
    old_ledger: int | None
    sees_statistics: bool

    @property
    def statements(self) -> list[str]:
        """The SQL that makes the role and gives it what it needs."""
        create = [] if self.exists else [f"CREATE ROLE {self.role} LOGIN;"]
        return [*create, *grants(self.role, self.needed)]

    @property
    def missing(self) -> list[str]:
        """The GRANTs of what it lacks."""
        return grants(self.role, self.lacking)

    @property
    def policies(self) -> list[str]:
        """What row-level security may do to a run."""
        bypass = f"as a superuser, if they hide any: ALTER ROLE {self.role} BYPASSRLS;"
        return [
            f"policies decide which rows of {t} it sees, and hidden ones count as done; {bypass}"
            for t in self.filtered
        ]

    @property
    def upkeep(self) -> list[str]:
        """What only the ledger's owner can do."""
        if self.old_ledger is None:
            return []
        return [
            f"only its owner can bring the ledger from version {self.old_ledger} to {VERSION}; "
            "as the owner, once: datamigrate run"
        ]

    @property
    def for_throttles(self) -> str:
        """The GRANT that only throttles make use of."""
        return f"GRANT {STATISTICS} TO {self.role};"


def survey(
    connection: Connection, application: Application, whereabouts: Whereabouts, role: str | None = None
) -> Rights:
    """The rights of this role, or of the one that is connected."""
    role = role or str(connection.scalar(sa.select(sa.func.current_user())))
    scripts = _in_use(connection, application, whereabouts)
    doings = {s.name: [doing for form in _forms(s) for doing in doings_of(form)] for s in scripts}
    version = _version_table(whereabouts)
    tables = application.ledger.tables
    ours = [Named(table.name, table.schema) for table in tables.metadata.sorted_tables]
    named = {version, *ours, *(doing.table for done in doings.values() for doing in done)}
    found = find_relations(connection, named)
    uses = [Use(found[version].relation, "SELECT")] if version in found else []
    unknown = [sentence for script in scripts for sentence in _beyond(script)]
    for name, done in doings.items():
        for doing in done:
            use, not_there = _use(name, doing, found)
            uses += [use] if use else []
            unknown += not_there
    home = _home(connection, tables, [found[n] for n in ours if n in found])
    wanted, exists = needed(home, uses), role_exists(connection, role)
    things = {right.on for right in wanted}
    held = held_by(connection, role, things) if exists else frozenset()
    return Rights(
        quoted(connection, role),
        home.database,
        exists,
        wanted,
        lacking(wanted, held),
        tuple(dict.fromkeys(unknown)),
        filtered_for(connection, role, things),
        _old_ledger(connection, tables, role, home) if exists else None,
        exists and sees_statistics(connection, role),
    )


async def grants_for(application: Application, role: str) -> Rights:
    """The rights that a role needs, to be granted. Raises UsageError where there are no roles."""
    async with application.looking() as (database, whereabouts), database.looking() as connection:
        if connection.dialect.name != "postgresql":
            raise UsageError(
                "SQLite has no roles: whoever may write the file and its directory may do everything.",
                "--grants is for PostgreSQL.",
            )
        return await connection.run_sync(survey, application, whereabouts, role)


def as_sql(rights: Rights) -> str:
    """A script for psql; what is no statement is a comment, of one line whatever is named in it."""
    aside = [f"Not known: {sentence}" for sentence in rights.unknown]
    aside += [f"The ledger: {sentence}" for sentence in rights.upkeep]
    aside += [f"Row-level security: {sentence}" for sentence in rights.policies]
    aside += [] if rights.sees_statistics else [f"For throttles, by a superuser: {rights.for_throttles}"]
    first = f"What datamigrate needs in the database {rights.database} to run what is here now."
    return "\n".join([_comment(first), *rights.statements, *map(_comment, aside)])


def _comment(sentence: str) -> str:
    return f"-- {' '.join(sentence.split())}"


def _in_use(connection: Connection, application: Application, whereabouts: Whereabouts) -> list[Script]:
    """The scripts that are not obsolete, as far as it can be read which are."""
    situation = unplaced(application.project)
    try:
        with connection.begin_nested():
            heads = read_heads(connection, whereabouts.environment)
        applied = schema_at(application.project.history, heads).applied
    except (DBAPIError, DatamigrateError):
        applied = frozenset()
    gone = {name for name, r in situation.revisions.items() if r.until and applied.issuperset(r.until)}
    return [script for script in situation.library.scripts if script.name not in gone]


def _version_table(whereabouts: Whereabouts) -> Named:
    if whereabouts.environment is None:
        return Named(VERSION_TABLE)
    return Named(whereabouts.environment.version_table, whereabouts.environment.version_table_schema)


def _home(connection: Connection, tables: Tables, found: list[Found]) -> Home:
    schema = tables.metadata.schema or default_schema(connection)
    database = str(connection.scalar(sa.select(sa.func.current_database())))
    relations = tuple(one.relation for one in found)
    where = relations[0].schema if relations else quoted(connection, schema)
    return Home(quoted(connection, database), where, schema_exists(connection, schema), relations)


def _old_ledger(connection: Connection, tables: Tables, role: str, home: Home) -> int | None:
    """The version of a ledger that is older than ours, and not the role's to alter."""
    if not home.tables or owns(connection, role, home.tables[0].name):
        return None
    try:
        with connection.begin_nested():
            version = ledger_version(connection, tables)
    except (DBAPIError, DatamigrateError):
        return None
    return None if version == VERSION else version


def _use(script: str, doing: Doing, found: dict[Named, Found]) -> tuple[Use | None, list[str]]:
    there = found.get(doing.table)
    if there is None:
        return None, [f"{script}: there is no table {doing.table} yet; ask again when there is."]
    columns = tuple(there.columns[name] for name in doing.columns if name in there.columns)
    missing = [name for name in doing.columns if name not in there.columns]
    unknown = [
        f"{script}: {doing.table} has no column {name} yet; ask again when it has." for name in missing
    ]
    return Use(there.relation, doing.verb, columns) if columns or not doing.columns else None, unknown


def _beyond(script: Script) -> list[str]:
    batches, free = ([f for f in _forms(script) if isinstance(f, kind)] for kind in (EachBatch, FreeForm))
    told = [
        f"{script.name}: what its function does to the rows of a batch, or to other tables." for _ in batches
    ]
    return told + [
        f"{script.name}: what its functions do; no form says which tables they need." for _ in free
    ]


def _forms(script: Script) -> list[Form]:
    """What it does, and what undoes that."""
    return [script.form, *([script.revert] if script.revert else [])]
