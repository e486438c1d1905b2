"""Every row of a table with numbers as keys."""

import sqlalchemy as sa

from datamigrate import update_rows

name = "dense"
requires = "1a2b3c4d5e6f"

dense = sa.table("keys_dense", sa.column("id", sa.BigInteger), sa.column("done", sa.Integer))

migrate = update_rows(dense, pending=dense.c.done == 0, values={dense.c.done: 1})
