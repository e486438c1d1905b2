"""The limit: the database does it all at once, in one transaction."""

import sqlalchemy as sa

from bench.contenders.given import engine_for


def migrate(url: str) -> None:
    with engine_for(url).begin() as connection:
        connection.execute(
            sa.text(
                "UPDATE people SET full_name = trim(first_name || ' ' || last_name) WHERE full_name IS NULL"
            )
        )
