"""Give every person a row in labels."""

import sqlalchemy as sa

from datamigrate import Batch, each_batch

name = "labels"
requires = "1a2b3c4d5e6f"

people = sa.table(
    "people",
    sa.column("id", sa.BigInteger),
    sa.column("first_name", sa.Text),
    sa.column("last_name", sa.Text),
)
labels = sa.table("labels", sa.column("person_id", sa.BigInteger), sa.column("label", sa.Text))


@each_batch(people, pending=~sa.exists().where(labels.c.person_id == people.c.id))
async def migrate(batch: Batch) -> None:
    label = sa.func.trim(people.c.first_name + " " + people.c.last_name)
    rows = sa.select(people.c.id, label).where(batch.rows)
    await batch.execute(sa.insert(labels).from_select(["person_id", "label"], rows))
