"""Compute people.lookup from three columns, in a coroutine that gives way once for each row."""

import asyncio
from typing import Any

import sqlalchemy as sa

from datamigrate import compute_rows

name = "lookup"
requires = "1a2b3c4d5e6f"

people = sa.table(
    "people",
    sa.column("id", sa.BigInteger),
    sa.column("first_name", sa.Text),
    sa.column("last_name", sa.Text),
    sa.column("email", sa.Text),
    sa.column("lookup", sa.Text),
)


@compute_rows(
    people,
    pending=people.c.lookup.is_(None),
    reads=[people.c.email, people.c.last_name, people.c.first_name],
    writes=[people.c.lookup],
)
async def migrate(row: Any) -> dict[str, str]:
    await asyncio.sleep(0)
    return {"lookup": f"{row.email.strip().lower()}/{row.last_name.lower()}/{len(row.first_name)}"}
