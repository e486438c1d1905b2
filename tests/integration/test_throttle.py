"""A run that the database's health holds back, and lets go on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import anyio
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from datamigrate.database.database import Database
from datamigrate.doing import waiting
from datamigrate.doing.aside import aside, once_at_a_time
from datamigrate.doing.asking import Ask, ask_function, ask_url, understood, within
from datamigrate.doing.watching import Watch
from datamigrate.thought.health import Guard, Reading, Throttle
from datamigrate.words.events import BatchDone, Event, HeldBack, WentOn
from workbench import BATCH, ITEM, NAME, Bench, Ran, at_every_step, doubling, opened

pytestmark = pytest.mark.anyio

ROWS = 4 * BATCH
ASKED = Guard("function", 0, 0, closed=True)
OFTEN = 0.01


@pytest.fixture(autouse=True)
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "LOOK_ROUND", 0.01)


async def watched(
    bench: Bench,
    throttle: Throttle,
    ask: Callable[[Database], dict[str, Ask]] = lambda _: {},
    meddle: Callable[[Database], None] = lambda _: None,
    **options: Any,
) -> Ran:
    """Run the doubling of `item` under a watch."""
    async with opened(bench.database) as database:
        meddle(database)
        watch = Watch(database, throttle, {NAME: ITEM}, ask(database))
        script = bench.form(doubling())
        return await watch.during(lambda: bench.run_on(database, script, brakes=(watch.why_wait,), **options))


def fill(bench: Bench, rows: int = ROWS) -> None:
    bench.table(rows=((i,) for i in range(rows)))


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("the cache is cold", "the cache is cold"),
        (False, "ops:healthy says no"),
        (RuntimeError("no cache"), "own function cannot be read: RuntimeError: no cache"),
    ],
)
async def test_it_is_held_back_by_the_projects_own_function_until_that_is_content(
    bench: Bench, answer: Any, reason: str
) -> None:
    fill(bench)
    content: list[Event] = []

    async def healthy() -> Any:
        if not content and isinstance(answer, Exception):
            raise answer
        return None if content else answer

    ran = await watched(
        bench,
        Throttle(guards=(ASKED,), every=OFTEN),
        lambda database: {"function": ask_function("ops:healthy", healthy, database)},
        listen=when_held_back(content.append),
    )
    assert ran.outcome == "done", ran.result
    assert [event.reason for event in ran.of(HeldBack)] == [reason]
    told = [type(event) for event in ran.events if isinstance(event, BatchDone | HeldBack | WentOn)]
    assert told[:3] == [HeldBack, WentOn, BatchDone]
    bench.assert_done(ROWS)


def when_held_back(react: Callable[[Event], None]) -> Callable[[Event], None]:
    return lambda event: react(event) if isinstance(event, HeldBack) else None


async def test_an_address_that_answers_no_holds_it_back_until_it_answers_yes(bench: Bench) -> None:
    fill(bench)
    codes = [503]
    with answering(codes) as url:
        ran = await watched(
            bench,
            Throttle((Guard("url", 0, 0, closed=True),), every=OFTEN),
            lambda _: {"url": partial(ask_url, f"{url}/ok?key=geheim", 5)},
            listen=when_held_back(lambda _: codes.append(204)),
        )
    assert ran.outcome == "done", ran.result
    assert [event.reason for event in ran.of(HeldBack)] == ["127.0.0.1 answers 503"]
    assert len(ran.of(WentOn)) == 1


@contextmanager
def answering(codes: list[int]) -> Iterator[str]:
    """An address that answers with the last of these."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(codes[-1])
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


async def test_an_address_where_nobody_is_cannot_be_read(bench: Bench) -> None:
    async with opened(bench.database):
        reading = await within(5, partial(ask_url, "http://127.0.0.1:9/ok?key=geheim", 5))
    assert reading.value is None
    assert (reading.trouble or "").startswith("127.0.0.1: ")
    assert "geheim" not in str(reading)


async def test_dead_rows_of_the_table_hold_it_back_and_other_tables_do_not(postgres_bench: Bench) -> None:
    bench = postgres_bench
    fill(bench)
    bench.database.script("CREATE TABLE other (n INTEGER) WITH (autovacuum_enabled = off)")
    bench.database.script("INSERT INTO other SELECT 1 FROM generate_series(1, 50); UPDATE other SET n = 2")
    throttle = Throttle((Guard("dead_rows", 10, 5),))
    async with opened(bench.database) as database:
        watch = Watch(database, throttle, {NAME: ITEM, "other": sa.table("other"), "free": None})
        with anyio.fail_after(20):
            while watch.why_wait("other") is None:
                await watch.look()
    assert watch.why_wait("other") == "dead rows in the table 50, goes on at 5"
    assert watch.why_wait(NAME) is None
    assert watch.why_wait("free") is None


