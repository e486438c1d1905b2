"""Triggers that note what happens to rows, whoever does it."""

from collections.abc import Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from datamigrate.database.ledger.tables import PREFIX
from datamigrate.testing.rows import Difference

KEYS = f"{PREFIX}keys_written"


def after(dialect: str, name: str, verbs: Sequence[str], table: str, body: str, when: str = "") -> list[str]:
    """The statements that make a trigger: after each row that any of the verbs (UPDATE, DELETE, INSERT)
    writes, and `when` holds, do what the body says."""
    condition = f" WHEN ({when})" if when else ""
    if dialect == "sqlite":
        names = [name] if len(verbs) == 1 else [f"{name}_{verb.lower()}" for verb in verbs]
        return [
            f"CREATE TRIGGER {trigger} AFTER {verb} ON {table}{condition} BEGIN {body} END;"
            for trigger, verb in zip(names, verbs, strict=True)
        ]
    return [
        f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} RETURN NULL; END $$;",
        f"CREATE TRIGGER {name} AFTER {' OR '.join(verbs)} ON {table} FOR EACH ROW{condition} "
        f"EXECUTE FUNCTION {name}();",
    ]


def watch_keys(
    connection: Connection, tables: Mapping[str, sa.Table], keys: Mapping[str, tuple[str, ...]]
) -> None:
    """Note from now on each row of these tables whose key is written to another value."""
    dialect = connection.dialect.name
    connection.exec_driver_sql(f"CREATE TABLE {KEYS} (place INTEGER, name TEXT, before TEXT, after TEXT)")
    quote = connection.dialect.identifier_preparer
    for place, (name, key) in enumerate(keys.items()):
        columns = [quote.quote(column) for column in key]
        shown = ", ".join(_shown(row, columns) for row in ("OLD", "NEW"))
        differs = "IS NOT" if dialect == "sqlite" else "IS DISTINCT FROM"
        moved = " OR ".join(f"OLD.{column} {differs} NEW.{column}" for column in columns)
        body = f"INSERT INTO {KEYS} VALUES ({place}, '{name}', {shown});"
        table = quote.format_table(tables[name])
        for statement in after(dialect, f"{KEYS}_{place}", ("UPDATE",), table, body, moved):
            connection.execution_options(no_parameters=True).exec_driver_sql(statement)


def key_writes(connection: Connection) -> list[Difference]:
    """The rows whose key was written."""
    found = connection.execute(sa.text(f"SELECT name, before, after FROM {KEYS} ORDER BY place, before"))
    return [Difference(row.name, row.before, {"key": row.before}, {"key": row.after}) for row in found]


def _shown(row: str, columns: Sequence[str]) -> str:
    return " || ', ' || ".join(f"'{column}=' || CAST({row}.{column} AS TEXT)" for column in columns)
