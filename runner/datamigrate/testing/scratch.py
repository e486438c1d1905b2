"""Scratch databases: made, copied and dropped, and known to nobody else."""

import secrets
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from sqlalchemy.engine import URL, Connection, make_url
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from datamigrate.database.address import Address, address
from datamigrate.database.database import open_database
from datamigrate.database.dialects.base import Timeouts
from datamigrate.testing.waiting import waited

T = TypeVar("T")

PATIENCE = Timeouts(lock=5.0, statement=30.0)
"""Of whoever works on a scratch database beside the runner."""


class Scratch(Protocol):
    """A database of our own. Its `urls` are the ways to write where it is, likeliest first."""

    @property
    def name(self) -> str:
        """Unlike that of any other database."""

    @property
    def urls(self) -> tuple[str, ...]:
        """For env.py, whose driver may be synchronous or not."""

    def copy(self) -> "Scratch":
        """Another database with the same contents; nobody may be connected to this one."""

    def drop(self) -> None:
        """Remove it, and throw out whoever is still connected."""


@dataclass(frozen=True)
class SQLiteFile:
    """A file."""

    path: Path

    @property
    def name(self) -> str:
        """The file's."""
        return self.path.name

    @property
    def urls(self) -> tuple[str, ...]:
        """Python's own driver, then the asynchronous one."""
        return (f"sqlite:///{self.path}", f"sqlite+aiosqlite:///{self.path}")

    def copy(self) -> "SQLiteFile":
        """By SQLite's own backup, which knows of journals."""
        path = self.path.with_name(f"{_fresh_name()}.db")
        with closing(sqlite3.connect(self.path)) as here, closing(sqlite3.connect(path)) as there:
            there.execute("PRAGMA synchronous = OFF")
            here.backup(there)
        return SQLiteFile(path)

    def drop(self) -> None:
        """The file, and what SQLite may have put beside it."""
        for suffix in ("", "-wal", "-shm", "-journal"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)


@dataclass(frozen=True)
class PostgresDatabase:
    """A database on a server where we may create some; `server` is the URL that was offered."""

    server: URL
    database: str

    @property
    def name(self) -> str:
        """The database's."""
        return self.database

    @property
    def urls(self) -> tuple[str, ...]:
        """The driver of the URL that was offered, then those that env.py may want instead."""
        drivers = (self.server.drivername, "postgresql+asyncpg", "postgresql+psycopg", "postgresql")
        here = self.server.set(database=self.database)
        return tuple(
            here.set(drivername=driver).render_as_string(hide_password=False)
            for driver in dict.fromkeys(drivers)
        )

    def copy(self) -> "PostgresDatabase":
        """By PostgreSQL's own templates."""
        return created(self.server, template=self.database)

    def drop(self) -> None:
        """Whoever is still connected is thrown out."""
        _tell(self.server, f'DROP DATABASE IF EXISTS "{self.database}" WITH (FORCE)')


def created(server: URL, template: str = "template0") -> PostgresDatabase:
    """A new database on the server."""
    name = _fresh_name()
    _tell(server, f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    return PostgresDatabase(server, name)


@dataclass(eq=False)
class Workshop:
    """Makes scratch databases in a directory, or on a server if one is offered, and drops them all in the
    end. Databases that are wanted often are made once, and copied; their `tables` are read once, too."""

    directory: Path
    server: str | None = None
    tables: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    _made: list[Scratch] = field(default_factory=list)
    _templates: dict[str, Scratch] = field(default_factory=dict)

    def empty(self) -> Scratch:
        """A database without anything in it."""
        return self._noted(self._empty())

    def copy(self, scratch: Scratch) -> Scratch:
        """A copy of one that there is."""
        return self._noted(scratch.copy())

    def like(self, name: str, make: Callable[[], Scratch]) -> Scratch:
        """A copy of the one that has this name; the first who asks has it made."""
        if name not in self._templates:
            self._templates[name] = make()
        return self.copy(self._templates[name])

    def drop(self, scratch: Scratch) -> None:
        """One that is wanted no more."""
        scratch.drop()
        self._made.remove(scratch)

    def close(self) -> None:
        """Drop whatever is left."""
        while self._made:
            self._made.pop().drop()
        self._templates.clear()

    def _empty(self) -> Scratch:
        if self.server is not None and make_url(self.server).get_backend_name() == "postgresql":
            return created(make_url(self.server))
        path = self.directory / f"{_fresh_name()}.db"
        path.touch()
        return SQLiteFile(path)

    def _noted(self, scratch: Scratch) -> Scratch:
        self._made.append(scratch)
        return scratch


def address_of(scratch: Scratch) -> Address:
    """How the runner reaches it."""
    return address(scratch.urls[0], "the scratch database", Path("/"))


def on(scratch: Scratch, work: Callable[[Connection], T]) -> T:
    """What the work gives, done on a connection of its own and committed."""
    return waited(_on(scratch, work))


async def _on(scratch: Scratch, work: Callable[[Connection], T]) -> T:
    database = open_database(address_of(scratch), read_only=False)
    try:
        async with database.writing(PATIENCE, durable=False) as connection:
            return await connection.run_sync(work)
    finally:
        await database.close()


def _tell(server: URL, statement: str) -> None:
    waited(_told(server, statement))


async def _told(server: URL, statement: str) -> None:
    where = address(server, "datamigrate_url", Path("/")).url
    engine = create_async_engine(where, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        await connection.exec_driver_sql(statement)
    await engine.dispose()


def _fresh_name() -> str:
    return f"datamigrate_scratch_{secrets.token_hex(6)}"
