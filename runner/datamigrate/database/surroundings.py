"""What stands around a table that a migration writes: indexes, triggers, foreign keys, row-level security."""

from collections.abc import Iterator

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Inspector

from datamigrate.authoring.forms import DeleteRows, RowsForm


def around(connection: Connection, form: RowsForm) -> tuple[str, ...]:
    """What an operator should know before rows of this table are written, a sentence each."""
    inspector = sa.inspect(connection)
    return (
        *_indexes(inspector, form),
        *_triggers(connection, form.table),
        *(_cascades(inspector, form.table) if isinstance(form, DeleteRows) else ()),
        *_security(connection, form.table),
    )


def _indexes(inspector: Inspector, form: RowsForm) -> Iterator[str]:
    written = set(form.written)
    for index in inspector.get_indexes(form.table.name, schema=form.table.schema):
        touched = sorted(written & {column for column in index["column_names"] if column})
        if touched:
            yield (
                f"Index {index['name']} contains {', '.join(touched)}, which is written: every row is then entered "
                "into every index again, and the work can take several times as long. If you can, create the "
                "index after the data, in the contract revision."
            )


def _triggers(connection: Connection, table: sa.TableClause) -> Iterator[str]:
    if connection.dialect.name == "sqlite":
        query = sa.text(
            "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = :name ORDER BY name"
        )
        names = connection.scalars(query, {"name": table.name}).all()
    else:
        names = connection.scalars(
            sa.text(
                "SELECT t.tgname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid "
                "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE NOT t.tgisinternal AND t.tgenabled <> 'D' "
                "AND c.relname = :name AND n.nspname = coalesce(:schema, current_schema()) ORDER BY t.tgname"
            ),
            {"name": table.name, "schema": table.schema},
        ).all()
    if names:
        yield f"Triggers on {table.name} may fire for every row: {', '.join(names)}."


def _cascades(inspector: Inspector, table: sa.TableClause) -> Iterator[str]:
    for name in inspector.get_table_names(schema=table.schema):
        for key in inspector.get_foreign_keys(name, schema=table.schema):
            action = str(key["options"].get("ondelete", "NO ACTION")).upper()
            if key["referred_table"] == table.name and action in ("CASCADE", "SET NULL", "SET DEFAULT"):
                yield f"Deleting from {table.name} reaches {name} ({', '.join(key['constrained_columns'])}: {action})."


def _security(connection: Connection, table: sa.TableClause) -> Iterator[str]:
    if connection.dialect.name == "sqlite":
        return
    secured = connection.scalar(
        sa.text(
            "SELECT c.relrowsecurity FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE c.relname = :name AND n.nspname = coalesce(:schema, current_schema())"
        ),
        {"name": table.name, "schema": table.schema},
    )
    if secured:
        yield f"{table.name} has row-level security: rows that this role does not see are not migrated."
