"""The databases that every test can ask for: empty ones, and the seeded chat."""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from chat.seed import seed
from databases import (
    CHAT_USERS,
    EXPANDED,
    SERVER_VARIABLE,
    PostgresServer,
    PostgresUnavailable,
    ScratchDatabase,
    created,
    directory_in_memory,
    fresh_name,
    sqlite_at,
    start_postgres,
    upgrade,
)
from places import LONG

DIALECTS = ("sqlite", "postgresql")
OBJECTS_BETWEEN = 20_000  # two collections; Python has 700
SHARED_SERVER = pytest.StashKey[PostgresServer]()


def pytest_configure(config: pytest.Config) -> None:
    """Have temporary files in memory where there is room for them. With several workers, start the one server that they
    share; its URL reaches them by the environment."""
    if in_memory := directory_in_memory():
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(in_memory))
    is_worker = hasattr(config, "workerinput")
    if is_worker or not config.getoption("numprocesses", None) or SERVER_VARIABLE in os.environ:
        return
    try:
        server = start_postgres(where=directory_in_memory())
    except PostgresUnavailable:
        return  # each test that needs it says so
    config.stash[SHARED_SERVER] = server
    os.environ[SERVER_VARIABLE] = server.url


def pytest_collection_finish() -> None:
    """Have Python's collector pass over what is there by now, as our commands do: with thousands of tests in memory it
    takes a third of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(OBJECTS_BETWEEN)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the server that the workers shared."""
    server = config.stash.get(SHARED_SERVER, None)
    if server is not None:
        del os.environ[SERVER_VARIABLE]
        server.stop()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL server with superuser rights; without one a skip, and in CI a failure."""
    try:
        server = start_postgres(where=directory_in_memory())
    except PostgresUnavailable as unavailable:
        if os.environ.get("CI"):
            pytest.fail(str(unavailable))
        pytest.skip(str(unavailable))
    yield server
    server.stop()


@pytest.fixture
def sqlite_database(tmp_path: Path) -> ScratchDatabase:
    """An empty SQLite database."""
    return sqlite_at(tmp_path / "scratch.db")


@pytest.fixture
def postgres_database(postgres_server: PostgresServer) -> Iterator[ScratchDatabase]:
    """An empty PostgreSQL database."""
    with created(postgres_server, fresh_name()) as database:
        yield database


@pytest.fixture(params=DIALECTS)
def database(request: pytest.FixtureRequest) -> ScratchDatabase:
    """An empty database, once on each kind."""
    return ask_for(request, {"sqlite": "sqlite_database", "postgresql": "postgres_database"})


@pytest.fixture(params=DIALECTS if LONG else ["sqlite"])
def walked_database(request: pytest.FixtureRequest) -> ScratchDatabase:
    """An empty database for a long walk through a document: SQLite, and with `make campaign` each kind."""
    return ask_for(request, {"sqlite": "sqlite_database", "postgresql": "postgres_database"})


@pytest.fixture(scope="session")
def sqlite_chat_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a seeded chat, to copy."""
    path = tmp_path_factory.mktemp("chat") / "template.db"
    fill_chat(sqlite_at(path))
    return path


@pytest.fixture(scope="session")
def postgres_chat_template(postgres_server: PostgresServer) -> Iterator[str]:
    """The name of a seeded chat's database, to clone."""
    name = fresh_name()
    with created(postgres_server, name) as database:
        fill_chat(database)
        yield name


@pytest.fixture
def sqlite_chat_database(sqlite_chat_template: Path, tmp_path: Path) -> ScratchDatabase:
    """The chat on SQLite, its schema expanded and not yet contracted, with `CHAT_USERS` users."""
    return sqlite_at(Path(shutil.copy(sqlite_chat_template, tmp_path / "chat.db")))


@pytest.fixture
def postgres_chat_database(
    postgres_server: PostgresServer, postgres_chat_template: str
) -> Iterator[ScratchDatabase]:
    """The chat on PostgreSQL, its schema expanded and not yet contracted, with `CHAT_USERS` users."""
    with created(postgres_server, fresh_name(), postgres_chat_template) as database:
        yield database


@pytest.fixture(params=DIALECTS)
def chat_database(request: pytest.FixtureRequest) -> ScratchDatabase:
    """The seeded chat, once on each kind of database."""
    return ask_for(request, {"sqlite": "sqlite_chat_database", "postgresql": "postgres_chat_database"})


def ask_for(request: pytest.FixtureRequest, fixtures: dict[str, str]) -> ScratchDatabase:
    """Return the fixture that belongs to the test's dialect."""
    database = request.getfixturevalue(fixtures[request.param])
    assert isinstance(database, ScratchDatabase)
    return database


def fill_chat(database: ScratchDatabase) -> None:
    """Build the chat's schema and seed it."""
    upgrade(database, EXPANDED)
    with ThreadPoolExecutor(1) as thread:  # the test's own thread may have an event loop
        thread.submit(asyncio.run, seed(database.url, CHAT_USERS)).result()
