"""An application that writes the same rows meanwhile, in an order that ends in deadlocks, at each isolation level."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from campaign.counting import Counter
from campaign.field import Field, field_on
from campaign.runs import started
from databases import ScratchDatabase
from datamigrate.thought.pacing import Limits
from places import LONG, chance
from workbench import GIVES_A_NEW_VALUE, with_settings

ROWS = 400
LEVELS = ("read committed", "repeatable read", "serializable")
ROUNDS = 30
BATCH = 40
CONTENDING = ["update", "compute", "each batch"]  # the others write too little at a time, or take rows away


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("form", CONTENDING if LONG else ["update"])
def test_deadlocks_and_serialization_failures_cost_retries_and_no_row(
    postgres_database: ScratchDatabase, tmp_path: Path, form: str, level: str, count: Counter
) -> None:
    field = field_on(postgres_database, tmp_path, ROWS, noting=GIVES_A_NEW_VALUE)
    field.database.script(
        f"ALTER DATABASE \"{sa.make_url(field.database.url).database}\" SET deadlock_timeout = '5ms';"
        f'ALTER DATABASE "{sa.make_url(field.database.url).database}" '
        f"SET default_transaction_isolation = '{level}';"
    )
    conflicts = count(f"concurrent writers, {level}", form, "postgresql")
    settings = with_settings(
        first_rows=BATCH, max_attempts=1000, limits=Limits(600, BATCH, BATCH), pause=0.005
    )
    for _ in range(ROUNDS):
        field.put_back()
        with writing(field), started(field.order(form, settings=settings)) as running:
            told = running.end()
        assert told is not None
        assert told.outcome == "done", told
        conflicts.tried += len(told.retries)
        field.assert_whole(form)
        conflicts.survived = conflicts.tried
        if conflicts.tried and not LONG:
            break
    assert conflicts.tried, "no conflict came about, so this has shown nothing"


@contextmanager
def writing(field: Field) -> Iterator[None]:
    """Four writers, each of which changes some rows of one batch, or two, in a transaction, the last row first."""
    stop, chances = threading.Event(), chance()

    def write() -> None:
        engine = sa.create_engine(field.database.sync_url, poolclass=sa.pool.NullPool)
        with engine.connect() as connection:
            while not stop.is_set():
                first = chances.randrange(ROWS - BATCH)
                some = sorted((3 * (first + chances.randrange(BATCH)) for _ in range(4)), reverse=True)
                try:
                    for key in some:
                        connection.execute(sa.text("UPDATE item SET old = old WHERE id = :id"), {"id": key})
                        time.sleep(0.002)
                    connection.commit()
                except sa.exc.DBAPIError:
                    connection.rollback()
        engine.dispose()

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()
