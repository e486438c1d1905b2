"""A loop over the rows in an Alembic revision."""

import sqlalchemy as sa
from alembic import op

from bench.contenders.given import upgrading

people = sa.table(
    "people",
    sa.column("id", sa.BigInteger),
    sa.column("first_name", sa.Text),
    sa.column("last_name", sa.Text),
    sa.column("full_name", sa.Text),
)


def upgrade() -> None:
    connection = op.get_bind()
    rows = connection.execute(
        sa.select(people.c.id, people.c.first_name, people.c.last_name).where(people.c.full_name.is_(None))
    )
    for row in rows.all():
        full_name = f"{row.first_name} {row.last_name}".strip()
        connection.execute(sa.update(people).where(people.c.id == row.id).values(full_name=full_name))


def migrate(url: str) -> None:
    with upgrading(url):
        upgrade()
