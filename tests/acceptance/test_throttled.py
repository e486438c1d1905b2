"""A run that waits because the database is not well, as an operator sees it."""

from __future__ import annotations

import re
import signal
import subprocess
import sys

import pytest
import sqlalchemy as sa

from at_once import wait_for
from databases import ScratchDatabase
from projects import Project, add_people, ended, named_people

OPS = """
from pathlib import Path

UNWELL = Path(__file__).with_name("unwell")


async def healthy():
    return UNWELL.read_text() if UNWELL.exists() else None
"""


@pytest.fixture(autouse=True)
def each_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test meets the module of another."""
    monkeypatch.delitem(sys.modules, "myops", raising=False)


def throttle(project: Project, table: str) -> None:
    file = project.root / "pyproject.toml"
    file.write_text(f"{file.read_text()}\n[tool.datamigrate.throttle]\n{table}\n")


def prepare(project: Project, database: ScratchDatabase) -> None:
    (project.root / "myops.py").write_text(OPS)
    throttle(project, 'function = "myops:healthy"\nevery = "50ms"')
    add_people(database, 5)
    project.write_script("full_name")
    (project.root / "unwell").write_text("the cache is cold")


def test_status_says_why_it_waits_and_it_stops_when_told_and_goes_on_when_all_is_well(
    project: Project, database: ScratchDatabase
) -> None:
    prepare(project, database)
    with ended(project.start("run")) as process:
        wait_for(lambda: project.json("status")["migrations"][0]["waiting"])
        (row,) = project.json("status")["migrations"]
        assert (row["state"], row["waiting"]) == ("running", "the cache is cold")
        assert row["waiting_since"]
        assert re.search(
            r"full_name +running .*waits since \d\d:\d\d:\d\dZ: the cache is cold",
            project.quick("status").out,
        )
        assert "the cache is cold" in project.quick("show", "full_name").out
        process.send_signal(signal.SIGTERM)
        code, heard = ended_with(process)
    assert code == 75, heard
    assert "full_name: waits: the cache is cold\n" in heard
    assert named_people(database) == 0
    (row,) = project.json("status")["migrations"]
    assert (row["state"], row["waiting"], row["waiting_since"]) == ("stopped", None, None)
    assert "waits" not in project.quick("status").out
    (project.root / "unwell").unlink()
    project.quick("run")
    assert named_people(database) == 5


def ended_with(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, heard = process.communicate(timeout=60)
    return process.returncode, heard


def test_in_an_emergency_it_goes_on_however_the_database_is(
    project: Project, database: ScratchDatabase
) -> None:
    prepare(project, database)
    assert "waits" not in project.quick("run", "--no-throttle").err
    assert named_people(database) == 5


def test_a_function_that_is_not_there_is_told_before_anything_is_done(
    sqlite_project: Project, sqlite_database: ScratchDatabase
) -> None:
    throttle(sqlite_project, 'function = "nowhere:healthy"')
    add_people(sqlite_database, 5)
    sqlite_project.write_script("full_name")
    before = sqlite_database.dump()
    said = sqlite_project.quick("run", exits=2).err
    assert (
        "[tool.datamigrate.throttle] function = 'nowhere:healthy' cannot be used: ModuleNotFoundError" in said
    )
    assert 'function = "myapp.ops:healthy"' in said
    assert sqlite_database.dump() == before


@pytest.mark.parametrize("key", ["replica_lags", "lock_wait"])
def test_a_misspelt_signal_is_told_from_the_one_that_is_meant(sqlite_project: Project, key: str) -> None:
    throttle(sqlite_project, f"{key} = 1")
    said = sqlite_project.quick("status", exits=2).err
    assert f"[tool.datamigrate.throttle] has an unknown key '{key}'" in said
    assert "Did you mean" in said


def test_doctor_tells_how_the_database_is(project: Project, database: ScratchDatabase) -> None:
    add_people(database, 5)
    project.write_script("full_name")
    throttle(project, "lock_waits = 4\ndead_rows = 1")
    told = [d["said"] for d in project.json("doctor")["diagnoses"] if d["about"] == "health"]
    told = [said for said in told if "oldest xmin" not in said]  # others may have one
    lines = {
        "sqlite": ["WAL not checkpointed 0 B, lets a run go on (above 1.0 GB it waits)"],
        "postgresql": [
            "replica lag: nothing to measure here",
            "other sessions at work 0, lets a run go on (above 0 it goes slowly)",
            "sessions waiting for locks 0, lets a run go on (above 4 it waits)",
        ],
    }
    assert told == lines[database.dialect]


def test_it_makes_room_for_an_application_that_is_at_work(
    postgres_project: Project, postgres_database: ScratchDatabase
) -> None:
    project, database = postgres_project, postgres_database
    add_people(database, 3000)
    project.write_script("full_name")
    with database.engine.connect() as shop:
        shop.execute(sa.text("SELECT 1"))
        (told,) = [d["said"] for d in project.json("doctor")["diagnoses"] if "other sessions" in d["said"]]
        assert told == "other sessions at work 1, slows a run down (above 0 it goes slowly)"
        shop.execute(sa.text("SELECT 1"))
        assert "makes room" not in project.quick("run", "--max-batches", "1", "--nice", "0", exits=75).err
        shop.execute(sa.text("SELECT 1"))
        heard = project.quick("run").err
    assert "full_name: makes room for others (other sessions at work: 1)" in heard
    assert "--nice 0" in heard
    assert database.scalar("SELECT max(size) FROM datamigrate_range") <= 1000
    assert named_people(database) == 3000
