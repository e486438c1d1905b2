"""The promise at its real size: many rows, kills, every row written once, and flat memory; with `make campaign` a
million rows and ten kills."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from databases import ROOT, ScratchDatabase
from places import LONG

MANY = 1_000_000 if LONG else 100_000
KILLS = 10 if LONG else 3
BATCH = MANY // 50
MEGABYTE = 1024 * 1024

REVISION = '''"""add readings"""

revision = "5a1e0f00d001"
down_revision = None


def upgrade() -> None:
    """The table is made by the test."""
'''

ENV = """
import os
from alembic import context
from sqlalchemy import create_engine

engine = create_engine(os.environ["SYNC_URL"])
with engine.connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
"""

HEAD = '''"""Fill readings.label."""

import sqlalchemy as sa

from datamigrate import compute_rows, update_rows

name = "fill_labels"
requires = "5a1e0f00d001"

readings = sa.table(
    "readings", sa.column("id", sa.BigInteger), sa.column("raw", sa.Text), sa.column("label", sa.Text)
)
'''

UPDATE = (
    HEAD
    + """
migrate = update_rows(
    readings, pending=readings.c.label.is_(None), values={readings.c.label: sa.func.upper(readings.c.raw)}
)
"""
)

COMPUTE = (
    HEAD
    + """
@compute_rows(
    readings, pending=readings.c.label.is_(None), reads=[readings.c.raw], writes=[readings.c.label]
)
def migrate(row):
    return {"label": row.raw.upper()}
"""
)

TABLE = {
    "sqlite": """
        CREATE TABLE readings (id INTEGER PRIMARY KEY, raw TEXT NOT NULL, label TEXT, writes INTEGER NOT NULL);
        CREATE TRIGGER counted AFTER UPDATE OF label ON readings
        BEGIN UPDATE readings SET writes = writes + 1 WHERE id = NEW.id; END;
    """,
    "postgresql": """
        CREATE TABLE readings (id bigint PRIMARY KEY, raw text NOT NULL, label text, writes int NOT NULL);
        CREATE FUNCTION count_write() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN NEW.writes := OLD.writes + 1; RETURN NEW; END';
        CREATE TRIGGER counted BEFORE UPDATE ON readings FOR EACH ROW EXECUTE FUNCTION count_write();
    """,
}

FILL = {
    "sqlite": """
        INSERT INTO readings
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
        SELECT i * 3, 'reading ' || i, NULL, 0 FROM n;
    """,
    "postgresql": "INSERT INTO readings SELECT i * 3, 'reading ' || i, NULL, 0 FROM generate_series(1, {rows}) i",
}


@dataclass(frozen=True)
class Field:
    """A project with one table of readings, and its database."""

    root: Path
    database: ScratchDatabase

    def fill(self, rows: int) -> None:
        self.database.execute(FILL[self.database.dialect].format(rows=rows))

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        environment = os.environ | {
            "DATABASE_URL": self.database.url,
            "SYNC_URL": self.database.sync_url,
            "PYTHONPATH": str(ROOT / "runner"),
        }
        return subprocess.Popen(
            [sys.executable, "-m", "datamigrate", *arguments],
            cwd=self.root,
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )


@pytest.fixture(params=[UPDATE, COMPUTE], ids=["update_rows", "compute_rows"])
def script(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def field(tmp_path: Path, database: ScratchDatabase, script: str) -> Field:
    for folder in ("alembic/versions", "datamigrations"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "alembic.ini").write_text("[alembic]\nscript_location = %(here)s/alembic\n")
    (tmp_path / "alembic/env.py").write_text(ENV)
    (tmp_path / "alembic/versions/first.py").write_text(REVISION)
    (tmp_path / "datamigrations/fill_labels.py").write_text(script)
    database.script(TABLE[database.dialect])
    database.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) PRIMARY KEY)")
    database.execute("INSERT INTO alembic_version VALUES ('5a1e0f00d001')")
    return Field(tmp_path, database)


def test_kills_lose_nothing_and_change_no_row_twice(field: Field) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    chance = random.Random(seed)
    field.fill(MANY)
    for _ in range(KILLS):
        kill_during_a_batch(field.start("run", "--batch-size", str(BATCH), "--log-format", "json"), chance)
    last = field.start("run")
    told = last.communicate(timeout=120)[1]
    assert last.returncode == 0, told
    assert field.database.rows("SELECT writes, count(*) FROM readings GROUP BY writes") == [(1, MANY)]
    assert field.database.scalar("SELECT count(*) FROM readings WHERE label IS NULL") == 0
    assert field.database.rows(
        "SELECT m.state, r.rows FROM datamigrate_migration m JOIN datamigrate_range r ON r.migration = m.name"
    ) == [("done", MANY)]


def test_memory_does_not_grow_with_the_table(field: Field) -> None:
    field.fill(10_000)
    small = peak_memory(field.start("run", "-q"))
    assert field.database.scalar("SELECT count(*) FROM readings WHERE writes = 1") == 10_000
    field.database.execute("DELETE FROM readings")
    field.database.execute("DELETE FROM datamigrate_migration")
    field.database.execute("DELETE FROM datamigrate_range")
    field.fill(MANY)
    large = peak_memory(field.start("run", "-q"))
    assert field.database.scalar("SELECT count(*) FROM readings WHERE writes = 1") == MANY
    assert large - small <= 30 * MEGABYTE


def kill_during_a_batch(process: subprocess.Popen[str], chance: random.Random) -> None:
    """SIGKILL at a random moment within one of the first batches."""
    assert process.stderr is not None
    batches = chance.randint(1, 4)
    for line in process.stderr:
        batches -= json.loads(line)["event"] == "BatchDone"
        if not batches:
            break
    time.sleep(chance.uniform(0, 0.03))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def peak_memory(process: subprocess.Popen[str]) -> int:
    """Bytes of memory that the process held at most; it must succeed."""
    assert process.stderr is not None
    told = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stderr.close()
    assert process.returncode == 0, told
    return usage.ru_maxrss * 1024
