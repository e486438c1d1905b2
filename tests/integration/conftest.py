from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from databases import ScratchDatabase
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


@pytest.fixture(params=["walked", "listed"])
def however_found(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once as in a small table, which is walked to find the rows, and once as in a large one with few of them."""
    if request.param == "listed":
        monkeypatch.setattr("datamigrate.doing.rows_work.MANY", 1)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries follow at once, as many as in earnest, and a held claim is asked for again soon."""
    monkeypatch.setattr("datamigrate.doing.claiming.WAIT_STEP", 0.02)
    monkeypatch.setattr("datamigrate.doing.persisting.LONGEST", 0.0)
