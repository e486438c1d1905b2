"""The limit: what Python computes, said in SQL, and done by the database in one transaction."""

import sqlalchemy as sa

from bench.contenders.given import engine_for


def migrate(url: str) -> None:
    with engine_for(url).begin() as connection:
        connection.execute(
            sa.text(
                "UPDATE people SET lookup = "
                "lower(trim(email)) || '/' || lower(last_name) || '/' || length(first_name) "
                "WHERE lookup IS NULL"
            )
        )
