"""An operator's words to a run that goes on in another process: pause, resume, cancel, approve."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from at_once import (
    PEOPLE,
    STUCK,
    UNHURRIED,
    end_of,
    everyone_was_written_once,
    prepare,
    wait_for,
)
from beside import GATED, alembic, hooked, revision_of, told, write_gate
from databases import ScratchDatabase
from projects import FULL_NAME, NICK, NICKNAMES, Project, add_people, ended, named_people

WHO = r"\S+@\S+:\d+ on \d{4}-\d\d-\d\d at \d\d:\d\d:\d\dZ"

# ten rows in a batch, and an undo log
SLOW_AND_KEPT = """
import time


@compute_rows(people, pending=people.c.full_name.is_(None), batch_size=10, undo_log=True,
              reads=[people.c.first, people.c.last], writes=[people.c.full_name])
def migrate(rows):
    time.sleep(0.15)
    return [{"full_name": row.first + " " + row.last} for row in rows]
"""


def state_of(project: Project, name: str = "full_name") -> str:
    return str(project.json("status", name)["migrations"][0]["state"])


def ends_a_run(project: Project, database: ScratchDatabase, *words: str) -> tuple[str, str]:
    """Start a run elsewhere, and say these words when it has done some rows, at which it has to end cleanly; what
    was answered, and what the run told."""
    with ended(project.start("run")) as process:
        wait_for(lambda: named_people(database))
        said = project.quick(*words).err
        code, heard = end_of(process)
    assert code == 75, heard
    return said, heard


def test_a_pause_ends_a_run_elsewhere_after_its_batch_and_resume_lets_it_go_on(
    project: Project, database: ScratchDatabase
) -> None:
    prepare(project, database, UNHURRIED.replace("0.15", "0.5"))
    said, heard = ends_a_run(project, database, "pause", "full_name", "--reason", "the replica lags")
    assert said == "full_name is paused now. `datamigrate resume full_name` lets it go on.\n"
    done = named_people(database)
    assert done < PEOPLE
    assert re.search(
        rf"full_name: stopped cleanly after {done} rows \(paused by {WHO}: the replica lags\); "
        "`datamigrate resume full_name` lets it go on",
        heard,
    )
    assert re.match(r"stopped: paused by .*: the replica lags", project.json("history")["runs"][0]["outcome"])

    # a run of everything leaves it alone, one that names it is refused
    left = project.quick("run").err
    assert re.search(rf"full_name: halted, paused by {WHO}: the replica lags; `datamigrate resume", left)
    refused = project.quick("run", "full_name", exits=4).err
    assert re.search(rf"Error: full_name is paused by {WHO}: the replica lags\.", refused)
    assert "`datamigrate resume full_name`, then run it again." in refused
    project.quick("status", "--check", exits=3)
    assert named_people(database) == done

    assert project.quick("resume", "full_name", "--reason", "it has caught up").err.startswith(
        "full_name is pending now. `datamigrate run full_name` goes on."
    )
    project.quick("run")
    everyone_was_written_once(database)
    moves = [(m["cause"], m["reason"]) for m in project.json("show", "full_name")["transitions"]]
    assert moves == [
        ("run", None),
        ("pause", "the replica lags"),
        ("resume", "it has caught up"),
        ("run", None),
        ("verified", None),
    ]
    shown = project.quick("show", "full_name").out
    assert re.search(r"running +paused +pause +\S+@\S+ +the replica lags", shown)


def test_force_ends_a_batch_that_would_take_for_ever_within_seconds(
    postgres_project: Project, postgres_database: ScratchDatabase
) -> None:
    project, database = postgres_project, postgres_database
    prepare(project, database, STUCK)
    with ended(project.start("run")) as process:
        wait_for((project.root / "stuck").exists)
        project.quick("pause", "full_name")
        project.quick("pause", "full_name", "--force", "--reason", "it holds locks")
        code, heard = end_of(process)
    assert code == 75, heard
    assert "it holds locks" in heard
    assert named_people(database) == 10
    (project.root / "mended").touch()
    project.quick("resume", "full_name")
    project.quick("run")
    everyone_was_written_once(database)


def test_a_reset_ends_a_run_elsewhere_which_says_whose_word_it_was_and_what_to_run(
    project: Project, database: ScratchDatabase
) -> None:
    prepare(project, database, UNHURRIED.replace("0.15", "0.5"))
    said, heard = ends_a_run(project, database, "reset", "full_name", "--reason", "the script was wrong")
    assert said == "full_name is pending now. `datamigrate run full_name` walks it from the first row.\n"
    assert re.search(
        rf"full_name: stopped cleanly after \d+ rows \(reset by {WHO}: the script was wrong\); "
        "`datamigrate run full_name` walks it again from the first row",
        heard,
    )
    project.quick("run")
    everyone_was_written_once(database)
    shown = project.json("show", "full_name")
    assert [m["cause"] for m in shown["transitions"]] == ["run", "reset", "run", "verified"]


def test_a_revert_ends_a_run_elsewhere_and_undoes_all_that_it_has_done(
    project: Project, database: ScratchDatabase
) -> None:
    prepare(project, database, SLOW_AND_KEPT)
    with ended(project.start("run", "--nice", "0.9")) as process:
        wait_for(lambda: named_people(database))
        undone = project.json("revert", "full_name", "--reason", "logins fail")
        code, heard = end_of(process)
    assert code == 75, heard
    assert re.search(
        rf"\(reverting by {WHO}: logins fail\); `datamigrate status full_name` tells how far back it is|"
        rf"\(reverted by {WHO}\); `datamigrate retry full_name` lets it run again",
        heard,
    )
    assert (undone["outcome"], undone["changed_since"]) == ("done", 0)
    assert undone["rows"] > 0
    assert named_people(database) == 0
    assert state_of(project) == "reverted"
    project.quick("retry", "full_name")
    project.quick("run")
    assert named_people(database) == PEOPLE


def test_what_is_going_on_and_has_not_failed_is_not_retried_nor_stamped(
    project: Project, database: ScratchDatabase
) -> None:
    prepare(project, database, UNHURRIED.replace("0.15", "0.5"))
    with ended(project.start("run")) as process:
        wait_for(lambda: named_people(database))
        refused = project.quick("retry", "full_name", exits=5).err
        assert re.search(
            r"full_name is being run by \S+@\S+:\d+; `retry` makes no sense meanwhile\.", refused
        )
        assert "It has not failed. `datamigrate pause full_name` lets it rest" in refused
        assert "`datamigrate pause full_name` first" in project.quick("stamp", "full_name", exits=5).err
        code, heard = end_of(process)
    assert code == 0, heard
    everyone_was_written_once(database)


def test_a_cancelled_one_keeps_what_is_done_and_goes_on_after_retry_only(
    project: Project, database: ScratchDatabase
) -> None:
    prepare(project, database, UNHURRIED)
    said, heard = ends_a_run(project, database, "cancel", "full_name")
    assert "`datamigrate retry full_name`" in said
    assert "cancelled by" in heard
    done = named_people(database)
    assert 0 < done < PEOPLE
    project.quick("run")
    assert named_people(database) == done
    refused = project.quick("resume", "full_name", exits=2).err
    assert "full_name is cancelled; `resume` makes no sense there." in refused
    assert "`datamigrate retry full_name`" in refused
    project.quick("retry", "full_name")
    project.quick("run")
    everyone_was_written_once(database)


def test_what_depends_on_a_paused_one_waits(project: Project, database: ScratchDatabase) -> None:
    add_people(database, 5)
    project.write_script("full_name")
    project.write_script("nick", NICK, requires=NICKNAMES, depends_on=("full_name",))
    project.quick("pause", "full_name")
    heard = project.quick("run").err
    assert "nick: blocked, depends on full_name, which cannot run yet" in heard
    assert "`datamigrate resume full_name`" in project.quick("run", "nick", exits=4).err
    project.quick("resume", "full_name")
    project.quick("run", "nick")
    assert (state_of(project), state_of(project, "nick")) == ("done", "done")


def test_one_with_hold_waits_for_approval_and_can_be_tried_before(
    project: Project, database: ScratchDatabase
) -> None:
    add_people(database, 5)
    project.write_script("full_name", FULL_NAME.replace("people,\n", "people,\n    hold=True,\n", 1))
    assert state_of(project) == "held"
    assert [r["name"] for r in project.json("run", "--dry-run")["rehearsals"]] == ["full_name"]
    assert "full_name: halted, held; `datamigrate approve full_name`" in project.quick("run").err
    assert "full_name is held." in project.quick("run", "full_name", exits=4).err
    assert named_people(database) == 0
    said = project.quick("approve", "full_name", "--reason", "the dry run looks right").err
    assert said == "full_name is pending now. `datamigrate run full_name` begins it.\n"
    project.quick("approve", "full_name", exits=2)
    project.quick("run")
    assert named_people(database) == 5


def test_a_gate_stays_shut_while_its_data_is_paused_and_the_joint_upgrade_says_whose_word_it_is(
    tmp_path: Path, database: ScratchDatabase
) -> None:
    project = hooked(tmp_path / "project", database)
    project.write_script("full_name")
    write_gate(project)
    project.upgrade(NICKNAMES)
    add_people(database, 5)
    project.quick("pause", "full_name", "--reason", "month's end")
    assert "0 of 5 rows are done" in told(alembic(project, "upgrade", "head", exits=255))
    said = project.quick("upgrade", exits=1).err
    assert "waits for the data of full_name, which is halted" in said
    assert re.search(rf"paused by {WHO}: month's end; `datamigrate resume full_name`", said)
    project.quick("resume", "full_name")
    project.quick("upgrade")
    assert database.scalar("SELECT count(*) FROM people WHERE full_name IS NULL") == 0
    assert revision_of(database) == [GATED]


@pytest.mark.parametrize(
    ("verb", "better"), [("pause", "reset"), ("cancel", "reset"), ("resume", "show"), ("approve", "reset")]
)
def test_what_is_done_cannot_be_halted(
    project: Project, database: ScratchDatabase, verb: str, better: str
) -> None:
    add_people(database, 5)
    project.write_script("full_name")
    project.quick("run")
    before = database.dump()
    refused = project.quick(verb, "full_name", exits=2).err
    assert f"full_name is done; `{verb}` makes no sense there." in refused
    assert f"`datamigrate {better} full_name`" in refused
    assert database.dump() == before


def test_a_run_elsewhere_is_tuned_and_status_and_show_tell(
    project: Project, database: ScratchDatabase
) -> None:
    prepare(project, database, UNHURRIED)
    with ended(project.start("run", "--log-format", "json")) as process:
        wait_for(lambda: named_people(database))
        said = project.quick("tune", "full_name", "--batch-size", "3", "--reason", "easy").err
        assert said.startswith("full_name is tuned to batch size 3. ")
        code, heard = end_of(process)
    assert code == 0, heard
    events = [json.loads(line) for line in heard.splitlines()]
    sizes = [event["rows"] for event in events if event["event"] == "BatchDone"]
    assert sizes[0] == 10
    assert 3 in sizes
    assert "batch size 3" in [event["tuning"] for event in events if event["event"] == "Retuned"]
    everyone_was_written_once(database)
    moves = project.json("show", "full_name")["transitions"]
    assert ("tune", "batch size 3: easy") in [(m["cause"], m["reason"]) for m in moves]


def test_a_tuning_is_shown_until_it_is_cleared(project: Project, database: ScratchDatabase) -> None:
    add_people(database, 5)
    project.write_script("full_name")
    project.quick("tune", "full_name", "--target-time", "200ms", "--nice", "0.5")
    assert project.json("tune", "full_name", "--workers", "2")["tuning"] == {
        "target_time": 0.2,
        "workers": 2,
        "nice": 0.5,
    }
    (row,) = project.json("status")["migrations"]
    assert (
        row["tuning"]
        == project.json("show", "full_name")["ledger"]["tuning"]
        == {
            "target_time": 0.2,
            "workers": 2,
            "nice": 0.5,
        }
    )
    assert "tuned to target time 0.2s, workers 2, nice 0.5" in project.quick("status").out
    assert "tuned to" in project.quick("show", "full_name").out
    assert project.quick("tune", "full_name", "--clear").err == "full_name is tuned no more.\n"
    assert project.json("status")["migrations"][0]["tuning"] == {}


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--batch-size", "5", "--target-time", "1s"),
        ("--target-time", "0"),
        ("--nice", "1"),
        ("--workers", "0"),
    ],
)
def test_a_tuning_that_makes_no_sense_is_refused(sqlite_project: Project, arguments: tuple[str, ...]) -> None:
    sqlite_project.write_script("full_name")
    before = sqlite_project.files()
    sqlite_project.quick("tune", "full_name", *arguments, exits=2)
    assert sqlite_project.files() == before


def test_what_is_done_cannot_be_tuned(project: Project, database: ScratchDatabase) -> None:
    add_people(database, 5)
    project.write_script("full_name")
    project.quick("run", "--nice", "0.5")
    refused = project.quick("tune", "full_name", "--workers", "2", exits=2).err
    assert "full_name is done; `tune` makes no sense there." in refused
