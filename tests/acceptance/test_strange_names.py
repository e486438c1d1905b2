"""A table and its schema may have any name: no sign in it means anything."""

from __future__ import annotations

import pytest

from databases import ScratchDatabase
from projects import FULL_NAME, NICK, NICKNAMES, UNHURRIED, Project, add_people

GATED = "3c4d5e6f7081"
DELETE = "migrate = delete_rows(people, pending=people.c.id > 3)\n"
EACH = """
@each_batch(people, pending=people.c.nick.is_(None))
async def migrate(batch):
    await batch.execute(sa.update(people).where(batch.rows).values(nick="x"))
"""


def rename_people(database: ScratchDatabase, count: int = 5) -> None:
    add_people(database, count)
    database.script('ALTER TABLE people RENAME TO "we:ird%t"')
    if database.dialect == "postgresql":
        database.script('CREATE SCHEMA "s%:e"; ALTER TABLE "we:ird%t" SET SCHEMA "s%:e"')


def write_script(project: Project, database: ScratchDatabase, name: str, body: str) -> None:
    script = project.write_script(name, body, requires=NICKNAMES)
    text = script.read_text().replace('"people",', '"we:ird%t",', 1)
    if database.dialect == "postgresql":
        text = text.replace('sa.column("nick", sa.Text),', 'sa.column("nick", sa.Text), schema="s%:e",', 1)
    script.write_text(text)


@pytest.mark.parametrize("body", [FULL_NAME, NICK, EACH, DELETE], ids=["update", "compute", "each", "delete"])
def test_every_form_is_tried_and_run_on_it(project: Project, database: ScratchDatabase, body: str) -> None:
    rename_people(database)
    write_script(project, database, "strange", body)
    [rehearsal] = project.json("run", "--dry-run", *UNHURRIED)["rehearsals"]
    assert rehearsal["samples"]
    project.quick("run")
    project.quick("status", "--count", "--check")


def test_a_slow_plan_on_it_is_refused(project: Project, database: ScratchDatabase) -> None:
    rename_people(database, 20_000)
    by_name = FULL_NAME.replace("people,", "people, key=(people.c.first, people.c.id),", 1)
    write_script(project, database, "strange", by_name)
    assert "its batches would be slow" in project.quick("run", exits=1).err


def test_a_gate_waits_for_it(project: Project, database: ScratchDatabase) -> None:
    rename_people(database)
    write_script(project, database, "strange", FULL_NAME)
    project.write_revision(GATED, NICKNAMES, upgrade='import datamigrate.alembic; op.require_data("strange")')
    with pytest.raises(SystemExit):
        project.upgrade(GATED)
    project.quick("run")
    project.upgrade(GATED)
