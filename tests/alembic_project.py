"""Alembic as its user runs it: a subprocess, in the repository or in a copy that a test may change."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from databases import ROOT


@dataclass(frozen=True)
class Outcome:
    """What the command printed and how it ended."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class AlembicProject:
    """A directory with an Alembic environment, and the database that `DATABASE_URL` names."""

    root: Path
    url: str | None = None

    def python(self, *arguments: str, directory: Path | None = None) -> Outcome:
        """Run Python in the project and return its outcome, whatever it is."""
        finished = subprocess.run(
            [sys.executable, *arguments],
            cwd=directory or self.root,
            env=self._environment(),
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=60,
            check=False,
        )
        return Outcome(finished.returncode, finished.stdout, finished.stderr)

    def run(self, *arguments: str, directory: Path | None = None) -> Outcome:
        """Run `alembic` and return its outcome, whatever it is."""
        return self.python("-m", "alembic", *arguments, directory=directory)

    def alembic(self, *arguments: str, directory: Path | None = None) -> str:
        """Run `alembic`, which must succeed, and return its standard output."""
        outcome = self.run(*arguments, directory=directory)
        assert outcome.code == 0, outcome.out + outcome.err
        return outcome.out

    def new_revision(self, *arguments: str) -> Path:
        """Run a command that writes a revision and return the file."""
        written = re.search(r"Generating (\S+\.py)", re.sub(r"\s+", " ", self.alembic(*arguments)))
        assert written is not None
        return Path(written[1])

    def _environment(self) -> dict[str, str]:
        inherited = {key: value for key, value in os.environ.items() if key != "DATABASE_URL"}
        named = {} if self.url is None else {"DATABASE_URL": self.url}
        return inherited | named | {"PYTHONPATH": str(ROOT / "runner"), "PYTHONUTF8": "1"}


def copy_of_repository(directory: Path, url: str | None = None) -> AlembicProject:
    """Copy what Alembic needs of the repository, so that a test can add revisions and change models."""
    without_caches = shutil.ignore_patterns("__pycache__")
    for part in ("alembic", "runner/chat", "datamigrations"):
        shutil.copytree(ROOT / part, directory / part, ignore=without_caches)
    shutil.copy(ROOT / "pyproject.toml", directory)
    return AlembicProject(directory, url)


def revision_id(file: Path) -> str:
    """Return the identifier that a revision's file declares."""
    declared = re.search(r'^revision: str = ["\'](\w+)["\']', file.read_text("utf-8"), re.MULTILINE)
    assert declared is not None
    return declared[1]
