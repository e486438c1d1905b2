"""The command line: what goes where, what each verb says, and what the exit code means."""

from __future__ import annotations

import gc
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import datamigrate
from alembic_project import Outcome
from databases import ScratchDatabase
from datamigrate.faces import progress
from datamigrate.faces.cli import cli
from projects import FULL_NAME, NICK, NICKNAMES, PEOPLE, Project, add_people, named_people

VERBS = ("init", "new", "list", "show", "history", "status", "plan", "run", "retry", "reset", "stamp")
ESCAPE = "\x1b["

SMALL_BATCHES = FULL_NAME.replace("pending=", "batch_size=2, pending=")
FAILING = """
@each_batch(people, pending=people.c.full_name.is_(None))
async def migrate(batch):
    raise ValueError("not today")
"""
CANCELLED = """
import asyncio

@each_batch(people, pending=people.c.full_name.is_(None))
async def migrate(batch):
    service = asyncio.get_running_loop().create_future()
    service.cancel()
    await service
"""


def states(project: Project) -> dict[str, str]:
    return {row["name"]: row["state"] for row in project.json("status")["migrations"]}


def documents(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


# help and version -------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb: str) -> None:
    outcome = CliRunner().invoke(cli, [verb, "--help"], prog_name="datamigrate")
    assert outcome.exit_code == 0
    assert outcome.stdout.startswith(f"Usage: datamigrate {verb} ")
    assert "--json" in outcome.stdout
    assert "--url" in outcome.stdout


def test_the_help_names_every_verb_and_every_exit_code(tmp_path: Path) -> None:
    told = Project(tmp_path).datamigrate("--help").out
    for verb in VERBS:
        assert re.search(rf"^  {verb} +\S", told, re.MULTILINE)
    for code in (
        "0 fine",
        "1 failed",
        "2 usage",
        "3 pending",
        "4 blocked",
        "5 somebody",
        "75 stopped",
        "130",
    ):
        assert code in told


def test_while_a_command_is_at_work_python_looks_for_garbage_seldom_and_passes_over_what_is_imported(
    sqlite_project: Project,
) -> None:
    sqlite_project.write_script(
        "habits",
        "async def migrate(session):\n"
        "    import gc\n"
        "    with open('habits.txt', 'w') as file:\n"
        "        print(gc.get_freeze_count() > 10_000, gc.get_threshold()[0], file=file)",
    )
    before = gc.get_threshold()
    sqlite_project.quick("run", "habits")
    assert (sqlite_project.root / "habits.txt").read_text() == "True 50000\n"
    assert gc.get_threshold() == before


def test_python_does_not_look_for_garbage_once_more_when_a_command_has_ended() -> None:
    program = (
        "import atexit, gc, sys, weakref\n"
        "from datamigrate.faces.cli import main\n"
        "class Circle: pass\n"
        "gc.disable()\n"
        "circle = Circle()\n"
        "circle.itself = circle\n"
        "end = weakref.finalize(circle, print, 'looked at')\n"
        "end.atexit = False\n"
        "del circle\n"
        "atexit.register(lambda: (gc.collect(), print(end.alive)))\n"
        "sys.argv = ['datamigrate', '--version']\n"
        "main()\n"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert told.splitlines()[1:] == ["True"]


def test_help_and_version_do_not_wait_for_sqlalchemy_or_alembic() -> None:
    program = (
        "import sys\n"
        "from datamigrate.faces.cli import cli\n"
        "for arguments in (['--help'], ['--version'], ['run', '--help'], ['-h']):\n"
        "    try:\n"
        "        cli(arguments, prog_name='datamigrate')\n"
        "    except SystemExit as end:\n"
        "        assert end.code == 0\n"
        "assert not {'sqlalchemy', 'alembic', 'rich', 'anyio'} & set(sys.modules)\n"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert f"datamigrate, version {datamigrate.__version__}" in told


def test_a_look_does_not_wait_for_what_works_on_rows(sqlite_project: Project) -> None:
    needless = (
        *("datamigrate.doing.runner", "datamigrate.doing.rehearsal", "datamigrate.faces.rights"),
        *("datamigrate.faces.notices.webhook", "datamigrate.testing"),
        *("urllib.request", "rich.progress", "sqlglot", "prometheus_client", "opentelemetry"),
    )
    program = (
        "import sys\n"
        "from datamigrate.faces.cli import cli\n"
        "for verb in ('list', 'plan', 'status', 'history'):\n"
        "    cli([verb, '-q', '--json'], standalone_mode=False)\n"
        f"sys.exit(' '.join(sorted({set(needless)} & set(sys.modules))))\n"
    )
    looked = subprocess.run(
        [sys.executable, "-c", program],
        cwd=sqlite_project.root,
        env=os.environ | sqlite_project.variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert looked.stdout.count('"version": 1') == 4, looked.stderr
    assert looked.stderr.strip() == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ("fly",),
        ("run", "--batch-size", "0"),
        ("run", "--max-batches", "none"),
        ("run", "--max-time", "soon"),
        ("new",),
        ("new", "-m", "x", "--kind", "dance"),
        ("show",),
        ("plan", "--color", "blue"),
    ],
)
def test_a_call_that_makes_no_sense_exits_2_and_names_the_help(
    sqlite_project: Project, arguments: tuple[str, ...]
) -> None:
    outcome = sqlite_project.quick(*arguments, exits=2)
    assert outcome.out == ""
    assert "--help' for help" in outcome.err
    assert "Error: " in outcome.err


# stdout and stderr --------------------------------------------------------------------------------------


def test_data_goes_to_stdout_and_progress_to_stderr(project: Project, database: ScratchDatabase) -> None:
    add_people(database, 5)
    project.write_script("full_name")
    planned = project.datamigrate("plan")
    assert "full_name" in planned.out
    assert "never run" in planned.out
    assert planned.err == "1 to run: `datamigrate run`.\n"
    ran = project.datamigrate("run")
    assert ran.out == ""
    assert ran.err.splitlines()[0] == "full_name: starts, 5 rows pending (counted)"
    assert ran.err.splitlines()[1].startswith("full_name: done and verified, 5 rows in ")
    assert ESCAPE not in planned.out + ran.err
    assert named_people(database) == 5


def test_q_leaves_only_data_and_errors(sqlite_project: Project, sqlite_database: ScratchDatabase) -> None:
    add_people(sqlite_database, 5)
    sqlite_project.write_script("full_name")
    assert sqlite_project.quick("-q", "plan").err == ""
    assert sqlite_project.quick("run", "-q") == Outcome(0, "", "")
    sqlite_project.write_script("failing", FAILING.replace("full_name", "nick"))
    assert sqlite_project.quick("run", "-q", exits=1).err.startswith(
        "Error: failing: Row 1: ValueError: not today"
    )


def test_every_verb_gives_one_document_of_json(project: Project, database: ScratchDatabase) -> None:
    add_people(database, 5)
    project.write_script("full_name")
    project.write_script("nick", NICK, requires=NICKNAMES)
    project.write_file("broken.py", "import no_such_module\n")
    assert [m["name"] for m in project.json("list", exits=1)["migrations"]] == ["full_name", "nick"]
    assert "no_such_module" in project.json("list", exits=1)["problems"][0]["message"]
    assert [s["action"] for s in project.json("plan", exits=1)["steps"]] == ["run", "run"]
    assert project.json("run", "--dry-run", exits=1)["pending"] == {"full_name": 5, "nick": 5}
    assert project.json("run", exits=1)["error"] == "ScriptError"
    done = project.json("run", "full_name")
    assert done["results"] == [{"name": "full_name", "outcome": "done", "quarantined": 0}]
    assert done["exit"] == 0
    assert project.json("status", "--count", exits=1)["migrations"][1]["pending"] == 5
    assert project.json("show", "full_name")["ledger"]["state"] == "done"
    assert project.json("history")["runs"][0]["outcome"] == "done"
    assert project.json("reset", "full_name") == {"version": 1, "name": "full_name", "state": "pending"}
    assert project.json("stamp", "full_name")["state"] == "done"
    assert project.json("retry", "full_name", exits=2)["error"] == "LifecycleError"
    assert project.json("show", "nobody", exits=1)["error"] == "ScriptError"
    (project.scripts / "broken.py").unlink()
    assert project.json("show", "nobody", exits=2)["error"] == "UnknownMigration"
    assert Path(project.json("new", "-m", "another")["file"]).exists()
    assert project.json("init")["written"] == []


def test_a_run_that_fails_gives_one_document_of_json_too(
    sqlite_project: Project, sqlite_database: ScratchDatabase
) -> None:
    add_people(sqlite_database, 5)
    sqlite_project.write_script("failing", FAILING)
    facts = sqlite_project.json("run", exits=1)
    (result,) = facts["results"]
    assert facts["exit"] == 1
    assert result["outcome"] == "failed"
    assert "not today" in result["error"]
    assert "`datamigrate run failing`" in result["hint"]


def test_with_json_logs_every_line_on_stderr_is_json(project: Project, database: ScratchDatabase) -> None:
    add_people(database, 5)
    project.write_script("full_name", SMALL_BATCHES)
    project.write_script("failing", FAILING.replace("full_name", "nick"), file="later.py")
    lines = documents(project.quick("run", "--log-format", "json", exits=1).err)
    events = [line["event"] for line in lines if line.get("migration") == "full_name"]
    assert events == ["Started", "BatchDone", "BatchDone", "BatchDone", "Verifying", "Finished"]
    assert [line["rows"] for line in lines if line["event"] == "BatchDone"] == [2, 2, 1]
    assert lines[-1]["event"] == "Error"
    assert "not today" in lines[-1]["message"]
    assert all(line["time"].endswith("+00:00") and line["logger"] == "datamigrate" for line in lines)
    assert {line["event"]: line["level"] for line in lines if line["event"] in ("Failed", "BatchDone")} == {
        "Failed": "error",
        "BatchDone": "debug",
    }
    (note,) = documents(project.quick("plan", "--log-format", "json").err)
    assert (note["event"], note["message"]) == ("Note", "1 to run: `datamigrate run`.")


def test_without_a_terminal_a_line_tells_now_and_then_how_far_it_is(
    sqlite_project: Project, sqlite_database: ScratchDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_people(sqlite_database, 4)
    sqlite_project.write_script("full_name", SMALL_BATCHES)
    monkeypatch.setattr(progress, "HEARTBEAT", 0.0)
    told = sqlite_project.quick("run", "--color", "always", FORCE_COLOR="1").err.splitlines()
    assert re.fullmatch(r"full_name: 2 of 4 rows \(50%\), [\d,]+ rows/s, \S+ to go", told[1])
    assert re.match(r"full_name: 4 of 4 rows \(100%\)", told[2])


# colour -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "variables", "coloured"),
    [
        ((), {}, False),
        ((), {"FORCE_COLOR": "1"}, True),
        ((), {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
        (("--color", "always"), {}, True),
        (("--color", "always"), {"NO_COLOR": "1"}, True),
        (("--color", "never"), {"FORCE_COLOR": "1"}, False),
        (("--color", "auto"), {}, False),
    ],
)
def test_colour_is_for_terminals_and_for_those_who_ask(
    sqlite_project: Project, arguments: tuple[str, ...], variables: dict[str, str], coloured: bool
) -> None:
    sqlite_project.write_script("full_name")
    told = sqlite_project.having({"TERM": "xterm"} | variables).quick("plan", *arguments).out
    assert (f"{ESCAPE}32m" in told) is coloured


# exit codes ---------------------------------------------------------------------------------------------


def test_what_is_pending_exits_3_where_that_is_asked_for(project: Project, database: ScratchDatabase) -> None:
    add_people(database, 5)
    project.write_script("full_name")
    for ask in (("status", "--check"), ("plan", "--exit-code"), ("status", "full_name", "--check")):
        project.quick(*ask, exits=3)
        project.quick(ask[0], exits=0)
    project.quick("run")
    project.quick("status", "--check")
    project.quick("plan", "--exit-code")
    project.write_script("full_name", FULL_NAME.replace('" "', '"  "'))
    assert "drifted" in project.quick("status", "--check", exits=3).out
    project.quick("plan", "--exit-code", exits=3)


def test_what_waits_for_a_revision_exits_4(project: Project, database: ScratchDatabase) -> None:
    project.downgrade(PEOPLE)
    project.write_script("nick", NICK, requires=NICKNAMES)
    told = project.datamigrate("run", exits=4)
    assert f"nick: blocked, needs revision {NICKNAMES}, which is not applied" in told.err
    project.quick("status", "--check", exits=4)
    project.quick("plan", "--exit-code", exits=4)
    assert project.quick("status").out.count("blocked") == 1
    add_people(database, 3)
    project.write_script("full_name")
    project.quick("plan", "--exit-code", exits=3)
    told = project.quick("run", exits=4)
    assert "full_name: done and verified, 3 rows" in told.err, "what can be done is done"
    project.quick("run", "full_name", exits=0)


def test_a_run_within_its_budget_of_batches_exits_75_and_goes_on_when_called_again(
    project: Project, database: ScratchDatabase
) -> None:
    add_people(database, 5)
    project.write_script("full_name")
    told = project.quick("run", "--batch-size", "2", "--max-batches", "1", exits=75).err
    assert "full_name: stopped cleanly after 2 rows (batch budget used up); run again to go on" in told
    assert named_people(database) == 2
    (row,) = project.json("status")["migrations"]
    assert (row["state"], row["rows"], row["estimate"]) == ("stopped", 2, 5)
    assert "stopped after 2 rows" in project.quick("plan").out
    told = project.quick("run").err
    assert "full_name: resumes after 2 rows, 3 rows pending" in told
    assert named_people(database) == 5
    assert [run["exit"] for run in project.json("history")["runs"]] == [0, 75]


def test_a_run_within_its_budget_of_time_exits_75(project: Project, database: ScratchDatabase) -> None:
    add_people(database, 100)
    slow = """
    import asyncio

    @each_batch(people, pending=people.c.full_name.is_(None))
    async def migrate(batch):
        await asyncio.sleep(0.03)
        await batch.execute(sa.update(people).where(batch.rows).values(full_name=people.c.first + " " + people.c.last))
    """
    project.write_script("full_name", slow)
    told = project.quick("run", "--batch-size", "1", "--max-time", "0.2", exits=75).err
    assert "(time budget used up); run again to go on" in told
    assert named_people(database) < 100
    told = project.quick("run", "--max-time", "0", exits=75).err
    assert told == "Stopped cleanly between two migrations (time budget used up); run again to go on.\n"
    project.quick("run")
    assert named_people(database) == 100


# names, tags, failures ----------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["run", "plan", "show", "status", "retry", "reset", "stamp"])
def test_an_unknown_name_is_answered_with_a_suggestion(sqlite_project: Project, verb: str) -> None:
    sqlite_project.write_script("full_name")
    told = sqlite_project.quick(verb, "ful_name", exits=2).err
    assert told == "Error: There is no data migration 'ful_name'.\nDid you mean 'full_name'?\n"
    told = sqlite_project.quick(verb, "zzz", exits=2).err
    assert "`datamigrate list` shows the names there are." in told


def test_run_name_does_what_it_depends_on_as_well_and_nothing_else(
    project: Project, database: ScratchDatabase
) -> None:
    add_people(database, 5)
    project.write_script("base")
    project.write_script("middle", "async def migrate(session):\n    pass", depends_on=("base",))
    project.write_script("top", "async def migrate(session):\n    pass", depends_on=("middle",))
    project.write_script("other", NICK, requires=NICKNAMES)
    project.quick("run", "top")
    assert states(project) == {"base": "done", "middle": "done", "top": "done", "other": "pending"}
    assert [s["name"] for s in project.json("plan", "top")["steps"]] == ["base", "middle", "top"]


def test_run_tag_does_those_with_the_tag(sqlite_project: Project, sqlite_database: ScratchDatabase) -> None:
    sqlite_project.write_script("nightly", 'tags = ("night",)\nasync def migrate(session):\n    pass')
    sqlite_project.write_script("daily", FULL_NAME.replace("pending=", 'tags=["day"], pending='))
    sqlite_project.quick("run", "--tag", "night")
    assert states(sqlite_project) == {"nightly": "done", "daily": "pending"}
    told = sqlite_project.quick("run", "--tag", "nights", exits=2).err
    assert told == "Error: No data migration has the tag 'nights'.\nTags there are: day, night.\n"


def test_the_first_failure_ends_the_run_and_keep_going_does_not(
    project: Project, database: ScratchDatabase
) -> None:
    add_people(database, 5)
    project.write_script("a_failing", FAILING)
    project.write_script("b_after", "async def migrate(session):\n    pass", depends_on=("a_failing",))
    project.write_script("c_nick", NICK, requires=PEOPLE)
    told = project.quick("run", exits=1)
    assert states(project) == {"a_failing": "failed", "b_after": "pending", "c_nick": "pending"}
    told = project.quick("run", "--keep-going", exits=1)
    assert "b_after: skipped, a_failing is not done" in told.err
    assert "Error: a_failing: Row 1: ValueError: not today" in told.err
    assert states(project) == {"a_failing": "failed", "b_after": "pending", "c_nick": "done"}
    outcomes = {r["name"]: r["outcome"] for r in project.json("run", "--keep-going", exits=1)["results"]}
    assert outcomes == {"a_failing": "failed", "b_after": "skipped"}


def test_a_script_whose_code_is_cancelled_by_itself_fails_whatever_verb_runs_it(
    project: Project, database: ScratchDatabase
) -> None:
    add_people(database, 5)
    project.write_script("cancelled", CANCELLED)
    for verb in (("run",), ("upgrade",), ("run", "--dry-run")):
        told = project.quick(*verb, exits=1).err
        assert "cancelled: The script's function was cancelled." in told
        assert "Nothing to do." not in told
    assert states(project) == {"cancelled": "failed"}


def test_the_traceback_of_a_failing_script_is_shown_with_v(
    sqlite_project: Project, sqlite_database: ScratchDatabase
) -> None:
    add_people(sqlite_database, 5)
    script = sqlite_project.write_script("failing", FAILING)
    brief = sqlite_project.quick("run", exits=1).err
    assert "Traceback" not in brief
    assert f"at {script}:" in brief, "the place is told anyhow"
    story = sqlite_project.quick("run", "-v", exits=1).err
    assert "Traceback" in story
    assert f'File "{script}"' in story


def test_a_run_after_everything_is_done_says_so_and_changes_nothing(
    project: Project, database: ScratchDatabase
) -> None:
    add_people(database, 5)
    project.write_script("full_name")
    project.quick("run")
    before = database.dump()
    assert project.quick("run") == Outcome(0, "", "Nothing to do.\n")
    assert project.quick("run", "full_name").err == "Nothing to do.\n"
    assert database.dump() == before


# looking at one ------------------------------------------------------------------------------------------


def test_show_status_and_history_tell_what_became_of_it(project: Project, database: ScratchDatabase) -> None:
    add_people(database, 5)
    project.write_script("full_name")
    script = project.write_script("failing", FAILING.replace("full_name", "nick"))
    project.quick("run", "failing", exits=1)
    shown = project.quick("show", "failing").out
    for fact in (str(script), "failed", "not today", PEOPLE, "resume", "running"):
        assert fact in shown
    assert "never run" in project.quick("show", "full_name").out
    status = project.quick("status").out
    assert re.search(r"failing +failed .*failing: Row 1: ValueError: not today", status)
    assert re.search(r"full_name +pending", status)
    assert "failing" in project.quick("status", "failing").out
    assert "full_name" not in project.quick("status", "failing").out
    counted = project.quick("status", "--count").out
    assert re.search(r"full_name .* 5$", counted, re.MULTILINE)
    project.quick("run", "full_name")
    history = project.quick("history", "--limit", "1").out.splitlines()
    assert len(history) == 2
    assert re.search(r" run full_name +done +0", history[1])


def test_a_password_on_the_command_line_is_not_kept(project: Project, database: ScratchDatabase) -> None:
    project.write_script("full_name")
    url = re.sub(r"//postgres@", "//postgres:ge:heim@", database.sync_url)
    project.quick("run", "--url", url, "-x", "other=mysql://ann:geheim@host/db")
    (run,) = project.json("history")["runs"]
    assert run["arguments"].startswith("run --url ")
    assert "heim" not in run["arguments"]
    assert "mysql://ann:***@host/db" in run["arguments"]


# operators -----------------------------------------------------------------------------------------------


def test_stamp_records_without_running_and_accepts_an_edited_script(
    project: Project, database: ScratchDatabase
) -> None:
    add_people(database, 5)
    project.write_script("full_name")
    assert project.quick("stamp", "full_name", "--reason", "done by hand").err == "full_name is done now.\n"
    assert named_people(database) == 0
    assert project.quick("run").err == "Nothing to do.\n"
    assert "done by hand" in project.quick("show", "full_name").out
    project.write_script("full_name", FULL_NAME.replace('" "', '"  "'))
    assert project.json("plan")["steps"][0]["action"] == "drifted"
    project.quick("stamp", "full_name")
    assert project.json("plan")["steps"][0]["action"] == "done"


def test_reset_walks_it_again_from_the_first_row(project: Project, database: ScratchDatabase) -> None:
    add_people(database, 5)
    project.write_script("full_name")
    project.quick("run")
    database.execute("UPDATE people SET full_name = NULL WHERE id = 1")
    assert project.quick("run").err == "Nothing to do.\n"
    told = project.quick("reset", "full_name").err
    assert told == "full_name is pending now. `datamigrate run full_name` walks it from the first row.\n"
    assert "full_name: done and verified, 1 row " in project.quick("run").err
    assert named_people(database) == 5


def test_retry_puts_a_failed_one_back_in_line_and_keeps_what_is_done(
    project: Project, database: ScratchDatabase
) -> None:
    add_people(database, 5)
    database.execute("UPDATE people SET last = NULL WHERE id = 4")
    project.write_script("full_name", SMALL_BATCHES)
    project.quick("run", exits=1)
    assert named_people(database) == 4
    assert states(project) == {"full_name": "failed"}
    assert project.quick("retry", "full_name", "--reason", "mended").err == "full_name is pending now.\n"
    assert states(project) == {"full_name": "pending"}
    database.execute("UPDATE people SET last = 'Last4' WHERE id = 4")
    project.quick("run")
    assert named_people(database) == 5


def test_a_verb_that_makes_no_sense_is_refused_with_a_better_one(
    project: Project, database: ScratchDatabase
) -> None:
    project.write_script("full_name")
    told = project.quick("retry", "full_name", exits=2).err
    assert told == (
        "Error: full_name is pending; `retry` makes no sense there.\n"
        "It is pending already: `datamigrate run full_name`.\n"
    )
    project.quick("run")
    before = database.dump()
    told = project.quick("retry", "full_name", exits=2).err
    assert "It is done. `datamigrate reset full_name` makes it run again." in told
    assert database.dump() == before


def test_a_migration_whose_script_is_gone_is_remembered(
    sqlite_project: Project, sqlite_database: ScratchDatabase
) -> None:
    script = sqlite_project.write_script("full_name")
    sqlite_project.quick("run")
    script.unlink()
    assert sqlite_project.json("plan")["gone"] == ["full_name"]
    assert "done" in sqlite_project.quick("show", "full_name").out
    told = sqlite_project.quick("reset", "full_name", exits=2).err
    assert "The script of full_name is gone; only its record is left." in told
    told = sqlite_project.quick("run", "full_name", exits=2).err
    assert "The script of full_name is gone" in told
