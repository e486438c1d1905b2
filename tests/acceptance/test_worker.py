"""`datamigrate worker`, and windows and schedules as the command line tells of them."""

from __future__ import annotations

import re
import secrets
import signal
from datetime import UTC, datetime, timedelta

import pytest

from at_once import PEOPLE, UNHURRIED, end_of, everyone_was_written_once, metrics_at, prepare, wait_for
from databases import ScratchDatabase, free_port
from projects import FULL_NAME, NICK, Project, add_people, ended, named_people
from projects import PEOPLE as PEOPLE_REVISION

YEARLY = FULL_NAME.replace("values=", 'schedule="0 0 1 1 *",\n    values=')


def not_now() -> str:
    """A window that is shut for two hours yet."""
    opens = datetime.now(UTC) + timedelta(hours=2)
    return f"{opens:%H:%M}-{opens + timedelta(hours=1):%H:%M}"


def with_window(body: str) -> str:
    return body.replace("values=", f'window="{not_now()}",\n    values=')


def test_a_worker_takes_up_what_becomes_pending_and_sigterm_ends_it_after_the_batch(
    project: Project, database: ScratchDatabase
) -> None:
    with ended(project.start("worker", "--poll", "200ms")) as worker:
        prepare(project, database, UNHURRIED)
        wait_for(lambda: named_people(database))
        worker.send_signal(signal.SIGTERM)
        code, told = end_of(worker)
    assert code == 0, told
    done = named_people(database)
    assert done < PEOPLE
    assert told.startswith("Worker: starts.\n")
    assert f"full_name: stopped cleanly after {done} rows (SIGTERM)" in told
    assert told.endswith("Worker: ends (SIGTERM).\n")
    assert project.json("status")["migrations"][0]["state"] == "stopped"
    (run,) = project.json("history")["runs"]
    assert (run["arguments"], run["outcome"]) == ("worker --poll 200ms", "stopped: SIGTERM")
    project.quick("run")
    everyone_was_written_once(database)


def test_a_worker_serves_metrics_for_as_long_as_it_stays(
    sqlite_project: Project, sqlite_database: ScratchDatabase
) -> None:
    port = free_port()
    sqlite_project.write_script("full_name")
    add_people(sqlite_database, 5)
    with ended(sqlite_project.start("worker", "--poll", "200ms", "--metrics-port", str(port))) as worker:
        wait_for(lambda: named_people(sqlite_database) == 5)
        ended_well = 'datamigrate_ended_total{migration="full_name",outcome="finished"} 1.0'
        wait_for(lambda: ended_well in metrics_at(port))
        worker.send_signal(signal.SIGTERM)
        code, told = end_of(worker)
    assert code == 0, told


def test_a_worker_waits_for_a_database_and_a_schema_that_are_not_there_yet(
    sqlite_project: Project, sqlite_database: ScratchDatabase
) -> None:
    project, database = sqlite_project, sqlite_database
    project.write_script("full_name")
    add_people(database, 5)
    file = project.root / "elsewhere.db"
    project = project.having({"DATABASE_URL": f"sqlite:///{file}"})
    with ended(project.start("worker", "--poll", "200ms")) as worker:
        assert worker.stderr is not None
        lines = iter(worker.stderr.readline, "")
        assert next(line for line in lines if "Tries again in 1.0s." in line).startswith("Worker: ")
        project.upgrade()
        assert next(line for line in lines if "done and verified" in line)
        worker.send_signal(signal.SIGTERM)
        code, told = end_of(worker)
    assert code == 0, told