async def test_the_wal_that_is_written_is_a_rate(postgres_bench: Bench) -> None:
    throttle = Throttle((Guard("wal_rate", 0, 0),))
    async with opened(postgres_bench.database) as database:
        watch = Watch(database, throttle, {NAME: None})
        await watch.look()
        assert watch.why_wait(NAME) is None
        postgres_bench.database.execute("CREATE TABLE filling AS SELECT generate_series(1, 1000)")
        await watch.look()
    why = watch.why_wait(NAME)
    assert why is not None
    assert why.startswith("WAL written ")
    assert why.endswith("/s, goes on at 0 B/s")


async def test_the_database_is_asked_every_few_seconds_and_not_with_every_batch(bench: Bench) -> None:
    fill(bench, 40 * BATCH)
    statements: list[str] = []
    await watched(bench, Throttle(), meddle=lambda database: at_every_step(database, statements.append))
    asked = [s for s in statements if "pg_locks" in s or "database_list" in s]
    batches = [s for s in statements if s.startswith("UPDATE item")]
    assert len(batches) == 40
    assert 1 <= len(asked) < 20


async def test_nothing_is_asked_where_nothing_is_watched(bench: Bench) -> None:
    fill(bench)
    statements: list[str] = []
    ran = await watched(
        bench, Throttle(guards=()), meddle=lambda database: at_every_step(database, statements.append)
    )
    assert ran.outcome == "done"
    assert not [s for s in statements if "pg_locks" in s or "database_list" in s]


@pytest.mark.parametrize("closed", [True, False])
async def test_without_an_answer_a_closed_guard_holds_it_back_and_an_open_one_does_not(
    bench: Bench, closed: bool
) -> None:
    async def healthy() -> bool:
        await anyio.sleep_forever()
        return True

    async with opened(bench.database) as database:
        throttle = Throttle((Guard("function", 0, 0, closed),), patience=0.05)
        watch = Watch(database, throttle, {NAME: None}, {"function": ask_function("f", healthy, database)})
        await watch.look()
    expected = "own function cannot be read: no answer within 0.05 s" if closed else None
    assert watch.why_wait(NAME) == expected


async def test_a_function_may_look_at_the_database_or_be_an_ordinary_one(bench: Bench) -> None:
    bench.database.script("CREATE TABLE queue (n INTEGER); INSERT INTO queue VALUES (7)")

    async def of_async(connection: AsyncConnection) -> str | None:
        length = await connection.scalar(sa.text("SELECT count(*) FROM queue"))
        return f"{length} in the queue" if length else None

    def of_sync(connection: sa.Connection) -> bool:
        return not connection.scalar(sa.text("SELECT count(*) FROM queue"))

    def alone() -> bool:
        return threading.current_thread() is not threading.main_thread()

    async with opened(bench.database) as database:
        assert await ask_function("f", of_async, database)() == Reading(1.0, word="1 in the queue")
        assert await ask_function("f", of_sync, database)() == Reading(1.0, word="f says no")
        assert await ask_function("f", alone, database)() == Reading(0.0)


async def test_a_function_that_does_not_return_is_called_once_and_keeps_no_process_alive() -> None:
    called, released = [], threading.Event()

    def hangs() -> str:
        called.append(threading.current_thread())
        released.wait(30)
        return "it is over"

    ask = once_at_a_time(hangs)
    for _ in range(3):
        with anyio.move_on_after(0.02):
            await ask()
    assert [thread.daemon for thread in called] == [True]
    released.set()
    assert await ask() == "it is over"


async def test_what_is_called_aside_one_after_the_other_shares_a_thread_and_raises_what_it_raises() -> None:
    assert len({await aside(threading.get_ident) for _ in range(20)}) < 20

    def stops() -> None:
        next(iter(()))

    with pytest.raises(RuntimeError, match="StopIteration"):
        await aside(stops)


@pytest.mark.parametrize("answer", [3, b"no", [], object()])
def test_an_answer_that_means_nothing_is_no_answer(answer: object) -> None:
    reading = understood("f", answer)
    assert (reading.value, reading.word) == (None, None)
    assert "True, False, None or a reason is wanted" in (reading.trouble or "")
