"""A script that reaches past the connection it is lent is known by its text."""

from __future__ import annotations

import pytest

from datamigrate.authoring.reach import reaches_past


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("import asyncpg", ("asyncpg",)),
        ("from sqlite3 import connect", ("sqlite3",)),
        ("from sqlalchemy import create_engine", ("create_engine",)),
        ("engine = sa.create_engine(url)", ("create_engine",)),
        ("raw = await connection.get_raw_connection()", ("get_raw_connection",)),
    ],
)
def test_what_gets_at_a_driver_is_named(line: str, names: tuple[str, ...]) -> None:
    assert reaches_past(f"async def migrate(session):\n    {line}\n") == names


def test_what_only_speaks_of_it_is_left_alone() -> None:
    assert reaches_past('"""No asyncpg here."""\n# create_engine\nname = "sqlite3"\n') == ()
