"""Rows that are set aside, as an operator meets them: told, listed, tried again, forgotten; and a run that is
killed each time at the same row."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest

from at_once import end_of, wait_for
from beside import GATED, alembic, hooked, revision_of, told, write_gate
from databases import ScratchDatabase
from projects import NICKNAMES, Project, add_people, ended, named_people

PEOPLE = 30
FAILED = 255  # what Alembic's command line ends with

BY_ROW = """
@compute_rows(people, pending=people.c.full_name.is_(None), reads=[people.c.first, people.c.last],
              writes=[people.c.full_name], {options})
def migrate(row):
    return {{"full_name": row.first + " " + row.last}}
"""
WAITS_AT_ITS_END = """
import time
from pathlib import Path

go = Path(__file__).parent.parent / "go"


def wait(row):
    time.sleep(0.03)  # slow enough to be called while nothing is locked
    while row.first == "First30" and not go.exists():
        time.sleep(0.01)
"""
QUARANTINE = 'on_row_error="quarantine"'

DEADLY = """
import os
import signal


@compute_rows(people, pending=people.c.full_name.is_(None), reads=[people.c.id, people.c.first, people.c.last],
              writes=[people.c.full_name], on_row_error="quarantine")
def migrate(row):
    if row.id == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    return {"full_name": row.first + " " + row.last}
