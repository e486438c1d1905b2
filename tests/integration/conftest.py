from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from databases import ScratchDatabase
from datamigrate.database.dialects import postgresql
from workbench import Bench


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def bench(database: ScratchDatabase, tmp_path: Path) -> Bench:
    """A bench on an empty database, once on each kind."""
    return Bench(database, tmp_path)


@pytest.fixture
def sqlite_bench(sqlite_database: ScratchDatabase, tmp_path: Path) -> Bench:
    """A bench on SQLite, for what only one writer at a time brings about."""
    return Bench(sqlite_database, tmp_path)


@pytest.fixture
def postgres_bench(postgres_database: ScratchDatabase, tmp_path: Path) -> Bench:
    """A bench on an empty PostgreSQL database."""
    return Bench(postgres_database, tmp_path)


@pytest.fixture
def bench_on(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], Bench]:
    """A bench on an empty database of the kind that the test names."""
    return lambda dialect: Bench(
        request.getfixturevalue({"sqlite": "sqlite_database", "postgresql": "postgres_database"}[dialect]),
        tmp_path,
    )


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries follow at once, as many as in earnest, and a held claim is asked for again soon."""
    monkeypatch.setattr("datamigrate.doing.claiming.WAIT_STEP", 0.02)
    monkeypatch.setattr("datamigrate.doing.persisting.LONGEST", 0.0)


@pytest.fixture(autouse=True)
def the_log_is_no_trigger(monkeypatch: pytest.MonkeyPatch) -> None:
    """The trigger by which a test sees what is written to `item` keeps no batch from beginning early."""
    judged = "datamigrate.database.dialects.postgresql._LEFT_TO_ITSELF"
    known = postgresql._LEFT_TO_ITSELF
    assert "NOT tgisinternal" in known
    monkeypatch.setattr(
        judged, known.replace("NOT tgisinternal", "tgname NOT LIKE 'log\\_written%' AND NOT tgisinternal")
    )


@pytest.fixture
def one_after_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """No batch begins before the one in front of it is kept."""
    monkeypatch.setattr("datamigrate.doing.batching.Batching._let_it_change", lambda *_: None)
