"""Projects whose env.py has the hooks, in the manners that env.py is written in, and `alembic` called in them."""

from __future__ import annotations

import contextlib
import io
import os
from pathlib import Path
from unittest import mock

from alembic.config import main as alembic_main

from alembic_project import AlembicProject, Outcome
from databases import ROOT, ScratchDatabase
from projects import NICKNAMES, Project, project_in

GATED = "3c4d5e6f7a81"  # waits for full_name, then takes people.last away
INDEXED = "4d5e6f7a8b92"  # stands on GATED

ENV = """
import asyncio
import os

import sqlalchemy as sa
from alembic import context
from sqlalchemy.ext.asyncio import create_async_engine

import datamigrate.alembic

url = sa.make_url(os.environ["DATABASE_URL"])
{before}


def run(connection):
    context.configure(connection=connection, {options}**datamigrate.alembic.hooks({own}))
    with context.begin_transaction():
        context.run_migrations()


async def connect():
    drivername = {{"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}}[url.get_backend_name()]
    engine = create_async_engine(url.set(drivername=drivername), poolclass=sa.pool.NullPool)
    async with engine.connect() as connection:
        await connection.run_sync(run)


if context.is_offline_mode():
    context.configure(url=url, literal_binds=True, {options}**datamigrate.alembic.hooks({own}))
    with context.begin_transaction():
        context.run_migrations()
elif {is_async}:
    asyncio.run(connect())
else:
    with sa.create_engine(url, poolclass=sa.pool.NullPool).connect() as connection:
        run(connection)
"""


def write_env(
    project: Project,
    *,
    is_async: bool = False,
    options: str = "transaction_per_migration=True",
    own: str = "",
    before: str = "",
) -> None:
    """Write an env.py with the hooks; `options` go to `context.configure`, `own` to the hooks."""
    text = ENV.format(
        is_async=is_async, options=f"{options}, " if options else "", own=own, before=before.strip()
    )
    (project.root / "alembic" / "env.py").write_text(text)


def hooked(root: Path, database: ScratchDatabase | None = None) -> Project:
    """Make a project as `project_in` does, its env.py with the hooks."""
    project = project_in(root, database)
    write_env(project)
    mako = (ROOT / "alembic" / "script.py.mako").read_text()
    (root / "alembic" / "script.py.mako").write_text(mako)
    return project


def write_gate(
    project: Project, *names: str, revision: str = GATED, down: str = NICKNAMES, then: str = ""
) -> None:
    """Write a revision that waits for data and then takes people.last away, or does what it is told."""
    waiting = ", ".join(f'"{name}"' for name in names or ("full_name",))
    project.write_revision(
        revision,
        down,
        upgrade=f"op.require_data({waiting})\n    {then or drop_last()}",
        downgrade="pass" if then else 'op.add_column("people", sa.Column("last", sa.Text))',
    )


def drop_last() -> str:
    """What the gated revision does: without the index that it makes first, nobody would see it half done."""
    return (
        'op.create_index("ix_people_full_name", "people", ["full_name"])\n'
        '    op.drop_column("people", "last")'
    )


def alembic(project: Project, *arguments: str, exits: int | None = 0) -> Outcome:
    """Run `alembic` in this process, which must end as expected (None: anyhow), never with a traceback."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with (
        contextlib.chdir(project.root),
        mock.patch.dict(os.environ, project.variables),
        mock.patch("logging.config.fileConfig"),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            alembic_main(arguments, prog="alembic")
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 1
    return _checked(Outcome(code % 256, out.getvalue(), err.getvalue()), exits)


def real_alembic(project: Project, *arguments: str, exits: int | None = 0) -> Outcome:
    """Run `alembic` in a process of its own, which must end as expected (None: anyhow)."""
    return _checked(AlembicProject(project.root, project.variables["DATABASE_URL"]).run(*arguments), exits)


def told(outcome: Outcome) -> str:
    """Return all that was printed as one line: Alembic breaks lines where a terminal ends."""
    return " ".join((outcome.out + " " + outcome.err).split())


def revision_of(database: ScratchDatabase) -> list[str]:
    """Return the revisions that the database is at."""
    return sorted(row[0] for row in database.rows("SELECT version_num FROM alembic_version"))


def states(project: Project) -> dict[str, str]:
    """Return every migration's state as `status` tells it."""
    return {m["name"]: m["state"] for m in project.json("status", exits=None)["migrations"]}


def moves(project: Project, name: str) -> list[tuple[str, str, str]]:
    """Return how a migration came to its state: before, cause and after of each move."""
    return [(t["before"], t["cause"], t["after"]) for t in project.json("show", name)["transitions"]]


def _checked(outcome: Outcome, exits: int | None) -> Outcome:
    assert "Traceback" not in outcome.out + outcome.err, outcome.out + outcome.err
    assert exits is None or outcome.code == exits, f"exit {outcome.code}\n{outcome.out}\n{outcome.err}"
    return outcome
