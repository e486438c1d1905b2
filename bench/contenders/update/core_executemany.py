"""SQLAlchemy Core: read a batch by key, send one UPDATE with many parameters, commit."""

import sqlalchemy as sa

from bench.contenders.given import engine_for

people = sa.table(
    "people",
    sa.column("id", sa.BigInteger),
    sa.column("first_name", sa.Text),
    sa.column("last_name", sa.Text),
    sa.column("full_name", sa.Text),
)
read = (
    sa.select(people.c.id, people.c.first_name, people.c.last_name)
    .where(people.c.id > sa.bindparam("last"), people.c.full_name.is_(None))
    .order_by(people.c.id)
    .limit(5_000)
)
write = sa.update(people).where(people.c.id == sa.bindparam("key")).values(full_name=sa.bindparam("value"))


def migrate(url: str) -> None:
    engine = engine_for(url)
    last = 0
    while True:
        with engine.begin() as connection:
            rows = connection.execute(read, {"last": last}).all()
            if not rows:
                return
            values = [{"key": r.id, "value": f"{r.first_name} {r.last_name}".strip()} for r in rows]
            connection.execute(write, values)
            last = rows[-1].id
