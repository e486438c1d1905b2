"""The types that an author's editor and type checker see: a good script passes, each mistake is told."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import datamigrate

PACKAGES = Path(datamigrate.__file__).parent.parent

HEADER = '''"""Fill the new columns."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from datamigrate import Batch, DatamigrateError, compute_rows, delete_rows, each_batch, update_rows

name = "fill"
requires = "8a6ada1e0883"
depends_on = ("other",)

users = sa.table(
    "users", sa.column("id", sa.Integer), sa.column("old", sa.Text), sa.column("new", sa.Text)
)
'''

GOOD = (
    HEADER
    + """
plain = update_rows(users, pending=users.c.new.is_(None), values={users.c.new: users.c.old})
tuned = update_rows(
    users,
    key=(users.c.id, users.c.old),
    pending=users.c.new.is_(None) & users.c.old.is_not(None),
    values={users.c.new: sa.func.trim(users.c.old), users.c.old: None},
    batch_size=100,
    target_time=0.25,
    max_pause=2,
    tags=["nightly"],
    on_row_error="quarantine",
    max_quarantined=10,
)
gone = delete_rows(users, key=users.c.id, pending=users.c.new < sa.func.now(), tags="nightly")


@compute_rows(users, pending=users.c.new.is_(None), reads=[users.c.old], writes=[users.c.new])
def per_row(row: Any) -> dict[str, str] | None:
    return {"new": row.old.strip()} if row.old else None


@compute_rows(users, pending=users.c.new.is_(None), reads=[users.c.old], writes=[users.c.new], concurrency=3)
async def per_batch(rows: Sequence[Any]) -> list[dict[str, str] | None]:
    return [{"new": row.old} for row in rows]


@each_batch(users, pending=users.c.new.is_(None))
async def in_batches(batch: Batch) -> None:
    result = await batch.execute(sa.update(users).where(batch.rows).values(new=users.c.old))
    rows: int = result.rowcount
    number: int = batch.number
    await batch.execute(sa.insert(users), [{"id": rows}, {"id": number}])
    if batch.lower is not None and batch.lower > batch.upper:
        raise DatamigrateError("This cannot be.", "Look again.")


def test_per_row(row: Any) -> None:
    assert per_row(row) == {"new": "x"}


async def migrate(session: AsyncSession) -> None:
    await session.execute(sa.text("UPDATE users SET new = old"))


async def remaining(session: AsyncSession) -> int:
    return await session.scalar(sa.text("SELECT 0")) or 0
"""
)

MISTAKES = {
    "a misspelt option": (
        "migrate = delete_rows(users, pending=users.c.new.is_(None), batchsize=1)",
        "call-arg",
    ),
    "a missing pending": ("migrate = delete_rows(users, key=users.c.id)", "call-arg"),
    "a pending that is text": ('migrate = delete_rows(users, pending="new IS NULL")', "arg-type"),
    "a table that is text": ('migrate = delete_rows("users", pending=users.c.new.is_(None))', "arg-type"),
    "a batch size that is text": (
        'migrate = delete_rows(users, pending=users.c.new.is_(None), batch_size="1")',
        "arg-type",
    ),
    "positional arguments": ("migrate = delete_rows(users, users.c.id, users.c.new.is_(None))", "call-arg"),
    "values that are no mapping": (
        "migrate = update_rows(users, pending=users.c.new.is_(None), values=[users.c.new])",
        "arg-type",
    ),
    "a batch function that is not asynchronous": (
        "@each_batch(users, pending=users.c.new.is_(None))\ndef migrate(batch: Batch) -> None: ...",
        "arg-type",
    ),
    "a batch function of something else": (
        "@each_batch(users, pending=users.c.new.is_(None))\n"
        "async def migrate(session: AsyncSession) -> None: ...",
        "arg-type",
    ),
    "an attribute that a batch does not have": (
        "@each_batch(users, pending=users.c.new.is_(None))\n"
        "async def migrate(batch: Batch) -> None:\n    await batch.commit()",
        "attr-defined",
    ),
    "a plain string to execute": (
        "@each_batch(users, pending=users.c.new.is_(None))\n"
        'async def migrate(batch: Batch) -> None:\n    await batch.execute("SELECT 1")',
        "arg-type",
    ),
    "a name that is not on the menu": ("from datamigrate import insert_rows", "attr-defined"),
}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What mypy says of the good script and of each mistake: its messages by file, from one run."""
    directory = tmp_path_factory.mktemp("scripts")
    (directory / "good.py").write_text(GOOD)
    for number, (mistake, _) in enumerate(MISTAKES.values()):
        (directory / f"mistake_{number}.py").write_text(f"{HEADER}\n{mistake}\n")
    checked = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--show-error-codes"),
            *("--cache-dir", str(directory / "cache"), *map(str, sorted(directory.glob("*.py")))),
        ],
        cwd=directory,
        env={"MYPYPATH": str(PACKAGES), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode in (0, 1), checked.stdout + checked.stderr
    messages: dict[str, list[str]] = {}
    for line in checked.stdout.splitlines():
        messages.setdefault(Path(line.partition(":")[0]).name, []).append(line)
    return messages


def test_a_script_as_an_author_would_write_it_is_well_typed(told: dict[str, list[str]]) -> None:
    assert told.get("good.py", []) == []


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told_by_the_type_checker(told: dict[str, list[str]], mistake: str) -> None:
    messages = told.get(f"mistake_{list(MISTAKES).index(mistake)}.py", [])
    assert any(f"[{MISTAKES[mistake][1]}]" in message for message in messages), messages


def test_nothing_else_is_told(told: dict[str, list[str]]) -> None:
    assert set(told) <= {f"mistake_{number}.py" for number in range(len(MISTAKES))}
