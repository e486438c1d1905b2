"""The limit: INSERT … SELECT, all at once, in one transaction."""

import sqlalchemy as sa

from bench.contenders.given import engine_for


def migrate(url: str) -> None:
    with engine_for(url).begin() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO labels (person_id, label) "
                "SELECT id, trim(first_name || ' ' || last_name) FROM people"
            )
        )
