"""A long life in a short time: thousands of tiny batches, many scripts, a large table; memory and descriptors
stay what they were."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import psutil
import pytest

from campaign.counting import RESULTS
from databases import ScratchDatabase
from datamigrate.words.events import BatchDone, Event
from places import LONG
from workbench import FORMS, Bench, with_settings

BATCHES = 10_000 if LONG else 400
SCRIPTS = 100 if LONG else 10
LARGE = 10_000_000
MEGABYTE = 1024 * 1024
MAY_GROW = 12 * MEGABYTE


@dataclass
class Soak:
    """What a long life showed: memory in bytes, and seconds of a batch, early on and at the end."""

    what: str
    database: str
    batches: int
    memory_early: int
    memory_late: int
    descriptors_early: int
    descriptors_late: int
    batch_early: float
    batch_late: float

    def keep(self) -> None:
        """Write it to the results, where the long form is run."""
        print(asdict(self))
        if LONG:
            RESULTS.mkdir(parents=True, exist_ok=True)
            name = f"soak-{self.what}-{self.database}".replace(" ", "_").replace(",", "")
            (RESULTS / f"{name}.json").write_text(json.dumps(asdict(self), indent=1) + "\n")


class Watch:
    """Looks at this process every so many batches."""

    def __init__(self, batches: int) -> None:
        self.batches, self.done, self.began = batches, 0, time.perf_counter()
        self.at: dict[int, tuple[int, int, float]] = {}
        self.me = psutil.Process(os.getpid())

    def __call__(self, event: Event) -> None:
        if isinstance(event, BatchDone):
            self.done += 1
            if self.done in self.places:
                gc.collect()
                now = time.perf_counter() - self.began
                self.at[self.done] = (self.me.memory_info().rss, self.me.num_fds(), now)

    @property
    def places(self) -> tuple[int, ...]:
        """After a fifth, when everything is warm; a tenth later; a tenth before the end, and at it."""
        return (*(round(self.batches * share) for share in (0.2, 0.3, 0.9)), self.batches)

    def soak(self, what: str, database: str) -> Soak:
        """What was seen."""
        warm, later, before, end = (self.at[place] for place in self.places)
        tenth = self.batches / 10
        return Soak(
            what,
            database,
            self.batches,
            warm[0],
            end[0],
            warm[1],
            end[1],
            (later[2] - warm[2]) / tenth,
            (end[2] - before[2]) / tenth,
        )


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("form", ["update", "compute"])
def test_thousands_of_tiny_batches_leave_memory_and_descriptors_as_they_were(
    database: ScratchDatabase, tmp_path: Path, form: str
) -> None:
    bench, watch = Bench(database, tmp_path), Watch(BATCHES)
    bench.table(rows=((i,) for i in range(BATCHES)))
    one = with_settings(first_rows=1)
    settings = replace(one, limits=replace(one.limits, max_rows=1))
    ran = asyncio.run(bench.run(bench.script(FORMS[form]), settings=settings, listen=watch))
    assert ran.outcome == "done", ran.result
    bench.assert_done(BATCHES)
    soak = watch.soak(f"{form} in tiny batches", database.dialect)
    soak.keep()
    assert soak.memory_late - soak.memory_early <= MAY_GROW + 2 * BATCHES * 1024  # the test keeps the events
    assert soak.descriptors_late <= soak.descriptors_early


def test_many_scripts_one_after_another_leave_no_connection_open(
    database: ScratchDatabase, tmp_path: Path
) -> None:
    bench, me = Bench(database, tmp_path), psutil.Process(os.getpid())
    bench.table()
    descriptors: list[int] = []
    for number in range(SCRIPTS):
        bench.fill([(number,)])
        script = bench.script(FORMS["update"])
        script = replace(script, migration=replace(script.migration, name=f"job_{number}"))
        assert asyncio.run(bench.run(script)).outcome == "done"
        descriptors.append(me.num_fds())
    assert descriptors[-1] <= descriptors[1]
    assert bench.wrong() == []


@pytest.mark.timeout(3600)
@pytest.mark.skipif(not LONG, reason="ten million rows are for the long form: make campaign")
def test_ten_million_rows_are_walked_in_flat_memory(sqlite_database: ScratchDatabase, tmp_path: Path) -> None:
    bench = Bench(sqlite_database, tmp_path)
    sqlite_database.execute(
        "CREATE TABLE item (serial INTEGER, old INTEGER, new INTEGER, id INTEGER PRIMARY KEY)"
    )
    sqlite_database.execute(
        "INSERT INTO item WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :rows) "
        "SELECT i, i % 97, NULL, i FROM n",
        rows=LARGE,
    )
    rows = 10_000
    fixed = with_settings(first_rows=rows)
    settings = replace(fixed, limits=replace(fixed.limits, max_rows=rows))
    watch = Watch(LARGE // rows)
    ran = asyncio.run(bench.run(bench.script(FORMS["update"]), settings=settings, listen=watch))
    assert ran.outcome == "done", ran.result
    assert sqlite_database.scalar("SELECT count(*) FROM item WHERE new = old * 2") == LARGE
    soak = watch.soak("ten million rows", "sqlite")
    soak.keep()
    assert soak.memory_late - soak.memory_early <= MAY_GROW
