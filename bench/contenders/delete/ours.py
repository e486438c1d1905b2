"""Delete every second person."""

import sqlalchemy as sa

from datamigrate import delete_rows

name = "every_second"
requires = "1a2b3c4d5e6f"

people = sa.table("people", sa.column("id", sa.BigInteger))

migrate = delete_rows(people, pending=people.c.id % 2 == 0)
