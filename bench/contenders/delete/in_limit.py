"""The usual batches: whatever is pending, so many rows at a time, until none is left."""

import sqlalchemy as sa

from bench.contenders.given import engine_for

BATCH = 5_000


def migrate(url: str) -> None:
    engine = engine_for(url)
    changed = BATCH
    while changed:
        with engine.begin() as connection:
            changed = connection.execute(
                sa.text(
                    f"DELETE FROM people WHERE id IN (SELECT id FROM people WHERE id % 2 = 0 LIMIT {BATCH})"
                )
            ).rowcount
