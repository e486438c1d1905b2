from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from datamigrate.authoring.script import Script
from datamigrate.database.database import Database
from datamigrate.database.ledger.store import Ledger
from datamigrate.database.ledger.tables import ledger_tables
from datamigrate.testing.crashing import COMMIT, Killer, only_killed
from places import LONG, STEP, places
from workbench import BATCH, BOB, COMMITTED, FORMS, Bench, at_every_step, opened, with_settings

pytestmark = pytest.mark.anyio

ROWS = BATCH + 2
CLAIM = "INSERT INTO datamigrate_migration"
LEDGER = tuple(table.name for table in reversed(ledger_tables().metadata.sorted_tables))
ITEMS = ", ".join(f"({serial}, {serial % 5}, {serial * 3})" for serial in range(ROWS))
AS_AT_FIRST = (
    "DELETE FROM item; DELETE FROM written; DELETE FROM copied;"
    f"INSERT INTO item (serial, old, id) VALUES {ITEMS};"
)


def prepare(bench: Bench, keep_ledger: bool) -> Callable[[], None]:
    """Make the tables; what it gives puts them back to where they were before the first run."""
    bench.table()
    bench.database.execute("CREATE TABLE copied (serial INTEGER)")
    verb = "DELETE FROM" if keep_ledger else "DROP TABLE IF EXISTS"
    tables = [name for name in LEDGER if not (keep_ledger and name == "datamigrate_ledger")]
    forget = "".join(f"{verb} {name};" for name in tables)

    def begin_again() -> None:
        bench.database.script(forget + AS_AT_FIRST)

    return begin_again


async def is_killed(bench: Bench, database: Database, script: Script) -> bool:
    """Run until killed; False when the run got through."""
    try:
        ran = await bench.run_on(database, script)
    except BaseException as error:
        if not only_killed(error):
            raise
        return True
    assert ran.outcome == "done", ran.result
    return False


def assert_as_undisturbed(bench: Bench, form: str) -> None:
    bench.assert_done(ROWS)
    if form == "delete":
        assert bench.database.scalar("SELECT count(*) FROM item") == 0
    else:
        assert bench.wrong() == []
        assert bench.database.scalar("SELECT count(*) FROM item") == ROWS
    if form == "each batch":
        copied = bench.database.rows("SELECT serial FROM copied ORDER BY serial")
        assert copied == [(i,) for i in range(ROWS)]


@pytest.mark.parametrize("form", FORMS)
async def test_killed_at_any_step_it_ends_as_if_undisturbed(bench: Bench, form: str) -> None:
    async with opened(bench.database) as database:
        async with database.writing() as connection:
            await Ledger(BOB).ensure(connection)
        seen = await kill_at_every_step(bench, database, form, keep_ledger=True)
    assert seen
    assert not LONG or {COMMIT, COMMITTED} < seen


async def test_killed_while_the_ledger_is_made_it_ends_as_if_undisturbed(bench: Bench) -> None:
    async with opened(bench.database) as database:
        await kill_at_every_step(bench, database, "free", keep_ledger=False)


async def kill_at_every_step(bench: Bench, database: Database, form: str, keep_ledger: bool) -> set[str]:
    """Kill a run at one of its first steps and resume, kill one at a later step and resume, and so on, until one
    gets through; the steps at which runs died."""
    begin_again, script = prepare(bench, keep_ledger), bench.script(FORMS[form])
    killer = Killer(CLAIM if keep_ledger else "")
    seen: set[str] = set()
    at_every_step(database, killer)
    for at in places(STEP):
        begin_again()
        killer.aim(at)
        if not await is_killed(bench, database, script):
            assert_as_undisturbed(bench, form)
            return seen
        seen.add(killer.steps[at - 1])
        killer.aim(0)
        ran = await bench.run_on(database, script)
        assert ran.outcome == "done", (at, ran.result)
        assert_as_undisturbed(bench, form)
    raise AssertionError("no run got through")


async def test_killed_again_and_again_it_still_does_each_row_once(bench: Bench) -> None:
    # each life is killed by us, and not by a row
    bench = replace(bench, settings=with_settings(max_deaths=1000))
    prepare(bench, keep_ledger=False)()
    killer, at, script = Killer(), 1, bench.script(FORMS["update"])
    async with opened(bench.database) as database:
        at_every_step(database, killer)
        killer.aim(at)
        while await is_killed(bench, database, script):
            at += 1  # each life is one step longer than the last, so that some get a batch done
            killer.aim(at)
    assert_as_undisturbed(bench, "update")
