"""Who does not look on is told how a run ends: a command, metrics."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

from at_once import metrics_at
from databases import ScratchDatabase, free_port
from datamigrate.faces.notices import prometheus
from projects import Project, add_people

FAILING = """
@each_batch(people, pending=people.c.full_name.is_(None))
async def migrate(batch):
    raise RuntimeError("not today")
"""
KEYLESS = 'keyless = sa.table("keyless", sa.column("full_name", sa.Text))'
TELL = "import sys; open(sys.argv[1], 'a').write(sys.stdin.read() + '\\n')"


def notices(project: Project, *run: str, exits: int) -> list[dict[str, object]]:
    told = project.root / "told"
    command = json.dumps([sys.executable, "-c", TELL, str(told)])
    file = project.root / "pyproject.toml"
    file.write_text(f"{file.read_text()}\n[tool.datamigrate.notify]\ncommand = {command}\n")
    project.quick(*run, exits=exits)
    return [json.loads(line) for line in told.read_text().splitlines()] if told.exists() else []


def test_what_is_done_is_told(project: Project, database: ScratchDatabase) -> None:
    add_people(database, 5)
    project.write_script("full_name")
    (notice,) = notices(project, "run", exits=0)
    assert (notice["notice"], notice["migration"]) == ("done", "full_name")
    assert str(notice["text"]).startswith("full_name is done and verified: 5 rows in ")


def test_what_fails_is_told_once(sqlite_project: Project, sqlite_database: ScratchDatabase) -> None:
    add_people(sqlite_database, 5)
    sqlite_project.write_script("full_name", FAILING)
    (notice,) = notices(sqlite_project, "run", exits=1)
    assert notice["notice"] == "failed"
    assert "not today" in str(notice["text"])


def test_what_fails_before_its_first_batch_is_told_too(
    sqlite_project: Project, sqlite_database: ScratchDatabase
) -> None:
    sqlite_database.execute("CREATE TABLE keyless (full_name TEXT)")
    sqlite_project.write_script("full_name", KEYLESS + FAILING.replace("people", "keyless"))
    (notice,) = notices(sqlite_project, "run", exits=1)
    assert notice["notice"] == "failed"


def test_an_address_that_nobody_answers_at_fails_no_run_and_is_told_without_its_path(
    sqlite_project: Project, sqlite_database: ScratchDatabase
) -> None:
    add_people(sqlite_database, 5)
    sqlite_project.write_script("full_name")
    with mock.patch("datamigrate.faces.notices.webhook.ATTEMPTS", 1):
        said = sqlite_project.quick("run", DATAMIGRATE_NOTIFY_URL="http://127.0.0.1:9/geheim").err
    assert "full_name: the webhook did not take the notice: 127.0.0.1: " in said
    assert "geheim" not in said


def test_an_address_that_cannot_be_asked_is_told_without_its_path(
    sqlite_project: Project, sqlite_database: ScratchDatabase
) -> None:
    add_people(sqlite_database, 5)
    sqlite_project.write_script("full_name")
    said = sqlite_project.quick("run", DATAMIGRATE_NOTIFY_URL="http://127.0.0.1:9/geheim nis").err
    assert "the webhook did not take the notice: 127.0.0.1: the address cannot be asked" in said
    assert "geheim" not in said


def test_metrics_are_served_while_it_runs(sqlite_project: Project, sqlite_database: ScratchDatabase) -> None:
    add_people(sqlite_database, 5)
    sqlite_project.write_script("full_name")
    fetched: list[str] = []
    serving = prometheus.serving_metrics

    @contextmanager
    def and_fetched(port: int) -> Iterator[object]:
        with serving(port) as publish:
            yield publish
            fetched.append(metrics_at(port))

    with mock.patch("datamigrate.faces.running.serving_metrics", and_fetched):
        sqlite_project.quick("run", "--metrics-port", str(free_port()))
    (text,) = fetched
    assert 'datamigrate_rows_total{migration="full_name"} 5.0' in text.splitlines()
    assert 'datamigrate_ended_total{migration="full_name",outcome="finished"} 1.0' in text.splitlines()
