"""Data migrations, scripts and statements for tests that need no database."""

from __future__ import annotations

import ast
import importlib.util
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import sqlalchemy as sa

from datamigrate.authoring.loading import load_script
from datamigrate.authoring.meaning import checksum
from datamigrate.authoring.script import Script
from datamigrate.database.keyset import Keyset
from datamigrate.words.claim import Claim, Owner
from datamigrate.words.errors import ScriptError
from datamigrate.words.migration import Migration

DIALECTS: dict[str, sa.Dialect] = {
    "sqlite": sa.make_url("sqlite+aiosqlite://").get_dialect()(),
    "postgresql": sa.make_url("postgresql+asyncpg://").get_dialect()(),
}

HEADER = 'name = "sample"\nrequires = "8a6ada1e0883"\n'
FREE = f"{HEADER}\nasync def migrate(session):\n    ...\n"
TABLE = (
    "import sqlalchemy as sa\n"
    "from datamigrate import compute_rows, delete_rows, each_batch, update_rows\n"
    'users = sa.table("users", sa.column("id", sa.Integer), sa.column("old", sa.Text), '
    'sa.column("new", sa.Text))\n'
)
PENDING = "pending=users.c.new.is_(None)"

users = sa.table(
    "users",
    sa.column("id", sa.Integer),
    sa.column("email", sa.Text),
    sa.column("email_key", sa.Text),
)
orders = sa.table(
    "orders",
    sa.column("tenant_id", sa.Integer),
    sa.column("id", sa.Uuid),
    sa.column("total", sa.Numeric),
    sa.column("paid", sa.Boolean),
)
USERS = Keyset(users, ("id",), (sa.Integer(),))
ORDERS = Keyset(orders, ("tenant_id", "id"), (sa.Integer(), sa.Uuid()))

OWNER = Owner("ann", "web-1", 4711, "4026531836", "c0ffee")


def migration(
    name: str,
    depends_on: tuple[str, ...] = (),
    requires: tuple[str, ...] = (),
    file: str = "",
    checksum: str = "1",
) -> Migration:
    """A data migration as the planner sees it."""
    return Migration(
        name=name,
        file=Path("datamigrations") / (file or f"{name}.py"),
        title=f"The one called {name}",
        requires=requires,
        depends_on=depends_on,
        until=(),
        tags=frozenset(),
        kind="update",
        checksum=checksum,
    )


def claim(**changes: Any) -> Claim:
    """A claim on the first range of a migration."""
    return replace(Claim("fill", number=0, generation=3, owner=OWNER), **changes)


def sql(statement: sa.ClauseElement, dialect: str) -> str:
    """The statement as a database reads it, on one line."""
    return " ".join(str(statement.compile(dialect=DIALECTS[dialect])).split())


def given(statement: sa.ClauseElement) -> dict[str, Any]:
    """The parameters that a statement carries."""
    return dict(statement.compile(dialect=DIALECTS["sqlite"]).params)


def written(directory: Path, text: str | bytes, name: str = "20261122_1004_sample.py") -> Path:
    """The text as a script's file."""
    file = directory / name
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def loaded(directory: Path, text: str) -> Script:
    """The script that this text is."""
    return load_script(written(directory, text))


def refused(directory: Path, text: str | bytes) -> ScriptError:
    """Why this text is no script."""
    with pytest.raises(ScriptError) as caught:
        load_script(written(directory, text))
    return caught.value


def meaning(text: str) -> str:
    """The checksum of this text."""
    return checksum(ast.parse(text))


def module_at(file: Path) -> ModuleType:
    """The file's module, to call its functions."""
    spec = importlib.util.spec_from_file_location(f"sample_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
