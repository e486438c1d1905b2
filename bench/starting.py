"""What a command takes before it does anything: start-up, loading scripts, and the books that are kept."""

import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from bench.grounds import REVISION, Ground, SQLiteGround, enrol
from bench.jobs import ours_for
from bench.races import Say
from bench.running import REVISION_FILE, project_in, run

COMMANDS = Path(sys.executable).parent
UNUSUAL = ("DATABASE_URL", "PYTHONDONTWRITEBYTECODE")  # Python keeps what it has compiled, unless it may not
OURS = ours_for("update")

LOADING = """
import sys, time
from pathlib import Path
from datamigrate.authoring.loading import load_scripts
began = time.perf_counter()
library = load_scripts(Path("datamigrations"))
print(time.perf_counter() - began)
"""


def commands(scripts: int, rounds: int, say: Say) -> list[dict[str, Any]]:
    """Commands in turn, in a project with so many scripts and as many revisions; seconds from start to end."""
    with TemporaryDirectory() as folder:
        root = _large_project(Path(folder), scripts)
        asked = (
            ("datamigrate --help", ("datamigrate", "--help")),
            ("alembic --help", ("alembic", "--help")),
            (f"datamigrate status, {scripts:,} scripts", ("datamigrate", "status", "-q")),
            (f"alembic current, {scripts:,} revisions", ("alembic", "current")),
        )
        taken: dict[str, list[float]] = {name: [] for name, _ in asked}
        for _ in range(rounds + 1):
            for name, (command, *arguments) in asked:
                taken[name].append(_seconds(root, str(COMMANDS / command), *arguments))
    for name, seconds in taken.items():
        say(f"start-up: {name} {median(seconds[1:]):.2f} s")
    # the first round fills the caches of the disk and of compiled modules
    return [
        {"name": n, "seconds": round(median(s[1:]), 3), "least": round(min(s[1:]), 3)}
        for n, s in taken.items()
    ]


def loading(counts: tuple[int, ...], say: Say) -> list[dict[str, Any]]:
    """Seconds to load so many scripts, for the first time and again."""
    found: list[dict[str, Any]] = []
    for count in counts:
        with TemporaryDirectory() as folder:
            root = _large_project(Path(folder), count)
            first, again = (
                float(subprocess.check_output([sys.executable, "-c", LOADING], cwd=root, text=True))
                for _ in range(2)
            )
        say(f"loading {count:,} scripts: {first:.2f} s, again {again:.2f} s")
        found.append({"scripts": count, "first": round(first, 3), "again": round(again, 3)})
    return found


def bookkeeping(ground: Ground, rows: int, rounds: int, say: Say) -> dict[str, Any]:
    """Ours: the share of its batches' time that is neither their change nor its commit, once they have grown to their size: of
    the second half of them."""
    shares: list[float] = []
    for number in range(rounds):
        ground.freshen(rows)
        ran = run(OURS, ground, rows)
        grown = len(ran.batches) // 2
        whole = sum(batch["seconds"] for batch in ran.batches[grown:])
        shares.append(1 - sum(ran.changes[grown - len(ran.batches) :]) / whole)
        say(f"bookkeeping {number + 1}/{rounds}: {shares[-1]:.1%} of {len(ran.batches)} batches")
    return {
        "dialect": ground.dialect,
        "rows": rows,
        "batches": len(ran.batches),
        "share": round(median(shares), 4),
    }


def _large_project(root: Path, scripts: int) -> Path:
    project_in(root, None)
    text, before = OURS.path.read_text("utf-8"), REVISION
    for number in range(scripts):
        revision = f"{number:012x}"
        (root / "alembic" / "versions" / f"{revision}_step.py").write_text(
            REVISION_FILE.replace(REVISION, revision).replace("None\n", f'"{before}"\n', 1)
        )
        (root / "datamigrations" / f"step_{number:06}.py").write_text(
            text.replace('"full_name"', f'"step_{number:06}"', 1).replace(REVISION, revision)
        )
        before = revision
    (root / "alembic" / "env.py").write_text(ENV)
    enrol(SQLiteGround(f"sqlite:///{root / 'empty.db'}"), before)
    return root


ENV = """
import sqlalchemy as sa
from alembic import context

engine = sa.create_engine("sqlite:///empty.db")
with engine.connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
"""


def _seconds(root: Path, *command: str) -> float:
    environment = {name: value for name, value in os.environ.items() if name not in UNUSUAL}
    began = time.perf_counter()
    subprocess.run(
        command,
        cwd=root,
        env=environment | {"DATAMIGRATE_URL": "sqlite:///empty.db"},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return time.perf_counter() - began
