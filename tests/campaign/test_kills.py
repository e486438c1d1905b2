"""SIGKILL before every statement of a run, one after another: nothing is lost, nothing is done twice."""

from __future__ import annotations

from itertools import takewhile
from pathlib import Path

import pytest

from campaign.counting import STRIDE, Count, Counter
from campaign.field import Field, field_on
from campaign.proxy import Fault, wire_to
from campaign.runs import Told, run, started
from databases import ScratchDatabase
from datamigrate.doing.settings import Settings
from places import LONG, places
from workbench import BATCH, FORMS, SMALL, with_settings

ROWS = BATCH + 2
SOME = list(FORMS) if LONG else ["compute"]
KILLED = "SIGKILL at each statement"
EVERY = "two workers are killed at every statement in the long form: make campaign"


@pytest.mark.parametrize("form", SOME)
def test_on_sqlite_killed_before_any_statement_and_run_again_it_ends_as_if_undisturbed(
    sqlite_database: ScratchDatabase, tmp_path: Path, form: str, count: Counter
) -> None:
    field, faults = field_on(sqlite_database, tmp_path, ROWS), count(KILLED, form, "SQLite")
    for at in places(STRIDE):
        field.put_back()
        told = run(field.order(form, dies_at=at))
        if told is not None:
            break
        faults.tried += 1
        field.finish(form)
        field.assert_whole(form)
        faults.survived += 1
    assert told is not None
    assert told.outcome == "done"
    statements = told.statements
    assert faults.tried == len(list(takewhile(lambda at: at <= statements, places(STRIDE))))
    field.assert_whole(form)


@pytest.mark.parametrize("form", SOME)
def test_on_postgresql_killed_before_any_statement_and_run_again_it_ends_as_if_undisturbed(
    postgres_database: ScratchDatabase, tmp_path: Path, form: str, count: Counter
) -> None:
    field = field_on(postgres_database, tmp_path, ROWS)
    told = kill_at_every_exchange(field, form, SMALL, count(KILLED, form, "PostgreSQL"))
    assert told.outcome == "done"


@pytest.mark.skipif(
    not LONG, reason="two workers are killed at every statement in the long form: make campaign"
)
@pytest.mark.parametrize("form", FORMS)
def test_two_workers_killed_before_any_statement_and_run_again_end_as_if_undisturbed(
    postgres_database: ScratchDatabase, tmp_path: Path, form: str, count: Counter
) -> None:
    field = field_on(postgres_database, tmp_path, 5 * BATCH)
    faults = count(KILLED, f"{form}, two workers", "PostgreSQL")
    told = kill_at_every_exchange(field, form, with_settings(workers=2), faults)
    assert told.outcome == "done"


def kill_at_every_exchange(field: Field, form: str, settings: Settings, faults: Count) -> Told:
    """Kill a run at its first exchange with the server and finish, one at its second, and so on, until one
    gets through; what that one told."""
    with wire_to(field.database) as (wire, over):
        for at in places(STRIDE):
            field.put_back()
            wire.aim(at, Fault.KILL)
            with started(field.order(form, over, settings)) as running:
                wire.victim.set_result(running.process.kill)
                told = running.end()
            wire.aim(0)
            if told is None:
                faults.tried += 1
                field.finish(form, settings)
            field.assert_whole(form)
            if told is not None:
                return told
            faults.survived += 1
    raise AssertionError("a count does not end")
