"""Every row of a table with random UUIDs as keys."""

import sqlalchemy as sa

from datamigrate import update_rows

name = "uuids"
requires = "1a2b3c4d5e6f"

uuids = sa.table("keys_uuids", sa.column("id", sa.Uuid), sa.column("done", sa.Integer))

migrate = update_rows(uuids, pending=uuids.c.done == 0, values={uuids.c.done: 1})
