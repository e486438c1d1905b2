"""Undoing a data migration, as an operator does it."""

from __future__ import annotations

import re

import pytest

from databases import ScratchDatabase
from projects import FULL_NAME, NICK, NICKNAMES, PEOPLE, Project, add_people, named_people

KEPT = FULL_NAME.replace("pending=", 'undo_log=True, mask=["last"], pending=')
LEAVERS = "migrate = delete_rows(people, pending=people.c.id > 8, undo_log=True, mask=['last'])"
INITIALS = """
@compute_rows(people, pending=people.c.full_name.is_(None), reads=[people.c.first, people.c.last],
              writes=[people.c.full_name], undo_log=True, on_row_error="quarantine")
def migrate(row):
    return {"full_name": f"{row.first} {row.last[0]}."}
"""
OWN_WAY = """
revert = update_rows(people, pending=people.c.full_name.is_not(None), values={people.c.full_name: None})
"""


@pytest.fixture
def project(project: Project, database: ScratchDatabase) -> Project:
    """Ten people, whose full names are still to be written."""
    add_people(database, 10)
    return project


def test_a_revert_is_tried_stopped_resumed_and_tells_whom_it_left(
    project: Project, database: ScratchDatabase
) -> None:
    project.write_script("full_name", KEPT)
    project.quick("run")
    assert re.search(r"undo log of 10 rows \(\d+ bytes\)", project.quick("status").out)
    database.execute("UPDATE people SET full_name = 'Me' WHERE id IN (2, 9)")
    before = database.dump()
    tried = project.quick("revert", "full_name", "--dry-run", "--rows", "2")
    assert re.search(r"10 +full_name +First10 Last10 +NULL *\n *9 +stays as it is", tried.out)
    assert "8 rows would be as before, 2 rows changed by somebody since" in tried.err
    assert database.dump() == before

    stopped = project.quick("revert", "full_name", "--batch-size", "4", "--max-batches", "1", exits=75).err
    assert (
        "stopped cleanly after 3 rows (batch budget used up); `datamigrate revert full_name` goes on"
        in stopped
    )
    assert project.json("status")["migrations"][0]["state"] == "reverting"
    assert "`datamigrate revert full_name`" in project.quick("run").err
    refused = project.quick("run", "full_name", exits=4).err
    assert "`datamigrate revert full_name`, or `datamigrate retry full_name` to run it again" in refused
    assert "`datamigrate cancel full_name` stops it" in project.quick("pause", "full_name", exits=2).err

    facts = project.json("revert", "full_name", "--reason", "wrong names", exits=6)
    assert (facts["outcome"], facts["rows"], facts["changed_since"], facts["keys"]) == (
        "done",
        8,
        2,
        ["9", "2"],
    )
    assert database.rows("SELECT id FROM people WHERE full_name IS NOT NULL ORDER BY id") == [(2,), (9,)]
    shown = project.quick("show", "full_name").out
    assert re.search(r"changed since +9, 2", shown)
    assert re.search(r"reverting +reverting +revert +\S+ +wrong names", shown)
    assert [run["exit"] for run in project.json("history")["runs"]] == [6, 75, 0]
    again = project.quick("revert", "full_name", exits=2).err
    assert "`datamigrate retry full_name` lets it run again" in again
    project.quick("retry", "full_name")
    assert project.json("status")["migrations"][0]["estimate"] is None
    project.quick("run")
    assert named_people(database) == 8


def test_deleted_rows_come_back_and_masked_columns_are_not_shown(
    project: Project, database: ScratchDatabase
) -> None:
    project.write_script("leavers", LEAVERS)
    before = database.rows("SELECT * FROM people ORDER BY id")
    project.quick("run")
    tried = project.quick("revert", "leavers", "--dry-run").out
    assert "id=10, first=First10, last=(masked)" in tried
    assert "Last10" not in tried + project.quick("revert", "leavers", "--dry-run", "--json").out
    project.quick("revert", "leavers")
    assert database.rows("SELECT * FROM people ORDER BY id") == before


def test_a_row_that_is_done_out_of_quarantine_is_kept_too(
    project: Project, database: ScratchDatabase
) -> None:
    project.write_script("full_name", INITIALS)
    database.execute("UPDATE people SET last = '' WHERE id = 3")
    project.quick("run", exits=6)
    database.execute("UPDATE people SET last = 'Last3' WHERE id = 3")
    project.quick("retry", "full_name", "--quarantined")
    assert project.json("revert", "full_name")["rows"] == 10
    assert database.scalar("SELECT count(full_name) FROM people") == 0


def test_a_script_s_own_revert_is_used_where_there_is_no_log(
    project: Project, database: ScratchDatabase
) -> None:
    project.write_script("full_name", FULL_NAME + OWN_WAY)
    assert "has never run" in project.quick("revert", "full_name", exits=2).err
    project.quick("run")
    assert "Tried twice on 10 rows" in project.quick("revert", "full_name", "--dry-run").err
    assert named_people(database) == 10
    assert "full_name: reverted, 10 rows in" in project.quick("revert", "full_name").err
    assert database.scalar("SELECT count(full_name) FROM people") == 0


