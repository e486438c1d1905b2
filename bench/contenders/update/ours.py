"""Populate people.full_name from first_name and last_name."""

import sqlalchemy as sa

from datamigrate import update_rows

name = "full_name"
requires = "1a2b3c4d5e6f"

people = sa.table(
    "people",
    sa.column("id", sa.BigInteger),
    sa.column("first_name", sa.Text),
    sa.column("last_name", sa.Text),
    sa.column("full_name", sa.Text),
)

migrate = update_rows(
    people,
    pending=people.c.full_name.is_(None),
    values={people.c.full_name: sa.func.trim(people.c.first_name + " " + people.c.last_name)},
)
