"""The limit: one DELETE of every second row, in one transaction."""

import sqlalchemy as sa

from bench.contenders.given import engine_for


def migrate(url: str) -> None:
    with engine_for(url).begin() as connection:
        connection.execute(sa.text("DELETE FROM people WHERE id % 2 = 0"))
