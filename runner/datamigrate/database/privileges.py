"""What a role may do on PostgreSQL, and what the scripts' forms do with which tables."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.sql import visitors

from datamigrate.authoring.forms import DeleteRows, Form, FreeForm, RowsForm, UpdateRows
from datamigrate.thought.privileges import STATISTICS, Relation, Right

# neither needs a right to what it looks for, unlike regclass and the inspector's search path
_RELATIONS = """
SELECT n.nspname, c.relname, quote_ident(n.nspname),
       quote_ident(n.nspname) || '.' || quote_ident(c.relname),
       ARRAY(SELECT quote_ident(sn.nspname) || '.' || quote_ident(s.relname)
             FROM pg_depend d JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S'
             JOIN pg_namespace sn ON sn.oid = s.relnamespace
             WHERE d.refobjid = c.oid AND d.deptype IN ('a', 'i') ORDER BY 1),
       ARRAY(SELECT a.attname::text FROM pg_attribute a
             WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum),
       ARRAY(SELECT quote_ident(a.attname) FROM pg_attribute a
             WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relname = ANY (CAST(:names AS text[]))
"""
_PATH = """
SELECT n.nspname
FROM unnest(string_to_array(current_setting('search_path'), ',')) WITH ORDINALITY AS p(name, place)
JOIN pg_namespace n ON n.nspname = replace(trim(BOTH ' "' FROM p.name), '$user', current_user)
ORDER BY p.place
"""
_HELD = """
WITH relation AS (
    SELECT c.oid, c.relkind, quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS name
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
), right_to AS (
    SELECT 'TABLE ' || name AS thing, verb, NULL AS part, has_table_privilege(:role, oid, verb) AS held
    FROM relation, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS verb
    WHERE 'TABLE ' || name = ANY (CAST(:things AS text[]))
    UNION ALL
    SELECT 'TABLE ' || name, verb, quote_ident(attname), has_column_privilege(:role, oid, attnum, verb)
    FROM relation JOIN pg_attribute ON attrelid = oid AND attnum > 0 AND NOT attisdropped,
         unnest(ARRAY['SELECT', 'UPDATE']) AS verb
    WHERE 'TABLE ' || name = ANY (CAST(:things AS text[]))
    UNION ALL
    SELECT 'SEQUENCE ' || name, 'USAGE', NULL,
           CASE WHEN relkind = 'S' THEN has_sequence_privilege(:role, oid, 'USAGE') END
    FROM relation WHERE 'SEQUENCE ' || name = ANY (CAST(:things AS text[]))
    UNION ALL
    SELECT 'SCHEMA ' || quote_ident(nspname), verb, NULL, has_schema_privilege(:role, oid, verb)
    FROM pg_namespace, unnest(ARRAY['USAGE', 'CREATE']) AS verb
    UNION ALL
    SELECT 'DATABASE ' || quote_ident(datname), verb, NULL, has_database_privilege(:role, oid, verb)
    FROM pg_database, unnest(ARRAY['CONNECT', 'CREATE']) AS verb
)
SELECT verb, thing, part FROM right_to WHERE held
"""

_FILTERED = """
SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS name
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_roles r ON r.rolname = :role
WHERE c.relrowsecurity AND NOT r.rolsuper AND NOT r.rolbypassrls
AND (c.relforcerowsecurity OR NOT pg_has_role(r.oid, c.relowner, 'USAGE'))
AND 'TABLE ' || quote_ident(n.nspname) || '.' || quote_ident(c.relname) = ANY (CAST(:things AS text[]))
ORDER BY 1
"""


@dataclass(frozen=True)
class Named:
    """A table as a script or a setting names it."""

    name: str
    schema: str | None = None

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}" if self.schema else self.name


@dataclass(frozen=True)
class Found:
    """A table that is there, with its columns' names as SQL has them."""

    relation: Relation
    columns: dict[str, str]


@dataclass(frozen=True)
class Doing:
    """What a form does with a table; the whole of it where it names no columns."""

    table: Named
    verb: str
    columns: tuple[str, ...] = ()


def doings_of(form: Form) -> list[Doing]:
    """What the form's own statements do, and those that put back what its undo log keeps; what its function executes
    besides cannot be known."""
    if isinstance(form, FreeForm):
        return []
    table = Named(form.table.name, form.table.schema)
    doings = [Doing(table, "SELECT")]
    if isinstance(form, DeleteRows):
        doings.append(Doing(table, "DELETE"))
        doings += [Doing(table, "INSERT")] if form.options.undo_log else []
    elif form.updated:
        doings.append(Doing(table, "UPDATE", form.updated))
    return doings + [Doing(other, "SELECT") for other in _also_read(form) if other != table]


def find_relations(connection: Connection, names: Collection[Named]) -> dict[Named, Found]:
    """Those of the tables that are there, in the schema they name or the first of the search path."""
    path = list(connection.scalars(sa.text(_PATH)))
    found: dict[tuple[str, str], Found] = {}
    wanted = {"names": sorted({n.name for n in names})}
    for row in connection.execute(sa.text(_RELATIONS), wanted):
        schema, name, quoted_schema, quoted, sequences, columns, quoted_columns = row
        relation = Relation(quoted_schema, quoted, tuple(sequences))
        found[schema, name] = Found(relation, dict(zip(columns, quoted_columns, strict=True)))
    places = {n: [n.schema] if n.schema else path for n in names}
    there = {n: [found[place, n.name] for place in places[n] if (place, n.name) in found] for n in names}
    return {n: first for n, (first, *_) in ((n, ones) for n, ones in there.items() if ones)}


def held_by(connection: Connection, role: str, things: Collection[str]) -> frozenset[Right]:
    """What the role may do with these things, by whatever way it has come to that."""
    asked = {"role": role, "things": sorted(things)}
    return frozenset(Right(*row) for row in connection.execute(sa.text(_HELD), asked))


def filtered_for(connection: Connection, role: str, things: Collection[str]) -> tuple[str, ...]:
    """Those of these tables of which policies decide which rows the role sees."""
    asked = {"role": role, "things": sorted(things)}
    return tuple(connection.scalars(sa.text(_FILTERED), asked))


def owns(connection: Connection, role: str, table: str) -> bool:
    """Whether the role may alter this table: it is its owner's, or a member of it."""
    owner = sa.text(
        "SELECT pg_has_role(:role, c.relowner, 'USAGE') "
        "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE quote_ident(n.nspname) || '.' || quote_ident(c.relname) = :name"
    )
    return bool(connection.scalar(owner, {"role": role, "name": table}))


def sees_statistics(connection: Connection, role: str) -> bool:
    """Whether the role sees what other sessions and replicas do."""
    return bool(connection.scalar(sa.select(sa.func.pg_has_role(role, STATISTICS, "USAGE"))))


def quoted(connection: Connection, name: str) -> str:
    """A name as SQL has it."""
    return str(connection.scalar(sa.select(sa.func.quote_ident(name))))


def role_exists(connection: Connection, role: str) -> bool:
    """Whether the server knows the role."""
    return bool(connection.scalar(sa.text("SELECT 1 FROM pg_roles WHERE rolname = :role"), {"role": role}))


def schema_exists(connection: Connection, schema: str) -> bool:
    """Whether there is such a schema, seen or not."""
    return bool(
        connection.scalar(sa.text("SELECT 1 FROM pg_namespace WHERE nspname = :name"), {"name": schema})
    )


def default_schema(connection: Connection) -> str:
    """The first schema of the search path, whether its use is allowed or not."""
    return next(iter(connection.scalars(sa.text(_PATH))), "public")


def _also_read(form: RowsForm) -> Iterator[Named]:
    expressions: list[Any] = [form.pending]
    if isinstance(form, UpdateRows):
        expressions += form.values.values()
    for expression in expressions:
        if isinstance(expression, sa.ClauseElement):
            for element in visitors.iterate(expression):
                if isinstance(element, sa.TableClause):
                    yield Named(element.name, element.schema)
