"""Where is measured: one database, and in it a table that is fresh and the same for every run."""

import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from secrets import token_hex

import sqlalchemy as sa

from databases import PostgresServer, start_postgres, with_driver

SERVER_VARIABLE = "DATAMIGRATE_BENCH_PG"
REVISION = "1a2b3c4d5e6f"

# as a server in production has them; what is not named is PostgreSQL's default, fsync among them
SERVER_SETTINGS = {
    "shared_buffers": "1GB",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "30min",
    "max_connections": "100",
}

COLUMNS = (
    "id, first_name text NOT NULL, last_name text NOT NULL, email text NOT NULL, full_name text, lookup text, "
    "visits integer NOT NULL"
)
NUMBERED = "SELECT i, 'First' || i, 'Last' || (i % 1000), '  Person' || i || '@Example.org ', NULL, NULL, 0 FROM {numbers}"


@dataclass(frozen=True)
class Ground(ABC):
    """A database that runs are measured in; `url` is for synchronous drivers."""

    url: str

    dialect = ""

    @cached_property
    def engine(self) -> sa.Engine:
        """Commits after every statement, and keeps no connection open."""
        return sa.create_engine(self.url, poolclass=sa.pool.NullPool, isolation_level="AUTOCOMMIT")

    def execute(self, *statements: str) -> None:
        """Each of them, committed."""
        with self.engine.connect() as connection:
            for statement in statements:
                connection.execute(sa.text(statement))

    def scalar(self, query: str) -> object:
        """The first value that a query gives."""
        with self.engine.connect() as connection:
            return connection.scalar(sa.text(query))

    @abstractmethod
    def freshen(self, rows: int) -> None:
        """Put `people` with so many rows, and an empty `labels`, in place: no bloat, statistics known,
        everything on disk."""

    @abstractmethod
    def settle(self) -> None:
        """Statistics known, everything on disk, as after a quiet night."""

    @abstractmethod
    def version(self) -> str:
        """The database's name and version."""


class PostgreSQLGround(Ground):
    """One database of a server."""

    dialect = "postgresql"

    def freshen(self, rows: int) -> None:
        """A copy of the template, which is filled once."""
        held = self._held()
        if held < rows:
            numbers = f"generate_series({held + 1}, {rows}) i"
            self.execute(
                f"CREATE TABLE IF NOT EXISTS template ({COLUMNS.replace('id', 'id bigint', 1)})",
                f"INSERT INTO template {NUMBERED.format(numbers=numbers)}",
            )
        self.clear()
        self.execute(
            f"CREATE TABLE people AS SELECT * FROM template WHERE id <= {rows}",
            "ALTER TABLE people ADD PRIMARY KEY (id)",
            "ALTER TABLE people ALTER first_name SET NOT NULL, ALTER last_name SET NOT NULL, "
            "ALTER email SET NOT NULL, ALTER visits SET NOT NULL",
            "CREATE TABLE labels (person_id bigint PRIMARY KEY, label text NOT NULL)",
        )
        self.settle()

    def clear(self) -> None:
        """Take away what runs have left: their tables, and the ledger."""
        with self.engine.connect() as connection:
            ledger = [t for t in sa.inspect(connection).get_table_names() if t.startswith("datamigrate_")]
        self.execute(f"DROP TABLE IF EXISTS {', '.join(['people', 'labels', *ledger])}")

    def _held(self) -> int:
        if self.scalar("SELECT to_regclass('template')") is None:
            return 0
        return int(str(self.scalar("SELECT coalesce(max(id), 0) FROM template")))

    def settle(self) -> None:
        """Vacuum, analyze, checkpoint."""
        self.execute("VACUUM (ANALYZE)", "CHECKPOINT")

    def version(self) -> str:
        """As the server tells it."""
        return f"PostgreSQL {self.scalar('SHOW server_version')}"


class SQLiteGround(Ground):
    """One file, in WAL mode."""

    dialect = "sqlite"

    @property
    def file(self) -> Path:
        """The database's file."""
        return Path(str(sa.make_url(self.url).database))

    def freshen(self, rows: int) -> None:
        """A copy of the template's file, which is filled once for each number of rows."""
        template = self.file.with_name(f"template-{rows}.db")
        if not template.exists():
            self._fill(SQLiteGround(f"sqlite:///{template}"), rows)
        for file in self.file.parent.glob(f"{self.file.name}*"):
            file.unlink()
        shutil.copy(template, self.file)

    @staticmethod
    def _fill(template: "SQLiteGround", rows: int) -> None:
        numbers = f"(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows}) SELECT i FROM n)"
        template.execute(
            "PRAGMA journal_mode = WAL",
            f"CREATE TABLE people ({COLUMNS.replace('id', 'id integer PRIMARY KEY', 1)})",
            "CREATE TABLE labels (person_id integer PRIMARY KEY, label text NOT NULL)",
            f"INSERT INTO people {NUMBERED.format(numbers=numbers)}",
        )
        enrol(template)
        template.settle()

    def settle(self) -> None:
        """Analyze, and the log into the file."""
        self.execute("ANALYZE", "PRAGMA wal_checkpoint(TRUNCATE)")

    def version(self) -> str:
        """The version of the library that Python brings."""
        return f"SQLite {self.scalar('SELECT sqlite_version()')}, WAL"


def enrol(ground: Ground, revision: str = REVISION) -> None:
    """Say that the schema is where the scripts require it to be."""
    ground.execute(
        "CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)",
        f"INSERT INTO alembic_version VALUES ('{revision}')",
    )


@contextmanager
def postgresql_ground() -> Iterator[PostgreSQLGround]:
    """A database of its own on the server that `DATAMIGRATE_BENCH_PG` names, or on one started for it.

    Raises PostgresUnavailable.
    """
    server = start_postgres(SERVER_VARIABLE, SERVER_SETTINGS)
    try:
        with _database_of(server) as ground:
            enrol(ground)
            yield ground
    finally:
        server.stop()


@contextmanager
def _database_of(server: PostgresServer) -> Iterator[PostgreSQLGround]:
    name = f"bench_{token_hex(4)}"
    whole = PostgreSQLGround(server.url)
    whole.execute(f"CREATE DATABASE {name}")
    try:
        yield PostgreSQLGround(with_driver(server.url, "postgresql+psycopg", name))
    finally:
        whole.execute(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def sqlite_ground(folder: Path) -> Iterator[SQLiteGround]:
    """A file in this folder."""
    yield SQLiteGround(f"sqlite:///{folder / 'people.db'}")
