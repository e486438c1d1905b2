"""Every row of a table with a key of two columns."""

import sqlalchemy as sa

from datamigrate import update_rows

name = "composite"
requires = "1a2b3c4d5e6f"

composite = sa.table(
    "keys_composite",
    sa.column("tenant", sa.Integer),
    sa.column("id", sa.BigInteger),
    sa.column("done", sa.Integer),
)

migrate = update_rows(composite, pending=composite.c.done == 0, values={composite.c.done: 1})
