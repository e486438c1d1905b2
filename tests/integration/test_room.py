"""Room that is made for others who are at work in the database."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from datamigrate.authoring.script import Script
from datamigrate.database.ledger.tables import ledger_tables
from datamigrate.doing import batching, settings
from datamigrate.doing.settings import Settings
from datamigrate.thought.pacing import Limits
from datamigrate.thought.tuning import Tuning, tuning_kept
from datamigrate.words.events import BatchDone, Event, MadeRoom, Retuned
from workbench import BATCH, Bench, Ran, doubling

pytestmark = pytest.mark.anyio

ROWS = 40 * BATCH
SMALL = 3
EIGHT = "other sessions at work: 8"
QUICK = Settings(first_rows=BATCH, limits=Limits(max_rows=BATCH))


@pytest.fixture(autouse=True)
def small_rooms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "ROOM_ROWS", SMALL)
    monkeypatch.setattr(settings, "ROOM_TIME", 60.0)
    monkeypatch.setattr(settings, "ROOM_SHARE", 0.01)


class Others:
    """At work until so many batches are done, then not for as many, and again."""

    def __init__(self, until: int = 10**6) -> None:
        self.until = until
        self.done = 0

    def listen(self, event: Event) -> None:
        self.done += isinstance(event, BatchDone)

    def __call__(self, _: str) -> str | None:
        return EIGHT if self.done // self.until % 2 == 0 else None


async def beside(others: Others, bench: Bench, script: Script, asked: Settings = QUICK) -> Ran:
    bench.table(rows=((i,) for i in range(ROWS)))
    return await bench.run(script, settings=asked, listen=others.listen, others=others)


async def test_batches_are_small_while_others_are_at_work_and_grow_when_they_have_gone(bench: Bench) -> None:
    ran = await beside(Others(until=6), bench, bench.form(doubling()))
    assert ran.outcome == "done", ran.result
    told = [event for event in ran.events if isinstance(event, BatchDone | MadeRoom)]
    first, *batches, last = told[:8]
    assert (first, last) == (MadeRoom(first.migration, EIGHT), MadeRoom(last.migration, ""))
    assert [batch.rows for batch in batches if isinstance(batch, BatchDone)] == [SMALL] * 6
    assert max(batch.rows for batch in ran.of(BatchDone)) > SMALL
    assert [event.reason for event in ran.of(MadeRoom)][:3] == [EIGHT, "", EIGHT]
    bench.assert_done(ROWS)


@pytest.mark.parametrize("nice", [0.0, 0.01])
async def test_whose_rest_an_operator_has_said_makes_no_room_besides(bench: Bench, nice: float) -> None:
    asked = Settings(first_rows=BATCH, limits=Limits(max_rows=BATCH), nice=nice)
    ran = await beside(Others(), bench, bench.form(doubling()), asked)
    assert ran.outcome == "done", ran.result
    assert ran.of(MadeRoom) == []
    assert {batch.rows for batch in ran.of(BatchDone)[:-1]} == {BATCH}


async def test_an_operator_who_says_how_much_to_rest_meanwhile_ends_it_without_a_word_of_others(
    bench: Bench,
) -> None:
    others = Others()

    def hurry(event: Event) -> None:
        others.listen(event)
        if isinstance(event, BatchDone) and others.done == 3:
            with bench.database.engine.begin() as connection:
                word = sa.update(ledger_tables().migration).values(tuning=tuning_kept(Tuning(nice=0.0)))
                connection.execute(word)

    bench.table(rows=((i,) for i in range(ROWS)))
    ran = await bench.run(bench.form(doubling()), settings=QUICK, listen=hurry, others=others)
    assert ran.outcome == "done", ran.result
    told = [type(event) for event in ran.events if isinstance(event, MadeRoom | Retuned)]
    assert told == [MadeRoom, Retuned]
    assert [batch.rows for batch in ran.of(BatchDone)][:4] == [SMALL] * 4
    assert max(batch.rows for batch in ran.of(BatchDone)) > SMALL


async def test_a_batch_size_that_somebody_has_said_stays(bench: Bench) -> None:
    asked = Settings(first_rows=BATCH, limits=Limits(min_rows=BATCH, max_rows=BATCH))
    ran = await beside(Others(), bench, bench.form(doubling()), asked)
    assert [event.reason for event in ran.of(MadeRoom)] == [EIGHT]
    assert {batch.rows for batch in ran.of(BatchDone)[:-1]} == {BATCH}


async def test_several_workers_tell_once_that_they_make_room(postgres_bench: Bench) -> None:
    bench = postgres_bench
    asked = Settings(first_rows=BATCH, limits=Limits(max_rows=BATCH), workers=2)
    ran = await beside(Others(), bench, bench.form(doubling()), asked)
    assert ran.outcome == "done", ran.result
    assert [event.reason for event in ran.of(MadeRoom)] == [EIGHT]
    assert max(batch.rows for batch in ran.of(BatchDone)) == SMALL
    bench.assert_done(ROWS)


async def test_who_rests_reads_nothing_ahead(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def overlap(*_: object) -> None:
        raise AssertionError("two connections are at work at the same time")

    monkeypatch.setattr(batching, "overlapping", overlap)
    ran = await beside(Others(), bench, bench.form(doubling()))
    assert ran.outcome == "done", ran.result
