"""What somebody meets who has not set everything up yet: one clear sentence, and what to do next."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from alembic_project import Outcome
from databases import ScratchDatabase, with_driver
from projects import Project, project_in

LOOKING = ("plan", "status", "history", "run")


def sentence_of(outcome: Outcome) -> str:
    """Return what a person is told, which is neither a traceback nor data."""
    assert outcome.out == ""
    assert "Traceback" not in outcome.err
    assert outcome.err.startswith("Error: ")
    assert outcome.err.count("\n") <= 2, "one sentence and the next step"
    return outcome.err


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def server_that_knows_nobody() -> Iterator[int]:
    """Answer as PostgreSQL does to a wrong password, and nothing else."""
    fields = b"SFATAL\0VFATAL\0C28P01\0" + b'Mpassword authentication failed for user "ann"\0\0'
    refusal = b"E" + struct.pack("!i", len(fields) + 4) + fields

    def answer() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with client:
                while message := client.recv(4096):
                    is_ssl_request = len(message) == 8
                    client.sendall(b"N" if is_ssl_request else refusal)
                    if not is_ssl_request:
                        break

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_in_an_empty_directory_alembic_is_missed(tmp_path: Path) -> None:
    told = sentence_of(Project(tmp_path).datamigrate("run", exits=2))
    assert f"No Alembic configuration in {tmp_path} or above" in told
    assert "`alembic init alembic`" in told
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("verb", ["init", "list", "plan", "status", "history"])
def test_every_verb_misses_alembic_in_the_same_words(tmp_path: Path, verb: str) -> None:
    told = sentence_of(Project(tmp_path).quick(verb, exits=2))
    assert "No Alembic configuration" in told
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [("list",), ("plan",), ("status",), ("run",), ("show", "full_name")])
def test_beside_alembic_alone_the_way_to_begin_is_told(
    tmp_path: Path, sqlite_database: ScratchDatabase, arguments: tuple[str, ...]
) -> None:
    project = project_in(tmp_path / "project", sqlite_database)
    (project.root / "pyproject.toml").write_text('[tool.alembic]\nscript_location = "%(here)s/alembic"\n')
    project.scripts.rmdir()
    project.upgrade()
    told = sentence_of(project.quick(*arguments, exits=2))
    assert f"There is no folder {project.scripts} for data scripts." in told
    assert "`datamigrate init` makes one" in told


@pytest.mark.parametrize("verb", LOOKING)
def test_without_a_database_every_place_looked_at_is_named(tmp_path: Path, verb: str) -> None:
    project = project_in(tmp_path / "project")
    told = sentence_of(project.quick(verb, exits=2))
    for place in ("--url", "DATAMIGRATE_URL", "[tool.datamigrate] engine", "DATABASE_URL", "env.py"):
        assert place in told
    assert "KeyError: 'DATABASE_URL'" in told, "what env.py says of it"
    assert "Set DATABASE_URL=postgresql://" in told


def test_a_database_url_that_cannot_be_read_is_not_repeated(tmp_path: Path) -> None:
    project = project_in(tmp_path / "project")
    told = sentence_of(project.quick("plan", "--url", "postgresql:/ann:geheim@host", exits=2))
    assert "The database URL from --url cannot be read." in told
    assert "geheim" not in told
    told = sentence_of(project.quick("plan", exits=2, DATABASE_URL="mysql://ann:geheim@host/name"))
    assert "DATABASE_URL names mysql; supported are PostgreSQL and SQLite" in told
    assert "geheim" not in told
    told = sentence_of(project.quick("plan", "--url", "sqlite://", exits=2))
    assert "in-memory" in told


@pytest.mark.parametrize("verb", LOOKING)
@pytest.mark.parametrize("driver", ["sqlite", "sqlite+aiosqlite"])
def test_a_missing_sqlite_file_is_told_and_not_created(tmp_path: Path, verb: str, driver: str) -> None:
    project = project_in(tmp_path / "project")
    file = tmp_path / "nowhere.db"
    told = sentence_of(project.quick(verb, exits=1, DATABASE_URL=f"{driver}:///{file}"))
    assert f"There is no SQLite database at {file} (from DATABASE_URL)." in told
    assert "`alembic upgrade head`" in told
    assert not file.exists()


@pytest.mark.parametrize("verb", [*LOOKING, "run"])
def test_a_file_that_is_no_sqlite_database_is_told_and_left_as_it_is(tmp_path: Path, verb: str) -> None:
    project = project_in(tmp_path / "project")
    file = tmp_path / "notes.db"
    file.write_text("Not a database.\n" * 100)
    told = sentence_of(project.quick(verb, exits=1, DATABASE_URL=f"sqlite:///{file}"))
    assert f"{file} (from DATABASE_URL) is no SQLite database." in told
    assert file.read_text() == "Not a database.\n" * 100


@pytest.mark.parametrize("template", ["generic", "async"])
def test_a_missing_sqlite_file_that_only_env_py_names_is_not_created_either(
    tmp_path: Path, template: str
) -> None:
    project = Project(tmp_path)
    project.alembic("init", "-t", template, "alembic")
    ini = tmp_path / "alembic.ini"
    driver = "sqlite" if template == "generic" else "sqlite+aiosqlite"
    ini.write_text(ini.read_text().replace("driver://user:pass@localhost/dbname", f"{driver}:///nowhere.db"))
    project.scripts.mkdir()
    told = sentence_of(project.quick("status", exits=1))
    assert f"There is no SQLite database at {tmp_path / 'nowhere.db'} (from the project's env.py)." in told
    assert not (tmp_path / "nowhere.db").exists()


@pytest.mark.parametrize("verb", LOOKING)
def test_a_database_that_is_down_is_told_in_a_sentence(tmp_path: Path, verb: str) -> None:
    project = project_in(tmp_path / "project")
    url = f"postgresql://ann:geheim@127.0.0.1:{free_port()}/chat"
    told = sentence_of(project.quick(verb, exits=1, DATABASE_URL=url))
    assert "postgresql+asyncpg://ann:***@127.0.0.1:" in told
    assert "(from DATABASE_URL) does not let us in" in told
    assert "Start the database or mend the URL" in told
    assert "geheim" not in told


@pytest.mark.parametrize("driver", ["postgresql+psycopg", "postgresql+asyncpg"])
def test_a_database_that_is_down_and_only_env_py_names_is_told_too(tmp_path: Path, driver: str) -> None:
    project = Project(tmp_path)
    project.alembic("init", "-t", "async" if "asyncpg" in driver else "generic", "alembic")
    ini = tmp_path / "alembic.ini"
    url = f"{driver}://ann:geheim@127.0.0.1:{free_port()}/chat"
    ini.write_text(ini.read_text().replace("driver://user:pass@localhost/dbname", url))
    project.scripts.mkdir()
    told = sentence_of(project.quick("plan", exits=1))
    assert "The database that the project's env.py connects to does not let us in" in told
    assert "geheim" not in told
    story = project.quick("plan", "-v", exits=1).err
    assert "Traceback" in story
    assert "geheim" not in story


def test_the_whole_story_is_told_with_v_and_without_the_password(tmp_path: Path) -> None:
    project = project_in(tmp_path / "project")
    url = f"postgresql+asyncpg://ann:geheim@127.0.0.1:{free_port()}/chat"
    story = project.datamigrate("run", "-v", exits=1, DATABASE_URL=url).err
    assert "Traceback" in story
    assert "Error: postgresql+asyncpg://ann:***@127.0.0.1:" in story
    assert "geheim" not in story


def test_a_wrong_password_is_told_and_not_shown(tmp_path: Path) -> None:
    project = project_in(tmp_path / "project")
    with server_that_knows_nobody() as port:
        url = f"postgresql://ann:geheim@127.0.0.1:{port}/chat"
        told = sentence_of(project.quick("run", exits=1, DATABASE_URL=url))
        story = project.quick("run", "-v", exits=1, DATABASE_URL=url).err
    assert 'password authentication failed for user "ann"' in told
    assert "geheim" not in told + story


def test_an_unknown_database_or_role_is_told(tmp_path: Path, postgres_database: ScratchDatabase) -> None:
    project = project_in(tmp_path / "project")
    missing = with_driver(postgres_database.url, "postgresql", "no_such_database")
    told = sentence_of(project.quick("plan", exits=1, DATABASE_URL=missing))
    assert 'database "no_such_database" does not exist' in told
    stranger = with_driver(postgres_database.url, "postgresql").replace("postgres@", "stranger:geheim@")
    told = sentence_of(project.quick("plan", exits=1, DATABASE_URL=stranger))
    assert 'role "stranger" does not exist' in told
    assert "geheim" not in told


def test_a_configuration_that_cannot_be_read_names_the_file_and_the_key(tmp_path: Path) -> None:
    project = project_in(tmp_path / "project")
    pyproject = project.root / "pyproject.toml"
    good = pyproject.read_text()
    pyproject.write_text(good + 'target_tim = "1s"\n')
    told = sentence_of(project.quick("list", exits=2))
    assert f"{pyproject}: [tool.datamigrate] has an unknown key 'target_tim'." in told
    assert "Did you mean 'target_time'?" in told
    pyproject.write_text(good + 'target_time = "soon"\n')
    assert "target_time = 'soon'" in sentence_of(project.quick("list", exits=2))
    pyproject.write_text(good + "[")
    assert f"{pyproject} cannot be read" in sentence_of(project.quick("list", exits=2))


def test_an_unreachable_database_is_told_as_json_too(tmp_path: Path) -> None:
    project = project_in(tmp_path / "project")
    url = f"postgresql://ann@127.0.0.1:{free_port()}/chat"
    facts = project.json("status", exits=1, DATABASE_URL=url)
    assert facts["error"] == "DatabaseUnavailable"
    assert facts["exit"] == 1
    assert facts["hint"].startswith("Start the database or mend the URL")