def test_a_row_at_which_a_script_s_own_revert_fails_is_named_with_the_command_that_goes_on(
    project: Project, database: ScratchDatabase
) -> None:
    project.write_script("full_name", FULL_NAME + OWN_WAY)
    project.quick("run")
    database.execute("CREATE UNIQUE INDEX one_of_each ON people (full_name)")
    all_alike = OWN_WAY.replace("is_not(None)", "like('First%')").replace(": None", ": 'nobody'")
    project.write_script("full_name", FULL_NAME + all_alike)
    failed = project.quick("revert", "full_name", exits=1).err
    assert "full_name: Row 2: the database says: " in failed
    assert "Then `datamigrate revert full_name` goes on where it stopped." in failed


def test_what_stands_in_the_way_is_said_beforehand(project: Project, database: ScratchDatabase) -> None:
    project.write_script("full_name", KEPT)
    project.write_script("nick", NICK, requires=NICKNAMES, depends_on=("full_name",))
    project.write_revision("3c4d5e6f7081", NICKNAMES, upgrade='op.drop_column("people", "first")')
    project.quick("run")
    no_way = project.quick("revert", "nick", exits=2).err
    assert "nick has no undo log, and its script has no `revert`." in no_way
    first = project.quick("revert", "full_name", exits=2).err
    assert "nick depends on full_name, and is done." in first
    assert "`datamigrate revert nick`" in first
    assert "Add --reason" in project.quick("revert", "full_name", "--force", exits=2).err
    gate = 'import datamigrate.alembic\n    op.require_data("full_name")'
    project.write_revision("4d5e6f708192", NICKNAMES, upgrade=gate)
    project.alembic("stamp", "4d5e6f708192")
    project.scripts.joinpath("nick.py").unlink()
    gated = project.quick("revert", "full_name", exits=2).err
    assert "Revision 4d5e6f708192 waited for full_name, and is applied." in gated
    project.alembic("stamp", NICKNAMES)
    project.upgrade("3c4d5e6f7081")
    gone = project.quick("revert", "full_name", "--force", "--reason", "all the same", exits=1).err
    assert "people has no column first. A later revision has taken it away" in gone
    assert project.json("status")["migrations"][0]["state"] == "done"


def test_an_undo_log_is_thrown_away_when_it_is_no_longer_wanted(
    project: Project, database: ScratchDatabase
) -> None:
    project.write_script("full_name", KEPT)
    project.write_script("leavers", LEAVERS, requires=PEOPLE)
    project.quick("run")
    assert "Whose undo log?" in project.quick("prune-undo", exits=2).err
    assert project.json("prune-undo", "full_name", "--older-than", "1d")["pruned"] == [
        {"name": "full_name", "rows": 0}
    ]
    pruned = project.quick("prune-undo", "--all", "--reason", "a month has passed").err
    assert "full_name: 10 entries of its undo log are gone.\nleavers: 2 entries" in pruned
    assert database.scalar("SELECT count(*) FROM datamigrate_undo") == 0
    assert "There is no undo log." in project.quick("prune-undo", "--all").err
    assert re.search(
        r"done +done +prune-undo +\S+ +a month has passed", project.quick("show", "full_name").out
    )
    assert "has no undo log" in project.quick("revert", "leavers", exits=2).err


@pytest.mark.parametrize("body", ["each_batch", "free"])
def test_a_form_whose_changes_nobody_knows_refuses_an_undo_log(project: Project, body: str) -> None:
    bodies = {
        "each_batch": "@each_batch(people, pending=people.c.id > 8, undo_log=True)\nasync def migrate(batch): ...",
        "free": "undo_log = True\n\n\nasync def migrate(session): ...",
    }
    project.write_script("anything", bodies[body])
    refused = project.quick("run", exits=1).err
    assert "`undo_log` does not go with" in refused
    assert "write a `revert` beside `migrate`" in refused


def test_a_row_that_cannot_be_put_back_is_named_with_the_database_s_words_and_a_way_on(
    project: Project, database: ScratchDatabase
) -> None:
    database.execute("CREATE UNIQUE INDEX one_of_each ON people (last)")
    body = (
        "migrate = update_rows(people, pending=people.c.last.like('Last%'), undo_log=True, "
        "values={people.c.last: 'Was ' + people.c.last})"
    )
    project.write_script("renamed", body)
    project.quick("run")
    database.execute("INSERT INTO people (id, first, last) VALUES (99, 'New', 'Last4')")
    before = database.dump()
    tried = project.quick("revert", "renamed", "--dry-run", exits=1).err
    assert "renamed: row 4 of people cannot be put back: the database says: " in tried
    assert "Unexpected" not in tried
    assert database.dump() == before
    refused = project.quick("revert", "renamed", exits=1).err
    assert "renamed: row 4 of people cannot be put back: the database says: " in refused
    assert "give the row other values: what somebody has changed since is left as found" in refused
    database.execute("UPDATE people SET last = 'Mine' WHERE id = 4")
    told = project.quick("revert", "renamed", exits=6).err
    assert "1 row changed by somebody since, left as found: keys 4" in told
