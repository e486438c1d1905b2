"""A small project of its own, and `datamigrate` as its user meets it: in a process, or quicker in this one."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest import mock

from alembic.config import main as alembic_main
from click.testing import CliRunner

import dry_run_schema
from alembic_project import Outcome
from databases import ScratchDatabase
from datamigrate.faces.cli import cli
from datamigrate.testing.watching import after

PEOPLE = "1a2b3c4d5e6f"  # creates the table
NICKNAMES = "2b3c4d5e6f70"  # adds people.nick

UNHURRIED = ("--max-time", "1m")
"""For a dry run whose findings matter, on a machine that may be busy."""

# what a command would otherwise take from whoever runs the tests
SPOKEN_FOR = (
    "ALEMBIC_CONFIG",
    "COLUMNS",
    "DATABASE_URL",
    "DATAMIGRATE_URL",
    "FORCE_COLOR",
    "NO_COLOR",
    "TTY_COMPATIBLE",
    "TTY_INTERACTIVE",
)
COMMAND = str(Path(sys.executable).with_name("datamigrate"))
SECONDS_TO_ANSWER = 60

PYPROJECT = """
[tool.alembic]
script_location = "%(here)s/alembic"

[tool.datamigrate]
scripts = "datamigrations"
"""

ENV = """
import os

import sqlalchemy as sa
from alembic import context

