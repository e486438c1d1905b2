"""Runs that race from nothing, one that sleeps past its claim, and hosts whose clocks are hours off."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from campaign.counting import Counter
from campaign.field import Field, field_on
from campaign.runs import SECONDS_TO_END, Order, Running, started
from databases import ROOT, ScratchDatabase
from datamigrate.database.dialects.base import Timeouts
from places import LONG
from workbench import BATCH, FORMS, with_settings

ROWS = 10 * BATCH

# a batch that takes long enough for others to meet it
SLOW = """
import asyncio


@each_batch(item, pending=pending)
async def migrate(batch):
    await batch.execute(sa.update(item).where(batch.rows).values(new=item.c.old * 2))
    await asyncio.sleep(0.1)
"""
HOME = FORMS["update"].partition("migrate =")[0]


def wait_for(happened: Callable[[], object]) -> None:
    give_up = time.monotonic() + SECONDS_TO_END
    while not happened():
        assert time.monotonic() < give_up, "it never happened"
        time.sleep(0.01)


@pytest.mark.parametrize("runners", [2, 10])
@pytest.mark.parametrize("form", FORMS if LONG else ["update"])
def test_runs_that_race_from_nothing_do_each_row_once(
    database: ScratchDatabase, tmp_path: Path, form: str, runners: int, count: Counter
) -> None:
    field = field_on(database, tmp_path, ROWS)
    field.put_back()
    field.forget_ledger()
    races = count(f"{runners} runs at once from nothing", form, database.dialect)
    races.tried = 1
    with ExitStack() as stack:
        orders = [
            replace(field.order(form), folder=own_folder(tmp_path, number)) for number in range(runners)
        ]
        all_of_them = [stack.enter_context(started(order)) for order in orders]
        told = [one.end() for one in all_of_them]
    assert {one.outcome for one in told if one} == {"done"}, told
    field.assert_whole(form)
    races.survived = 1


def own_folder(parent: Path, number: int) -> Path:
    """One that no other run writes its script to."""
    (folder := parent / f"run{number}").mkdir()
    return folder


def test_a_run_that_slept_past_its_claim_and_wakes_up_has_written_nothing_twice(
    database: ScratchDatabase, tmp_path: Path, count: Counter
) -> None:
    field = field_on(database, tmp_path, ROWS)
    field.put_back()
    # a run that sleeps in a transaction loses it, and with it its locks, on PostgreSQL; on SQLite nobody
    # else can write meanwhile, so there it is put to sleep between two batches
    settings = with_settings(claim_expiry=0.5, timeouts=Timeouts(idle=0.5), pause=0.2)
    order = replace(field.order("update", settings=settings), body=HOME + SLOW)
    sleeps = count("SIGSTOP past the claim, then awake", "each batch", database.dialect)
    sleeps.tried = 1
    with started(order) as sleeper:
        wait_for(lambda: len(field.bench.written()) >= 2 * BATCH)
        put_to_sleep(field, sleeper)
        # on the same host a stopped process is known to be alive, so it is only its silence that counts
        time.sleep(1.5)
        told_other = field.finish("update", settings)
        sleeper.signal(signal.SIGCONT)
        told = sleeper.end()
    assert told is not None
    assert (told.outcome, told_other.outcome) == ("done", "done"), told
    field.assert_whole("update")
    sleeps.survived = 1


def put_to_sleep(field: Field, run: Running) -> None:
    """Stop the process, on SQLite at a moment when it does not hold the only write lock."""
    while True:
        run.signal(signal.SIGSTOP)
        wait_for(lambda: is_stopped(run.pid))
        if field.database.dialect == "postgresql" or field.can_be_written():
            return
        run.signal(signal.SIGCONT)
        time.sleep(0.03)


def is_stopped(pid: int) -> bool:
    """Whether each of its threads is: the last may go on for a while on a busy machine, and take a lock."""
    try:
        told = [task.read_text() for task in Path(f"/proc/{pid}/task").glob("*/stat")]
    except OSError:  # one has just ended
        return False
    return all(one.rpartition(")")[2].split()[0] == "T" for one in told)


CLOCKS = ("+5h", "-5h")


@pytest.mark.skipif(
    not shutil.which("faketime"), reason="there is no `faketime` command (Debian: apt-get install faketime)"
)
def test_hosts_whose_clocks_are_hours_off_work_together(
    postgres_database: ScratchDatabase, tmp_path: Path, count: Counter
) -> None:
    field = field_on(postgres_database, tmp_path, ROWS)
    field.put_back()
    off = count("clocks five hours off", "each batch, two hosts", "postgresql")
    off.tried = 1
    order = replace(field.order("update"), body=HOME + SLOW)
    with ExitStack() as stack:
        hosts = [stack.enter_context(subprocess.Popen(command(order, clock))) for clock in CLOCKS]
        codes = [host.wait(SECONDS_TO_END) for host in hosts]
    assert codes == [0, 0]
    field.assert_whole("update")
    assert (
        field.database.scalar("SELECT count(*) FROM datamigrate_transition WHERE cause = 'taken over'") == 0
    )
    off.survived = 1


def command(order: Order, clock: str) -> list[str]:
    """A run of the order as a program of its own, by another clock."""
    folder = order.folder / f"clock{clock}"
    folder.mkdir()
    program = (
        f"import sys; sys.path[:0] = {[str(ROOT / 'runner'), str(ROOT / 'tests')]!r}\n"
        "import asyncio, time; from pathlib import Path\n"
        "from databases import ScratchDatabase; from workbench import Bench\n"
        f"bench = Bench({order.database!r}, Path({str(folder)!r}))\n"
        f"ran = asyncio.run(bench.run(bench.script({order.body!r})))\n"
        "sys.exit(ran.outcome != 'done')\n"
    )
    return ["faketime", "-f", clock, sys.executable, "-c", program]