"""


@pytest.fixture
def gated(tmp_path: Path, database: ScratchDatabase) -> Project:
    """A project with a gate, before it, and people of whom two cannot be named."""
    project = hooked(tmp_path / "project", database)
    write_gate(project)
    project.upgrade(NICKNAMES)
    add_people(database, PEOPLE)
    database.execute("UPDATE people SET first = NULL WHERE id IN (3, 17)")
    project.write_script(
        "full_name", BY_ROW.format(options=QUARANTINE + ", quarantine_values=True, mask=['last']")
    )
    return project


def status(project: Project) -> dict[str, object]:
    [found] = project.json("status", exits=None)["migrations"]
    assert isinstance(found, dict)
    return found


def test_a_run_sets_rows_aside_and_everybody_hears_of_it_until_they_are_done(
    gated: Project, database: ScratchDatabase
) -> None:
    project = gated
    said = project.quick("run", exits=6).err
    assert re.search(
        r"full_name: row 3 is quarantined, the 1st: migrate\(\) raised TypeError at .*:\d+\n", said
    )
    assert "full_name: done with 2 quarantined, 28 rows in" in said
    assert "`datamigrate quarantine list full_name`" in said
    assert named_people(database) == PEOPLE - 2
    assert project.quick("run").err == "Nothing to do.\n"
    assert project.quick("run", "full_name").err.endswith("Nothing to do.\n")
    [ran] = project.json("history")["runs"]
    assert (ran["outcome"], ran["exit"]) == ("done with rows in quarantine", 6)

    # it stands in every report
    assert status(project)["state"] == "done"
    assert status(project)["quarantined"] == 2
    assert "2 quarantined" in project.quick("status", "--check", exits=6).out
    assert "28 rows, 2 quarantined" in project.quick("plan").out
    shown = project.quick("show", "full_name").out
    assert "TypeError" in shown
    [first, second] = project.json("quarantine", "list", "full_name")["quarantine"]
    assert (first["key"], second["key"]) == ([3], [17])
    assert first["attempts"] == 2
    # a masked column is not kept, nor an error's text, which may quote one
    assert first["row"] == {"id": 3, "first": None, "full_name": None, "nick": None}
    assert "NoneType" not in first["error"]
    lines = project.quick("quarantine", "export", "full_name").out.splitlines()
    assert [json.loads(line)["key"] for line in lines] == [[3], [17]]
    file = project.root / "aside.csv"
    project.quick("quarantine", "export", "full_name", "--format", "csv", "--output", str(file))
    assert [row["key"] for row in csv.DictReader(io.StringIO(file.read_text()))] == ["3", "17"]

    # tried again, those that were mended leave it: one by hand, one so that the script can do it
    left = project.quick("retry", "full_name", "--quarantined", exits=6).err
    assert left == "full_name: 0 done, 2 left in quarantine. `datamigrate quarantine list full_name`\n"
    assert project.json("quarantine", "list", "full_name")["quarantine"][0]["attempts"] == 3
    database.execute("UPDATE people SET first = 'First3' WHERE id = 3")
    database.execute("UPDATE people SET full_name = '?' WHERE id = 17")
    mended = project.quick("retry", "full_name", "--quarantined", "--reason", "mended").err
    assert mended == "full_name: 1 done, 1 no longer pending, 0 left in quarantine.\n"
    assert named_people(database) == PEOPLE - 1
    assert (status(project)["rows"], status(project)["quarantined"]) == (29, 0)
    project.quick("status", "--check")
    moves = [(m["cause"], m["reason"]) for m in project.json("show", "full_name")["transitions"]]
    assert moves[-1] == ("retry quarantined", "1 done, 1 no longer pending, 0 left in quarantine: mended")


def test_a_gate_stays_shut_before_quarantined_rows_unless_it_is_told_otherwise(
    gated: Project, database: ScratchDatabase
) -> None:
    project = gated
    project.quick("run", exits=6)
    said = told(alembic(project, "upgrade", "head", exits=FAILED))
    assert "28 of 30 rows are done, 2 are pending, 2 of them quarantined" in said
    assert "`datamigrate retry full_name --quarantined`" in said
    ours = project.quick("upgrade", exits=6).err
    assert "2 of them quarantined" in ours
    assert revision_of(database) == [NICKNAMES]

    project.write_revision(
        GATED, NICKNAMES, upgrade='op.require_data("full_name", allow_quarantined=True)\n    pass'
    )
    add_people(database, 1, start=PEOPLE + 1)
    assert "3 are pending" in told(alembic(project, "upgrade", "head", exits=FAILED)).replace("1 is", "3 are")
    database.execute("UPDATE people SET full_name = first || ' ' || last WHERE id > :last", last=PEOPLE)
    alembic(project, "upgrade", "head")
    assert revision_of(database) == [GATED]
    assert "count(*)" in alembic(project, "upgrade", f"{NICKNAMES}:head", "--sql").out


def test_forgotten_rows_are_met_again_like_any_other(gated: Project, database: ScratchDatabase) -> None:
    project = gated
    project.quick("run", exits=6)
    assert (
        "no row 4 in quarantine"
        in project.quick("quarantine", "drop", "full_name", "--key", "4", exits=2).err
    )
    project.quick("quarantine", "drop", "full_name", "--key", "3", "--reason", "looked at it")
    said = project.quick("run", "full_name", exits=6).err
    assert "row 3 is quarantined, the 2nd" in said
    project.quick("quarantine", "drop", "full_name")
    assert project.quick("quarantine", "list", "full_name").err == "full_name has no rows in quarantine.\n"
    moves = [(m["cause"], m["reason"]) for m in project.json("show", "full_name")["transitions"]]
    assert ("drop quarantined", "1 row (3): looked at it") in moves


def test_rows_are_handed_back_to_a_run_that_is_going_on_which_tries_them_before_it_is_done(
    project: Project, database: ScratchDatabase
) -> None:
    add_people(database, PEOPLE)
    database.execute("UPDATE people SET first = NULL WHERE id IN (3, 17)")
    slow = WAITS_AT_ITS_END + BY_ROW.format(options=QUARANTINE + ", batch_size=5").replace(
        "    return", "    wait(row)\n    return"
    )
    project.write_script("full_name", slow)
    with ended(project.start("run")) as process:
        wait_for(lambda: named_people(database) > 17)
        database.execute("UPDATE people SET first = 'First3' WHERE id = 3")
        told = project.quick("retry", "full_name", "--quarantined", "--reason", "mended")
        said = told.err
        (project.root / "go").touch()
        code, heard = end_of(process)
    assert said == ("full_name: 2 in line again, for the run that is going on to try before it is done.\n"), (
        said
    )
    assert code == 6, heard
    assert heard.count("row 17 is quarantined, the 1st") == 1
    assert "full_name: done with 1 quarantined, 29 rows in" in heard
    assert named_people(database) == PEOPLE - 1
    [row] = project.json("quarantine", "list", "full_name")["quarantine"]
    assert row["key"] == [17]


def test_a_run_that_is_killed_each_time_at_one_row_sets_that_row_aside_in_the_end(
    project: Project, database: ScratchDatabase
) -> None:
    add_people(database, PEOPLE)
    configuration = project.root / "pyproject.toml"
    configuration.write_text(configuration.read_text() + "first_batch_size = 4\nmax_deaths = 1\n")
    project.write_script("full_name", DEADLY)
    for _ in range(8):
        outcome = project.datamigrate("run", exits=None)
        if outcome.code != -9:
            break
    assert outcome.code == 6, outcome
    assert "the process that works on it dies or is killed" in outcome.err
    assert named_people(database) == PEOPLE - 1
    [row] = project.json("quarantine", "list", "full_name")["quarantine"]
    assert row["key"] == [7]
