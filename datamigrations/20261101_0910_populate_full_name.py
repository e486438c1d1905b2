"""Populate users.full_name from first_name and last_name."""

import sqlalchemy as sa

from datamigrate import update_rows

name = "populate_full_name"
requires = "8a6ada1e0883"
until = "f3b85d2e7a94"  # drops the two columns read here

users = sa.table(
    "users",
    sa.column("id", sa.Integer),
    sa.column("first_name", sa.Text),
    sa.column("last_name", sa.Text),
    sa.column("full_name", sa.Text),
)

migrate = update_rows(
    users,
    key=users.c.id,
    pending=users.c.full_name.is_(None),
    values={users.c.full_name: sa.func.trim(users.c.first_name + " " + users.c.last_name)},
)
