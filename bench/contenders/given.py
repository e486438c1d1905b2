"""What a project has anyway and nobody writes for the change: connections, and frameworks set up.

A framework is imported by those who use it only: their memory is measured.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa


def engine_for(url: str) -> sa.Engine:
    """A synchronous engine whose foreign keys and transactions are the driver's own."""
    return sa.create_engine(url, hide_parameters=True)


def for_asyncpg(url: str) -> str:
    """The same database for asyncpg itself."""
    return sa.make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


def sqlite_file(url: str) -> str:
    """Where the database is, for sqlite3 itself."""
    return sa.make_url(url).database or ""


@contextmanager
def upgrading(url: str) -> Iterator[None]:
    """Inside `alembic upgrade`: `op` works, in one transaction, which is what Alembic does by default."""
    from alembic.migration import MigrationContext
    from alembic.operations import Operations

    with (
        engine_for(url).begin() as connection,
        Operations.context(MigrationContext.configure(connection)),
    ):
        yield


def set_django_up(url: str) -> None:
    """Django's settings for the database at this URL; models can be imported after it."""
    import django
    from django.conf import settings

    given = sa.make_url(url)
    engine = "sqlite3" if given.get_backend_name() == "sqlite" else "postgresql"
    database = {
        "ENGINE": f"django.db.backends.{engine}",
        "NAME": given.database,
        "USER": given.username or "",
        "PASSWORD": given.password or "",
        "HOST": given.host or "",
        "PORT": given.port or "",
    }
    settings.configure(DATABASES={"default": database}, DEFAULT_AUTO_FIELD="django.db.models.BigAutoField")
    django.setup()
