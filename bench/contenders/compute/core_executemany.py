"""SQLAlchemy Core: read a batch by key, send one UPDATE with many parameters, commit."""

import sqlalchemy as sa

from bench.contenders.given import engine_for

people = sa.table(
    "people",
    sa.column("id", sa.BigInteger),
    sa.column("first_name", sa.Text),
    sa.column("last_name", sa.Text),
    sa.column("email", sa.Text),
    sa.column("lookup", sa.Text),
)
read = (
    sa.select(people)
    .where(people.c.id > sa.bindparam("last"), people.c.lookup.is_(None))
    .order_by(people.c.id)
    .limit(5_000)
)
write = sa.update(people).where(people.c.id == sa.bindparam("key")).values(lookup=sa.bindparam("value"))


def lookup(email: str, last_name: str, first_name: str) -> str:
    return f"{email.strip().lower()}/{last_name.lower()}/{len(first_name)}"


def migrate(url: str) -> None:
    engine = engine_for(url)
    last = 0
    while True:
        with engine.begin() as connection:
            rows = connection.execute(read, {"last": last}).all()
            if not rows:
                return
            values = [{"key": r.id, "value": lookup(r.email, r.last_name, r.first_name)} for r in rows]
            connection.execute(write, values)
            last = rows[-1].id
