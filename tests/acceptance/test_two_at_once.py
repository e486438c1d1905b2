"""Several runs at once, and runs that are stopped: every row is written once, whoever writes it."""

from __future__ import annotations

import os
import re
import signal

import psutil
import pytest

from at_once import PEOPLE, STUCK, UNHURRIED, end_of, everyone_was_written_once, prepare, wait_for
from databases import ScratchDatabase
from projects import FULL_NAME, Project, add_people, ended, named_people, writes

NEVER_RETURNS = """
import time
from pathlib import Path

here = Path(__file__).parent.parent


@compute_rows(people, pending=people.c.full_name.is_(None), reads=[people.c.id], writes=[people.c.full_name])
def migrate(row):
    (here / "stuck").touch()
    time.sleep(600)
"""

CALLED_ELSEWHERE = """
import os
import time
from pathlib import Path

here = Path(__file__).parent.parent


@compute_rows(
    people, pending=people.c.full_name.is_(None), reads=[people.c.first, people.c.last], writes=[people.c.full_name],
    batch_size=50,
)
def migrate(row):
    (here / f"called by {os.getpid()}").touch()
    time.sleep(0.002)
    return {"full_name": f"{row.first} {row.last}"}
"""


def test_of_two_runs_at_once_each_ends_well_and_says_who_verified_it(
    project: Project, database: ScratchDatabase
) -> None:
    prepare(project, database, UNHURRIED)
    with ended(project.start("run")) as one, ended(project.start("run")) as other:
        (code, told), (other_code, other_told) = end_of(one), end_of(other)
    assert (code, other_code) == (0, 0), told + other_told
    everyone_was_written_once(database)
    told += other_told
    assert told.count("Nothing to do.") + told.count("full_name: another run has done it") == 1
    assert told.count("full_name: done and verified") == 1


def test_with_no_wait_the_second_run_exits_5_and_names_who_works(
    project: Project, database: ScratchDatabase
) -> None:
    prepare(project, database, STUCK)
    with ended(project.start("run")) as first:
        wait_for((project.root / "stuck").exists)
        if database.dialect == "postgresql":  # SQLite has one writer at a time, and this one is writing
            told = project.quick("run", "--no-wait", exits=5).err
            assert re.search(rf"Error: full_name is being run by \S+@\S+:{first.pid}\.", told)
            assert "run without --no-wait to wait for it" in told
            for verb in ("stamp", "retry"):
                told = project.quick(verb, "full_name", exits=5).err
                assert f":{first.pid}; `{verb}` makes no sense meanwhile" in told
            (row,) = project.json("status")["migrations"]
            assert row["state"] == "running"
            assert [owner.rpartition(":")[2] for owner in row["owners"]] == [str(first.pid)]
        first.kill()
        end_of(first)
    (project.root / "mended").touch()
    project.quick("run")
    everyone_was_written_once(database)


def test_a_run_between_two_batches_is_met_by_no_wait_and_missed_once_it_is_killed(
    project: Project, database: ScratchDatabase
) -> None:
    prepare(project, database, UNHURRIED.replace("0.15", "0.0") + "\n")
    slow = 'scripts = "datamigrations"\npause = 5\n'
    pyproject = project.root / "pyproject.toml"
    pyproject.write_text(pyproject.read_text().replace('scripts = "datamigrations"\n', slow))
    with ended(project.start("run")) as first:
        wait_for(lambda: named_people(database))
        told = project.quick("run", "--no-wait", exits=5).err
        assert f":{first.pid}." in told
        (row,) = project.json("status")["migrations"]
        assert row["absent"] is None
        assert row["rate"]
        first.kill()
        end_of(first)
    (row,) = project.json("status")["migrations"]
    assert row["absent"].endswith(f":{first.pid} is gone; `datamigrate run full_name` goes on")
    assert row["absent"] in project.quick("status").out
    assert (row["rate"], row["eta"]) == (None, None)
    pyproject.write_text(pyproject.read_text().replace("pause = 5\n", ""))
    project.quick("run")
    everyone_was_written_once(database)


def test_sigterm_finishes_the_batch_and_exits_75(project: Project, database: ScratchDatabase) -> None:
    prepare(project, database, UNHURRIED)
    with ended(project.start("run")) as process:
        wait_for(lambda: named_people(database))
        process.send_signal(signal.SIGTERM)
        code, told = end_of(process)
    assert code == 75, told
    assert "SIGTERM: finishing the batch; Ctrl-C breaks it off." in told
    done = named_people(database)
    assert f"full_name: stopped cleanly after {done} rows (SIGTERM); run again to go on" in told
    assert done % 10 == 0
    assert project.json("status")["migrations"][0]["state"] == "stopped"
    assert project.json("history")["runs"][0]["outcome"] == "stopped: SIGTERM"
    project.quick("run")
    everyone_was_written_once(database)


