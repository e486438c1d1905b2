"""One row in 100,000."""

import sqlalchemy as sa

from datamigrate import update_rows

name = "sparse"
requires = "1a2b3c4d5e6f"

sparse = sa.table("keys_sparse", sa.column("id", sa.BigInteger), sa.column("done", sa.Integer))

migrate = update_rows(sparse, pending=sparse.c.done == 0, values={sparse.c.done: 1})
