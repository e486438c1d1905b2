"""Runs in processes of their own that can be met while they work."""

from __future__ import annotations

import subprocess
import time
import urllib.request
from collections.abc import Callable

from databases import ScratchDatabase
from projects import Project, add_people, count_writes, named_people, writes

PEOPLE = 60
SECONDS_TO_HAPPEN = 40

# Ten rows in a batch; each batch takes long enough for another run to meet it.
UNHURRIED = """
import asyncio


@each_batch(people, pending=people.c.full_name.is_(None), batch_size=10)
async def migrate(batch):
    full_name = people.c.first + " " + people.c.last
    await batch.execute(sa.update(people).where(batch.rows).values(full_name=full_name))
    await asyncio.sleep(0.15)
"""

# The second batch writes, says that it has, and then takes for ever.
STUCK = """
import asyncio
from pathlib import Path

here = Path(__file__).parent.parent


@each_batch(people, pending=people.c.full_name.is_(None), batch_size=10)
async def migrate(batch):
    full_name = people.c.first + " " + people.c.last
    await batch.execute(sa.update(people).where(batch.rows).values(full_name=full_name))
    if batch.number == 2 and not (here / "mended").exists():
        (here / "stuck").touch()
        await asyncio.sleep(600)
"""


def wait_for(happened: Callable[[], object]) -> None:
    """Wait until it has happened; a machine may be slow, but not for ever."""
    give_up = time.monotonic() + SECONDS_TO_HAPPEN
    while not happened():
        assert time.monotonic() < give_up, "it never happened"
        time.sleep(0.02)


def end_of(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait for the end of a process: its exit code, and all that it told."""
    _, told = process.communicate(timeout=SECONDS_TO_HAPPEN)
    return process.returncode, told


def prepare(project: Project, database: ScratchDatabase, body: str) -> None:
    add_people(database, PEOPLE)
    count_writes(database)
    project.write_script("full_name", body)


def everyone_was_written_once(database: ScratchDatabase) -> bool:
    assert writes(database) == [(1, PEOPLE)]
    assert named_people(database) == PEOPLE
    return True


def metrics_at(port: int) -> str:
    """What is served there for Prometheus."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=")
        text: str = answer.read().decode()
        return text