def test_ctrl_c_finishes_the_batch_and_exits_75_too(project: Project, database: ScratchDatabase) -> None:
    prepare(project, database, UNHURRIED)
    with ended(project.start("run")) as process:
        wait_for(lambda: named_people(database))
        process.send_signal(signal.SIGINT)
        code, told = end_of(process)
    assert code == 75, told
    assert "SIGINT: finishing the batch" in told
    project.quick("run")
    everyone_was_written_once(database)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_all_processes_of_a_run_finishes_the_batch_as_well(
    postgres_project: Project, postgres_database: ScratchDatabase, number: signal.Signals
) -> None:
    project, database = postgres_project, postgres_database
    add_people(database, 3000)
    project.write_script("full_name", CALLED_ELSEWHERE)
    with ended(project.start("run", "--workers", "2", before=("setsid",))) as process:
        wait_for(lambda: len(list(project.root.glob("called by *"))) == 3)
        for one in psutil.Process(process.pid).children(recursive=True):
            one.send_signal(number)
        os.killpg(process.pid, number)
        code, told = end_of(process)
    assert code == 75, told
    assert f"{number.name}: finishing the batch" in told
    assert "Traceback" not in told
    project.quick("run")
    assert named_people(database) == 3000


def test_a_second_ctrl_c_rolls_the_batch_back_and_exits_130(
    project: Project, database: ScratchDatabase
) -> None:
    prepare(project, database, STUCK)
    with ended(project.start("run")) as process:
        assert process.stderr is not None
        assert "full_name: starts" in process.stderr.readline()
        wait_for((project.root / "stuck").exists)
        process.send_signal(signal.SIGINT)
        assert "finishing the batch; Ctrl-C breaks it off." in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        code, told = end_of(process)
    assert code == 130, told
    assert "Error: Interrupted: the batch under way was rolled back, everything before it is kept." in told
    assert "`datamigrate run` goes on where it stopped." in told
    assert "Traceback" not in told
    assert writes(database) == [(0, PEOPLE - 10), (1, 10)]
    assert project.json("status")["migrations"][0]["state"] == "stopped"
    assert project.json("history")["runs"][0]["exit"] == 130
    (project.root / "mended").touch()
    project.quick("run", "--no-wait")
    everyone_was_written_once(database)


def test_a_second_ctrl_c_ends_a_run_whose_compute_function_never_returns(
    sqlite_project: Project, sqlite_database: ScratchDatabase
) -> None:
    prepare(sqlite_project, sqlite_database, NEVER_RETURNS)
    with ended(sqlite_project.start("run")) as process:
        wait_for((sqlite_project.root / "stuck").exists)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        while "breaks it off." not in process.stderr.readline():
            pass
        process.send_signal(signal.SIGINT)
        code, told = end_of(process)
    assert code == 130, told
    assert "everything before it is kept" in told


def test_a_run_that_was_killed_is_taken_over_at_once_on_its_host(
    project: Project, database: ScratchDatabase
) -> None:
    prepare(project, database, STUCK)
    with ended(project.start("run")) as process:
        wait_for((project.root / "stuck").exists)
        process.kill()
        assert end_of(process)[0] == -signal.SIGKILL
    assert project.json("history")["runs"][0]["outcome"] is None
    assert "going on, or killed" in project.quick("history").out
    (project.root / "mended").touch()
    told = project.quick("run", "--no-wait").err
    assert "full_name: resumes after 10 rows" in told
    everyone_was_written_once(database)
    causes = [move["cause"] for move in project.json("show", "full_name")["transitions"]]
    assert causes == ["run", "taken over", "verified"]


def test_a_killed_run_waits_for_an_operator_no_longer_than_for_another_run(
    project: Project, database: ScratchDatabase
) -> None:
    prepare(project, database, STUCK)
    with ended(project.start("run")) as process:
        wait_for((project.root / "stuck").exists)
        process.kill()
        end_of(process)
    assert project.quick("retry", "full_name").err == "full_name is pending now.\n"
    project.write_script("full_name", FULL_NAME)
    project.quick("run")
    everyone_was_written_once(database)
