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
def bench_on(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], Bench]:
    """A bench on an empty database of the kind that the test names."""
    return lambda dialect: Bench(request.getfixturevalue(f"{short(dialect)}_database"), tmp_path)


def short(dialect: str) -> str:
    return "postgres" if dialect == "postgresql" else dialect
