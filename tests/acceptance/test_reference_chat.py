"""The reference application: its seed, its data migrations on trial, and the databases that the tests are given."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from alembic_project import AlembicProject
from databases import CHAT_USERS, EXPANDED, ROOT, ScratchDatabase, left_open, upgrade
from datamigrate.testing import Trial
from datamigrate.testing.dumping import Dump

PutOnTrial = Callable[[str], Trial]


def seed(url: str, *arguments: str) -> str:
    outcome = AlembicProject(ROOT, url).python("-m", "chat.seed", *arguments)
    assert outcome.code == 0, outcome.err
    return outcome.out.strip()


def test_the_chat_is_seeded_before_its_data_is_migrated(chat_database: ScratchDatabase) -> None:
    one = chat_database.scalar
    assert one("SELECT version_num FROM alembic_version") == EXPANDED
    assert one("SELECT count(*) FROM users WHERE full_name IS NULL AND email_key IS NULL") == CHAT_USERS
    assert one("SELECT count(DISTINCT email) FROM users") == CHAT_USERS
    assert one("SELECT count(*) FROM users WHERE email LIKE '%+%'") > 0
    assert one("SELECT count(*) FROM users WHERE first_name LIKE '% %'") > 0
    assert one("SELECT count(*) FROM conversations WHERE slug IS NULL") == CHAT_USERS / 10
    assert one("SELECT count(*) FROM conversations WHERE title IS NULL") > 0
    assert one("SELECT count(*) - count(DISTINCT title) FROM conversations WHERE title IS NOT NULL") > 0
    sizes = "SELECT DISTINCT count(*) AS size FROM participants GROUP BY conversation_id ORDER BY size"
    assert chat_database.rows(sizes) == [(2,), (3,), (4,)]
    expired = one("SELECT count(*) FROM messages WHERE expires_at < CURRENT_TIMESTAMP")
    assert expired * 3 == one("SELECT count(*) FROM messages")


def without_ledger(dump: Dump) -> Dump:
    """The dump without the rows of datamigrate's own tables, which tell when they were written."""
    return [(table, rows) for table, rows in dump if "datamigrate_" not in table]


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_the_seed_is_the_same_every_time_and_is_sown_once(request: pytest.FixtureRequest, kind: str) -> None:
    database: ScratchDatabase = request.getfixturevalue(f"{kind}_database")
    chat_database: ScratchDatabase = request.getfixturevalue(f"{kind}_chat_database")
    upgrade(database, EXPANDED)
    assert seed(database.sync_url, "--users", str(CHAT_USERS)).startswith(
        "Seeded 500 users, 50 conversations"
    )
    sown = database.dump()
    assert without_ledger(sown) == without_ledger(chat_database.dump())
    assert seed(database.url) == "The chat is already seeded; nothing was changed."
    assert database.dump() == sown


def test_both_kinds_of_database_are_seeded_alike(
    sqlite_chat_database: ScratchDatabase, postgres_chat_database: ScratchDatabase
) -> None:
    for query in (
        "SELECT id, first_name, last_name, email FROM users ORDER BY id",
        "SELECT title FROM conversations ORDER BY id",
        "SELECT user_id FROM participants ORDER BY conversation_id, user_id",
        "SELECT user_id, body, expires_at IS NULL FROM messages ORDER BY id",
    ):
        assert sqlite_chat_database.rows(query) == postgres_chat_database.rows(query)


def test_rows_that_follow_the_seed_are_numbered_on(chat_database: ScratchDatabase) -> None:
    chat_database.execute(
        "INSERT INTO users (first_name, last_name, email, created_at) "
        "VALUES ('Ada', 'Lovelace', 'ada@example.com', CURRENT_TIMESTAMP)"
    )
    assert chat_database.scalar("SELECT max(id) FROM users") == CHAT_USERS + 1


def test_a_database_without_the_tables_is_told_which_revision_to_upgrade_to(
    database: ScratchDatabase,
) -> None:
    outcome = AlembicProject(ROOT, database.url).python("-m", "chat.seed")
    assert outcome.code == 1
    assert outcome.err.rstrip().endswith(f"The tables must be those of `alembic upgrade {EXPANDED}`.")
    assert "Traceback" not in outcome.err


def test_a_dump_notices_a_changed_row_and_a_changed_column(chat_database: ScratchDatabase) -> None:
    before = chat_database.dump()
    chat_database.execute("UPDATE users SET full_name = 'Ada' WHERE id = :id", id=7)
    changed = chat_database.dump()
    assert changed != before
    chat_database.execute("UPDATE users SET full_name = NULL WHERE id = :id", id=7)
    assert chat_database.dump() == before
    chat_database.execute("ALTER TABLE conversations ADD COLUMN extra INTEGER")
    assert chat_database.dump() != before


def test_a_connection_left_open_is_noticed(postgres_database: ScratchDatabase) -> None:
    assert postgres_database.connections() == 0
    with postgres_database.engine.connect():
        assert postgres_database.connections() == 1
    assert left_open(postgres_database) == 0


def test_a_script_may_hold_several_statements(database: ScratchDatabase) -> None:
    database.script("CREATE TABLE t (a TEXT); INSERT INTO t VALUES ('50%:x'); INSERT INTO t VALUES (NULL);")
    assert database.rows("SELECT a FROM t WHERE a IS NOT NULL") == [("50%:x",)]
    assert any(rows == [("50%:x",), (None,)] for _, rows in database.dump())


# the data migrations; on SQLite the default tests are collected from their folder


@pytest.fixture
def datamigrate_url(request: pytest.FixtureRequest) -> str | None:
    """Where the data migration is put on trial: on the kind of database that the test names."""
    server = request.getfixturevalue("postgres_server") if request.param == "postgresql" else None
    return None if server is None else str(server.url)


on_postgresql = pytest.mark.parametrize("datamigrate_url", ["postgresql"], indirect=True)
on_both = pytest.mark.parametrize("datamigrate_url", ["sqlite", "postgresql"], indirect=True)


@on_postgresql
@pytest.mark.parametrize("name", ["conversation_slug", "populate_full_name"])
def test_a_data_migration_is_resumable_on_postgresql(data_migration: PutOnTrial, name: str) -> None:
    trial = data_migration(name)
    trial.populate()
    trial.assert_resumable()


@on_both
def test_addresses_are_normalised_while_the_application_writes(data_migration: PutOnTrial) -> None:
    trial = data_migration("normalise_email")
    trial.populate()
    trial.assert_converges()


@on_both
@pytest.mark.parametrize("name", ["normalise_email", "populate_full_name"])
def test_the_contract_revision_waits_for_its_data(data_migration: PutOnTrial, name: str) -> None:
    trial = data_migration(name)
    trial.populate()
    trial.assert_gate_holds()