engine = sa.create_engine(os.environ["DATABASE_URL"], poolclass=sa.pool.NullPool)
with engine.connect() as connection:
    context.configure(connection=connection, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()
"""

REVISION = '''
"""{message}"""

import sqlalchemy as sa
from alembic import op

revision = "{id}"
down_revision = {down!r}
branch_labels = {labels!r}


def upgrade():
    {upgrade}


def downgrade():
    {downgrade}
'''

SCRIPT = '''"""{title}."""

import sqlalchemy as sa

from datamigrate import compute_rows, delete_rows, each_batch, update_rows

name = "{name}"
requires = {requires!r}
depends_on = {depends_on!r}

people = sa.table(
    "people",
    sa.column("id", sa.Integer),
    sa.column("first", sa.Text),
    sa.column("last", sa.Text),
    sa.column("full_name", sa.Text),
    sa.column("nick", sa.Text),
)

{body}
'''

FULL_NAME = """
migrate = update_rows(
    people,
    pending=people.c.full_name.is_(None),
    values={people.c.full_name: people.c.first + " " + people.c.last},
)
"""

NICK = """
@compute_rows(people, pending=people.c.nick.is_(None), reads=[people.c.first], writes=[people.c.nick])
def migrate(row):
    return {"nick": row.first[:2]}
"""


@dataclass(frozen=True)
class Project:
    """A directory to call `datamigrate` in; `variables` are those of its environment that matter."""

    root: Path
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def scripts(self) -> Path:
        """The folder of the data scripts."""
        return self.root / "datamigrations"

    def having(self, variables: Mapping[str, str]) -> Project:
        """Return the same project with these variables over its own."""
        return replace(self, variables={**self.variables, **variables})

    def datamigrate(
        self, *arguments: str, exits: int | None = 0, directory: Path | None = None, **variables: str
    ) -> Outcome:
        """Run the real command, which must end as expected (None: anyhow)."""
        finished = subprocess.run(
            [COMMAND, *arguments],
            cwd=directory or self.root,
            env=self.environment(**variables),
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=SECONDS_TO_ANSWER,
            check=False,
        )
        return checked(Outcome(finished.returncode, finished.stdout, finished.stderr), exits)

    def quick(
        self, *arguments: str, exits: int | None = 0, directory: Path | None = None, **variables: str
    ) -> Outcome:
        """Run the command in this process: the same words and exit code, without the wait for imports."""
        changed = dict.fromkeys(SPOKEN_FOR) | dict(self.variables) | variables
        with (
            contextlib.chdir(directory or self.root),
            mock.patch.object(sys, "argv", ["datamigrate", *arguments]),
        ):
            result = CliRunner(env=changed).invoke(cli, arguments, prog_name="datamigrate")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return checked(Outcome(result.exit_code, result.stdout, result.stderr), exits)

    def json(self, *arguments: str, exits: int | None = 0, **variables: str) -> dict[str, Any]:
        """Run the command with `--json` in this process and return what it tells: one document."""
        facts = json.loads(self.having(variables).quick(*arguments, "--json", exits=exits).out)
        assert isinstance(facts, dict)
        assert facts["version"] == 1
        if "--dry-run" in arguments:
            dry_run_schema.check(facts)
        return facts

    def start(self, *arguments: str, before: Sequence[str] = (), **variables: str) -> subprocess.Popen[str]:
        """Start the real command, with these words `before` it, and leave it running."""
        return subprocess.Popen(
            [*before, COMMAND, *arguments],
            cwd=self.root,
            env=self.environment(**variables),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )

    def alembic(self, *arguments: str) -> None:
        """Run `alembic` in this process, which must succeed; the logging that it sets up stays its own."""
        with (
            contextlib.chdir(self.root),
            mock.patch.dict(os.environ, self.variables),
            mock.patch("logging.config.fileConfig"),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            alembic_main(arguments, prog="alembic")

    def upgrade(self, revision: str = "head") -> None:
        """Take the schema up to a revision."""
        self.alembic("upgrade", revision)

    def downgrade(self, revision: str) -> None:
        """Take the schema down to a revision."""
        self.alembic("downgrade", revision)

    def write_script(
        self,
        name: str,
        body: str = FULL_NAME,
        *,
        file: str | None = None,
        requires: str | tuple[str, ...] = PEOPLE,
        depends_on: tuple[str, ...] = (),
    ) -> Path:
        """Write a data script on `people`; its body says what `migrate` is."""
        text = SCRIPT.format(
            title=name.replace("_", " ").capitalize(),
            name=name,
            requires=requires,
            depends_on=depends_on,
            body=textwrap.dedent(body).strip(),
        )
        return self.write_file(file or f"{name}.py", text)

    def configure(self, setting: str) -> None:
        """Add a line to its configuration."""
        with (self.root / "pyproject.toml").open("a") as pyproject:
            pyproject.write(f"{setting}\n")

    def write_file(self, file: str, text: str) -> Path:
        """Write any text as a file among the data scripts."""
        path = self.scripts / file
        path.write_text(text, "utf-8")
        return path

    def write_revision(
        self,
        revision: str,
        down: str | tuple[str, ...] | None,
        *,
        upgrade: str = "pass",
        downgrade: str = "pass",
        labels: tuple[str, ...] = (),
    ) -> Path:
        """Write a revision of the schema."""
        path = self.root / "alembic" / "versions" / f"{revision}.py"
        path.write_text(
            REVISION.format(
                message=f"Revision {revision}",
                id=revision,
                down=down,
                labels=labels,
                upgrade=upgrade,
                downgrade=downgrade,
            )
        )
        return path

    def files(self) -> dict[str, bytes]:
        """Return every file of the project with its contents, caches and databases apart."""
        return {
            str(path.relative_to(self.root)): path.read_bytes()
            for path in sorted(self.root.rglob("*"))
            if path.is_file() and "__pycache__" not in path.parts and ".db" not in path.suffixes
        }

    def environment(self, **variables: str) -> dict[str, str]:
        """Return the environment of a process in this project."""
        inherited = {name: value for name, value in os.environ.items() if name not in SPOKEN_FOR}
        return inherited | dict(self.variables) | variables | {"PYTHONUTF8": "1"}


def checked(outcome: Outcome, exits: int | None) -> Outcome:
    """Return the outcome, which must be the expected one and never a traceback."""
    told = f"exit {outcome.code}\n--- stdout\n{outcome.out}\n--- stderr\n{outcome.err}"
    assert exits is None or outcome.code == exits, told
    return outcome


def project_in(root: Path, database: ScratchDatabase | None = None) -> Project:
    """Make a project with two revisions, `DATABASE_URL` and no data script yet."""
    (root / "alembic" / "versions").mkdir(parents=True)
    (root / "datamigrations").mkdir()
    (root / "pyproject.toml").write_text(PYPROJECT)
    (root / "alembic" / "env.py").write_text(ENV)
    project = Project(root, {} if database is None else {"DATABASE_URL": database.sync_url})
    columns = ", ".join(f'sa.Column("{name}", sa.Text)' for name in ("first", "last", "full_name"))
    project.write_revision(
        PEOPLE,
        None,
        upgrade=f'op.create_table("people", sa.Column("id", sa.Integer, primary_key=True), {columns})',
        downgrade='op.drop_table("people")',
    )
    project.write_revision(
        NICKNAMES,
        PEOPLE,
        upgrade='op.add_column("people", sa.Column("nick", sa.Text))',
        downgrade='op.drop_column("people", "nick")',
    )
    return project


def add_people(database: ScratchDatabase, count: int, start: int = 1) -> None:
    """Insert people numbered from `start`, whose full names are still to be written."""
    database.execute(
        "INSERT INTO people (id, first, last) "
        "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < :count) "
        "SELECT n + :before, 'First' || (n + :before), 'Last' || (n + :before) FROM numbers",
        count=count,
        before=start - 1,
    )


def named_people(database: ScratchDatabase) -> int:
    """Return how many people have the right full name."""
    return int(database.scalar("SELECT count(*) FROM people WHERE full_name = first || ' ' || last") or 0)


def count_writes(database: ScratchDatabase) -> None:
    """From now on count how often each person's row is written."""
    database.script(
        "CREATE TABLE writes (id integer PRIMARY KEY, n integer NOT NULL);"
        "INSERT INTO writes SELECT id, 0 FROM people;"
    )
    body = "UPDATE writes SET n = n + 1 WHERE id = NEW.id;"
    after_update(database, "count_writes", body)


def after_update(database: ScratchDatabase, name: str, body: str) -> None:
    """Create a trigger that runs after each update of a person."""
    database.script("".join(after(database.dialect, name, ("UPDATE",), "people", body)))


def writes(database: ScratchDatabase) -> list[tuple[Any, ...]]:
    """Return how often rows were written, and how many rows that often."""
    return database.rows("SELECT n, count(*) FROM writes GROUP BY n ORDER BY n")


@contextlib.contextmanager
def ended(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    """See to it that the process is gone in the end, whatever the test finds."""
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()
