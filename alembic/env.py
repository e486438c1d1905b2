"""How Alembic reaches the chat's database: the URL is `DATABASE_URL`, its driver may be async or not."""

from __future__ import annotations

import asyncio
import os
import sys
from logging.config import fileConfig
from pathlib import Path

import sqlalchemy as sa
from alembic import context
from alembic.util import CommandError
from sqlalchemy.ext.asyncio import create_async_engine

SOURCES = str(Path(__file__).resolve().parent.parent / "runner")
if SOURCES not in sys.path:  # so that `-c elsewhere/alembic.ini` finds the models from any directory
    sys.path.insert(0, SOURCES)

import datamigrate.alembic  # noqa: E402 - needs the path above
from chat.models import metadata  # noqa: E402 - needs the path above

config = context.config


def configure_logging() -> None:
    """Set up the loggers of an ini file, if there is one, and leave everybody else's alone."""
    if config.config_file_name and config.file_config.has_section("loggers"):
        fileConfig(config.config_file_name, disable_existing_loggers=False)


def database_url() -> sa.URL:
    """Return the URL to connect to, its driver made explicit."""
    text = os.environ.get("DATABASE_URL", "").strip()
    if not text:
        raise CommandError(
            "DATABASE_URL is not set: point it at the database, "
            "for example DATABASE_URL=sqlite+aiosqlite:///chat.db or DATABASE_URL=postgresql://localhost/chat."
        )
    try:
        url = sa.make_url(text)
    except (sa.exc.ArgumentError, ValueError):  # the text may hold a password, so it is not repeated
        raise CommandError(
            "DATABASE_URL is not a database URL: expected something like postgresql://user@host/name."
        ) from None
    return url.set(drivername="postgresql+asyncpg") if url.drivername == "postgresql" else url


def migrate_offline(url: sa.URL) -> None:
    """Write the SQL of the revisions to standard output; no database is needed."""
    context.configure(
        dialect_name=url.get_backend_name(),
        target_metadata=metadata,
        literal_binds=True,
        dialect_opts={"paramstyle": "named"},
        transaction_per_migration=True,
        **datamigrate.alembic.hooks(),
    )
    with context.begin_transaction():
        context.run_migrations()


def migrate_on(connection: sa.Connection) -> None:
    """Run the revisions on an open connection."""
    context.configure(
        connection=connection,
        target_metadata=metadata,
        compare_type=True,
        render_as_batch=connection.dialect.name == "sqlite",
        transaction_per_migration=True,  # a revision that fails leaves those before it applied
        **datamigrate.alembic.hooks(),
    )
    with context.begin_transaction():
        context.run_migrations()


def migrate_sync(url: sa.URL) -> None:
    """Connect with a synchronous driver."""
    engine = sa.create_engine(url, poolclass=sa.pool.NullPool)
    with engine.connect() as connection:
        migrate_on(connection)


async def migrate_async(url: sa.URL) -> None:
    """Connect with an asynchronous driver."""
    engine = create_async_engine(url, poolclass=sa.pool.NullPool)
    async with engine.connect() as connection:
        await connection.run_sync(migrate_on)


def main() -> None:
    """Choose between SQL output, the caller's connection, and one of our own."""
    connection = config.attributes.get("connection")
    if connection is not None and not context.is_offline_mode():
        migrate_on(connection)
        return
    url = database_url()
    if context.is_offline_mode():
        migrate_offline(url)
    elif url.get_dialect().is_async:
        asyncio.run(migrate_async(url))
    else:
        migrate_sync(url)


configure_logging()
main()
