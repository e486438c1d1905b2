"""A loop over the rows in an Alembic revision."""

import sqlalchemy as sa
from alembic import op

from bench.contenders.given import upgrading

people = sa.table(
    "people",
    sa.column("id", sa.BigInteger),
    sa.column("first_name", sa.Text),
    sa.column("last_name", sa.Text),
    sa.column("email", sa.Text),
    sa.column("lookup", sa.Text),
)


def upgrade() -> None:
    connection = op.get_bind()
    rows = connection.execute(sa.select(people).where(people.c.lookup.is_(None)))
    for row in rows.all():
        lookup = f"{row.email.strip().lower()}/{row.last_name.lower()}/{len(row.first_name)}"
        connection.execute(sa.update(people).where(people.c.id == row.id).values(lookup=lookup))


def migrate(url: str) -> None:
    with upgrading(url):
        upgrade()
