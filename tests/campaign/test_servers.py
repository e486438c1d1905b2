"""The server ends at once and comes back, ends our connections, gives up on one that is idle, or has no room left."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from campaign.counting import Counter
from campaign.field import Field, field_on
from campaign.runs import started
from campaign.test_races import HOME, SLOW, wait_for
from databases import SETTINGS, PostgresServer, PostgresUnavailable, ScratchDatabase, created, start_postgres
from datamigrate.database.dialects.base import Timeouts
from places import LONG, chance
from workbench import BATCH, FORMS, with_settings

ROWS = 10 * BATCH
CRASHES = 8 if LONG else 2

# as in production: what is committed is on the disk, but for what a run says need not be
DURABLE = SETTINGS | {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}

ENDED_IN_ITS_SLEEP = """
import asyncio
from pathlib import Path


@each_batch(item, pending=pending)
async def migrate(batch):
    await batch.execute(sa.update(item).where(batch.rows).values(new=item.c.old * 2))
    once = Path(__file__).with_name(f"slept-{batch.number}")
    if not once.exists():
        once.touch()
        await asyncio.sleep(0.5)
"""


@pytest.fixture(scope="module")
def own_server() -> Iterator[PostgresServer]:
    """A server that only the tests here use, so that it can be done anything to."""
    try:
        server = start_postgres(variable="", settings=DURABLE)
    except PostgresUnavailable as unavailable:
        pytest.skip(str(unavailable))
    yield server
    server.stop()


def test_a_server_that_ends_at_once_and_comes_back_has_each_row_once(
    own_server: PostgresServer, tmp_path: Path, count: Counter
) -> None:
    chances, crashes = (
        chance(),
        count("server stopped immediately, started again", "each batch", "postgresql"),
    )
    with created(own_server, f"crashed_{tmp_path.name}"[:60].lower()) as database:
        field = field_on(database, tmp_path, ROWS)
        field.put_back()
        order = replace(field.order("update"), body=HOME + SLOW, patient=True)
        with started(order) as running:
            for number in range(CRASHES):
                wait_for(partial(has_written, field, number * BATCH))
                time.sleep(chances.uniform(0, 0.1))
                crashes.tried += 1
                own_server.crash()
                own_server.start_again()
            told = running.end()
        assert told is not None
        assert told.outcome == "done", told
        assert told.retries
        field.assert_whole("update")
        crashes.survived = crashes.tried


def has_written(field: Field, rows: int) -> bool:
    return len(field.bench.written()) > rows


@pytest.mark.parametrize("form", FORMS if LONG else ["compute"])
def test_connections_that_the_server_ends_again_and_again_cost_retries_only(
    postgres_database: ScratchDatabase, tmp_path: Path, form: str, count: Counter
) -> None:
    field = field_on(postgres_database, tmp_path, ROWS)
    field.put_back()
    ended = count("pg_terminate_backend at random moments", form, "postgresql")
    with started(replace(field.order(form), settings=with_settings(pause=0.05))) as running:
        wait_for(partial(has_written, field, 0))
        with ending_connections(field) as kills:
            told = running.end()
    assert told is not None
    assert told.outcome == "done", told
    assert kills
    ended.tried = len(kills)
    field.assert_whole(form)
    ended.survived = ended.tried


@contextmanager
def ending_connections(field: Field) -> Iterator[list[int]]:
    """End every connection of the run now and then; how many at each time."""
    chances, kills, stop = chance(), list[int](), threading.Event()

    def end_them() -> None:
        while not stop.wait(chances.uniform(0.05, 0.15)):
            if ended := field.database.scalar(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                "WHERE datname = current_database() AND application_name = 'datamigrate'"
            ):
                kills.append(int(ended))

    thread = threading.Thread(target=end_them)
    thread.start()
    try:
        yield kills
    finally:
        stop.set()
        thread.join()


def test_a_transaction_that_the_server_gives_up_for_being_idle_is_done_again(
    postgres_database: ScratchDatabase, tmp_path: Path, count: Counter
) -> None:
    field = field_on(postgres_database, tmp_path, 2 * BATCH)
    field.put_back()
    idle = count("idle_in_transaction_session_timeout", "each batch", "postgresql")
    order = field.order("update", settings=with_settings(timeouts=Timeouts(idle=0.1)))
    with started(replace(order, body=HOME + ENDED_IN_ITS_SLEEP)) as running:
        told = running.end()
    assert told is not None
    assert told.outcome == "done", told
    idle.tried = len(told.retries)
    assert idle.tried >= 2
    field.assert_whole("update")
    idle.survived = idle.tried


@pytest.mark.parametrize("form", FORMS)
def test_a_full_disk_stops_a_run_and_with_room_again_it_goes_on(
    sqlite_database: ScratchDatabase, tmp_path: Path, form: str, count: Counter
) -> None:
    field = field_on(sqlite_database, tmp_path, 1000)
    field.put_back()
    pages = field.database.scalar("PRAGMA page_count")
    full, settings = count("disk full", form, "sqlite"), with_settings(first_rows=100)
    settings = replace(settings, limits=replace(settings.limits, max_rows=100))
    body = FORMS[form].replace(".limit(4)", ".limit(1000)")
    while True:
        with started(
            replace(field.order(form), settings=settings, body=body, pages=pages + full.tried)
        ) as running:
            told = running.end()
        assert told is not None
        if told.outcome == "done":
            break
        full.tried += 1
        assert "full" in told.why, told
        field.assert_let_go()
    assert full.tried
    field.assert_whole(form)
    full.survived = full.tried