@pytest.mark.parametrize(("verb", "code"), [("run", 75), ("worker", 0)])
def test_a_signal_is_heard_while_the_database_is_away(
    postgres_project: Project, postgres_database: ScratchDatabase, verb: str, code: int
) -> None:
    project, database = postgres_project, postgres_database
    prepare(project, database, UNHURRIED)
    role = f"guest_{secrets.token_hex(4)}"
    database.script(f"CREATE ROLE {role} LOGIN SUPERUSER")
    guest = project.having({"DATABASE_URL": database.sync_url.replace("postgres@", f"{role}@")})
    try:
        with ended(guest.start(verb)) as process:
            wait_for(lambda: named_people(database))
            database.script(
                f"ALTER ROLE {role} NOLOGIN; "
                f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'"
            )
            assert process.stderr is not None
            lines = iter(process.stderr.readline, "")
            assert next(line for line in lines if "is not permitted to log in" in line)
            process.send_signal(signal.SIGTERM)
            ended_with, told = end_of(process)
        assert ended_with == code, told
        assert re.search(
            r"full_name: stopped cleanly after \d+ rows \(SIGTERM, before another try after: ", told
        )
        assert "run again to go on" in told
        project.quick("run")
        everyone_was_written_once(database)
    finally:
        database.script(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_what_no_waiting_mends_ends_a_worker_at_once(sqlite_project: Project) -> None:
    sqlite_project.quick("worker", "--tag", "nobody", exits=2)


def test_a_window_is_told_by_every_verb_and_minded_by_run(
    project: Project, database: ScratchDatabase
) -> None:
    add_people(database, 5)
    project.write_script("full_name", with_window(FULL_NAME))
    (step,) = project.json("plan", "--exit-code", exits=3)["steps"]
    assert (step["action"], step["may_run_at"][:10] >= f"{datetime.now(UTC):%Y-%m-%d}") == ("waiting", True)
    assert re.match(r"outside its window \S+ UTC, which opens \d{4}-\d\d-\d\d \d\d:\d\d UTC$", step["reason"])
    told = project.quick("run", exits=75).err
    assert f"full_name: waiting, {step['reason']}\n" in told
    assert "--wait-for-window waits, --ignore-window does not care." in told
    (row,) = project.json("status", "--check", exits=3)["migrations"]
    assert (row["state"], row["reason"]) == ("pending", step["reason"])
    assert "full_name" in project.quick("run", "--dry-run").out
    told = project.quick("upgrade", exits=75).err
    assert "Stopped cleanly (full_name is outside its window" in told
    assert named_people(database) == 0
    project.quick("run", "--ignore-window")
    assert named_people(database) == 5


def test_a_schedule_is_told_by_every_verb_and_run_by_name_or_when_due(
    project: Project, database: ScratchDatabase
) -> None:
    add_people(database, 5)
    project.write_script("yearly", YEARLY)
    year = datetime.now(UTC).year + 1
    assert re.search(rf"yearly +scheduled +next {year}-01-01 00:00 UTC", project.quick("plan").out)
    told = project.quick("run").err
    assert told == f"yearly: scheduled, next {year}-01-01 00:00 UTC\nNothing to do.\n"
    project.quick("status", "--check")
    assert "Nothing to do." in project.quick("run", "--due").err
    project.quick("upgrade")
    assert named_people(database) == 0
    assert re.search(r"yearly +run +asked for by name", project.quick("plan", "yearly").out)
    project.quick("run", "yearly")
    assert named_people(database) == 5
    shown = project.json("show", "yearly")
    assert [(o["outcome"], o["rows"]) for o in shown["occurrences"]] == [("verified", 5)]
    assert "asked for by name" in project.quick("show", "yearly").out
    (row,) = project.json("status")["migrations"]
    assert (row["state"], row["rows"]) == ("scheduled", 5)


def test_a_free_form_script_says_its_schedule_and_its_window_at_its_top(sqlite_project: Project) -> None:
    project = sqlite_project
    body = 'schedule = "0 2 * * *"\nwindow = "00:00-24:00 Asia/Tokyo"\n\nasync def migrate(session): ...'
    project.write_script("nightly", body)
    assert re.search(r"nightly +scheduled +next \d{4}-\d\d-\d\d 02:00 Asia/Tokyo", project.quick("plan").out)
    project.write_script("nightly", body.replace("0 2 * * *", "nightly"))
    assert "`schedule`: 'nightly' is no schedule" in project.quick("plan", exits=1).err
    project.write_script("nightly", body.replace("Asia/Tokyo", "Middle/Earth"))
    assert "'Middle/Earth' is no time zone" in project.quick("list", exits=1).err


def test_a_time_that_cannot_be_read_is_a_wrong_call(sqlite_project: Project) -> None:
    sqlite_project.write_script("nick", NICK)
    told = sqlite_project.quick("run", "--until", "tomorrow", exits=2).err
    assert "'tomorrow' is no time of the day" in told


def test_a_gate_runs_one_that_recurs_before_its_time(project: Project, database: ScratchDatabase) -> None:
    add_people(database, 5)
    project.write_script("yearly", YEARLY, requires=PEOPLE_REVISION)
    project.write_revision("3c4d5e6f7081", "2b3c4d5e6f70", upgrade='op.require_data("yearly")')
    env = project.root / "alembic" / "env.py"
    env.write_text("import datamigrate.alembic\n" + env.read_text())
    project.quick("upgrade")
    assert named_people(database) == 5
