"""The bench measures what it says: every contender does its job, and the report tells of it. No time is judged."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.grounds import SQLiteGround, sqlite_ground
from bench.jobs import FIELD, JOBS, LIMIT, Contender, field_of, large_field_of, lines_of_code
from bench.meanwhile import ALONE
from bench.running import Failed, check
from databases import ROOT, PostgresServer

ROWS = 400
MANY = 100_000
"""With these a contender has several batches, and a table is large enough to be counted beside them."""


def bench(*arguments: str, **variables: str) -> str:
    """Run the bench, which must succeed; what it told of its progress."""
    finished = subprocess.run(
        [sys.executable, "-m", "bench", *arguments],
        cwd=ROOT,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stderr


def figures(folder: Path, name: str) -> Any:
    """The figures that were written down."""
    return json.loads((folder / f"{name}.json").read_text("utf-8"))["figures"]


def job_named(name: str) -> Any:
    return next(job for job in JOBS if job.name == name)


# each file of a contender runs on one dialect here; starting its process is what takes the time
@pytest.mark.parametrize(
    ("dialect", "jobs"), [("postgresql", ("update",)), ("sqlite", ("compute", "copy", "delete"))]
)
def test_every_contender_leaves_the_table_as_the_limit_does(
    dialect: str, jobs: tuple[str, ...], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    server = request.getfixturevalue("postgres_server").url if dialect == "postgresql" else ""
    wanted = [argument for job in jobs for argument in ("--job", job)]
    told = bench(
        *("races", "--rows", str(MANY), "--rounds", "1", "--dialect", dialect, "--to", str(tmp_path)),
        *wanted,
        DATAMIGRATE_BENCH_PG=server,
    )
    assert "left out" not in told
    ran = figures(tmp_path, f"races-{dialect}")
    assert [(f["job"], f["name"]) for f in ran] == [
        (job, contender.name) for job in jobs for contender in field_of(job_named(job), dialect)
    ]
    assert all(f["ratio"] > 0 and f["peak_megabytes"] > 0 and f["lines"] > 0 for f in ran)
    bench("report", "--from", str(tmp_path), "--docs", str(tmp_path))
    report = (tmp_path / "performance.md").read_text("utf-8")
    assert all(f"| {f['rows']:,} |" in report and f["name"] in report for f in ran)
    assert "</svg>" in (tmp_path / "performance.svg").read_text("utf-8")


def test_a_large_table_is_given_to_the_quick_ways_only(tmp_path: Path) -> None:
    bench(
        *("large", "--rows", str(ROWS), "--rounds", "1", "--dialect", "sqlite", "--job", "update"),
        *("--to", str(tmp_path)),
    )
    assert [f["name"] for f in figures(tmp_path, "large-sqlite")] == [LIMIT, "update_rows", "sqlite3 by hand"]
    assert [c.name for c in large_field_of(job_named("compute"), "postgresql")] == [
        LIMIT,
        "compute_rows",
        "compute_rows, 2 workers",
        "asyncpg by hand",
        "asyncpg by hand, 2 connections",
    ]
    bench("report", "--from", str(tmp_path), "--docs", str(tmp_path))
    report = (tmp_path / "performance.md").read_text("utf-8")
    assert f"| sqlite3 by hand | {ROWS} |" in report


def test_the_foreground_is_felt_alone_and_beside_a_contender(
    tmp_path: Path, postgres_server: PostgresServer
) -> None:
    bench(
        *("foreground", "--rows", str(ROWS), "--rounds", "1", "--seconds", "0.5", "--to", str(tmp_path)),
        *("--contender", "update_rows", "--contender", LIMIT),
        DATAMIGRATE_BENCH_PG=postgres_server.url,
    )
    felt = {f["name"]: f for f in figures(tmp_path, "foreground")}
    assert felt.keys() == {ALONE, LIMIT, "update_rows"}
    assert felt[ALONE]["operations"] > 0
    assert felt[ALONE]["ratio"] == 1
    assert (felt[ALONE]["rows_per_second"] > 0, felt["update_rows"]["rows_per_second"] > 0) == (False, True)


def test_positions_start_up_and_memory_are_written_down(
    tmp_path: Path, postgres_server: PostgresServer
) -> None:
    to = ("--rows", "8000", "--to", str(tmp_path))
    bench("positions", *to, DATAMIGRATE_BENCH_PG=postgres_server.url)
    bench("start", *to, "--rounds", "1", "--scripts", "20", DATAMIGRATE_BENCH_PG=postgres_server.url)
    bench("memory", *to, "--dialect", "sqlite", "--job", "compute")
    bench("report", "--from", str(tmp_path), "--docs", str(tmp_path))
    walked = {f["name"]: f["batches"] for f in figures(tmp_path, "positions")}
    assert walked.keys() == {"dense", "sparse", "uuids", "composite"}
    assert all(walked.values())
    started = figures(tmp_path, "start")
    assert [f["scripts"] for f in started["loading"]] == [2, 20, 40]
    assert [f["dialect"] for f in started["bookkeeping"]] == ["postgresql", "sqlite"]
    assert all(f["small"] > 0 and f["large"] > 0 for f in figures(tmp_path, "memory"))
    report = (tmp_path / "performance.md").read_text("utf-8")
    assert "datamigrate status, 20 scripts" in report
    assert "</svg>" in (tmp_path / "performance-positions.svg").read_text("utf-8")


@pytest.mark.parametrize("job", JOBS, ids=lambda job: str(job.name))
def test_a_table_that_is_not_as_the_limit_leaves_it_fails_the_bench(job: Any, tmp_path: Path) -> None:
    with sqlite_ground(tmp_path) as ground:
        ground.freshen(ROWS)
        with pytest.raises(Failed, match=f"{job.name}, nobody: .* of {ROWS} rows are not as they should be"):
            check(Contender(job.name, "nobody", "nothing.py"), ground, job.wrong, ROWS)


def test_one_wrong_row_is_enough(tmp_path: Path) -> None:
    job = job_named("update")
    right = "UPDATE people SET full_name = trim(first_name || ' ' || last_name)"
    with sqlite_ground(tmp_path) as ground:
        ground.freshen(ROWS)
        ground.execute(right)
        check(FIELD[0], ground, job.wrong, ROWS)
        ground.execute("UPDATE people SET full_name = 'somebody else' WHERE id = 7")
        with pytest.raises(Failed, match=f": 1 of {ROWS} rows"):
            check(FIELD[0], ground, job.wrong, ROWS)


def test_a_table_is_fresh_whatever_was_done_to_it(tmp_path: Path) -> None:
    def rows(ground: SQLiteGround) -> Any:
        with ground.engine.connect() as connection:
            return connection.exec_driver_sql("SELECT * FROM people ORDER BY id").all()

    with sqlite_ground(tmp_path) as ground:
        ground.freshen(ROWS)
        before = rows(ground)
        ground.execute("UPDATE people SET visits = 1", "DELETE FROM people WHERE id % 3 = 0")
        ground.freshen(ROWS)
        assert rows(ground) == before
        assert len(before) == ROWS


def test_lines_of_code_are_those_that_a_person_writes() -> None:
    source = '"""What it does."""\n\nimport this\n\nx = [  # why\n    1,\n]\n\n\n# aside\n@f\ndef g():\n    """Why."""\n    return x\n'
    assert lines_of_code(source) == 6
