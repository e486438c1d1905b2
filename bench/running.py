"""One run of one contender: a fresh table, a process of its own, and a look at what it has done."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil

from bench import ROOT
from bench.grounds import REVISION, Ground
from bench.jobs import Contender

GLANCE = 0.02  # seconds between two looks at the memory of a process and its children

PYPROJECT = """
[tool.alembic]
script_location = "%(here)s/alembic"

[tool.datamigrate]
scripts = "datamigrations"
"""
REVISION_FILE = f'''"""The tables, which are there already."""

revision = "{REVISION}"
down_revision = None


def upgrade() -> None:
    """Nothing to do."""
'''


class Failed(Exception):
    """A contender did not do what it was to do; the message says who and what."""


@dataclass(frozen=True)
class Run:
    """What one run showed: seconds of work, of processor time, and of each of the `changes` alone; bytes of memory at most,
    `began` by the monotonic clock, and what ours told of its batches."""

    rows: int
    began: float
    seconds: float
    cpu: float
    changes: tuple[float, ...]
    peak: int
    events: tuple[dict[str, Any], ...] = ()

    @property
    def per_row(self) -> float:
        """Seconds for a row."""
        return self.seconds / self.rows

    @property
    def batches(self) -> list[dict[str, Any]]:
        """What ours told when a batch was done."""
        return [event for event in self.events if event.get("event") == "BatchDone"]


def project_in(root: Path, script: Path | None) -> Path:
    """Make a project there that has Alembic, one revision, and this data migration."""
    (root / "alembic" / "versions").mkdir(parents=True)
    (root / "datamigrations").mkdir()
    (root / "pyproject.toml").write_text(PYPROJECT)
    (root / "alembic" / "env.py").write_text("")
    (root / "alembic" / "versions" / f"{REVISION}_tables.py").write_text(REVISION_FILE)
    if script is not None:
        shutil.copy(script, root / "datamigrations")
    return root


def run(contender: Contender, ground: Ground, rows: int) -> Run:
    """Run it on what is there. Raises Failed."""
    asked = {
        "ours": contender.is_ours,
        "file": str(contender.path),
        "options": contender.options,
        "url": ground.url,
        "dialect": ground.dialect,
    }
    with TemporaryDirectory() as folder:
        home = project_in(Path(folder), contender.path if contender.is_ours else None)
        told, events = Path(folder) / "told", Path(folder) / "events"
        with told.open("w") as out, events.open("w") as err:
            process = subprocess.Popen(
                [sys.executable, "-m", "bench.child", json.dumps(asked)],
                cwd=home,
                env=_environment(),
                stdout=out,
                stderr=err,
            )
            most = _watch(process)
        if process.returncode:
            last_words = " ".join(events.read_text().splitlines()[-3:])
            raise Failed(f"{contender.job}, {contender.name}: {last_words}")
        facts = json.loads(told.read_text().splitlines()[-1])
        heard = tuple(json.loads(line) for line in events.read_text().splitlines() if line.startswith("{"))
    return Run(
        rows,
        facts["began"],
        facts["seconds"],
        facts["cpu"],
        tuple(facts["changes"]),
        max(most, facts["peak"]),
        heard,
    )


def check(contender: Contender, ground: Ground, wrong: str, rows: int) -> None:
    """See that every row is as the limit leaves it. Raises Failed."""
    if count := ground.scalar(wrong.format(rows=rows)):
        raise Failed(f"{contender.job}, {contender.name}: {count} of {rows} rows are not as they should be")


def why_not(contender: Contender) -> str | None:
    """Why it cannot be run here, if so."""
    if contender.file.startswith("django") and importlib.util.find_spec("django") is None:
        return "Django is not installed"
    if contender.is_ours:
        missing = [
            option for option in contender.options if option.startswith("--") and option not in run_options()
        ]
        return f"`datamigrate run` has no {', '.join(missing)} yet" if missing else None
    return None


@cache
def run_options() -> frozenset[str]:
    """The options of `datamigrate run`."""
    from datamigrate.faces.cli import cli

    return frozenset(option for parameter in cli.commands["run"].params for option in parameter.opts)


def _environment() -> dict[str, str]:
    return {
        **{
            name: value
            for name, value in os.environ.items()
            if name not in ("DATABASE_URL", "DATAMIGRATE_URL")
        },
        "PYTHONPATH": str(ROOT),
    }


def _watch(process: subprocess.Popen[Any]) -> int:
    """Wait for the process; the most memory that it and its children held together, in bytes."""
    most, family = 0, psutil.Process(process.pid)
    while process.poll() is None:
        with suppress(psutil.Error):  # one of them may have ended meanwhile
            most = max(most, sum(p.memory_info().rss for p in [family, *family.children(recursive=True)]))
        time.sleep(GLANCE)
    return most
